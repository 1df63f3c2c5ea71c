"""Our features beside those of other packages: writes docs/measured/radiomics.{csv,md}.

python -m scripts.quality.radiomics --hippocampus DIR --rivals PYTHON

DIR holds images/ and labels/ of hippocampi, which the repository does not ship; PYTHON is that of
an environment that has pyradiomics.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from skimage.feature import hessian_matrix, hessian_matrix_eigvals

from oinr_monai import FitConfig, fit, jet_features, region_features, shape_features
from oinr_monai.images.files import read_image
from oinr_monai.images.labels import read_labels
from scripts.shared.report import MEASURED, ROOT, Report

# Scans that are looked at, the first by name, and the scale of their jets in mm.
SCANS, SIGMA = 20, 2.0

# Voxels at every border where filters and splines are continued in ways of their own.
BORDER = 8

LABELS = (1, 2)

HEAD = """
Regions are the two parts of {scans} hippocampi (Medical Segmentation Decathlon, task 4; 1 mm),
{count} in all. A number is the greatest difference from pyradiomics, in parts of its value, once
what is said of the definition is taken into account. The intensities are whole numbers, some of
which lie on the edge of two of the 32 bins of entropy and uniformity: there rounding decides.
"""

SURFACE = """
The area of a surface is no shared definition: pyradiomics adds up the triangles between voxels,
steps and all, where `shape_features` integrates over the level sets of the indicator behind a
Gaussian. Ours over theirs at each scale, its mean and its range:
"""

JETS = """
Five of the scans at a scale of {sigma:g} mm, {border} voxels from the border and more. Filters are
sums over samples, SimpleITK's by a recursion that comes close to the Gaussian; jets are those of
the quintic spline through the samples. Root mean square of the difference over that of the values.
"""


@dataclass(frozen=True)
class Shared:
    """A column of ours, the name of pyradiomics, and how theirs becomes ours."""

    column: str
    theirs: str
    definition: str
    ours: Callable[[float], float]


def _same(value: float) -> float:
    return value


def _axis(length: float) -> float:
    """Of an ellipsoid's axis, 4 deviations of voxel centres; ours are of whole voxels of 1 mm."""
    return math.sqrt((length / 4) ** 2 + 1 / 12)


def _plain(*pairs: tuple[str, str]) -> list[Shared]:
    return [Shared(f"intensity_{ours}", f"firstorder_{their}", "", _same) for ours, their in pairs]


SHARED = [
    Shared("volume_mm3", "shape_VoxelVolume", "", _same),
    *(
        Shared(f"extent{i}_mm", f"shape_{name}AxisLength", "4 of it, a voxel's own added", _axis)
        for i, name in enumerate(("Major", "Minor", "Least"), start=1)
    ),
    *_plain(("mean", "Mean"), ("minimum", "Minimum"), ("maximum", "Maximum")),
    *_plain(("p10", "10Percentile"), ("p50", "Median"), ("p90", "90Percentile")),
    Shared("intensity_std", "firstorder_Variance", "its root", math.sqrt),
    *_plain(("skewness", "Skewness")),
    Shared("intensity_kurtosis", "firstorder_Kurtosis", "less 3", lambda value: value - 3),
    *_plain(("mean_absolute_deviation", "MeanAbsoluteDeviation")),
    *_plain(("root_mean_square", "RootMeanSquared")),
    *_plain(("entropy", "Entropy"), ("uniformity", "Uniformity")),
]


@dataclass(frozen=True)
class Row:
    """One column beside theirs."""

    column: str
    theirs: str
    definition: str
    difference: float


def ours(image: Path, labels: Path) -> list[dict[str, float]]:
    """All columns of each label."""
    regions = read_labels(labels)
    table = region_features(fit(read_image(image), FitConfig(degree=5)), regions, maps=[])
    both = table.beside(shape_features(regions))
    return [dict(zip(both.columns, row, strict=True)) for row in both.values.tolist()]


