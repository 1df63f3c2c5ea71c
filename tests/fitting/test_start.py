"""What a fit takes over from another: all of it at zero steps, the same function on other grids."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    FitConfig,
    FourierEncoding,
    Grid,
    JointField,
    NoiseField,
    Representation,
    SplineField,
    fit,
)
from oinr_monai.fields.field import Field
from oinr_monai.fitting import objective as descent
from oinr_monai.fitting.start import begin
from oinr_monai.grids.positions import Lattice
from oinr_monai.representation.lineage import digest


@pytest.fixture(autouse=True)
def _fewer_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "BETWEEN_PLACES", 2_000)


def wave(shape: tuple[int, ...], channels: int = 1, turns: float = 1.0) -> Tensor:
    """Waves over the whole image, whatever its shape is."""
    axes = torch.meshgrid(*[torch.linspace(0, 1, n) for n in shape], indexing="ij")
    total = sum((2 * math.pi * turns * x + d).sin() for d, x in enumerate(axes))
    return torch.stack([(c + 1) * total for c in range(channels)])


def quick(**changes: object) -> FitConfig:
    return FitConfig(**{"preset": "fast", "places": 256, "steps": 30, **changes})


def fourier(grid: Grid) -> Field:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=3)


def joint(grid: Grid) -> Field:
    splines = SplineField(grid.extent.tolist(), (4 * grid.spacing).tolist(), 3)
    noise = NoiseField(grid.extent.tolist(), grid.spacing.tolist(), seed=4)
    return JointField([fourier(grid), splines, noise])


KINDS: dict[str, dict[str, object]] = {
    "preset": {},
    "kernels": {"kernel_size": 3, "channels": (8,)},
    "fourier": {"encoding": fourier},
    "joint": {"encoding": joint},
    "continuous": {"network": partial(CKConvOINR, channels=(8,), support=(1.5, 0))},
    "wavelets": {"network": partial(CZOINR, channels=4, levels=1)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(24,), (14, 13), (9, 8, 10)])
def test_zero_steps_give_the_start_back(kind: str, shape: tuple[int, ...]) -> None:
    image, config = wave(shape), quick(steps=3, **KINDS[kind])
    start = fit(image, config)
    again = fit(image, quick(steps=0, seed=5, **KINDS[kind]), start=start)
    assert torch.equal(again.sample().as_tensor(), start.sample().as_tensor())
    assert again.info["steps"] == 0
    assert again.info["psnr_between"] == start.info["psnr_between"]


def test_the_start_itself_stays_as_it_was() -> None:
    start = fit(wave((14, 13)), quick())
    before = {name: value.clone() for name, value in start.field.state_dict().items()}
    rep = fit(wave((14, 13), turns=2), quick(), start=start)
    assert all(torch.equal(v, before[n]) for n, v in start.field.state_dict().items())
    assert rep.info["start"] == digest(start)
    assert "start" not in start.info
    assert digest(rep) != digest(start)


def test_a_saved_start_is_the_same_start(tmp_path: Path) -> None:
    start = fit(wave((14, 13)), quick())
    start.save(tmp_path / "start.oinr")
    again = Representation.load(tmp_path / "start.oinr")
    assert digest(again) == digest(start)
    one, other = (fit(wave((14, 13), turns=2), quick(), start=s) for s in (start, again))
    assert torch.equal(one.sample().as_tensor(), other.sample().as_tensor())


def test_the_result_is_never_worse_than_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate that spoils every fit."""
    image = wave((14, 13))
    start = fit(image, quick(steps=300))
    spoiled = fit(image, quick(learning_rate=1e3), start=start)
    assert torch.equal(spoiled.sample().as_tensor(), start.sample().as_tensor())


def test_a_start_near_the_answer_saves_steps() -> None:
    image = wave((14, 13), turns=2)
    start = fit(image + 0.05 * wave((14, 13)), quick(steps=300))
    config = quick(steps=15)
    warm, cold = fit(image, config, start=start), fit(image, config)
    assert warm.info["psnr_grid"] > cold.info["psnr_grid"] + 5


@torch.no_grad()
def difference(grid: Grid, start: Representation, low: float = 0.0) -> float:
    """Between the start and what it becomes on another grid, at the same parts of the extent."""
    field = begin(grid, 1, quick(), start)
    parts = torch.linspace(low, 1 - low, 40, dtype=torch.float64)
    ours, theirs = (
        each(Lattice(tuple(parts * e for e in extent.tolist())))
        for each, extent in ((field, grid.extent), (start.field, start.grid.extent))
    )
    return float((ours - theirs).abs().max() / (theirs.max() - theirs.min()))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_another_grid_gets_the_same_function_of_the_extent(dims: int) -> None:
    start = fit(wave((15, 14, 13)[:dims]), quick(steps=300))
    grid, wider = start.grid, torch.diag(torch.tensor([2.5, 2.5, 2.5, 1.0]))
    assert difference(grid, start) == 0
    assert difference(Grid(grid.shape, wider), start) < 1e-6
    # Knots come closer as voxels do; beyond the last ones the field is constant, which the spline
    # through it cannot be at once, so the last cells agree less well.
    coarse, fine, finer = (difference(grid.refine(k), start, low=0.3) for k in (2, 4, 8))
    assert max(coarse, difference(grid.refine(2), start)) < 0.1
    assert fine < coarse / 4
    assert finer < max(fine / 4, 1e-5)  # what float32 rounds to


