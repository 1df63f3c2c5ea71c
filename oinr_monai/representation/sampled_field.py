"""An image as a function in closed form: the B-spline through its own samples, nothing learned."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.jets import jet_size
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.grids.prefilter import decay, prefilter
from oinr_monai.grids.samples import Samples
from oinr_monai.grids.splines import jet
from oinr_monai.images.intensity import IntensityScale

from .continuous_field import ContinuousField
from .held_samples import HeldSamples

__all__ = ["SampledField"]

# Numbers of an image whose coefficients are kept as a whole: 256 MiB. Chosen by hand.
MOST_KEPT = 1 << 26

# Numbers of a box that is read at once, 64 MiB, where its places can be asked in parts. By hand.
MOST_AT_ONCE = 1 << 24


class SampledField(ContinuousField):
    r"""The B-spline through all samples of an image, standardised, over mm along its axes.

    .. math:: F(x) = \sum_k c_k \beta^p(x / h - k), \qquad F(i h) = (s_i - \mu) / \sigma

    It is twice (degree 3) or four times (degree 5) differentiable, and its jets are those of this
    very sum. Errors against a smooth function fall with the fourth or sixth power of the spacing h.
    Up to one sample beyond the borders the image goes on by its point reflections, which keep its
    value and its slope; farther out the field keeps the value there.

    Samples stay where they are. An answer reads the box around its places, with as many samples
    beyond as the coefficients depend on; once as much has been read as there is, and if it fits,
    the coefficients of all samples are worked out and kept.

    Args:
        samples: the image, in memory (:class:`HeldSamples`), on disk or coded.
        spacing: voxel spacing along each axis, in mm.
        mean: mean of each channel, by which samples are standardised; 0 if None.
        std: standard deviation of each channel; 1 if None.
        degree: degree p, 3 or 5.

    Raises:
        ValueError: if the spacing, the moments or the degree are no such, or not as many as axes
            and channels.

    References:
        Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
        Magazine 16(6), 1999.

    Example:
        >>> from oinr_monai.grids.positions import Lattice, Scatter
        >>> image = torch.rand(1, 6, 7)
        >>> field = SampledField(HeldSamples.of(image), (1.0, 1.0))
        >>> voxels = Lattice((torch.arange(6.0).double(), torch.arange(7.0).double()))
        >>> torch.allclose(field(voxels)[0], image, atol=1e-5)
        True
        >>> field(Scatter((torch.rand(5), torch.rand(5))), order=2).shape
        torch.Size([6, 1, 5])
    """

    place: Tensor

    def __init__(
        self,
        samples: Samples,
        spacing: Sequence[float],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        degree: int = 3,
    ) -> None:
        super().__init__()
        self.channels, *shape = samples.shape
        self.shape, self.spatial_dims = tuple(shape), len(shape)
        self.spacing = _positive("spacing", spacing, len(shape))
        self.mean = tuple(map(float, mean or [0.0] * self.channels))
        self.std = _positive("std", std or [1.0] * self.channels, self.channels)
        if len(self.mean) != self.channels:
            raise ValueError(f"mean must be {self.channels} numbers, got {self.mean}")
        self.samples, self.degree, self._reach = samples, degree, decay(degree)
        # Where, and in which type, answers are worked out: it moves as weights would.
        self.register_buffer("place", torch.empty(0, device="cpu"), persistent=False)
        self._kept: tuple[object, Tensor] | None = None
        self._read = 0

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, the samples as they are: the caller describes them."""
        return {
            "samples": self.samples,
            "spacing": list(self.spacing),
            "mean": list(self.mean),
            "std": list(self.std),
            "degree": self.degree,
        }

    def with_spacing(self, spacing: Sequence[float]) -> SampledField:
        """This field itself: its knots are the samples."""
        return self

    @property
    def device(self) -> torch.device:
        """Where answers are worked out."""
        return self.place.device

    @property
    def size(self) -> int:
        """Numbers that it is made of: the samples."""
        return math.prod(self.samples.shape)

    @property
    def hidden_channels(self) -> tuple[int, ...]:
        """None: there are no layers."""
        return ()

    @property
    def anywhere(self) -> bool:
        """True: a spline has a value at any place."""
        return True

    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""
        return self.channels * jet_size(self.spatial_dims, order)

    def settle(self) -> None:
        """Work out all coefficients, for the programs that are exported from here on."""
        self._kept = self._state, self.coefficients

    @property
    def coefficients(self) -> Tensor:
        """Those of all knots (C, *shape + 2 beyond), worked out once and kept."""
        if self._kept is not None and (torch.compiler.is_exporting() or self._holds):
            return self._kept[1]
        found, _ = self._around([0] * self.spatial_dims, self.shape)
        self._kept = self._state, found
        return found

    def forward(
        self,
        positions: Positions,
        order: int = 0,
        layer: int | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the signal; there is no layer, nor any other spacing."""
        if layer is not None:
            raise ValueError(
                f"layer must be None for an image in closed form, which has none, got {layer}; "
                'fit it with preset="fast", "balanced" or "best"'
            )
        axes = [x.double() / h for x, h in zip(positions.axes, self.spacing, strict=True)]
        return self._answer(type(positions)(tuple(axes)), order)

    # ---- coefficients ---------------------------------------------------------------------------

    def _answer(self, places: Positions, order: int) -> Tensor:
        """Jet at places in voxels."""
        low = [-self._beyond] * self.spatial_dims
        fits = self.size <= MOST_KEPT
        if torch.compiler.is_exporting() or math.prod(places.shape) == 0 or self._holds:
            return self._jet(self.coefficients, low, places, order)
        if fits and self.device.type != "cpu":  # where to know which are needed costs more than all
            return self._jet(self.coefficients, low, places, order)
        first, stop = self._knots(places)
        box = self._box(first, stop)
        read = self.channels * math.prod(b - a for a, b in zip(*box, strict=True))
        if fits and self._read + read >= self.size:
            return self._jet(self.coefficients, low, places, order)
        apart = max(b - a for a, b in zip(first, stop, strict=True))
        if read > MOST_AT_ONCE and apart > 2 * self._reach:
            return self._by_halves(places, order)
        self._read += read
        coefficients, low = self._around(*box)
        return self._jet(coefficients, low, places, order)

    def _jet(
        self, coefficients: Tensor, first: Sequence[int], places: Positions, order: int
    ) -> Tensor:
        inner = places.shifted([-float(knot) for knot in first])
        return jet(coefficients, inner, order, self.spacing, self.degree)

    @property
    def _beyond(self) -> int:
        # Knots beyond each border: those of a place one sample beyond it.
        return (self.degree - 1) // 2 + 1

    def _knots(self, places: Positions) -> tuple[list[int], list[int]]:
        # The first knot that the places need along each axis, and the one after the last.
        reach = (self.degree - 1) // 2
        ends = [
            (x.detach().clamp(-1, n).amin(), x.detach().clamp(-1, n).amax())
            for x, n in zip(places.axes, self.shape, strict=True)
        ]
        first = [math.floor(float(low)) - reach for low, _ in ends]
        return first, [math.floor(float(high)) + reach + 2 for _, high in ends]

    def _box(self, first: Sequence[int], stop: Sequence[int]) -> tuple[list[int], list[int]]:
        # The samples on which these coefficients depend.
        start = [
            min(max(a - self._reach, 0), n - 1) for a, n in zip(first, self.shape, strict=True)
        ]
        return start, [
            max(min(b + self._reach, n), a + 1)
            for a, b, n in zip(start, stop, self.shape, strict=True)
        ]

    def _around(self, start: Sequence[int], stop: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Coefficients of a box of samples, and those beyond the borders it touches; the first."""
        outer = self._beyond
        beyond = [
            (outer if a == 0 else 0, outer if b == n else 0)
            for a, b, n in zip(start, stop, self.shape, strict=True)
        ]
        block = self.samples.read(start, stop).to(self.place)
        found = prefilter(self._scale.standardise(block).to(self.place), self.degree, beyond)
        return found, [a - knots for a, (knots, _) in zip(start, beyond, strict=True)]

    @property
    def _scale(self) -> IntensityScale:
        return IntensityScale(self.mean, self.std, self.mean)

    @property
    def _holds(self) -> bool:
        # What was kept holds as long as neither the samples nor the field have moved.
        return self._kept is not None and self._kept[0] == self._state

    @property
    def _state(self) -> object:
        held = self.samples.values if isinstance(self.samples, HeldSamples) else None
        samples = None if held is None else (held.data_ptr(), held._version)
        return self.place.device, self.place.dtype, samples

    def _by_halves(self, places: Positions, order: int) -> Tensor:
        # Places far from each other: each half lies in a smaller box.
        first, stop = self._knots(places)
        widths = [
            b - a if len(x) > 1 else 0 for a, b, x in zip(first, stop, places.axes, strict=True)
        ]
        axis = widths.index(max(widths))
        ranks = places.axes[axis].argsort()
        lattice = isinstance(places, Lattice)
        parts = []
        for half in ranks.split(math.ceil(len(ranks) / 2)):
            chosen = [x[half] if d == axis or not lattice else x for d, x in enumerate(places.axes)]
            parts.append(self._answer(type(places)(tuple(chosen)), order))
        along = axis + 2 if lattice else 2
        return torch.cat(parts, dim=along).index_select(along, ranks.argsort())

    def __deepcopy__(self, memo: dict[int, Any]) -> SampledField:
        # Samples on disk are not copied, and what was worked out from them holds for both.
        held = isinstance(self.samples, HeldSamples)
        samples = copy.deepcopy(self.samples, memo) if held else self.samples
        made = SampledField(samples, self.spacing, self.mean, self.std, self.degree)
        made.place, made._kept, made._read = self.place, self._kept, self._read
        memo[id(self)] = made
        return made.train(self.training)


def _positive(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    if len(values) != count or not all(0 < value < math.inf for value in values):
        raise ValueError(f"{name} must be {count} positive numbers, got {tuple(values)}")
    return tuple(map(float, values))
