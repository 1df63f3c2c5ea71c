"""The reference is what the package says of itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import oinr_monai
from scripts.reference import columns, first_line, reference
from scripts.shared.report import Report


@pytest.mark.parametrize("made", [reference, columns])
def test_the_page_is_up_to_date(made: Callable[[], Report]) -> None:
    page = made()
    assert page.path("md").read_text() == str(page), "run python -m scripts.reference"


def test_every_public_name_is_told_in_one_line() -> None:
    page = str(reference())
    for name in oinr_monai.__all__:
        assert page.count(f"| `{name}` |") == 1
        assert first_line(getattr(oinr_monai, name))


def test_references_become_code_and_bars_stay_in_their_cell() -> None:
    def told() -> None:
        """See :class:`~oinr_monai.grids.grid.Grid` and :func:`fit`, or ``y = |x|``."""

    assert first_line(told) == r"See `Grid` and `fit`, or `y = \|x\|`."
