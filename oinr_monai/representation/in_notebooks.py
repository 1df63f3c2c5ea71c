"""A representation in a notebook: what it is, and its middle planes, at a glance."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from html import escape
from typing import TYPE_CHECKING, cast

from torch import Tensor

from oinr_monai.grids.grid import Grid

from .info import Info
from .sections import axes_across, png_of, section, window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from monai.data import MetaTensor

    from .representation import Representation

__all__ = ["InNotebooks"]

# Scores that are shown, and in which unit.
SHOWN = {
    "psnr_grid": "dB at the voxels",
    "psnr_between": "dB between the voxels",
    "steps": "steps",
    "seconds": "s",
}


class InNotebooks(ABC):
    """What notebooks show instead of a line of text, and draw."""

    grid: Grid
    info: Info

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Numbers that it is made of."""

    @abstractmethod
    def sample(self, grid: Grid | None = None) -> MetaTensor:
        """Intensities on a grid."""

    def _repr_html_(self) -> str:
        """Its middle planes and a line on each thing that is known, for IPython."""
        own = cast("Representation", self)
        planes = [section(own, across) for across in axes_across(self.grid)]
        pictures = "".join(_picture(each) for each in planes)
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(told)}</td></tr>"
            for name, told in _lines(own)
        )
        return f"<div>{pictures}<table>{rows}</table></div>"

    def plot(self, point: Tensor | None = None) -> Figure:
        """Draw its planes through a point by matplotlib, lengths in mm.

        Args:
            point: world point (D,) in mm; the middle voxel if None.

        Raises:
            ValueError: if matplotlib is not installed.

        Example:
            >>> import torch
            >>> from oinr_monai import fit
            >>> figure = fit(torch.rand(1, 6, 7, 8)).plot()
            >>> len(figure.axes)
            3
        """
        try:
            from matplotlib.figure import Figure as Drawn
        except ImportError as error:
            raise ValueError("plot needs `pip install oinr-monai[report]`") from error
        across = axes_across(self.grid)
        planes = [section(cast("Representation", self), each, point) for each in across]
        low, high = window_of(planes[-1])
        figure = Drawn(figsize=(4 * len(planes), 4), layout="constrained")
        axes = figure.subplots(1, len(planes), squeeze=False)[0]
        for axis, plane, each in zip(axes, planes, across, strict=True):
            sides = [x for d, x in enumerate(self.grid.extent.tolist()) if d != each] + [1.0]
            shown = {"extent": (0.0, sides[0], 0.0, sides[1]), "vmin": low, "vmax": high}
            axis.imshow(plane.numpy(), cmap="gray", origin="lower", **shown)
            axis.set(xlabel="mm", title="" if each is None else f"across axis {each}")
        return figure


def _picture(plane: Tensor) -> str:
    text = base64.b64encode(png_of(plane)).decode()
    return f'<img style="display:inline-block;margin:2px" src="data:image/png;base64,{text}">'


def _lines(image: Representation) -> list[tuple[str, str]]:
    sizes = " x ".join(map(str, image.grid.shape))
    spacing = " x ".join(f"{each:.4g}" for each in image.grid.spacing.tolist())
    known = [("grid", f"{sizes} voxels of {spacing} mm"), ("numbers", f"{image.parameters:,}")]
    scores = ((name, image.info.get(name)) for name in SHOWN)
    found = [(name, value) for name, value in scores if value is not None]
    return known + [(name.replace("_", " "), f"{v:.4g} {SHOWN[name]}") for name, v in found]
