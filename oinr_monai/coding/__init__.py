"""Samples as bytes: a file in chunks that loses nothing, or no more than was agreed."""

from .decoder import CodedSamples, open_samples
from .encoder import write_samples
from .quality import Bits, Coded, Lossless, MaxError, Psnr, Quality

__all__ = [
    "Bits",
    "Coded",
    "CodedSamples",
    "Lossless",
    "MaxError",
    "Psnr",
    "Quality",
    "open_samples",
    "write_samples",
]
