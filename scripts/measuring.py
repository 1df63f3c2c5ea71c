"""What several benchmarks share: the machine, the images, and what is true between their voxels."""

from __future__ import annotations

import csv
import math
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, LoadImage
from scipy import ndimage
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.fitting.presets import PresetName
from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.splines import CubicInterpolant

Row = TypeVar("Row")

BLOCK = 64
PLACES = 65_536
# The presets that train.
PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "best")


@dataclass(frozen=True)
class Problem:
    """A block to fit and the places between its voxels where it is judged as well.

    Args:
        image: the block, shape (1, X, Y, Z), with its affine.
        voxels: fixed random voxel coordinates, shape (N, 3).
        between: the truth there, shape (N,).
    """

    image: MetaTensor
    voxels: Tensor
    between: Tensor

    @property
    def volume(self) -> Tensor:
        """Intensities, shape (X, Y, Z)."""
        return self.image.as_tensor()[0]

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid.from_image(self.image)

    @property
    def points(self) -> Tensor:
        """World positions of ``voxels`` in mm, shape (N, 3)."""
        return self.grid.to_world(self.voxels)

    @property
    def slopes(self) -> Tensor:
        """The true gradient at ``voxels``, per voxel, shape (N, 3)."""
        spline = CubicInterpolant(self.image.as_tensor().double())
        return spline.jet(Scatter(tuple(self.voxels.T)), order=1)[1:, 0].T

    @property
    def psnr_of_mean(self) -> float:
        """PSNR of the constant mean: what a method has before it knows any structure."""
        return self.psnr(self.volume.mean().expand_as(self.volume), self.volume)

    def psnr(self, prediction: Tensor, truth: Tensor) -> float:
        """Return the PSNR in dB with the range of the block as peak."""
        error = (prediction.double() - truth.double()).square().mean().item()
        peak = (self.volume.max() - self.volume.min()).item()
        return 10 * math.log10(peak**2 / max(error, 1e-300))


def load_image(source: str) -> MetaTensor:
    """Return the MNI152 T1 template at 1 mm (``mni152``) or the image file ``source``."""
    if source != "mni152":
        return LoadImage(image_only=True, ensure_channel_first=True)(source)
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    return MetaTensor(template.get_fdata()[None], affine=template.affine)


def make_problem(source: str, size: int = BLOCK) -> Problem:
    """Cut the central block and interpolate it at fixed random places."""
    image = MetaTensor(CenterSpatialCrop(size)(load_image(source)[:1]).float())
    ends = torch.tensor(image.shape[1:]) - 1
    generator = torch.Generator().manual_seed(0)
    voxels = torch.rand(PLACES, 3, generator=generator, dtype=torch.float64) * ends
    volume = image.as_tensor()[0].double().numpy()
    between = ndimage.map_coordinates(volume, voxels.T.numpy(), order=3, mode="mirror")
    return Problem(image, voxels, torch.from_numpy(between))


def cpu_model() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Return processor, threads and torch version."""
    return f"{cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def command() -> str:
    """Return the command line as anyone may repeat it, without the folders of this machine."""
    script, *told = sys.argv
    if "--output" in told:
        at = told.index("--output")
        del told[at : at + 2]
    if "--data" in told:
        told[told.index("--data") + 1] = "DIR"
    return shlex.join(["python", f"scripts/{Path(script).name}", *told])


def read_rows(path: Path, kind: Callable[..., Row]) -> list[Row]:
    """Read the dataclass instances of ``kind`` that a CSV holds; none where there is no file."""
    if not path.is_file():
        return []
    kinds = get_type_hints(kind)
    with path.open(newline="") as file:
        return [
            kind(**{name: _value(text, kinds[name]) for name, text in line.items()})
            for line in csv.DictReader(file)
        ]


def _value(text: str, kind: Any) -> Any:  # noqa: ANN401
    # What a cell holds, its field being a kind, or that or None.
    one, *other = get_args(kind) or (kind,)
    return None if other and not text else one(text)


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass instances of one kind as a CSV with their fields for columns."""
    path.unlink(missing_ok=True)
    for row in rows:
        append_row(path, row)


def append_row(path: Path, row: Any) -> None:  # noqa: ANN401
    """Add a dataclass instance to a CSV, which begins with the names of its fields."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))
