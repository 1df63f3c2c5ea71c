"""Curves of one number as sums of sines, that an operator's last layers can hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from oinr_monai.operators.conv import ConvOINR
from oinr_monai.operators.integral import Integral

__all__ = ["with_tail"]


# Sines of the layer that undoes the stabilisation; chosen by hand.
HARMONICS = 48


def with_tail(operator: ConvOINR, curves: Callable[[Tensor], Tensor], reach: float) -> ConvOINR:
    """The operator followed by a pointwise curve, as two more layers of sines.

    Its answers z pass a sine of small slope, one to one, and the curve of what comes out is a sum
    of sines, found by least squares.
    """
    channels, slope = operator.out_channels, 1.2 / reach
    tail = ConvOINR(
        operator.spatial_dims,
        operator.in_channels,
        channels,
        (*operator.channels, channels, channels * 2 * HARMONICS),
        (*operator.kernel_size, 1, 1),
        omega_0=operator.omega_0,
    )
    rates = math.pi / 2 / 1.25 * torch.arange(1, HARMONICS + 1, dtype=torch.float64)
    rates, phases = rates.repeat(2), torch.tensor([0.0, math.pi / 2]).repeat_interleave(HARMONICS)
    z = torch.linspace(-reach, reach, 8 * HARMONICS, dtype=torch.float64)
    h = torch.sin(slope * z)
    weights, offsets = _sum_of_sines(
        torch.sin(h[:, None] * rates + phases), curves(z.expand(channels, -1))
    )
    with torch.no_grad():
        for old, new in zip(operator.integrals[:-1], tail.integrals, strict=False):
            _scale(new, old, 1.0)
        _scale(tail.integrals[-3], operator.last, slope)
        each = torch.block_diag(*[rates[:, None]] * channels)
        _set(tail.integrals[-2], each, phases.repeat(channels))
        _set(tail.integrals[-1], torch.block_diag(*weights[:, None]), offsets)
    return tail


def _sum_of_sines(basis: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    # Weights (C, K) and offsets (C,); a touch of ridge keeps the weights small.
    columns = torch.cat([basis, torch.ones_like(basis[:, :1])], dim=1)
    gram = columns.T @ columns / len(columns)
    ridge = 1e-7 * torch.eye(len(gram), dtype=gram.dtype)
    found = torch.linalg.solve(gram + ridge, columns.T @ values.double().T / len(columns)).T
    return found[:, :-1], found[:, -1]


def _scale(layer: Integral, other: Integral, factor: float) -> None:
    for name, parameter in other.named_parameters():
        layer.get_parameter(name).copy_(factor * parameter)


def _set(layer: Integral, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    layer.get_parameter("bias").copy_(bias)
