"""What a fit of an image on disk is held against: its spline, on disk as well, read row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from oinr_monai.grids.tiles import slabs
from oinr_monai.images.metrics import mean_square, peak_ratio
from oinr_monai.images.stored import StoredImage
from oinr_monai.images.stored_spline import StoredInterpolant, scale_of
from oinr_monai.representation.continuous_field import ContinuousField
from oinr_monai.representation.lattice_field import LatticeField
from oinr_monai.representation.representation import Representation

from .objective import Objective
from .presets import FitConfig, places_of
from .samplers import Batch, LatticeSampler, Look, to_device

__all__ = ["StoredObjective"]


class StoredObjective(Objective):
    """What a fit of an image on disk is held against.

    Args:
        image: the image.
        config: how to fit.
    """

    def __init__(self, image: StoredImage, config: FitConfig) -> None:
        self.image = image
        scale, high = scale_of(image)
        ends = torch.stack([torch.tensor(scale.outside, dtype=high.dtype), high], dim=1)
        peak, span = (
            float(values.max() - values.min()) for values in (ends, scale.standardise(ends))
        )
        truth = StoredInterpolant(image, scale)
        super().__init__(image.grid, image.channels, scale, peak, span, truth, config)

    @property
    def digest(self) -> str:
        """Of voxels and affine, read slab by slab."""
        return self.image.digest

    def check(self, field: ContinuousField) -> None:
        """Operators of whole lattices need all of an image at once."""
        if isinstance(field, LatticeField):
            raise ValueError(
                f"network must be a local operator for an image on disk, got "
                f"{type(field.network).__name__}, which needs all of it at once"
            )

    def samplers(
        self, field: ContinuousField, generator: torch.Generator
    ) -> Sequence[LatticeSampler]:
        """Random lattices of the whole image."""
        return [
            LatticeSampler(
                truth=self.truth,
                shape=self.grid.shape,
                spacing=tuple(self.grid.spacing.tolist()),
                places=places_of(self.grid, self.config),
                contiguous=not field.anywhere,
                mask=None,
                generator=generator,
            )
        ]

    def looked_at(self, looks: Sequence[Look], device: torch.device) -> Iterator[Batch]:
        """What is there is read on the host, for one step after the other."""
        return (to_device(sampler.at(axes), device) for sampler, axes in looks)

    def psnr_grid(self, result: Representation) -> float:
        """PSNR at all voxels, slab by slab."""
        total, count = 0.0, 0
        for start, stop in slabs(self.grid.shape, self.image.voxels_at_once):
            found = result.sample(self.grid.crop(start, stop)).as_tensor()
            error = found - self.image.read(start, stop)
            total += mean_square(error) * error.numel()
            count += error.numel()
        return peak_ratio(total / count, self.peak)
