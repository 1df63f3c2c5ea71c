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
        assert torch.get_float32_matmul_precision() == "highest"
    assert settings() == short
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("told", ["medium", "highest"])
def test_settings_of_older_torch_can_be_read_within_and_after(told: str) -> None:
    def read() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    torch.set_float32_matmul_precision(told)
    try:
        before = read()
        with full_precision():
            assert read() == (False, False)
        assert read() == before
    finally:
        torch.set_float32_matmul_precision("highest")


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


def test_the_newer_settings_are_put_right_too(short: list[str]) -> None:
    del short
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # from here on the older cannot be read
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = settings()
    try:
        with full_precision():
            assert set(settings()) <= {"ieee", "none"}
        assert settings() == before
    finally:
        torch.backends.cudnn.rnn.fp32_precision = "tf32"


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
