"""One HTML file that needs nothing beside it: facts, figures, tables and a viewer."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from oinr_monai.images.replacing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Page", "Picture", "inline"]

# Nothing is fetched, whatever a name that somebody gave a file says.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; connect-src data: blob:; font-src data:"
)

STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #888; --warn: #b45309; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.lead { color: var(--quiet); margin: 0 0 1.5rem } .said { font-size: 1.15rem }
.warning { border-left: 4px solid var(--warn); padding: .25rem .75rem; margin: .5rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .9rem .2rem 0; text-align: left;
  vertical-align: top } th { font-weight: 600 } th.sorts { cursor: pointer }
img { max-width: 100%; background: white; border-radius: 4px }
td img { height: 5rem; vertical-align: middle; image-rendering: pixelated }
figure { margin: 0 } figcaption { color: var(--quiet) }
.viewer { background: black; border-radius: 4px; height: 480px } .viewer canvas { width: 100% }
.layers { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 }
.layers button { font: inherit; padding: .15rem .7rem; border: 1px solid var(--line);
  border-radius: 999px; background: none; color: inherit; cursor: pointer }
.layers button[aria-pressed=true] { background: #2563eb; color: white }
"""

# A click on a heading sorts the rows by that column, numbers as numbers.
SORTING = """
for (const head of document.querySelectorAll("th.sorts")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const key = row => row.cells[column].textContent.trim();
  const number = text => text === "" ? Infinity : Number(text);
  const rising = head.dataset.rising !== "true"; head.dataset.rising = rising;
  [...body.rows].sort((a, b) => {
    const [x, y] = [number(key(a)), number(key(b))];
    const order = isNaN(x) || isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
    return rising ? order : -order;
  }).forEach(row => body.append(row));
};
"""


@dataclass(frozen=True)
class Picture:
    """A small picture in a cell of a table.

    Args:
        png: its bytes.
        words: what it shows, for whoever does not see it.
    """

    png: bytes
    words: str

    def html(self) -> str:
        """The picture itself."""
        return f'<img alt="{escape(self.words)}" src="data:image/png;base64,{_base64(self.png)}">'


class Page:
    """A page that is written from top to bottom; every text is escaped.

    Args:
        title: what it is about.
        lead: when and by what it was made.

    Example:
        >>> page = Page("A fit of <t1>", "oinr-monai 0.1.0")
        >>> page.facts("Image", {"shape": "176 x 256 x 256"})
        >>> "A fit of &lt;t1&gt;" in page.html()
        True
    """

    def __init__(self, title: str, lead: str) -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']

    def say(self, text: str) -> None:
        """One sentence that everybody should read."""
        self._parts.append(f'<p class="said">{escape(text)}</p>')

    def warn(self, text: str) -> None:
        """Something to beware of, in plain words."""
        self._parts.append(f'<p class="warning">{escape(text)}</p>')

    def facts(self, heading: str, facts: Mapping[str, str]) -> None:
        """Names and what they are, a row each."""
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
        self._section(heading, f"<table>{''.join(rows)}</table>")

    def table(
        self, heading: str, head: Sequence[str], rows: Sequence[Sequence[str | Picture]]
    ) -> None:
        """A table that a click on a heading sorts."""
        top = "".join(f'<th class="sorts">{escape(each)}</th>' for each in head)
        body = "".join(
            f"<tr>{''.join(f'<td>{_cell(each)}</td>' for each in row)}</tr>" for row in rows
        )
        table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
        self._section(heading, table)

    def figure(self, heading: str, figure: Figure, caption: str) -> None:
        """A picture by matplotlib."""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        image = Picture(stream.getvalue(), heading).html()
        caption = f"<figcaption>{escape(caption)}</figcaption>"
        self._section(heading, f"<figure>{image}{caption}</figure>")

    def add(self, heading: str, html: str) -> None:
        """HTML that is made elsewhere, of escaped parts."""
        self._section(heading, html)

    def html(self) -> str:
        """The whole page."""
        head = (
            f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
            f'content="{escape(POLICY)}"><title>{escape(self.title)}</title><style>{STYLE}</style>'
        )
        body = "\n".join([*self._parts, f"<script>{SORTING}</script>"])
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it, complete or not at all."""
        with replacing(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")

    def _section(self, heading: str, html: str) -> None:
        self._parts.append(f"<section><h2>{escape(heading)}</h2>{html}</section>")


def inline(value: object) -> str:
    r"""A value as JavaScript that can stand in a page: no text in it ends the script.

    Example:
        >>> print(inline({"name": "</script>"}))
        {"name": "\u003c/script\u003e"}
    """
    text = json.dumps(value, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _cell(value: str | Picture) -> str:
    return value.html() if isinstance(value, Picture) else escape(value)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
