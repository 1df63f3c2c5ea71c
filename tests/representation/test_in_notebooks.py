"""A representation at a glance: planes of the right place, and what is known."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from oinr_monai import Grid, fit
from oinr_monai.representation.sections import png_of, section, window_of

AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))
GRID = Grid((10, 12, 8), AFFINE)


def linear() -> torch.Tensor:
    """Of the world's axes, x + 10 y + 100 z."""
    return (GRID.points() @ torch.tensor([1.0, 10, 100]).double()).float()[None]


def test_sections_lie_where_they_say() -> None:
    image = fit(GRID.to_image(linear()))
    plane = section(image, across=1, point=torch.tensor([0.0, 6.2, 0.0]))
    # The last axis is upwards, the first to the right, in pixels of the finest spacing, 1 mm.
    assert plane.shape == (22, 10)
    wanted = 60 + torch.arange(10.0) + 100 * torch.arange(22.0)[:, None]
    torch.testing.assert_close(plane, wanted, rtol=1e-4, atol=1e-2)
    middle = section(image, across=0)
    assert float(middle[0, 0]) == pytest.approx(4.0, abs=1e-2)
    assert max(section(image, across=0, pixels=9).shape) == 9


def test_a_picture_has_its_first_row_at_the_bottom() -> None:
    shown = np.asarray(Image.open(io.BytesIO(png_of(torch.tensor([[0.0, 1.0], [2.0, 4.0]])))))
    assert shown.tolist() == [[128, 255], [0, 64]]
    assert window_of(torch.arange(1001.0)) == (5.0, 995.0)


def test_a_notebook_shows_planes_and_numbers() -> None:
    image = fit(GRID.to_image(linear()))
    html = image._repr_html_()
    pictures = re.findall(r"base64,([^\"]+)\"", html)
    assert len(pictures) == 3
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (12, 11)
    assert "10 x 12 x 8 voxels of 1 x 2 x 3 mm" in html
    assert fit(linear()[..., 0])._repr_html_().count("<img") == 1
    scored = image.of_field(image.field, psnr_grid=40.0)
    assert "40 dB at the voxels" in scored._repr_html_()


def test_it_is_drawn_in_mm() -> None:
    pytest.importorskip("matplotlib")
    figure = fit(GRID.to_image(linear())).plot()
    assert [axis.images[0].get_extent() for axis in figure.axes] == [
        [0.0, 22.0, 0.0, 21.0], [0.0, 9.0, 0.0, 21.0], [0.0, 9.0, 0.0, 22.0],
    ]  # fmt: skip
    assert len(fit(linear()[..., 0]).plot().axes) == 1
