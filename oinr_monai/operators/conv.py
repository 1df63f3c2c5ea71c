"""Operators that map an input function to a signal."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from typing_extensions import Self

from .integral import ContinuousKernelIntegral, Integral, KernelIntegral, sine_jet
from .kernels import SIREN, KernelNetwork

__all__ = ["CKConvOINR", "ConvOINR", "LatticeOperator", "LocalOperator", "kernel_sizes"]


class LocalOperator(nn.Module, ABC):
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

    if TYPE_CHECKING:  # TorchScript would compile what stands in these annotations
        spatial_dims: int
        in_channels: int
        out_channels: int
        channels: tuple[int, ...]
        omega_0: float
        padding: str
        layers: nn.ModuleList

    def _start(self) -> None:
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
        """Halo of the whole network in nodes, along the axis where it is largest."""
        return max(self.halo())

    @property
    def inner_radius(self) -> int:
        """Halo of the layers after the first; 0 where any point has a closed form."""
        return max(self.halo(1))

    @abstractmethod
    def with_spacing(self, spacing: Sequence[float]) -> Self:
        """The same operator, sharing its parameters, with nodes at ``spacing`` (D,) in mm."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""

    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, and how far an equal step of all of them moves the signal, about."""
        groups = []
        for layer in self.integrals:
            # Under sin(omega_0 w u) a step of w moves the output omega_0 times as far.
            gain = 1.0 if layer is self.last else self.omega_0
            groups += [(parameters, gain * leverage) for parameters, leverage in layer.leverages()]
        return groups

    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        """Map a field (B, E, *spatial) to the signal (B, C, *spatial), smaller by the halo.

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


class LatticeOperator(nn.Module, ABC):
    """An operator from whole lattices to whole lattices: any sample may depend on any other."""

    if TYPE_CHECKING:
        spatial_dims: int
        in_channels: int
        out_channels: int
        channels: int
        project: nn.Module  # the last layer, a matrix at every place

    @abstractmethod
    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the last activations (B, channels, *spatial)."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""

    def forward(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the signal (B, C, *spatial)."""
        return self.project(self.hidden(field))

    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        """All parameters; every layer is followed by the same sine, or by none."""
        # Measured: at the default rate, 3e-3 for the weights; 1e-3 is slower, 1e-2 unsafe.
        return [(list(self.parameters()), 10.0)]


class ConvOINR(LocalOperator):
    r"""Discrete-convolution O-INR in one, two or three dimensions.

    Kernel integrals with sines between them take an input function to the signal,

    .. math:: h_0 = f, \quad h_{l+1} = \sin\big(\omega_0 (W_l * h_l + b_l)\big), \quad
              F = W_L * h_L + b_L.

    Kernel offsets are fixed in mm, so that on a lattice s times finer than the fitted one the
    convolutions dilate by s and the shared points agree to rounding. Layers of width 1 are
    pointwise maps; where only the first layer is wider, the network has a closed form at any point.
    With :class:`~oinr_monai.CoordinateField`, width 1 and ``omega_0=30`` it is a SIREN.

    The start keeps the variance of a unit through the layers, counting the taps: uniform within
    1 / (E sqrt(taps)) in the first layer, sqrt(6 / fan-in) / omega_0 in the hidden ones, a tenth of
    sqrt(6 / fan-in) in the last, and phases spread over a whole turn.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020 (the start).

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels E of the input function.
        out_channels: channels C of the signal.
        channels: channels of each hidden layer.
        kernel_size: odd width of the kernels in voxels, one for all layers or one for each of the
            ``len(channels) + 1`` layers.
        omega_0: frequency of the sines.
        bias: whether the layers have a bias.
        padding: "valid" shrinks the lattice by the kernels' radius, right for a field known beyond
            the domain; "same" pads with zeros, as published.

    Raises:
        ValueError: if ``spatial_dims`` is not 1 to 3, a kernel is even, or their number is wrong.

    Example:
        >>> import torch
        >>> network = ConvOINR(spatial_dims=3, in_channels=12, out_channels=1, channels=(16, 16))
        >>> network(torch.zeros(1, 12, 10, 10, 10)).shape
        torch.Size([1, 1, 4, 4, 4])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 128, 64),
        kernel_size: int | Sequence[int] = 3,
        omega_0: float = 30.0,
        bias: bool = True,
        padding: Literal["valid", "same"] = "valid",
    ) -> None:
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}")
        if padding not in ("valid", "same"):
            raise ValueError(f'padding must be "valid" or "same", got {padding!r}')
        widths = (in_channels, *channels, out_channels)
        self.kernel_size = kernel_sizes(kernel_size, len(widths) - 1)
        self.spatial_dims, self.in_channels, self.out_channels = (
            spatial_dims,
            in_channels,
            out_channels,
        )
        self.channels, self.padding, self.omega_0 = tuple(channels), padding, float(omega_0)
        self.layers = nn.ModuleList(
            KernelIntegral(spatial_dims, before, after, size, bias, same=padding == "same")
            for (before, after), size in zip(pairwise(widths), self.kernel_size, strict=True)
        )
        self._start()

    def with_spacing(self, spacing: Sequence[float]) -> Self:
        """This operator itself: its weights are those of its nodes, whatever their spacing is."""
        return self

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": list(self.channels),
            "kernel_size": list(self.kernel_size),
            "omega_0": self.omega_0,
            "bias": self.first.bias is not None,
            "padding": self.padding,
        }


