"""Input functions f for the operator: fixed encodings of the coordinates, and learned splines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions
from oinr_monai.grids.splines import jet

from .field import Field, SeparableField

__all__ = ["CoordinateField", "DyadicEncoding", "FourierEncoding", "NoiseField", "SplineField"]


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
        ValueError: if ``shortest`` is below 2 or ``bands`` below 1.

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
        if self.bands is None:
            harmonics = torch.arange(1, int(most) + 1, dtype=torch.float64)
        else:
            harmonics = torch.logspace(0, math.log10(most), self.bands, dtype=torch.float64)
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
    r"""The published encoding: octaves of sines and cosines over [-1, 1].

    .. math:: f(x) = \big(\sin(2^i \pi z_d), \cos(2^i \pi z_d)\big), \qquad z_d = 2 x_d / L_d - 1

    Its period equals the domain, so that both ends get the same code, and its top octaves lie
    beyond the sampling limit of small grids: use :class:`FourierEncoding` unless reproducing.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        octaves: number of octaves, 10 for images and 8 for volumes as published.

    Example:
        >>> DyadicEncoding(extent=(191.0, 191.0), octaves=10).channels
        40
    """

    def __init__(self, extent: Sequence[float], octaves: int = 10) -> None:
        super().__init__()
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


class CoordinateField(SeparableField):
    """Plain coordinates f(x) = x, scaled to [-1, 1]: with it a ConvOINR of width 1 is a SIREN.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.

    Example:
        >>> from oinr_monai.grids.positions import Lattice
        >>> CoordinateField(extent=(10.0,))(Lattice((torch.tensor([0.0, 10.0]),))).tolist()
        [[[-1.0, 1.0]]]
    """

    def __init__(self, extent: Sequence[float]) -> None:
        super().__init__()
        self.spatial_dims = self.channels = len(extent)
        self.extent = tuple(map(float, extent))

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """One channel for each axis."""
        return (1,) * self.spatial_dims

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, 1), float64."""
        scale = 2 / self.extent[axis] if self.extent[axis] else 0.0
        x = coordinates[:, None].double()
        return (x * scale - 1, torch.full_like(x, scale), torch.zeros_like(x))[derivative]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent)}


class SplineField(Field):
    r"""A learned input function: B-splines on coarse knots, twice differentiable.

    .. math:: f(x) = \sum_k c_k \beta^p(x / \kappa - k), \qquad \kappa \text{ the knot spacing}

    The operator that reads it stays small, so that a step costs little however large the volume
    is; the coefficients hold the detail. They cost ``channels / knot_spacing^D`` numbers a voxel.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        knot_spacing: distance between knots along each axis, in mm.
        channels: channels E.
        margin: how far beyond the domain the field reaches, in mm per axis (a kernel's halo).
        degree: degree p, 3 or 5.

    Raises:
        ValueError: if a knot spacing is not positive, or the degree is another.

    Example:
        >>> from oinr_monai.grids.positions import Lattice
        >>> field = SplineField(extent=(9.0, 9.0), knot_spacing=(3.0, 3.0), channels=4)
        >>> field.coefficients.shape
        torch.Size([4, 6, 6])
        >>> field(Lattice((torch.rand(5), torch.rand(7))), order=1).shape
        torch.Size([3, 4, 5, 7])
    """

    def __init__(
        self,
        extent: Sequence[float],
        knot_spacing: Sequence[float],
        channels: int,
        margin: Sequence[float] | None = None,
        degree: int = 3,
    ) -> None:
        super().__init__()
        if min(knot_spacing) <= 0:
            raise ValueError(f"knot_spacing must be positive, got {tuple(knot_spacing)}")
        if degree not in (3, 5):
            raise ValueError(f"degree must be 3 or 5, got {degree}")
        self.spatial_dims, self.channels, self.degree = len(extent), channels, degree
        self.extent, self.knot_spacing = tuple(map(float, extent)), tuple(map(float, knot_spacing))
        self.margin = tuple(map(float, margin or [0.0] * len(extent)))
        reach = zip(self.extent, self.margin, self.knot_spacing, strict=True)
        knots = [max(math.ceil((e + 2 * m) / k - 1e-9), 1) + degree for e, m, k in reach]
        self.coefficients = nn.Parameter(torch.empty(channels, *knots))
        # Small: the field then grows where the image asks for it (measured, +1 dB at equal time).
        nn.init.normal_(self.coefficients, std=0.03)

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm, up to the margin."""
        return jet(
            self.coefficients, self.in_knots(positions), order, self.knot_spacing, self.degree
        )

    def in_knots(self, positions: Positions) -> Positions:
        """The same places counted in knots from the first one."""
        first = (self.degree - 1) // 2
        axes = [
            (x.double() + m) / k + first
            for x, m, k in zip(positions.axes, self.margin, self.knot_spacing, strict=True)
        ]
        return type(positions)(tuple(axes))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "knot_spacing": list(self.knot_spacing),
            "channels": self.channels,
            "margin": list(self.margin),
            "degree": self.degree,
        }


class NoiseField(SplineField):
    """The published noise channel: one normal sample at each voxel, fixed, smooth in between.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        spacing: voxel spacing of each axis, in mm.
        seed: seed of the noise.

    Example:
        >>> NoiseField(extent=(9.0, 9.0), spacing=(1.0, 1.0)).channels
        1
    """

    def __init__(self, extent: Sequence[float], spacing: Sequence[float], seed: int = 0) -> None:
        super().__init__(extent, spacing, channels=1)
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.coefficients.data.normal_(generator=generator)
        self.coefficients.requires_grad_(False)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent), "spacing": list(self.knot_spacing), "seed": self.seed}
