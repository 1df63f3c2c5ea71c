r"""The noise of thick slices: found in them, taken out of them, and of what is made of them.

Slices y = A x + n are cleaned by the operator that takes white noise out of volumes
(:mod:`~oinr_monai.restoration.carried_denoiser`), in stabilised units; what is made of the clean
ones z is kept to them, P_z, and what the noise left in that is taken out by the same operator on
the fine lattice,

.. math:: \hat x = D_{b \sigma} \big( P_z(B z + G[z]) \big), \qquad z = D_{a \sigma}(y) .

The slices are then kept to within the noise, not exactly.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from oinr_monai.scanner.noise import GaussianNoise, RicianNoise

from .carried_denoiser import shipped_denoiser
from .carried_denoising import Adapted

__all__ = ["SliceNoise", "check_asked", "quiet_noise"]

# Noise of a kind, and of a size where it is known; looked for in the slices; or none.
AskedNoise = GaussianNoise | RicianNoise | Literal["found"] | None

# Side of the blocks whose details tell the noise, the part of them that is quiet, what these have
# of the level of white noise (measured on it), and what is rounding in a standardised image.
BLOCK, QUIET, QUIETER, ROUNDING = 8, 0.1, 0.79, 1e-6

# The fewest blocks that noise is found in, and the part of a block that its details must fill.
FEWEST, FILLED = 100, 0.9

# Blocks of white noise are alike: a quarter of them have less than 1.10 to 1.14 times the level of
# the quietest tenth, on slices of heads of three contrasts and of label maps with noise of 2 % and
# more; without noise 1.2 to 4.8, as do hippocampi and a chest, and then what is quiet is the scene.
QUARTER, ALIKE = 0.25, 1.16

# Noise below this part of the range is left in the slices; by hand.
LEAST = 0.015

# Ends of the range, as quantiles, of at most so many voxels.
ENDS, VOXELS = (0.001, 0.999), 1_000_000

# Rounds in which Rician noise is evened out and measured anew.
ROUNDS = 6

# What the slices are cleaned of, and what is made of them after that, over their noise. Of heads
# of two label maps and of T2, in slices 4 and 6 voxels thick with noise of 2 and 5 %, less at first
# and more at last gained 0.02 to 0.11 dB over 1 and 0.5, and balls of 2 to 4 voxels kept up to 6 %
# more of their contrast.
FIRST, LAST = 0.7, 0.9


def check_asked(noise: object) -> None:
    """Check the noise that slices are said to have.

    Raises:
        ValueError: if it is of another kind, or told to be smooth.
    """
    if isinstance(noise, GaussianNoise | RicianNoise):
        if noise.smoothing is not None and any(noise.widths(3)):
            raise ValueError(
                f"noise must be white, got smoothing {noise.smoothing}; denoise the slices first"
            )
    elif noise not in ("found", None):
        raise ValueError(
            f'noise must be GaussianNoise, RicianNoise, "found" or None, got {noise!r}'
        )


@dataclass(frozen=True)
class SliceNoise:
    """Noise of known size on slices of one channel.

    Args:
        model: the noise.
        device: where it is taken out.

    Example:
        >>> noisy = 100 + torch.randn(1, 48, 48, 6, generator=torch.Generator().manual_seed(0))
        >>> left = SliceNoise(GaussianNoise(1.0), torch.device("cpu")).cleaned(noisy).std()
        >>> bool(left < 0.5)
        True
    """

    model: GaussianNoise | RicianNoise
    device: torch.device

    @classmethod
    def of(cls, asked: AskedNoise, slices: Tensor, device: torch.device) -> SliceNoise | None:
        """The noise that is asked for, or what there is; None where that is too small to matter.

        Args:
            asked: the noise, or how it is to be found.
            slices: along the last axis, (1, X, Y, Z).
            device: where it is taken out.

        Raises:
            ValueError: if noise is asked for, of no size, and there is none.
        """
        if asked == "found":
            model = _found(slices)
        else:
            model = asked if asked is None or asked.sigma is not None else _sized(asked, slices)
        return None if model is None else cls(model, device)

    @property
    def sigma(self) -> float:
        """Size of the noise, in the units of the slices."""
        sigma = self.model.sigma
        return float(sigma[0] if isinstance(sigma, tuple) else sigma or 0.0)

    def cleaned(self, slices: Tensor) -> Tensor:
        """Slices (1, X, Y, Z) without their noise."""
        cleaner = Adapted(shipped_denoiser(), torch.full((1, 1, 1, 1), FIRST)).to(self.device)
        stable = self.model.stabilise(slices.double())
        middle = stable.mean()
        clean = cleaner.whole((stable - middle).float()).double() + middle
        return self.model.restore(clean).to(slices)

    @torch.no_grad()
    def settled(self, fine: Tensor, scale: float) -> Tensor:
        """What was made of cleaned slices (1, *fine), in units of ``scale``, cleaned once more."""
        denoiser = copy.deepcopy(shipped_denoiser()).to(fine.device)
        return denoiser.clean(fine[0].float(), LAST * self.sigma / scale)[None].to(fine)

    def statement(self) -> dict[str, Any]:
        """Kind and size."""
        return {"model": type(self.model).__name__, **asdict(self.model)}


def _found(slices: Tensor) -> GaussianNoise | RicianNoise | None:
    """The noise of slices, where there is enough of it: magnitudes are never below 0."""
    values = slices.double()
    some = values.flatten()[:: 1 + values.numel() // VOXELS]
    low, high = torch.quantile(some, torch.tensor(ENDS).double()).tolist()
    if quiet_noise(values / values.std()) * float(values.std()) < LEAST * (high - low):
        return None
    model = _sized(GaussianNoise() if float(values.min()) < 0 else RicianNoise(), values)
    levels = _levels(model.stabilise(values))
    if len(levels) < FEWEST or float(levels.quantile(QUARTER)) > ALIKE * QUIETER * _quiet(levels):
        return None
    return model


def _sized(model: GaussianNoise | RicianNoise, slices: Tensor) -> GaussianNoise | RicianNoise:
    unit = float(slices.double().std())
    values = slices.double() / unit
    sigma = quiet_noise(values)
    if sigma == 0:
        raise ValueError("image must hold noise in its details, got none; give sigma, or no noise")
    for _ in range(ROUNDS if isinstance(model, RicianNoise) else 0):
        sigma *= quiet_noise(RicianNoise(sigma).stabilise(values))
    return replace(model, sigma=sigma * unit)


def quiet_noise(slices: Tensor) -> float:
    """Standard deviation of the noise that all places of slices (1, X, Y, Z) have.

    It is that of the finest details of their quietest blocks: elsewhere, those hold anatomy. The
    slices are taken one by one, since what changes from one to the next is anatomy as well.
    """
    levels = _levels(slices)
    return _quiet(levels) if len(levels) else 0.0


def _quiet(levels: Tensor) -> float:
    return float(levels.quantile(QUIET)) / QUIETER


def _levels(slices: Tensor) -> Tensor:
    # Levels of the finest details of blocks of each slice, but of those that are blank in parts.
    detail = slices[0].movedim(2, 0)
    if min(detail.shape[1:]) < 3:
        return detail.new_zeros(0)
    for axis in (1, 2):
        before, here, after = (detail.narrow(axis, i, detail.shape[axis] - 2) for i in range(3))
        detail = (before - 2 * here + after) / math.sqrt(6)
    rows, columns = (min(BLOCK, n) for n in detail.shape[1:])
    blocks = detail.unfold(1, rows, rows).unfold(2, columns, columns).flatten(3)
    filled = (blocks.abs() > ROUNDING).double().mean(dim=3) > FILLED
    return blocks.square().mean(dim=3).sqrt()[filled]
