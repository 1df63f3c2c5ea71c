"""What tells one image from another: a digest of its voxels, of those that count, and its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

__all__ = ["digest_of_image", "file_mark"]

# As much of a file as is read from each end to tell it from others.
_END = 1 << 20


def digest_of_image(slabs: Iterable[Tensor], grid: Grid, mask: Tensor | None = None) -> str:
    """Sixteen digits that are the same for an image in memory and on disk, and in every process.

    They tell apart images that differ in a voxel that counts, in what counts, in the affine, or in
    the type of the voxels.

    Args:
        slabs: intensities (C, *shape[:-1], thickness), one slab after the other along the last axis
            of the grid; the whole image alone, if it is in memory.
        grid: where the voxels lie.
        mask: voxels that count, (*grid.shape); all if None.

    Example:
        >>> image, grid = torch.rand(1, 4, 6), Grid((4, 6), torch.eye(4))
        >>> whole = digest_of_image([image], grid)
        >>> whole == digest_of_image(image.split(2, dim=-1), grid)
        True
        >>> whole == digest_of_image([image.flip(1)], grid)
        False
    """
    voxels, counted, first = hashlib.blake2b(), hashlib.blake2b(), 0
    for slab in slabs:
        last = first + slab.shape[-1]
        if mask is not None:
            counts = mask[..., first:last]
            slab = torch.where(counts, slab, 0)
            _add(counted, counts)
        _add(voxels, slab)
        first, kind = last, f"{len(slab)} {slab.dtype}"
    place = repr((kind, grid.shape, grid.affine.tolist())).encode()
    parts = voxels.digest() + counted.digest() + place
    return hashlib.blake2b(parts, digest_size=8).hexdigest()


def file_mark(path: Path) -> str:
    """Sixteen digits that tell a file from others, however large it is: of its size and its ends.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     marks = []
        ...     for text in ("a scan", "a scan", "another"):
        ...         _ = Path(folder, "file").write_text(text)
        ...         marks.append(file_mark(Path(folder, "file")))
        >>> marks[0] == marks[1], marks[0] == marks[2]
        (True, False)
    """
    size = path.stat().st_size
    told = hashlib.blake2b(str(size).encode(), digest_size=8)
    with path.open("rb") as file:
        told.update(file.read(_END))
        file.seek(max(size - _END, 0))
        told.update(file.read(_END))
    return told.hexdigest()


def _add(digest: hashlib.blake2b, values: Tensor) -> None:
    # Along the last axis first, so that slabs follow each other as planes of the whole do.
    digest.update(values.movedim(-1, 0).contiguous().cpu().numpy().data)
