"""Operators: what everything that maps a field to a signal offers."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

from .integral import Integral
from .sine import sine_jet

__all__ = ["LatticeOperator", "LocalOperator", "Operator", "numbers_of"]


class Operator(nn.Module, ABC):
    """A network that maps a field (B, E, *spatial) to a signal (B, C, *spatial)."""

    if TYPE_CHECKING:  # TorchScript would compile what stands in these annotations
        spatial_dims: int
        in_channels: int
        out_channels: int

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, from which the operator is built again.

        They are JSON values, or the modules that it was made with.
        """


class LocalOperator(Operator):
    r"""An operator of kernel integrals with sines between them, from a field to a signal.

    .. math:: h_0 = f, \quad h_{l+1} = \sin\big(\omega_0 (K_l h_l)\big), \quad F = K_L h_L

    What it answers at a place depends on the field within its halo alone.
    """

    # TorchScript compiles ``forward`` alone.
    __jit_unused_properties__ = (
        "first",
        "halo",
        "inner_radius",
        "integrals",
        "kernel_size",
        "last",
        "radius",
    )

    if TYPE_CHECKING:
        channels: tuple[int, ...]
        omega_0: float
        padding: str
        layers: nn.ModuleList

    @torch.jit.unused
    def start(self) -> None:
        """Draw the weights that a fit starts from, so that every layer keeps the variance."""
        taps = self.first.fan_in / self.in_channels
        self.first.start(1 / (self.in_channels * math.sqrt(taps)), math.pi / self.omega_0)
        for layer in self.integrals[1:-1]:
            layer.start(_unit_bound(layer) / self.omega_0, math.pi / self.omega_0)
        self.last.start(0.1 * _unit_bound(self.last), phase=0.0)

    @property
    def integrals(self) -> list[Integral]:
        """The layers, first to last."""
        return cast("list[Integral]", list(self.layers))

    @property
    def first(self) -> Integral:
        """The layer that reads the input function."""
        return self.integrals[0]

    @property
    def last(self) -> Integral:
        """The layer that writes the signal."""
        return self.integrals[-1]

    @torch.jit.unused
    def halo(self, start: int = 0, stop: int | None = None) -> tuple[int, ...]:
        """Nodes that layers ``start`` to ``stop`` reach beyond a place, along each axis."""
        radii = [layer.radii for layer in self.integrals[start:stop]]
        return tuple(map(sum, zip(*radii, strict=True))) if radii else (0,) * self.spatial_dims

    @property
    def radius(self) -> int:
        """Halo of the whole operator in nodes, along the axis where it is largest."""
        return max(self.halo())

    @property
    def inner_radius(self) -> int:
        """Halo of the layers after the first; 0 where any point has a closed form."""
        return max(self.halo(1))

    @abstractmethod
    def with_spacing(self, spacing: Sequence[float]) -> Self:
        """The same operator, sharing its parameters, with nodes at ``spacing`` (D,) in mm."""

    @torch.jit.unused
    def unpadded(self) -> Self:
        """The same operator, sharing its parameters, whose lattices shrink by the halo.

        As which it reads a field that is known beyond its lattice.
        """
        if self.padding == "valid":
            return self
        other = copy.copy(self)
        other.padding = "valid"
        other._modules = {"layers": nn.ModuleList(each.unpadded() for each in self.integrals)}
        return other

    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, and how far an equal step of all of them moves the signal, about."""
        groups = []
        for layer in self.integrals:
            # Under sin(omega_0 w u) a step of w moves the output omega_0 times as far.
            gain = 1.0 if layer is self.last else self.omega_0
            groups += [(parameters, gain * leverage) for parameters, leverage in layer.leverages()]
        return groups

    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        """Map a field (B, E, *spatial) to the signal (B, C, *spatial).

        That is as large, by zeros beyond the border, or smaller by the halo, as ``padding`` says.

        Args:
            field: the input function on a regular lattice.
            dilation: how many times finer that lattice is than the spacing of the nodes.
        """
        steps = [dilation] * self.spatial_dims
        h = field
        for i, layer in enumerate(self.layers):
            if i + 1 < len(self.layers):
                h = torch.sin(layer(h, steps, self.omega_0))
            else:
                h = layer(h, steps)
        return h

    @torch.jit.unused
    def propagate(self, jet: Tensor, dilation: Sequence[int], stop: int | None = None) -> Tensor:
        """Take jets (J, B, C_1, *spatial) before the first sine to the jets of the signal.

        Args:
            jet: omega_0 times the first layer's output, with its bias.
            dilation: how many times finer the lattice is than the spacing of the nodes, per axis.
            stop: number of hidden layers to pass, whose activations are then the result.
        """
        for layer in self.integrals[1 : stop if stop is not None else -1]:
            jet = layer.jet(sine_jet(jet, self.spatial_dims), dilation, self.omega_0)
        activations = sine_jet(jet, self.spatial_dims)
        return activations if stop is not None else self.last.jet(activations, dilation)


class LatticeOperator(Operator):
    """An operator from whole lattices to whole lattices: any sample may depend on any other."""

    if TYPE_CHECKING:
        channels: int
        project: nn.Module  # the last layer, a matrix at every place

    @abstractmethod
    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the last activations (B, channels, *spatial)."""

    def check_lattice(self, shape: Sequence[int]) -> None:
        """Raise ValueError if lattices of this shape cannot be answered."""
        if len(shape) != self.spatial_dims:
            raise ValueError(f"shape must have {self.spatial_dims} axes, got {tuple(shape)}")

    def forward(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the signal (B, C, *spatial)."""
        return self.project(self.hidden(field))

    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """All parameters; every layer is followed by the same sine, or by none."""
        # Measured: at the default rate, 3e-3 for the weights; 1e-3 is slower, 1e-2 unsafe.
        return [(list(self.parameters()), 10.0)]


def numbers_of(name: str, value: float | Sequence[float], count: int, of: str) -> tuple[float, ...]:
    """``value`` once for each of ``count``, or the ``count`` values that it holds."""
    numbers = (value,) * count if isinstance(value, int | float) else tuple(value)
    if len(numbers) != count:
        raise ValueError(f"{name} must be one number or one per {of} ({count}), got {numbers}")
    if min(numbers) < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return tuple(map(float, numbers))


def _unit_bound(layer: Integral) -> float:
    # Uniform weights within this bound keep the variance that comes out of a sine.
    return math.sqrt(6 / layer.fan_in)
