"""Codecs of volumes: ours, and those that imagecodecs offers.

Codecs of pictures get a volume as one tall picture of 16 bits, codecs of volumes get it as float32.
Samples lie between 0 and 1, and every codec has one setting, by equal steps of which what it keeps
grows.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.coding import Lossless, Psnr, open_samples, write_samples

Samples = NDArray[np.floating]

# Halvings of the range of settings, and how near to the bytes that are asked for ends them.
BISECTIONS, CLOSE = 12, 0.01


@dataclass(frozen=True)
class Codec:
    """A codec of volumes of float32.

    Args:
        encode: samples between 0 and 1 and a setting to bytes; more bytes for a greater setting.
        decode: bytes back to samples, of the shape that is given.
        settings: the least and the greatest; between them settings go by equal steps.
    """

    encode: Callable[[Samples, float], bytes]
    decode: Callable[[bytes, tuple[int, ...]], Samples]
    settings: tuple[float, float]

    def setting(self, volume: Samples, wanted: int) -> float:
        """The setting whose bytes come nearest to what is wanted."""
        (low, high), tried = self.settings, {}
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            size = len(self.encode(volume, middle))
            tried[middle] = abs(math.log(size / wanted))
            if tried[middle] < CLOSE:
                break
            low, high = (middle, high) if size < wanted else (low, middle)
        return min(tried, key=lambda each: (tried[each], each))


def _ours(volume: Samples, decibels: float) -> bytes:
    image = torch.from_numpy(volume)[None]
    samples = SimpleNamespace(shape=image.shape, read=partial(_crop, image))
    quality = Lossless() if decibels >= LOSSLESS_FROM else Psnr(decibels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.oinr"
        write_samples(path, samples, {}, quality)
        return path.read_bytes()


# A ratio that float32 does not tell from none at all.
LOSSLESS_FROM = 110.0


def _crop(image: Tensor, start: Sequence[int], stop: Sequence[int]) -> Tensor:
    return image[(slice(None), *map(slice, start, stop))]


def _our_samples(coded: bytes, shape: tuple[int, ...]) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.oinr"
        path.write_bytes(coded)
        found: Samples = open_samples(path).read([0] * len(shape), shape)[0].numpy()
        return found


def _sperr(volume: Samples, decibels: float) -> bytes:
    return bytes(imagecodecs.sperr_encode(volume, decibels, mode="psnr"))


def _sz3(volume: Samples, digits: float) -> bytes:
    return bytes(imagecodecs.sz3_encode(volume, mode="abs", abs=10**-digits))


def _zfp(volume: Samples, digits: float) -> bytes:
    bound: Any = 10**-digits  # a float, whatever its stub says
    return bytes(imagecodecs.zfp_encode(volume, bound, mode="accuracy"))


def _picture(volume: Samples) -> NDArray[np.uint16]:
    tall = volume.reshape(-1, volume.shape[-1])
    return np.round(tall * 65_535).astype(np.uint16)


def _of_pictures(
    encode: Callable[[NDArray[np.uint16], float], bytes],
    decode: Callable[[bytes], Any],
    settings: tuple[float, float],
) -> Codec:
    def back(coded: bytes, shape: tuple[int, ...]) -> Samples:
        return (np.asarray(decode(coded), np.float32) / 65_535).reshape(shape)

    return Codec(lambda volume, setting: encode(_picture(volume), setting), back, settings)


def _decoded(decode: Callable[[bytes], Any]) -> Callable[[bytes, tuple[int, ...]], Samples]:
    return lambda coded, shape: np.asarray(decode(coded), np.float32).reshape(shape)


def _jpeg_2000(picture: NDArray[np.uint16], decibels: float) -> bytes:
    level: Any = decibels  # a float, whatever its stub says
    return bytes(imagecodecs.jpeg2k_encode(picture, level, codecformat="j2k"))


def _htj2k(picture: NDArray[np.uint16], digits: float) -> bytes:
    return bytes(imagecodecs.htj2k_encode(picture, 10**-digits))


def _jpeg_xl(picture: NDArray[np.uint16], digits: float) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(picture, distance=10**-digits, lossless=False))


def _unpacked_sz3(coded: bytes, shape: tuple[int, ...]) -> Samples:
    return np.asarray(imagecodecs.sz3_decode(coded, shape, np.float32))


OURS = "ours"
CODECS = {
    OURS: Codec(_ours, _our_samples, (20.0, LOSSLESS_FROM + 10)),
    "SPERR": Codec(_sperr, _decoded(imagecodecs.sperr_decode), (20.0, 160.0)),
    "SZ3": Codec(_sz3, _unpacked_sz3, (0.5, 7.0)),
    "zfp": Codec(_zfp, _decoded(imagecodecs.zfp_decode), (-1.0, 7.0)),
    "JPEG 2000": _of_pictures(_jpeg_2000, imagecodecs.jpeg2k_decode, (20.0, 120.0)),
    "HTJ2K": _of_pictures(_htj2k, imagecodecs.htj2k_decode, (0.0, 6.0)),
    "JPEG XL": _of_pictures(_jpeg_xl, imagecodecs.jpegxl_decode, (-1.3, 2.0)),
}
