"""Thousands of damaged .oinr files: each is refused in one line, or loaded and of one piece."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    CoordinateField,
    DyadicEncoding,
    Family,
    FamilyField,
    FitConfig,
    FlatCZOINR,
    FourierEncoding,
    Grid,
    JointField,
    NoiseField,
    OccupancyConfig,
    Representation,
    fit,
    fit_family,
    fit_occupancy,
    label_map,
)
from oinr_monai.fields.field import Field
from oinr_monai.operators.multiplicative_kernels import MAGNet
from oinr_monai.representation.lineage import fitted_names
from tests.mutants import Mutator, bounded

CONFIG = FitConfig("fast", steps=1, device="cpu")


def image(*shape: int) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij")
    return sum(torch.sin(0.7 * x + i) for i, x in enumerate(axes))[None]


def joint(grid: Grid) -> Field:
    extent, spacing = grid.extent.tolist(), grid.spacing.tolist()
    return JointField(
        [
            CoordinateField(extent),
            FourierEncoding(extent, spacing, bands=3),
            JointField([DyadicEncoding(extent, 4), NoiseField(extent, spacing, seed=3)]),
        ]
    )


def signals(grid: Grid) -> Field:
    """Signals of other operators, which are read as fields."""
    given = fit(image(*grid.shape), CONFIG)
    return JointField([given.field, given.smoothed(1.5).field])


def fitted(shape: tuple[int, ...], **settings: Any) -> Representation:
    return fit(image(*shape), FitConfig("fast", steps=1, device="cpu", **settings))


MAGNET = partial(MAGNet, steerable=True)

KINDS: dict[str, Callable[[], Representation]] = {
    "splines": lambda: fitted((9, 8, 7)),
    "a signal": lambda: fitted((30,), kernel_size=1),
    "continuous kernels": lambda: fitted(
        (12, 11),
        network=partial(CKConvOINR, channels=(6,), support=(1.5, 0), kernel=MAGNET, window=0.7),
    ),
    "wavelets": lambda: fitted((16, 14), network=partial(CZOINR, channels=2, levels=2)),
    "flat wavelets": lambda: fitted(
        (12, 12),
        network=lambda spatial_dims, **sizes: FlatCZOINR(
            (12, 12), **sizes, channels=2, levels=3, pieces=2
        ),
    ),
    "joint fields": lambda: fitted((10, 9), encoding=joint, kernel_size=1),
    "fields of other fits": lambda: fitted((10, 9), encoding=signals, kernel_size=1),
    "a family": lambda: (
        fit_family([image(12, 11), image(12, 11).flip(1)], CONFIG, times=[0.0, 2.0]).representation
    ),
    "occupancy": lambda: fit_occupancy(
        torch.tensor([0, 2, 5]).repeat_interleave(4).expand(1, 12, 12), OccupancyConfig(CONFIG)
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder, contents = tmp_path_factory.mktemp("whole"), []
    for make in KINDS.values():
        made = make()
        made.save(folder / "a.oinr")
        check_consistent(Representation.load(folder / "a.oinr"), folder)
        contents.append((folder / "a.oinr").read_bytes())
    return contents


def check_consistent(rep: Representation, folder: Path) -> None:
    """What is loaded agrees with itself, can be asked, and saved."""
    channels, dims = rep.field.network.out_channels, rep.grid.spatial_dims
    assert [len(each) for each in (rep.scale.mean, rep.scale.std, rep.scale.outside)] == [
        channels
    ] * 3
    assert all(math.isfinite(x) for x in (*rep.scale.mean, *rep.scale.std, *rep.scale.outside))
    assert min(rep.scale.std) > 0
    assert rep.field.encoding.spatial_dims == rep.field.network.spatial_dims == dims
    assert all(
        bool(torch.isfinite(t).all()) and not t.is_meta for t in rep.field.state_dict().values()
    )
    assert rep.sample(rep.grid.crop([0] * dims, [1] * dims)).shape == (channels, *[1] * dims)
    assert rep.gradient_at(rep.grid.origin[None]).shape == (1, channels, dims)
    assert fitted_names(rep)
    assert json.dumps(rep.info)
    if isinstance(rep.field.encoding, FamilyField) and (times := Family(rep).times):
        Family(rep).at_time(times[0])
    if "occupancy" in rep.info:
        label_map(rep, rep.grid.crop([0] * dims, [1] * dims))
    rep.save(folder / "again.oinr")


def outcome(path: Path) -> str:
    """Load what may be damaged: "refused" by the documented error, or "loaded" and consistent."""
    try:
        with bounded():
            rep = Representation.load(path)
    except ValueError as error:
        said = str(error)
        assert re.match(rf"{re.escape(str(path))} must ", said), said
        assert len(said) <= 300
        assert said.isprintable()
        return "refused"
    with bounded():
        check_consistent(rep, path.parent)
    return "loaded"


def battery(whole: list[bytes], folder: Path, seed: int, count: int) -> dict[str, int]:
    mutator, counts = Mutator(whole, seed), {"refused": 0, "loaded": 0}
    for i in range(count):
        _, what, content = mutator.draw()
        path = folder / "a.oinr"
        path.write_bytes(content)
        try:
            counts[outcome(path)] += 1
        except BaseException as error:
            raise AssertionError(f"{i}, {what}: {type(error).__name__}: {error}") from error
    return counts


def test_500_damaged_files(whole: list[bytes], tmp_path: Path) -> None:
    counts = battery(whole, tmp_path, seed=1, count=500)
    assert counts["refused"] > 300


@pytest.mark.slow
def test_10000_damaged_files(whole: list[bytes], tmp_path: Path) -> None:
    counts = battery(whole, tmp_path, seed=2, count=10_000)
    assert counts["refused"] > 6_000
