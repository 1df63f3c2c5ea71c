"""What an .oinr file says is checked as a whole: nothing that contradicts itself is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    CoordinateField,
    Family,
    Field,
    FitConfig,
    FlatCZOINR,
    FourierEncoding,
    Grid,
    IntensityScale,
    JointField,
    NoiseField,
    OccupancyConfig,
    Representation,
    SequenceOINR,
    fit,
    fit_family,
    fit_occupancy,
)
from oinr_monai.operators.kernels import KernelNetwork
from oinr_monai.representation.registry import FIELDS, KERNELS, build, describe

CONFIG = FitConfig("fast", steps=1, device="cpu")


def wave(*shape: int) -> Tensor:
    return torch.linspace(0, 6, shape[0]).sin().view(-1, *[1] * (len(shape) - 1)).expand(1, *shape)


@pytest.fixture(scope="module")
def plain() -> Representation:
    return fit(wave(12, 11), CONFIG)


@pytest.fixture(scope="module")
def family() -> Family:
    images = [wave(12, 11), wave(12, 11).flip(1), wave(12, 11) + 1]
    return fit_family(images, CONFIG, times=[0.0, 1.0, 4.0])


def rewrite(path: Path, change: Callable[[Any, dict[str, Tensor]], object]) -> None:
    """Save the file again with another header or other tensors."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["oinr"])
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    header.pop("crc32", None)
    change(header, state)
    save_file(state, path, metadata={"oinr": json.dumps(header)})


def put(place: str, value: object) -> Callable[[Any, Any], None]:
    """Put a value at a place of the header such as ``grid/shape/0``; take it out if Ellipsis."""

    def change(header: Any, _: object) -> None:
        *outer, last = [int(key) if key.isdigit() else key for key in place.split("/")]
        for key in outer:
            header = header[key]
        if value is ...:
            del header[last]
        else:
            header[last] = value

    return change


def nested(depth: int) -> dict[str, Any]:
    field: dict[str, Any] = {"class": "CoordinateField", "arguments": {"extent": [11.0, 10.0]}}
    for _ in range(depth):
        field = {"class": "JointField", "arguments": {"fields": [field]}}
    return field


SIREN = {"class": "SIREN", "arguments": {"hidden_channels": 8, "hidden_layers": 1}}
HUGE = {
    "class": "CKConvOINR",
    "arguments": {
        "spatial_dims": 2,
        "in_channels": 4,
        "out_channels": 1,
        "channels": [16, 16],
        "kernel": SIREN,
    },
}

