"""Blocks of images to fit, what is true between their voxels, and how answers are scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, LoadImage
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d

from oinr_monai import Grid
from oinr_monai.fitting.presets import PresetName
from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.images.metrics import mean_square, peak_ratio

BLOCK = 64
PLACES = 65_536
# The presets that train.
PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "best")


@dataclass(frozen=True)
class Answers:
    """What a fit says: on the grid, and between samples with world gradients where it can.

    ``finer`` is what it says at the voxels of the finer volume that a block was made of.
    """

    on_grid: Tensor
    between: Tensor | None
    slopes: Tensor | None
    finer: Tensor | None = None


class Scores(TypedDict):
    """How good a fit is, as a row has it."""

    psnr_grid: float
    psnr_between: float
    gradient_error: float
    truth: float


@dataclass(frozen=True)
class Problem:
    """A block to fit and the places between its voxels where it is judged as well.

    Args:
        image: the block, shape (1, X, Y, Z), with its affine.
        voxels: fixed random voxel coordinates, shape (N, 3).
        between: the truth there, shape (N,).
        finer: the volume whose voxels were averaged to the block, without the outermost of them,
            shape (1, X', Y', Z'), with its affine; None if the block is of its own.
    """

    image: MetaTensor
    voxels: Tensor
    between: Tensor
    finer: MetaTensor | None = None

    @property
    def volume(self) -> Tensor:
        """Intensities, shape (X, Y, Z)."""
        return self.image.as_tensor()[0]

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid.from_image(self.image)

    @property
    def points(self) -> Tensor:
        """World positions of ``voxels`` in mm, shape (N, 3)."""
        return self.grid.to_world(self.voxels)

    @property
    def slopes(self) -> Tensor:
        """The true gradient at ``voxels``, per voxel, shape (N, 3)."""
        spline = CubicInterpolant(self.image.as_tensor().double())
        return spline.jet(Scatter(tuple(self.voxels.T)), order=1)[1:, 0].T

    @property
    def psnr_of_mean(self) -> float:
        """PSNR of the constant mean: what a method has before it knows any structure."""
        return self.psnr(self.volume.mean().expand_as(self.volume), self.volume)

    def scores(self, found: Answers) -> Scores:
        """Score what a fit says; what a method does not have is NaN."""
        nan, truth = float("nan"), self.grid.gradient_to_world(self.slopes)
        between, slopes = found.between, found.slopes
        return {
            "psnr_grid": self.psnr(found.on_grid, self.volume),
            "psnr_between": nan if between is None else self.psnr(between, self.between),
            "gradient_error": nan
            if slopes is None
            else float((slopes.double() - truth).norm() / truth.norm()),
            "truth": nan
            if self.finer is None or found.finer is None
            else self.psnr(found.finer, self.finer.as_tensor()[0]),
        }

    def psnr(self, prediction: Tensor, truth: Tensor) -> float:
        """Return the PSNR in dB with the range of the block as peak."""
        peak = (self.volume.max() - self.volume.min()).item()
        return peak_ratio(mean_square(prediction.double() - truth.double()), peak)


def load_image(source: str) -> MetaTensor:
    """Return the MNI152 T1 template at 1 mm (``mni152``) or the image file ``source``."""
    if source != "mni152":
        return LoadImage(image_only=True, ensure_channel_first=True)(source)
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    return MetaTensor(template.get_fdata()[None], affine=template.affine)


def make_problem(source: str, size: int = BLOCK) -> Problem:
    """Cut the central block and interpolate it at fixed random places."""
    return problem_of(MetaTensor(CenterSpatialCrop(size)(load_image(source)[:1]).float()))


def make_coarse_problem(source: str, size: int = BLOCK) -> Problem:
    """Cut a central block of twice the size, and average over two voxels along each axis."""
    fine = MetaTensor(CenterSpatialCrop(2 * size)(load_image(source)[:1]).float())
    grid = Grid.from_image(fine)
    affine = grid.affine.clone()
    affine[:3, 3] += affine[:3, :3].sum(dim=1) / 2
    affine[:3, :3] *= 2
    coarse = MetaTensor(avg_pool3d(fine.as_tensor(), 2), affine=affine)
    inner = grid.crop([1] * 3, [n - 1 for n in grid.shape])
    kept = fine.as_tensor()[:, 1:-1, 1:-1, 1:-1]
    return replace(problem_of(coarse), finer=MetaTensor(kept, affine=inner.affine))


def problem_of(image: MetaTensor) -> Problem:
    """Interpolate a block (1, X, Y, Z) at fixed random places."""
    ends = torch.tensor(image.shape[1:]) - 1
    generator = torch.Generator().manual_seed(0)
    voxels = torch.rand(PLACES, 3, generator=generator, dtype=torch.float64) * ends
    volume = image.as_tensor()[0].double().numpy()
    between = ndimage.map_coordinates(volume, voxels.T.numpy(), order=3, mode="mirror")
    return Problem(image, voxels, torch.from_numpy(between))
