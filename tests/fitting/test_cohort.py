"""Many fits at once equal fits one after another, in any batches, from any start."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    ConvOINR,
    CoordinateField,
    FitConfig,
    FourierEncoding,
    Grid,
    JointField,
    Representation,
    SplineField,
    fit,
    fit_many,
)
from oinr_monai.fields.field import Field
from oinr_monai.fitting import cohort
from oinr_monai.fitting import objective as descent
from oinr_monai.fitting import single as fitting

SHAPES = {1: (30,), 2: (13, 12), 3: (8, 7, 9)}


@pytest.fixture(autouse=True)
def _quick_and_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores at fewer places; in full precision, whose rounding the law can bear."""
    monkeypatch.setattr(descent, "BETWEEN_PLACES", 2_000)
    monkeypatch.setattr(fitting, "gains_from_bfloat16", lambda device: False)


def walks(count: int, shape: tuple[int, ...], channels: int = 1) -> list[Tensor]:
    """Rough images of quite different ranges."""
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(channels, *shape, generator=generator) for _ in range(count)]
    return [10**i * draw.cumsum(-1) - i for i, draw in enumerate(draws)]


def quick(**changes: object) -> FitConfig:
    return FitConfig(**{"preset": "fast", "places": 200, "steps": 40, **changes})


def furthest(ones: list[Representation], others: list[Representation]) -> float:
    """Largest difference of any sample, in parts of the image's range."""
    pairs = [
        (a.sample().as_tensor(), b.sample().as_tensor()) for a, b in zip(ones, others, strict=True)
    ]
    return max(float((a - b).abs().max() / (a.max() - a.min())) for a, b in pairs)


def fourier(grid: Grid) -> Field:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=4)


def coordinates(grid: Grid) -> Field:
    return CoordinateField(grid.extent.tolist())


def joint(grid: Grid) -> Field:
    splines = SplineField(grid.extent.tolist(), (3 * grid.spacing).tolist(), 3)
    return JointField([fourier(grid), splines])


KINDS: dict[str, dict[str, object]] = {
    "preset": {},
    "published": {"encoding": fourier, "channels": (16, 16, 16), "kernel_size": 3},
    "kernel first": {"kernel_size": (3, 1, 1)},
    "kernels inside": {"kernel_size": (1, 3, 1), "channels": (6, 4)},
    "siren": {"encoding": coordinates, "channels": (32, 32)},
    "joint": {"encoding": joint},
    "continuous kernels": {"network": partial(CKConvOINR, channels=(8,), support=(1.5, 0))},
}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once_equal_one_after_another(dims: int, kind: str) -> None:
    images, config = walks(2, SHAPES[dims]), quick(steps=12, **KINDS[kind])
    alone, together = [fit(image, config) for image in images], fit_many(images, config)
    assert furthest(alone, together) < 1e-4
    for one, other in zip(alone, together, strict=True):
        for score in ("psnr_grid", "psnr_between"):
            assert other.info[score] == pytest.approx(one.info[score], abs=1e-3)
        told = set(one.info) - {"seconds", "psnr_grid", "psnr_between"}
        assert {name: other.info[name] for name in told} == {name: one.info[name] for name in told}
        assert set(other.info) == set(one.info)


def test_the_whole_preset_of_many_channels() -> None:
    images, config = walks(4, (12, 12), channels=3), quick(preset="balanced", steps=150)
    assert furthest([fit(image, config) for image in images], fit_many(images, config)) < 1e-4


def test_closer_knots_than_places() -> None:
    """Few places among many knots: the rows that they need are read alone, for all at once."""
    images, config = walks(3, (40, 36)), quick(preset="best", places=64, channels=(8,))
    assert furthest([fit(image, config) for image in images], fit_many(images, config)) < 1e-4


