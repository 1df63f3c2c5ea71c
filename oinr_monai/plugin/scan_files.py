"""Scans in and out of MONAI's pipelines, by the reader and the writer of this package."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import MetaKeys, ensure_tuple, ensure_tuple_rep

from oinr_monai.images.dicom_objects import write_parametric_maps, write_segmentation
from oinr_monai.images.dicom_reference import DicomReference, read_reference
from oinr_monai.images.dicom_series import write_dicom_series
from oinr_monai.images.files import read_image

from .dictionary import BACKEND

__all__ = ["SaveDICOM", "SaveDICOMD", "SaveDICOMDict", "SaveDICOMd", "ScanReader"]

# What an image becomes: slices as its source has them, a segment for each label, or real numbers.
Kind = Literal["series", "labels", "map"]


class ScanReader(ImageReader):
    """Reads for :class:`monai.transforms.LoadImage` whatever this package reads.

    NIfTI, NRRD, MetaImage, DICOM files and folders, and pictures, with the checks of
    :func:`~oinr_monai.images.files.read_image`: in RAS and mm, each slice by its own slope, what a
    file does not say told as a warning, what would be wrong refused.

    Args:
        series: UIDs of DICOM series to choose from, where a folder holds several.

    Example:
        >>> from monai.transforms import LoadImage
        >>> from nibabel.testing import data_path
        >>> load = LoadImage(reader=ScanReader, ensure_channel_first=True)
        >>> load(data_path / "anatomical.nii").shape
        torch.Size([1, 33, 41, 25])
    """

    def __init__(self, series: str | Sequence[str] = ()) -> None:
        super().__init__()
        self.series = ensure_tuple(series)

    def verify_suffix(
        self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
    ) -> bool:
        """Whether there is something to read: what it is, only its bytes tell."""
        return all(Path(each).exists() for each in ensure_tuple(filename))

    def read(
        self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **_: Any
    ) -> MetaTensor | list[MetaTensor]:
        """The image (C, *spatial) of a file or folder, or one for each of several."""
        found = [read_image(each, self.series) for each in ensure_tuple(data)]
        return found[0] if len(found) == 1 else found

    def get_data(self, img: MetaTensor | list[MetaTensor]) -> tuple[np.ndarray, dict[str, Any]]:
        """Values (C, *spatial), those of several images one after another, and what is known.

        Raises:
            ValueError: if several images do not lie on one grid.
        """
        images = [img] if isinstance(img, MetaTensor) else img
        first = images[0]
        if any(
            each.shape[1:] != first.shape[1:] or not np.allclose(each.affine, first.affine)
            for each in images
        ):
            raise ValueError("images must lie on one grid to be read as one; read them one by one")
        meta = dict(first.meta) | {
            MetaKeys.AFFINE: first.affine.numpy(),
            MetaKeys.ORIGINAL_AFFINE: first.affine.numpy(),
            MetaKeys.SPATIAL_SHAPE: np.array(first.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        }
        return np.concatenate([each.numpy() for each in images]), meta


class SaveDICOM(Transform):
    """Write an image as DICOM derived of a series, in its study and frame of reference.

    Args:
        folder: where; it must not exist, or be empty.
        kind: ``"series"``, an image as its source has them; ``"labels"``, a label map as a
            Segmentation; ``"map"``, real numbers as Parametric Maps. The last two need highdicom.
        description: what it shows; the folder's name if None.
        anonymous: whether nothing in it may name the patient, or lead to the source.

    Example:
        >>> from oinr_monai import SaveDICOM
        >>> SaveDICOM("derived", "labels").kind
        'labels'
    """

    backend = BACKEND

    def __init__(
        self,
        folder: str | os.PathLike[str],
        kind: Kind = "series",
        description: str | None = None,
        anonymous: bool = False,
    ) -> None:
        if kind not in ("series", "labels", "map"):
            raise ValueError(f'kind must be "series", "labels" or "map", got {kind!r}')
        self.folder, self.kind, self.anonymous = Path(folder), kind, anonymous
        self.description = description or self.folder.name

    def __call__(  # type: ignore[override]
        self, image: MetaTensor, source: str | os.PathLike[str] | DicomReference
    ) -> MetaTensor:
        """The image (C, *spatial) as it is, once it is written.

        Args:
            image: what to write.
            source: the series that it was made of: a DICOM file or folder.

        Raises:
            ValueError: if the source is no DICOM, or the image cannot be held by it.
            OSError: if the folder is not empty, or cannot be written.
        """
        if not isinstance(source, DicomReference):
            source = read_reference(Path(source), anonymous=self.anonymous)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.kind == "series":
            write_dicom_series(self.folder, image, source, self.description)
        elif self.kind == "labels":
            write_segmentation(self.folder, image, source, self.description)
        else:
            name = self.folder.name
            write_parametric_maps(self.folder, [(name, image, self.description)], source)
        return image


class SaveDICOMd(MapTransform):
    """Write images of a dictionary as DICOM derived of a series, each into a folder of its own.

    Args:
        keys: keys of the images.
        source: key of the path of the series that they were made of; or of an image read from it,
            which knows where.
        folder: where; each image goes into the folder of its key in it.
        kinds: what each becomes, as in :class:`SaveDICOM`; one for each of ``keys``, or for all.
        anonymous: whether nothing in them may name the patient, or lead to the source.
        allow_missing_keys: skip keys that are missing.

    Example:
        >>> save = SaveDICOMd(["fine", "vessels"], "image", "derived", ["series", "labels"])
        >>> [each.folder.name for each in save.writers.values()]
        ['fine', 'vessels']
    """

    backend = BACKEND

    def __init__(
        self,
        keys: KeysCollection,
        source: Hashable,
        folder: str | os.PathLike[str],
        kinds: Kind | Sequence[Kind] = "series",
        anonymous: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.source, each = source, ensure_tuple_rep(kinds, len(self.keys))
        self.writers = {
            key: SaveDICOM(Path(folder, str(key)), kind, anonymous=anonymous)
            for key, kind in zip(self.keys, each, strict=True)
        }

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data``, once its images are written."""
        result, source = dict(data), data[self.source]
        path = source.meta["filename_or_obj"] if isinstance(source, MetaTensor) else source
        for key in self.key_iterator(result):
            self.writers[key](result[key], path)
        return result


# As MONAI calls the dictionary versions of its own.
SaveDICOMD = SaveDICOMDict = SaveDICOMd
