"""What is done with each subject of a cohort."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.analysis.regions import region_features
from oinr_monai.fitting.cohort import fit_many
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.images.files import read_grid, read_image, write_image
from oinr_monai.images.labels import read_labels
from oinr_monai.images.masks import read_mask
from oinr_monai.images.scans import checked_scans
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.restoration.denoising import DenoiseConfig, denoise
from oinr_monai.restoration.super_resolution import SuperResolveConfig, super_resolve

from .bids import IMAGES
from .digests import digest_of_files
from .manifest import Subject

__all__ = [
    "DenoiseTask",
    "FeaturesTask",
    "FitTask",
    "SuperResolveTask",
    "Task",
    "check_whole",
    "image_of",
    "mask_of",
    "plain",
]


# Voxels up to which images are fitted together, and how many of them: a fit of a small one is
# mostly overhead, of 28 x 28 pixels five sixths (docs/measured/cohort.md), of one of 32^3 little.
SMALL, TOGETHER = 1 << 15, 64


class Task(ABC):
    """Makes a file of a subject, and maybe others beside it.

    It goes to whatever process works on it, and has no state.
    """

    @property
    @abstractmethod
    def suffix(self) -> str:
        """How the name of its file ends."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that decides what it makes of the same files, as JSON values."""

    @property
    def word(self) -> str:
        """For what it does, in names of derivatives: that of the class, without "Task"."""
        return type(self).__name__.removesuffix("Task").lower()

    def files(self) -> list[Path]:
        """What it reads beside the files of a subject."""
        return []

    def beside(self, subject: Subject) -> tuple[str, ...]:
        """How the names of other files end that it makes of a subject; none by default."""
        return ()

    def outputs(self, output: Path, subject: Subject) -> list[Path]:
        """The file, and what is made beside it."""
        stem = output.name.removesuffix(self.suffix)
        sidecar = (".json",) if subject.scan is not None and self.suffix in IMAGES else ()
        return [output, *(output.with_name(stem + e) for e in (*self.beside(subject), *sidecar))]

    @abstractmethod
    def make(self, subject: Subject, output: Path) -> Info:
        """Write the file last, each complete or not at all; what is known of it.

        Raises:
            ValueError: if the subject's files are no good.
            OSError: if they cannot be read, or the file not written.
        """

    def groups(self, subjects: Sequence[Subject]) -> list[tuple[Subject, ...]]:
        """The subjects by those that go together: each by itself, unless a task is quicker so."""
        return [(each,) for each in subjects]

    def make_all(self, together: Mapping[Path, Subject]) -> Iterator[tuple[Path, Info | Exception]]:
        """Write the files of subjects that go together; what is known of each, or its error."""
        for output, subject in together.items():
            try:
                yield output, self.make(subject, output)
            except Exception as error:
                yield output, error


@dataclass(frozen=True)
class FitTask(Task):
    """A representation of each image.

    Args:
        config: how to fit.
        start: file of a fit that each begins with.
    """

    config: FitConfig = field(default_factory=FitConfig)
    start: Path | None = None

    def files(self) -> list[Path]:
        """The start."""
        return [] if self.start is None else [self.start]

    def groups(self, subjects: Sequence[Subject]) -> list[tuple[Subject, ...]]:
        """Small images of one shape and spacing go together, where something is trained.

        Which ones does not depend on the order of the subjects, so that the results do not either.
        """
        found: dict[object, list[Subject]] = {}
        for each in sorted(subjects, key=lambda subject: subject.name):
            found.setdefault(self._alike(each), []).append(each)
        return [tuple(some) for each in found.values() for some in _parts(each)]

    def _alike(self, subject: Subject) -> object:
        # What images must share to go together, or what no other subject has.
        if self.config.preset == "exact" or subject.mask is not None:
            return subject.name
        try:
            grid = read_grid(subject.image, [subject.series] if subject.series else ())
        except Exception:
            return subject.name
        alike = grid.shape, *(f"{h:.6g}" for h in grid.spacing.tolist())
        return alike if math.prod(grid.shape) <= SMALL else subject.name

    def make_all(self, together: Mapping[Path, Subject]) -> Iterator[tuple[Path, Info | Exception]]:
        """Fit and save each, all at once where they go together."""
        if len(together) == 1:
            yield from super().make_all(together)
            return
        images: dict[Path, MetaTensor] = {}
        for output, subject in together.items():
            try:
                images[output] = checked(image_of(subject))
            except Exception as error:
                yield output, error
        yield from self._fitted(images)

    def _fitted(self, images: Mapping[Path, MetaTensor]) -> Iterator[tuple[Path, Info | Exception]]:
        try:
            start = None if self.start is None else Representation.load(self.start)
            found = fit_many(list(images.values()), self.config, start=start)
        except Exception as error:
            yield from ((output, error) for output in images)
            return
        for output, made in zip(images, found, strict=False):
            check_whole(made)
            try:
                made.save(output)
                yield output, made.info
            except Exception as error:
                yield output, error

    @property
    def suffix(self) -> str:
        """Of a representation."""
        return ".oinr"

    def settings(self) -> dict[str, Any]:
        """Those of the fit, and which start it has."""
        own = {name: repr(getattr(self.config, name)) for name in ("encoding", "network")}
        return {
            "fit": self.config.settings() | own,
            "start": None if self.start is None else digest_of_files([self.start]),
        }

    def make(self, subject: Subject, output: Path) -> Info:
        """Fit and save."""
        start = None if self.start is None else Representation.load(self.start)
        image = image_of(subject)
        made = fit(image, self.config, start=start, mask=mask_of(subject, image))
        check_whole(made)
        made.save(output)
        return made.info


