"""What the columns of feature tables are, and their units, from their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oinr_monai.images.replacing import replacing

from .derivatives import MAPS
from .first_order import FIRST_ORDER

__all__ = ["SHAPES", "Column", "codebook", "quantities", "write_codebook"]


@dataclass(frozen=True)
class Column:
    """A column of a table, a channel of an image, or all of a kind.

    Args:
        name: as it stands in the heading.
        unit: of its numbers; 1 where they have none.
        meaning: what it is.
    """

    name: str
    unit: str
    meaning: str


# What regions are like whatever the image shows: pattern of the name, unit, and meaning.
SHAPES = (
    Column("voxels", "1", "number of voxels"),
    Column("volume_mm3", "mm^3", "volume"),
    Column("area_mm2", "mm^2", "area: of a region in two dimensions, of its surface in three"),
    Column("length_mm", "mm", "length"),
    Column(
        r"extent(\d)_mm", "mm", "standard deviation along principal axis {0}, the longest first"
    ),
    Column(r"depth_p(\d+)_mm", "mm", "distance to the surface, inside, percentile {0}"),
    Column(r"ridge_p(\d+)_mm", "mm", "half the thickness: depth along its ridge, percentile {0}"),
    Column("ridge_deviation_mm", "mm", "standard deviation of half the thickness"),
    Column("ridge_part", "1", "part of the voxels that lie on the ridge of the depth"),
    Column("area_per_volume_per_mm", "1/mm", "area of the surface over the volume"),
    Column("mean_curvature_per_mm", "1/mm", "mean curvature, its mean over the surface"),
    Column("gaussian_curvature_per_mm2", "1/mm^2", "Gaussian curvature, its mean over the surface"),
    Column(
        r"curvature(\d)_p(\d+)_per_mm",
        "1/mm",
        "principal curvature {0} of the surface, the larger first, percentile {1}",
    ),
    Column(r"occupancy_p(\d+)", "1", "smoothed indicator of the region, inside, percentile {0}"),
    Column(
        r"hessian(\d)_p(\d+)",
        "1",
        "Hessian eigenvalue {0} of the smoothed indicator times sigma^2, inside, percentile {1}",
    ),
)

# Statistics that have no unit, whatever they are of.
PURE = {"skewness": "1", "kurtosis": "1", "entropy": "bit", "uniformity": "1"}

STATISTICS = "|".join(FIRST_ORDER)


def codebook(columns: Sequence[str]) -> list[Column]:
    """Unit and meaning of each column of a table of features, or channel of jets.

    Args:
        columns: their names.

    Raises:
        ValueError: if one is not of ours.

    Example:
        >>> for column in codebook(["laplacian_p95_at2mm", "extent1_mm"]):
        ...     print(column.unit, "|", column.meaning)
        intensity/mm^2 | Laplacian, p95, at a scale of 2 mm
        mm | standard deviation along principal axis 1, the longest first
    """
    return [_column(name) for name in columns]


def write_codebook(path: Path, columns: Sequence[str]) -> None:
    """Write a CSV file of names, units and meanings.

    Args:
        path: the file.
        columns: names of the columns, or of the channels.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["column", "unit", "meaning"])
        writer.writerows([each.name, each.unit, each.meaning] for each in codebook(columns))


def quantities() -> Iterator[Column]:
    """What is asked of an image at every place: intensity, maps of its jets, and activations."""
    yield Column("intensity", "intensity", "intensity")
    for name, described in MAPS.items():
        meaning, _, unit = described.rpartition(", ")
        yield Column(name, "1" if " to " in unit else unit, meaning)
    yield Column(r"layer\d+", "1", "activation of a hidden layer")


def _column(name: str) -> Column:
    """Of a name with its scale and its channel, without these."""
    rest, told = name, []
    if channel := re.match(r"channel(\d+)_", rest):
        rest, told = rest[channel.end() :], [f"channel {channel[1]} of the image"]
    if scale := re.search(r"_at([\d.e+-]+)mm$", rest):
        rest, told = rest[: scale.start()], [*told, f"at a scale of {scale[1]} mm"]
    found = _of_shape(rest) or _of_quantity(rest)
    if found is None:
        raise ValueError(f"columns must be those of our tables, got {name!r}")
    return Column(name, found.unit, ", ".join([found.meaning, *told]))


def _of_shape(name: str) -> Column | None:
    for kind in SHAPES:
        if match := re.fullmatch(kind.name, name):
            return Column(name, kind.unit, kind.meaning.format(*match.groups()))
    return None


def _of_quantity(name: str) -> Column | None:
    for kind in quantities():
        # A part: of eigenvalues, along axes, or by number.
        pattern = rf"{kind.name}(\d|(?:_[xyz]{{1,2}})|(?:_\d+))?(?:_({STATISTICS}))?"
        if match := re.fullmatch(pattern, name):
            part, statistic = (match[1] or "").strip("_"), match[2]
            told = [
                *([part] if part else []),
                *([statistic.replace("_", " ")] if statistic else []),
            ]
            return Column(name, PURE.get(statistic, kind.unit), ", ".join([kind.meaning, *told]))
    return None
