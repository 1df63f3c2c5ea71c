"""Derivatives against phantoms that know theirs: ours, splines, filters and a SIREN.

Writes docs/derivatives.csv, docs/derivatives.md, docs/derivatives.png and, of real scans,
docs/vesselness.png. ``--data DIR`` adds CT_AVM.nii.gz to the latter.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from derivative_rivals import (
    TUBE_RADII,
    Derivatives,
    central_differences,
    cubic_spline,
    grids,
    phantoms,
    recursive_gaussian,
    siren,
    sobel,
    tube_distances,
)
from measuring import PRESETS
from monai.data import MetaTensor
from sklearn.metrics import roc_auc_score
from torch import Tensor

from oinr_monai import DenoiseConfig, FitConfig, GaussianNoise, Grid, Representation, denoise, fit
from oinr_monai.analysis.derivatives import derivative_maps
from oinr_monai.analysis.invariants import objectness
from oinr_monai.images.files import read_image

DOCS = Path(__file__).parents[1] / "docs"
NOISES = (0.0, 0.02, 0.05, 0.1)
SIGMAS = (0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
OUR_SIGMA = 0.7  # mm, where no answer is at hand to choose it by
SECONDS = 10.0  # for what is trained on a clean phantom
MARGIN = 3  # voxels at the borders that do not count
METRICS = ("gradient", "angle", "hessian", "eigenvalues", "auc")
FIELDS = ("phantom", "grid", "noise", "method", *METRICS, "seconds")

OURS, OUR_BEST = f"ours, sigma {OUR_SIGMA}", "ours, best sigma"
EXACT, TRAINED = "ours, exact", f"ours, best, {SECONDS:.0f} s"
ITK, SPLINE, SOBEL, SIREN = "recursive Gaussian, best sigma", "cubic B-spline", "Sobel", "SIREN"
DIFFERENCES = "central differences"


class Case(NamedTuple):
    """A phantom on a grid, with noise of a share of its range, and the truth."""

    phantom: str
    grid_name: str
    noise: float
    grid: Grid
    image: MetaTensor
    gradient: Tensor
    hessian: Tensor

    def inner(self, values: Tensor) -> Tensor:
        """Those of the voxels (N, ...) that count."""
        core = (slice(MARGIN, -MARGIN),) * 3
        return values.unflatten(0, self.grid.shape)[core].flatten(0, 2)


def cases() -> Iterator[Case]:
    for phantom in phantoms():
        for name, grid in grids().items():
            value, gradient, hessian = phantom.on(grid)
            span = float(value.max() - value.min())
            for noise in NOISES:
                generator = torch.Generator().manual_seed(1)
                drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                values = (value + noise * span * drawn).float().unflatten(0, grid.shape)
                image = grid.to_image(values[None])
                yield Case(phantom.name, name, noise, grid, image, gradient, hessian)


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
        clean = denoise(case.image, DenoiseConfig(GaussianNoise()))
        seconds = time.monotonic() - started
        yield OURS, scores(case, smoothed(clean, OUR_SIGMA)) | {"seconds": seconds}
        runs = [partial(smoothed, clean, sigma) for sigma in SIGMAS]
        yield OUR_BEST, best_of(case, runs) | {"seconds": seconds}
    yield SIREN, scores(case, siren(image, grid, seconds)) | {"seconds": seconds}


def cost() -> str:
    """Time of value, gradient and Hessian of a volume of 128³ in times of the value alone."""
    torch.manual_seed(0)
    lines = []
    for preset in PRESETS:
        representation = fit(torch.rand(1, 128, 128, 128), FitConfig(preset, steps=5))
        alone: list[float] = []
        all_three: list[float] = []
        for _ in range(3):
            for times, ask in ((alone, representation.sample), (all_three, representation.jet)):
                started = time.monotonic()
                ask()
                times.append(time.monotonic() - started)
        lines.append(f"| {preset} | {min(alone):.2f} | {min(all_three) / min(alone):.1f} |")
    return "\n".join(lines)


# ---- the page -----------------------------------------------------------------------------------

HEAD = """# Derivatives

Written by `scripts/bench_derivatives.py`. Phantoms with known gradient and Hessian in mm, noise as
a share of the range; errors at voxel centres, three voxels from the borders or more.

- ours, exact: `fit` with preset exact, the quintic B-spline; ours, best: the trained preset.
- with noise: `denoise` (sigma of the noise estimated), then derivatives at sigma 0.7 mm, chosen
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


def page(rows: list[dict[str, str]], times: str) -> str:
    text = HEAD.format(sigmas=", ".join(map(str, SIGMAS)), seconds=SECONDS)
    text += "\n" + verdict(rows)
    text += (
        "\n## Cost\n\nValue, gradient and Hessian of 128³ voxels, in times of the value alone.\n\n"
    )
    text += f"| preset | value, s | all three, times that |\n|---|---:|---:|\n{times}\n"
    for metric, title in TITLES.items():
        for noisy, methods in ((False, CLEAN), (True, NOISY)):
            text += f"\n## {title}, {'with noise' if noisy else 'clean'}\n\n"
            text += table(rows, metric, noisy, [m for m in methods if has(rows, m, metric)])
    text += "\n![Error of the gradient's direction against noise](derivatives.png)\n"
    return text + "\n![Vesselness beside SimpleITK's](vesselness.png)\n"


