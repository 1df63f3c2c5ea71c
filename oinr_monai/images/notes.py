"""What a reader took for granted where a file does not say it."""

from __future__ import annotations

import os
import warnings

__all__ = ["ImageNote", "note"]


class ImageNote(UserWarning):
    """Something that was assumed about an image, one line that names its file.

    A warning, so that programs can silence it, count it or turn it into an error by its class; the
    commands show each as a line on stderr.
    """


def note(path: str | os.PathLike[str], assumed: str) -> None:
    """Say what was assumed about the image at ``path``.

    Example:
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     note("scan.nii", "no unit of length; taken for mm")
        >>> str(told[0].message)
        'scan.nii: no unit of length; taken for mm'
    """
    warnings.warn(ImageNote(f"{os.fspath(path)}: {assumed}"), stacklevel=3)
