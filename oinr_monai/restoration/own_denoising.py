"""Denoising by an operator that learns from the noisy image alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.fitting.device import seeded
from oinr_monai.grids.splines import interpolating_coefficients
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

from .noise_descent import NoiseDescent
from .residual import Residual
from .sine_curve import with_tail

if TYPE_CHECKING:
    from .denoising import DenoiseConfig

__all__ = ["OwnDenoising", "own_budget"]

# Looks at a voxel, on average: more, and the operator learns the noise of a small image by heart
# (docs/measured/denoising.md).
VISITS = 20


@final
class OwnDenoising(NoiseDescent):
    """An operator that reads the spline of the noisy samples, and learns from them alone."""

    # Chosen by hand, but for the places, 12 cubed (docs/measured/denoising.md).
    rate, places, kept = 3e-3, 1_728, 16

    cleaner: Residual

    def made(self, sigma: Tensor) -> Residual:
        """The operator as it starts."""
        with seeded(self.config.seed):
            return Residual(len(sigma), sigma)

    def budget(self, voxels: int) -> tuple[int | None, float | None]:
        """At most 2,000 steps, and fewer on small images."""
        return own_budget(self.config, voxels)

    def result(self, interrupted: bool) -> Representation:
        """The spline of the noisy samples, read by the operator."""
        result = Representation(self._field(), self.grid, self.answered, self.info(interrupted))
        return result.to(self.device)

    def _field(self) -> NeuralField:
        operator = self.cleaner.joined()
        if not self.noise.linear:
            operator = with_tail(operator, self._curves(), self._reach())
        spacing = self.grid.spacing.tolist()
        margin = [h * operator.radius for h in spacing]
        splines = SplineField(self.grid.extent.tolist(), spacing, len(self.samples), margin)
        splines.coefficients.requires_grad_(False).copy_(
            interpolating_coefficients(self.samples, operator.radius + 1)
        )
        return NeuralField(splines, operator, spacing)

    def _reach(self) -> float:
        # Standardised answers lie well within this: sines repeat beyond.
        return 1.1 * float(self.samples.abs().max())

    def _curves(self) -> Callable[[Tensor], Tensor]:
        # From standardised stabilised answers (C, N) to standardised intensities.
        def curves(z: Tensor) -> Tensor:
            return self.answered.standardise(self.restored(z))

        return curves


def own_budget(config: DenoiseConfig, voxels: int) -> tuple[int | None, float | None]:
    """Steps and seconds that may be taken on so many voxels; None is no limit."""
    if config.steps is not None:
        return config.steps, config.seconds
    enough = max(VISITS * voxels // OwnDenoising.places, 100)
    return (enough if config.seconds is not None else min(enough, 2_000)), config.seconds
