r"""Wavelets of chunks: Cohen-Daubechies-Feauveau 9/7 in real numbers, 5/3 in whole ones.

Both are made of lifting steps, so that any size can be split, and what was split is put together
again. A signal is mirrored at its ends; of n samples, ceil(n/2) are low and floor(n/2) high.

References:
    Cohen, Daubechies, Feauveau, "Biorthogonal bases of compactly supported wavelets",
    Communications on Pure and Applied Mathematics 1992.
    Daubechies, Sweldens, "Factoring wavelet transforms into lifting steps", Journal of Fourier
    Analysis and Applications 1998.
    Calderbank, Daubechies, Sweldens, Yeo, "Wavelet transforms that map integers to integers",
    Applied and Computational Harmonic Analysis 1998.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

__all__ = [
    "Subband",
    "analyse",
    "analyse_integers",
    "subbands",
    "synthesise",
    "synthesise_integers",
]

# Lifting steps of CDF 9/7, and the scale that makes it nearly orthonormal: Daubechies and Sweldens.
STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
SCALE = 1.149604398860241

# Halvings of an axis, and the shortest that is halved: a low half of 3 has nothing left to tell.
MOST_LEVELS, SHORTEST = 4, 6


# ---- one axis -----------------------------------------------------------------------------------


def _around(half: Tensor, count: int, before: bool) -> tuple[Tensor, Tensor]:
    """Along the first axis, the two neighbours in ``half`` of ``count`` samples between its own.

    Args:
        half: the samples of one parity.
        count: how many there are of the other.
        before: whether the other parity begins, so that its first sample has no left neighbour.
    """
    rows = torch.arange(count, device=half.device)
    left, right = (rows - 1, rows) if before else (rows, rows + 1)
    last = len(half) - 1
    # The mirror of a missing neighbour is the one on the other side.
    left, right = torch.where(left < 0, right, left), torch.where(right > last, left, right)
    return half[left.clamp(0, last)], half[right.clamp(0, last)]


@lru_cache(maxsize=256)
def _analysis(size: int) -> Tensor:
    """The matrix (size, size) of one level: rows of the low half, then of the high one."""
    u = torch.eye(size, dtype=torch.float64)
    if size == 1:
        return u
    low, high = u[0::2].clone(), u[1::2].clone()
    for i, weight in enumerate(STEPS):
        if i % 2 == 0:
            high += weight * sum(_around(low, len(high), before=False))
        else:
            low += weight * sum(_around(high, len(low), before=True))
    return torch.cat([low * SCALE, high / SCALE])


@lru_cache(maxsize=256)
def _matrix(size: int, inverse: bool, device: torch.device) -> Tensor:
    made = _analysis(size)
    return (torch.linalg.inv(made) if inverse else made).to(device, torch.float32)


@lru_cache(maxsize=256)
def _norms(size: int) -> tuple[float, float]:
    """Root mean squares of the norms of what low and high coefficients are synthesised to."""
    squares = torch.linalg.inv(_analysis(size)).square().sum(0)
    half = (size + 1) // 2
    low, high = (math.sqrt(float(each.mean())) for each in (squares[:half], squares[half:]))
    return low, high


def _along(u: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The product of a matrix with every line of ``u`` along an axis."""
    if axis == u.ndim - 1:
        return u @ matrix.T
    lines = u.reshape(math.prod(u.shape[:axis]), u.shape[axis], -1)
    return (matrix @ lines).reshape(u.shape)


# ---- levels -------------------------------------------------------------------------------------


