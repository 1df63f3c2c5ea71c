"""A family: several images in one network, and everything between them."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from oinr_monai.coding.tensor_file import short_path
from oinr_monai.fields.family import FamilyField

from .neural_field import NeuralField
from .operator_field import OperatorField
from .representation import Representation

__all__ = ["Family", "is_family", "weights_at"]


@dataclass(frozen=True)
class Family:
    """Signals of one operator, each with an input function of its own, and everything in between.

    A blend, or a moment between two members, is a :class:`~oinr_monai.Representation` as any other:
    it can be sampled on any grid, differentiated and saved.

    Args:
        representation: the equal blend of all members.

    Example:
        >>> import torch
        >>> from oinr_monai import FitConfig, fit_family
        >>> images = torch.randn(3, 1, 12, 12)
        >>> family = fit_family(list(images), FitConfig(steps=3), times=[0.0, 1.0, 4.0])
        >>> family.at_time(2.5).sample().shape
        torch.Size([1, 12, 12])
        >>> family.blend([0.2, 0.3, 0.5]).gradient().shape
        torch.Size([2, 12, 12])
    """

    representation: Representation

    def __post_init__(self) -> None:
        if (name := _without_members(self.representation)) is not None:
            raise ValueError(
                f"representation must have a FamilyField, got {name}; make one with fit_family"
            )

    @property
    def encoding(self) -> FamilyField:
        """The input functions of the members."""
        return cast("FamilyField", cast("NeuralField", self.representation.field).encoding)

    @property
    def times(self) -> tuple[float, ...] | None:
        """Times of the members, rising; None where they have no order."""
        return self.representation.info.times or None

    def __len__(self) -> int:
        return len(self.encoding.members)

    def blend(self, weights: Sequence[float]) -> Representation:
        """The blend of the members' input functions with these weights (N,), whose sum is 1.

        Raises:
            ValueError: if they are not N numbers with sum 1.
        """
        whole = self.representation
        field = NeuralField(
            self.encoding.blend(weights),
            cast("NeuralField", whole.field).network,
            whole.field.spacing,
        )
        told = [float(w) for w in weights]
        if 0 in told:  # of some members, which stand at no times of their own
            return whole.of_field(field, weights=told, times=None)
        return whole.of_field(field, weights=told)

    def at_time(self, time: float) -> Representation:
        """The signal at ``time``: a member, or what lies between the two next to it.

        Raises:
            ValueError: if the members have no times, or the time lies outside of them.
        """
        times = self.times
        if times is None:
            raise ValueError("times must be given to fit_family to ask at a time; use blend")
        return self.blend(weights_at(times, time))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.oinr`` file, which :meth:`Representation.load` reads as well."""
        self.representation.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Family:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or the representation of a single image.
        """
        whole = Representation.load(path)
        if (name := _without_members(whole)) is not None:
            raise ValueError(
                f"{short_path(Path(path))} must be of a family, got one image on a {name}; make "
                "one with fit_family or `oinr interpolate`"
            )
        return cls(whole)


def is_family(representation: Representation) -> bool:
    """Whether it is the blend of the members of a family."""
    return _without_members(representation) is None


def _without_members(representation: Representation) -> str | None:
    """Of what it is instead, if it is of no family."""
    field = representation.field
    encoding = field.encoding if isinstance(field, OperatorField) else field
    return None if isinstance(encoding, FamilyField) else type(encoding).__name__


def weights_at(times: Sequence[float], time: float) -> list[float]:
    """Weights of the members at a time: the two neighbours share it linearly."""
    if not times[0] <= time <= times[-1]:
        raise ValueError(f"time must be {times[0]:g} to {times[-1]:g}, got {time:g}")
    before = min(bisect_right(times, time) - 1, len(times) - 2)
    part = (time - times[before]) / (times[before + 1] - times[before])
    weights = [0.0] * len(times)
    weights[before], weights[before + 1] = 1 - part, part
    return weights
