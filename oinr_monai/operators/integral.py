"""Layers of an operator: the kernel integral as a quadrature, and the sine, with their jets."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Integral", "KernelIntegral"]


class Integral(nn.Module, ABC):
    r"""Integral transform as a quadrature with nodes at fixed offsets in mm.

    .. math:: (Ku)(x) = b + \sum_o W_o u(x + o \circ h), \qquad |o_d| \le r_d

    On a lattice s times finer than the nodes' spacing h it is the convolution of dilation s, so
    that lattices agree wherever they share points. No padding unless asked for: the result is
    smaller by r s at every border. Radius 0 is a matrix product at every place.

    Where the weights come from is for the kinds of it to say: :class:`KernelIntegral` stores them,
    :class:`ContinuousKernelIntegral` makes them from a function of the offset.
    """

    if TYPE_CHECKING:  # TorchScript would compile what stands in these annotations
        spatial_dims: int
        radii: list[int]
        same: bool
        weight: Tensor
        bias: Tensor | None

    @torch.jit.unused
    def unpadded(self) -> Self:
        """The same layer, sharing its parameters, that adds no zeros."""
        other = copy.copy(self)
        other.same = False
        return other

    @abstractmethod
    def start(self, bound: float, phase: float) -> None:
        """Draw weights of the size of uniform ones in ±bound, and biases in ±phase."""

    @property
    @abstractmethod
    def fan_in(self) -> int:
        """Independent values that meet in one output, for the start."""

    @abstractmethod
    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, and how far an equal step of all of them moves the layer's output."""

    def forward(self, u: Tensor, dilation: list[int], gain: float = 1.0) -> Tensor:
        """Field (B, C_in, *spatial) to ``gain`` times (B, C_out, *spatial less 2 r dilation)."""
        bias = self.bias
        return self.convolve(u, None if bias is None else gain * bias, dilation, gain)

    def convolve(self, u: Tensor, bias: Tensor | None, dilation: list[int], gain: float) -> Tensor:
        """Apply ``gain`` times the kernel, with another bias or with none."""
        weight = gain * self.weight
        if max(self.radii) == 0:
            return F.linear(u.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        u = self.pad(u, dilation)
        if self.spatial_dims == 1:
            return F.conv1d(u, weight, bias, dilation=dilation)
        if self.spatial_dims == 2:
            return F.conv2d(u, weight, bias, dilation=dilation)
        return F.conv3d(u, weight, bias, dilation=dilation)

    def pad(self, u: Tensor, dilation: list[int]) -> Tensor:
        """Add zeros for the nodes beyond the border, where the layer keeps the size."""
        if not self.same:
            return u
        halo: list[int] = []
        for axis in range(self.spatial_dims - 1, -1, -1):
            halo += [self.radii[axis] * dilation[axis], self.radii[axis] * dilation[axis]]
        return F.pad(u, halo)

    @torch.jit.unused
    def jet(self, jet: Tensor, dilation: Sequence[int], gain: float = 1.0) -> Tensor:
        """Apply the layer to jets (J, B, C_in, *spatial); the bias moves their values only."""
        if len(jet) == 1:
            return self(jet.squeeze(0), list(dilation), gain).unsqueeze(0)
        flat = self.convolve(jet.flatten(0, 1), None, list(dilation), gain)
        return self.shift_value(flat.unflatten(0, jet.shape[:2]), gain)

    @torch.jit.unused
    def shift_value(self, jet: Tensor, gain: float = 1.0) -> Tensor:
        """Add the bias to the values of jets (J, B, C_out, ...), in place where there are more."""
        if self.bias is None:
            return jet
        bias = gain * self.bias.view(-1, *[1] * (jet.ndim - 3))
        if len(jet) == 1:
            return jet + bias
        jet[:1] += bias
        return jet


class KernelIntegral(Integral):
    """An integral whose weights are stored, one for each node of a cube.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels of u.
        out_channels: channels of Ku.
        kernel_size: odd number of nodes along every axis, 2 r + 1.
        bias: whether b is there.
        same: pad with zeros to the size of the input, as the published operators do.

    Example:
        >>> layer = KernelIntegral(2, 3, 5, kernel_size=3)
        >>> layer(torch.zeros(1, 3, 8, 8), dilation=[2, 1]).shape
        torch.Size([1, 5, 4, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        bias: bool = True,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.same = spatial_dims, same
        self.radii = [kernel_size // 2] * spatial_dims
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, *[kernel_size] * spatial_dims)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.start(math.sqrt(6 / (in_channels * kernel_size**spatial_dims)), phase=math.pi)

    @torch.no_grad()
    def start(self, bound: float, phase: float) -> None:
        """Draw weights uniformly in ±bound and biases in ±phase."""
        self.weight.uniform_(-bound, bound)
        if self.bias is not None:
            self.bias.uniform_(-phase, phase)

    @property
    def fan_in(self) -> int:
        """Channels of u times nodes."""
        return self.weight[0].numel()

    @torch.jit.unused
    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their leverage: the steps of all taps add up on a smooth field."""
        return [(list(self.parameters()), float(self.weight[0, 0].numel()))]

    def extra_repr(self) -> str:
        """Channels and width, for ``print``."""
        shape = tuple(self.weight.shape)
        return f"{shape[1]}, {shape[0]}, kernel_size={shape[2]}, same={self.same}"
