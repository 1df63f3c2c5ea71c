"""What the command line says, word by word; what its options ask for."""

from __future__ import annotations

import errno
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from oinr_monai.cli.console import about, hush, message_of, options, refuse, say, show, usage_of
from oinr_monai.images.notes import ImageNote


def failing(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize(
    ("said", "told"),
    [("must be whole", "scan.nii: must be whole"), ("scan.nii: is empty", "scan.nii: is empty")],
)
def test_a_file_is_named_once(said: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"), about(Path("scan.nii")):
        failing(said)


def test_arguments_are_named_as_the_options_they_were_given_by() -> None:
    with pytest.raises(ValueError, match=r"^--spacing must be as spacing is$"), options("spacing"):
        failing("spacing must be as spacing is")
    with (
        pytest.raises(ValueError, match=r"^spacings and --sigma must be"),
        options("spacing", "sigma"),
    ):
        failing("spacings and sigma must be")
    with pytest.raises(ValueError, match=r"^it went wrong$"), options("spacing"):
        failing("it went wrong")


def test_fields_are_lines_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {
        "a": 1.0 / 3,
        "longer": [1.5, 2],
        "nested": [[1, 2], [3]],
        "some": {"x": 1, "y": None},
    }
    show(fields, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "a       0.33333", "longer  1.5 2", "nested  1 2; 3", "some    x 1",
    ]  # fmt: skip
    show(fields, as_json=True)
    assert json.loads(capsys.readouterr().out) == fields


def test_one_line_and_the_status_of_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse("it is\n  wrong") == 2
    say("so  be\tit")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "oinr: it is wrong\noinr: so be it\n")


def test_what_an_error_says() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a.nii")
    assert message_of(full) == "a.nii: No space left on device; choose another place"
    nameless = OSError(errno.ENOSPC, "No space left on device")
    assert message_of(nameless) == "No space left on device; choose another place"
    assert message_of(FileNotFoundError("a.nii: no such file")) == "a.nii: no such file"
    assert message_of(ValueError("x must be y")) == "x must be y"
    wrong = typer.BadParameter("Value error, x must be y.")
    assert usage_of(wrong).endswith("x must be y; see `oinr --help`")


def test_notes_are_said_each_time_and_remarks_of_others_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        hush()
        for _ in range(2):
            warnings.warn(ImageNote("scan: taken for axial"), stacklevel=1)
            warnings.warn("`torch.jit.script` is deprecated", DeprecationWarning, stacklevel=1)
            warnings.warn("pkg_resources is deprecated as an API", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "oinr: scan: taken for axial\n" * 2


REFUSED: list[tuple[list[str], str]] = [
    (["--lossless", "--psnr", "40"], "--lossless and --psnr must not be given together"),
    (["--max-error", "1", "--bits", "2"], "--max-error and --bits must not be given together"),
    (["--bits", "2", "--preset", "fast"], "--bits must go with preset exact, got fast"),
    (["--psnr", "-3"], "must be positive"),
]


@pytest.mark.parametrize(("given", "reason"), REFUSED)
def test_how_good_samples_have_to_stay_is_asked_once(
    refused: Callable[..., str], scan: Path, given: list[str], reason: str
) -> None:
    assert reason in refused("fit", scan, "-o", "a.oinr", *given)
