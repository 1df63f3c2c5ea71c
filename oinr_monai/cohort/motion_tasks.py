"""What is done with each subject whose scans lie elsewhere than they should, or moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.data import MetaTensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.labels import read_labels
from oinr_monai.images.masks import read_mask
from oinr_monai.motion.exchange import save_motion
from oinr_monai.motion.motion import Motion
from oinr_monai.motion.registration import RegisterConfig, register
from oinr_monai.motion.warp import warp_image, warp_labels
from oinr_monai.representation.info import Info
from oinr_monai.restoration.reconstruction import ReconstructConfig, reconstruct
from oinr_monai.scanner.profiles import Boxcar
from oinr_monai.scanner.slices import thickest_axis

from .digests import digest_of_files
from .manifest import Subject
from .task import Task, check_whole, image_of, plain

__all__ = ["ReconstructTask", "RegisterTask"]


@dataclass(frozen=True)
class RegisterTask(Task):
    """Each image, and its label map, on one that stays; with the motion from that to the image.

    Masks of subjects are not looked at.

    Args:
        fixed: file of the image that stays.
        config: how to register.
    """

    fixed: Path
    config: RegisterConfig = field(default_factory=RegisterConfig)

    @property
    def suffix(self) -> str:
        """Of an image."""
        return ".nii.gz"

    def files(self) -> list[Path]:
        """The image that stays."""
        return [self.fixed]

    def settings(self) -> dict[str, Any]:
        """Those of registration, and which image stays."""
        return {"register": plain(self.config), "fixed": digest_of_files([self.fixed])}

    def beside(self, subject: Subject) -> tuple[str, ...]:
        """The motion, and the labels if there are any."""
        labels = () if subject.labels is None else ("_labels.nii.gz",)
        return ("_motion.safetensors", *labels)

    def make(self, subject: Subject, output: Path) -> Info:
        """Register, and write what moved."""
        fixed, moving = read_image(self.fixed), image_of(subject)
        grid = Grid.from_image(fixed)
        found = register(fixed, moving, self.config)
        _, motion, *labels = self.outputs(output, subject)
        save_motion(motion, found, grid)
        _write_labels(labels, subject, found, grid)
        write_image(output, warp_image(moving, found, grid), "moved")
        return Info()


@dataclass(frozen=True)
class ReconstructTask(Task):
    """One volume of the stacks of each subject, whose slices moved.

    Args:
        config: how to reconstruct.
        thickness: of a slice in mm; its stack's spacing if None.
    """

    config: ReconstructConfig = field(default_factory=ReconstructConfig)
    thickness: float | None = None

    @property
    def suffix(self) -> str:
        """Of an image."""
        return ".nii.gz"

    def settings(self) -> dict[str, Any]:
        """Those of reconstruction."""
        return {"reconstruct": plain(self.config), "thickness": self.thickness}

    def make(self, subject: Subject, output: Path) -> Info:
        """Reconstruct and write."""
        stacks = [read_image(each) for each in (subject.image, *subject.more)]
        profiles = [Boxcar(self.thickness or _spacing(each)) for each in stacks]
        masks = _masks(subject, stacks)
        found = reconstruct(stacks, self.config, masks=masks, profiles=profiles)
        check_whole(found.volume)
        write_image(output, found.volume.sample(), "reconstructed")
        return found.volume.info


def _write_labels(paths: Sequence[Path], subject: Subject, motion: Motion, grid: Grid) -> None:
    if subject.labels is not None:
        write_image(paths[0], warp_labels(read_labels(subject.labels), motion, grid), "label")


def _spacing(stack: MetaTensor) -> float:
    grid = Grid.from_image(stack)
    return float(grid.spacing[thickest_axis(grid)])


def _masks(subject: Subject, stacks: Sequence[MetaTensor]) -> list[Any] | None:
    """The mask of each stack, or none at all."""
    if subject.mask is None:
        return None
    files = [subject.mask, *subject.more_masks]
    if len(files) != len(stacks):
        raise ValueError(f"mask must be one file for each image, got {len(files)}")
    return [read_mask(*each) for each in zip(files, stacks, strict=True)]
