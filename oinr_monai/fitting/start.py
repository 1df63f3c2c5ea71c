"""The fields that fits start from: drawn at random, or carried over from another fit."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import cast

import torch
from torch import Tensor

from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.field import Field
from oinr_monai.fields.joint import JointField
from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import interpolating_coefficients
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.operators.operator import LatticeOperator, LocalOperator
from oinr_monai.representation.lineage import trained_field
from oinr_monai.representation.neural_field import NeuralField, field_of
from oinr_monai.representation.operator_field import OperatorField
from oinr_monai.representation.registry import check_savable
from oinr_monai.representation.representation import Representation

from .device import seeded
from .presets import CHANNELS, FitConfig, Preset, begins_closed, preset_of

__all__ = ["begin", "build_family", "build_field"]

# Distance between the knots of a family's motions, in voxels. Chosen by hand.
MOTION_KNOTS = 4


def begin(
    grid: Grid, out_channels: int, config: FitConfig, start: Representation | None = None
) -> OperatorField:
    """The field that a fit on ``grid`` begins with: drawn at random, or carried over.

    The operator is carried over as it is. Learned splines are too where the new knots lie as those
    of the start do; otherwise they are the splines through the start's field at the new knots,
    with places counted in parts of the extent: the first voxel centre of the start's grid becomes
    the first of the new one, and the last the last, whatever the affines are.

    Args:
        grid: grid of the image.
        out_channels: channels of the image.
        config: how to fit; it must make an operator and an input function of the start's kind.
        start: a fit of another image, or of the same one; random weights if None, which
            :func:`~oinr_monai.fitting.closed_start.begin_closed` may improve on.

    Raises:
        ValueError: if the start is of other channels or of another kind than the settings make.

    Example:
        >>> from oinr_monai import fit
        >>> config = FitConfig(preset="fast", steps=5)
        >>> start = fit(torch.rand(1, 12, 12), config)
        >>> finer = begin(start.grid.refine(2), 1, config, start)
        >>> torch.equal(finer.network.last.weight, start.field.network.last.weight)
        True
    """
    with seeded(config.seed):
        field = build_field(grid, out_channels, config)
    if start is None:
        return field
    begun = _checked_start(field, start, out_channels)
    field.network.load_state_dict(begun.network.state_dict())
    pairs = zip(field.encoding.modules(), begun.encoding.modules(), strict=True)
    # A fitted field that the operator reads is given, and not what a fit starts from.
    given = {part for signal in field.signals() for part in signal.modules()}
    with torch.no_grad():
        for new, old in pairs:
            if isinstance(new, SplineField) and new not in given:
                new.coefficients.copy_(_carried(new, cast("SplineField", old)))
    return field


def _checked_start(field: OperatorField, start: Representation, out_channels: int) -> OperatorField:
    """The start's field, of the kind of ``field``."""
    old, dims = trained_field(start, "start"), field.network.spatial_dims
    if old.network.spatial_dims != dims:
        raise ValueError(
            f"start must have {dims} spatial dimensions as the image, got "
            f"{old.network.spatial_dims}; fit a start to an image of {dims}"
        )
    if old.network.out_channels != out_channels:
        raise ValueError(
            f"start must have {out_channels} channels as the image, got "
            f"{old.network.out_channels}; fit a start to an image of {out_channels}"
        )
    if _kind(field) != _kind(old):
        settings = start.info.settings or {}
        raise ValueError(
            f"start must be of the kind that the settings make, {_named(field)}, got "
            f"{_named(old)}; give the settings of the start, preset {settings.get('preset')!r}"
        )
    return old


def _kind(field: OperatorField) -> object:
    # What must agree for the same weights to mean the same; nodes move with the grid.
    operator = field.network.arguments()
    told = {name: v for name, v in operator.items() if name not in ("kernel", "spacing")}
    shapes = {name: tuple(v.shape) for name, v in field.network.state_dict().items()}
    return type(field.network), told, shapes, [type(each) for each in field.encoding.modules()]


def _named(field: OperatorField) -> str:
    channels = (field.network.in_channels, *field.hidden_channels, field.network.out_channels)
    names = f"{type(field.network).__name__} on {type(field.encoding).__name__}"
    return f"{names} with channels {'-'.join(map(str, channels))}"


def _carried(new: SplineField, old: SplineField) -> Tensor:
    if _knots(new) == _knots(old):
        return old.coefficients.to(new.coefficients)
    axes = []
    for d, knots in enumerate(new.coefficients.shape[1:]):
        # Knot 1 lies where the margin begins.
        places = (torch.arange(knots, dtype=torch.float64) - 1) * new.knot_spacing[d]
        parts = (places - new.margin[d]) / new.extent[d] if new.extent[d] else 0 * places
        axes.append((parts * old.extent[d]).to(old.coefficients.device))
    return interpolating_coefficients(old(Lattice(tuple(axes)))[0], halo=0).to(new.coefficients)


