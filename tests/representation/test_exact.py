"""An image as a representation of itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import Grid, Representation
from oinr_monai.coding import Lossless
from oinr_monai.representation.exact import spline_representation

if TYPE_CHECKING:
    from tests.phantoms import GaussianBlob


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shape", [(9,), (9, 8), (9, 8, 7), (9, 8, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_is_the_spline_through_the_samples(shape: tuple[int, ...], channels: int) -> None:
    image = 500 + 200 * torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))
    grid = Grid(shape, torch.eye(4))
    representation = spline_representation(image, grid)
    found = representation.sample().as_tensor()
    torch.testing.assert_close(found, image, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("order", "power"), [(1, 5), (2, 4)])
def test_derivatives_of_a_smooth_image_converge(
    order: int, power: int, oblique_affine: Tensor, gaussian_blob: Callable[..., GaussianBlob]
) -> None:
    blob, errors, counts = gaussian_blob(), [], (12, 17, 24)
    for count in counts:
        affine = oblique_affine.clone()
        affine[:3, :3] *= 32 / affine[:3, :3].norm(dim=0) / (count - 1)
        affine[:3, 3] = -affine[:3, :3] @ torch.full((3,), (count - 1) / 2).double()
        grid = Grid((count,) * 3, affine)
        representation = spline_representation(blob.value(grid.points())[None], grid)
        representation = representation.to(torch.float64)
        jet = representation.jet_at(places := 8 * torch.rand(99, 3, generator=generator()).double())
        wanted = blob.gradient(places) if order == 1 else blob.hessian(places)
        errors.append(float((jet[order][0].movedim(-1, 0) - wanted).norm() / wanted.norm()))
    slope = -np.polyfit(np.log(np.array(counts) - 1), np.log(errors), 1)[0]
    assert slope > power - 0.5


def test_keeps_the_slope_at_the_borders() -> None:
    ramp = torch.arange(9.0).expand(1, 7, 9) + 2 * torch.arange(7.0)[:, None]
    gradient = spline_representation(ramp, Grid((7, 9), torch.eye(4))).gradient().as_tensor()
    wanted = torch.tensor([2.0, 1.0]).view(2, 1, 1).expand_as(gradient)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-4)


def test_comes_back_from_its_file(tmp_path: Path) -> None:
    image = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(0))
    representation = spline_representation(image, Grid((9, 8), torch.eye(4)), {"made": "here"})
    representation.save(tmp_path / "spline.oinr")
    again = Representation.load(tmp_path / "spline.oinr")
    assert again.info == {"made": "here"}
    found, wanted = again.sample().as_tensor(), representation.sample().as_tensor()
    near = 1e-5 * float(wanted.max() - wanted.min())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1.01 * near)
    representation.save(tmp_path / "spline.oinr", Lossless())
    exact = Representation.load(tmp_path / "spline.oinr")
    assert torch.equal(exact.sample().as_tensor(), wanted)
