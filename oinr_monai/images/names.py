"""The names of images, each from its module."""

from __future__ import annotations

from .files import read_image, write_image
from .intensity import IntensityScale
from .metrics import dice, hfen, iou, mse, psnr, ssim
from .stored import StoredImage, open_image

__all__ = [
    "IntensityScale",
    "StoredImage",
    "dice",
    "hfen",
    "iou",
    "mse",
    "open_image",
    "psnr",
    "read_image",
    "ssim",
    "write_image",
]
