"""Derivatives against phantoms that know theirs: ours, splines, filters and a SIREN.

Writes docs/measured/derivatives.{csv,md,png} and, of real scans, vesselness.png beside it;
``--data DIR`` adds CT_AVM.nii.gz to the latter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from sklearn.metrics import roc_auc_score
from torch import Tensor

from oinr_monai import DenoiseConfig, FitConfig, GaussianNoise, Grid, Representation, denoise, fit
from oinr_monai.analysis.derivatives import derivative_maps
from oinr_monai.analysis.invariants import objectness
from oinr_monai.images.files import read_image
from scripts.rivals.derivatives import (
    Derivatives,
    central_differences,
    cubic_spline,
    itk_vesselness,
    recursive_gaussian,
    siren,
    sobel,
)
from scripts.shared.analytic import TUBE_RADII, Case, Key, cases, tube_distances
from scripts.shared.problem import PRESETS
from scripts.shared.report import MEASURED, Report, Table
from scripts.shared.rows import append_row, read_rows

SIGMAS = (0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
OUR_SIGMA = 0.7  # mm, where no answer is at hand to choose it by
SECONDS = 10.0  # for what is trained on a clean phantom
METRICS = ("gradient", "angle", "hessian", "eigenvalues", "auc")

OURS, OUR_BEST = f"ours, sigma {OUR_SIGMA}", "ours, best sigma"
EXACT, TRAINED = "ours, exact", f"ours, best, {SECONDS:.0f} s"
ITK, SPLINE, SOBEL, SIREN = "recursive Gaussian, best sigma", "cubic B-spline", "Sobel", "SIREN"
DIFFERENCES = "central differences"


@dataclass(frozen=True)
class Row:
    """How one method did on one case, a metric being None where it has no answer."""

    phantom: str
    grid: str
    noise: float
    method: str
    gradient: float
    angle: float
    hessian: float | None = None
    eigenvalues: float | None = None
    auc: float | None = None
    seconds: float | None = None

    @property
    def key(self) -> Key:
        """The case."""
        return self.phantom, self.grid, self.noise


# ---- scores -------------------------------------------------------------------------------------


def scores(case: Case, found: Derivatives) -> dict[str, float]:
    gradient, wanted = case.inner(found[0]), case.inner(case.gradient)
    result = {"gradient": relative(gradient, wanted), "angle": angle(gradient, wanted)}
    if found[1] is None:
        return result
    hessian, truth = case.inner(found[1]), case.inner(case.hessian)
    ours, theirs = torch.linalg.eigvalsh(hessian), torch.linalg.eigvalsh(truth)
    result |= {"hessian": relative(hessian, truth), "eigenvalues": relative(ours, theirs)}
    if case.phantom == "tubes":
        distances = case.inner(tube_distances(case.grid.points()).flatten(0, -2))
        inside = (distances < torch.tensor(TUBE_RADII)).any(dim=1)
        vesselness = objectness(ours.T[None], 1)[0]
        result["auc"] = float(roc_auc_score(inside.numpy(), vesselness.numpy()))
    return result


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def angle(found: Tensor, wanted: Tensor) -> float:
    """Mean degrees between gradients, where they are at least a tenth of the steepest."""
    length = wanted.norm(dim=1)
    steep = length > 0.1 * length.max()
    cosine = torch.nn.functional.cosine_similarity(found, wanted)[steep]
    return float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).mean())


def best_of(case: Case, runs: Sequence[Callable[[], Derivatives]]) -> dict[str, float]:
    """The best score of each metric over the runs, the answer being at hand."""
    found = [scores(case, run()) for run in runs]
    return {
        name: (max if name == "auc" else min)(each[name] for each in found) for name in found[0]
    }


# ---- methods ------------------------------------------------------------------------------------


def of(representation: Representation) -> Derivatives:
    jet = representation.jet()
    hessian = jet.hessian[0].flatten(2).movedim(-1, 0)
    return jet.gradient[0].flatten(1).T.double(), hessian.double()


def smoothed(representation: Representation, sigma: float) -> Derivatives:
    return of(representation.smoothed(sigma))


def recursive_runs(case: Case) -> list[Callable[[], Derivatives]]:
    """Every sigma in mm, and every sigma in voxels."""
    spacing = case.grid.spacing.tolist()
    in_mm = [[sigma] * 3 for sigma in SIGMAS]
    in_voxels = [[sigma * h for h in spacing] for sigma in SIGMAS]
    image = case.image.as_tensor()
    return [partial(recursive_gaussian, image, case.grid, widths) for widths in in_mm + in_voxels]


def measured(case: Case) -> Iterator[tuple[str, dict[str, float]]]:
    image, grid = case.image.as_tensor(), case.grid
    yield DIFFERENCES, scores(case, central_differences(image, grid))
    yield SOBEL, scores(case, sobel(image, grid))
    yield SPLINE, scores(case, cubic_spline(image, grid))
    yield ITK, best_of(case, recursive_runs(case))
    started = time.monotonic()
    if case.noise == 0:
        yield EXACT, scores(case, of(fit(case.image, FitConfig(preset="exact"))))
        trained = fit(case.image, FitConfig(preset="best", seconds=SECONDS))
        yield TRAINED, scores(case, of(trained)) | {"seconds": SECONDS}
        seconds = SECONDS
    else:
        clean = denoise(case.image, DenoiseConfig(GaussianNoise(), start=None))
        seconds = time.monotonic() - started
        yield OURS, scores(case, smoothed(clean, OUR_SIGMA)) | {"seconds": seconds}
        runs = [partial(smoothed, clean, sigma) for sigma in SIGMAS]
        yield OUR_BEST, best_of(case, runs) | {"seconds": seconds}
    yield SIREN, scores(case, siren(image, grid, seconds)) | {"seconds": seconds}


def cost(table: Table) -> None:
    """Time of value, gradient and Hessian of a volume of 128³ in times of the value alone."""
    torch.manual_seed(0)
    for preset in PRESETS:
        representation = fit(torch.rand(1, 128, 128, 128), FitConfig(preset, steps=5))
        alone: list[float] = []
        all_three: list[float] = []
        for _ in range(3):
            for times, ask in ((alone, representation.sample), (all_three, representation.jet)):
                started = time.monotonic()
                ask()
                times.append(time.monotonic() - started)
        table.row(preset, f"{min(alone):.2f}", f"{min(all_three) / min(alone):.1f}")


# ---- the page -----------------------------------------------------------------------------------

HEAD = """Phantoms with known gradient and Hessian in mm, noise as a share of the range; errors at
voxel centres, three voxels from the borders or more.

