"""The published operator of sequences, which is told the time of each frame."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .conv import ConvOINR
from .operator import Operator

__all__ = ["SequenceOINR"]


class SequenceOINR(Operator):
    r"""O-INR of a sequence: one operator for all frames, whose input function depends on time.

    .. math:: F(x, t) = G\big[f + \tau t\big](x) \quad \text{(offset, as published)}, \qquad
              F(x, t) = G\big[f, \sin(k \pi t), \cos(k \pi t)\big](x), \ k = 1..K

    Either way time is the same at every place. Through the first kernel it moves a bias and nothing
    else, the share of :math:`\tau t` being that of the kernel's sum: a frame is a
    :class:`~oinr_monai.ConvOINR`, see :meth:`at_time`. What moves in the images has to come from
    there, which takes many steps; :func:`~oinr_monai.fit_family` gives each frame a learned field
    instead.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024 (the offset).

    Args:
        spatial_dims: number of spatial dimensions D of a frame, 1 to 3.
        in_channels: channels E of the input function, without time.
        out_channels: channels C of the signal.
        channels: channels of each hidden layer.
        time_bands: number K of waves in time; 0 for the offset.
        offset: the offset at time 1, with no waves.
        kernel_size: odd width of the kernels in voxels, one number or one per layer.
        omega_0: frequency of the sines.
        padding: "same" keeps the size of a lattice by zeros beyond it, as published; "valid"
            shrinks it by the kernels' radius.

    Raises:
        ValueError: if ``time_bands`` is negative, and as :class:`~oinr_monai.ConvOINR` does.

    Example:
        >>> operator = SequenceOINR(2, 40, 1, channels=(8, 8), padding="same")
        >>> operator(torch.zeros(3, 40, 16, 16), torch.tensor([0.0, 0.5, 1.0])).shape
        torch.Size([3, 1, 16, 16])
        >>> type(operator.at_time(0.5)).__name__
        'ConvOINR'
    """

    def __init__(  # noqa: PLR0913
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 256, 256, 128, 64),
        time_bands: int = 0,
        offset: float = 0.1,
        kernel_size: int | Sequence[int] = 3,
        omega_0: float = 30.0,
        padding: Literal["valid", "same"] = "same",
    ) -> None:
        super().__init__()
        if time_bands < 0:
            raise ValueError(f"time_bands must be 0 or more, got {time_bands}")
        self.spatial_dims, self.in_channels, self.out_channels = (
            spatial_dims,
            in_channels,
            out_channels,
        )
        self.time_bands, self.offset = time_bands, float(offset)
        self.operator = ConvOINR(
            spatial_dims,
            in_channels + 2 * time_bands,
            out_channels,
            channels,
            kernel_size,
            omega_0,
            padding=padding,
        )

    def forward(self, field: Tensor, time: Tensor) -> Tensor:
        """Map fields (B, E, *spatial) at times (B,), 0 to 1, to the signal (B, C, *spatial)."""
        ones = [1] * (field.ndim - 2)
        if self.time_bands == 0:
            return self.operator(field + self.offset * time.view(-1, 1, *ones))
        waves = self._waves(time).view(len(time), -1, *ones).expand(-1, -1, *field.shape[2:])
        return self.operator(torch.cat([field, waves], dim=1))

    def _waves(self, time: Tensor) -> Tensor:
        rates = math.pi * torch.arange(1, self.time_bands + 1).to(time)
        angles = time[:, None] * rates
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)

    @torch.no_grad()
    def at_time(self, time: float) -> ConvOINR:
        """The operator of one moment, which reads the field alone.

        At places where it pads with zeros it differs: there the published operator pads after time
        was added, and so knows the border by it. With "valid" kernels they agree.
        """
        operator = self.operator
        arguments = {**operator.arguments(), "in_channels": self.in_channels}
        frame = ConvOINR(**arguments).to(operator.first.weight)
        frame.layers = copy.deepcopy(operator.layers)
        first = frame.first
        weight, sums = first.weight, first.weight.flatten(2).sum(dim=2)
        if self.time_bands == 0:
            shift = self.offset * time * sums.sum(dim=1)
        else:
            shift = sums[:, self.in_channels :] @ self._waves(sums.new_tensor([time]))[0]
        first.weight = nn.Parameter(weight[:, : self.in_channels].clone())
        first.bias = nn.Parameter(first.get_parameter("bias") + shift)
        return frame

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the operator is built again."""
        arguments = self.operator.arguments()
        del arguments["bias"]
        return {
            **arguments,
            "in_channels": self.in_channels,
            "time_bands": self.time_bands,
            "offset": self.offset,
        }
