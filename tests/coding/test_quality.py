"""What is promised of coded samples: where it is met, and where the next try is."""

from __future__ import annotations

import math

import pytest

from oinr_monai.coding import Bits, Lossless, MaxError, Psnr, Quality
from oinr_monai.coding.quality import Coded


def coded(bits: float = 1.0, error: float = 0.0, psnr: float = 0.0) -> Coded:
    return Coded(100, bits, error, psnr)


@pytest.mark.parametrize(
    ("quality", "met", "missed"),
    [
        (Lossless(), [coded(error=0.0)], [coded(error=1e-9)]),
        (MaxError(0.5), [coded(error=e) for e in (0.0, 0.4, 0.5)], [coded(error=0.5001)]),
        (
            Psnr(45.0),
            [coded(psnr=p) for p in (45.0, 45.2, 45.5, math.inf)],
            [coded(psnr=p) for p in (44.999, 45.501, 60.0)],
        ),
        (Bits(2.0), [coded(bits=b) for b in (0.1, 2.0)], [coded(bits=2.0001)]),
    ],
)
def test_where_a_promise_is_kept(quality: Quality, met: list[Coded], missed: list[Coded]) -> None:
    assert all(quality.met(each) for each in met)
    assert not any(quality.met(each) for each in missed)


def test_the_next_try_is_where_the_promise_would_be_kept() -> None:
    assert Lossless().factor(coded(error=3.0)) == 1
    assert MaxError(0.5).factor(coded(error=2.0)) == 0.25
    assert MaxError(0.5).factor(coded(error=0.0)) == 1
    # Errors grow with the steps: 20 dB for ten times as large ones, aimed at 0.2 dB more.
    assert Psnr(40.0).factor(coded(psnr=60.2)) == pytest.approx(10)
    assert Psnr(40.0).factor(coded(psnr=20.2)) == pytest.approx(0.1)
    assert Psnr(40.0).factor(coded(psnr=40.2)) == pytest.approx(1)


def test_a_bit_less_is_twice_the_steps() -> None:
    quality = Bits(4 / 0.99)
    assert quality.factor(coded(bits=4.0)) == pytest.approx(1)
    assert quality.factor(coded(bits=6.0)) == pytest.approx(4)
    assert quality.factor(coded(bits=2.5)) == pytest.approx(2.0**-1.5)
    # Where there are few bits, in proportion; and never more than 2^8 at once.
    assert Bits(0.1 / 0.99).factor(coded(bits=0.4)) == pytest.approx(2**1.6)
    assert Bits(0.4 / 0.99).factor(coded(bits=0.1)) == pytest.approx(2**-1.6)
    assert quality.factor(coded(bits=64.0)) == 256
    assert Bits(32.0).factor(coded(bits=1.0)) == pytest.approx(2.0**-8)


@pytest.mark.parametrize("kind", [MaxError, Psnr, Bits])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_promises_are_positive_and_finite(kind: type[MaxError], value: float) -> None:
    with pytest.raises(ValueError, match=r"must be (positive|finite)"):
        kind(value)


def test_names_are_those_of_files() -> None:
    qualities = (Lossless(), MaxError(1.0), Psnr(1.0), Bits(1.0))
    assert [each.name for each in qualities] == ["lossless", "max_error", "psnr", "bits"]
