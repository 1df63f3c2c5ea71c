"""Motions of other programs: transforms of ITK, displacement fields in images, MONAI's own.

ITK counts places in LPS mm, and so do its transforms and the vectors of its displacement fields.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.checks import check_shape
from oinr_monai.grids.grid import Grid
from oinr_monai.images.itk import LPS_TO_RAS, quiet_itk
from oinr_monai.images.replacing import replacing

from .affine import AffineMotion
from .composition import composed
from .displacement import Displacement
from .motion import Motion

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "MOTION_SUFFIXES",
    "from_itk",
    "from_voxels",
    "load_motion",
    "save_motion",
    "to_itk",
    "to_voxels",
]

OURS, ITK = (".safetensors",), (".h5", ".tfm", ".txt")

FIELDS = (".nii", ".nii.gz", ".mha", ".nrrd")

MOTION_SUFFIXES = (*OURS, *ITK, *FIELDS)


def load_motion(path: str | os.PathLike[str]) -> Motion:
    """Read a motion from a file of this package or of ITK, or from a displacement field.

    Args:
        path: ``.safetensors`` of :meth:`Motion.save`; ``.tfm``, ``.txt`` or ``.h5`` of ITK; or an
            image of vectors in LPS mm, ``.nii.gz``, ``.nii``, ``.mha`` or ``.nrrd``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no motion.
    """
    import SimpleITK as sitk

    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if kind is OURS:
        return Motion.load(path)
    try:
        with quiet_itk():
            if kind is ITK:
                return from_itk(sitk.ReadTransform(str(path)))
            image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            return from_itk(sitk.DisplacementFieldTransform(image))
    except RuntimeError as error:
        raise ValueError(f"{path}: must be a motion that ITK reads; write it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: must be a motion, got {error}") from error


def save_motion(path: str | os.PathLike[str], motion: Motion, grid: Grid) -> None:
    """Write a motion, complete or not at all, in the format that the suffix names.

    Args:
        path: see :func:`load_motion`. A displacement field, which ITK's files hold of what is no
            matrix, is exact at the voxel centres of ``grid`` only.
        motion: the motion.
        grid: usually that of the fixed image.

    Raises:
        ValueError: if the suffix is another.
        OSError: if the file cannot be written.
    """
    import SimpleITK as sitk

    path = Path(path)
    kind = _kind(path)
    if kind is OURS:
        motion.save(path)
        return
    with replacing(path) as temporary, quiet_itk():
        try:
            if kind is ITK:
                sitk.WriteTransform(to_itk(motion, grid), str(temporary))
            else:
                sitk.WriteImage(_field_image(motion, grid), str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(str(error).rpartition("sitk::ERROR: ")[2]) from error


def _kind(path: Path) -> tuple[str, ...]:
    for kind in (OURS, ITK, FIELDS):
        if path.name.lower().endswith(kind):
            return kind
    raise ValueError(f"{path}: must end in {' or '.join(MOTION_SUFFIXES)}")


def to_itk(motion: Motion, grid: Grid) -> sitk.Transform:
    """The motion as ITK has it, from fixed to moving places in LPS mm.

    A matrix becomes an ``AffineTransform``, anything else a ``DisplacementFieldTransform`` at the
    voxel centres of ``grid``.
    """
    import SimpleITK as sitk

    if isinstance(motion, AffineMotion):
        dims = motion.spatial_dims
        turned = _flipped(motion.matrix.numpy())
        return sitk.AffineTransform(
            turned[:dims, :dims].ravel().tolist(), turned[:dims, dims].tolist()
        )
    return sitk.DisplacementFieldTransform(_field_image(motion, grid))


def from_itk(transform: sitk.Transform) -> Motion:
    """The motion of an ITK transform: of a matrix, a displacement field, or several together.

    Raises:
        ValueError: if it is of another kind.

    Example:
        >>> import SimpleITK as sitk
        >>> from_itk(sitk.TranslationTransform(2, (1.0, 2.0))).at(torch.zeros(1, 2)).tolist()
        [[-1.0, -2.0]]
    """
    import SimpleITK as sitk

    whole = transform.Downcast()
    if isinstance(whole, sitk.CompositeTransform):
        # The last one that was added is applied first.
        parts = [from_itk(whole.GetNthTransform(i)) for i in range(whole.GetNumberOfTransforms())]
        found: Motion = AffineMotion.identity(whole.GetDimension())
        for part in reversed(parts):
            found = composed(found, part)
        return found
    if isinstance(whole, sitk.DisplacementFieldTransform):
        return _of_field(whole.GetDisplacementField())
    if whole.IsLinear():
        return _of_matrix(whole)
    raise ValueError(f"a {whole.GetName()}; convert it to a displacement field first")


def _of_matrix(transform: sitk.Transform) -> AffineMotion:
    dims = transform.GetDimension()
    shift = np.array(transform.TransformPoint([0.0] * dims))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(dims).tolist()]
    matrix = np.eye(dims + 1)
    matrix[:dims] = np.column_stack([*columns, shift])
    return AffineMotion(torch.from_numpy(_flipped(matrix)))


def _of_field(image: sitk.Image) -> Displacement:
    import SimpleITK as sitk

    dims = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() != dims:
        raise ValueError(f"{image.GetNumberOfComponentsPerPixel()} components in {dims} dimensions")
    vectors = sitk.GetArrayFromImage(image).T.astype(np.float64)
    vectors[:2] *= -1
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dims, dims)
    affine[:dims, :dims] = direction * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    shape = tuple(vectors.shape[1:])
    return Displacement.of(
        torch.from_numpy(vectors), Grid(shape, torch.from_numpy(LPS_TO_RAS @ affine))
    )


def _field_image(motion: Motion, grid: Grid) -> sitk.Image:
    import SimpleITK as sitk

    dims = grid.spatial_dims
    vectors = (motion.on(grid) - grid.points()).movedim(-1, 0).numpy().copy()
    vectors[:2] *= -1
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors.T), isVector=True)
    affine = LPS_TO_RAS @ grid.affine.numpy()
    spacing = grid.spacing.numpy()
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:dims, 3].tolist())
    image.SetDirection((affine[:dims, :dims] / spacing).ravel().tolist())
    return image


def _flipped(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A homogeneous matrix between RAS places as one between LPS places, or the other way."""
    flip = np.diag([-1.0, -1.0, *[1.0] * (len(matrix) - 2)])
    return flip @ matrix @ flip


