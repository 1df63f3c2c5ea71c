"""Where an answer is asked: on the fitted grid, or on the one that somebody chooses instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .checks import per_axis
from .grid import Grid

__all__ = ["AskedGrid"]


@dataclass(frozen=True)
class AskedGrid:
    """A grid that is told by one of three ways; the fitted one if by none.

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each.
        like: the grid itself, such as that of another image, rotated or not.

    Raises:
        ValueError: if more than one is given.

    Example:
        >>> import torch
        >>> AskedGrid(factor=2).on(Grid((4, 5), torch.eye(4))).shape
        (7, 9)
    """

    factor: int | Sequence[int] | None = None
    spacing: float | Sequence[float] | None = None
    like: Grid | None = None

    def __post_init__(self) -> None:
        every = {"factor": self.factor, "spacing": self.spacing, "like": self.like}
        given = [name for name, value in every.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} must not be given together; choose one")

    def on(self, fitted: Grid) -> Grid:
        """The grid that is asked, of something fitted on ``fitted``.

        Raises:
            ValueError: if a number is out of its range, there is not one for each axis, or ``like``
                has other dimensions.
        """
        if self.like is not None and self.like.spatial_dims != fitted.spatial_dims:
            raise ValueError(
                f"grid must have {fitted.spatial_dims} spatial dimensions as the representation, "
                f"got shape {self.like.shape}"
            )
        if self.spacing is not None:
            return fitted.with_spacing(self.spacing)
        return (self.like or fitted) if self.factor is None else fitted.refine(self.factor)

    def steps(self, fitted: Grid) -> list[float]:
        """The spacing that is asked along each axis of ``fitted``, in mm, for another box of it."""
        if self.like is not None:
            raise ValueError(f"like must not be given, got a grid of shape {self.like.shape}")
        dims = fitted.spatial_dims
        if self.spacing is not None:
            return per_axis("spacing", self.spacing, dims)
        factors = per_axis("factor", self.factor or 1, dims)
        return [h / each for h, each in zip(fitted.spacing.tolist(), factors, strict=True)]
