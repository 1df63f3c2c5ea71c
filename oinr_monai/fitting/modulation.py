"""One operator for many images: an image is then only the numbers of its field."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.precision import full_precision
from oinr_monai.grids.splines import CubicInterpolant, evaluate
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.stack import Form, Signals
from oinr_monai.representation.info import Info, ShortDescent
from oinr_monai.representation.lineage import digest
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

__all__ = ["answers", "centres", "descend_coefficients", "modulate", "truth"]


# Numbers that one batch may hold in the widest layer, a few dozen small pictures; chosen by hand.
BATCH_NUMBERS = 1 << 20


MODULATED = "encoding.coefficients"


@full_precision()
def modulate(
    images: Sequence[Tensor | np.ndarray],
    operator: Representation,
    *,
    steps: int | None = None,
) -> list[Representation]:
    """Represent images by input functions of their own, read by the operator that they share.

    The descent is plain gradient descent on the coefficients, from the operator's start, on the
    voxel centres: deterministic, and the same for an image alone as for many.

    Args:
        images: (C, *spatial) each, of the shape and spacing that the operator was learned on.
        operator: what :func:`learn_operator` returned, or its file loaded.
        steps: steps to take, instead of those that the operator was learned for.

    Returns:
        The representations, in the order of the images. They share one operator in memory; only
        the coefficients of the input function were fitted (``info["fitted"]``).

    Raises:
        ValueError: if ``operator`` was not learned for this, or an image is of another shape or
            spacing.

    Example:
        >>> from oinr_monai import OperatorConfig, learn_operator
        >>> waves = [torch.sin(torch.linspace(k, k + 6, 16)).expand(1, 16, 16) for k in range(8)]
        >>> operator = learn_operator(waves, OperatorConfig(steps=5, batch=4))
        >>> [rep.info["fitted"] for rep in modulate(waves[:2], operator)]
        [['encoding.coefficients'], ['encoding.coefficients']]
    """
    descent = _descent_of(operator)
    count = descent.steps if steps is None else steps
    if count < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    field = cast("NeuralField", operator.field)
    found: list[Representation] = []
    with torch.inference_mode(False), torch.enable_grad():
        signals = Signals.of(images, next(field.parameters()).device)
        form = Form(len(operator.scale.mean), operator.grid, of="those of the operator")
        form.check(signals.values[0], signals.grids[0])
        taken = {"start": digest(operator), "fitted": [MODULATED], "steps": count}
        for part in signals.batches(_at_once(field, operator.grid)):
            begun = time.monotonic()
            coefficients = descend_coefficients(field, part.standardised(), count, descent.rate)
            seconds = (time.monotonic() - begun) / len(part.values)
            for each in _representations(field, part, coefficients):
                each.info |= {**taken, "seconds": round(seconds, 6)}
                found.append(each)
    return [inherit(each, image) for each, image in zip(found, images, strict=True)]


def answers(field: NeuralField, coefficients: Tensor, lattice: Lattice) -> Tensor:
    """Signals (B, C, *lattice.shape) of the operator on B input functions (B, E, *knots)."""
    splines, dims = cast("SplineField", field.encoding), lattice.spatial_dims
    haloed = lattice.padded(field.network.halo(), field.spacing, (1,) * dims)
    values = evaluate(coefficients.flatten(0, 1), splines.in_knots(haloed))
    return field.network(values.unflatten(0, coefficients.shape[:2]))


def descend_coefficients(
    field: NeuralField, targets: Tensor, steps: int, rate: float, learning: bool = False
) -> Tensor:
    """Coefficients (B, E, *knots) after ``steps`` steps towards ``targets`` (B, C, *spatial)."""
    lattice = centres(targets.shape[2:], field.spacing, targets.device)
    start = cast("SplineField", field.encoding).coefficients
    coefficients = start.expand(len(targets), *start.shape)
    for _ in range(steps):
        if not learning:
            coefficients = coefficients.detach().requires_grad_()
        error = (answers(field, coefficients, lattice) - targets).square()
        loss = error.flatten(1).mean(1).sum() / 2
        (slope,) = torch.autograd.grad(loss, coefficients, create_graph=learning)
        coefficients = coefficients - rate * slope
    return coefficients if learning else coefficients.detach()


def centres(
    shape: Sequence[int], spacing: Sequence[float], device: torch.device, shift: float = 0.0
) -> Lattice:
    """Voxel centres; shifted, one fewer along each axis, so that all lie between the outermost."""
    axes = [
        (torch.arange(n if shift == 0 or n == 1 else n - 1) + (shift if n > 1 else 0.0)) * h
        for n, h in zip(shape, spacing, strict=True)
    ]
    return Lattice(tuple(x.double().to(device) for x in axes))


def _descent_of(operator: Representation) -> ShortDescent:
    known = operator.info.descent
    if known is None or not isinstance(operator.field, NeuralField):
        raise ValueError(
            "operator must be what learn_operator returned, got a representation without a descent"
        )
    return known


def _at_once(field: NeuralField, grid: Grid) -> int:
    widest = max(field.network.in_channels, *field.network.channels)
    return max(BATCH_NUMBERS // (widest * math.prod(grid.shape)), 1)


@torch.no_grad()
def _representations(
    field: NeuralField, part: Signals, coefficients: Tensor
) -> Iterator[Representation]:
    on, between = (_psnr(field, part, coefficients, shift).tolist() for shift in (0.0, 0.5))
    for i, (grid, scale) in enumerate(zip(part.grids, part.scales, strict=True)):
        splines = cast("SplineField", copy.deepcopy(field.encoding))
        splines.coefficients.data = coefficients[i].clone()
        result = Representation(NeuralField(splines, field.network, field.spacing), grid, scale)
        result.info = Info(
            image=digest_of_image([part.values[i]], grid),
            parameters=result.parameters,
            device=str(coefficients.device),
            psnr_grid=on[i],
            psnr_between=between[i],
        )
        yield result


def _psnr(field: NeuralField, part: Signals, coefficients: Tensor, shift: float) -> Tensor:
    """PSNR (B,) on the voxels' centres or ``shift`` past them, over the range of each image."""
    z = part.standardised()
    lattice = centres(z.shape[2:], field.spacing, z.device, shift)
    error = (answers(field, coefficients, lattice) - truth(z, shift)).flatten(2)
    # Channels are weighed as in the image itself.
    std = torch.tensor([scale.std for scale in part.scales], dtype=torch.float64).to(z.device)
    mse = ((error * std[..., None]) ** 2).mean((1, 2))
    values = part.values.flatten(1)
    return peak_ratio(mse, values.amax(1) - values.amin(1))


def truth(z: Tensor, shift: float) -> Tensor:
    """Values (B, C, *places) of the splines through the samples, ``shift`` past them."""
    if shift == 0:
        return z
    lattice = centres(z.shape[2:], [1.0] * (z.ndim - 2), torch.device("cpu"), shift)
    between = CubicInterpolant(z.flatten(0, 1).cpu())(lattice)
    return between.to(z).unflatten(0, z.shape[:2])
