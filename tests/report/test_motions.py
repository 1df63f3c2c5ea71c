"""A page on a registration: what it says of folds, and where its boards and planes lie."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import Grid
from oinr_monai.motion import AffineMotion, Displacement, VectorSpline, quality_of
from oinr_monai.report import Page, report_of_motion
from oinr_monai.report.motions import _boards, _determinants, _Plane, _say, _squares, _unit

pytest.importorskip("nilearn")

GRID = Grid((12, 10, 8), torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))


def hill(grid: Grid) -> MetaTensor:
    middle = grid.points().flatten(0, -2).mean(dim=0)
    values = torch.exp(-(grid.points() - middle).square().sum(dim=-1) / 30)
    return grid.to_image(values.float()[None])


def folded() -> Displacement:
    knots = GRID.scaled([-2.0] * 3, [8, 8, 8], [3.0] * 3)
    coefficients = torch.zeros(3, 8, 8, 8, dtype=torch.float64)
    coefficients[0, 3, 3, 2] = 30.0
    return Displacement(VectorSpline(coefficients, knots))


def test_it_says_whether_the_motion_folds() -> None:
    image = hill(GRID)
    still = Page("a", "b")
    _say(still, quality_of(AffineMotion.identity(3), GRID))
    assert "No fold anywhere: no determinant is below 1." in still.html()
    page = report_of_motion(image, image, folded(), title="<b>").html()
    assert "The motion folds at" in page
    assert "<b>" not in page


def test_a_picture_has_one_plane_and_a_volume_three() -> None:
    flat = Grid((9, 7), torch.eye(4))
    for grid, count in ((flat, 1), (GRID, 3)):
        image = hill(grid)
        figure = _boards({"fixed": image, "moved": image, "before": image})
        assert len(figure.axes) == 2 * count
        still = AffineMotion.identity(grid.spatial_dims)
        assert len(_determinants(still, grid).axes) == count + 1


def test_where_the_images_are_equal_a_board_shows_no_squares() -> None:
    figure = _boards(dict.fromkeys(("fixed", "moved", "before"), hill(GRID)))
    for axis, plane in zip(figure.axes, _Plane.all_of(GRID), strict=False):
        shown = torch.from_numpy(axis.images[0].get_array().data)
        assert torch.equal(shown.T, plane.pixels(_unit(hill(GRID)[0])).as_tensor())


def test_squares_are_so_many_mm_wide() -> None:
    board = _squares(torch.Size([64, 8]), (0.0, 64.0, 0.0, 32.0))
    assert board[0, 0]
    assert not board[8, 0]
    assert not board[0, 2]
    assert board[8, 2]
    assert int(board.sum()) == board.numel() // 2