CONTRADICTIONS: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "version": (put("format_version", 99), "format version 1, got 99; upgrade"),
    "a true version": (put("format_version", True), "format version 1, got True"),
    "no version": (put("format_version", ...), "format version 1, got None"),
    "no network": (put("network", ...), "header must have"),
    "more": (put("more", 1), "header must have"),
    "an unknown network": (put("network/class", "Evil"), "class must be one of"),
    "an unknown field": (put("encoding/class", "os.system"), "class must be one of"),
    "no name": (put("encoding/class", ["SplineField"]), "class must be one of"),
    "a field as network": (lambda h, _: h.update(network=h["encoding"]), "network must be an"),
    "a network as field": (
        lambda h, _: h.update(encoding=h["network"]),
        "encoding must be a field",
    ),
    "a sequence": (put("network", describe(SequenceOINR(2, 4, 1, (3,)))), "network must be an"),
    "other arguments": (put("network/arguments", {"x": 1}), "arguments of ConvOINR must be"),
    "a word for a number": (put("network/arguments/omega_0", "30"), "omega_0 of ConvOINR must be"),
    "true for a number": (put("network/arguments/in_channels", True), "in_channels of ConvOINR"),
    "half a channel": (
        put("network/arguments/in_channels", 4.0),
        "in_channels of ConvOINR must be",
    ),
    "NaN": (put("network/arguments/omega_0", math.nan), "omega_0 of ConvOINR must be float"),
    "beyond floats": (put("network/arguments/omega_0", 10**400), "omega_0 of ConvOINR must be"),
    "other widths": (put("network/arguments/channels", [3, 16]), "info parameters|must be float32"),
    "a million layers": (put("network/arguments/channels", [16] * 200_000), "far more parts|must"),
    "huge kernels": (
        put("network/arguments/kernel_size", 10**6 + 1),
        "info parameters|must be float32",
    ),
    "huge channels": (put("encoding/arguments/channels", 10**12), "must read 1000000000000"),
    "close knots": (
        put("encoding/arguments/knot_spacing", [1e-9, 1e-9]),
        "overflowed|must be float32",
    ),
    "knots without end": (put("encoding/arguments/knot_spacing", [1e-300] * 2), "must"),
    "bands without end": (
        put(
            "encoding",
            FOURIER := {
                "class": "FourierEncoding",
                "arguments": {
                    "extent": [11.0, 10.0],
                    "spacing": [1.0, 1.0],
                    "bands": 10**12,
                    "shortest": 6.0,
                },
            },
        ),
        "bands must be at most",
    ),
    "waves without end": (
        put(
            "encoding",
            {
                **FOURIER,
                "arguments": {**FOURIER["arguments"], "bands": None, "spacing": [1e-12, 1.0]},
            },
        ),
        "bands must be at most",
    ),
    "a billion members": (
        put(
            "encoding",
            {
                "class": "FamilyField",
                "arguments": {
                    "extent": [11.0, 10.0],
                    "knot_spacing": [3.0, 3.0],
                    "channels": 4,
                    "members": 10**9,
                },
            },
        ),
        "far more parts",
    ),
    "hidden layers without end": (
        put(
            "network",
            {
                **HUGE,
                "arguments": {
                    **HUGE["arguments"],
                    "kernel": {
                        **SIREN,
                        "arguments": {"hidden_channels": 8, "hidden_layers": 10**12},
                    },
                },
            },
        ),
        "hidden_layers must be at most",
    ),
    "kernels of a mile": (
        put("network", {**HUGE, "arguments": {**HUGE["arguments"], "support": 1e6}}),
        "kernels must have at most|too few",
    ),
    "a nest of fields": (put("encoding", nested(100)), "more than 32 levels"),
    "a seed beyond": (
        put(
            "encoding",
            {
                "class": "NoiseField",
                "arguments": {"extent": [11.0, 10.0], "spacing": [1.0, 1.0], "seed": 2**80},
            },
        ),
        "seed of NoiseField",
    ),
    "no shape": (put("grid/shape", ...), "grid must have affine, shape"),
    "another shape": (put("grid/shape/0", 13), "extent must be that of the grid"),
    "empty": (put("grid/shape/0", 0), "grid shape must be 1 to 3 positive"),
    "half a voxel": (put("grid/shape/0", 11.5), "grid shape must be 1 to 3 positive"),
    "one axis more": (put("grid/shape", [12, 11, 1]), "spacing must be 3 numbers"),
    "voxels without end": (put("grid/shape", [2**30, 2**30]), "grid shape must have at most"),
    "other spacing": (put("grid/affine/0/0", 1.5), "extent must be that of the grid"),
    "singular": (
        put("grid/affine", [[0.0] * 4] * 3 + [[0.0, 0.0, 0.0, 1.0]]),
        "affine must be inv",
    ),
    "no affine row": (put("grid/affine/3", [0, 0, 0, 2]), "grid affine must end in 0 0 0 1"),
    "far away": (put("grid/affine/0/3", math.inf), "grid affine must be 4 x 4 finite"),
    "lengths without end": (put("grid/affine/0/0", 1e200), "affine must be invertible"),
    "fewer nodes": (put("spacing", [1.0]), "spacing must be 2 numbers"),
    "nodes nowhere": (put("spacing", [1.0, 0.0]), "spacing must lie within"),
    "nodes far apart": (put("spacing", [1.0, 1e9]), "spacing must lie within"),
    "two channels": (
        lambda h, _: h["scale"].update(mean=[0.0, 1.0], std=[1.0, 1.0], outside=[0.0, 0.0]),
        "scale must be of 1 chan",
    ),
    "two means": (put("scale/mean", [0.0, 1.0]), "scale must have as many mean as std"),
    "no std": (put("scale/std", [0.0]), "scale std must be positive"),
    "a negative std": (put("scale/std", [-1.0]), "scale std must be positive"),
    "NaN mean": (put("scale/mean", [math.nan]), "scale mean must be finite"),
    "a mean alone": (put("scale/mean", 1.0), "scale mean must be finite numbers"),
    "info of a list": (put("info", [1]), "info must be a mapping"),
    "settings of a word": (put("info/settings", "fast"), "info settings must be"),
    "a seed of a list": (put("info/settings/seed", [0]), "info settings seed must be int"),
    "no image": (put("info/image", "b1dfc2e6bb6e926"), "info image must be a digest"),
    "info of nothing": (put("info", None), "info must be a mapping"),
    "other parameters": (put("info/parameters", 7), "info parameters must be"),
    "no such parameter": (put("info/fitted", ["more"]), "info fitted must name parameters"),
    "no such type": (put("info/stored_dtype", "x8"), "x8|stored_dtype"),
    "objects": (put("info/stored_dtype", "O"), "stored_dtype must be a type of numbers"),
    "no time": (
        put("info/time_axis", {"step": 1.0, "start": 0.0, "unit": "noon"}),
        "info time_axis unit must be Literal",
    ),
    "no steps": (put("info/descent", {"steps": 0.5, "rate": 1.0}), "descent steps must be int"),
    "part of a time": (put("info/time_axis", {"start": 1.0}), "info time_axis must have"),
    "two labels": (put("info/occupancy", {"labels": [1, 2]}), "occupancy must have labels of 1"),
    "labels of words": (put("info/occupancy", {"labels": ["1"]}), "occupancy labels must be"),
    "a tensor more": (lambda _, t: t.update(more=torch.zeros(1)), "1 tensors too many, with more"),
    "a tensor less": (
        lambda _, t: t.pop("encoding.coefficients"),
        "too few, without encoding.coef",
    ),
    "another type": (
        lambda _, t: t.update({"encoding.coefficients": t["encoding.coefficients"].double()}),
        "one floating-point type",
    ),
    "whole numbers": (
        lambda _, t: t.update({"encoding.coefficients": t["encoding.coefficients"].int()}),
        "must be float32",
    ),
    "a NaN weight": (
        lambda _, t: t["network.layers.0.weight"].view(-1)[:1].fill_(math.nan),
        "network.layers.0.weight must be finite",
    ),
    "an infinite weight": (
        lambda _, t: t["encoding.coefficients"].view(-1)[-1:].fill_(-math.inf),
        "encoding.coefficients must be finite",
    ),
}


