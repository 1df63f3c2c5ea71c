"""Coded samples under another header, their chunks as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from oinr_monai.images.replacing import replacing

from .container import ChunkWriter
from .decoder import CodedSamples

__all__ = ["copy_samples"]


def copy_samples(
    path: str | os.PathLike[str], samples: CodedSamples, header: Mapping[str, Any]
) -> None:
    """Write a file of the same samples, complete or not at all; none is decoded.

    Args:
        path: the file.
        samples: what another file holds, which may be the one at ``path``.
        header: JSON values for whoever reads the file.

    Raises:
        ValueError: if a chunk differs from its checksum.
        OSError: if the file cannot be written.
    """
    reader = samples.reader
    about = {**reader.header, "header": dict(header)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = ChunkWriter(file, about, reader.chunks)
        for number, coder in enumerate(reader.index["coders"].tolist()):
            writer.add(coder, reader.chunk(number))
        writer.finish(about)
