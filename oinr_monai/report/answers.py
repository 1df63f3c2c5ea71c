"""Reports on what was made of an image: what it is, how good it is, and how it looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

import torch
from monai.data import MetaTensor

from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.representation.representation import Representation
from oinr_monai.representation.sampled_field import SampledField
from oinr_monai.restoration.restored import HALF_WIDTH, HIDDEN, SHARE

from .figures import busiest, curves, zooms
from .page import Page
from .viewer import MOST_VOXELS, Layer, viewer
from .words import closeness, how_large, in_mm

__all__ = ["facts_of", "look", "made", "report_of_answer", "report_of_fit", "shown", "told"]

# What a difference is shown by: dark where there is none; and what is seen over the answer, bright
# where it is much, with the values that are dark and bright.
SIGNED = "blue2red"
OVER: dict[str, tuple[str, tuple[float, float] | None]] = {
    HALF_WIDTH: ("hot", None),
    SHARE: ("viridis", (0.0, 1.0)),
}

# Part of the standard deviation from which on it is said that an answer is not what was measured;
# by hand.
MOST_MISSED = 0.05

# What is known of a fit that tells people nothing, or has its own place on the page.
UNSHOWN = ("settings", "image", "source_mark", "start")


def report_of_fit(
    representation: Representation,
    image: MetaTensor | None = None,
    size: int | None = None,
    title: str = "Scan as a function",
) -> Page:
    """A page on a representation: its grid and scores, three planes through it, and its gradient.

    Args:
        representation: what is reported on.
        image: what it was made of (C, *spatial); its differences are then shown as well.
        size: bytes of its file, if it has one.
        title: title of the page.

    Example:
        >>> image = MetaTensor(torch.rand(1, 6, 7, 8), affine=torch.eye(4))
        >>> page = report_of_fit(fit(image, FitConfig(preset="exact")), image)
        >>> "Scan as a function" in page.html()
        True
    """
    page = Page(title, made())
    info = representation.info
    for name, words in (("psnr_grid", "at the voxels"), ("psnr_between", "between the voxels")):
        if info.get(name) is not None:
            page.say(f"{closeness(info[name]).capitalize()} {words} ({info[name]:.1f} dB).")
    _warn(page, representation)
    page.facts("What it is", facts_of(representation, size))
    grid = shown(representation.grid)
    seen = representation.sample(grid)
    layers = {"image": seen, "gradient magnitude, per mm": _steepness(representation, grid)}
    near = {"the function": representation}
    if image is not None:
        apart = representation.sample(Grid.from_image(image)).as_tensor() - image.as_tensor().cpu()
        layers["difference"] = MetaTensor(apart, affine=Grid.from_image(image).affine)
        if not isinstance(representation.field, SampledField):
            near["cubic spline of the voxels"] = fit(image, FitConfig(preset="exact"))
    look(page, layers)
    _closely(page, near, seen, image)
    page.facts("Settings", told(info.get("settings") or {}))
    return page


def report_of_answer(
    answer: Representation,
    image: MetaTensor,
    title: str,
    facts: Mapping[str, Any] | None = None,
    error: MetaTensor | None = None,
    warnings: Sequence[str] = (),
    share: MetaTensor | None = None,
    hidden: MetaTensor | None = None,
) -> Page:
    """A page on an image that was made better: before, after, and what changed.

    Args:
        answer: the better image.
        image: what it was made of (C, *spatial), on its own grid.
        title: what was done to it.
        facts: more of what is known, JSON values.
        error: how far the answer is to be trusted, in the image's units, on the answer's grid.
        warnings: what to beware of, a sentence each.
        share: which part of it an operator added, from 0 to 1, on the answer's grid.
        hidden: contrast that a small ball may hide, in the image's units, on the answer's grid.

    Example:
        >>> image = MetaTensor(torch.rand(1, 6, 7, 8), affine=torch.eye(4))
        >>> answer = fit(image, FitConfig(preset="exact"))
        >>> page = report_of_answer(answer, image, "Denoised")
        >>> "Denoised" in page.html()
        True
    """
    page = Page(title, made())
    _warn(page, answer)
    for each in warnings:
        page.warn(each)
    page.facts("What it is", facts_of(answer, None) | told(facts or {}))
    grid, before = shown(answer.grid), fit(image, FitConfig(preset="exact"))
    seen, plain = answer.sample(grid), before.sample(grid)
    layers = {
        "answer": seen,
        "input, by a spline": plain,
        "difference": MetaTensor(seen.as_tensor() - plain.as_tensor(), affine=grid.affine),
        "gradient magnitude, per mm": _steepness(answer, grid),
    }
    for name, known in ((HALF_WIDTH, error), (SHARE, share), (HIDDEN, hidden)):
        if known is not None:
            layers[name] = fit(known, FitConfig(preset="exact")).sample(grid)
    look(page, layers)
    _closely(page, {"input, cubic spline": before, "answer": answer}, seen, image)
    page.facts("Settings", told(answer.info.get("settings") or {}))
    return page


def made() -> str:
    """By what and when a page was made."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"oinr-monai {metadata.version('oinr-monai')}, {now}. Not a medical device."


