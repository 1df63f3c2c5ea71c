"""The fit that trains nothing: an image's own samples, and the spline through them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.samples import Samples
from oinr_monai.grids.tiles import slabs
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.metrics import mean_square, peak_ratio
from oinr_monai.images.scans import checked_scans
from oinr_monai.images.stored import StoredImage
from oinr_monai.images.stored_spline import scale_of
from oinr_monai.representation.exact import sampled_representation
from oinr_monai.representation.held_samples import HeldSamples
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.representation.sampled_field import SampledField

from .presets import FitConfig

__all__ = ["box_scores", "closed_form"]

# Boxes that are asked for the scores, their width in samples, places in each, and their seed: the
# same for every fit of an image. Chosen by hand.
BOXES, WIDTH, PLACES, SEED = 8, 12, 1_024, 20_240_721

# Voxels that are looked at at once, 8 MiB.
AT_ONCE = 1 << 21


def closed_form(
    image: Tensor | np.ndarray | StoredImage,
    config: FitConfig,
    mask: Tensor | np.ndarray | None = None,
) -> Representation:
    """The spline through the samples of an image; one on disk stays there.

    Where a mask is given, the nearest sample inside it stands for each outside, so that the spline
    inside does not see those.
    """
    started = time.monotonic()
    device = chosen_device(config.device)
    if isinstance(image, StoredImage):
        if mask is not None:
            raise ValueError("mask must be None for an image on disk, got one")
        (scale, _), grid, digest = scale_of(image), image.grid, image.digest
        samples: Samples = image
    else:
        (scan,) = checked_scans([image], mask)
        scale, grid, digest = IntensityScale.of(scan.image, scan.mask), scan.grid, scan.digest
        samples = HeldSamples.of(scan.filled)
    found = sampled_representation(samples, grid, scale, config.degree).to(device)
    found.info = Info(
        settings=config.settings(),
        steps=0,
        seconds=round(time.monotonic() - started, 3),
        interrupted=False,
        device=str(device),
        image=digest,
        parameters=found.parameters,
    )
    found.info |= box_scores(found, found)
    return found


def box_scores(found: Representation, truth: Representation) -> dict[str, float | None]:
    """PSNR at the samples and between them, in dB, by a few boxes; None where there is no error.

    Args:
        found: what is asked.
        truth: the image in closed form; its spline is worked out anew for each box, in float64.

    Returns:
        ``psnr_grid`` and ``psnr_between``, over the range of all samples.
    """
    exact, peak = _in_double(truth), _range(truth)
    on_grid, between = [], []
    for start, stop in _boxes(truth.grid.shape):
        box = truth.grid.crop(start, stop)
        samples = exact.sample(box).as_tensor()
        on_grid.append(found.sample(box).as_tensor().cpu() - samples)
        last = torch.tensor(stop) - 1 - torch.tensor(start)
        places = box.to_world(torch.rand(PLACES, len(start), generator=_generator()) * last)
        between.append(found.at(places).cpu() - exact.at(places))
    return {
        "psnr_grid": _finite_ratio(on_grid, peak),
        "psnr_between": _finite_ratio(between, peak),
    }


def _range(truth: Representation) -> float:
    field, low, high = cast("SampledField", truth.field), math.inf, -math.inf
    for part in slabs(field.shape, AT_ONCE):
        values = field.samples.read(*part)
        if truth.scale.wide:  # of which the field has the standardised copy
            values = truth.scale.restore(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return high - low


def _in_double(truth: Representation) -> Representation:
    field = cast("SampledField", truth.field)
    samples = _Unmoved(field.samples)
    again = SampledField(samples, field.spacing, field.mean, field.std, field.degree)
    return truth.of_field(again.to(torch.float64))


class _Unmoved:
    """Samples that stay as they are when the field that they are of moves."""

    def __init__(self, samples: Samples) -> None:
        self.shape, self.read = samples.shape, samples.read


def _finite_ratio(errors: Sequence[Tensor], peak: float) -> float | None:
    square = mean_square(torch.cat([each.flatten() for each in errors]))
    return peak_ratio(square, peak) if square > 0 else None


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _boxes(shape: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    generator = _generator()
    for _ in range(BOXES):
        parts = torch.rand(len(shape), generator=generator, dtype=torch.float64).tolist()
        start = [int(part * (max(n - WIDTH, 0) + 1)) for part, n in zip(parts, shape, strict=True)]
        yield start, [min(a + WIDTH, n) for a, n in zip(start, shape, strict=True)]