def _lattices(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """The low part that each level splits, from the whole on."""
    lattices: list[tuple[int, ...]] = []
    now = tuple(shape)
    while len(lattices) < MOST_LEVELS and max(now) >= SHORTEST:
        lattices.append(now)
        now = tuple((n + 1) // 2 if n >= SHORTEST else n for n in now)
    return lattices


def _split_axes(lattice: Sequence[int]) -> list[int]:
    return [axis for axis, n in enumerate(lattice) if n >= SHORTEST]


def _corner(lattice: Sequence[int]) -> tuple[slice, ...]:
    # Of a batch.
    return (slice(None), *(slice(0, n) for n in lattice))


def analyse(u: Tensor) -> Tensor:
    r"""Coefficients (*, *spatial) of samples, the low part of each level in the first corner.

    .. math:: c = W u, \qquad W \text{ nearly orthonormal}

    Args:
        u: samples (B, *spatial), float32.

    Example:
        >>> u = torch.rand(1, 20, 17)
        >>> torch.allclose(synthesise(analyse(u)), u, atol=1e-5)
        True
    """
    u = u.clone()
    for lattice in _lattices(u.shape[1:]):
        part = u[_corner(lattice)]
        for axis in _split_axes(lattice):
            part = _along(part, _matrix(lattice[axis], False, u.device), axis + 1)
        u[_corner(lattice)] = part
    return u


def synthesise(c: Tensor) -> Tensor:
    """The samples of which :func:`analyse` makes these coefficients (B, *spatial)."""
    c = c.clone()
    for lattice in reversed(_lattices(c.shape[1:])):
        part = c[_corner(lattice)]
        for axis in _split_axes(lattice):
            part = _along(part, _matrix(lattice[axis], True, c.device), axis + 1)
        c[_corner(lattice)] = part
    return c


@dataclass(frozen=True)
class Subband:
    """Where the coefficients of one kind lie, and what they weigh.

    Args:
        level: how often its lattice was halved; the greatest is the coarsest.
        details: for each axis, whether it is the high half.
        box: where it lies in the array.
        norm: norm of what one of its coefficients is synthesised to.
    """

    level: int
    details: tuple[bool, ...]
    box: tuple[slice, ...]
    norm: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Coefficients along each axis."""
        return tuple(each.stop - each.start for each in self.box)


@lru_cache(maxsize=64)
def subbands(shape: tuple[int, ...]) -> tuple[Subband, ...]:
    """The sub-bands of a lattice, coarsest first: the low part, then the details of each level.

    Example:
        >>> [band.shape for band in subbands((5, 11))]
        [(5, 3), (5, 3), (5, 5)]
    """
    found: list[Subband] = []
    scale = dict.fromkeys(range(len(shape)), 1.0)
    lattices = _lattices(shape)
    for level, lattice in enumerate(lattices, start=1):
        found += reversed(list(_details(level, lattice, scale)))
        for axis in _split_axes(lattice):
            scale[axis] *= _norms(lattice[axis])[0]
    rest = tuple((n + 1) // 2 if n >= SHORTEST else n for n in lattices[-1]) if lattices else shape
    low = Subband(
        len(lattices),
        (False,) * len(shape),
        tuple(slice(0, n) for n in rest),
        math.prod(scale.values()),
    )
    return (low, *reversed(found))


def _details(level: int, lattice: tuple[int, ...], scale: dict[int, float]) -> Iterator[Subband]:
    axes = _split_axes(lattice)
    for bits in range(1, 1 << len(axes)):
        high = {axis: bool(bits >> i & 1) for i, axis in enumerate(axes)}
        box, norm = [], 1.0
        for axis, n in enumerate(lattice):
            half = (n + 1) // 2
            place = {True: slice(half, n), False: slice(0, half)}
            box.append(place[high[axis]] if axis in high else slice(0, n))
            norm *= scale[axis] * (_norms(n)[high[axis]] if axis in high else 1.0)
        details = tuple(high.get(axis, False) for axis in range(len(lattice)))
        yield Subband(level, details, tuple(box), norm)


# ---- whole numbers ------------------------------------------------------------------------------


def analyse_integers(u: Tensor) -> Tensor:
    r"""Coefficients (B, *spatial) of whole numbers, which are whole numbers: CDF 5/3.

    .. math:: d_i = u_{2i+1} - \lfloor (u_{2i} + u_{2i+2}) / 2 \rfloor, \qquad
        s_i = u_{2i} + \lfloor (d_{i-1} + d_i + 2) / 4 \rfloor

    Args:
        u: samples (B, *spatial), int32 or int64, two bits below its ends.

    Example:
        >>> u = torch.randint(-9, 9, (1, 20, 17))
        >>> torch.equal(synthesise_integers(analyse_integers(u)), u)
        True
    """
    u = u.clone()
    for lattice in _lattices(u.shape[1:]):
        for axis in _split_axes(lattice):
            lines = u[_corner(lattice)].transpose(0, axis + 1)
            low, high = lines[0::2].clone(), lines[1::2].clone()
            high -= sum(_around(low, len(high), before=False)) >> 1
            low += (sum(_around(high, len(low), before=True)) + 2) >> 2
            lines.copy_(torch.cat([low, high]))
    return u


def synthesise_integers(c: Tensor) -> Tensor:
    """The whole numbers of which :func:`analyse_integers` makes these coefficients."""
    c = c.clone()
    for lattice in reversed(_lattices(c.shape[1:])):
        for axis in reversed(_split_axes(lattice)):
            lines = c[_corner(lattice)].transpose(0, axis + 1)
            half = (lattice[axis] + 1) // 2
            low, high = lines[:half].clone(), lines[half:].clone()
            low -= (sum(_around(high, half, before=True)) + 2) >> 2
            high += sum(_around(low, len(high), before=False)) >> 1
            lines[0::2], lines[1::2] = low, high
    return c