def to_voxels(motion: Motion, fixed: Grid, moving: Grid) -> Tensor:
    """The displacement (D, *fixed.shape) in voxels that ``monai.networks.blocks.Warp`` takes.

    It leads from the voxel indices of ``fixed`` to those of ``moving``, which MONAI takes for one
    grid.
    """
    axes = [torch.arange(n, dtype=torch.float64) for n in fixed.shape]
    still = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return (moving.to_voxel(motion.on(fixed)) - still).movedim(-1, 0).float()


def from_voxels(displacement: Tensor, fixed: Grid, moving: Grid) -> Displacement:
    """The motion of a displacement (D, *fixed.shape) in voxels, as MONAI's networks answer it.

    Example:
        >>> grid = Grid((5, 5), torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])))
        >>> ahead = torch.stack([torch.ones(5, 5), torch.zeros(5, 5)])
        >>> from_voxels(ahead, grid, grid).at(torch.tensor([[4.0, 4.0]])).round().tolist()
        [[6.0, 4.0]]
    """
    check_shape("displacement", displacement, (fixed.spatial_dims, *fixed.shape))
    axes = [torch.arange(n, dtype=torch.float64) for n in fixed.shape]
    still = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    there = moving.to_world(still + displacement.detach().cpu().double().movedim(0, -1))
    return Displacement.of((there - fixed.points()).movedim(-1, 0), fixed)
