"""Series on disk: frames of a film, time points of a scan, or files of one shape, with times."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from .files import check_storable, read_image, write_image
from .replacing import replacing
from .time_axis import TIME_AXIS, TimeAxis

__all__ = ["FILM_SUFFIXES", "Series", "check_frames", "read_series", "write_series"]

FILM_SUFFIXES = (".gif", ".mp4")
FRAME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Series:
    """Images of one shape and place, in the order of their times.

    Args:
        frames: images (C, *spatial).
        times: a time for each, rising: seconds where the file tells them, else 0, 1, 2, ...
    """

    frames: tuple[MetaTensor, ...]
    times: tuple[float, ...]


def read_series(paths: Sequence[str | os.PathLike[str]]) -> Series:
    """Read a series.

    Args:
        paths: one 4-D image, film (GIF, MP4) or folder of images, t2 before t10; or
            the images themselves.

    Raises:
        FileNotFoundError: if there is nothing at a path.
        ValueError: if what is there cannot be read, or is no series.

    Example:
        >>> from nibabel.testing import data_path
        >>> series = read_series([data_path / "functional.nii"])
        >>> len(series.frames), series.frames[0].shape
        (20, torch.Size([1, 17, 21, 3]))
    """
    found = [Path(path) for path in paths]
    if len(found) == 1 and found[0].is_dir():
        found = _files_of(found[0])
    if len(found) > 1:
        return Series(tuple(read_image(path) for path in found), _counted(len(found)))
    (path,) = found
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; give the path of a series")
    series = _read_film(path) if path.suffix.lower() in FILM_SUFFIXES else _read_scan(path)
    if len(series.frames) < 2:
        raise ValueError(f"{path}: must hold two frames or more, got 1; give several images")
    return series


def write_series(path: str | os.PathLike[str], series: Series, description: str = "") -> None:
    """Write a series: NIfTI with time as its fourth axis, or a film; one frame, as an image.

    Args:
        path: the file; its suffix chooses the format.
        series: what to write.
        description: a note for the header of an image.

    Raises:
        ValueError: if the suffix is none of these, or the frames do not fit the format.
        OSError: if the file cannot be written there.
    """
    path, first = Path(path), series.frames[0]
    check_frames(path, len(series.frames), len(first), first.shape[1:])
    if path.suffix.lower() in FILM_SUFFIXES:
        with replacing(path) as temporary:
            _write_film(temporary, series)
        return
    if len(series.frames) == 1:
        write_image(path, first, description)
        return
    stack = torch.cat([frame.as_tensor() for frame in series.frames])
    if stack.ndim < 4:  # a picture's time axis must not be taken for its third
        stack = stack[..., None]
    meta = {name: each for name, each in series.frames[0].meta.items() if name != TIME_AXIS}
    write_image(path, MetaTensor(stack, meta=meta | _timed(series)), description)


def check_frames(path: Path, frames: int, channels: int, shape: Sequence[int]) -> None:
    """Find out, before they are computed, whether :func:`write_series` could write some frames.

    Args:
        path: the file; its suffix chooses the format.
        frames: how many.
        channels: of each.
        shape: voxels of each along each axis.

    Raises:
        ValueError: if the format cannot hold them.
    """
    if path.suffix.lower() in FILM_SUFFIXES:
        if len(shape) != 2 or channels not in {1, 3}:
            raise ValueError(
                f"{path}: frames must have shape (1 or 3, X, Y) for a film, got"
                f" {(channels, *shape)}; write NIfTI"
            )
    elif frames > 1:
        if channels != 1 or not path.name.lower().endswith((".nii", ".nii.gz")):
            raise ValueError(
                f"{path}: several frames need .nii, .nii.gz, .gif or .mp4, and one channel in NIfTI"
            )
        check_storable(path, frames, shape, {})


def _files_of(folder: Path) -> list[Path]:
    found = [f for f in folder.iterdir() if f.name.lower().endswith(FRAME_SUFFIXES)]
    files = sorted(found, key=_natural)
    if len(files) < 2:
        raise ValueError(f"{folder}: must hold two images or more, got {len(files)}")
    return files


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Names in the order in which a person counts: t2 before t10."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _counted(count: int) -> tuple[float, ...]:
    return tuple(float(i) for i in range(count))


def _read_scan(path: Path) -> Series:
    image = read_image(path)
    frames = tuple(MetaTensor(frame[None], meta=image.meta) for frame in image.as_tensor())
    axis = TimeAxis.of(image.meta)
    step = axis.step * axis.seconds if axis is not None and axis.step > 0 else 1.0
    return Series(frames, tuple(step * t for t in _counted(len(frames))))


def _timed(series: Series) -> dict[str, Any]:
    """The time axis of a series in the unit of its file; none where its times are uneven."""
    known = TimeAxis.of(series.frames[0].meta) or TimeAxis(1.0)
    steps = np.diff(series.times)
    if np.ptp(steps) > 1e-6 * steps.mean():
        return {}
    start = known.start + series.times[0] / known.seconds
    return replace(known, step=float(steps.mean()) / known.seconds, start=start).meta()


def _read_film(path: Path) -> Series:
    import imageio.v3 as iio

    try:
        pixels = np.stack(
            list(iio.imiter(path, **({"mode": "RGB"} if path.suffix == ".gif" else {})))
        )
        meta = iio.immeta(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: cannot be read as a film ({reason}); MP4 needs `pip install imageio-ffmpeg`"
        ) from error
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 2, 1).float()
    step = 1 / meta["fps"] if meta.get("fps") else float(meta.get("duration") or 1000.0) / 1000
    frames = tuple(
        MetaTensor(
            frame,
            affine=torch.eye(4, dtype=torch.float64),
            meta={"filename_or_obj": str(path), **TimeAxis(step, unit="sec").meta()},
        )
        for frame in values
    )
    return Series(frames, tuple(step * t for t in _counted(len(frames))))


def _write_film(path: Path, series: Series) -> None:
    import imageio.v3 as iio

    pixels = np.stack([_picture(frame) for frame in series.frames])
    steps = np.diff(series.times)
    step = float(steps.mean()) if len(steps) else 1.0
    try:
        if path.suffix.lower() == ".gif":
            iio.imwrite(path, pixels, duration=1000 * step, loop=0)
        else:
            iio.imwrite(path, pixels, fps=1 / step, macro_block_size=1)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: cannot be written ({reason}); MP4 needs `pip install imageio-ffmpeg`"
        ) from error


def _picture(frame: MetaTensor) -> NDArray[np.uint8]:
    values = frame.as_tensor().detach().cpu().numpy()
    pixels = values.round().clip(0, 255).astype(np.uint8).T
    return pixels if len(values) == 3 else pixels[:, :, 0]
