"""An image as a representation of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid, Representation
from oinr_monai.interpolants import spline_representation
from oinr_monai.positions import Lattice
from oinr_monai.splines import CubicInterpolant


@pytest.mark.parametrize("shape", [(9,), (9, 8), (9, 8, 7), (9, 8, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_is_the_spline_through_the_samples(shape: tuple[int, ...], channels: int) -> None:
    image = 500 + 200 * torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))
    grid = Grid(shape, torch.eye(4))
    representation = spline_representation(image, grid)
    found = representation.sample().as_tensor()
    torch.testing.assert_close(found, image, rtol=0, atol=2e-3)
    finer = grid.refine(3)
    places = Lattice(finer.axes_in(grid) or ())
    wanted = CubicInterpolant(image)(places)
    torch.testing.assert_close(representation.sample(finer).as_tensor(), wanted, rtol=0, atol=2e-3)


def test_has_the_splines_gradient(oblique_affine: Tensor) -> None:
    image = torch.randn(1, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    grid = Grid((9, 8, 7), oblique_affine)
    representation = spline_representation(image, grid)
    inside = Lattice(tuple(torch.arange(1.0, n - 1).double() for n in image.shape[1:]))
    per_voxel = CubicInterpolant(image).jet(inside, order=1)[1:, 0].movedim(0, -1)
    wanted = grid.gradient_to_world(per_voxel).movedim(-1, 0)
    inner = grid.crop((1, 1, 1), (8, 7, 6))
    found = representation.gradient(inner).as_tensor()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_comes_back_from_its_file(tmp_path: Path) -> None:
    image = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(0))
    representation = spline_representation(image, Grid((9, 8), torch.eye(4)), {"made": "here"})
    representation.save(tmp_path / "spline.oinr")
    again = Representation.load(tmp_path / "spline.oinr")
    assert again.info == {"made": "here"}
    assert torch.equal(again.sample().as_tensor(), representation.sample().as_tensor())
