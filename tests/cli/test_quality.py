"""The options that say how good samples have to stay are those qualities."""

from __future__ import annotations

import pytest

from oinr_monai.cli.quality import Asked
from oinr_monai.coding import Bits, Lossless, MaxError, Psnr, Quality

NOTHING = (False, None, None, None)


@pytest.mark.parametrize(
    ("place", "value", "quality", "name"),
    [
        (0, True, Lossless(), "--lossless"),
        (1, 0.5, MaxError(0.5), "--max-error"),
        (2, 40.0, Psnr(40.0), "--psnr"),
        (3, 2.0, Bits(2.0), "--bits"),
    ],
)
def test_each_asks_for_its_quality(place: int, value: float, quality: Quality, name: str) -> None:
    given = [value if i == place else each for i, each in enumerate(NOTHING)]
    asked = Asked(*given)  # type: ignore[arg-type]
    assert asked.given == [name]
    assert asked.quality("exact") == quality
    for preset in ("fast", None):
        with pytest.raises(ValueError, match=f"^{name} must go with preset exact, got {preset}"):
            asked.quality(preset)


def test_nothing_is_asked_of_what_is_trained() -> None:
    asked = Asked(*NOTHING)
    assert asked.given == []
    assert asked.quality("exact") is asked.quality("fast") is asked.quality(None) is None


def test_one_alone_may_be_given() -> None:
    with pytest.raises(ValueError, match=r"^--lossless and --psnr must not be given together; ch"):
        Asked(True, None, 40.0, None)
    with pytest.raises(ValueError, match=r"^--max-error and --psnr and --bits must not be given"):
        Asked(False, 1.0, 40.0, 2.0)
