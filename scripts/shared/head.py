"""A head of int16 with noise, made of a label map or of a phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.shared.phantom import phantom

__all__ = ["head", "write_head", "write_mirrored"]

# Voxels along each axis; noise of its two channels, and blur in voxels. All chosen by hand.
SIZE, NOISE, BLUR, BIAS = 256, 8.0, 0.6, 0.15


def head(labels: Path) -> NDArray[np.int16]:
    """Random means of the classes of a label map, blur, a bias field and Rician noise."""
    draw = np.random.default_rng(0)
    if labels.is_file():
        image: Any = nib.load(labels)
        plain = np.asarray(image.dataobj)
        classes, index = np.unique(plain, return_inverse=True)
        means = draw.uniform(100, 900, len(classes))
        means[0] = 10
        clean = means[index].reshape(plain.shape)
    else:
        clean = 10 + 800 * phantom(SIZE).as_tensor()[0].numpy()
    field = ndimage.zoom(draw.normal(0, BIAS, (4, 4, 4)), np.array(clean.shape) / 4, order=1)
    clean = ndimage.gaussian_filter(clean, BLUR) * np.exp(field)
    real, imaginary = (draw.normal(0, NOISE, clean.shape) for _ in range(2))
    return np.hypot(clean + real, imaginary).round().clip(0, 4095).astype(np.int16)


def write_head(path: Path, labels: Path) -> None:
    """It, as NIfTI."""
    nib.save(nib.Nifti1Image(head(labels), np.eye(4)), path)


def write_mirrored(path: Path, labels: Path) -> None:
    """It and its mirror images, twice as large along each axis, as NIfTI."""
    whole = head(labels)
    for axis in range(3):
        whole = np.concatenate([whole, np.flip(whole, axis)], axis)
    nib.save(nib.Nifti1Image(whole, np.eye(4)), path)
