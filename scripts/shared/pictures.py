"""What the scripts share: the example volume, slices of volumes in mm, and comparisons."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Neurological convention: patient left is image left. Horizontal and vertical world axes.
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
# The largest error that comparisons tell apart, as a part of the range.
LARGEST_ERROR = 0.2
# What a picture shows of each world axis, in mm; X and Y are equally wide, so that panels line up.
VIEW = ((-100.0, 100.0), (-117.0, 83.0), (-82.0, 92.0))


def brain(block: int = 3) -> MetaTensor:
    """The MNI152 T1 template (1, X, Y, Z), 0 to 100, averaged over blocks of 1 mm voxels."""
    template = load_mni152_template(resolution=1)
    fine = torch.from_numpy(template.get_fdata(dtype="float32"))
    affine = torch.from_numpy(template.affine).double()
    # The first block's centre lies half a block, less half a voxel, beyond the first voxel's.
    affine[:3, 3] += affine[:3, :3].sum(dim=1) * (block - 1) / 2
    affine[:3, :3] *= block
    return MetaTensor(100 * avg_pool3d(fine[None], block), affine=affine)


@dataclass(frozen=True)
class Slice:
    """One plane of a volume whose axes are the world's, as matplotlib draws it.

    Args:
        pixels: values, shape (vertical, horizontal), lowest row first.
        extent: left, right, bottom and top edge in world mm.
        plane: "axial", "coronal" or "sagittal".
    """

    pixels: Tensor
    extent: tuple[float, float, float, float]
    plane: str

    @classmethod
    def of(cls, image: MetaTensor, point: tuple[float, float, float], plane: str) -> Slice:
        """The plane nearest to a world point; only for affines without rotation or flip."""
        spacing, origin = image.affine.diagonal()[:3], image.affine[:3, 3]
        i, j = PLANES[plane]
        across = 3 - i - j
        index = round(float((point[across] - origin[across]) / spacing[across]))
        edges = [
            float(origin[d] + spacing[d] * (end - 0.5))
            for d in (i, j)
            for end in (0, image.shape[1 + d])
        ]
        pixels = image.as_tensor()[0].select(across, index).T
        return cls(pixels, (edges[0], edges[1], edges[2], edges[3]), plane)

    def draw(self, axes: Axes, top: float, colors: str = "gray") -> None:
        """Draw it in mm, every voxel as the rectangle that it is."""
        axes.imshow(
            self.pixels,
            cmap=colors,
            vmin=0,
            vmax=top,
            extent=self.extent,
            origin="lower",
            interpolation="nearest",
        )
        i, j = PLANES[self.plane]
        axes.set(xticks=[], yticks=[], xlim=VIEW[i], ylim=VIEW[j])
        axes.set_facecolor("black")
        axes.spines[:].set_visible(False)

    def letter(self, axes: Axes) -> None:
        """Say which way is which."""
        i, j = PLANES[self.plane]
        places = {(0.03, 0.5): ENDS[i][0], (0.97, 0.5): ENDS[i][1]}
        places |= {(0.5, 0.03): ENDS[j][0], (0.5, 0.97): ENDS[j][1]}
        for (x, y), letter in places.items():
            axes.text(
                x, y, letter, color="white", fontsize=8, ha="center", va="center",
                transform=axes.transAxes,
            )  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """A part of a picture, as fractions of its sides from the top left corner."""

    top: float
    bottom: float
    left: float
    right: float

    def edges(self, pixels: Tensor) -> tuple[int, int, int, int]:
        """Return first and end row, first and end column."""
        rows, columns = pixels.shape[-2:]
        top, bottom = round(self.top * rows), round(self.bottom * rows)
        return top, bottom, round(self.left * columns), round(self.right * columns)


@dataclass(frozen=True)
class Comparison:
    """A picture, what methods made of it, and their errors; whole above, a crop below.

    Args:
        title: what is shown.
        truth: pixels (C, rows, columns) with one or three channels.
        answers: pixels of each method, by its title.
        crop: the part shown enlarged.
    """

    title: str
    truth: Tensor
    answers: dict[str, Tensor]
    crop: Crop

    @property
    def panels(self) -> list[tuple[str, Tensor, str]]:
        """Title, pixels in [0, 1] and colours of each column."""
        low, span = self.truth.min(), self.truth.max() - self.truth.min()
        errors = {
            name.splitlines()[0]: (answer - self.truth).abs().mean(dim=0) / span / LARGEST_ERROR
            for name, answer in self.answers.items()
        }
        signals = {self.title: self.truth, **self.answers}.items()
        shown = [(name, ((pixels - low) / span), "gray") for name, pixels in signals]
        return shown + [(f"error of\n{name}", e[None], "inferno") for name, e in errors.items()]

    def draw(self, above: Sequence[Axes], below: Sequence[Axes]) -> None:
        """Draw the columns into two rows of axes."""
        top, bottom, left, right = self.crop.edges(self.truth)
        for (title, pixels, colors), whole, part in zip(self.panels, above, below, strict=False):
            shown = pixels.clamp(0, 1).movedim(0, -1)
            for axes, values in ((whole, shown), (part, shown[top:bottom, left:right])):
                axes.imshow(values, cmap=colors, vmin=0, vmax=1, interpolation="nearest")
                axes.set_axis_on()
                axes.set(xticks=[], yticks=[])
            lines = [fill(line, width=30) for line in title.splitlines()]
            whole.set_title("\n".join(lines), fontsize=9)
            part.spines[:].set(color="orange", linewidth=2)
            corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
            whole.plot(*zip(*((x - 0.5, y - 0.5) for x, y in corners), strict=True), color="orange")

    @staticmethod
    def save(path: Path, comparisons: Sequence[Comparison]) -> None:
        """Write ``comparisons``, one below the other."""
        import matplotlib as mpl

        mpl.use("agg")
        import matplotlib.pyplot as plt

        columns = max(len(comparison.panels) for comparison in comparisons)
        figure, axes = plt.subplots(
            2 * len(comparisons), columns, squeeze=False, layout="constrained",
            figsize=(2.4 * columns, 5.1 * len(comparisons)),
        )  # fmt: skip
        for ax in axes.flat:
            ax.set_axis_off()
        for i, comparison in enumerate(comparisons):
            comparison.draw(axes[2 * i], axes[2 * i + 1])
        figure.savefig(path, dpi=100)
        plt.close(figure)


SIZES = range(256, 360, 2)

FACES = {"camera": Crop(0.12, 0.42, 0.36, 0.66), "astronaut": Crop(0.06, 0.36, 0.3, 0.6)}


def picture(name: str) -> Tensor:
    """Return ``camera`` (1, 512, 512) or ``astronaut`` (3, 512, 512) in [0, 1]."""
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)()).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def shrunk(name: str, size: int) -> Tensor:
    """Return a picture averaged over blocks to (C, size, size)."""
    whole = picture(name)
    if whole.shape[-1] % size:
        raise ValueError(f"size must divide {whole.shape[-1]}, got {size}")
    return avg_pool2d(whole, whole.shape[-1] // size)


def len_of_side(image: Tensor) -> int:
    """Return the pixels along a side."""
    return image.shape[-1]


def on_canvas(image: Tensor) -> MetaTensor:
    """Return a picture (1, n, n) on the 256 mm that all sizes cover, borders and all."""
    spacing = SIZES[0] / len_of_side(image)
    affine = torch.diag(torch.tensor([spacing, spacing, 1.0, 1.0], dtype=torch.float64))
    affine[:2, 3] = spacing / 2
    return MetaTensor(image, affine=affine)


def at_many_sizes(name: str) -> list[Tensor]:
    """Return a grey picture at all published sizes, resized by Pillow's default, shuffled."""
    from PIL import Image

    source = Image.fromarray((255 * picture(name)[0]).round().byte().numpy())
    sizes = list(SIZES)
    random.Random(0).shuffle(sizes)
    resized = [source.resize((size, size)) for size in sizes]
    buffers = [bytearray(image.tobytes()) for image in resized]
    flat = [torch.frombuffer(buffer, dtype=torch.uint8) for buffer in buffers]
    return [
        values.float().reshape(1, size, size) / 255
        for values, size in zip(flat, sizes, strict=True)
    ]
