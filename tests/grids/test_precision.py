"""Single precision is what it says, whatever torch was told to take for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from oinr_monai.grids.precision import full_precision

PARTS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.mkldnn.matmul,
    torch.backends.mkldnn.conv,
)


def settings() -> list[str]:
    return [part.fp32_precision for part in PARTS]


@pytest.fixture
def short() -> Iterator[list[str]]:
    """What a training loop often sets, and torch's own TF32 in convolutions."""
    before = settings()
    torch.set_float32_matmul_precision("medium")
    try:
        yield settings()
    finally:
        torch.set_float32_matmul_precision("highest")
        for part, setting in zip(PARTS, before, strict=True):
            part.fp32_precision = setting


def test_nothing_shortens_products_within(short: list[str]) -> None:
    assert {"tf32", "bf16"} <= set(short)
    with full_precision():
        assert set(settings()) <= {"ieee", "none"}
    assert settings() == short


def test_what_was_set_comes_back_after_an_error_and_from_within_another(short: list[str]) -> None:
    @full_precision()
    def fails() -> None:
        with full_precision():
            pass
        found.extend(settings())
        raise RuntimeError

    found: list[str] = []
    with pytest.raises(RuntimeError):
        fails()
    assert set(found) <= {"ieee", "none"}
    assert settings() == short


def test_the_last_of_several_threads_puts_it_back(short: list[str]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with full_precision():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    with full_precision():
        thread.start()
        assert entered.wait(10)
    assert set(settings()) <= {"ieee", "none"}
    leave.set()
    thread.join()
    assert settings() == short


def test_where_nothing_is_shortened_nothing_is_touched() -> None:
    before = settings()
    for part in PARTS:
        part.fp32_precision = "ieee"
    try:
        with full_precision():
            pass
        assert settings() == ["ieee"] * len(PARTS)
    finally:
        for part, setting in zip(PARTS, before, strict=True):
            part.fp32_precision = setting
