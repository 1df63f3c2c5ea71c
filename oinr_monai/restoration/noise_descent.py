"""The descent of what takes noise out of one image, towards the least risk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from oinr_monai.fitting.descent import Descent
from oinr_monai.fitting.device import rests
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.grids.device import chosen_device
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation

from .noise_errors import NoiseErrors
from .pose import Pose
from .stein import Drawn, Patches, risk

if TYPE_CHECKING:
    from oinr_monai.images.scans import Scan

    from .cleaner import Cleaner
    from .denoising import DenoiseConfig

__all__ = ["NoiseDescent"]


class NoiseDescent(Descent):
    """The descent of what takes noise out of one noisy image, towards the least risk.

    Args:
        scan: the image, and what counts of it.
        image: the same (C, *spatial), finite everywhere.
        config: how to denoise.
        started: reading of ``time.monotonic`` when it began.
    """

    title = "denoise"

    # Peak learning rate, places of a patch, patches that are held out, and how often they score.
    rate: ClassVar[float]
    places: ClassVar[int]
    kept: ClassVar[int]
    scores: ClassVar[int] = 4

    def __init__(self, scan: Scan, image: Tensor, config: DenoiseConfig, started: float) -> None:
        self.grid, self.config, mask = scan.grid, config, scan.mask
        self.digest = scan.digest
        self.mask, self.answered = mask, IntensityScale.of(image, mask)
        self.device = chosen_device(config.device)
        self.noise = config.noise.estimated(image, mask)
        stable = self.noise.stabilise(image)
        self.scale = IntensityScale.of(stable, mask)
        self.samples = self.scale.standardise(stable)
        sigma = (1 / torch.tensor(self.scale.std)).view(-1, *[1] * self.grid.spatial_dims)
        self.pose = self.posed()
        # Of the noise along the axes of the pose.
        self.smoothing = self.pose.along(self.noise.widths(self.grid.spatial_dims))
        self.cleaner = self.made(sigma).to(self.device)
        counted = None if mask is None else self.pose.turned(mask[None])[0]
        halo, posed = self.cleaner.halo, self.pose.turned(self.samples)
        patches = Patches(posed, counted, sigma, self.smoothing, halo, self.places, config.seed)
        self.unseen = self.pose.back(patches.held[None])[0] > 0
        self.patches = patches.to(self.device)
        voxels = image[0].numel() if mask is None else int(mask.sum())
        clock = Clock(*self.budget(voxels), started=started)
        learned = {"params": [p for p in self.cleaner.parameters() if p.requires_grad]}
        optimizer = torch.optim.Adam([learned | {"peak": self.rate}], betas=(0.9, 0.99))
        best = BestWeights(self.cleaner, self._held_out(), clock, times=self.scores)
        super().__init__(self.cleaner, optimizer, clock, config.seed, best)
        best.take()

    @abstractmethod
    def made(self, sigma: Tensor) -> Cleaner:
        """What is to learn, where noise has this size (C, 1, ...)."""

    @abstractmethod
    def budget(self, voxels: int) -> tuple[int | None, float | None]:
        """Steps and seconds that may be taken on so many voxels; None is no limit."""

    def posed(self) -> Pose:
        """The pose in which the image is learned from, and cleaned."""
        return Pose(tuple(range(self.grid.spatial_dims)), ())

    @abstractmethod
    def result(self, interrupted: bool) -> Representation:
        """The clean image."""

    @property
    def identity(self) -> object:
        """The samples, what counts of them, the noise and the settings."""
        return self.digest, self.noise, self.config, repr(self.cleaner)

    @property
    def ahead(self) -> int:
        """Many on a device, to which their probes go together."""
        return rests(self.device)

    def draw(self) -> Drawn:
        """A patch, and a probe."""
        return self.patches.draw(self.generator)

    def sent(self, drawn: Sequence[Drawn]) -> Iterator[Any]:
        """Patches, and copies with a probe added."""
        return self.patches.sent(drawn)

    def loss(self, batch: Any) -> Tensor:  # noqa: ANN401
        """The risk."""
        inputs, label = batch
        return risk(self.cleaner(inputs), label)

    def errors(self) -> NoiseErrors:
        """Errors of the clean image."""
        sigma = self.cleaner.sigma.detach().cpu()

        def clean(noisy: Tensor) -> Tensor:
            return self.clean(noisy * sigma) / sigma

        def restore(values: Tensor) -> Tensor:
            return self.restored((values * sigma).flatten(1)).view(values.shape)

        noisy, seed = self.samples / sigma, self.config.seed
        widths = self.noise.widths(self.grid.spatial_dims)
        return NoiseErrors(noisy, widths, clean, self.unseen, self.mask, restore, seed)

    def clean(self, noisy: Tensor) -> Tensor:
        """A whole noisy image (C, *spatial) to a clean one, both standardised."""
        return self.pose.back(self.cleaner.whole(self.pose.turned(noisy)))

    def restored(self, standardised: Tensor) -> Tensor:
        """Intensities (C, N) of standardised stabilised answers."""
        mean, std = (torch.tensor(v)[:, None] for v in (self.scale.mean, self.scale.std))
        return self.noise.restore(standardised * std + mean)

    def info(self, interrupted: bool) -> Info:
        """What it took, and the risk."""
        return replace(
            self.taken(interrupted),
            settings=self.config.settings(),
            image=self.digest,
            noise={"model": type(self.noise).__name__, **asdict(self.noise)},
            risk=-float(self.best.best) - 1,
        )

    def _held_out(self) -> Callable[[], Tensor]:
        # The same patches and probes at each score; other probes than any step has.
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        drawn = [self.patches.draw(generator, held_out=True) for _ in range(self.kept)]
        batches = list(self.patches.sent(drawn))

        def score() -> Tensor:
            with torch.no_grad():
                risks = torch.stack([self.loss(batch).double() for batch in batches])
            return -risks.sum() / len(risks)

        return score
