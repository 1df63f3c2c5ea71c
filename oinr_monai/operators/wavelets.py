"""One level of the periodised wavelet transform of lattices, and how many levels there can be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

import pywt
from torch import Tensor

__all__ = ["analyse", "check_levels", "max_levels", "min_size", "synthesise"]

# After so many halvings no axis is left that a machine could hold.
MOST_LEVELS = 60


def analyse(u: Tensor, wave: str, spatial_dims: int) -> Tensor:
    r"""Split a lattice into its 2^D subbands, along every axis.

    .. math:: a_i = \sum_k h_k u_{2i + m - k}, \qquad d_i = \sum_k g_k u_{2i + m - k}

    with indices modulo the size and m half the length of the filters: PyWavelets' mode
    "periodization". An odd axis repeats its last sample. Orthogonal wavelets keep the energy of an
    even lattice.

    References:
        Mallat, "A Theory for Multiresolution Signal Decomposition", IEEE TPAMI 1989.

    Args:
        u: values, shape (B, C, *spatial), no axis shorter than the filters.
        wave: name of a discrete wavelet of PyWavelets.
        spatial_dims: number of spatial dimensions D.

    Returns:
        Subbands, shape (B, C, 2^D, *half). The bits of a subband's number tell where it is a
        detail, first axis first; number 0 is the approximation.

    Raises:
        ValueError: if PyWavelets has no such wavelet.

    Example:
        >>> import torch
        >>> analyse(torch.ones(1, 1, 4, 6), "haar", spatial_dims=2).shape
        torch.Size([1, 1, 4, 2, 3])
    """
    low, high = (u.new_tensor(taps[::-1]) for taps in _filters(wave)[:2])
    u = u.unsqueeze(2)
    for axis in range(-spatial_dims, 0):
        u = _split(u, axis, low, high)
    return u


def synthesise(subbands: Tensor, wave: str, shape: Sequence[int]) -> Tensor:
    """The lattice (B, C, *shape) that :func:`analyse` splits into (B, C, 2^D, *half).

    Raises:
        ValueError: if PyWavelets has no such wavelet.

    Example:
        >>> import torch
        >>> u = torch.rand(1, 1, 5, 8)
        >>> torch.allclose(synthesise(analyse(u, "db2", 2), "db2", (5, 8)), u, atol=1e-5)
        True
    """
    low, high = (subbands.new_tensor(taps) for taps in _filters(wave)[2:])
    u = subbands
    # The last axis is the last bit of a subband's number.
    for axis in range(-1, -len(shape) - 1, -1):
        u = _join(u, axis, low, high).narrow(axis, 0, shape[axis])
    return u.squeeze(2)


def max_levels(shape: Sequence[int], wave: str) -> int:
    """Levels after which every axis is still as long as the filters less one.

    Raises:
        ValueError: if PyWavelets has no such wavelet.

    Example:
        >>> max_levels((64, 64, 50), "db2")
        4
    """
    return int(pywt.dwt_max_level(min(shape), len(_filters(wave)[0])))


def min_size(levels: int, wave: str) -> int:
    """The smallest axis that has so many levels, 2^levels (filter length - 1).

    Raises:
        ValueError: if ``levels`` is not 1 to 60 or PyWavelets has no such wavelet.

    Example:
        >>> min_size(4, "db2")
        48
    """
    if not 1 <= levels <= MOST_LEVELS:
        raise ValueError(f"levels must be 1 to {MOST_LEVELS}, got {levels}")
    return int(2**levels * (len(_filters(wave)[0]) - 1))


def check_levels(levels: int, shape: Sequence[int], wave: str) -> None:
    """Refuse more levels than a lattice has.

    Raises:
        ValueError: if ``levels`` is below 1 or above :func:`max_levels`, or the wavelet unknown.
    """
    if min(shape) < min_size(levels, wave):
        raise ValueError(
            f"levels must be at most {max_levels(shape, wave)} for shape {tuple(shape)}, "
            f"got {levels}; use a larger lattice, fewer levels or a shorter wavelet"
        )


@lru_cache
def _filters(wave: str) -> tuple[list[float], ...]:
    # Decomposition low and high, reconstruction low and high.
    if wave not in pywt.wavelist(kind="discrete"):
        raise ValueError(
            f"wave must be a discrete wavelet of PyWavelets, got {wave!r}; "
            'pywt.wavelist(kind="discrete") names them'
        )
    return tuple(list(taps) for taps in pywt.Wavelet(wave).filter_bank)


@lru_cache
def _lowlevel() -> ModuleType:
    with warnings.catch_warnings():
        # It imports pkg_resources, which warns of its own end.
        warnings.simplefilter("ignore")
        from pytorch_wavelets.dwt import lowlevel
    return lowlevel


def _split(u: Tensor, axis: int, low: Tensor, high: Tensor) -> Tensor:
    # (B, C, S, *spatial) to (B, C, 2 S, *spatial with half of ``axis``).
    planes, dim = _planes(u, axis)
    pairs = _lowlevel().afb1d(planes, low, high, mode="periodization", dim=dim)
    shape, place = list(u.shape), min(axis, -2)
    shape[axis] = (shape[axis] + 1) // 2
    pairs = pairs.reshape(*shape[:place], 2, *shape[place:])
    return pairs.movedim(place - 1, 3).flatten(2, 3)


def _join(u: Tensor, axis: int, low: Tensor, high: Tensor) -> Tensor:
    # (B, C, 2 S, *spatial) to (B, C, S, *spatial with twice of ``axis``).
    halves = u.unflatten(2, (-1, 2))
    (approximation, dim), (detail, _) = (_planes(half, axis) for half in halves.unbind(3))
    planes = _lowlevel().sfb1d(approximation, detail, low, high, mode="periodization", dim=dim)
    shape = list(u.shape)
    shape[2], shape[axis] = shape[2] // 2, 2 * shape[axis]
    return planes.reshape(shape)


def _planes(u: Tensor, axis: int) -> tuple[Tensor, int]:
    # A batch of one with everything else as channels: convolutions of many small batches are slow.
    if axis == -1:
        return u.reshape(1, -1, *u.shape[-2:]), 3
    return u.reshape(1, math.prod(u.shape[:axis]), u.shape[axis], -1), 2
