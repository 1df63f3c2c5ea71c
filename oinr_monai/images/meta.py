"""What an image says of itself besides its voxels: source, pixel depth, time step."""

from __future__ import annotations

import numpy as np
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from torch import Tensor

__all__ = ["KEPT", "STORED_DTYPE", "image_source", "stored_dtype"]


# Key in a MetaTensor's meta: the type of the voxels in the file, unsigned where none is negative.
STORED_DTYPE = "stored_dtype"


def image_source(image: Tensor | np.ndarray) -> str | None:
    """File that an image was read from, as MONAI's readers note it; None where none is noted."""
    name = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None
    return None if name is None else str(name)


def stored_dtype(image: Tensor | np.ndarray) -> dict[str, str]:
    """Type of the voxels in the file that an image was read from, as an item of ``info``."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return {STORED_DTYPE: str(meta[STORED_DTYPE])} if STORED_DTYPE in meta else {}


# What an image knows of its file, for the one that is written.
KEPT = (ImageMetaKey.FILENAME_OR_OBJ, STORED_DTYPE)