class CKConvOINR(LocalOperator):
    r"""Continuous-convolution O-INR: its kernels are functions of the offset in mm.

    .. math:: h_{l+1}(x) = \sin\Big(\omega_0 \Big(b_l + \frac{1}{|S|} \int_S k_l(o / s)
              h_l(x + o) do\Big)\Big)

    A discrete operator has weights at its nodes and nowhere else. This one has a kernel network for
    each layer, so that :meth:`with_spacing` gives its quadrature for any spacing: all of them
    approximate the same integral operator, to second order in the spacing, and share their
    parameters. So one operator can be fitted to images of several spacings.

    At one spacing it is a :class:`ConvOINR` whose weights are made instead of stored: halo, jets
    and exports work as they do there, but TorchScript must trace it (``torch.jit.trace``).

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", ICLR 2022.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels E of the input function.
        out_channels: channels C of the signal.
        channels: channels of each hidden layer.
        support: half-width of the kernels in mm, one for all layers or one for each of the
            ``len(channels) + 1`` layers; 0 makes a layer pointwise.
        spacing: distance between the nodes in mm, one for all axes or one for each.
        kernel: makes the kernel network of a layer, called with ``spatial_dims`` and
            ``out_channels``: a class of :mod:`oinr_monai.operators.kernels`, or a ``partial`` of
            one.
        window: standard deviation that a learnable Gaussian window of the kernels starts with, in
            parts of the support; no window if None.
        separable: one kernel for each input channel, mixed by a matrix afterwards.
        omega_0: frequency of the sines.
        padding: "valid" shrinks the lattice by the kernels' reach, right for a field known beyond
            the domain; "same" pads with zeros, as published; "causal" looks at what came before
            alone, for one dimension.

    Raises:
        ValueError: if an argument is out of its range, or the supports are of a wrong number.

    Example:
        >>> network = CKConvOINR(3, 12, 1, channels=(8, 8), support=(2.0, 0, 0), spacing=1.0)
        >>> network(torch.zeros(1, 12, 10, 10, 10)).shape
        torch.Size([1, 1, 6, 6, 6])
        >>> network.with_spacing((0.5, 0.5, 1.0))(torch.zeros(1, 12, 19, 19, 10)).shape
        torch.Size([1, 1, 11, 11, 6])
    """

    def __init__(  # noqa: PLR0913
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 128, 64),
        support: float | Sequence[float] = 1.5,
        spacing: float | Sequence[float] = 1.0,
        kernel: Callable[..., KernelNetwork] = SIREN,
        window: float | None = None,
        separable: bool = False,
        omega_0: float = 30.0,
        padding: Literal["valid", "same", "causal"] = "valid",
    ) -> None:
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}")
        _check_padding(padding, spatial_dims)
        if window is not None and window <= 0:
            raise ValueError(f"window must be positive, got {window}")
        widths = (in_channels, *channels, out_channels)
        self.spatial_dims, self.in_channels, self.out_channels = (
            spatial_dims,
            in_channels,
            out_channels,
        )
        self.channels, self.padding, self.omega_0 = tuple(channels), padding, float(omega_0)
        self.support = numbers_of("support", support, len(widths) - 1, "layer")
        self.spacing = numbers_of("spacing", spacing, spatial_dims, "axis")
        if min(self.spacing) <= 0:
            raise ValueError(f"spacing must be positive, got {spacing}")
        self.window, self.separable = window, separable

        def layer(before: int, after: int, support: float) -> Integral:
            if support == 0:
                return KernelIntegral(spatial_dims, before, after)
            return ContinuousKernelIntegral(
                before, after, kernel, support, self.spacing, window, separable, padding
            )

        pairs = zip(pairwise(widths), self.support, strict=True)
        self.layers = nn.ModuleList(layer(before, after, s) for (before, after), s in pairs)
        self._start()

    def with_spacing(self, spacing: Sequence[float]) -> Self:
        """The same operator, sharing its parameters, with nodes at ``spacing`` (D,) in mm.

        Raises:
            ValueError: if the spacing is not positive or not one for each axis.
        """
        other = copy.copy(self)
        other.spacing = numbers_of("spacing", spacing, self.spatial_dims, "axis")
        if min(other.spacing) <= 0:
            raise ValueError(f"spacing must be positive, got {spacing}")
        layers = (
            layer.with_spacing(spacing) if isinstance(layer, ContinuousKernelIntegral) else layer
            for layer in self.layers
        )
        other._modules = {"layers": nn.ModuleList(layers)}
        return other

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""
        made = [x.kernel for x in self.layers if isinstance(x, ContinuousKernelIntegral)]
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": list(self.channels),
            "support": list(self.support),
            "spacing": list(self.spacing),
            **({"kernel": made[0]} if made else {}),
            "window": self.window,
            "separable": self.separable,
            "omega_0": self.omega_0,
            "padding": self.padding,
        }


