"""A page says its title, command and machine; rows survive a CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.shared.report import ROOT, Report, command, machine
from scripts.shared.rows import append_row, read_rows, write_rows


@dataclass(frozen=True)
class Row:
    name: str
    value: float
    steps: int | None = None


ROWS = [Row("a, with a comma", 1 / 3, 4), Row('b "quoted"', 1e-300)]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ["--data", "/home/someone/scans", "--only", "a", "b", "--output=/elsewhere", "--steps=3"]
    monkeypatch.setattr("sys.argv", [str(ROOT / "scripts/quality/fitting.py"), *told])


@pytest.mark.usefixtures("called")
def test_the_command_can_be_repeated_elsewhere() -> None:
    assert command() == "python -m scripts.quality.fitting --data DIR --only a b --steps 3"
    assert command("--only") == "python -m scripts.quality.fitting --data DIR --steps 3"


@pytest.mark.usefixtures("called")
def test_a_page_has_title_command_machine_table_and_picture(tmp_path: Path) -> None:
    report = Report("page", "A title", tmp_path / "new")
    report.made("notes.", without=["--only", "--data"])
    table = report.table(["what", "how much"], [["first", 1]])
    table.row("second", "2.50")
    report.picture("A curve")
    report.write(ROWS)
    written = f"""# A title

Made by `python -m scripts.quality.fitting --steps 3` on {machine()}; notes.

| what | how much |
|---|---:|
| first | 1 |
| second | 2.50 |

![A curve](page.png)
"""
    assert (tmp_path / "new/page.md").read_text() == written == str(report)
    assert read_rows(tmp_path / "new/page.csv", Row) == ROWS


def test_a_section_takes_the_place_of_its_last_self(tmp_path: Path) -> None:
    def write(section: str, text: str) -> None:
        report = Report("page", "A title", tmp_path)
        report.text(text)
        report.write_section(section)

    write("One", "old")
    write("Two", "kept")
    write("One", "new")
    written = "# A title\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    assert (tmp_path / "page.md").read_text() == written


def test_rows_survive_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert read_rows(path, Row) == []
    write_rows(path, ROWS)
    append_row(path, ROWS[0])
    assert read_rows(path, Row) == [*ROWS, ROWS[0]]
    write_rows(path, ROWS)
    assert read_rows(path, Row) == ROWS
