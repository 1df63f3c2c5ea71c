"""The integral layer whose kernel is a network of the offset."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.jit._trace import is_tracing

from oinr_monai.grids.constants import constant
from oinr_monai.grids.precision import precision

from .integral import Integral
from .kernels import KernelNetwork

__all__ = ["ContinuousKernelIntegral"]


class ContinuousKernelIntegral(Integral):
    r"""An integral whose kernel is a function of the offset in mm, so that it serves every spacing.

    .. math:: (Ku)(x) = b + \frac{1}{|S|} \int_S k(o / s) u(x + o) do, \qquad S = [-s, s]^D

    The nodes are those of a lattice of the given spacing, and their weights integrate the piecewise
    linear interpolant of the integrand over S exactly, also where S ends between two nodes: for a
    smooth field the error is of second order in the spacing.

    A Gaussian ``window`` makes the reach of the kernel learnable. Where it falls below a tenth the
    kernel ends, so that the cost follows the width it has learned.

    Kernels of many nodes are applied by FFT, small ones directly; both give the same to rounding.

    References:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", ICLR 2022.
        Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes",
        ICLR 2022 (the window).

    Args:
        in_channels: channels of u.
        out_channels: channels of Ku.
        kernel: makes the kernel network; called with ``spatial_dims`` and ``out_channels``.
        support: half-width s of the kernel, in mm.
        spacing: distance between nodes along each axis, in mm.
        window: standard deviation that the window starts with, in parts of s; no window if None.
        separable: one kernel for each channel of u, mixed by a matrix afterwards: far fewer
            multiplications where kernels have many nodes.
        padding: "valid", or "same" with zeros, or "causal": nodes at negative offsets and zeros
            before the start, for one dimension.

    Example:
        >>> from oinr_monai.operators.kernels import SIREN
        >>> layer = ContinuousKernelIntegral(3, 5, SIREN, support=2.0, spacing=(1.0, 0.5))
        >>> layer.radii
        [2, 4]
        >>> layer(torch.zeros(1, 3, 8, 9), dilation=[1, 1]).shape
        torch.Size([1, 5, 4, 1])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Callable[..., KernelNetwork],
        support: float,
        spacing: Sequence[float],
        window: float | None = None,
        separable: bool = False,
        padding: str = "valid",
    ) -> None:
        super().__init__()
        self.spatial_dims, self.support = len(spacing), float(support)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.same, self.causal = padding != "valid", padding == "causal"
        self.spacing = tuple(map(float, spacing))
        values = in_channels if separable else in_channels * out_channels
        self.kernel = kernel(spatial_dims=self.spatial_dims, out_channels=values)
        self.mixer = nn.Parameter(torch.empty(out_channels, in_channels)) if separable else None
        width = None if window is None else torch.full((self.spatial_dims,), float(window))
        self.window = None if width is None else nn.Parameter(width)
        self.bias: nn.Parameter = nn.Parameter(torch.empty(out_channels))
        self.start(math.sqrt(6 / self.fan_in), phase=math.pi)

    @property
    def fan_in(self) -> int:
        """Channels of u times 3 nodes an axis: what lies closer is much alike."""
        return int(self.in_channels * 3**self.spatial_dims)

    @torch.no_grad()
    def start(self, bound: float, phase: float) -> None:
        """Scale the kernel to weights as large as uniform ones in ±bound; draw biases in ±phase.

        The weights meant are those of nodes one support apart, so that the start is the same
        integral operator whatever the spacing is.

        References:
            Chang et al., "Principled Weight Initialization for Hypernetworks", ICLR 2020.
        """
        if self.bias.is_meta:  # there are no numbers to scale, and to find that out takes a while
            return
        if self.mixer is not None:
            self.mixer.uniform_(-1, 1).mul_(math.sqrt(3))
        coarse = self.with_spacing([self.support] * self.spatial_dims)
        size = coarse.weight.square().mean().sqrt().clamp_min(1e-12)
        self.kernel.output.weight.mul_(bound / math.sqrt(3) / size)
        self.kernel.output.bias.zero_()
        self.bias.uniform_(-phase, phase)

    def with_spacing(self, spacing: Sequence[float]) -> ContinuousKernelIntegral:
        """The same kernel, sharing its parameters, with nodes at another spacing (D,) in mm."""
        other = copy.copy(self)
        other.spacing = tuple(map(float, spacing))
        return other

    # ---- nodes and weights ----------------------------------------------------------------------

    @property
    def reach(self) -> list[float]:
        """Distance at which the kernel ends along each axis, in mm."""
        # A program that is being traced has the size of the kernels that it was made from.
        if not (torch.compiler.is_compiling() or is_tracing()):
            self._reach = self._ends()
        return self._reach

    def _ends(self) -> list[float]:
        if self.window is None or self.window.is_meta:
            return [self.support] * self.spatial_dims
        ends = self.window.detach().abs() * math.sqrt(-2 * math.log(WINDOW_END))
        return [self.support * min(end, 1.0) for end in ends.tolist()]

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and note the kernel's size for programs that are traced from here on."""
        self._reach = self._ends()
        return super().train(mode)

    @property
    def radii(self) -> list[int]:  # type: ignore[override]
        """Nodes on each side of the centre, along each axis."""
        pairs = zip(self.reach, self.spacing, strict=True)
        return [math.ceil(reach / h - 1e-9) for reach, h in pairs]

    @property
    def taps(self) -> int:
        """Nodes in all."""
        return math.prod([2 * r + 1 for r in self.radii])

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Weights (C_out, C_in, *nodes) of the quadrature at the layer's spacing."""
        depthwise = self.depthwise
        if self.mixer is None:
            return depthwise.unflatten(0, (self.out_channels, self.in_channels))
        return self.mixer.view(*self.mixer.shape, *[1] * self.spatial_dims) * depthwise

    @property
    def depthwise(self) -> Tensor:
        """Weights (values of the kernel, *nodes), before any mixing of channels."""
        like = self.kernel.output.weight
        axes = [
            torch.arange(-r, r + 1, dtype=like.dtype, device=like.device) * (h / self.support)
            for r, h in zip(self.radii, self.spacing, strict=True)
        ]
        offsets = torch.cartesian_prod(*axes).view(-1, self.spatial_dims)
        values = self.kernel(offsets)
        if self.window is not None:
            values = values * torch.exp(-0.5 * (offsets / self.window).square().sum(1))[:, None]
        shape = [2 * r + 1 for r in self.radii]
        return values.T.reshape(-1, *shape) * self._quadrature(like)

    def _quadrature(self, like: Tensor) -> Tensor:
        sizes = tuple(self.radii), tuple(self.reach), self.spacing, self.support, self.causal
        return constant(_quadrature, *sizes, dtype=like.dtype, device=like.device)

    # ---- applying it ----------------------------------------------------------------------------

    def convolve(self, u: Tensor, bias: Tensor | None, dilation: list[int], gain: float) -> Tensor:
        """Apply ``gain`` times the kernel, with another bias or with none."""
        # A causal kernel has no weight on the nodes to come, so that zeros there change nothing.
        u = self.pad(u, dilation)
        weight = gain * (self.weight if self.mixer is None else self.depthwise)
        if self.taps > FFT_TAPS:
            result = fft_convolve(u, weight, dilation)
        else:
            result = self._convolve_directly(u, weight, dilation)
        if self.mixer is not None:
            result = torch.einsum("oc,bc...->bo...", self.mixer, result)
        return result if bias is None else result + bias.view(-1, *[1] * (result.ndim - 2))

    def _convolve_directly(self, u: Tensor, weight: Tensor, dilation: list[int]) -> Tensor:
        if self.taps == 1:  # of a window that has closed: pointwise, whatever the axes are
            if self.mixer is None:
                return F.linear(u.movedim(1, -1), weight.flatten(1)).movedim(-1, 1)
            return u * weight.view(-1, *[1] * (u.ndim - 2))
        function = (F.conv1d, F.conv2d, F.conv3d)[self.spatial_dims - 1]
        if self.mixer is None:
            return function(u, weight, dilation=tuple(dilation))
        return function(u, weight[:, None], dilation=tuple(dilation), groups=self.in_channels)

    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their leverage: the steps of all hidden units add up in a kernel."""
        last = set(self.kernel.output.parameters())
        inner = [p for p in self.kernel.parameters() if p not in last]
        own = [p for p in (self.bias, self.mixer, self.window) if p is not None]
        hidden, frequency = self.kernel.hidden_channels, getattr(self.kernel, "omega_0", 1.0)
        return [(list(last), float(hidden)), (inner, max(frequency, 1.0)), (own, 1.0)]

    def extra_repr(self) -> str:
        """Channels and reach, for ``print``."""
        shape = f"{self.in_channels}, {self.out_channels}"
        return f"{shape}, support={self.support} mm, spacing={self.spacing} mm"


# A windowed kernel ends where its window has fallen to this, as that of Romero et al. does.
WINDOW_END = 0.1


# Nodes above which a convolution goes by FFT: the two took equal time between 600 nodes (separable)
# and 2,000 (16 channels mixed), in two and three dimensions on a CPU (docs/measured/operators.md).
FFT_TAPS = 1_000


def _quadrature(
    radii: Sequence[int],
    reaches: Sequence[float],
    spacing: Sequence[float],
    support: float,
    causal: bool,
) -> Tensor:
    # Weights (*nodes), in parts of the nominal support so that a window's width can change.
    weights = torch.ones((), dtype=torch.float64, device="cpu")
    for r, reach, h in zip(radii, reaches, spacing, strict=True):
        nodes = torch.arange(-r, r + 1, dtype=torch.float64, device="cpu")
        upper = _hat_integral((0.0 if causal else reach / h) - nodes)
        part = (upper - _hat_integral(-reach / h - nodes)) * h
        weights = weights[..., None] * part / (support * (1 if causal else 2))
    return weights


def _hat_integral(upper: Tensor) -> Tensor:
    # Integral of the hat function from -1 up to here.
    t = upper.clamp(-1, 1)
    return torch.where(t < 0, (t + 1).square() / 2, 1 - (1 - t).square() / 2)


def fft_convolve(u: Tensor, weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """Convolution without padding of (B, C_in, *spatial), by the convolution theorem.

    Args:
        u: the field.
        weight: (C_out, C_in, *nodes), or (C_in, *nodes) for one kernel a channel.
        dilation: steps of the lattice between nodes, per axis.
    """
    dims = len(dilation)
    axes = tuple(range(-dims, 0))
    sizes = u.shape[2:]
    spread = [(k - 1) * s + 1 for k, s in zip(weight.shape[-dims:], dilation, strict=True)]
    kernel = weight.new_zeros(*weight.shape[:-dims], *spread)
    nodes = [slice(None)] * (weight.ndim - dims) + [slice(None, None, s) for s in dilation]
    kernel[tuple(nodes)] = weight
    with precision(u.device):
        spectrum = torch.fft.rfftn(u.float() if u.dtype == torch.bfloat16 else u, sizes, dim=axes)
        response = torch.fft.rfftn(kernel.to(spectrum.real.dtype), sizes, dim=axes).conj()
        mix = "bc...,oc...->bo..." if weight.ndim == dims + 2 else "bc...,c...->bc..."
        result = torch.fft.irfftn(torch.einsum(mix, spectrum, response), sizes, dim=axes)
    kept = [slice(0, n - k + 1) for n, k in zip(sizes, spread, strict=True)]
    return result[(slice(None), slice(None), *kept)].to(u.dtype)
