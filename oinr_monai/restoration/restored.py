"""An answer, and how far it may be from the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.images.meta import inherit
from oinr_monai.representation.representation import Representation

__all__ = ["HALF_WIDTH", "HIDDEN", "LEVEL", "SHARE", "Errors", "Restored"]

# Part of the places whose truth an interval covers, if nothing else is asked for.
LEVEL = 0.9

# What a map of half widths at that level says of itself.
HALF_WIDTH = "half width of the 90 % interval"

# What a map of shares says of itself.
SHARE = "share of the operator"

# What a map of hidden contrast says of itself.
HIDDEN = "contrast that a small ball may hide"


class Errors(ABC):
    """What is known of the errors of an answer."""

    @abstractmethod
    def half_width(self, level: float) -> Tensor:
        """Half widths (C, *grid.shape) of intervals that cover a part ``level`` of the places."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """A sample (C, *grid.shape) of the errors, in the image's units."""

    def share(self) -> Tensor:
        """The share (C, *grid.shape) of the learned operator in what is shown.

        Raises:
            ValueError: if what it was made of does not tell, as that of slices does.
        """
        raise ValueError("share must be asked of thick slices made finer, got another answer")

    def hidden(self) -> Tensor:
        """Contrast (C, *grid.shape) that a small ball at each place may hide.

        Raises:
            ValueError: if it was not slices that were made finer.
        """
        raise ValueError("hidden must be asked of thick slices made finer, got another answer")

    @abstractmethod
    def statement(self) -> dict[str, Any]:
        """What they were learned from, JSON values."""


@dataclass(frozen=True)
class Restored:
    """An answer, and how far it may be from the truth.

    Args:
        answer: the restored image as a function; ``answer.info["trust"]`` says what the intervals
            were learned from.
        errors: of it.

    Example:
        >>> from oinr_monai import DenoiseConfig, denoise_trusted
        >>> found = denoise_trusted(torch.rand(1, 24, 24), DenoiseConfig(steps=2))
        >>> found.half_width().shape
        torch.Size([1, 24, 24])
    """

    answer: Representation
    errors: Errors

    def half_width(self, level: float = LEVEL) -> MetaTensor:
        """Half widths (C, *grid.shape) of the intervals, in the image's units, on its own grid.

        Args:
            level: part of the places whose truth lies within them, between 0 and 1.

        Raises:
            ValueError: if ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        width = self.errors.half_width(level)
        return inherit(self.answer.grid.to_image(width), self.answer, values=False)

    def interval(self, level: float = LEVEL) -> tuple[MetaTensor, MetaTensor]:
        """Lower and upper ends (C, *grid.shape) of the intervals.

        Args:
            level: part of the places whose truth lies within them, between 0 and 1.
        """
        middle, width = self.answer.sample(), self.half_width(level).as_tensor()
        ends = (middle.as_tensor().cpu() - width, middle.as_tensor().cpu() + width)
        low, high = (inherit(self.answer.grid.to_image(end), self.answer) for end in ends)
        return low, high

    def share(self) -> MetaTensor:
        r"""Share (1, *grid.shape) of the learned operator in what is shown, from 0 to 1.

        Of slices y that were made finer, the answer is g + h: the spline g through them would be
        seen as y, and of what the operator adds, h, they see nothing. With means over boxes as
        long as from slice to slice it is

        .. math:: s = \frac{\overline{h^2}}
                  {\overline{h^2} + \overline{g^2} - \bar g^2 + \epsilon^2} ,

        0 where nothing was added, near 1 where all that is to be seen was; the same in any units
        of the image, for differences count from :math:`\epsilon`, a fiftieth of its standard
        deviation, on.

        Raises:
            ValueError: if it was not slices that were made finer.

        Example:
            >>> from oinr_monai import Grid, SuperResolveConfig, super_resolve_trusted
            >>> grid = Grid((24, 24, 6), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
            >>> thick = torch.rand(1, 24, 24, 6, generator=torch.Generator().manual_seed(0))
            >>> found = super_resolve_trusted(grid.to_image(thick), SuperResolveConfig(steps=0))
            >>> share = found.share()
            >>> share.shape, bool((share >= 0).all() and (share < 1).all())
            (torch.Size([1, 24, 24, 24]), True)
        """
        image = self.answer.grid.to_image(self.errors.share())
        return inherit(image, self.answer, values=False)

    def hidden(self) -> MetaTensor:
        """Contrast (1, *grid.shape) that a small ball at each place may hide, of either sign.

        The contrast to its surroundings that a ball about as wide as from slice to slice would
        need, to have left in the slices what they hold around that place, whether the answer shows
        it or not. Anatomy leaves the like: what stands out from the rest of the map is worth a look
        at the slices themselves.

        Raises:
            ValueError: if it was not slices that were made finer.

        Example:
            >>> from oinr_monai import Grid, SuperResolveConfig, super_resolve_trusted
            >>> grid = Grid((24, 24, 6), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
            >>> thick = torch.randn(1, 24, 24, 6, generator=torch.Generator().manual_seed(0))
            >>> thick[0, 11:14, 11:14, 2:4] += 9
            >>> found = super_resolve_trusted(grid.to_image(thick), SuperResolveConfig(steps=0))
            >>> hidden = found.hidden()
            >>> [int(i) for i in (hidden == hidden.max()).nonzero()[0, 1:3]]
            [12, 12]
        """
        return inherit(self.answer.grid.to_image(self.errors.hidden()), self.answer, values=False)

    def samples(self, count: int, seed: int = 0) -> Iterator[MetaTensor]:
        """Images (C, *grid.shape) that the truth may be, one after the other.

        Of thick slices, every one would have been seen as the slices, but for the noise on them.

        Args:
            count: how many.
            seed: of the first; the same seed gives the same images.

        Raises:
            ValueError: if ``count`` is not positive.
        """
        if count < 1:
            raise ValueError(f"count must be 1 or more, got {count}")
        return self._drawn(count, seed)

    def _drawn(self, count: int, seed: int) -> Iterator[MetaTensor]:
        answer = self.answer.sample().as_tensor().cpu()
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            image = self.answer.grid.to_image(answer + self.errors.sample(generator))
            yield inherit(image, self.answer)

    def interval_of(
        self,
        measure: Callable[[MetaTensor], Tensor],
        level: float = LEVEL,
        count: int = 16,
        seed: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Ends of an interval of what is measured of the image: a mean, a volume, a gradient.

        What the answer measures, more or less by what samples scatter, as if normally.

        Args:
            measure: of an image (C, *grid.shape) on the grid of the answer.
            level: part of such measures whose truth is to lie within.
            count: samples, 2 or more; few say little of how far they scatter.
            seed: of the first.

        Raises:
            ValueError: if ``level`` is not between 0 and 1, or ``count`` less than 2.

        Example:
            >>> from oinr_monai import DenoiseConfig, denoise_trusted
            >>> found = denoise_trusted(torch.rand(1, 24, 24), DenoiseConfig(steps=2))
            >>> low, high = found.interval_of(lambda image: image[:, 4:8, 4:8].mean())
            >>> bool(low < high)
            True
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        if count < 2:
            raise ValueError(f"count must be 2 or more, got {count}")
        middle = torch.as_tensor(measure(self.answer.sample()))
        each = [torch.as_tensor(measure(image)) for image in self.samples(count, seed)]
        squares = torch.stack([(x - middle) ** 2 for x in each]).mean(dim=0)
        half = NormalDist().inv_cdf((1 + level) / 2) * squares.sqrt()
        return middle - half, middle + half
