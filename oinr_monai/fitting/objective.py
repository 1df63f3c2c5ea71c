"""What a fit of images is held against: where it looks, what is there, and how good it is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Positions, Scatter
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.metrics import mean_square, peak_ratio, psnr
from oinr_monai.images.scans import Scan
from oinr_monai.representation.continuous_field import ContinuousField
from oinr_monai.representation.info import Info
from oinr_monai.representation.lattice_field import LatticeField
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

from .presets import FitConfig, places_of
from .samplers import Batch, LatticeSampler, Look, WholeLattice, looked_at

__all__ = ["ImageObjective", "Objective"]


# Places at which psnr_between is measured, at most so many for each voxel, and their seed: the same
# for every fit of an image. Chosen by hand.
BETWEEN_PLACES, PLACES_A_VOXEL, BETWEEN_SEED = 65_536, 4, 20_240_721


class Objective(ABC):
    """What a fit is held against: an image, standardised, and the spline through it.

    Args:
        grid: grid of the image, and of the result.
        channels: channels of the image.
        scale: its intensity scale.
        peak: range of its intensities, of those that count.
        span: range of its standardised intensities, of those that count.
        truth: the spline through its standardised copy.
        config: how to fit.
    """

    def __init__(
        self,
        grid: Grid,
        channels: int,
        scale: IntensityScale,
        peak: float,
        span: float,
        truth: Callable[[Positions], Tensor],
        config: FitConfig,
    ) -> None:
        self.grid, self.channels, self.scale = grid, channels, scale
        self.peak, self.span = peak, span
        self.truth, self.config = truth, config

    @property
    @abstractmethod
    def digest(self) -> str:
        """What tells the image, or the images, from any others."""

    @abstractmethod
    def check(self, field: ContinuousField) -> None:
        """Raise ValueError if a field of this kind cannot be held against it."""

    @abstractmethod
    def samplers(
        self, field: ContinuousField, generator: torch.Generator
    ) -> Sequence[LatticeSampler | WholeLattice]:
        """Where steps may look: one sampler for each image."""

    @abstractmethod
    def psnr_grid(self, result: Representation) -> float:
        """PSNR at the voxels that count, in dB."""

    def looked_at(self, looks: Sequence[Look], device: torch.device) -> Iterator[Batch]:
        """Where steps look and what is there, on a device."""
        return looked_at(looks, device)

    def held_out(self, field: ContinuousField, device: torch.device) -> list[Batch]:
        """One batch for each image, the same for every fit, which no step sees."""
        samplers = self.samplers(field, torch.Generator().manual_seed(BETWEEN_SEED))
        return list(self.looked_at([(each, each.axes()) for each in samplers], device))

    def result(self, field: ContinuousField, taken: Info) -> Representation:
        """The representation that ``field`` is; its ``info`` holds what it took, and its scores."""
        result = Representation(field, self.grid, self.scale)
        result.info = replace(
            taken,
            settings=self.config.settings(),
            image=self.digest,
            parameters=result.parameters,
            psnr_grid=self.psnr_grid(result),
            psnr_between=self.psnr_between(result),
        )
        return result

    def psnr_between(self, result: Representation, mask: Tensor | None = None) -> float:
        """PSNR at random places, against the spline, in dB; where the nearest voxel counts."""
        generator = torch.Generator().manual_seed(BETWEEN_SEED)
        last = torch.tensor(self.grid.shape, dtype=torch.float64) - 1
        places = _between_places(result.field, math.prod(self.grid.shape))
        voxels = torch.rand(places, len(last), generator=generator, dtype=torch.float64) * last
        if mask is not None:
            voxels = voxels[mask[tuple(voxels.round().long().T)]]
        truth = self.scale.restore(self.truth(Scatter(tuple(voxels.T))))
        error = result.at(self.grid.to_world(voxels)).T.cpu() - truth
        return peak_ratio(mean_square(error), self.peak)


class ImageObjective(Objective):
    """What a fit of images in memory is held against.

    Args:
        scans: what it sees; the first one's intensities, grid and scores are the result's.
        config: how to fit.
    """

    def __init__(self, scans: Sequence[Scan], config: FitConfig) -> None:
        self.scans, self.first = scans, scans[0]
        scale = IntensityScale.of(self.first.image, self.first.mask)
        self.truths = [CubicInterpolant(scale.standardise(scan.filled)) for scan in scans]
        peak, span = (
            float(values.max() - values.min())
            for values in (self.first.counted, scale.standardise(self.first.counted))
        )
        channels, truth = len(self.first.image), self.truths[0]
        super().__init__(self.first.grid, channels, scale, peak, span, truth, config)

    @property
    def digest(self) -> str:
        """Of voxels, masks and affines, one after the other."""
        return "+".join(scan.digest for scan in self.scans)

    def check(self, field: ContinuousField) -> None:
        """Several images have nodes of their own, unless places need none around them."""
        fixed = field.network is field.with_spacing([1.0] * self.grid.spatial_dims).network
        alone = isinstance(field, NeuralField) and field.anywhere
        if len(self.scans) > 1 and fixed and not alone:
            raise ValueError(
                f"network must be pointwise after its first layer or a CKConvOINR for several "
                f"images, got {type(field.network).__name__} on {len(self.scans)} of them"
            )

    def samplers(
        self, field: ContinuousField, generator: torch.Generator
    ) -> Sequence[LatticeSampler | WholeLattice]:
        """Random lattices, or the whole one for an operator that needs it."""
        return [
            self._sampler(field, scan, truth, generator)
            for scan, truth in zip(self.scans, self.truths, strict=True)
        ]

    def _sampler(
        self,
        field: ContinuousField,
        scan: Scan,
        truth: CubicInterpolant,
        generator: torch.Generator,
    ) -> LatticeSampler | WholeLattice:
        spacing, device = tuple(scan.grid.spacing.tolist()), field.device
        counts = None if scan.mask is None else scan.mask.to(device)
        if isinstance(field, LatticeField):
            return WholeLattice(self.scale.standardise(scan.image).to(device), counts, spacing)
        return LatticeSampler(
            truth=truth.to(device),
            counts=counts,
            shape=scan.grid.shape,
            spacing=spacing,
            places=places_of(scan.grid, self.config),
            contiguous=not field.anywhere,
            mask=scan.mask,
            generator=generator,
            origin=scan.origin,
        )

    def psnr_grid(self, result: Representation) -> float:
        """PSNR at the first image's voxels that count."""
        mask = None if self.first.mask is None else self.first.mask[None]
        return psnr(result.sample().as_tensor(), self.first.image, mask)

    def psnr_between(self, result: Representation, mask: Tensor | None = None) -> float:
        """PSNR at random places of the first image, where the nearest voxel counts."""
        return super().psnr_between(result, self.first.mask)


def _between_places(field: ContinuousField, voxels: int) -> int:
    """At how many places between so many voxels the PSNR is measured."""
    # Inner kernels ask for a whole neighbourhood around every place.
    around = field.numbers(0, scattered=True) // field.numbers(0, scattered=False)
    return max(min(BETWEEN_PLACES, PLACES_A_VOXEL * voxels) // around, 1_024)