def message_of(path: Path) -> str:
    """What loading it says, in the documented form."""
    with pytest.raises(ValueError, match=rf"{path.name} must ") as caught:
        Representation.load(path)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) <= 300
    return said


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused(plain: Representation, name: str, tmp_path: Path) -> None:
    change, reason = CONTRADICTIONS[name]
    plain.save(tmp_path / "rep.oinr")
    rewrite(tmp_path / "rep.oinr", lambda header, state: header)
    Representation.load(tmp_path / "rep.oinr")
    rewrite(tmp_path / "rep.oinr", change)
    said = message_of(tmp_path / "rep.oinr")
    assert any(each in said for each in reason.split("|")), said


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "cut in the header": lambda p: p.write_bytes(p.read_bytes()[:50]),
    "empty": lambda p: p.write_bytes(b""),
    "garbage": lambda p: p.write_bytes(bytes(range(256)) * 8),
    "no header": lambda p: save_file({"x": torch.zeros(1)}, p),
    "header not a mapping": lambda p: save_file({"x": torch.zeros(1)}, p, {"oinr": "[1]"}),
    "a list without end": lambda p: save_file({"x": torch.zeros(1)}, p, {"oinr": "[" * 10**5}),
    "a long header": lambda p: save_file({"x": torch.zeros(1)}, p, {"oinr": "{}" + " " * 2**20}),
    "twice": lambda p: save_file({"x": torch.zeros(1)}, p, {"oinr": '{"info": 1, "info": 2}'}),
    "many": lambda p: save_file({str(i): torch.zeros(0) for i in range(20_000)}, p, {"oinr": "{}"}),
    "one bit of a weight": lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x3d"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(plain: Representation, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "rep.oinr"
    plain.save(path)
    DAMAGES[damage](path)
    message_of(path)