def has(rows: list[dict[str, str]], method: str, metric: str) -> bool:
    return any(row["method"] == method and row[metric] for row in rows)


def cells(
    rows: list[dict[str, str]], metric: str, noisy: bool
) -> dict[tuple[str, ...], dict[str, float]]:
    """Numbers by phantom, grid and noise, then by method."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        if (float(row["noise"]) > 0) == noisy and row[metric]:
            key = (row["phantom"], row["grid"], row["noise"])
            found.setdefault(key, {})[row["method"]] = float(row[metric])
    return found


def behind(each: dict[str, float], method: str, metric: str, noisy: bool) -> bool:
    other = each[ITK if noisy else SPLINE]
    return each[method] < other if metric == "auc" else each[method] > other


def table(rows: list[dict[str, str]], metric: str, noisy: bool, methods: list[str]) -> str:
    lines = ["| phantom | grid | noise | " + " | ".join(methods) + " |"]
    lines.append("|---|---|---:|" + "---:|" * len(methods))
    for (phantom, grid, noise), each in cells(rows, metric, noisy).items():
        numbers = []
        for method in methods:
            number = f"{each[method]:.3g}" if method in each else ""
            lost = method.startswith("ours") and behind(each, method, metric, noisy)
            numbers.append(f"**{number}**" if lost else number)
        lines.append(f"| {phantom} | {grid} | {float(noise):.0%} | " + " | ".join(numbers) + " |")
    return "\n".join(lines) + "\n"


def verdict(rows: list[dict[str, str]]) -> str:
    lines = ["| | at or ahead of | gradient | angle | Hessian | eigenvalues | AUC |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for method, noisy in ((EXACT, False), (TRAINED, False), (OURS, True), (OUR_BEST, True)):
        won = []
        for metric in METRICS:
            found = cells(rows, metric, noisy).values()
            good = sum(not behind(each, method, metric, noisy) for each in found)
            won.append(f"{good} of {len(found)}")
        rival = ITK if noisy else SPLINE
        lines.append(f"| {method} | {rival} | " + " | ".join(won) + " |")
    ratios = [c[SOBEL] / c[EXACT] for c in cells(rows, "gradient", noisy=False).values()]
    lines.append(
        f"\nClean: the gradient error of Sobel over that of ours, exact, is {min(ratios):.1f} to "
        f"{max(ratios):.0f}, and 5 or more in {sum(r >= 5 for r in ratios)} of {len(ratios)} cells."
    )
    return "\n".join(lines) + "\n"


def draw_errors(path: Path, rows: list[dict[str, str]]) -> None:
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["phantom"] for row in rows))
    figure, axes = plt.subplots(2, len(names), figsize=(13, 6), layout="constrained", sharex=True)
    for column, name in zip(axes.T, names, strict=True):
        for axis, metric in zip(column, ("angle", "eigenvalues"), strict=True):
            found = cells(rows, metric, noisy=True)
            for method in (SPLINE, ITK, SIREN, OURS, OUR_BEST):
                points = {
                    float(key[2]): each[method]
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


def itk_vesselness(image: MetaTensor, sigmas: tuple[float, ...]) -> Tensor:
    """SimpleITK's ObjectnessMeasure of smoothed images, the greatest over the scales."""
    start = sitk.GetImageFromArray(image[0].double().numpy().T)
    start.SetSpacing(Grid.from_image(image).spacing.tolist())
    found = torch.zeros(image.shape[1:])
    for sigma in sigmas:
        smooth = sitk.SmoothingRecursiveGaussian(start, sigma)
        scaled = sitk.GetArrayFromImage(sitk.ObjectnessMeasure(
            smooth, 0.5, 0.5, half_of_strongest(smooth), scaleObjectnessMeasure=False,
            objectDimension=1, brightObject=True))  # fmt: skip
        found = found.maximum(torch.from_numpy(scaled.T.copy()).float())
    return found


def half_of_strongest(smooth: sitk.Image) -> float:
    slopes = np.gradient(sitk.GetArrayFromImage(smooth), *smooth.GetSpacing()[::-1])
    second = [each for slope in slopes for each in np.gradient(slope, *smooth.GetSpacing()[::-1])]
    return float(np.sqrt(sum(each**2 for each in second)).max() / 2)


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
        clean = denoise(image, DenoiseConfig(GaussianNoise()))
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


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run_missing(path: Path) -> None:
    """Measure the cases that the CSV does not hold: a broken-off run goes on."""
    if not path.is_file():
        path.write_text(",".join(FIELDS) + "\n")
    done = {(row["phantom"], row["grid"], float(row["noise"])) for row in rows_of(path)}
    for case in cases():
        key = (case.phantom, case.grid_name, case.noise)
        if key in done:
            continue
        found = [
            {**dict(zip(FIELDS, key, strict=False)), "method": method}
            | {name: f"{value:.5g}" for name, value in numbers.items()}
            for method, numbers in measured(case)
        ]
        with path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerows(found)
        print(*key, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of CT_AVM.nii.gz")
    parser.add_argument("--output", type=Path, default=DOCS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import matplotlib as mpl

    mpl.use("agg")
    path = arguments.output / "derivatives.csv"
    run_missing(path)
    rows = rows_of(path)
    (arguments.output / "derivatives.md").write_text(page(rows, cost()))
    draw_errors(arguments.output / "derivatives.png", rows)
    draw_vessels(arguments.output / "vesselness.png", arguments.data)


if __name__ == "__main__":
    main()
