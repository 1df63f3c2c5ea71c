"""Sines and cosines of the coordinates: ours, and those published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .separable import SeparableField

__all__ = ["DyadicEncoding", "FourierEncoding"]

# Wavelengths of an axis, far beyond what any first layer reads.
MOST_WAVELENGTHS = 1 << 16

# The shortest wavelength of more octaves would be lost in a coordinate's rounding.
MOST_OCTAVES = 60


def _wave_table(coordinates: Tensor, rates: Tensor, derivative: int) -> Tensor:
    # sin and cos of rate * x and their derivatives: each one turns the phase by a quarter.
    phase = coordinates[:, None].double() * rates.double() + derivative * math.pi / 2
    factor = rates.double() ** derivative
    return torch.cat([factor * phase.sin(), factor * phase.cos()], dim=1)


class FourierEncoding(SeparableField):
    r"""Sines and cosines of each coordinate, in mm, from twice the domain to the sampling limit.

    .. math:: f(x) = \big(\sin(2\pi x_d / \lambda_{dk}), \cos(2\pi x_d / \lambda_{dk})\big)_{d,k}

    The longest wavelength is 2.1 times the extent of its axis, so that both ends of the domain
    differ; the shortest is ``shortest`` voxels. With ``bands`` given, wavelengths are spaced
    geometrically between the two (E = 2 D ``bands``); without, all harmonics are taken, which fits
    faster and costs no more after the first layer.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        spacing: voxel spacing of each axis, in mm.
        bands: wavelengths per axis, or None for every harmonic of the longest.
        shortest: shortest wavelength, in voxels; 2 is the sampling limit.

    Raises:
        ValueError: if ``shortest`` is below 2, ``bands`` below 1, a spacing not positive, or there
            are more than 65,536 wavelengths along an axis.

    Example:
        >>> from oinr_monai.grids.positions import Lattice
        >>> field = FourierEncoding(extent=(63.0, 63.0, 63.0), spacing=(1.0, 1.0, 1.0), bands=8)
        >>> axes = tuple(torch.arange(5.0) for _ in range(3))
        >>> field(Lattice(axes)).shape
        torch.Size([1, 48, 5, 5, 5])
    """

    def __init__(
        self,
        extent: Sequence[float],
        spacing: Sequence[float],
        bands: int | None = None,
        shortest: float = 6.0,
    ) -> None:
        super().__init__()
        if not 1 <= len(extent) == len(spacing) or min(spacing) <= 0:
            raise ValueError(
                f"spacing must be a positive number for each axis of extent, got {tuple(spacing)} "
                f"and {tuple(extent)}"
            )
        if shortest < 2:
            raise ValueError(f"shortest must be 2 voxels or more, got {shortest}")
        if bands is not None and bands < 1:
            raise ValueError(f"bands must be 1 or more, got {bands}")
        self.spatial_dims = len(extent)
        self.bands, self.shortest = bands, shortest
        self.extent, self.spacing = tuple(map(float, extent)), tuple(map(float, spacing))
        self._rates = [
            self._axis_rates(e, h) for e, h in zip(self.extent, self.spacing, strict=True)
        ]
        self.channels = sum(self.channels_per_axis)

    def _axis_rates(self, extent: float, spacing: float) -> Tensor:
        longest = 2.1 * max(extent, spacing)
        most = max(longest / (self.shortest * spacing), 1.0)
        if (self.bands or most) > MOST_WAVELENGTHS:
            raise ValueError(
                f"bands must be at most {MOST_WAVELENGTHS}, got {self.bands or int(most)} along an "
                f"axis of {extent:g} mm with voxels of {spacing:g} mm"
            )
        # No weights: they are numbers wherever the field is built, on the meta device as well.
        kind: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
        if self.bands is None:
            harmonics = torch.arange(1, int(most) + 1, **kind)
        else:
            harmonics = torch.logspace(0, math.log10(most), self.bands, **kind)
        return 2 * math.pi / longest * harmonics

    @property
    def wavelengths(self) -> tuple[Tensor, ...]:
        """Wavelengths of each axis, longest first, in mm."""
        return tuple(2 * math.pi / rates for rates in self._rates)

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """A sine and a cosine for every wavelength of the axis."""
        return tuple(2 * len(rates) for rates in self._rates)

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""
        return _wave_table(coordinates, self._rates[axis].to(coordinates.device), derivative)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "spacing": list(self.spacing),
            "bands": self.bands,
            "shortest": self.shortest,
        }


class DyadicEncoding(SeparableField):
    r"""The published field: octaves of sines and cosines over [-1, 1].

    .. math:: f(x) = \big(\sin(2^i \pi z_d), \cos(2^i \pi z_d)\big), \qquad z_d = 2 x_d / L_d - 1

    Its period equals the domain, so that both ends get the same code, and its top octaves lie
    beyond the sampling limit of small grids: use :class:`FourierEncoding` unless reproducing.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        octaves: number of octaves, 10 for images and 8 for volumes as published.

    Raises:
        ValueError: if there are no octaves, or more than 60.

    Example:
        >>> DyadicEncoding(extent=(191.0, 191.0), octaves=10).channels
        40
    """

    def __init__(self, extent: Sequence[float], octaves: int = 10) -> None:
        super().__init__()
        if not 1 <= octaves <= MOST_OCTAVES:
            raise ValueError(f"octaves must be 1 to {MOST_OCTAVES}, got {octaves}")
        self.spatial_dims, self.octaves = len(extent), octaves
        self.extent = tuple(map(float, extent))
        self.channels = sum(self.channels_per_axis)

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """A sine and a cosine for every octave."""
        return (2 * self.octaves,) * self.spatial_dims

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""
        scale = 2 / self.extent[axis] if self.extent[axis] else 0.0
        rates = math.pi * 2.0 ** torch.arange(self.octaves, device=coordinates.device)
        return _wave_table(coordinates * scale - 1, rates, derivative) * scale**derivative

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent), "octaves": self.octaves}
