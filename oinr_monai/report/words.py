"""What numbers mean, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["closeness", "how_large", "in_mm"]


def closeness(psnr: float) -> str:
    """What a peak signal-to-noise ratio in dB says of the usual error.

    Example:
        >>> closeness(50.0)
        'within 0.32 % of the range'
        >>> closeness(math.inf)
        'exact'
    """
    if psnr == math.inf:
        return "exact"
    part = 100 * 10 ** (-psnr / 20)
    return "exact to rounding" if part < 1e-4 else f"within {part:.2g} % of the range"


def how_large(size: int) -> str:
    """A number of bytes as people read it.

    Example:
        >>> how_large(1_234_567)
        '1.2 MB'
    """
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= each:
            return f"{size / each:.1f} {unit}"
    return f"{size} bytes"


def in_mm(lengths: Sequence[float]) -> str:
    """Lengths along the axes.

    Example:
        >>> in_mm([1.0, 1.0, 2.5])
        '1 x 1 x 2.5 mm'
    """
    return f"{' x '.join(f'{each:.4g}' for each in lengths)} mm"
