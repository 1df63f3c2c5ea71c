"""Coders of chunks: each keeps every bit of what it takes, and takes no bytes of another."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai.coding.coders import (
    PICTURE,
    Coder,
    Constant,
    Deltas,
    Floats,
    Lifted,
    Pictures,
    Scale,
)
from oinr_monai.coding.pictures import THOROUGH
from oinr_monai.coding.tokens import LARGEST

SCALE = Scale(0.1, -1024.0)
WHOLE: list[Coder] = [
    *(kind(scale) for kind in (Deltas, Pictures, Lifted) for scale in (Scale(), SCALE)),
    Pictures(Scale(), turned=True),
    Pictures(SCALE, turned=True, effort=THOROUGH),
]
SHAPES = [(40,), (6, 7), (5, 4, 6)]


def drawn(*shape: int, low: int = -300, high: int = 40_000) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, high, shape, generator=generator).double()


def come_back(coder: Coder, values: Tensor) -> list[bytes]:
    data = coder.encode(values)
    assert None not in data
    found = [each for each in data if each is not None]
    again = coder.decode(found, tuple(values.shape[1:]))
    assert again.dtype == torch.float32
    assert torch.equal(again, values)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("coder", WHOLE, ids=repr)
def test_whole_numbers_come_back_and_others_are_left(coder: Coder, shape: tuple[int, ...]) -> None:
    scale: Scale = coder.scale  # type: ignore[attr-defined]
    values = scale.samples(drawn(4, *shape))
    data = come_back(coder, values)
    mixed = values.clone()
    mixed[2].view(-1)[3] += 0.03
    told = coder.encode(mixed)
    assert told == [*data[:2], None, data[3]]
    assert coder.encode(mixed[2:3]) == [None]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_bit_of_floats_comes_back(shape: tuple[int, ...]) -> None:
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values.view(3, -1)[:, :2] = torch.tensor([-0.0, 1e-45])
    data = come_back(Floats(), values)
    again = Floats().decode(data, shape)
    assert torch.equal(again.view(torch.int32), values.view(torch.int32))


def test_one_number_is_enough_for_a_chunk_of_it() -> None:
    values = torch.tensor([3.5, -7.0])[:, None, None].expand(2, 4, 5)
    assert come_back(Constant(), values) == [struct.pack("<f", x) for x in (3.5, -7.0)]
    other = values.clone()
    other[1, 3, 4] += 1
    assert Constant().encode(other) == [struct.pack("<f", 3.5), None]
    for wrong in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match="a constant chunk that is not a number"):
            Constant().decode([wrong], (4, 5))


@pytest.mark.parametrize("scale", [Scale(), Scale(2.0, 0.0), Scale(1.0, 5.0), SCALE])
def test_whole_numbers_are_told_by_their_scale(scale: Scale) -> None:
    steps = torch.tensor([[0.0, 1.0, -3.0, 7000.0]], dtype=torch.float64)
    samples = scale.samples(steps)
    assert torch.equal(samples, (scale.slope * steps + scale.intercept).float())
    whole, fits = scale.whole(samples)
    assert whole.dtype == np.int32
    assert np.array_equal(whole, steps.numpy())
    assert fits == [True]
    # No more than an eighth of what tokens can tell: wavelets and differences make them larger.
    for largest in (LARGEST >> 3, -(LARGEST >> 3)):
        near = largest - (1 if largest > 0 else -1)
        both = scale.samples(torch.tensor([[largest], [near]], dtype=torch.float64))
        if scale.slope in (1.0, 2.0):  # others are no float32 any more
            assert scale.whole(both)[1] == [False, True]


def test_pictures_are_of_numbers_within_16_bits() -> None:
    values = drawn(3, 4, 5, low=0, high=200)
    values[:, 0, 0] = 0
    for span, wide in ((255, 0), (256, 1), (65_535, 1), (65_536, None)):
        values[:, 1, 1] = span
        shifted = values.float() - 1000
        if wide is None:
            assert Pictures(Scale()).encode(shifted) == [None] * 3
            continue
        for turned in (False, True):
            data = come_back(Pictures(Scale(), turned), shifted)
            assert PICTURE.unpack_from(data[0]) == (-1000, wide | turned << 1)


def test_a_turned_picture_takes_less_where_lines_lie_along_the_first_axis() -> None:
    lines = drawn(1, 1, 1, 24).expand(1, 24, 24, 24).float()
    across = lines.permute(0, 3, 2, 1).contiguous()
    sizes = {
        (turned, name): len(come_back(Pictures(Scale(), turned), values)[0])
        for turned in (False, True)
        for name, values in (("last", lines.contiguous()), ("first", across))
    }
    # Turned, the one is the other.
    assert sizes[True, "first"] == sizes[False, "last"]
    assert sizes[True, "last"] == sizes[False, "first"]


def test_bytes_of_something_else_are_refused() -> None:
    values = drawn(1, 4, 5, low=0, high=200).float()
    (data,) = come_back(Pictures(Scale()), values)
    least, flags = PICTURE.unpack_from(data)
    for wrong in (b"", data[: PICTURE.size - 1], PICTURE.pack(least, 4) + data[PICTURE.size :]):
        with pytest.raises(ValueError, match="picture"):
            Pictures(Scale()).decode([wrong], (4, 5))
    assert flags == 0
    for coder in (Floats(), Deltas(Scale())):
        (data,) = come_back(coder, values)
        with pytest.raises((ValueError, RuntimeError)):
            coder.decode([data], (4, 6))
        with pytest.raises((ValueError, RuntimeError)):
            coder.decode([data], (4, 4))
