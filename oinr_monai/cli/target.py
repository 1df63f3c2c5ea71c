"""Where a result goes: to a file, or to a folder as a DICOM series of its source's study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import about
from .outputs import check_folder, check_output, check_result, check_writable

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.dicom_reference import DicomReference
    from oinr_monai.representation.representation import Representation

__all__ = ["Belonging", "Deidentify", "Dicom", "Reference", "Target"]

Dicom = Annotated[
    bool, typer.Option("--dicom", help="Write a derived DICOM series into the new folder -o.")
]

Deidentify = Annotated[
    bool, typer.Option("--deidentify", help="Without patient, dates and source in that series.")
]

Reference = Annotated[
    Path | None,
    typer.Option(metavar="DICOM", help="Series that --dicom belongs with, if not that of --like."),
]


@dataclass(frozen=True)
class Belonging:
    """The options about DICOM.

    Args:
        dicom: whether it is wanted.
        source: where the series is that the result belongs with; None where it is not known.
        uid: which series of the folder it is.
        deidentify: whether the result must not name the patient.
    """

    dicom: bool
    source: Path | None
    uid: Sequence[str] | None
    deidentify: bool


@dataclass(frozen=True)
class Target:
    """Where a result goes.

    Args:
        path: the file or, for DICOM, the folder.
        source: for DICOM, the series that it belongs with.
        reference: what of that series it takes over; None where it is no DICOM.
    """

    path: Path
    source: Path | None = None
    reference: DicomReference | None = None

    @classmethod
    def of(
        cls,
        path: Path,
        belonging: Belonging,
        suffixes: tuple[str, ...] | None,
        inputs: Sequence[Path | None],
        overwrite: bool,
    ) -> Target:
        """The target that the options name, found before the work to be one to write to.

        Args:
            path: what -o names.
            belonging: the options about DICOM.
            suffixes: what a file may end in; None for a folder of files.
            inputs: files that it must not replace.
            overwrite: whether it may.
        """
        if belonging.dicom:
            reference = _reference(path, belonging)
            return cls(path, belonging.source, reference)
        if belonging.deidentify:
            raise ValueError("--deidentify must go with --dicom")
        if suffixes is None:
            check_folder(path)
        else:
            check_output(path, suffixes, inputs, overwrite)
        return cls(path)

    def check(
        self,
        channels: int,
        grid: Grid,
        meta: Mapping[str, Any],
        made_of: Grid,
        *,
        as_object: bool = False,
    ) -> None:
        """Find out before the work whether it can hold a result of this kind.

        Args:
            channels: of the result.
            grid: its grid.
            meta: what the image says of itself: the pixel depth.
            made_of: the grid of what it is made of, which must lie where its DICOM series does.
            as_object: whether it becomes a DICOM object of several frames, which highdicom writes.
        """
        from oinr_monai.images.dicom_objects import need_highdicom

        if self.reference is None:
            check_result(self.path, channels, grid, meta)
        else:
            self._check_dicom(channels, grid, made_of)
            if as_object:
                need_highdicom()

    def _check_dicom(self, channels: int, grid: Grid, made_of: Grid) -> None:
        from oinr_monai.grids.checks import check_room
        from oinr_monai.images.dicom_series import Slices

        if channels != 1:
            raise ValueError(f"--dicom must have one channel, got {channels}; write NIfTI")
        check_room(grid.shape)
        with about(self.path):
            Slices.of(grid.affine.numpy(), grid.shape[-1])
        if self.reference is not None and not self.reference.lies_at(made_of):
            raise ValueError(
                f"{self.source}: must lie where the image lies, got a series beside it"
            )

    def write(self, result: Representation | MetaTensor, description: str) -> None:
        """Write an image, or a representation as a file or sampled on its own grid."""
        from oinr_monai.images.dicom_series import write_dicom_series
        from oinr_monai.images.files import write_image
        from oinr_monai.representation.representation import Representation

        with about(self.path):
            if isinstance(result, Representation):
                if self.path.name.lower().endswith(".oinr") and self.reference is None:
                    result.save(self.path)
                    return
                result = result.sample()
            if self.reference is None:
                write_image(self.path, result, description)
            else:
                write_dicom_series(self.path, result, self.reference, description)


def _reference(output: Path, belonging: Belonging) -> DicomReference:
    from oinr_monai.images.dicom_files import is_dicom
    from oinr_monai.images.dicom_reference import read_reference

    source = belonging.source
    if source is None:
        raise ValueError(
            "--dicom must know the patient and study, which a representation does not; give the"
            " series by --reference DICOM"
        )
    if source.exists() and not (source.is_dir() or is_dicom(source)):
        raise ValueError(f"{source}: must be DICOM for --dicom; write NIfTI, or give its series")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output}: must be a new or empty folder for --dicom; give another")
    check_writable(output)
    return read_reference(source, belonging.uid or (), anonymous=belonging.deidentify)
