"""Real series of frames or slices, of which every third is kept, and interpolation along time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from oinr_monai import FitConfig
from oinr_monai.images.files import read_image
from scripts.shared.inputs import splines

GAP, SLICES = 3, 31

SMALL = FitConfig(encoding=splines(1, 4), channels=(16, 16), steps=3_000)


@dataclass(frozen=True)
class Real:
    """A real series (T, C, *spatial), and which way its frames follow each other."""

    name: str
    kind: str
    frames: Tensor

    @property
    def whole(self) -> Tensor:
        """The frames up to the last one kept."""
        return self.frames[: (len(self.frames) - 1) // GAP * GAP + 1]

    @property
    def kept(self) -> list[int]:
        """Frames that a method sees."""
        return list(range(0, len(self.whole), GAP))

    @property
    def held_out(self) -> list[int]:
        """Frames that it must predict."""
        return [i for i in range(len(self.whole)) if i % GAP]


def slices_of(volume: Tensor) -> Tensor:
    """Return the middle axial slices (T, 1, X, Y) of a volume (1, X, Y, Z)."""
    frames = volume.movedim(-1, 0)
    first = max((len(frames) - SLICES) // 2, 0)
    return frames[first : first + SLICES].contiguous()


def frames_of(scan: Tensor) -> Tensor:
    """Return the time points (T, 1, X, Y, Z) of a 4-D scan (T, X, Y, Z)."""
    return scan[:, None].contiguous()


def of_nibabel(name: str) -> Tensor:
    """Return the values of a scan (C, *spatial) that nibabel ships."""
    from nibabel.testing import data_path

    return plain(Path(str(data_path)) / name)


def plain(path: Path) -> Tensor:
    """Return the values of an image (C, *spatial)."""
    return read_image(path).as_tensor()


def real_series(data: Path | None) -> Iterator[Real]:
    """Yield the series that are at hand."""
    from nilearn.datasets import load_mni152_template

    functional = of_nibabel("functional.nii")
    yield Real("functional (nibabel)", "frames", frames_of(functional))
    yield Real("functional, middle slice", "frames", frames_of(functional)[..., 1])
    template = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    yield Real("MNI152 1 mm", "slices", slices_of(torch.from_numpy(template)[None]))
    yield Real("EPI (nibabel)", "slices", slices_of(of_nibabel("example4d.nii.gz")[:1]))
    for name in ("MR_Gd", "CT_AVM", "pcasl"):
        if data is not None and (path := data / f"{name}.nii.gz").is_file():
            values = plain(path)
            kind, made = ("frames", frames_of) if len(values) > 1 else ("slices", slices_of)
            yield Real(name, kind, made(values))


def linear(series: Real, _: FitConfig) -> Tensor:
    """Interpolate each voxel linearly in time."""
    parts = [(i // GAP * GAP, (i % GAP) / GAP) for i in series.held_out]
    x = series.frames
    return torch.stack([(1 - a) * x[i] + a * x[i + GAP] for i, a in parts])


def cubic(series: Real, _: FitConfig) -> Tensor:
    """Interpolate each voxel by the cubic spline in time."""
    spline = CubicSpline(series.kept, series.frames[series.kept].numpy(), axis=0)
    return torch.from_numpy(spline(series.held_out)).float()