def test_knots_in_the_same_places_are_copied() -> None:
    start = fit(wave((13, 13)), quick())
    field = begin(Grid((13, 13), torch.diag(torch.tensor([3.0, 0.5, 1, 1]))), 1, quick(), start)
    assert torch.equal(field.encoding.coefficients, start.field.encoding.coefficients)


def test_knots_that_hold_the_old_ones_hold_the_same_spline() -> None:
    """Knots twice as close: the spline space holds the old one, inside the last two knots."""
    old = SplineField((24.0,), (4.0,), 1)
    torch.nn.init.normal_(old.coefficients)
    from oinr_monai.fitting.start import _carried

    new = SplineField((24.0,), (2.0,), 1)
    with torch.no_grad():
        new.coefficients.copy_(_carried(new, old))
    at = Lattice((torch.linspace(0, 24, 7).double(),))
    assert torch.allclose(new(at), old(at), atol=1e-6)
    inner = Lattice((torch.linspace(10, 14, 33).double(),))
    assert torch.allclose(new(inner), old(inner), atol=5e-3)


def test_a_single_slice_is_carried_over() -> None:
    flat = wave((14, 13))[:, :, :, None]
    start = fit(flat, quick())
    rep = fit(wave((20, 17))[:, :, :, None], quick(steps=0), start=start)
    assert rep.info["psnr_grid"] > start.info["psnr_grid"] - 3


def test_a_checkpoint_is_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oinr_monai.fitting import single as fitting

    image, checkpoint = wave((14, 13), turns=2), tmp_path / "fit.pt"
    start = fit(wave((14, 13)), quick())
    loss, calls = fitting.weighted_mse, iter(range(10**6))

    def patched(signal: Tensor, label: object) -> Tensor:
        if signal.requires_grad and next(calls) == 9:
            raise KeyboardInterrupt
        return loss(signal, label)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "weighted_mse", patched)
        part = fit(image, quick(), start=start, checkpoint=checkpoint)
    assert part.info["interrupted"]
    with pytest.raises(ValueError, match="same image and the same settings"):
        fit(image, quick(), checkpoint=checkpoint, resume=True)
    resumed = fit(image, quick(), start=start, checkpoint=checkpoint, resume=True)
    whole = fit(image, quick(), start=start)
    assert torch.equal(resumed.sample().as_tensor(), whole.sample().as_tensor())


@pytest.mark.parametrize(
    ("image", "changes", "message"),
    [
        (wave((14, 13), channels=2), {}, "start must have 2 channels as the image, got 1; fit a"),
        (wave((14, 13, 4)), {}, "start must have 3 spatial dimensions as the image, got 2"),
        (
            wave((14, 13)),
            {"channels": (8, 8)},
            "start must be of the kind that the settings make, ConvOINR on SplineField with "
            "channels 4-8-8-1, got .* 4-16-16-1; give the settings of the start, preset 'fast'",
        ),
        (wave((14, 13)), {"encoding": fourier}, "ConvOINR on FourierEncoding"),
        (wave((14, 13)), {"kernel_size": 3}, "start must be of the kind"),
    ],
)
def test_errors(image: Tensor, changes: dict[str, object], message: str) -> None:
    start = fit(wave((14, 13)), quick(steps=1))
    with pytest.raises(ValueError, match=message):
        fit(image, quick(**changes), start=start)


def test_sines_of_another_frequency_are_another_kind() -> None:
    from oinr_monai import ConvOINR

    slow = partial(ConvOINR, channels=(8,), kernel_size=1, omega_0=10.0)
    fast = partial(ConvOINR, channels=(8,), kernel_size=1, omega_0=30.0)
    start = fit(wave((14, 13)), quick(steps=1, network=slow))
    with pytest.raises(ValueError, match="start must be of the kind"):
        fit(wave((14, 13)), quick(network=fast), start=start)


def test_where_the_affine_lies_does_not_matter() -> None:
    start = fit(wave((14, 13)), quick())
    moved = torch.eye(4, dtype=torch.float64)
    moved[:2, 3] = torch.tensor([50.0, -7.0])
    rep = fit(MetaTensor(wave((14, 13)), affine=moved), quick(steps=0), start=start)
    assert torch.equal(rep.sample().as_tensor(), start.sample().as_tensor())
