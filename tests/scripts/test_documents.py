"""Documents keep their word: links resolve, commands exist, and every page is in its index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MEASURED, HOW_TO = DOCS / "measured", DOCS / "how-to"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "bundles").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"python -m (scripts[.\w]+)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_relative_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


@each_page
def test_commands_name_programs_that_exist(page: Path) -> None:
    for module in PROGRAM.findall(page.read_text()):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert path.with_suffix(".py").is_file(), module


def test_the_page_of_answers_names_tests_that_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (DOCS / "reference/answers.md").read_text())
    assert named
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in text, f"{file}::{name}"


@pytest.mark.parametrize(
    "index", [MEASURED / "README.md", HOW_TO / "README.md", DOCS / "examples" / "README.md"]
)
def test_an_index_links_every_page_beside_it(index: Path) -> None:
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    beside = {*index.parent.rglob("*.md"), *index.parent.glob("*.py")}
    assert beside - {index} <= linked


def test_every_bench_is_in_the_index_of_what_was_measured() -> None:
    told = PROGRAM.findall((MEASURED / "README.md").read_text())
    benches = [
        f"scripts.{room}.{path.stem}"
        for room in ("quality", "cost")
        for path in (ROOT / "scripts" / room).glob("*.py")
        if path.stem != "__init__"
    ]
    assert sorted(set(benches) - set(told)) == []


def test_pictures_beside_a_page_are_shown_by_a_page() -> None:
    shown = {
        (page.parent / link).resolve() for page in PAGES for link in LINK.findall(page.read_text())
    }
    assert sorted(set(DOCS.rglob("*.png")) - shown) == []
