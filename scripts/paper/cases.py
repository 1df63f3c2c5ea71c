"""The comparisons that are run again: for each published system its data and both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn.functional import pad

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    DenoiseConfig,
    FitConfig,
    Grid,
    OccupancyConfig,
    PhotonNoise,
    Representation,
    add_photon_noise,
    denoise,
    fit,
    fit_family,
    fit_occupancy,
)
from oinr_monai.analysis.occupancy import SURFACE_LEVEL
from oinr_monai.fitting.presets import PresetName
from oinr_monai.images.metrics import iou, psnr
from scripts.paper.published import (
    Published,
    PublishedContinuous,
    PublishedOINR2d,
    PublishedOINR3d,
    PublishedSequence,
    split,
)
from scripts.paper.published_cz import PublishedCZ
from scripts.shared.pictures import (
    FACES,
    SIZES,
    Crop,
    Slice,
    at_many_sizes,
    len_of_side,
    on_canvas,
    shrunk,
)
from scripts.shared.problem import make_problem
from scripts.shared.series import SMALL, Real, frames_of, linear, of_nibabel

COUNTS, READOUT = 30.0, 2.0


@dataclass(frozen=True)
class Options:
    """What the command line decides.

    Args:
        seconds: budget of the published recipe; it always completes the step it is in.
        full: train it for its published number of steps instead.
        size: side of the pictures in pixels, a divisor of 512.
        preset: ours, for the rows that call ``fit``.
    """

    seconds: float
    full: bool
    size: int
    preset: PresetName


@dataclass(frozen=True)
class Fitted:
    """What a method has become.

    Args:
        method: how tables call it.
        parameters: number of trained numbers.
        steps: steps that it took.
        published_steps: steps that its authors take; None for ours.
        predict: makes the prediction (C, *spatial); called off the clock.
    """

    method: str
    parameters: int
    steps: int
    published_steps: int | None
    predict: Callable[[], Tensor]


@dataclass(frozen=True)
class Score:
    """How predictions of a row are judged.

    Args:
        name: what it is called.
        of: the score of a prediction and the truth, larger being better.
        digits: decimals of a score; a difference has one less.
        unit: what follows the number.
    """

    name: str
    of: Callable[[Tensor, Tensor], float]
    digits: int
    unit: str = ""

    def text(self, value: float) -> str:
        """Return the score with its name and unit."""
        return f"{self.name} {value:.{self.digits}f}{self.unit}"

    def difference(self, value: float) -> str:
        """Return a difference of two scores with its sign."""
        return f"{value:+.{self.digits - 1}f}{self.unit or ' ' + self.name}"


def overlap(prediction: Tensor, truth: Tensor) -> float:
    """Return the IoU of a predicted occupancy, cut at 0.5, with a mask."""
    return iou((prediction > SURFACE_LEVEL).float(), truth)[1]


PSNR, IOU = Score("PSNR", psnr, 2, " dB"), Score("IoU", overlap, 4)
SCORES = {score.name: score for score in (PSNR, IOU)}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        data: what is fitted, in words.
        truth: what a prediction is scored against, shape (C, *spatial).
        floor: name and prediction of what one has without fitting.
        published: sets the published recipe up.
        ours: fits ours in so many seconds.
        crop: the part that the picture shows enlarged.
        plane: turns a prediction into pixels (C, rows, columns).
        score: how predictions are judged.
    """

    data: str
    truth: Tensor
    floor: tuple[str, Tensor]
    published: Callable[[], Published]
    ours: Callable[[float], Fitted]
    crop: Crop
    plane: Callable[[Tensor], Tensor] = torch.Tensor.cpu
    score: Score = PSNR


# ---- data ---------------------------------------------------------------------------------------


def mean_of(image: Tensor) -> tuple[str, Tensor]:
    """Return the constant mean of each channel as a prediction."""
    return "constant mean", image.flatten(1).mean(1)[:, None].expand(-1, image[0].numel()).reshape(
        image.shape
    )


# ---- rows ---------------------------------------------------------------------------------------


def fit_ours(image: Tensor, preset: PresetName, seconds: float) -> Fitted:
    """Fit ``image`` with a preset of ``oinr_monai.fit``."""
    representation = fit(image, FitConfig(preset=preset, seconds=seconds))
    return fitted_as(f"oinr_monai.fit, {preset}", representation)


