"""Motions to and from other programs: ITK moves points where we do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from oinr_monai import Grid, Motion
from oinr_monai.motion import (
    AffineMotion,
    Displacement,
    Velocity,
    from_itk,
    load_motion,
    rigid_about,
    save_motion,
    to_itk,
)
from tests.motion.makers import knots, places, wobble

GRID = knots((12, 11, 10), 2.5)

FLIP = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)


def flow(generator: torch.Generator) -> Motion:
    turn = rigid_about(torch.tensor([0.1, 0.2, -0.3]), torch.tensor([4.0, 2, 1]), GRID.origin)
    return turn @ Velocity(wobble(generator, 1.0, knots((9, 9, 9), 4.0)))


def by_itk(transform: sitk.Transform, points: torch.Tensor) -> torch.Tensor:
    flip = FLIP[: points.shape[1]]
    moved = [transform.TransformPoint(point) for point in (points * flip).tolist()]
    return torch.tensor(moved, dtype=torch.float64) * flip


def test_itk_moves_points_by_our_matrix_as_we_do(generator: torch.Generator) -> None:
    for dims in (2, 3):
        grid = knots((8, 9, 7)[:dims])
        noise = torch.randn(dims, dims, generator=generator)
        motion = AffineMotion.of(torch.eye(dims) + 0.2 * noise, [3.0, -4.0, 5.0][:dims])
        points = places(generator, grid)
        transform = to_itk(motion, grid)
        torch.testing.assert_close(by_itk(transform, points), motion.at(points))
        torch.testing.assert_close(from_itk(transform).at(points), motion.at(points))


def test_itk_moves_voxels_by_our_field_as_we_do(generator: torch.Generator) -> None:
    motion, points = flow(generator), GRID.points().flatten(0, -2)
    transform = to_itk(motion, GRID)
    inner = GRID.crop([1, 1, 1], [11, 10, 9]).points().flatten(0, -2)
    torch.testing.assert_close(by_itk(transform, inner), motion.at(inner), rtol=0, atol=1e-9)
    torch.testing.assert_close(from_itk(transform).at(points), motion.at(points), rtol=0, atol=1e-9)


def test_rotations_of_itk_turn_as_theirs_do(generator: torch.Generator) -> None:
    euler = sitk.Euler3DTransform((3.0, -2.0, 9.0), 0.3, -0.2, 0.7, (1.0, 2.0, 3.0))
    points = places(generator, GRID)
    found = from_itk(euler)
    assert isinstance(found, AffineMotion)
    assert found.is_rigid
    torch.testing.assert_close(found.at(points), by_itk(euler, points))


def test_several_transforms_are_taken_in_their_order(generator: torch.Generator) -> None:
    field = to_itk(Displacement(wobble(generator, 0.5, knots((9, 9, 9), 4.0))), GRID.pad(3))
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, 0.0, 0.2, (1.0, 2.0, 3.0))
    both = sitk.CompositeTransform([turn, field])
    points = GRID.crop([2, 2, 2], [9, 9, 8]).points().flatten(0, -2)
    torch.testing.assert_close(from_itk(both).at(points), by_itk(both, points), rtol=0, atol=1e-6)
    assert from_itk(sitk.CompositeTransform(3)).at(points).equal(points)


@pytest.mark.parametrize("suffix", [".safetensors", ".tfm", ".txt", ".h5", ".nii.gz", ".nrrd"])
def test_files_give_the_motion_back(
    suffix: str, generator: torch.Generator, tmp_path: Path
) -> None:
    motion, points = flow(generator), GRID.points().flatten(0, -2)
    path = tmp_path / f"motion{suffix}"
    save_motion(path, motion, GRID)
    found = load_motion(path)
    assert float((found.at(points) - motion.at(points)).abs().max()) < 1e-4
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_field_in_a_file_is_in_lps_as_itk_reads_it(
    generator: torch.Generator, tmp_path: Path
) -> None:
    motion = flow(generator)
    save_motion(tmp_path / "field.nii.gz", motion, GRID)
    image = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    index = (3, 5, 2)
    place = np.array(image.TransformIndexToPhysicalPoint(index))
    here = torch.tensor(place) * FLIP
    there = torch.tensor(place + image.GetPixel(*index)) * FLIP
    torch.testing.assert_close(motion.at(here[None])[0], there, rtol=0, atol=1e-4)


def test_what_is_no_motion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must end in"):
        save_motion(tmp_path / "motion.csv", AffineMotion.identity(3), GRID)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_motion(tmp_path / "none.tfm")
    for name in ("wrong.tfm", "wrong.nii.gz", "wrong.safetensors", "wrong.h5"):
        (tmp_path / name).write_bytes(b"nothing of use")
        with pytest.raises(ValueError, match="must be a motion"):
            load_motion(tmp_path / name)
    image = sitk.Image(4, 4, 4, sitk.sitkFloat32)
    sitk.WriteImage(image, str(tmp_path / "scalar.nii.gz"))
    with pytest.raises(ValueError, match="must be a motion"):
        load_motion(tmp_path / "scalar.nii.gz")
    with pytest.raises(ValueError, match="convert it to a displacement field"):
        from_itk(sitk.BSplineTransform(3, 3))


def test_a_grid_of_a_slice_has_a_field_too() -> None:
    grid = Grid((6, 5), torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    motion = Displacement.of(torch.full((2, 6, 5), 0.5), grid)
    points = grid.points().flatten(0, -2)
    torch.testing.assert_close(from_itk(to_itk(motion, grid)).at(points), motion.at(points))
