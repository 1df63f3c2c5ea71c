"""Images come from files and arrays, go back to them, and are compared."""

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
