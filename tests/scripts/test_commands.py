"""The commands of the documents are commands of the program, options and all."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from oinr_monai.cli.app import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]


def commands() -> list[tuple[str, ...]]:
    blocks = [b for page in PAGES for b in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("oinr ")]
    return sorted({tuple(each[1:]) for each in words})


def told(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[:2] if words[0] == "cohort" else words[:1]


@pytest.fixture(scope="module")
def options() -> dict[tuple[str, ...], set[str]]:
    return {}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_options_are_those_of_the_command(
    words: tuple[str, ...],
    options: dict[tuple[str, ...], set[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = told(words)
    if command not in options:
        assert main([*command, "--help"]) == 0
        options[command] = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out))
    given = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    assert given <= options[command]


def test_there_are_commands() -> None:
    assert len(commands()) > 20