def test_long_names_and_values_are_shortened(plain: Representation, tmp_path: Path) -> None:
    path = tmp_path / f"{'b' * 240}.oinr"
    plain.save(path)
    rewrite(path, put("network/class", "x\n\x1b[31m" * 10_000))
    with pytest.raises(ValueError, match=r"b\.oinr must be of known") as caught:
        Representation.load(path)
    assert len(str(caught.value)) <= 300
    assert str(caught.value).isprintable()


def test_a_first_edition_file_loads(plain: Representation, tmp_path: Path) -> None:
    """Without a checksum, with wall times, and without what was added later."""
    path = tmp_path / "rep.oinr"
    plain.save(path)
    rewrite(
        path,
        lambda h, _: (h.pop("spacing"), h["info"].pop("image", 0), h["info"].update(seconds=1.5)),
    )
    again = Representation.load(path)
    assert torch.equal(again.sample().as_tensor(), plain.sample().as_tensor())
    assert again.info["seconds"] == 1.5


def test_parts_may_share_their_weights(plain: Representation, tmp_path: Path) -> None:
    """And a fit may be made of another while it starts."""

    def signals(grid: Grid) -> Field:
        given = fit(wave(12, 11), CONFIG)
        return JointField([given.field, given.smoothed(1.5).field])

    both = fit(wave(12, 11), replace(CONFIG, encoding=signals, kernel_size=1))
    both.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    assert torch.equal(again.sample().as_tensor(), both.sample().as_tensor())


# ---- files that were written before --------------------------------------------------------------

# Fits of a random picture (1, 12, 13), three steps each, written at commit 8ea0d91, with samples on
# ``grid.refine(2)``, or on the grid itself for the family.
VERSION_1 = Path(__file__).parents[1] / "reference" / "version_1"


@pytest.mark.parametrize("name", ["ck", "cz", "exact", "family", "flat", "plain"])
def test_files_of_version_1_have_the_answers_that_they_had(name: str, tmp_path: Path) -> None:
    found = Representation.load(VERSION_1 / f"{name}.oinr")
    grid = found.grid if name == "family" else found.grid.refine(2)
    expected = load_file(VERSION_1 / "samples.safetensors")[name]
    for each in (found, rewritten(found, tmp_path / "again.oinr")):
        torch.testing.assert_close(each.sample(grid).as_tensor(), expected, rtol=0, atol=1e-5)


def rewritten(representation: Representation, path: Path) -> Representation:
    representation.save(path)
    return Representation.load(path)


