"""Fits of tiny images: budgets, seeds, interrupts, masks, quality, errors at the door."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import FitConfig, FourierEncoding, Grid, Representation, fit
from oinr_monai.fitting import objective as descent
from oinr_monai.fitting import single as fitting
from oinr_monai.fitting.device import gains_from_bfloat16
from oinr_monai.fitting.handlers import Clock
from oinr_monai.fitting.presets import begins_closed
from oinr_monai.images.metrics import psnr

SHAPES = {1: (24,), 2: (13, 15), 3: (9, 8, 10)}
QUICK = FitConfig(preset="fast", steps=12, channels=(8, 8), places=256)


@pytest.fixture(autouse=True)
def _fewer_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner kernels ask for a neighbourhood around every place."""
    monkeypatch.setattr(descent, "BETWEEN_PLACES", 2_000)


def smooth(shape: tuple[int, ...], channels: int = 1) -> Tensor:
    """Waves of 8 voxels and more along every axis, in 0 to 200."""
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    mesh = torch.meshgrid(*axes, indexing="ij")
    rows = []
    for c in range(channels):
        phases = [2 * math.pi * x / (8 + 2 * d) + c for d, x in enumerate(mesh)]
        rows.append(100 + 100 * torch.stack([p.sin() for p in phases]).mean(0))
    return torch.stack(rows).float()


def state(rep: Representation) -> dict[str, Tensor]:
    return rep.field.state_dict()


def equal(a: Representation, b: Representation) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state(a).values(), state(b).values(), strict=True))


def quick(**changes: object) -> FitConfig:
    return FitConfig(
        **{"preset": "fast", "channels": (8, 8), "places": 256, "steps": 12, **changes}
    )


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_steps_are_exact(steps: int) -> None:
    assert fit(smooth((12, 12)), quick(steps=steps)).info["steps"] == steps


def test_seconds_end_near_their_number() -> None:
    image = smooth((12, 12))
    fit(image, QUICK)
    started = time.monotonic()
    info = fit(image, quick(steps=None, seconds=1.0)).info
    assert 1.0 <= info["seconds"] < 3
    assert time.monotonic() - started < 10
    assert info["steps"] > 5


def test_whichever_budget_is_spent_first() -> None:
    image = smooth((12, 12))
    assert fit(image, quick(steps=5, seconds=60.0)).info["steps"] == 5
    assert fit(image, quick(steps=10**7, seconds=0.3)).info["seconds"] < 5


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, (3, 1, 1), 3])
def test_the_seed_decides_every_bit(dims: int, kernel_size: object) -> None:
    image = smooth(SHAPES[dims])
    first, again, other = (
        fit(image, quick(kernel_size=kernel_size, seed=seed)) for seed in (0, 0, 1)
    )
    assert equal(first, again)
    assert not equal(first, other)


