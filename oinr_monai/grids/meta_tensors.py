"""MONAI's images, told from other tensors without loading MONAI, which takes seconds.

Where nothing has loaded it, nothing is one of its images.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from typing_extensions import TypeIs

__all__ = ["is_meta_tensor"]


def is_meta_tensor(image: object) -> TypeIs[MetaTensor]:
    """Whether an image is a ``monai.data.MetaTensor``.

    Example:
        >>> import torch
        >>> is_meta_tensor(torch.zeros(1, 4, 4))
        False
    """
    loaded = sys.modules.get("monai.data.meta_tensor")
    return isinstance(image, getattr(loaded, "MetaTensor", ()))
