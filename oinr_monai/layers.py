"""Layers of an operator: the kernel integral as a quadrature, and the sine, with their jets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .positions import second_order_pairs

__all__ = ["KernelIntegral", "Sine", "sine_jet"]


class Sine(nn.Module):
    r"""Sine activation, :math:`u \mapsto \sin(\omega_0 u)`.

    Args:
        omega_0: frequency; weights start smaller by as much, so that it acts as their step size.

    Example:
        >>> Sine(omega_0=2.0)(torch.tensor([0.0])).item()
        0.0
    """

    def __init__(self, omega_0: float = 1.0) -> None:
        super().__init__()
        self.omega_0 = float(omega_0)

    def forward(self, u: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return torch.sin(self.omega_0 * u)

    def extra_repr(self) -> str:
        """Frequency, for ``print``."""
        return f"omega_0={self.omega_0}"


def sine_jet(jet: Tensor, spatial_dims: int) -> Tensor:
    r"""Sine of jets (J, ...), by the chain rule.

    .. math:: y_i = \cos(u) u_i, \qquad y_{ij} = \cos(u) u_{ij} - \sin(u) u_i u_j

    J tells the order: 1 (value), 1 + D (first) or 1 + D + D (D + 1) / 2 (second derivatives).
    """
    if len(jet) == 1:
        return torch.sin(jet)
    sine, cosine = torch.sin(jet[:1]), torch.cos(jet[:1])
    first, second = jet[1 : 1 + spatial_dims], jet[1 + spatial_dims :]
    parts = [sine, cosine * first]
    if len(second):
        i, j = zip(*second_order_pairs(spatial_dims), strict=True)
        parts.append(cosine * second - sine * first[list(i)] * first[list(j)])
    return torch.cat(parts)


class KernelIntegral(nn.Module):
    r"""Integral transform as a quadrature with nodes at fixed offsets in mm.

    .. math:: (Ku)(x) = b + \sum_o W_o u(x + o \circ h), \qquad o \in \{-r..r\}^D

    On a lattice s times finer than the fitted spacing h it is the convolution of dilation s, so
    that lattices agree wherever they share points. No padding unless asked for: the result is
    smaller by r s at every border. Width 1 is a matrix product at every place.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels of u.
        out_channels: channels of Ku.
        kernel_size: odd number of nodes along every axis, 2 r + 1.
        bias: whether b is there.
        same: pad with zeros to the size of the input, as the published networks do.

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
        self.spatial_dims = spatial_dims
        self.radius = kernel_size // 2
        self.same = same
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

    def forward(self, u: Tensor, dilation: list[int], gain: float = 1.0) -> Tensor:
        """Field (B, C_in, *spatial) to ``gain`` times (B, C_out, *spatial less 2 r dilation)."""
        bias = self.bias
        return self.convolve(u, None if bias is None else gain * bias, dilation, gain)

    def convolve(self, u: Tensor, bias: Tensor | None, dilation: list[int], gain: float) -> Tensor:
        """Apply ``gain`` times the kernel, with another bias or with none."""
        weight = gain * self.weight
        if self.radius == 0:
            return F.linear(u.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        if self.same:
            halo: list[int] = []
            for step in dilation[::-1]:
                halo += [self.radius * step, self.radius * step]
            u = F.pad(u, halo)
        if self.spatial_dims == 1:
            return F.conv1d(u, weight, bias, dilation=dilation)
        if self.spatial_dims == 2:
            return F.conv2d(u, weight, bias, dilation=dilation)
        return F.conv3d(u, weight, bias, dilation=dilation)

    @torch.jit.unused
    def jet(self, jet: Tensor, dilation: Sequence[int], gain: float = 1.0) -> Tensor:
        """Apply the layer to jets (J, B, C_in, *spatial); the bias moves their values only."""
        if len(jet) == 1:
            return self(jet.squeeze(0), list(dilation), gain).unsqueeze(0)
        flat = self.convolve(jet.flatten(0, 1), None, list(dilation), gain)
        return self.shift_value(flat.unflatten(0, jet.shape[:2]), gain)

    @torch.jit.unused
    def shift_value(self, jet: Tensor, gain: float = 1.0) -> Tensor:
        """Add the bias to the values of jets (J, B, C_out, ...), their first entry."""
        if self.bias is None:
            return jet
        bias = gain * self.bias.view(-1, *[1] * (jet.ndim - 3))
        return jet + bias if len(jet) == 1 else torch.cat([jet[:1] + bias, jet[1:]])

    def extra_repr(self) -> str:
        """Channels and width, for ``print``."""
        shape = tuple(self.weight.shape)
        return f"{shape[1]}, {shape[0]}, kernel_size={shape[2]}, same={self.same}"