def test_the_caller_keeps_the_random_state() -> None:
    image = smooth((12, 12))
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = fit(image, QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
    torch.manual_seed(6)
    assert equal(fit(image, QUICK), first)


def test_the_caller_keeps_the_image_and_the_threads() -> None:
    image = smooth((12, 12))
    before, threads = image.clone(), torch.get_num_threads()
    fit(image, QUICK)
    assert torch.equal(image, before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_may_be_off(mode: Callable[[], object], masked: bool) -> None:
    expected = fit(smooth((12, 12)), QUICK, mask=torch.ones(12, 12) if masked else None)
    with mode():
        image = Grid((12, 12), torch.eye(4)).to_image(smooth((12, 12)))
        mask = torch.ones(12, 12, dtype=torch.bool) if masked else None
        assert equal(fit(image, QUICK, mask=mask), expected)


@pytest.mark.parametrize("shape", [(24,), (13, 15), (9, 8, 10), (12, 1, 9), (10, 9, 2), (1, 20)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel_size", [1, (3, 1, 1), 3])
def test_every_kind_of_image(shape: tuple[int, ...], channels: int, kernel_size: object) -> None:
    rep = fit(smooth(shape, channels), quick(kernel_size=kernel_size, steps=3))
    assert rep.sample().shape == (channels, *shape)
    assert bool(torch.isfinite(rep.hessian().as_tensor()).all())
    assert all(math.isfinite(rep.info[key]) for key in ("psnr_grid", "psnr_between"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.float64])
def test_every_kind_of_number(dtype: torch.dtype) -> None:
    image = smooth((12, 12)).round()
    assert equal(fit(image.to(dtype), QUICK), fit(image, QUICK))


def test_arrays_and_images_keep_their_grid(oblique_affine: Tensor) -> None:
    values = smooth((9, 8, 10))
    image = MetaTensor(values, affine=oblique_affine)
    assert fit(image, QUICK).grid == Grid((9, 8, 10), oblique_affine)
    assert fit(values.numpy(), QUICK).grid == Grid((9, 8, 10), torch.eye(4))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_smooth_phantom_is_fitted(
    dims: int, oblique_affine: Tensor, gaussian_blob: Callable[..., object]
) -> None:
    blob = gaussian_blob(dims)
    affine = oblique_affine.clone()
    grid = Grid((18, 16, 8)[:dims], affine)
    affine[:dims, 3] += blob.center - grid.to_world((torch.tensor(grid.shape) - 1) / 2)
    grid = Grid(grid.shape, affine)
    image = grid.to_image(blob.value(grid.points())[None].float())
    rep = fit(image, FitConfig(preset="fast", steps=500, places=1024))
    assert rep.info["psnr_grid"] > 40
    assert rep.info["psnr_between"] > 40
    # The truth between samples and the slopes, at inner places: no spline is involved.
    inner = grid.refine(3).points()[(slice(6, -6),) * dims].reshape(-1, dims)
    span = float(image.max() - image.min())
    error = rep.at(inner)[:, 0] - blob.value(inner)
    assert 10 * math.log10(span**2 / float(error.square().mean())) > 38
    slopes, truth = rep.gradient_at(inner)[:, 0], blob.gradient(inner)
    assert float((slopes - truth).norm() / truth.norm()) < 0.1


def fourier(grid: Grid) -> FourierEncoding:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("encoding", [None, fourier], ids=["splines", "fourier"])
@pytest.mark.parametrize("kernel_size", [1, (3, 1, 1), 3])
def test_the_fit_improves(dims: int, encoding: object, kernel_size: object) -> None:
    image = smooth(SHAPES[dims])
    configs = [quick(steps=n, encoding=encoding, kernel_size=kernel_size) for n in (1, 60)]
    start, end = (fit(image, config).info["psnr_grid"] for config in configs)
    # What begins in closed form is good already, and never worse after it.
    closed = begins_closed(Grid(SHAPES[dims], torch.eye(dims + 1)), 1, configs[0])
    assert end >= start if closed else end > start + 1.5


def test_channels_are_told_apart() -> None:
    image = smooth((16, 16), channels=2)
    image[1] = 1000 - 7 * image[1]
    rep = fit(image, FitConfig(preset="fast", steps=250, places=1024))
    for c in range(2):
        assert psnr(rep.sample().as_tensor()[c : c + 1], image[c : c + 1]) > 30


def ball(shape: tuple[int, ...]) -> Tensor:
    axes = [torch.linspace(-1, 1, n) for n in shape]
    return sum(x**2 for x in torch.meshgrid(*axes, indexing="ij")) < 0.7


@pytest.mark.parametrize("garbage", [1e4, -1e6, math.nan, math.inf])
def test_what_lies_outside_the_mask_does_no_harm(garbage: float) -> None:
    image, mask = smooth((16, 16)), ball((16, 16))
    spoiled = torch.where(mask, image, torch.full_like(image, garbage))
    config = FitConfig(preset="fast", steps=250, places=1024)
    rep = fit(spoiled, config, mask=mask)
    inside = psnr(rep.sample().as_tensor(), image, mask[None])
    assert inside > 35
    assert rep.info["psnr_grid"] == pytest.approx(inside, abs=1e-6)
    assert rep.info["psnr_between"] > 35
    assert rep.scale.outside == (float(image[0, mask].min()),)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_masks_of_every_shape_and_type(dims: int) -> None:
    image, mask = smooth(SHAPES[dims]), ball(SHAPES[dims])
    masks = [mask, mask[None], mask.float(), mask.numpy(), MetaTensor(mask[None].float())]
    fits = [fit(image, QUICK, mask=each) for each in masks]
    assert all(equal(fits[0], each) for each in fits[1:])


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, where: str) -> None:
    """Raise a KeyboardInterrupt in the loss of step ``at``, or after it."""
    if where == "loss":
        loss, calls = fitting.weighted_mse, iter(range(10**6))

        def patched(signal: Tensor, label: object) -> Tensor:
            if signal.requires_grad and next(calls) == at:
                raise KeyboardInterrupt
            return loss(signal, label)

        monkeypatch.setattr(fitting, "weighted_mse", patched)
        return
    tick = Clock._tick

    def patched_tick(self: Clock, engine: object) -> None:
        tick(self, engine)
        if self.step == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Clock, "_tick", patched_tick)


@pytest.mark.parametrize("where", ["loss", "tick"])
def test_an_interrupt_returns_the_best_so_far(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 7, where)
    rep = fit(smooth((12, 12)), quick(steps=30))
    assert rep.info["interrupted"] is True
    assert rep.info["steps"] == 7
    assert math.isfinite(rep.info["psnr_grid"])


def test_an_interrupt_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 0, "loss")
    rep = fit(smooth((12, 12)), quick(steps=30))
    assert rep.info["interrupted"] is True
    assert rep.info["steps"] == 0


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("at", [1, 7, 19])
def test_a_resumed_fit_equals_an_uninterrupted_one(
    kernel_size: int, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, config = smooth((12, 12)), quick(steps=40, kernel_size=kernel_size)
    whole = fit(image, config)
    assert whole.info["interrupted"] is False
    checkpoint = tmp_path / "fit.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, at, "loss")
        part = fit(image, config, checkpoint=checkpoint)
    assert part.info["steps"] == at
    resumed = fit(image, config, checkpoint=checkpoint, resume=True)
    assert resumed.info["steps"] == 40
    assert resumed.info["interrupted"] is False
    assert equal(resumed, whole)
    assert resumed.info["psnr_grid"] == whole.info["psnr_grid"]


def test_seconds_of_interrupted_runs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, config, checkpoint = smooth((12, 12)), quick(steps=None, seconds=0.8), tmp_path / "c"
    with monkeypatch.context() as patch:
        interrupt(patch, 30, "loss")
        part = fit(image, config, checkpoint=checkpoint)
    assert part.info["interrupted"]
    resumed = fit(image, config, checkpoint=checkpoint, resume=True)
    assert 0.8 <= resumed.info["seconds"] < 4
    assert resumed.info["steps"] >= 30


def test_without_resume_a_checkpoint_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, checkpoint = smooth((12, 12)), tmp_path / "fit.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, 5, "loss")
        fit(image, QUICK, checkpoint=checkpoint)
    assert equal(fit(image, QUICK, checkpoint=checkpoint), fit(image, QUICK))
    assert equal(fit(image, QUICK, checkpoint=tmp_path / "none", resume=True), fit(image, QUICK))


def test_other_settings_do_not_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, checkpoint = smooth((12, 12)), tmp_path / "fit.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, 5, "loss")
        fit(image, QUICK, checkpoint=checkpoint)
    with pytest.raises(
        ValueError, match="checkpoint must be of the same image and the same settings"
    ):
        fit(image, quick(seed=1), checkpoint=checkpoint, resume=True)
    with pytest.raises(ValueError, match="same image"):
        fit(image * 2, QUICK, checkpoint=checkpoint, resume=True)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(ValueError, match="checkpoint must be whole"):
        fit(image, QUICK, checkpoint=checkpoint, resume=True)


def test_a_resumed_fit_takes_the_scores_it_would_have_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best step would be the first one after the interrupt, were it scored out of turn."""
    monkeypatch.setattr(
        fitting.ImageFit, "_held_out_psnr", lambda self: lambda: -abs(self.clock.step - 8.1)
    )
    image, config, checkpoint = smooth((12, 12)), quick(steps=40), tmp_path / "fit.pt"
    whole = fit(image, config)
    with monkeypatch.context() as patch:
        interrupt(patch, 7, "loss")
        fit(image, config, checkpoint=checkpoint)
    assert equal(fit(image, config, checkpoint=checkpoint, resume=True), whole)


def test_the_best_weights_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that only get worse: the weights after the first step stay."""
    scores = iter(range(0, -1000, -1))
    monkeypatch.setattr(
        fitting.ImageFit, "_held_out_psnr", lambda self: lambda: float(next(scores))
    )
    image, kept = smooth((12, 12)), []
    step = fitting.ImageFit.step

    def watched(self: fitting.ImageFit, batch: object) -> Tensor:
        loss = step(self, batch)
        if self.clock.step == 0:
            kept.append({k: v.clone() for k, v in self.network.state_dict().items()})
        return loss

    monkeypatch.setattr(fitting.ImageFit, "step", watched)
    rep = fit(image, quick(steps=25))
    assert all(torch.equal(value, kept[0][name]) for name, value in state(rep).items())


def test_info(tmp_path: Path) -> None:
    image = smooth((12, 12))
    rep = fit(image, quick(device="cpu"))
    assert rep.info["device"] == "cpu"
    assert rep.info["parameters"] == rep.parameters
    assert rep.info["seconds"] > 0
    assert rep.info["settings"]["channels"] in ((8, 8), [8, 8])
    assert rep.info["psnr_grid"] == psnr(rep.sample().as_tensor(), image)
    rep.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    assert again.info["psnr_grid"] == rep.info["psnr_grid"]
    assert torch.equal(again.sample().as_tensor(), rep.sample().as_tensor())


def test_psnr_between_is_held_against_the_spline(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.ndimage import map_coordinates

    monkeypatch.setattr(descent, "BETWEEN_PLACES", 20_000)
    image = smooth((12, 13))
    rep = fit(image, quick(steps=100))
    voxels = torch.rand(20_000, 2, dtype=torch.float64) * torch.tensor([11.0, 12.0])
    truth = map_coordinates(image[0].double().numpy(), voxels.T.numpy(), order=3, mode="mirror")
    error = rep.at(voxels)[:, 0].double() - torch.from_numpy(truth)
    span = float(image.max() - image.min())
    expected = 10 * math.log10(span**2 / float(error.square().mean()))
    assert rep.info["psnr_between"] == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_tensorboard(dims: int, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = fit(smooth(SHAPES[dims]), QUICK)
    watched = fit(smooth(SHAPES[dims]), QUICK, log_dir=tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss", "psnr_between", "rate"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["middle_slice"]
    assert all(math.isfinite(e.value) for e in events.Scalars("loss"))
    assert len(events.Scalars("loss")) == 12
    assert equal(plain, watched)


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    fit(smooth((12, 12)), QUICK, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "fit" in printed.err


def test_a_quiet_fit_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    fit(smooth((12, 12)), QUICK)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.gpu
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_on_a_gpu(kernel_size: int) -> None:
    image = smooth((16, 16))
    rep = fit(image, FitConfig(preset="fast", steps=300, kernel_size=kernel_size, device="cuda"))
    assert rep.info["device"].startswith("cuda")
    assert rep.info["psnr_grid"] > 30
    on_cpu = rep.to("cpu").sample().as_tensor()
    assert psnr(rep.sample().as_tensor().cpu(), on_cpu) > 60


image_errors = {
    "5-D": (torch.rand(1, 4, 4, 4, 4), r"image must have shape \(C, \*spatial\)"),
    "no channels": (torch.rand(9), "image must have shape"),
    "empty": (torch.rand(1, 0, 4), "image must hold voxels"),
    "NaN": (torch.tensor([[0.0, math.nan, 1.0, 2.0]]), "image must be finite, got 1 NaN"),
    "infinite": (torch.tensor([[0.0, math.inf, 1.0, 2.0]]), "image must be finite"),
    "constant": (torch.full((1, 5, 5), 3.0), "image must vary, got the constant 3"),
}


@pytest.mark.parametrize("case", image_errors)
def test_bad_images(case: str) -> None:
    image, message = image_errors[case]
    with pytest.raises(ValueError, match=message):
        fit(image, QUICK)


def test_an_image_must_be_an_array() -> None:
    with pytest.raises(TypeError, match="image must be a tensor or an array, got str"):
        fit("image.nii.gz")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(5, 6), r"mask must have shape \(12, 12\), got \(5, 6\)"),
        (torch.ones(2, 12, 12, 3), "mask must have shape"),
        (torch.zeros(12, 12), "mask must hold at least one voxel"),
    ],
)
def test_bad_masks(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(smooth((12, 12)), QUICK, mask=mask)


def test_an_image_must_vary_inside_its_mask() -> None:
    image = smooth((12, 12))
    image[:, :6] = 4.0
    mask = torch.zeros(12, 12)
    mask[:5] = 1
    with pytest.raises(ValueError, match="image must vary, got the constant 4"):
        fit(image, QUICK, mask=mask)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_no_such_device() -> None:
    with pytest.raises(ValueError, match="device must be"):
        fit(smooth((12, 12)), quick(device="cuda"))


def test_reduced_precision_is_a_yes_or_no() -> None:
    assert gains_from_bfloat16(torch.device("cpu")) in (True, False)


def test_a_kernel_over_fourier_features_trains() -> None:
    """Taps of a smooth field move together: without a rate that counts them this stays at 15 dB."""

    def waves(grid: Grid) -> FourierEncoding:
        return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=6)

    config = quick(steps=150, encoding=waves, channels=(32, 32), kernel_size=(5, 1, 1))
    assert fit(smooth((40, 40)), config).info["psnr_between"] > 30


# ---- several images of one object ----------------------------------------------------------------


def stack(thick: int, shape: tuple[int, int] = (24, 24), shift: float = 0.0) -> MetaTensor:
    """A wave of 12 mm along both axes, averaged over ``thick`` rows of 1 mm."""
    x = torch.arange(shape[0], dtype=torch.float64)[:, None] + shift
    y = torch.arange(shape[1], dtype=torch.float64)[None, :]
    wave = (2 * math.pi * x / 12).sin() + (2 * math.pi * y / 12).cos()
    image = wave.unflatten(0, (-1, thick)).mean(1)[None].float()
    affine = torch.diag(torch.tensor([thick, 1.0, 1.0, 1.0], dtype=torch.float64))
    affine[0, 3] = (thick - 1) / 2 + shift
    return MetaTensor(image, affine=affine)


def test_several_images_share_the_frame_of_the_first() -> None:
    representation = fit([stack(1), stack(2), stack(3)], quick(steps=300))
    assert representation.grid == Grid.from_image(stack(1))
    assert representation.info["psnr_grid"] > 25
    alone = fit([stack(1)], quick())
    assert equal(alone, fit(stack(1), quick()))
    assert not equal(alone, fit([stack(1), stack(2)], quick()))


def test_each_image_is_seen_where_it_lies() -> None:
    # Two halves of one wave: each is fitted only if its rows are looked for in its own half.
    first = stack(1, (24, 24))
    later = MetaTensor(first[:, 12:].as_tensor(), affine=first.affine.clone())
    later.affine[0, 3] = 12.0
    representation = fit([first, later], quick(steps=300))
    assert representation.info["psnr_grid"] > 30
    later.affine[0, 3] = 6.0
    astray = fit([first, later], quick(steps=300))
    assert astray.info["psnr_grid"] < representation.info["psnr_grid"] - 10


def turned(image: MetaTensor) -> MetaTensor:
    return MetaTensor(image.as_tensor(), affine=image.affine[[1, 0, 2, 3]])


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ([], {}, "image must be an image or several, got none"),
        ([stack(1), turned(stack(1))], {}, "images must have their axes along those of the first"),
        ([stack(2), stack(1, shift=9.0)], {}, "images must lie within the first, got voxels"),
        ([stack(1), stack(1).repeat(2, 1, 1)], {}, "images must have 1 channels each, got 2"),
        (
            [stack(1), stack(2)],
            {"kernel_size": 3},
            "network must be pointwise after its first layer",
        ),
    ],
)
def test_errors_of_several_images(
    images: list[MetaTensor], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(images, quick(**changes))


def test_several_images_take_no_mask() -> None:
    with pytest.raises(ValueError, match="mask must be None for several images"):
        fit([stack(1), stack(2)], quick(), mask=torch.ones(24, 24))


def test_the_exact_preset_takes_one_image_and_no_start() -> None:
    image = torch.rand(1, 6, 5, generator=torch.Generator().manual_seed(0))
    exact = FitConfig(preset="exact")
    with pytest.raises(ValueError, match="preset must train something for several images"):
        fit([image, image], exact)
    with pytest.raises(ValueError, match="preset must train something for several images"):
        fit(image, exact, start=fit(image, exact))


def test_people_are_shown_the_whole_range_upright() -> None:
    image = torch.tensor([[-3.0, 1.0], [0.0, 5.0], [2.0, 2.0]])
    shown = fitting._shown(image)
    assert (float(shown.min()), float(shown.max())) == (0, 1)
    torch.testing.assert_close(shown, ((image + 3) / 8).T.flip(0))
