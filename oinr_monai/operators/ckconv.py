"""The operator whose kernels are functions of the offset in mm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

from torch import nn

from .continuous_integral import ContinuousKernelIntegral
from .integral import Integral, KernelIntegral
from .kernels import SIREN, KernelNetwork
from .operator import LocalOperator, numbers_of

__all__ = ["CKConvOINR"]


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
        padding: "same" keeps the size of a lattice by zeros beyond it, as published; "valid"
            shrinks it by the kernels' reach; "causal" looks at what came before alone, for one
            dimension.
            As the operator of a :class:`~oinr_monai.NeuralField` it reads the field there, which is
            known beyond the lattice.

    Raises:
        ValueError: if an argument is out of its range, or the supports are of a wrong number.

    Example:
        >>> import torch
        >>> operator = CKConvOINR(3, 12, 1, channels=(8, 8), support=(2.0, 0, 0), spacing=1.0)
        >>> operator(torch.zeros(1, 12, 10, 10, 10)).shape
        torch.Size([1, 1, 10, 10, 10])
        >>> operator.with_spacing((0.5, 0.5, 1.0))(torch.zeros(1, 12, 19, 19, 10)).shape
        torch.Size([1, 1, 19, 19, 10])
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
        padding: Literal["valid", "same", "causal"] = "same",
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
        self.start()

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
        """Constructor arguments: JSON values, and the kernel network as it is."""
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