- ours, exact: `fit` with preset exact, the quintic B-spline; ours, best: the trained preset.
- with noise: `denoise`, `start=None` (sigma estimated), then derivatives at sigma 0.7 mm, chosen
  once for all cells, or at the best of {sigmas} mm, chosen
  cell by cell with the answer at hand. Vesselness is of that one scale, and 0.7 mm is narrow for
  tubes of 1.5 to 4 mm: `oinr derive` takes several.
- recursive Gaussian: SimpleITK's, at the best of the same sigmas, in mm or in voxels, for each cell
  and metric, with the answer at hand.
- SIREN: 128 x 3, for as long as ours took (clean: {seconds:.0f} s), differentiated exactly.

Bold: ours is behind the one it is held against, the cubic B-spline on clean phantoms and the
recursive Gaussian on noisy ones.
"""

TITLES = {
    "gradient": "Gradient, relative L2 error",
    "angle": "Gradient, mean angle in degrees",
    "hessian": "Hessian, relative L2 error",
    "eigenvalues": "Hessian eigenvalues, relative L2 error",
    "auc": "Vesselness on the tubes, area under the ROC curve",
}

CLEAN = (DIFFERENCES, SOBEL, SPLINE, ITK, SIREN, TRAINED, EXACT)
NOISY = (DIFFERENCES, SOBEL, SPLINE, ITK, SIREN, OURS, OUR_BEST)


def report_of(rows: list[Row], folder: Path) -> Report:
    """The page."""
    report = Report("derivatives", "Derivatives", folder)
    report.made()
    report.text(HEAD.format(sigmas=", ".join(map(str, SIGMAS)), seconds=SECONDS))
    verdict(report, rows)
    report.heading("Cost")
    report.text("Value, gradient and Hessian of 128³ voxels, in times of the value alone.")
    cost(report.table(["preset", "value, s", "all three, times that"]))
    for metric, title in TITLES.items():
        for noisy, methods in ((False, CLEAN), (True, NOISY)):
            report.heading(f"{title}, {'with noise' if noisy else 'clean'}")
            fill(report, rows, metric, noisy, [m for m in methods if has(rows, m, metric)])
    report.picture("Error of the gradient's direction against noise")
    report.picture("Vesselness beside SimpleITK's", "vesselness")
    return report


def has(rows: list[Row], method: str, metric: str) -> bool:
    return any(row.method == method and getattr(row, metric) is not None for row in rows)


def cells(rows: list[Row], metric: str, noisy: bool) -> dict[Key, dict[str, float]]:
    """Numbers by phantom, grid and noise, then by method."""
    found: dict[Key, dict[str, float]] = {}
    for row in rows:
        value = getattr(row, metric)
        if (row.noise > 0) == noisy and value is not None:
            found.setdefault(row.key, {})[row.method] = value
    return found


def behind(each: dict[str, float], method: str, metric: str, noisy: bool) -> bool:
    other = each[ITK if noisy else SPLINE]
    return each[method] < other if metric == "auc" else each[method] > other


def fill(report: Report, rows: list[Row], metric: str, noisy: bool, methods: Sequence[str]) -> None:
    """Add the table of a metric."""
    lines = []
    for (phantom, grid, noise), each in cells(rows, metric, noisy).items():
        numbers = []
        for method in methods:
            number = f"{each[method]:.3g}" if method in each else ""
            lost = method.startswith("ours") and behind(each, method, metric, noisy)
            numbers.append(f"**{number}**" if lost else number)
        lines.append([phantom, grid, f"{noise:.0%}", *numbers])
    report.table(["phantom", "grid", "noise", *methods], lines, text=2)


def verdict(report: Report, rows: list[Row]) -> None:
    """Say where ours are at or ahead of what they are held against."""
    names, lines = ["gradient", "angle", "Hessian", "eigenvalues", "AUC"], []
    for method, noisy in ((EXACT, False), (TRAINED, False), (OURS, True), (OUR_BEST, True)):
        won = []
        for metric in METRICS:
            found = cells(rows, metric, noisy).values()
            good = sum(not behind(each, method, metric, noisy) for each in found)
            won.append(f"{good} of {len(found)}")
        lines.append([method, ITK if noisy else SPLINE, *won])
    report.table(["", "at or ahead of", *names], lines, text=2)
    ratios = [c[SOBEL] / c[EXACT] for c in cells(rows, "gradient", noisy=False).values()]
    report.text(
        f"Clean: the gradient error of Sobel over that of ours, exact, is {min(ratios):.1f} to "
        f"{max(ratios):.0f}, and 5 or more in {sum(r >= 5 for r in ratios)} of {len(ratios)} cells."
    )


def draw_errors(path: Path, rows: list[Row]) -> None:
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row.phantom for row in rows))
    figure, axes = plt.subplots(2, len(names), figsize=(13, 6), layout="constrained", sharex=True)
    for column, name in zip(axes.T, names, strict=True):
        for axis, metric in zip(column, ("angle", "eigenvalues"), strict=True):
            found = cells(rows, metric, noisy=True)
            for method in (SPLINE, ITK, SIREN, OURS, OUR_BEST):
                points = {
                    key[2]: each[method]
                    for key, each in found.items()
                    if key[0] == name and key[1] == "oblique"
                }
                axis.semilogy([100 * n for n in points], list(points.values()), "o-", label=method)
            axis.set_title(f"{name}, {metric}")
    axes[1, 0].set_xlabel("noise, % of the range")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=90)
    plt.close(figure)


# ---- real scans ---------------------------------------------------------------------------------


def scans(folder: Path | None) -> dict[str, tuple[MetaTensor, tuple[float, ...]]]:
    """Volumes, and the widths in mm of what to look for in them."""
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    values = torch.from_numpy(template.get_fdata()[34:162, 50:178, 30:126]).float()[None]
    affine = torch.from_numpy(template.affine).double()
    origin = Grid(tuple(template.shape), affine).crop((34, 50, 30), (162, 178, 126))
    found: dict[str, tuple[MetaTensor, tuple[float, ...]]] = {
        "MNI152, 1 mm": (origin.to_image(values), (1.0, 1.5, 2.0))
    }
    if folder is not None and (path := folder / "CT_AVM.nii.gz").is_file():
        whole = read_image(path)
        crop = Grid.from_image(whole).crop((60, 50, 20), (210, 200, 140))
        found["CT_AVM"] = (
            crop.to_image(whole.as_tensor()[:, 60:210, 50:200, 20:140]),
            (0.75, 1.0, 1.5, 2.0),
        )
    return found


def draw_vessels(path: Path, folder: Path | None) -> None:
    import matplotlib.pyplot as plt

    shown = scans(folder)
    figure, axes = plt.subplots(len(shown), 4, figsize=(14, 3.6 * len(shown)), squeeze=False,
                                layout="constrained")  # fmt: skip
    for row, (name, (image, sigmas)) in zip(axes, shown.items(), strict=True):
        plain = fit(image, FitConfig(preset="exact"))
        clean = denoise(image, DenoiseConfig(GaussianNoise(), start=None))
        found = [dict(derivative_maps(r, ["vesselness"], sigma=sigmas))["vesselness"]
                 for r in (plain, clean)]  # fmt: skip
        panels = {
            f"{name}, maximum over a slab": image.as_tensor()[0],
            f"SimpleITK, sigma {sigmas[0]} to {sigmas[-1]} mm": itk_vesselness(image, sigmas),
            "ours, exact": found[0].as_tensor()[0],
            "ours, denoised": found[1].as_tensor()[0],
        }
        for axis, (title, volume) in zip(row, panels.items(), strict=True):
            middle = volume.shape[2] // 2
            slab = volume[:, :, middle - 15 : middle + 15].amax(dim=2).T
            axis.imshow(slab, cmap="gray", origin="lower", vmax=float(slab.quantile(0.998)))
            axis.set_title(title, fontsize=10)
            axis.set_axis_off()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def measure_missing(path: Path) -> list[Row]:
    """The rows of the CSV; the cases that it does not hold are measured and added."""
    rows = read_rows(path, Row)
    done = {row.key for row in rows}
    for case in cases():
        if case.key in done:
            continue
        found = list(measured(case))
        for method, numbers in found:
            short: dict[str, Any] = {name: float(f"{value:.5g}") for name, value in numbers.items()}
            rows.append(Row(*case.key, method, **short))
            append_row(path, rows[-1])
        print(*case.key, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of CT_AVM.nii.gz")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import matplotlib as mpl

    mpl.use("agg")
    rows = measure_missing(arguments.output / "derivatives.csv")
    report_of(rows, arguments.output).write()
    draw_errors(arguments.output / "derivatives.png", rows)
    draw_vessels(arguments.output / "vesselness.png", arguments.data)


if __name__ == "__main__":
    main()