@dataclass(frozen=True)
class DenoiseTask(Task):
    """Each image without its noise.

    Args:
        config: how to denoise.
    """

    config: DenoiseConfig

    @property
    def suffix(self) -> str:
        """Of an image."""
        return ".nii.gz"

    def settings(self) -> dict[str, Any]:
        """Those of denoising."""
        return {"denoise": plain(self.config)}

    def make(self, subject: Subject, output: Path) -> Info:
        """Denoise and write."""
        image = image_of(subject)
        return _written(denoise(image, self.config, mask=mask_of(subject, image)), output)


@dataclass(frozen=True)
class SuperResolveTask(Task):
    """Each stack of thick slices made fine.

    Args:
        config: how to make it fine.
    """

    config: SuperResolveConfig

    @property
    def suffix(self) -> str:
        """Of an image."""
        return ".nii.gz"

    def settings(self) -> dict[str, Any]:
        """Those of super-resolution."""
        return {"super_resolve": plain(self.config)}

    def make(self, subject: Subject, output: Path) -> Info:
        """Make it fine and write it."""
        return _written(super_resolve(image_of(subject), self.config), output)


@dataclass(frozen=True)
class FeaturesTask(Task):
    """What is in each region of the label map of each subject, as a table."""

    @property
    def suffix(self) -> str:
        """Of a table."""
        return ".csv"

    def settings(self) -> dict[str, Any]:
        """None."""
        return {"features": {}}

    def make(self, subject: Subject, output: Path) -> Info:
        """Summarise the regions and write the table."""
        if subject.labels is None:
            raise ValueError(f"{subject.name}: labels must be in the manifest, got none")
        made = fit(image_of(subject), FitConfig(preset="exact"))
        region_features(made, read_labels(subject.labels)).save(output)
        return made.info


def _parts(subjects: Sequence[Subject]) -> list[Sequence[Subject]]:
    return [subjects[i : i + TOGETHER] for i in range(0, len(subjects), TOGETHER)]


def checked(image: MetaTensor) -> MetaTensor:
    """The image, or the error that a fit of it would end with."""
    checked_scans([image], None)
    return image


def image_of(subject: Subject) -> MetaTensor:
    """The image of a subject, which must have one.

    Raises:
        ValueError: if it has several, or one that is no good.
    """
    if subject.more:
        raise ValueError(f"image must be one file, got {1 + len(subject.more)}")
    # With a mask, what lies outside it need not be finite.
    series = [subject.series] if subject.series else ()
    return read_image(subject.image, series, finite=subject.mask is None)


def mask_of(subject: Subject, image: MetaTensor) -> Tensor | None:
    """Its mask on the voxels of its image, if it has one."""
    return None if subject.mask is None else read_mask(subject.mask, image)


def _written(answer: Representation, output: Path) -> Info:
    check_whole(answer)
    write_image(output, answer.sample())
    return answer.info


def check_whole(answer: Representation) -> None:
    """Raise KeyboardInterrupt where an interrupt ended the work: what is half done is no result."""
    if answer.info.interrupted:
        raise KeyboardInterrupt


def plain(config: Any) -> dict[str, str]:  # noqa: ANN401 (a configuration of any kind)
    """The settings of a configuration, as JSON values."""
    return {each.name: repr(getattr(config, each.name)) for each in fields(config)}
