"""The site: every page is on it, every link leads somewhere, every public name has its entry."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import oinr_monai
from scripts import site
from scripts.shared.docstrings import markdown_of
from scripts.shared.gallery import EXAMPLES, cells_of, page_of_example
from scripts.shared.report import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    site.stage(folder)
    return folder


def test_every_link_of_the_site_leads_somewhere(pages: Path) -> None:
    written = sorted(pages.rglob("*.md"))
    assert len(written) > len(site.staged())
    for page in written:
        for link in LINK.findall(re.sub(site.FENCE, "", page.read_text())):
            path = link.partition("#")[0]
            assert "://" in link or not path or (page.parent / path).is_file(), f"{page}: {link}"


def test_every_page_is_in_the_contents(pages: Path) -> None:
    def listed(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        each = entry.values() if isinstance(entry, dict) else entry
        return [name for some in each for name in listed(some)]  # type: ignore[attr-defined]

    found = listed(site.navigation(site.staged()))
    beside = {"documentation.md", "measured/eclare", "measured/full"}
    told = {str(page.relative_to(pages)) for page in pages.rglob("*.md")}
    assert len(found) == len(set(found))
    assert told - set(found) <= {each for each in told if each.startswith(tuple(beside))}


def test_every_public_name_is_in_the_reference(pages: Path) -> None:
    text = "\n".join(page.read_text() for page in (pages / "reference").glob("*.md"))
    entries = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert set(oinr_monai.__all__) <= entries


def test_links_are_moved_and_what_is_no_page_stays_words() -> None:
    places = {
        ROOT / "README.md": Path("index.md"),
        ROOT / "docs/how-to/fit.md": Path("how-to/f.md"),
    }
    text = "[a](../../README.md#use) [b](../../setup.cfg) [c](#own)\n```\n[d](../../setup.cfg)\n```"
    moved = site.moved(text, ROOT / "docs/how-to/fit.md", places)
    assert moved == "[a](../index.md#use) b [c](#own)\n```\n[d](../../setup.cfg)\n```"


def test_a_docstring_as_markdown() -> None:
    docstring = (
        "Do it with :func:`~a.b.other`, ``x`` alone.\n\n.. math:: y = x\n\nArgs:\n    x: what\n"
        "        it is.\n\nExample:\n    >>> 1\n    1"
    )
    assert markdown_of(docstring).split("\n\n") == [
        "Do it with `other`, `x` alone.", "```\ny = x\n```", "**Arguments**", "- `x`: what it is.",
        "**Example**", "```python\n>>> 1\n1\n```",
    ]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_begin_with_words_and_are_programs(example: Path) -> None:
    (is_text, first), *rest = cells_of(example)
    assert is_text
    assert first.startswith("# ")
    compile("\n".join(body for text, body in rest if not text), example.name, "exec")
    assert page_of_example(example).count("```") == 2 * sum(not text for text, _ in rest)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 60
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "scripts.site", "--output", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "WARNING" not in done.stderr
    html = (tmp_path / "site" / "index.html").read_text()
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=.?https?:", html)
