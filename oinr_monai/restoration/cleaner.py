"""What takes noise out of an image: patches for learning, and whole images."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Cleaner"]


class Cleaner(nn.Module, ABC):
    """Maps noisy standardised samples to clean ones."""

    sigma: nn.Parameter
    """Size of the noise of each channel (C, 1, ...)."""

    @property
    @abstractmethod
    def halo(self) -> int:
        """Voxels around a patch that its answer needs."""

    @abstractmethod
    def forward(self, noisy: Tensor) -> Tensor:
        """Noisy patches (B, C, *size + 2 halo) to clean ones (B, C, *size)."""

    @abstractmethod
    def whole(self, noisy: Tensor) -> Tensor:
        """A whole noisy image (C, *spatial) to a clean one, part by part."""