def fitted_as(
    method: str, representation: Representation, predict: Callable[[], Tensor] | None = None
) -> Fitted:
    """Return a representation as an entry of the table; it predicts on its own grid if not told."""
    return Fitted(
        method,
        representation.parameters,
        int(representation.info["steps"]),
        None,
        predict or (lambda: representation.sample().as_tensor()),
    )


def image_row(options: Options) -> list[Case]:
    """Pictures, the published discrete convolutions beside ``fit``."""

    def case(name: str) -> Case:
        truth = shrunk(name, options.size)
        return Case(
            f"{name}, {options.size}²",
            truth,
            mean_of(truth),
            partial(PublishedOINR2d, truth),
            partial(fit_ours, truth, options.preset),
            FACES[name],
        )

    return [case(name) for name in ("camera", "astronaut")]


def continuous_row(options: Options) -> list[Case]:
    """One operator for a picture at many sizes, judged at a size that it has not seen."""
    images = at_many_sizes("camera")
    training, _, (truth, *_) = split(images)
    size = truth.shape[-1]
    return [
        Case(
            f"camera, {len(training)} sizes {SIZES[0]} to {SIZES[-1]}, judged at {size}²",
            truth,
            mean_of(truth),
            partial(PublishedContinuous, images),
            partial(continuous_ours, training, size),
            FACES["camera"],
        )
    ]


def continuous_ours(training: Sequence[Tensor], size: int, seconds: float) -> Fitted:
    """Fit one operator to all of ``training``; it predicts at ``size``.

    Its kernels reach 3 mm, where the picture is 256 mm wide at every size; its nodes lie at the
    pixels of the size in hand.
    """
    network = partial(CKConvOINR, channels=(32, 32), support=(3.0, 0, 0))
    images = [on_canvas(image) for image in sorted(training, key=len_of_side, reverse=True)]
    representation = fit(images, FitConfig(preset="best", seconds=seconds, network=network))
    grid = Grid.from_image(on_canvas(torch.empty(1, size, size)))

    def predict() -> Tensor:
        at_size = representation.with_spacing(grid.spacing.tolist())
        return at_size.sample(grid).as_tensor()

    return fitted_as("oinr_monai.fit, CKConvOINR, all sizes", representation, predict)


def denoise_row(options: Options) -> list[Case]:
    """A picture with photon and readout noise, judged against the clean one."""
    clean = shrunk("astronaut", options.size)
    noisy = add_photon_noise(clean, torch.Generator().manual_seed(0), COUNTS, READOUT)
    return [
        Case(
            f"astronaut, {options.size}², {COUNTS:g} photons, readout {READOUT:g}",
            clean,
            ("the noisy picture", noisy),
            partial(PublishedOINR2d, noisy),
            partial(denoise_ours, noisy),
            FACES["astronaut"],
        )
    ]


def denoise_ours(noisy: Tensor, seconds: float) -> Fitted:
    """Denoise ``noisy``, knowing the kind of noise and nothing of the clean picture."""
    config = DenoiseConfig(PhotonNoise(COUNTS, READOUT), seconds=seconds)
    return fitted_as("oinr_monai.denoise", denoise(noisy, config))


def volume_row(options: Options) -> list[Case]:
    """A block of the brain template, the published 3-D recipe beside ``fit``."""
    image = make_problem("mni152").image
    truth = image.as_tensor()
    return [
        Case(
            f"MNI152 at 1 mm, central {truth.shape[-1]}³",
            truth,
            mean_of(truth),
            partial(PublishedOINR3d, truth),
            partial(fit_ours, image, options.preset),
            Crop(0.25, 0.6, 0.3, 0.65),
            partial(axial_plane, image.affine),
        )
    ]


