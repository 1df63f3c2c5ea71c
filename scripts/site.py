"""Build the pages of the documentation as a site that needs no network: build/site."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import oinr_monai
from scripts.reference import rooms
from scripts.shared.docstrings import markdown_of
from scripts.shared.gallery import EXAMPLES, page_of_example
from scripts.shared.report import ROOT

BUILD = ROOT / "build"
DOCS = ROOT / "docs"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)

# Pages of the repository's root.
ROOT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
ROOT_PAGES |= {"CONTRIBUTING.md": "contributing.md", "data/README.md": "data.md"}

# Warnings end the build.
MKDOCS = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file")

CONFIG = {
    "site_name": "oinr_monai",
    "theme": {
        "name": "material",
        "font": False,
        "features": ["navigation.tabs", "navigation.indexes", "content.code.copy"],
        "palette": [
            {"scheme": "default", "toggle": {"icon": "material/weather-night", "name": "Dark"}},
            {"scheme": "slate", "toggle": {"icon": "material/weather-sunny", "name": "Light"}},
        ],
    },
    "plugins": ["search", "offline"],
    "markdown_extensions": ["tables", "pymdownx.superfences", {"toc": {"permalink": True}}],
    "validation": {"anchors": "warn", "unrecognized_links": "warn", "omitted_files": "warn"},
}


def staged() -> dict[Path, Path]:
    """Return where each page of the repository lies in the site."""
    places = {ROOT / name: Path(place) for name, place in ROOT_PAGES.items()}
    for page in sorted(DOCS.rglob("*.md")):
        place = page.relative_to(DOCS)
        if page.parent == DOCS and page.name == "README.md":
            place = Path("documentation.md")
        elif page.name == "README.md":
            place = place.with_name("index.md")
        places[page] = place
    for page in sorted((ROOT / "bundles").glob("*/docs/README.md")):
        places[page] = Path("bundles", f"{page.parents[1].name}.md")
    for page in EXAMPLES:
        places[page] = Path("examples", f"{page.stem}.md")
    return places


def moved(text: str, page: Path, places: Mapping[Path, Path]) -> str:
    """Return the text of a page with its links as they are in the site.

    What is no page and no picture of the documentation is no link there: its words stay.
    """

    def link(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path, hash_sign, heading = target.partition("#")
        if "://" in target or not path:
            return found[0]
        goal = (page.parent / path).resolve()
        goal = goal / "README.md" if goal.is_dir() else goal
        place = places.get(goal)
        if place is None and goal.is_relative_to(DOCS) and goal.is_file():
            place = goal.relative_to(DOCS)
        if place is None:
            return words
        return f"{mark}[{words}]({_relative(place, places[page])}{hash_sign}{heading})"

    parts = FENCE.split(text)
    return "".join(each if i % 2 else LINK.sub(link, each) for i, each in enumerate(parts))


def _relative(goal: Path, page: Path) -> str:
    return Path(os.path.relpath(goal, page.parent)).as_posix()


def reference_pages() -> dict[str, str]:
    """Return a page for each room of the package: its public names, from their docstrings."""
    pages = {}
    for room, names in rooms():
        parts = [f"# {room}"]
        for name in names:
            thing = getattr(oinr_monai, name)
            parts += [f"## {name}", f"```python\n{_signature(name, thing)}\n```"]
            parts.append(markdown_of(inspect.getdoc(thing) or ""))
        pages[room] = "\n\n".join(parts) + "\n"
    return pages


def _signature(name: str, thing: object) -> str:
    try:
        taken = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    told = f"{name}{taken}".replace("'", "")
    return told if len(told) <= 88 else told.replace("(", "(\n    ", 1).replace(", ", ",\n    ")


def navigation(places: Mapping[Path, Path]) -> list[object]:
    """Return the table of contents."""
    return [
        {"Start": "index.md"},
        {"How to": _listed(places, "how-to")},
        {"Examples": _listed(places, "examples")},
        {"Concepts": "concepts.md"},
        {"Reference": [*_listed(places, "reference"), *(f"reference/{r}.md" for r, _ in rooms())]},
        {"Measured": _listed(places, "measured")},
        {"Bundles": _listed(places, "bundles")},
        {"Project": ["contributing.md", "changelog.md", "security.md", "data.md"]},
    ]


def _listed(places: Mapping[Path, Path], folder: str) -> list[str]:
    found = [place.as_posix() for place in places.values() if place.parts[0] == folder]
    return sorted(found, key=lambda place: (not place.endswith(f"{folder}/index.md"), place))


def stage(folder: Path) -> int:
    """Write all that the site is built of; the number of pages."""
    places = staged()
    for page, place in places.items():
        text = page_of_example(page) if page.suffix == ".py" else page.read_text()
        _write(folder / place, moved(text, page, places))
    for room, text in reference_pages().items():
        _write(folder / "reference" / f"{room}.md", text)
    for path in DOCS.rglob("*"):
        if path.is_file() and path.suffix in (".png", ".csv", ".json", ".svg"):
            target = folder / path.relative_to(DOCS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return len(list(folder.rglob("*.md")))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def config(source: Path, site: Path) -> dict[str, object]:
    """Return what MkDocs reads; JSON is YAML."""
    places = {"docs_dir": str(source), "site_dir": str(site), "nav": navigation(staged())}
    return {**CONFIG, **places}


def main() -> None:
    """Write build/site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=BUILD / "site", help="folder of the site")
    output = parser.parse_args().output.resolve()
    began, source = time.monotonic(), BUILD / "site-pages"
    shutil.rmtree(source, ignore_errors=True)
    pages = stage(source)
    file = BUILD / "mkdocs.yml"
    file.write_text(json.dumps(config(source, output)))
    # What its makers announce is no warning about a page.
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([*MKDOCS, str(file)], check=True, env=quiet)
    print(f"{pages} pages in {time.monotonic() - began:.0f} s: {output}/index.html")


if __name__ == "__main__":
    main()
