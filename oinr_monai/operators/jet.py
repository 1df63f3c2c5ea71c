"""Operators whose layers read the jets of their input, at scales in mm."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from oinr_monai.grids.meta_tensors import is_meta_tensor

from .jet_layers import JetLayer, Nodes, interpolated, jets
from .non_standard_form import as_json, mixing
from .operator import LatticeOperator, numbers_of

__all__ = ["JetOINR"]


class JetOINR(LatticeOperator):
    r"""O-INR in one, two or three dimensions whose kernels are spanned by Gaussian derivatives.

    .. math:: h_{l+1} = \sigma\Big(N \sum_{|n| \le N} W_{ln} \,
              s_l^{|n|} \partial^n (g_{s_l} * h_l)\Big)

    Each layer reads the N-jet of its input, value and derivatives up to an order, at a scale
    :math:`s_l` in mm: an integral operator whose kernel is any sum of Gaussian derivatives, worked
    out axis by axis. N standardises each channel over its lattice. Scales go from fine to coarse,
    each on a lattice as coarse as itself and with twice the channels of the one before, and back
    again, where splines bring what was found at a coarser scale to the finer lattice.

    The image is read as the cubic spline through its samples, at whatever spacing they are, and
    answered on the same lattice or on any other. All lattices in between lie around the middle of
    the image at spacings in mm. So the operator is the same for voxels of another size
    (:meth:`with_spacing`) as far as these hold what the image shows; and where larger voxels have
    smoothed it more, its first Gaussian is told to smooth less.

    An answer depends on the whole lattice. Tracing and ``torch.export`` fix its size.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.
        Jacobsen et al., "Structured Receptive Fields in CNNs", CVPR 2016 (Gaussian derivatives).
        Lindeberg, "Scale-covariant and scale-invariant Gaussian derivative networks", Journal of
        Mathematical Imaging and Vision 2022.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels E of the input function.
        out_channels: channels C of the signal.
        channels: channels at the finest scale.
        scales: standard deviations of the Gaussians in mm, and spacings of their lattices.
        order: greatest order N of the derivatives, 1 or more.
        spacing: distance of the samples in mm, along all axes or each.
        act: activation, as MONAI names it.

    Raises:
        ValueError: if ``spatial_dims`` is not 1 to 3, the scales do not grow, ``order`` is below 1,
            or a spacing is not positive.

    Example:
        >>> operator = JetOINR(spatial_dims=3, in_channels=1, out_channels=2, scales=(1.0, 2.0))
        >>> operator(torch.rand(1, 1, 12, 11, 10)).shape
        torch.Size([1, 2, 12, 11, 10])
        >>> operator.with_spacing((1.0, 1.0, 2.0))(torch.rand(1, 1, 12, 11, 5)).shape
        torch.Size([1, 2, 12, 11, 5])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: int = 16,
        scales: Sequence[float] = (1.0, 2.0, 4.0),
        order: int = 2,
        spacing: float | Sequence[float] = 1.0,
        act: str | tuple[str, dict[str, Any]] = "gelu",
    ) -> None:
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}")
        if not scales or scales[0] <= 0 or any(a >= b for a, b in pairwise(scales)):
            raise ValueError(f"scales must be positive and grow, got {tuple(scales)}")
        if order < 1:
            raise ValueError(f"order must be 1 or more, got {order}")
        self.spatial_dims, self.in_channels, self.out_channels = (
            spatial_dims,
            in_channels,
            out_channels,
        )
        self.channels, self.order, self.act = channels, order, act
        self.scales = tuple(map(float, scales))
        self.spacing = _positive(spacing, spatial_dims)
        self.blur = (0.0,) * spatial_dims
        widths = [channels * 2**i for i in range(len(scales))]
        self.read = JetLayer(spatial_dims, in_channels, channels, order, act)
        self.down = nn.ModuleList(
            JetLayer(spatial_dims, before, after, order, act) for before, after in pairwise(widths)
        )
        self.along = nn.ModuleList(
            JetLayer(spatial_dims, width, width, order, act) for width in widths[1:]
        )
        self.up = nn.ModuleList(
            JetLayer(spatial_dims, finer + coarser, finer, 0, act)
            for finer, coarser in pairwise(widths)
        )
        self.project = mixing(spatial_dims, channels, out_channels)

    def with_spacing(
        self, spacing: float | Sequence[float], blur: float | Sequence[float] = 0.0
    ) -> Self:
        r"""The same operator, sharing its parameters, for samples at another spacing.

        Args:
            spacing: distance of the samples in mm, along all axes or each.
            blur: standard deviation in mm, along all axes or each, of what has smoothed the image
                more than those that were learned from; box-shaped voxels of h mm have smoothed it
                by :math:`h / \sqrt{12}`, and squares add up.

        Raises:
            ValueError: if a spacing is not positive, or a blur not below the finest scale.
        """
        other = copy.copy(self)
        other.spacing = _positive(spacing, self.spatial_dims)
        other.blur = numbers_of("blur", blur, self.spatial_dims, "axis")
        if max(other.blur) >= self.scales[0]:
            raise ValueError(
                f"blur must be below the finest scale, {self.scales[0]:g} mm, got {blur}"
            )
        return other

    def forward(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the signal (B, C, *spatial), a MetaTensor to one."""
        if is_meta_tensor(field):  # whose meta data MONAI looks through at every slice
            plain = field.as_tensor()
            return type(field)(self.at(plain, self._own(plain))).copy_meta_from(field)
        return self.at(field, self._own(field))

    def at(self, field: Tensor, nodes: Sequence[Nodes]) -> Tensor:
        """Map a field (B, E, *spatial) to the signal at other nodes, (B, C, *counts).

        Args:
            field: the input function.
            nodes: along each axis, in mm from the first sample on.
        """
        found = self.project(self._finest(field))
        return interpolated(found, self._lattices(field)[0], nodes)

    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the last activations (B, channels, *spatial)."""
        return interpolated(self._finest(field), self._lattices(field)[0], self._own(field))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the operator is built again."""
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": self.channels,
            "scales": list(self.scales),
            "order": self.order,
            "spacing": list(self.spacing),
            "act": as_json(self.act),
        }

    def _own(self, field: Tensor) -> list[Nodes]:
        sizes = field.shape[2:]
        self.check_lattice(sizes)
        return [Nodes(int(n), h) for n, h in zip(sizes, self.spacing, strict=True)]

    def _lattices(self, field: Tensor) -> list[list[Nodes]]:
        """The lattice of each scale."""
        return [[nodes.covered(s) for nodes in self._own(field)] for s in self.scales]

    def _finest(self, field: Tensor) -> Tensor:
        """The last activations, on the lattice of the finest scale."""
        lattices, finest = self._lattices(field), self.scales[0]
        sigma = [math.sqrt(finest**2 - blur**2) for blur in self.blur]
        h = self.read(jets(field, self._own(field), lattices[0], sigma, self.order, finest))
        seen = [h]
        for i, (down, along) in enumerate(zip(self.down, self.along, strict=True), start=1):
            h = down(self._jets(h, lattices[i - 1], lattices[i], self.scales[i]))
            h = h + along(self._jets(h, lattices[i], lattices[i], self.scales[i]))
            seen.append(h)
        for i in reversed(range(len(self.up))):
            coarser = interpolated(h, lattices[i + 1], lattices[i])
            h = self.up[i](torch.cat([seen[i], coarser], dim=1))
        return h

    def _jets(
        self, h: Tensor, source: Sequence[Nodes], target: Sequence[Nodes], scale: float
    ) -> Tensor:
        return jets(h, source, target, [scale] * self.spatial_dims, self.order, scale)


def _positive(spacing: float | Sequence[float], spatial_dims: int) -> tuple[float, ...]:
    numbers = numbers_of("spacing", spacing, spatial_dims, "axis")
    if min(numbers) <= 0:
        raise ValueError(f"spacing must be positive, got {spacing}")
    return numbers
