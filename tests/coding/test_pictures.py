"""Pictures of whole numbers come back, and frames of strangers cannot ask for more than one."""

from __future__ import annotations

import numpy as np
import pytest

from oinr_monai.coding.pictures import FAST, THOROUGH, Picture, packed_picture, unpacked_picture

KINDS = [np.dtype(np.uint8), np.dtype(np.uint16)]


def drawn(kind: np.dtype, *shape: int) -> Picture:
    found: Picture = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, True)
    return found


@pytest.mark.parametrize("effort", [FAST, THOROUGH])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (300, 40)], ids=str)
def test_pictures_come_back(shape: tuple[int, int], kind: np.dtype, effort: int) -> None:
    picture = drawn(kind, *shape)
    data = packed_picture(picture, effort)
    assert data is not None
    assert np.array_equal(unpacked_picture(data, shape, kind), picture)


def test_smooth_pictures_take_less() -> None:
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    smooth = (100 + 50 * np.sin(x / 20) * np.cos(y / 30)).astype(np.uint16)
    data = packed_picture(smooth)
    assert data is not None
    assert len(data) < 0.2 * smooth.nbytes


def test_a_frame_of_another_size_is_no_picture() -> None:
    data = packed_picture(drawn(KINDS[1], 20, 30))
    assert data is not None
    with pytest.raises((ValueError, RuntimeError)):
        unpacked_picture(data[: len(data) // 2], (20, 30), KINDS[1])


@pytest.mark.parametrize("first", [b"", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ", b"\x09\x00\x01\x00"])
def test_what_is_no_plain_frame_is_refused(first: bytes) -> None:
    data = packed_picture(drawn(KINDS[0], 8, 8))
    assert data is not None
    with pytest.raises(ValueError, match="plain"):
        unpacked_picture(first + data[4:], (8, 8), KINDS[0])
