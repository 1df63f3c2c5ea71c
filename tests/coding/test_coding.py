"""Samples that are coded come back: box by box, as exact as was promised."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from oinr_monai.coding import Bits, Lossless, MaxError, Psnr, Quality, open_samples, write_samples
from tests.coding.damage import InMemory, volume

SHAPES = [(1, 61, 50, 58), (2, 30, 41), (1, 100), (3, 1, 7, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_lossless_integers_and_floats(shape: tuple[int, ...], tmp_path: Path) -> None:
    for values in (volume(*shape), volume(*shape).round()):
        coded = write_samples(tmp_path / "a", InMemory(values), {"x": 1}, Lossless())
        found = open_samples(tmp_path / "a")
        assert torch.equal(found.read([0] * (len(shape) - 1), shape[1:]), values)
        assert (found.shape, found.header) == (shape, {"x": 1})
        assert (coded.max_error, coded.psnr) == (0, math.inf)
        assert coded.bytes == (tmp_path / "a").stat().st_size


QUALITIES: list[Quality] = [MaxError(0.5), Psnr(45.0), Bits(3.0)]


@pytest.mark.parametrize("shape", [SHAPES[0], (2, 100, 120)])
@pytest.mark.parametrize("quality", QUALITIES, ids=str)
def test_what_was_promised_is_kept(
    quality: Quality, shape: tuple[int, ...], tmp_path: Path
) -> None:
    values = volume(*shape)
    coded = write_samples(tmp_path / "a", InMemory(values), {}, quality)
    found = open_samples(tmp_path / "a").read([0] * (len(shape) - 1), shape[1:])
    error = (found - values).double()
    psnr = 20 * math.log10(float(values.max() - values.min()) / float(error.square().mean().sqrt()))
    assert coded.max_error == float(error.abs().max())
    assert coded.psnr == pytest.approx(psnr, abs=1e-6)
    if isinstance(quality, MaxError):
        assert coded.max_error <= 0.5
    if isinstance(quality, Psnr):
        assert 45 <= psnr <= 45.5
    if isinstance(quality, Bits):
        assert 8 * (tmp_path / "a").stat().st_size <= 3.0 * values.numel()