# ---- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0.0, 1.0], "info times must be 3, rising"),
        ([0.0, 4.0, 1.0], "info times must be 3, rising"),
        ([0.0, 1.0, math.nan], "info times must be list"),
        ("now", "info times must be list"),
    ],
)
def test_times_of_a_family(family: Family, times: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "rep.oinr"
    family.save(path)
    assert Family.load(path).times == family.times
    rewrite(path, put("info/times", times))
    assert reason in message_of(path)


def test_one_image_is_no_family(plain: Representation, tmp_path: Path) -> None:
    plain.save(tmp_path / "rep.oinr")
    with pytest.raises(ValueError, match=r"rep\.oinr must be of a family"):
        Family.load(tmp_path / "rep.oinr")


@pytest.mark.parametrize("weights", [[0.5, 0.25, 0.25], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
def test_blends_are_kept(family: Family, weights: list[float], tmp_path: Path) -> None:
    blend = family.blend(weights)
    blend.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    assert torch.equal(again.sample().as_tensor(), blend.sample().as_tensor())


# ---- saving -------------------------------------------------------------------------------------


def unfit(rep: Representation, what: str) -> Representation:
    changed = rep.to("cpu")
    if what == "weight":
        next(changed.field.network.parameters()).view(-1)[0] = math.nan
    elif what == "scale":
        changed.scale = replace(changed.scale, std=(0.0,))
    elif what == "channels":
        changed.scale = IntensityScale((0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    elif what == "grid":
        changed.grid = Grid((40, 40), torch.eye(4))
    else:
        changed.info = {**changed.info, "times": "noon"}
    return changed


@pytest.mark.parametrize("what", ["weight", "scale", "channels", "grid", "info"])
def test_what_would_not_be_read_is_not_written(
    plain: Representation, what: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="must"):
        unfit(plain, what).save(tmp_path / "rep.oinr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("preset", ["fast", "exact"])
def test_the_same_fit_is_the_same_file(preset: str, tmp_path: Path) -> None:
    """Whatever the time that it took."""
    for name in ("a", "b"):
        config = FitConfig("exact") if preset == "exact" else replace(CONFIG, steps=3)
        fit(wave(12, 11), config).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_file_may_change_on_disk(plain: Representation, tmp_path: Path) -> None:
    path = tmp_path / "rep.oinr"
    plain.save(path)
    again = Representation.load(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(again.sample().as_tensor(), plain.sample().as_tensor())


def test_loading_draws_no_random_numbers(plain: Representation, tmp_path: Path) -> None:
    plain.save(tmp_path / "rep.oinr")
    before = torch.get_rng_state()
    Representation.load(tmp_path / "rep.oinr")
    assert torch.equal(torch.get_rng_state(), before)


# ---- without memory -----------------------------------------------------------------------------


def kernel(cls: type[KernelNetwork], **options: Any) -> Callable[[], nn.Module]:
    return lambda: CKConvOINR(2, 4, 1, (6,), kernel=partial(cls, **options), window=0.5)


BUILT: dict[str, Callable[[], nn.Module]] = {
    **{name: kernel(cls) for name, cls in KERNELS.items()},
    "steerable": kernel(KERNELS["MAGNet"], steerable=True),
    "CZOINR": lambda: CZOINR(2, 4, 1, channels=2, levels=2, act="prelu"),
    "FlatCZOINR": lambda: FlatCZOINR((16, 16), 4, 1, channels=2, levels=3),
    "SequenceOINR": lambda: SequenceOINR(2, 4, 1, (6,), time_bands=2),
    "JointField": lambda: JointField(
        [CoordinateField((9.0,)), FourierEncoding((9.0,), (1.0,)), NoiseField((9.0,), (1.0,))]
    ),
    **{
        name: partial(FIELDS[name], (9.0, 9.0), (3.0, 3.0), channels=2, **more)
        for name, more in (
            ("SplineField", {}),
            ("FamilyField", {"members": 2, "motion_spacing": (4.0, 4.0)}),
        )
    },
}


@pytest.mark.parametrize("name", BUILT)
def test_every_class_is_built_without_memory(name: str) -> None:
    """On the meta device, from its own description, with the same tensors."""
    module = BUILT[name]()
    with torch.device("meta"):
        light = build(json.loads(json.dumps(describe(module))))
    assert all(tensor.is_meta for tensor in light.state_dict().values())
    light.load_state_dict(module.state_dict(), assign=True)
    pairs = zip(light.state_dict().items(), module.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(s, t) for (a, s), (b, t) in pairs)


def test_occupancies_are_kept_with_their_labels(tmp_path: Path) -> None:
    labels = torch.tensor([0, 2, 5]).repeat_interleave(4).expand(1, 12, 12)
    fit_occupancy(labels, OccupancyConfig(CONFIG)).save(tmp_path / "rep.oinr")
    assert Representation.load(tmp_path / "rep.oinr").info["occupancy"]["labels"] == [2, 5]
    rewrite(tmp_path / "rep.oinr", put("info/occupancy/labels", [5, 2]))
    assert "occupancy must have labels of 2" in message_of(tmp_path / "rep.oinr")


def test_headers_are_json_that_every_reader_takes(tmp_path: Path) -> None:
    def strict(text: str) -> object:
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))

    representation = fit(torch.rand(1, 6, 5), FitConfig("exact"))
    representation.info |= {
        **{"psnr_blends": math.inf, "risk": math.nan, "psnr_members": (41.5, math.inf)},
        "made": {"here": [1.0, -math.inf]},
    }
    representation.save(tmp_path / "a.oinr")
    with safe_open(tmp_path / "a.oinr", "pt") as file:
        for text in file.metadata().values():
            strict(text)
    found = Representation.load(tmp_path / "a.oinr").info
    assert math.isnan(found.psnr_blends)
    assert found.psnr_members[0] == 41.5
    assert found["made"] == {"here": [1.0, None]}
