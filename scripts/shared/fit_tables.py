"""The tables of fits of a block, closed forms and trainings beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.shared.fits import (
    HEAD,
    LEAST_SQUARES,
    SIZES,
    Cell,
    Row,
    cells_of,
    gains,
    scores_of,
    shown,
    sizes_of,
)
from scripts.shared.report import Report

OURS = "`fit`, {}"
# As the presets were before they began at a spline of their own.
BEFORE = "`fit`, {}, from random weights"
CLOSED, LOW, AGAINST = (
    "closed forms of as many numbers or bytes",
    "low rates",
    "half the resolution",
)
SHORTER = "our fits beside the spline of as many numbers"


class Tables:
    """The tables of a page.

    Args:
        report: the page.
        rows: what was measured.
        voxels: of a block.
    """

    def __init__(self, report: Report, rows: Mapping[Cell, Row], voxels: int) -> None:
        self.report, self.rows, self.voxels = report, rows, voxels

    def add(self, title: str, cells: Sequence[Cell]) -> None:
        """The table that goes with a title."""
        tables = {
            CLOSED: self.closed,
            LOW: self.closed,
            AGAINST: self.coarse,
            SHORTER: self.early,
        }
        tables.get(title, self.trained)([self.rows[cell] for cell in cells])

    def trained(self, rows: Sequence[Row]) -> None:
        """What was trained, and by how much ours are ahead."""
        self.report.table(HEAD, map(cells_of, rows))
        mine = [each for each in rows if each.method.startswith(OURS.format(""))]
        others = [each for each in rows if each not in mine and each.psnr_between > 0]
        if others:
            self.report.text(
                "Ours less the rival's PSNR between samples, and ours over its gradient error:"
            )
            lines = [[other.method, *(gains(each, other) for each in mine)] for other in others]
            self.report.table(["", *(each.method for each in mine)], lines)

    def closed(self, rows: Sequence[Row]) -> None:
        """What is kept, and how good it is."""
        self.report.table(SIZES, (sizes_of(row, self.voxels) for row in rows))

    def early(self, rows: Sequence[Row]) -> None:
        """Our fits of each budget, less the least-squares spline of as many numbers."""
        head = (
            "method",
            "seconds",
            "steps",
            *HEAD[-3:],
            "less the spline's: grid (dB)",
            "between (dB)",
        )
        table = self.report.table(head)
        for mine in rows:
            closed = self.rows[Cell(mine.volume, LEAST_SQUARES, parameters=mine.parameters)]
            ahead = (mine.psnr_grid - closed.psnr_grid, mine.psnr_between - closed.psnr_between)
            cells_before = (mine.method, f"{mine.seconds:.1f}", f"{mine.steps:,}", *scores_of(mine))
            table.row(*cells_before, *(f"{gain:+.2f}" for gain in ahead))

    def coarse(self, rows: Sequence[Row]) -> None:
        """Blocks of averages over two voxels along each axis, against those voxels."""
        table = self.report.table(
            ("method", "bytes", "seconds", *HEAD[-3:], "against the truth (dB)")
        )
        for row in rows:
            seconds = f"{row.seconds:.2f}"
            table.row(row.method, f"{row.bytes:,}", seconds, *scores_of(row), shown(row.truth, 2))
