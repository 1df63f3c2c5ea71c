"""Handwritten digits: MNIST where its files are at hand, those of scikit-learn elsewhere."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MNIST = "t10k-images-idx3-ubyte.gz"


def mnist_images(folder: Path) -> Tensor:
    """All digits (n, 1, 28, 28) in [0, 1], transposed to (X, Y)."""
    raw = np.frombuffer(gzip.decompress((folder / MNIST).read_bytes()), np.uint8, offset=16)
    return torch.from_numpy(raw.reshape(-1, 1, 28, 28) / np.float32(255))


def mnist_classes(folder: Path) -> np.ndarray:
    """What digit each of them is."""
    raw = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=8)


def load_digits(folder: Path, count: int) -> tuple[str, list[Tensor]]:
    """Name and first digits, (1, 28, 28) in [0, 1]: of MNIST, or those of scikit-learn enlarged."""
    if (folder / MNIST).is_file():
        return "MNIST", list(mnist_images(folder)[:count])
    from sklearn.datasets import load_digits as load_small

    small = torch.from_numpy(load_small().images[:count, None]).float() / 16
    enlarged = torch.nn.functional.interpolate(small, (28, 28), mode="bicubic").clamp(0, 1)
    return "scikit-learn's digits, enlarged", list(enlarged)
