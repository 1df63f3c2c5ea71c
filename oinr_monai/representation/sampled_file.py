"""The .oinr file of an image in closed form, format version 2: its samples, coded in chunks."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from oinr_monai.coding.copying import copy_samples
from oinr_monai.coding.decoder import CodedSamples, open_samples
from oinr_monai.coding.encoder import Coded, write_samples
from oinr_monai.coding.quality import Lossless, MaxError, Quality
from oinr_monai.coding.tensor_file import OtherFileError
from oinr_monai.grids.samples import Samples
from oinr_monai.grids.tiles import slabs

from .header import SampledHeader
from .oinr_file import OINR, Contents, check_labels
from .sampled_field import SampledField

__all__ = ["read_sampled", "write_sampled"]

# Part of the range that samples may be off by where they are no whole numbers and nothing is said.
PART = 1e-5

# How far rounding to float32 may take the multiple of a slope from a whole number; by hand.
WHOLE = 1e-2

# Voxels that are looked at at once, 8 MiB, to tell what kind of numbers they are.
AT_ONCE = 1 << 21


def write_sampled(
    path: str | os.PathLike[str], contents: Contents, field: SampledField, quality: Quality | None
) -> Coded | None:
    """Write an image in closed form, complete or not at all.

    Args:
        path: the file.
        contents: grid, scale and info.
        field: the samples, and the degree of their spline.
        quality: what is promised of the samples. If None, coded samples are copied as they are,
            whole numbers keep every bit, and others are off by at most 1e-5 of their range.

    Returns:
        What came of coding; None where it was a copy.

    Raises:
        ValueError: if it would not be read again, or the quality cannot be met.
        OSError: if it cannot be written.
    """
    samples = field.samples
    if quality is None and isinstance(samples, CodedSamples):
        told = SampledHeader.of(samples.header).quality
        copy_samples(path, samples, _header(contents, field, told))
        return None
    slope, intercept = contents.info.stored_scaling or (1.0, 0.0)
    promised = quality or _usual(samples, slope, intercept)
    items = _header(_scored(contents, promised), field, _told(promised))
    return write_samples(path, samples, items, promised, slope=slope, intercept=intercept)


def read_sampled(path: Path) -> Contents:
    """Open a file, which may come from anywhere; samples are read when they are asked for.

    Raises:
        ValueError: if it is damaged or of a newer format.
    """
    samples = open_samples(path)
    try:
        header = SampledHeader.of(samples.header)
        spacing = header.grid.spacing.tolist()
        field = SampledField(samples, spacing, header.mean, header.std, header.degree)
        _check(field, header)
    except OtherFileError:
        raise
    except Exception as error:  # whatever classes say to arguments that somebody made up
        raise ValueError(OINR.message(path, error)) from error
    return Contents(field, header.grid, header.scale, header.info)


def _header(contents: Contents, field: SampledField, quality: str) -> dict[str, Any]:
    header = SampledHeader(
        field.degree,
        quality,
        contents.grid,
        contents.scale,
        field.mean,
        field.std,
        contents.info,
    )
    _check(field, header)
    return header.items()


def _told(quality: Quality) -> str:
    """In words for whoever reads the header, such as "max_error 0.5"."""
    return " ".join([quality.name, *(f"{value:g}" for value in asdict(quality).values())])


def _scored(contents: Contents, quality: Quality) -> Contents:
    if isinstance(quality, Lossless):
        return contents
    # They were measured on samples that the file does not hold.
    return replace(contents, info=replace(contents.info, psnr_grid=None, psnr_between=None))


def _check(field: SampledField, header: SampledHeader) -> None:
    """Raise ValueError where samples, grid, scale and info contradict each other."""
    if field.shape != header.grid.shape:
        raise ValueError(f"samples must be of shape {header.grid.shape}, got {field.shape}")
    if len(header.scale.mean) != field.channels:
        raise ValueError(
            f"scale must be of {field.channels} channels, got {len(header.scale.mean)}"
        )
    if header.info.parameters not in (None, field.size):
        raise ValueError(f"info parameters must be {field.size}, got {header.info.parameters}")
    if header.info.fitted:
        raise ValueError("info fitted must be of no parameters, where none was")
    if header.info.occupancy is not None:
        check_labels(header.info.occupancy.labels, field.channels)


def _usual(samples: Samples, slope: float, intercept: float) -> Quality:
    """No loss of whole numbers, and almost none of others."""
    low, high, whole = math.inf, -math.inf, True
    for start, stop in slabs(samples.shape[1:], max(AT_ONCE // samples.shape[0], 1)):
        part = samples.read(start, stop)
        numbers = (part.double() - intercept) / slope if (slope, intercept) != (1, 0) else part
        whole = whole and bool((numbers - numbers.round()).abs().max() < WHOLE)
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    return Lossless() if whole or low == high else MaxError(PART * (high - low))