def _warn(page: Page, representation: Representation) -> None:
    info = representation.info
    if info.get("interrupted"):
        page.warn("This was interrupted: it is the best that had been found until then.")
    residual, noise = info.get("data_residual"), info.get("noise")
    if residual is None or noise is not None:  # what was taken out as noise is meant to be missing
        return
    part = residual / representation.scale.std[0]
    if part > MOST_MISSED:
        page.warn(
            f"What the scanner would have seen of it differs by {residual:.3g} from what it saw,"
            f" {100 * part:.2g} % of the image's standard deviation."
        )


def facts_of(representation: Representation, size: int | None) -> dict[str, str]:
    """What there is to tell of any representation: its grid, its numbers, its scores."""
    grid, channels = representation.grid, len(representation.scale.mean)
    numbers = math.prod(grid.shape) * channels
    facts = {
        "voxels": " x ".join(map(str, grid.shape)),
        "spacing": in_mm(grid.spacing.tolist()),
        "extent": in_mm(grid.extent.tolist()),
        "channels": str(channels),
        "numbers kept": f"{representation.parameters:,}",
    }
    if size is not None:
        facts["file"] = f"{how_large(size)}, {8 * size / numbers:.3g} bits a voxel"
    scores = {name: v for name, v in representation.info.items() if name not in UNSHOWN}
    return facts | told(scores)


def told(items: Mapping[str, Any]) -> dict[str, str]:
    """Values as text, by names as people write them."""
    return {name.replace("_", " "): _text(each) for name, each in items.items() if each is not None}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(k).replace('_', ' ')} {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_text(each) for each in value[:20])
    return str(value)


def shown(grid: Grid) -> Grid:
    """The grid, or a coarser one that a page has room for."""
    voxels = math.prod(grid.shape)
    if voxels <= MOST_VOXELS:
        return grid
    width = (voxels / MOST_VOXELS) ** (1 / sum(n > 1 for n in grid.shape))
    return grid.with_spacing([h * width if n > 1 else h for h, n in _axes(grid)])


def _axes(grid: Grid) -> list[tuple[float, int]]:
    return list(zip(grid.spacing.tolist(), grid.shape, strict=True))


def _steepness(representation: Representation, grid: Grid) -> MetaTensor:
    return representation.map(lambda jet: jet.gradient.norm(dim=1), grid, order=1)


def look(page: Page, layers: Mapping[str, MetaTensor]) -> None:
    """Three planes to move through images (C, *spatial), by name; a picture is a volume of one."""
    volumes = [_layer(name, image) for name, image in layers.items() if image.ndim > 2]
    if volumes:
        page.add("How it looks", viewer(volumes))


def _layer(name: str, image: MetaTensor) -> Layer:
    # The first channel, and of a plane a volume of one slice.
    plain = image.as_tensor()[:1].detach().cpu()
    affine = torch.eye(4, dtype=torch.float64)
    dims = plain.ndim - 1
    own = Grid.from_image(image).affine
    affine[:dims, :dims], affine[:dims, 3] = own[:dims, :dims], own[:dims, 3]
    volume = MetaTensor(plain if dims == 3 else plain[..., None], affine=affine)
    if name in OVER:
        return Layer(name, volume, *OVER[name], over=True)
    if name not in ("difference", HIDDEN):
        return Layer(name, volume)
    most = float(plain.abs().max()) or 1.0
    return Layer(name, volume, SIGNED, (-most, most))


def _closely(
    page: Page,
    images: Mapping[str, Representation],
    seen: MetaTensor,
    image: MetaTensor | None,
) -> None:
    grid = next(iter(images.values())).grid if image is None else Grid.from_image(image)
    figure = zooms(images, grid, busiest(_first(seen)))
    page.figure("Seen closely", figure, "Around the place that changes most; lengths in mm.")
    both = {"answer": seen} if image is None else {"answer": seen, "input": image}
    kept = {name: _first(each) for name, each in both.items()}
    thick = max(range(grid.spatial_dims), key=lambda d: (grid.shape[d] > 1, float(grid.spacing[d])))
    page.figure("Intensities and fineness", curves(kept, thick), "Of the first channel.")


def _first(image: MetaTensor) -> MetaTensor:
    return Grid.from_image(image).to_image(image.as_tensor()[:1].cpu())
