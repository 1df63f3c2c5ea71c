r"""Denoising of a series: by what its frames have in common, and then frame by frame.

Noise of unit variance is taken out twice. :func:`~oinr_monai.restoration.low_rank.low_rank` leaves
errors whose size Stein's estimate tells; what carries over from other scans takes noise of a part
of that size out of each frame. Where frames have little in common, as images of several contrasts,
they are better cleaned one by one: Stein's estimate of both, on some frames, decides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from oinr_monai.grids.device import chosen_device
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.noise_level import FEWEST_REPEATS
from oinr_monai.scanner.smooth_noise import smooth_noise

from .carried_denoising import Adapted
from .low_rank import low_rank
from .pose import Pose
from .stein import STEP, noisy_places

if TYPE_CHECKING:
    from oinr_monai.images.scans import Scan

    from .carried_denoiser import CarriedDenoiser
    from .denoising import DenoiseConfig

__all__ = ["denoised_series", "is_series"]

# The part of the size of what errors are left that is told the operator; of 0.7, 1, 1.3 and 1.6
# the best on repeats, contrasts that alternate and perfusion made of a head of random contrast.
PART = 0.7

# Frames on which both ways are compared; chosen by hand.
COMPARED = 3


def is_series(image: Tensor, config: DenoiseConfig) -> bool:
    """Whether channels (T, *spatial) are frames, and nothing is to be learned from them."""
    learns = config.start is None or (config.steps, config.seconds) != (None, None)
    return image.ndim == 4 and len(image) >= FEWEST_REPEATS and not learns


def denoised_series(
    start: CarriedDenoiser, scan: Scan, image: Tensor, config: DenoiseConfig, started: float
) -> Representation:
    """The spline through the clean frames.

    Args:
        start: what carries over.
        scan: the series, and what counts of it.
        image: the same (T, *spatial), finite everywhere.
        config: how to denoise.
        started: reading of ``time.monotonic`` when it began.
    """
    noise = config.noise.estimated(image, scan.mask)
    stable = noise.stabilise(image)
    pose = Pose.of(stable, (0.0,) * 3, range(3))
    widths, device = pose.along(noise.widths(3)), chosen_device(config.device)
    counted = None if scan.mask is None else pose.turned(scan.mask[None])[0]
    both = _Both(pose.turned(stable), widths, start, counted, device, config.seed)
    clean, risk, jointly = both.answer()
    info = Info(
        steps=0,
        seconds=round(time.monotonic() - started, 3),
        device=str(device),
        settings=config.settings() | {"jointly": jointly},
        image=scan.digest,
        noise={"model": type(noise).__name__, **asdict(noise)},
        risk=risk,
    )
    values = noise.restore(pose.back(clean).flatten(1)).view(stable.shape)
    return spline_representation(values, scan.grid, info)


@final
class _Both:
    """Frames cleaned jointly, and one by one.

    Args:
        noisy: (T, x, y, z), noise of unit variance.
        smoothing: of the noise along each axis, in voxels.
        start: what carries over.
        counted: voxels that count (x, y, z), or None.
        device: of the operator.
        seed: of the probe.
    """

    def __init__(
        self,
        noisy: Tensor,
        smoothing: Sequence[float],
        start: CarriedDenoiser,
        counted: Tensor | None,
        device: torch.device,
        seed: int,
    ) -> None:
        self.noisy, self.smoothing, self.start = noisy, smoothing, start
        self.counted, self.device = noisy_places(noisy, counted), device
        generator = torch.Generator().manual_seed(seed)
        self.probe = smooth_noise(noisy.shape, smoothing, generator)
        self.probed = noisy + STEP * self.probe

    def answer(self) -> tuple[Tensor, float, bool]:
        """Clean frames (T, x, y, z), their risk, and whether they were cleaned jointly."""
        common, probed = (low_rank(each, self.smoothing) for each in (self.noisy, self.probed))
        left = PART * max(self._risk(range(len(common)), common, probed), 0.0) ** 0.5
        jointly = self._risk_after(common, probed, left)
        alone = self._risk_after(self.noisy, self.probed, 1.0)
        if jointly < alone:
            return self._cleaned(common, left), jointly, True
        return self._cleaned(self.noisy, 1.0), alone, False

    def _risk_after(self, frames: Tensor, probed: Tensor, size: float) -> float:
        some = torch.linspace(0, len(frames) - 1, COMPARED).round().long().tolist()
        return self._risk(some, *(self._cleaned(each[some], size) for each in (frames, probed)))

    def _cleaned(self, frames: Tensor, size: float) -> Tensor:
        if size == 0:
            return frames
        sizes = torch.full((len(frames), 1, 1, 1), size)
        return Adapted(self.start, sizes, self.smoothing).to(self.device).whole(frames)

    def _risk(self, frames: Sequence[int], clean: Tensor, probed: Tensor) -> float:
        noisy, probe = (each[list(frames)] for each in (self.noisy, self.probe))
        each = (clean - noisy).square() - 1 + 2 * probe * (probed - clean) / STEP
        return float(each[:, self.counted].mean())
