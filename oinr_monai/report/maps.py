"""Reports on derivatives of a scan: each map beside the image, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence

from monai.data import MetaTensor

from oinr_monai.analysis.derivatives import derivative_maps, described
from oinr_monai.grids.grid import Grid
from oinr_monai.representation.representation import Representation

from .answers import facts_of, look, made, shown
from .page import Page

__all__ = ["report_of_maps"]

# Components that a table and the viewer name, of the first that a map has.
COMPONENTS = {
    "gradient": ("x", "y", "z"),
    "hessian": ("xx", "xy", "xz", "yy", "yz", "zz"),
    "structure_tensor": ("xx", "xy", "xz", "yy", "yz", "zz"),
}


def report_of_maps(
    representation: Representation,
    names: Sequence[str],
    sigma: float | Sequence[float] = 0.0,
    title: str = "Derivatives",
) -> Page:
    """A page on maps of exact derivatives.

    Args:
        representation: what they are of.
        names: of the maps, as :func:`~oinr_monai.analysis.derivatives.derivative_maps` knows them.
        sigma: scale in mm, or several for vesselness and sheetness.
        title: title of the page.

    Example:
        >>> import torch
        >>> from oinr_monai import fit
        >>> page = report_of_maps(fit(torch.rand(1, 6, 7, 8)), ["gradient", "laplacian"])
        >>> "gradient, x" in page.html()
        True
    """
    page, grid = Page(title, made()), shown(representation.grid)
    page.facts("What it is", facts_of(representation, None))
    layers, rows = {"image": representation.sample(grid)}, []
    for name, volume in derivative_maps(representation, names, grid, sigma):
        layers[_called(name)] = Grid.from_image(volume).to_image(volume.as_tensor()[:1].cpu())
        rows += [
            [each, described(name, sigma), *_ends(volume, i)] for i, each in _parts(name, volume)
        ]
    page.table("The maps", ["map", "what it is", "least", "median", "largest"], rows)
    look(page, layers)
    return page


def _called(name: str) -> str:
    plain = name.replace("_", " ")
    return f"{plain}, {COMPONENTS[name][0]}" if name in COMPONENTS else plain


def _parts(name: str, volume: MetaTensor) -> list[tuple[int, str]]:
    plain, parts = name.replace("_", " "), COMPONENTS.get(name, ())
    if len(volume) == 1:
        return [(0, plain)]
    named = len(parts) == len(volume)
    return [(i, f"{plain}, {parts[i] if named else i + 1}") for i in range(len(volume))]


def _ends(volume: MetaTensor, channel: int) -> list[str]:
    values = volume.as_tensor()[channel].float().flatten().cpu()
    return [f"{float(each):.4g}" for each in (values.min(), values.median(), values.max())]