def _knots(field: SplineField) -> object:
    # How the knots lie over the extent, and how many there are.
    each = zip(field.extent, field.margin, field.knot_spacing, strict=True)
    parts = [(round(e / k, 6), round(m / k, 6)) for e, m, k in each]
    return parts, tuple(field.coefficients.shape)


def build_field(grid: Grid, out_channels: int, config: FitConfig) -> OperatorField:
    """The untrained field that :func:`fit` starts from, on ``grid``.

    Args:
        grid: grid of the image.
        out_channels: channels of the image.
        config: how to fit.

    Raises:
        ValueError: if ``config`` makes a field or an operator that a file could not hold.
    """
    preset = preset_of(grid, config)
    if config.encoding is not None:
        # A part of it may be a fitted field, which stays as it is.
        field = copy.deepcopy(config.encoding(grid))
        operator = _operator(config, grid, field.channels, out_channels)
    elif preset.pair is not None and begins_closed(grid, out_channels, config):
        field = _pair_field(preset.pair, grid, out_channels)
        operator = _operator(config, grid, field.channels, out_channels)
    else:
        field, operator = _plain_parts(preset, grid, out_channels, config)
    _check_given(config, field, operator)
    return field_of(field, operator, grid.spacing.tolist(), grid.shape)


def build_family(
    grid: Grid, out_channels: int, config: FitConfig, members: int, *, motion: bool
) -> NeuralField:
    """The untrained field of ``members`` images on ``grid``, at their equal blend.

    Raises:
        ValueError: if ``config`` makes an operator of whole lattices, or fields of another kind.
    """
    if config.encoding is None:
        field, operator = _plain_parts(preset_of(grid, config), grid, out_channels, config)
        _check_given(config, field, operator)
    else:
        alone = build_field(grid, out_channels, config)
        field, operator = alone.encoding, alone.network
    if not (isinstance(operator, LocalOperator) and isinstance(field, SplineField)):
        raise ValueError(
            "config must make a local operator and a SplineField for a family, got "
            f"{type(operator).__name__} and {type(field).__name__}"
        )
    spacing, spline = grid.spacing.tolist(), field.arguments()
    family = FamilyField(
        **{name: spline[name] for name in ("extent", "knot_spacing", "channels", "margin")},
        members=members,
        motion_spacing=[MOTION_KNOTS * h for h in spacing] if motion else None,
    )
    return NeuralField(family, operator, spacing)


def _check_given(
    config: FitConfig, field: Field, operator: LocalOperator | LatticeOperator
) -> None:
    """Raise ValueError where what a configuration makes is nothing that a file could hold."""
    for part, given in ((field, config.encoding), (operator, config.network)):
        if given is not None:
            check_savable(part)


def _operator(
    config: FitConfig, grid: Grid, in_channels: int, out_channels: int
) -> LocalOperator | LatticeOperator:
    make = config.network or partial(
        ConvOINR, channels=config.channels or CHANNELS, kernel_size=config.kernel_size
    )
    operator = make(
        spatial_dims=grid.spatial_dims, in_channels=in_channels, out_channels=out_channels
    )
    # The nodes of a continuous kernel lie at the voxels; the halo counts them.
    if isinstance(operator, LocalOperator):
        return operator.with_spacing(grid.spacing.tolist())
    return operator


def _plain_parts(
    preset: Preset, grid: Grid, out_channels: int, config: FitConfig
) -> tuple[Field, LocalOperator | LatticeOperator]:
    """Splines of one kind, and what reads them."""
    # Channels of an image share much of what they show, but not all.
    channels = round(preset.field_channels * math.sqrt(out_channels))
    operator = _operator(config, grid, channels, out_channels)
    halo = operator.halo() if isinstance(operator, LocalOperator) else (0,) * grid.spatial_dims
    spacing = grid.spacing.tolist()
    knots = [h * preset.knot_spacing for h in spacing]
    margin = [h * r for h, r in zip(spacing, halo, strict=True)]
    return SplineField(grid.extent.tolist(), knots, channels, margin), operator


def _pair_field(pair: tuple[float, float], grid: Grid, out_channels: int) -> Field:
    """The splines that a closed form is, a channel for each of the image, and what is beside."""
    extent = grid.extent.tolist()
    parts = []
    for distance, channels in zip(
        pair, (out_channels, round(math.sqrt(out_channels))), strict=True
    ):
        # The last cell ends where the image does, or too few samples would tell the knots beyond.
        cells = [max(math.ceil((n - 1) / distance), 1) for n in grid.shape]
        knots = [e / count for e, count in zip(extent, cells, strict=True)]
        parts.append(SplineField(extent, knots, channels))
    return JointField(parts)
