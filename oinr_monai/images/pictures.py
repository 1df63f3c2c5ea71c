"""PNG and JPEG pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .raw import OutgoingImage, RawImage, reading

__all__ = ["check_picture", "read_picture", "write_jpeg", "write_png"]


def read_picture(path: Path) -> RawImage:
    """A PNG or JPEG picture, upright, its channels first."""
    from PIL import Image, ImageOps

    with reading(path, "a PNG or JPEG picture"), Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
        if picture.mode in {"1", "LA"}:
            values = np.asarray(picture.convert("L"))
        elif picture.mode in {"L", "I", "F"} or picture.mode.startswith("I;16"):
            values = np.asarray(picture)
        else:
            values = np.asarray(picture.convert("RGB"))
    return RawImage(values.T if values.ndim == 3 else values.T[None], np.eye(4))


def write_png(path: Path, image: OutgoingImage) -> None:
    """Write a PNG of 8 or 16 bits."""
    from PIL import Image, PngImagePlugin

    note = PngImagePlugin.PngInfo()
    if image.description:
        note.add_text("Description", image.description)
    Image.fromarray(_pixels(image, "PNG")).save(path, pnginfo=note)


def write_jpeg(path: Path, image: OutgoingImage) -> None:
    """Write a JPEG of 8 bits."""
    from PIL import Image

    picture = Image.fromarray(_pixels(image, "JPEG"))
    picture.save(path, quality=95, subsampling=0, comment=image.description)


def check_picture(kind: str, channels: int, shape: Sequence[int], stored: np.dtype[Any]) -> None:
    """Raise where an image is no picture, or one that a picture of this kind cannot hold.

    Args:
        kind: "PNG" or "JPEG".
        channels: how many it has.
        shape: voxels along each axis; one of three must be 1.
        stored: the type in which its values were stored.
    """
    if not (len(shape) == 2 or (len(shape) == 3 and 1 in shape)) or channels not in {1, 3}:
        raise ValueError(
            f"image must have shape (1 or 3, X, Y) for {kind}, got {(channels, *shape)};"
            " write NIfTI instead"
        )
    deep = stored.itemsize > 1 and (kind == "JPEG" or channels == 3)
    if stored.kind not in "bu" or deep:
        raise ValueError(
            f"image must have been 8 bits deep and positive for {kind}, or 16 in grey PNG, got"
            f" {channels} channels of {stored}; write NIfTI instead"
        )


def _pixels(image: OutgoingImage, kind: str) -> NDArray[Any]:
    """Pixels (Y, X) or (Y, X, 3), as deep as the image was stored."""
    values, stored = image.values, image.stored
    thin = [axis for axis in range(1, values.ndim) if values.shape[axis] == 1]
    flat = values.squeeze(thin[-1]) if values.ndim == 4 else values
    depth = np.uint8 if stored.itemsize == 1 else np.uint16
    if stored.itemsize > 2 and values.max() > np.iinfo(np.uint16).max:
        raise ValueError(
            f"image must be below 65536 for {kind}, got {values.max():g}; write NIfTI instead"
        )
    pixels = flat.round().clip(0, np.iinfo(depth).max).astype(depth).T
    return np.ascontiguousarray(pixels if len(flat) == 3 else pixels[:, :, 0])