def test_every_image_keeps_its_own_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image scores best after the first step, the second after the last one."""

    def scores(self: cohort._BatchFit) -> Callable[[], Tensor]:
        return lambda: torch.tensor([-1.0, 1.0]) * self.clock.step

    def score(self: fitting.ImageFit) -> Callable[[], float]:
        return lambda: self.clock.step

    monkeypatch.setattr(cohort._BatchFit, "_held_out_psnr", scores)
    monkeypatch.setattr(fitting.ImageFit, "_held_out_psnr", score)
    images = walks(2, (12, 12))
    early, late = fit_many(images, quick(steps=30))
    assert furthest([early], [fit(images[0], quick(steps=1))]) < 1e-4
    assert furthest([late], [fit(images[1], quick(steps=30))]) < 1e-4
    assert furthest([late], [fit(images[1], quick(steps=1))]) > 0.1


@pytest.mark.parametrize("memory", [1e-3, 1.0, 1e4])
def test_batches_change_nothing(memory: float) -> None:
    images = walks(5, (12, 12))
    assert furthest(fit_many(images, quick()), fit_many(images, quick(), memory=memory)) < 1e-5


def test_memory_bounds_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    start = cohort._BatchFit.__init__

    def watched(self: cohort._BatchFit, scans: list[object], *rest: object) -> None:
        seen.append(len(scans))
        start(self, scans, *rest)

    monkeypatch.setattr(cohort._BatchFit, "__init__", watched)
    images, config = walks(7, (12, 12)), quick(steps=1)
    fit_many(images, config, memory=1e-3)
    assert seen == [1] * 7
    one = 4 * (6 * 37 * 200 + 5 * fit(images[0], config).parameters) / 2**20
    for part, batches in ((3.001, [3, 3, 1]), (2.999, [2, 2, 2, 1]), (1e3, [7])):
        seen.clear()
        fit_many(images, config, memory=part * one)
        assert seen == batches


def test_each_keeps_its_grid_and_source(oblique_affine: Tensor) -> None:
    values, affines = walks(2, (8, 7, 9)), [oblique_affine, oblique_affine.clone()]
    affines[1][:3, 3] += 40.0
    images = [MetaTensor(v, affine=a) for v, a in zip(values, affines, strict=True)]
    for image, name in zip(images, "ab", strict=True):
        image.meta["filename_or_obj"] = name
    reps = fit_many(images, quick(steps=3))
    assert [rep.grid for rep in reps] == [Grid((8, 7, 9), a) for a in affines]
    assert [rep.source for rep in reps] == ["a", "b"]
    alone = [fit(image, quick(steps=3)) for image in images]
    assert furthest(reps, alone) < 1e-4


def test_each_has_weights_of_its_own() -> None:
    one, other = fit_many(walks(2, (12, 12)), quick(steps=3))
    before = other.sample().as_tensor()
    for parameter in one.field.parameters():
        parameter.zero_()
    assert torch.equal(other.sample().as_tensor(), before)


def test_nothing_of_nothing() -> None:
    assert fit_many([], quick()) == []


def test_the_callers_state_stays_as_it_was() -> None:
    images = walks(2, (12, 12))
    copies, before, threads = (
        [i.clone() for i in images],
        torch.random.get_rng_state(),
        torch.get_num_threads(),
    )
    with torch.inference_mode():
        reps = fit_many(images, quick(steps=3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(a, b) for a, b in zip(images, copies, strict=True))
    assert furthest(reps, fit_many(images, quick(steps=3))) == 0


def test_seconds_are_those_of_one_image() -> None:
    images = walks(4, (12, 12))
    fit_many(images, quick(steps=2))
    reps = fit_many(images, quick(steps=None, seconds=0.15))
    assert 0.15 <= reps[0].info["seconds"] < 0.6
    assert reps[0].info["steps"] > 5


@pytest.mark.parametrize("at", [0, 7])
def test_an_interrupt_returns_what_there_is(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second batch of three: the first is whole, the second marked, the third missing."""
    loss, calls = cohort.weighted_mse, iter(range(10**6))

    def patched(signal: Tensor, label: object) -> Tensor:
        if next(calls) == 10 + at:
            raise KeyboardInterrupt
        return loss(signal, label)

    monkeypatch.setattr(cohort, "weighted_mse", patched)
    reps = fit_many(walks(3, (12, 12)), quick(steps=10), memory=1e-3)
    assert [rep.info["interrupted"] for rep in reps] == [False, True]
    assert [rep.info["steps"] for rep in reps] == [10, at]
    assert all(math.isfinite(rep.info["psnr_grid"]) for rep in reps)


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    fit_many(walks(3, (12, 12)), quick(), progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "fit 1-3 of 3" in printed.err


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ([torch.rand(1, 9), torch.rand(1, 8)], {}, r"images must have one shape, \(1, 9\) as the"),
        ([torch.rand(1, 9), torch.rand(2, 9)], {}, r"got \(2, 9\) at 1; crop or resample it"),
        ([torch.rand(1, 9), torch.ones(1, 9)], {}, r"images\[1\]: image must vary"),
        ([torch.rand(9)], {}, r"images\[0\]: image must have shape"),
        (
            [MetaTensor(torch.rand(1, 9), affine=torch.eye(4) * s) for s in (1, 2)],
            {},
            r"images must have one spacing, \[1.0\] mm as the first, got \[2.0\] at 1",
        ),
        (
            [torch.rand(1, 16, 16)] * 2,
            {"network": partial(CZOINR, channels=4, levels=2)},
            "network must be a local operator to be fitted to many images at once, got CZOINR",
        ),
    ],
)
def test_errors(images: list[Tensor], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_many(images, quick(**changes))


def test_errors_of_the_arguments() -> None:
    with pytest.raises(ValueError, match="memory must be positive, got 0"):
        fit_many(walks(1, (9, 9)), quick(), memory=0)
    with pytest.raises(
        TypeError, match=r"images\[0\]: image must be a tensor or an array, got str"
    ):
        fit_many(["a.nii.gz"], quick())  # type: ignore[list-item]


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    images, config = walks(3, (16, 16)), quick(device="cuda")
    assert furthest(fit_many(images, config), [fit(image, config) for image in images]) < 1e-3


def test_a_start_for_all_of_them() -> None:
    images, config = walks(3, (12, 12)), quick(steps=20)
    start = fit(images[0] + 1, config)
    alone = [fit(image, config, start=start) for image in images]
    together = fit_many(images, config, start=start)
    assert furthest(alone, together) < 1e-4
    assert {rep.info["start"] for rep in alone + together} == {alone[0].info["start"]}
    still = fit_many(images, quick(steps=0), start=start)
    for rep in still:
        for name, value in start.field.state_dict().items():
            assert torch.equal(rep.field.state_dict()[name], value)


def test_published_like_networks_are_local() -> None:
    rep = fit_many(walks(1, (12, 12)), quick(steps=1, **KINDS["published"]))[0]
    assert isinstance(rep.field.network, ConvOINR)
    assert rep.field.network.inner_radius > 0
