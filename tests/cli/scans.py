"""Small scans for the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

SHAPE = (18, 16, 9)


FAST = ["--preset", "fast", "--device", "cpu"]


def oblique_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [0.3, -0.5, 0.2]).as_matrix() * [-0.9, 1.1, 2.5]
    affine[:3, 3] = [31.25, -47.5, 12.125]
    return affine


def blob(shape: tuple[int, ...]) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (80 * np.exp(-3 * sum(x**2 for x in axes)) + 10 * np.sin(4 * axes[0])).astype("f4")


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(voxels, oblique_affine() if affine is None else affine), path)
    return path


def load_values(path: Path) -> np.ndarray:
    written: Any = nib.load(path)
    return written.get_fdata()
