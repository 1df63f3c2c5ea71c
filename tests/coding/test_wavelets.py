"""Wavelets of chunks: they come back, leave no polynomial in the details, and know their norms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from oinr_monai.coding.wavelets import (
    Subband,
    analyse,
    analyse_integers,
    subbands,
    synthesise,
    synthesise_integers,
)

SHAPES = [(1,), (5,), (6,), (7,), (64,), (9, 6), (20, 33), (1, 17, 6), (24, 13, 10)]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_was_split_comes_back(shape: tuple[int, ...]) -> None:
    u = drawn(2, *shape)
    torch.testing.assert_close(synthesise(analyse(u)), u, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_come_back_to_the_last_bit(shape: tuple[int, ...]) -> None:
    u = (1000 * drawn(2, *shape)).to(torch.int32)
    assert torch.equal(synthesise_integers(analyse_integers(u)), u)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sub_bands_tile_the_lattice(shape: tuple[int, ...]) -> None:
    times = torch.zeros(shape, dtype=torch.int64)
    for band in subbands(shape):
        times[band.box] += 1
    assert torch.equal(times, torch.ones_like(times))


def details(size: int, level: int) -> Subband:
    (found,) = (band for band in subbands((size,)) if band.level == level and any(band.details))
    return found


@pytest.mark.parametrize("degree", range(5))
def test_four_moments_vanish_and_no_more(degree: int) -> None:
    """Details away from the ends, where a polynomial is mirrored and is none any more."""
    x = torch.linspace(-3, 3, 96, dtype=torch.float64)
    u = (x**degree)[None].float()
    for level in (1, 2):
        inner = analyse(u)[0][details(96, level).box][6:-6].abs().max()
        assert (float(inner) < 2e-5) == (degree < 4)


def test_two_moments_vanish_of_whole_numbers() -> None:
    ramp, bowl = torch.arange(96)[None] * 4 - 70, torch.arange(96)[None] ** 2
    inner = details(96, 1).box[0]
    inner = slice(inner.start + 3, inner.stop - 3)
    assert int(analyse_integers(ramp)[0, inner].abs().max()) == 0
    assert int(analyse_integers(bowl)[0, inner].abs().min()) > 0


@pytest.mark.parametrize("shape", [(47,), (12, 9)], ids=str)
def test_norms_are_those_of_what_coefficients_become(shape: tuple[int, ...]) -> None:
    """Root mean squares over a sub-band: true of one level, and nearly so of several."""
    count = math.prod(shape)
    squares = synthesise(torch.eye(count).view(count, *shape)).square().flatten(1).sum(1)
    for band in subbands(shape):
        mean = float(squares.view(shape)[band.box].mean().sqrt())
        assert band.norm == pytest.approx(mean, rel=1e-5 if band.level == 1 else 0.05)
