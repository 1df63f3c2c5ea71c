"""Values as DICOM stores them: rounded one way, in 16 bits, and as each class tells it."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
import pytest
from pydicom.dataset import Dataset

from oinr_monai.images.dicom_series import _decimal, _fill, _stored
from tests.field.inputs import CAPTURE, CT, MR, PET


@pytest.mark.parametrize("rounding", [ROUND_CEILING, ROUND_FLOOR])
def test_decimals_are_rounded_one_way_and_fit_their_field(rounding: str) -> None:
    random = np.random.default_rng(0)
    for value in [1.0, 0.1, *(random.normal(size=200) * 10.0 ** random.integers(-12, 12, 200))]:
        text = _decimal(value, rounding)
        off = (Decimal(text) - Decimal(value)) / abs(Decimal(value))
        assert len(text) <= 16
        assert abs(off) < Decimal("1e-9")
        assert off >= 0 if rounding == ROUND_CEILING else off <= 0
    assert _decimal(0.0, rounding) == "0"


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 65_535, "uint16"),
        (-32_768, 32_767, "int16"),
        (-1, 4_000, "int16"),
        (0, 65_536, None),
        (-32_769, 0, None),
        (-1, 32_768, None),
    ],
)
def test_whole_numbers_of_16_bits_are_stored_as_they_are(
    low: int, high: int, kind: str | None
) -> None:
    values = np.array([low, 0, high, 7], np.float32)
    for signed in (False, True):
        stored, slope, intercept = _stored(values, signed)
        if kind is not None:
            assert (stored.dtype.name, slope, intercept) == (kind, "1", "0")
            assert np.array_equal(stored, values)
        else:
            assert (slope, intercept) != ("1", "0")
            assert stored.dtype.name == ("int16" if signed and low < 0 else "uint16")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("middle", "width"), [(0.0, 1.0), (5.0, 1e-3), (-1e6, 7.0), (3e4, 1e4)])
def test_other_numbers_come_back_to_half_a_step(signed: bool, middle: float, width: float) -> None:
    values = middle + width * np.random.default_rng(0).uniform(-1, 1, (7, 9))
    stored, slope, intercept = _stored(values, signed)
    step, start = float(slope), float(intercept)
    assert np.abs(stored * step + start - values).max() <= 0.5001 * step
    # The steps are as fine as 16 bits have them; where the intercept must be 0, from 0 on.
    low, high = float(values.min()), float(values.max())
    if not signed:
        finest = (high - low) / 65_535
    else:
        finest = max(-low, high) / 32_767 if low < 0 else high / 65_535
        assert intercept == "0"
    rounding = 1e-9 * abs(start) / 65_535  # of the intercept, as DICOM writes it
    assert finest <= step * (1 + 1e-12) <= 1.00001 * finest + 2 * rounding


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("sop", [CT, MR, PET, CAPTURE])
def test_how_values_are_scaled_is_told_as_its_class_has_it(sop: str, scaled: bool) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.RescaleType = sop, "HU"
    dataset.RescaleSlope, dataset.PhotometricInterpretation = "9", "RGB"
    pixels = np.arange(-6, 6).reshape(3, 4).astype(np.int16)
    _fill(dataset, pixels, *(("0.5", "3") if scaled else ("1", "0")))
    # CT has a type of its own, a capture one where it is scaled; others have none.
    assert ("RescaleType" in dataset) == (sop == CT or (sop == CAPTURE and scaled))
    if scaled or sop in (CT, PET):
        wanted = (0.5, 3) if scaled else (1, 0)
        assert (dataset.RescaleSlope, dataset.RescaleIntercept) == wanted
    assert (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel) == (3, 4, 1)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 16, 15)
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert dataset.PixelRepresentation == 1
    assert np.frombuffer(dataset.PixelData, "<i2").tolist() == list(range(-6, 6))
    _fill(dataset, pixels.astype(np.uint16), "1", "0")
    assert dataset.PixelRepresentation == 0
    assert dataset.PixelData == pixels.astype("<u2").tobytes()
