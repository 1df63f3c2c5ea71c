"""Chunks with an error: within its bound where there is one, as small as steps say otherwise."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai.coding.entropy import packed
from oinr_monai.coding.quantised import HEAD, PUT_RIGHT, TOLD, Wavelets
from oinr_monai.coding.tokens import LARGEST
from oinr_monai.coding.wavelets import analyse

SHAPES = [(200,), (24, 30), (12, 13, 14)]


def drawn(*shape: int) -> Tensor:
    """Two waves, one of which is steep, and noise."""
    x = torch.linspace(0, 20, shape[-1])
    noise = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    return (x.sin() * torch.tensor([30.0, 3.0, 0.0]).view(-1, *[1] * len(shape)) + noise).float()


def coded(coder: Wavelets, values: Tensor) -> list[bytes]:
    data = coder.encode(values)
    assert None not in data
    return [each for each in data if each is not None]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("error", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("part", [0.5, 1.6, 8.0])
def test_no_sample_is_off_by_more_than_the_bound(
    part: float, error: float, shape: tuple[int, ...]
) -> None:
    values, coder = drawn(*shape), Wavelets(part * error, error)
    data = coded(coder, values)
    off = coder.decode(data, shape) - values
    assert float(off.abs().max()) <= error
    # Where none is put right, the bound costs nothing: then it is what steps alone leave.
    free = Wavelets(part * error).decode(coded(Wavelets(part * error), values), shape) - values
    for each, alone, chunk in zip(off, free, data, strict=True):
        count = HEAD.unpack_from(chunk)[-2]
        assert count == int((alone.abs() > error).sum())
        kept = alone.abs() <= error
        assert torch.equal(each[kept], alone[kept])
        if count:
            assert float(each[~kept].abs().max()) <= PUT_RIGHT * error * 1.001


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("step", [0.1, 1.0, 4.0])
def test_the_distortion_is_that_of_the_samples(step: float, shape: tuple[int, ...]) -> None:
    values, coder = drawn(*shape), Wavelets(step)
    off = coder.decode(coded(coder, values), shape) - values
    error = float(off.square().mean())
    # The basis is nearly orthonormal.
    assert coder.distortion(analyse(values)) == pytest.approx(error, rel=0.15)
    assert error < 1.2 * step**2 / 12 * (1 + 2 * (step >= 1))


def test_chunks_are_the_same_alone_and_together() -> None:
    values, coder = drawn(20, 22), Wavelets(0.7, 0.5)
    data = coded(coder, values)
    assert data == [coded(coder, each[None])[0] for each in values]
    whole = coder.decode(data, (20, 22))
    for each, alone in zip(data, whole, strict=True):
        assert torch.equal(coder.decode([each], (20, 22))[0], alone)


def test_sizes_are_put_back_where_most_of_them_were() -> None:
    values, coder = drawn(12, 13, 14), Wavelets(1.5)
    data = coded(coder, values)
    plain = [
        HEAD.pack(*[0] * TOLD, *HEAD.unpack_from(each)[TOLD:]) + each[HEAD.size :] for each in data
    ]
    told, untold = (
        float((coder.decode(each, (12, 13, 14)) - values).square().mean()) for each in (data, plain)
    )
    assert told < 0.99 * untold
    # The mean of what a size is off by is the one that leaves the least error.
    for k in range(TOLD):
        heads = [list(HEAD.unpack_from(each)) for each in data]
        for head in heads:
            head[k] += 12 if head[k] < 0 else -12
        moved = [
            HEAD.pack(*head) + each[HEAD.size :] for head, each in zip(heads, data, strict=True)
        ]
        assert float((coder.decode(moved, (12, 13, 14)) - values).square().mean()) > told


def test_steps_that_are_too_small_are_not_taken() -> None:
    values = torch.zeros(2, 5)  # too short to be split: coefficients are samples
    values[1, 2] = 1.0
    fits = Wavelets(1 / (LARGEST - 1))
    assert None not in fits.encode(values)
    assert Wavelets(1 / (LARGEST + 1)).encode(values) == [None, None]


def test_bytes_of_something_else_are_refused() -> None:
    values, coder = drawn(24, 30), Wavelets(3.0, 0.5)
    (data, *_) = coded(coder, values)
    *means, count, length = HEAD.unpack_from(data)
    assert 0 < count < values[0].numel()
    with pytest.raises(ValueError, match="a chunk without its means"):
        coder.decode([data[: HEAD.size - 1]], (24, 30))
    with pytest.raises(ValueError, match="more samples put right than there are"):
        coder.decode([HEAD.pack(*means, 24 * 30 + 1, length) + data[HEAD.size :]], (24, 30))
    for wrong in (count - 1, count + 1):
        with pytest.raises((ValueError, RuntimeError)):
            coder.decode([HEAD.pack(*means, wrong, length) + data[HEAD.size :]], (24, 30))


def test_samples_put_right_that_are_not_there_are_refused() -> None:
    coder, values = Wavelets(1.0, 0.5), torch.zeros(1, 5)
    (data,) = coded(coder, values)
    off = torch.zeros(5)
    for place, there in ((4, True), (5, False), (1 << 31, False)):
        row = struct.pack("<Ih", place, 1)
        right = packed(np.frombuffer(row, np.uint8))
        head = HEAD.pack(*[0] * TOLD, 1, len(right))
        made = head + right + data[HEAD.size :]
        if there:
            off[place] = 2 * PUT_RIGHT * 0.5
            torch.testing.assert_close(coder.decode([made], (5,))[0], off)
        else:
            with pytest.raises(ValueError, match="a sample put right that is not there"):
                coder.decode([made], (5,))