def _check_padding(padding: str, spatial_dims: int) -> None:
    if padding not in ("valid", "same", "causal"):
        raise ValueError(f'padding must be "valid", "same" or "causal", got {padding!r}')
    if padding == "causal" and spatial_dims != 1:
        raise ValueError(
            f'padding must be "valid" or "same" in {spatial_dims} dimensions, got it '
            '"causal", which needs one'
        )


def numbers_of(name: str, value: float | Sequence[float], count: int, of: str) -> tuple[float, ...]:
    numbers = (value,) * count if isinstance(value, int | float) else tuple(value)
    if len(numbers) != count:
        raise ValueError(f"{name} must be one number or one per {of} ({count}), got {numbers}")
    if min(numbers) < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return tuple(map(float, numbers))


def _unit_bound(layer: Integral) -> float:
    # Uniform weights within this bound keep the variance that comes out of a sine.
    return math.sqrt(6 / layer.fan_in)


def kernel_sizes(kernel_size: int | Sequence[int], layers: int) -> tuple[int, ...]:
    """One odd kernel width for each of ``layers`` layers, from one number or one per layer.

    Raises:
        ValueError: if their number is wrong or one is even.
    """
    sizes = (kernel_size,) * layers if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(sizes) != layers:
        raise ValueError(f"kernel_size must be one number or one per layer ({layers}), got {sizes}")
    if any(size < 1 or size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel_size must be odd, got {kernel_size}")
    return sizes
