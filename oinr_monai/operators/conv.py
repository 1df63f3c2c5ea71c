"""Operators that map an input function to a signal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, Self

from torch import nn

from .integral import KernelIntegral
from .operator import LocalOperator

__all__ = ["ConvOINR", "kernel_sizes"]


class ConvOINR(LocalOperator):
    r"""Discrete-convolution O-INR in one, two or three dimensions.

    Kernel integrals with sines between them take an input function to the signal,

    .. math:: h_0 = f, \quad h_{l+1} = \sin\big(\omega_0 (W_l * h_l + b_l)\big), \quad
              F = W_L * h_L + b_L.

    Kernel offsets are fixed in mm, so that on a lattice s times finer than the fitted one the
    convolutions dilate by s and the shared points agree to rounding. Layers of width 1 are
    pointwise maps; where only the first layer is wider, the operator has a closed form anywhere.
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
        padding: "same" keeps the size of a lattice by zeros beyond it, as published; "valid"
            shrinks it by the kernels' radius. As the operator of a :class:`~oinr_monai.NeuralField`
            it reads the field there, which is known beyond the lattice.

    Raises:
        ValueError: if ``spatial_dims`` is not 1 to 3, a kernel is even, or their number is wrong.

    Example:
        >>> import torch
        >>> operator = ConvOINR(spatial_dims=3, in_channels=12, out_channels=1, channels=(16, 16))
        >>> operator(torch.zeros(1, 12, 10, 10, 10)).shape
        torch.Size([1, 1, 10, 10, 10])
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
        padding: Literal["valid", "same"] = "same",
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
        self.start()

    def with_spacing(self, spacing: Sequence[float]) -> Self:
        """This operator itself: its weights are those of its nodes, whatever their spacing is."""
        return self

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the operator is built again."""
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