def axial_plane(affine: Tensor, volume: Tensor) -> Tensor:
    """Return the middle axial plane (1, rows, columns), anterior above and left at the left."""
    image = MetaTensor(volume, affine=affine)
    middle = affine[:3, :3] @ (torch.tensor(volume.shape[1:]).to(affine) // 2) + affine[:3, 3]
    return Slice.of(image, tuple(middle.tolist()), "axial").pixels.flip(0)[None]


def cz_row(options: Options) -> list[Case]:
    """A picture by the Calderon-Zygmund operators."""
    truth = shrunk("camera", options.size)
    return [
        Case(
            f"camera, {options.size}²",
            truth,
            mean_of(truth),
            partial(PublishedCZ, truth),
            partial(cz_ours, truth),
            FACES["camera"],
        )
    ]


def cz_ours(image: Tensor, seconds: float) -> Fitted:
    """Fit a Calderon-Zygmund operator to ``image``."""
    config = FitConfig(preset="best", seconds=seconds, network=CZOINR)
    representation = fit(image, config)
    return fitted_as("oinr_monai.fit, CZOINR", representation)


def occupancy_row(options: Options) -> list[Case]:
    """The brain as a binary volume, which is what the published 3-D recipe was made for."""
    mask = brain_mask()
    truth = mask.as_tensor()
    return [
        Case(
            f"MNI152 brain mask at 4 mm, {' x '.join(map(str, truth.shape[1:]))}",
            truth,
            ("the whole box", torch.ones_like(truth)),
            partial(PublishedOINR3d, truth),
            partial(occupancy_ours, mask, options.preset),
            Crop(0.65, 1.0, 0.65, 1.0),
            partial(axial_plane, mask.affine),
            IOU,
        )
    ]


def brain_mask() -> MetaTensor:
    """Return the brain mask at 4 mm in its bounding box, padded to even sizes, as published."""
    from nilearn.datasets import load_mni152_brain_mask

    mask = load_mni152_brain_mask(resolution=4)
    inside = torch.from_numpy(mask.get_fdata(dtype="float32")) > SURFACE_LEVEL
    places = inside.nonzero()
    first, last = places.amin(dim=0), places.amax(dim=0) + 1
    box = tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
    odd = ((last - first) % 2).tolist()
    padded = pad(inside[box].float(), [side for n in reversed(odd) for side in (0, n)])
    affine = torch.from_numpy(mask.affine).double()
    affine[:3, 3] += affine[:3, :3] @ first.double()
    return MetaTensor(padded[None], affine=affine)


def occupancy_ours(mask: MetaTensor, preset: PresetName, seconds: float) -> Fitted:
    """Fit an occupancy to ``mask``, with the smoothing that it has by itself."""
    config = OccupancyConfig(FitConfig(preset=preset, seconds=seconds))
    return fitted_as(f"oinr_monai.fit_occupancy, {preset}", fit_occupancy(mask, config))


def sequence_row(options: Options) -> list[Case]:
    """Frames between every third one, of the middle slice of the functional scan of nibabel."""
    series = functional_slice()
    last = series.kept[-1]
    asked = [i / last for i in series.held_out]
    return [
        Case(
            f"{series.name} of nibabel's functional scan, {len(asked)} frames from "
            f"{len(series.kept)}",
            series.frames[series.held_out].flatten(0, 1),
            ("linear in time", linear(series, FitConfig()).flatten(0, 1)),
            partial(PublishedSequence, series.frames[series.kept], asked=asked),
            partial(sequence_ours, series),
            Crop(0.25, 0.75, 0.25, 0.75),
            lambda frames: frames[len(frames) // 2][None].cpu().mT.flip(1),
        )
    ]


def functional_slice() -> Real:
    """Return the middle slice of the scan, as frames in time."""
    return Real("middle slice", "frames", frames_of(of_nibabel("functional.nii"))[..., 1])


def sequence_ours(series: Real, seconds: float) -> Fitted:
    """Fit a family to the kept frames."""
    frames = [MetaTensor(series.frames[i]) for i in series.kept]
    config = replace(SMALL, steps=None, seconds=seconds)
    family = fit_family(frames, config, times=[float(i) for i in series.kept])
    info = family.representation.info

    def predict() -> Tensor:
        return torch.cat([family.at_time(float(i)).sample().as_tensor() for i in series.held_out])

    return Fitted("ours, `fit_family`", info["parameters"], info["steps"], None, predict)


ROWS: dict[str, Callable[[Options], list[Case]]] = {
    "image": image_row,
    "continuous": continuous_row,
    "denoise": denoise_row,
    "volume": volume_row,
    "occupancy": occupancy_row,
    "sequence": sequence_row,
    "cz": cz_row,
}
