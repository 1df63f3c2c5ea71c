"""Exported files answer as the representation or the network they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from oinr_monai import (
    ConvOINR,
    CoordinateField,
    DyadicEncoding,
    FitConfig,
    FourierEncoding,
    Grid,
    JointField,
    NoiseField,
    Representation,
    WorldSignal,
    export_signal,
    fit,
)

# torch announces its own plans for these
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:# 'dynamic_axes' is not recommended:UserWarning",
)


def fourier(grid: Grid) -> FourierEncoding:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=3)


def joint(grid: Grid) -> JointField:
    extent, spacing = grid.extent.tolist(), grid.spacing.tolist()
    fields = [CoordinateField(extent), NoiseField(extent, spacing), DyadicEncoding(extent, 3)]
    return JointField(fields)


SETTINGS: dict[str, dict[str, Any]] = {
    "learned splines": {},
    "learned splines, wide first kernel": {"kernel_size": (3, 1, 1)},
    "waves, inner kernel": {"encoding": fourier, "kernel_size": (1, 3, 1)},
    "joint": {"encoding": joint},
    "closed form": {},
}


@pytest.fixture
def image(oblique_affine: Tensor) -> MetaTensor:
    x = torch.linspace(0, 4, 9)
    wave = x.sin()[:, None, None] * x[:8].cos()[:, None] * x[:6].sin()
    return MetaTensor(torch.stack([40 * wave + 100, wave]), affine=oblique_affine)


def fitted(image: MetaTensor, settings: str) -> Representation:
    if settings == "closed form":
        return fit(image)
    config = FitConfig("fast", steps=10, channels=(8, 8), **SETTINGS[settings])
    return fit(image, config)


def places(representation: Representation, number: int = 200) -> Tensor:
    """World points inside, in the half voxel beyond the border, and outside."""
    generator = torch.Generator().manual_seed(1)
    last = torch.tensor(representation.grid.shape) - 1
    unit = torch.rand(number, len(last), generator=generator, dtype=torch.float64)
    return representation.grid.to_world(unit * (last + 4) - 2).float()


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_module_agrees_with_its_representation(image: MetaTensor, settings: str) -> None:
    representation = fitted(image, settings)
    points = places(representation)
    expected = representation.at(points)
    torch.testing.assert_close(WorldSignal(representation)(points), expected, rtol=1e-6, atol=1e-5)
    outside = (expected == torch.tensor(representation.scale.outside)).all(dim=1)
    assert 0.2 < float(outside.float().mean()) < 0.9


@pytest.mark.parametrize("dims", [1, 2])
def test_a_module_of_fewer_dimensions(dims: int) -> None:
    image = torch.linspace(0, 3, 12).sin().expand(1, *[12] * dims)
    representation = fit(image, FitConfig("fast", steps=5))
    points = places(representation)
    torch.testing.assert_close(WorldSignal(representation)(points), representation.at(points))


def test_a_module_ends_where_its_representation_does() -> None:
    plain = fit(torch.rand(1, 6, 5), FitConfig("fast", steps=0))
    signal = WorldSignal(plain)
    ends = [(x, y) for x in (-0.5, -0.5001, 5.5, 5.5001) for y in (-0.5, -0.5001, 4.5, 4.5001, 2.0)]
    points = torch.tensor(ends, dtype=torch.float64)
    inside = torch.tensor([x in (-0.5, 5.5) and y in (-0.5, 4.5, 2.0) for x, y in ends])
    found = signal(points).detach()
    torch.testing.assert_close(found, plain.at(points), rtol=0, atol=1e-5)
    assert torch.equal((found == plain.scale.outside[0])[:, 0], ~inside)


def test_a_state_dict_is_complete(image: MetaTensor) -> None:
    representation = fitted(image, "joint")
    other = MetaTensor(
        image.as_tensor().flip(1) * 2, affine=torch.diag(torch.tensor([0.5, 2, 1, 1]))
    )
    target = WorldSignal(fit(other, FitConfig("fast", steps=1, channels=(8, 8), encoding=joint)))
    # the encodings' extents are the constructor's; everything else comes with the state
    target.field.encoding = WorldSignal(representation).field.encoding
    target.load_state_dict(WorldSignal(representation).state_dict())
    points = places(representation)
    assert torch.equal(target(points), WorldSignal(representation)(points))


def test_a_module_shares_nothing_with_its_representation(image: MetaTensor) -> None:
    representation = fitted(image, "learned splines")
    before = representation.sample()
    with torch.no_grad():
        for tensor in WorldSignal(representation).state_dict().values():
            tensor.zero_()
    assert torch.equal(representation.sample(), before)


@pytest.mark.parametrize("settings", SETTINGS)
def test_programs_answer_for_any_number_of_points(
    image: MetaTensor, settings: str, tmp_path: Path
) -> None:
    representation = fitted(image, settings)
    export_signal(representation, tmp_path / "signal.pt2")
    program = torch.export.load(tmp_path / "signal.pt2").module()
    for number in (1, 7, 200):
        points = places(representation, number)
        torch.testing.assert_close(program(points), representation.at(points), rtol=1e-6, atol=1e-5)


def test_a_program_has_no_most_points(image: MetaTensor, tmp_path: Path) -> None:
    export_signal(fitted(image, "learned splines"), tmp_path / "signal.pt2")
    program = torch.export.load(tmp_path / "signal.pt2").module()
    assert program(torch.zeros(70_000, 3)).shape == (70_000, 2)  # more than a chunk of the spline


@pytest.mark.parametrize("settings", ["learned splines", "waves, inner kernel"])
def test_onnx_answers_for_any_number_of_points(
    image: MetaTensor, settings: str, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    representation = fitted(image, settings)
    export_signal(representation, tmp_path / "signal.onnx")
    session = runtime.InferenceSession(tmp_path / "signal.onnx")
    for number in (1, 200):
        points = places(representation, number)
        (answer,) = session.run(["intensities"], {"points": points.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(answer), representation.at(points), rtol=1e-4, atol=1e-4
        )


def test_other_endings_are_refused(image: MetaTensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must end in \.onnx or \.pt2"):
        export_signal(fitted(image, "joint"), tmp_path / "signal.pt")
    assert not list(tmp_path.iterdir())


# ---- networks alone -----------------------------------------------------------------------------


@pytest.fixture(params=["valid", "same"])
def network(request: pytest.FixtureRequest) -> ConvOINR:
    return ConvOINR(3, 5, 2, channels=(6, 7), kernel_size=(3, 1, 3), padding=request.param).eval()


def fields() -> list[Tensor]:
    return [torch.rand(2, 5, 10, 9, 11), torch.rand(1, 5, 12, 13, 10)]


def test_networks_script(network: nn.Module, tmp_path: Path) -> None:
    torch.jit.script(network).save(tmp_path / "network.ts")
    again = torch.jit.load(tmp_path / "network.ts")
    for field in fields():
        torch.testing.assert_close(again(field), network(field))
        torch.testing.assert_close(again(field, 2), network(field, 2))


def test_networks_export(network: nn.Module, tmp_path: Path) -> None:
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        network, (fields()[0],), dynamic_shapes=[{0: auto, 2: auto, 3: auto, 4: auto}, None][:1]
    )
    torch.export.save(program, tmp_path / "network.pt2")
    again = torch.export.load(tmp_path / "network.pt2").module()
    for field in fields():
        torch.testing.assert_close(again(field), network(field))


def test_networks_run_in_onnx(network: nn.Module, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    # what MONAI's onnx_export hands to torch
    torch.onnx.export(
        network,
        (fields()[0],),
        tmp_path / "network.onnx",
        input_names=["x"],
        output_names=["pred"],
        dynamic_axes={"x": {0: "b", 2: "d", 3: "h", 4: "w"}},
        verbose=False,
    )
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    for field in fields():
        (answer,) = session.run(None, {"x": field.numpy()})
        torch.testing.assert_close(torch.from_numpy(answer), network(field), rtol=1e-4, atol=1e-5)
