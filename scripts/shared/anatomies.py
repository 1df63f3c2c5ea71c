"""Scans of random contrast made of anatomies whose labels are known."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter
from torch import Tensor

from oinr_monai import Grid

# All that follows is chosen by hand. Labels from here on lie outside the brain; the part of the
# scans that are of the brain alone.
OUTSIDE, STRIPPED = 500, 0.4

# Textures of tissues: most of their standard deviation over the range, and widths in voxels.
TEXTURE, GRAINS = 0.08, (0.0, 1.2)

# Widths in voxels of the blur of a voxel's cell.
BLURS = (0.35, 0.7)

# Strength and width in voxels of the field by which the coils weigh the image.
BIAS, REACH = 0.25, 40.0


def random_scan(labels: MetaTensor, generator: torch.Generator, most_noise: float) -> MetaTensor:
    """A scan of an anatomy: random means and textures of its classes, bias, blur and noise.

    References:
        Billot et al., "SynthSeg: Segmentation of brain MRI scans of any contrast and resolution
        without retraining", Medical Image Analysis 2023.

    Args:
        labels: (1, *spatial).
        generator: source of randomness.
        most_noise: the most that noise has of the range.
    """
    plain, grid = cropped(labels)
    classes, index = plain.unique(return_inverse=True)
    means, spreads = (between(generator, 0, top, len(classes)) for top in (1.0, TEXTURE))
    dark = (classes == 0) | ((classes >= OUTSIDE) & (chance(generator) < STRIPPED))
    means[dark], spreads[dark] = 0.02, 0.01
    grain = smoothed(noise(plain.shape, generator), float(between(generator, *GRAINS)))
    image = means[index] + spreads[index] * grain / grain.std()
    field = smoothed(noise(tuple(n // 8 + 1 for n in plain.shape), generator), REACH / 8)
    bias = torch.nn.functional.interpolate(field[None, None], plain.shape, mode="trilinear")[0, 0]
    image = smoothed(image * (BIAS * bias / bias.std()).exp(), float(between(generator, *BLURS)))
    image = image + float(between(generator, 0, most_noise)) * noise(plain.shape, generator)
    return grid.to_image(image.abs()[None])


def cropped(labels: MetaTensor) -> tuple[Tensor, Grid]:
    """The box around all labels but 0, and its grid."""
    plain = labels.as_tensor()[0].long()
    where = plain.nonzero()
    start, stop = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return plain[box], Grid.from_image(labels).crop(start, stop)


def between(generator: torch.Generator, low: float, high: float, count: int = 1) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def smoothed(image: Tensor, width: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), width)) if width > 0 else image
