"""Where slices and fine voxels lie: faces, centres and spacings, to a millionth of a millimetre."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.scanner.slices import fine_grid, thick_grid, thickest_axis

TO = {"rtol": 0, "atol": 1e-6}


def faces(grid: Grid) -> Tensor:
    """World positions of the two outermost corners of the cells (2, D)."""
    return grid.to_world(torch.stack([torch.full((3,), -0.5), torch.tensor(grid.shape) - 0.5]))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [2, 3, 4.5, 6])
def test_fine_grid_fills_the_cells_of_its_stack(
    axis: int, factor: float, oblique_affine: Tensor
) -> None:
    stack = Grid((8, 10, 12), oblique_affine)
    spacing = stack.spacing.tolist()
    spacing[axis] /= factor
    fine = fine_grid(stack, axis, spacing)
    torch.testing.assert_close(faces(fine), faces(stack), **TO)
    assert fine.shape[axis] == stack.shape[axis] * factor
    torch.testing.assert_close(fine.directions, stack.directions)


def test_fine_grid_keeps_the_centre_where_voxels_do_not_fit(oblique_affine: Tensor) -> None:
    stack = Grid((8, 10, 13), oblique_affine)
    fine = fine_grid(stack, 2, 0.7)
    torch.testing.assert_close(fine.spacing, torch.full((3,), 0.7).double())
    torch.testing.assert_close(faces(fine).mean(0), faces(stack).mean(0), **TO)
    beyond = (stack.to_voxel(faces(fine)) - stack.to_voxel(faces(stack))) * stack.spacing
    assert float(beyond.abs().max()) <= 0.7 / 4 + 1e-6


def test_fine_grid_is_by_default_as_fine_as_the_slices(oblique_affine: Tensor) -> None:
    stack = Grid((8, 10, 12), oblique_affine)  # 0.9 x 1.1 x 2.5 mm
    fine = fine_grid(stack, 2)
    assert fine.spacing.tolist() == pytest.approx([0.9, 1.1, 0.9])
    places = stack.axes_in(fine)
    assert places is not None
    assert torch.equal(places[0], torch.arange(8.0).double())
    assert fine.shape == (8, 10, 33)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [1, 3, 3.5, 4])
def test_thick_slices_begin_at_the_first_face(
    axis: int, factor: float, sheared_affine: Tensor
) -> None:
    fine = Grid((14, 15, 16), sheared_affine)
    thick = thick_grid(fine, axis, factor * float(fine.spacing[axis]))
    torch.testing.assert_close(faces(thick)[0], faces(fine)[0], **TO)
    assert thick.shape[axis] == int(fine.shape[axis] / factor)
    others = [d for d in range(3) if d != axis]
    assert [thick.shape[d] for d in others] == [fine.shape[d] for d in others]
    torch.testing.assert_close(thick.spacing[axis], factor * fine.spacing[axis])


@pytest.mark.parametrize("factor", [2, 3.5, 4])
def test_fine_grid_of_the_thick_grid_is_the_grid_before(
    factor: float, oblique_affine: Tensor
) -> None:
    fine = Grid((6, 6, 28), oblique_affine)
    thick = thick_grid(fine, 2, 2.5 * factor)
    again = fine_grid(thick, 2, fine.spacing.tolist())
    assert again.shape == fine.shape
    torch.testing.assert_close(again.affine, fine.affine, **TO)


def test_thickest_axis() -> None:
    for axis in range(3):
        spacing = [1.0, 1.0, 1.0, 1.0]
        spacing[axis] = 3.0
        assert thickest_axis(Grid((4, 4, 4), torch.diag(torch.tensor(spacing)))) == axis


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("inf"), 100.0])
def test_thick_grid_refuses(spacing: float) -> None:
    with pytest.raises(ValueError, match="spacing must be positive and at most 8 mm"):
        thick_grid(Grid((8, 8, 8), torch.eye(4)), 2, spacing)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), (1.0, 1.0)])
def test_fine_grid_refuses(spacing: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spacing must be positive, one number or 3"):
        fine_grid(Grid((8, 8, 8), torch.eye(4)), 2, spacing)
