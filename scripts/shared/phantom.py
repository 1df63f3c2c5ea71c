"""A smooth head-like volume of any size, in memory or written plane by plane.

PyTorch is imported late, so that a process which only writes stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor


def planes(size: int) -> Iterator[Tensor]:
    """The planes (size, size) of a smooth head-like volume with fine detail."""
    import torch

    axis = torch.linspace(-1, 1, size)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    for z in axis:
        radius = (x**2 + 1.5 * y**2 + z**2).sqrt()
        detail = 1 + 0.3 * torch.sin(25 * x) * torch.cos(30 * y * z)
        yield torch.sigmoid((0.8 - radius) * 40) * detail


def phantom(size: int) -> MetaTensor:
    """The volume in memory, (1, size, size, size), at 1 mm."""
    import torch
    from monai.data import MetaTensor

    return MetaTensor(torch.stack(list(planes(size)), dim=-1)[None], affine=torch.eye(4))


def write_phantom(path: Path, size: int) -> None:
    """The volume as NIfTI in int16, plane by plane."""
    import nibabel as nib
    import numpy as np

    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((size,) * 3)
    header.set_sform(np.eye(4), code=1)
    with path.open("wb") as file:
        header.write_to(file)
        file.write(bytes(int(header["vox_offset"]) - file.tell()))
        for plane in planes(size):
            file.write((1000 * plane).short().numpy().tobytes(order="F"))