def compared(own: Sequence[dict[str, float]], their: Sequence[dict[str, float]]) -> list[Row]:
    """The greatest difference in each column that both have."""
    rows = []
    for each in SHARED:
        pairs = [
            (a[each.column], each.ours(b[each.theirs])) for a, b in zip(own, their, strict=True)
        ]
        apart = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
        rows.append(Row(each.column, each.theirs, each.definition, float(f"{apart:.1e}")))
    return rows


def areas(
    own: Sequence[dict[str, float]], their: Sequence[dict[str, float]]
) -> list[tuple[str, str, str]]:
    """Ours over theirs at every scale."""
    names = [name for name in own[0] if name.startswith("area_mm2_at")]
    lines = []
    for name in names:
        parts = [a[name] / b["shape_SurfaceArea"] for a, b in zip(own, their, strict=True)]
        told = f"{np.mean(parts):.3f}", f"{min(parts):.3f} to {max(parts):.3f}"
        lines.append((f"`{name}`", *told))
    return lines


def filters(images: Sequence[Path]) -> list[tuple[str, str, float]]:
    """Jets beside filters of other packages."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    maps = ("gradient_magnitude", "laplacian", "hessian_eigenvalues")
    for path in images:
        image = read_image(path)
        slope, laplacian, *bends = jet_features(image, maps, [SIGMA]).as_tensor().numpy()
        plain = sitk.GetImageFromArray(image[0].numpy().transpose(2, 1, 0))
        second = hessian_matrix(
            image[0].numpy(), SIGMA, use_gaussian_derivatives=True, mode="nearest"
        )
        steep = sitk.GradientMagnitudeRecursiveGaussian(plain, SIGMA)
        bent = sitk.LaplacianRecursiveGaussian(plain, SIGMA)
        for key, own, other in (
            (("gradient magnitude", "SimpleITK"), slope, _array(steep)),
            (("Laplacian", "SimpleITK, as in pyradiomics"), laplacian, _array(bent)),
            (("eigenvalues", "scikit-image"), np.stack(bends), hessian_matrix_eigvals(second)),
        ):
            a, b = _inner(own), _inner(other)
            found.setdefault(key, []).append((((a - b) ** 2).mean(), (b**2).mean()))
    apart = {key: np.mean(pairs, axis=0) for key, pairs in found.items()}
    return [(*key, float(f"{math.sqrt(off / whole):.1e}")) for key, (off, whole) in apart.items()]


def _inner(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values[..., BORDER:-BORDER, BORDER:-BORDER, BORDER:-BORDER]


def _array(image: sitk.Image) -> NDArray[np.floating]:
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def elsewhere(python: str, pairs: Sequence[tuple[str, str, int]]) -> list[dict[str, float]]:
    """What pyradiomics says of each region."""
    command = [python, "-W", "ignore", "-m", "scripts.rivals.radiomics_elsewhere"]
    done = subprocess.run(
        [*command, json.dumps(pairs)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hippocampus", type=Path, metavar="DIR", required=True)
    parser.add_argument("--rivals", metavar="PYTHON", required=True)
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = sorted((options.hippocampus / "images").glob("*.nii.gz"))[:SCANS]
    labels = [options.hippocampus / "labels" / path.name for path in images]
    own = [row for pair in zip(images, labels, strict=True) for row in ours(*pair)]
    pairs = [
        (str(a), str(b), label) for a, b in zip(images, labels, strict=True) for label in LABELS
    ]
    their = elsewhere(options.rivals, pairs)
    rows = compared(own, their)
    page = Report("radiomics", "Features beside those of other packages, measured", options.output)
    page.made(without=("--hippocampus",))
    page.heading("Of regions")
    page.text(HEAD.format(scans=len(images), count=len(own)))
    lines = [(f"`{r.column}`", f"`{r.theirs}`", r.definition, r.difference) for r in rows]
    page.table(("column", "pyradiomics", "of theirs", "difference"), lines, text=3)
    page.text(SURFACE)
    page.table(("column", "mean", "range"), areas(own, their))
    page.heading("Of voxels")
    page.text(JETS.format(sigma=SIGMA, border=BORDER))
    page.table(("map", "package", "difference"), filters(images[:5]), text=2)
    page.write(rows)


if __name__ == "__main__":
    main()
