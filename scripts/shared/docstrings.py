"""Docstrings in the style of Google as Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

# Headings of a docstring's parts, and their names on a page.
PARTS = {
    "Args": "Arguments",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Raises",
    "Example": "Example",
    "References": "References",
}
ROLE = re.compile(r":(\w+):`([^`]*)`")
MATH = re.compile(r"\.\. math::((?:.|\n)*?)(?=\n\n(?!\s)|\Z)")


def markdown_of(docstring: str) -> str:
    """Return a docstring as Markdown: parts as headings, arguments as a list, examples as code."""
    return "\n\n".join(filter(None, (_part(name, text) for name, text in _parts(docstring))))


def _parts(docstring: str) -> Iterator[tuple[str, str]]:
    name = ""
    lines: list[str] = []
    for line in docstring.splitlines():
        heading = line.removesuffix(":")
        if line.endswith(":") and heading in PARTS:
            yield name, "\n".join(lines)
            name, lines = heading, []
        else:
            lines.append(line)
    yield name, "\n".join(lines)


def _part(name: str, text: str) -> str:
    if not name:
        return _prose(text.strip("\n"))
    body = textwrap.dedent(text).strip("\n")
    if not body:
        return ""
    if name == "Example":
        shown = f"```python\n{body}\n```"
    elif name in ("Args", "Raises"):
        shown = "\n".join(_items(body))
    else:
        shown = _prose(body)
    return f"**{PARTS[name]}**\n\n{shown}"


def _items(body: str) -> Iterator[str]:
    """Yield a line of a list for each ``name: what it is``, which may go on on further lines."""
    for item in re.split(r"\n(?=\S)", body):
        name, _, told = " ".join(item.split()).partition(": ")
        yield f"- `{name}`: {_inline(told)}"


def _prose(text: str) -> str:
    """Return paragraphs; formulas become blocks of code."""
    text = MATH.sub(lambda found: f"```\n{textwrap.dedent(found[1]).strip()}\n```\n", text)
    return _inline(text).strip("\n")


def _inline(text: str) -> str:
    plain = ROLE.sub(_named, text)
    # Two marks around code are one in Markdown, and a value of an argument is no link.
    return re.sub(r"(?<!`)``(?!`)", "`", plain).replace("](", "]\\(")


def _named(role: re.Match[str]) -> str:
    kind, name = role.groups()
    return f"`{name}`" if kind == "math" else f"`{name.rpartition('.')[2].lstrip('~')}`"
