"""Where voxels lie: a shape and an affine from voxel indices to world millimetres (RAS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .checks import per_axis
from .meta_tensors import is_meta_tensor

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["Grid", "affine_in_ras"]

# Two grids share their axes when no voxel centre moves by more than this part of a voxel; chosen by
# hand.
ALIGNMENT_TOLERANCE = 1e-5

# Two grids are one when no voxel centre of the one lies farther than this part of a voxel from its
# own in the other: headers keep six digits or a float32, which move the thousandth voxel by less.
SAME = 1e-2


@dataclass(frozen=True, eq=False)
class Grid:
    """Regular lattice of voxel centres in world space, x = A i + t, in one to three dimensions.

    The affine may be oblique, anisotropic, left-handed or sheared. In fewer than three dimensions
    the world has as many axes as the grid, and the leading block of the affine places it.

    Args:
        shape: number of voxels along each axis, D of them.
        affine: homogeneous matrix from voxel index to world mm, (4, 4) or (D + 1, D + 1).

    Raises:
        ValueError: if ``shape`` is not 1 to 3 positive sizes, or ``affine`` is not a finite,
            invertible homogeneous matrix.

    Example:
        >>> grid = Grid((4, 5, 6), torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
        >>> grid.spacing.tolist()
        [2.0, 2.0, 3.0]
        >>> grid.refine(2).shape
        (7, 9, 11)
    """

    shape: tuple[int, ...]
    affine: Tensor

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        if not 1 <= len(shape) <= 3 or min(shape, default=0) < 1 or shape != tuple(self.shape):
            raise ValueError(f"shape must be 1 to 3 positive sizes, got {tuple(self.shape)}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", _homogeneous(self.affine, len(shape)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and torch.equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, tuple(self.affine.flatten().tolist())))

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return len(self.shape)

    @property
    def matrix(self) -> Tensor:
        """World displacement of one voxel step along each axis, as columns (D, D), in mm."""
        return self.affine[: self.spatial_dims, : self.spatial_dims]

    @property
    def origin(self) -> Tensor:
        """World position of the first voxel centre (D,), in mm."""
        return self.affine[: self.spatial_dims, 3]

    @property
    def spacing(self) -> Tensor:
        """Distance between neighbouring voxel centres along each axis (D,), in mm."""
        return self.matrix.norm(dim=0)

    @property
    def plane_spacing(self) -> Tensor:
        """Distance between neighbouring planes across each axis (D,), in mm, along their normal."""
        return 1 / torch.linalg.inv(self.matrix).norm(dim=1)

    @property
    def directions(self) -> Tensor:
        """Unit world vectors of the axes, as columns (D, D)."""
        return self.matrix / self.spacing

    @property
    def orthogonal(self) -> bool:
        """Whether the axes are at right angles, within 1e-4 of a right one."""
        angles = self.directions.T @ self.directions
        return torch.allclose(angles, torch.eye(self.spatial_dims).to(angles), rtol=0, atol=1e-4)

    @property
    def straight(self) -> Grid:
        """A grid of the same shape and spacing along the axes of the world, from its origin on."""
        return Grid(self.shape, torch.diag(torch.cat([self.spacing, self.spacing.new_ones(1)])))

    @property
    def extent(self) -> Tensor:
        """Distance from the first to the last voxel centre along each axis (D,), in mm."""
        return self.spacing * torch.tensor([size - 1.0 for size in self.shape], dtype=torch.float64)

    def to_world(self, voxels: Tensor) -> Tensor:
        """World positions (..., D) in mm of voxel indices (..., D), which need not be whole."""
        return voxels.double() @ self.matrix.T.to(voxels.device) + self.origin.to(voxels.device)

    def to_voxel(self, points: Tensor) -> Tensor:
        """Voxel indices (..., D), not rounded, of world positions (..., D) in mm."""
        inverse = torch.linalg.inv(self.matrix).to(points.device)
        return (points.double() - self.origin.to(points.device)) @ inverse.T

    def points(self) -> Tensor:
        """World positions of all voxel centres (*shape, D), in mm, float64."""
        axes = [torch.arange(size, dtype=torch.float64) for size in self.shape]
        return self.to_world(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """The voxels ``start`` to ``stop - 1`` of each axis, at their own places.

        Raises:
            ValueError: if the box is empty or leaves the grid.
        """
        inside = zip(start, stop, self.shape, strict=True)
        if any(not 0 <= first < last <= size for first, last, size in inside):
            raise ValueError(
                f"start and stop must enclose voxels of a {self.shape} grid, "
                f"got {tuple(start)} and {tuple(stop)}"
            )
        return self.scaled(start, [last - first for first, last in zip(start, stop, strict=True)])

    def pad(self, halo: int | Sequence[int]) -> Grid:
        """The grid with ``halo`` more voxels at both ends of each axis."""
        width = [int(extra) for extra in per_axis("halo", halo, self.spatial_dims, least=0)]
        shape = [size + 2 * extra for size, extra in zip(self.shape, width, strict=True)]
        return self.scaled([-extra for extra in width], shape)

    def shift(self, voxels: Sequence[float]) -> Grid:
        """The grid moved by ``voxels`` (D,) along its own axes; they need not be whole."""
        return self.scaled(voxels, self.shape)

    def refine(self, factor: int | Sequence[int]) -> Grid:
        """Every ``factor``-th voxel of the result is a voxel of this grid: (n - 1) factor + 1.

        A single voxel along an axis stays one, and keeps its spacing.

        Raises:
            ValueError: if a factor is below 1, or not whole.
        """
        asked = per_axis("factor", factor, self.spatial_dims, least=1)
        factors = [int(each) for each in asked]
        if factors != asked:
            raise ValueError(f"factor must be whole, got {factor}")
        shape = [(size - 1) * each + 1 for size, each in zip(self.shape, factors, strict=True)]
        scale = [1 / each if n > 1 else 1.0 for n, each in zip(self.shape, factors, strict=True)]
        return self.scaled([0] * self.spatial_dims, shape, scale)

    def with_spacing(self, spacing: float | Sequence[float]) -> Grid:
        """The same first voxel centre and axes at another spacing in mm, over the same extent."""
        values = per_axis("spacing", spacing, self.spatial_dims)
        old, extent = self.spacing.tolist(), self.extent.tolist()
        # The tolerance keeps the last sample where rounding alone would lose it.
        shape = [int(reach / step + 1e-6) + 1 for reach, step in zip(extent, values, strict=True)]
        scale = [step / before for step, before in zip(values, old, strict=True)]
        return self.scaled([0] * self.spatial_dims, shape, scale)

    def scaled(
        self, start: Sequence[float], shape: Sequence[int], scale: Sequence[float] | None = None
    ) -> Grid:
        """A grid of another shape along the same axes.

        Args:
            start: where its first voxel lies, in voxels of this grid (D,), which need not be whole.
            shape: its number of voxels along each axis.
            scale: its spacing over that of this grid, along each axis; 1 if None.
        """
        affine = self.affine.clone()
        dims = self.spatial_dims
        affine[:dims, 3] = self.to_world(torch.tensor(start, dtype=torch.float64))
        if scale is not None:
            affine[:dims, :dims] *= torch.tensor(scale, dtype=torch.float64)
        return Grid(tuple(shape), affine)

    def axes_in(self, other: Grid) -> tuple[Tensor, ...] | None:
        """Indices of this grid's planes along the axes of ``other``, if the two share their axes.

        Returns:
            D vectors (shape[d],) of indices in ``other``, not rounded, or None where the grids are
            rotated, sheared or permuted against each other by more than a rounding error.
        """
        if other.spatial_dims != self.spatial_dims:
            raise ValueError(
                f"other must have {self.spatial_dims} spatial dimensions, got {other.spatial_dims}"
            )
        steps = torch.linalg.solve(other.matrix, self.matrix)
        reach = torch.tensor([float(size) for size in self.shape], dtype=torch.float64)
        strays = (steps - torch.diag(steps.diagonal())).abs() * reach
        if bool((strays.sum(dim=1) > ALIGNMENT_TOLERANCE).any()):
            return None
        start = other.to_voxel(self.origin)
        return tuple(
            _snap(start[d] + steps[d, d] * torch.arange(size, dtype=torch.float64))
            for d, size in enumerate(self.shape)
        )

    def same_places(self, other: Grid) -> bool:
        """Whether the voxels are those of ``other``, each to a hundredth of a voxel.

        Example:
            >>> grid = Grid((100, 9), torch.eye(4))
            >>> grid.same_places(Grid((100, 9), 1.00005 * torch.eye(4)))
            True
            >>> grid.same_places(Grid((100, 9), 1.001 * torch.eye(4)))
            False
        """
        if self.shape != other.shape:
            return False
        ends = product(*[(0.0, size - 1.0) for size in self.shape])
        corners = torch.tensor(list(ends), dtype=torch.float64)
        strays = other.to_voxel(self.to_world(corners)) - corners
        return bool(strays.abs().max() < SAME)

    def meets(self, other: Grid) -> bool:
        """Whether the two may share some place; never False where they do.

        Example:
            >>> grid = Grid((4, 4), torch.eye(4))
            >>> grid.meets(grid.shift([3.2, 0])), grid.meets(grid.shift([4.2, 0]))
            (True, False)
        """
        return self._spans(other) and other._spans(self)

    def _spans(self, other: Grid) -> bool:
        # Whether the box around the cells of the other, along this grid's axes, reaches this one.
        ends = [(-0.5, size - 0.5) for size in other.shape]
        corners = torch.tensor(list(product(*ends)), dtype=torch.float64)
        voxels = self.to_voxel(other.to_world(corners))
        last = torch.tensor(self.shape, dtype=torch.float64) - 0.5
        return bool(((voxels.amax(dim=0) > -0.5) & (voxels.amin(dim=0) < last)).all())

    def gradient_to_world(self, gradient: Tensor) -> Tensor:
        """Turn derivatives by voxel index (..., D) into world derivatives per mm, A^-T g."""
        return gradient @ torch.linalg.inv(self.matrix).to(gradient)

    def hessian_to_world(self, hessian: Tensor) -> Tensor:
        """Turn second derivatives by voxel index (..., D, D) into world ones, A^-T H A^-1."""
        inverse = torch.linalg.inv(self.matrix).to(hessian)
        return inverse.T @ hessian @ inverse

    @classmethod
    def from_image(cls, image: Tensor | np.ndarray) -> Grid:
        """Grid of an image (C, *spatial); one without an affine lies at unit spacing.

        Raises:
            ValueError: if the image has no usable affine, its space is neither RAS nor LPS, or its
                channels do not come first, as MONAI's reader leaves them.
        """
        if not is_meta_tensor(image):
            return cls(tuple(image.shape[1:]), torch.eye(4))
        _check_channel_first(image)
        return cls(tuple(image.shape[1:]), affine_in_ras(image))

    def to_image(self, values: Tensor) -> MetaTensor:
        """Place ``values`` (C, *shape) on this grid as a MetaTensor with its affine."""
        from monai.data import MetaTensor

        if tuple(values.shape[1:]) != self.shape:
            raise ValueError(f"values must have shape (C, {self.shape}), got {tuple(values.shape)}")
        return MetaTensor(values, affine=self.affine)


def affine_in_ras(image: MetaTensor) -> Tensor:
    """The affine of an image to RAS mm, whether MONAI's reader left it in RAS or in LPS.

    Raises:
        ValueError: if the image's ``meta["space"]`` is neither.

    Example:
        >>> from monai.data import MetaTensor
        >>> image = MetaTensor(torch.zeros(1, 2, 2), affine=torch.eye(4), meta={"space": "LPS"})
        >>> affine_in_ras(image).diagonal().tolist()
        [-1.0, -1.0, 1.0, 1.0]
    """
    from monai.utils import MetaKeys, SpaceKeys

    space = image.meta.get(MetaKeys.SPACE) or SpaceKeys.RAS
    if space not in (SpaceKeys.RAS, SpaceKeys.LPS):
        raise ValueError(f'meta["space"] must be "RAS" or "LPS", got {space!r}')
    affine = torch.as_tensor(image.affine).detach().clone()
    if space == SpaceKeys.LPS:
        affine[: min(2, len(affine) - 1)] *= -1
    return affine


def _check_channel_first(image: MetaTensor) -> None:
    from monai.data.utils import is_no_channel
    from monai.utils import MetaKeys

    # MONAI's readers note where a file has its channels, and how large it is along its axes.
    where = image.meta.get(MetaKeys.ORIGINAL_CHANNEL_DIM)
    read, shape = tuple(map(int, image.meta.get(MetaKeys.SPATIAL_SHAPE, ()))), tuple(image.shape)
    if where is None or not read:
        return
    if is_no_channel(where):
        # One plane of a volume, with a channel, has as many axes as the volume.
        found = len(shape) == len(read) and (shape[0] > 1 or read[0] == 1)
        what = "no channel axis"
    else:
        found = shape[1:] != read and tuple(np.delete(shape, int(where))) == read
        what = f"them along axis {int(where)}"
    if found:
        raise ValueError(
            f"image must have its channels first, got shape {shape} with {what}; put "
            "EnsureChannelFirstd (EnsureChannelFirst for arrays) before"
        )


def _homogeneous(affine: Tensor | np.ndarray, dims: int) -> Tensor:
    given = torch.as_tensor(affine).detach().cpu().double()
    if given.shape not in ((4, 4), (dims + 1, dims + 1)):
        raise ValueError(f"affine must be a 4x4 matrix, got shape {tuple(given.shape)}")
    if not bool(torch.isfinite(given).all()):
        raise ValueError("affine must be finite, got infinite or NaN entries")
    full = torch.eye(4, dtype=torch.float64)
    size = given.shape[0] - 1
    full[:size, :size], full[:size, 3] = given[:size, :size], given[:size, size]
    if size == 3 and dims < 3:
        full[dims:3, :dims], full[:dims, dims:3] = 0, 0
    block = full[:dims, :dims]
    lengths = block.norm(dim=0)
    # Relative to the column lengths, so that tiny spacings in any unit are no reason to refuse.
    if bool((lengths == 0).any()) or abs(float(torch.linalg.det(block / lengths))) < 1e-9:
        raise ValueError(
            f"affine must be invertible, got {block.tolist()}; give the image a valid affine, or"
            " a slice out of the plane of the first axes as a volume of one slice"
        )
    return full


def _snap(indices: Tensor) -> Tensor:
    whole = indices.round()
    return torch.where((indices - whole).abs() < ALIGNMENT_TOLERANCE, whole, indices)
