"""Reports on what lies between images: a family's members, and the moments between them."""

from __future__ import annotations

from typing import Any

from monai.data import MetaTensor

from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.representation.family import Family
from oinr_monai.representation.representation import Representation

from .answers import facts_of, look, made, shown, told
from .figures import busiest, zooms
from .page import Page

__all__ = ["report_of_family"]


def report_of_family(family: Family, title: str = "Between images") -> Page:
    """A page on a family: two members, what lies between them, and what fading would show there.

    Args:
        family: two members or more.
        title: title of the page.

    Example:
        >>> import torch
        >>> from oinr_monai import fit_family
        >>> images = list(torch.rand(2, 1, 12, 12))
        >>> page = report_of_family(fit_family(images, FitConfig(steps=2), times=[0.0, 1.0]))
        >>> "halfway" in page.html()
        True
    """
    page, whole = Page(title, made()), family.representation
    page.facts("What it is", {"members": str(len(family))} | facts_of(whole, None))
    page.table("Its members", ["member", "time", "PSNR, dB"], _rows(family))
    before, between, after = _moments(family)
    grid = shown(whole.grid)
    seen = {name: each.sample(grid) for name, each in (before, between, after)}
    first, middle, last = seen.values()
    faded = (first.as_tensor() + last.as_tensor()) / 2
    apart = middle.as_tensor() - faded
    fading = {"faded halfway": grid.to_image(faded), "difference": grid.to_image(apart)}
    look(page, seen | fading)
    fade = _faded(before[1], after[1])
    images = dict((before, between, ("faded halfway", fade), after))
    figure = zooms(images, whole.grid, busiest(_first(middle)))
    page.figure(
        "Seen closely", figure,
        "Between two members, and what fading one into the other would show; lengths in mm.",
    )  # fmt: skip
    page.facts("Settings", told(whole.info.get("settings") or {}))
    return page


def _moments(family: Family) -> list[tuple[str, Representation]]:
    """Two neighbours in the middle of the series, and what lies halfway between them."""
    at = (len(family) - 1) // 2
    ends, names = [at, at + 1], [f"member {at}", "halfway", f"member {at + 1}"]
    if family.times is not None:
        one, other = (family.times[i] for i in ends)
        names = [f"member at {one:g}", f"halfway, at {(one + other) / 2:g}", f"member at {other:g}"]
    parts = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    return [(name, _blend(family, ends, part)) for name, part in zip(names, parts, strict=True)]


def _blend(family: Family, members: list[int], parts: tuple[float, float]) -> Representation:
    weights = [0.0] * len(family)
    for member, part in zip(members, parts, strict=True):
        weights[member] = part
    return family.blend(weights)


def _faded(before: Representation, after: Representation) -> Representation:
    images = [each.sample().as_tensor() for each in (before, after)]
    return fit(before.grid.to_image((images[0] + images[1]) / 2), FitConfig(preset="exact"))


def _rows(family: Family) -> list[list[str]]:
    scores: Any = family.representation.info.psnr_members or ()
    rows = []
    for i in range(len(family)):
        time = "" if family.times is None else f"{family.times[i]:g}"
        rows.append([str(i), time, f"{scores[i]:.1f}" if i < len(scores) else ""])
    return rows


def _first(image: MetaTensor) -> MetaTensor:
    return Grid.from_image(image).to_image(image.as_tensor()[:1].cpu())
