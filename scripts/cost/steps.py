"""Processor time of a step: before, now, and now as a program of torch.compile.

python -m scripts.cost.steps [--before CHECKOUT] [--rounds N]

CHECKOUT is a folder with another version of the repository, such as a worktree of an older commit.
All versions take turns, each job in a process of its own. Writes docs/measured/steps.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.shared.report import MEASURED, ROOT, Report
from scripts.shared.rows import append_row, read_rows
from scripts.shared.step_jobs import FITS, JOBS

JOB = Path("scripts", "shared", "step_jobs.py")
VERSIONS = ("before", "now", "compiled")

HEAD = """
Milliseconds of a step on one thread, {rounds} rounds in which the versions take turns: the median,
and of the ratios of each round the median, the least and the most. Fits of 64³ voxels, three of 32³
at once, slices of 64 x 64 x 16, a noisy volume of 48³. What takes no steps is timed as a whole.
"Before" is {before}. "Compiled" is `FitConfig(compiled=True)`.
"""
COMPILED = """
A program has to be made before the first step. Its processor seconds for the first fit of a
machine, and for a further one in the same process, and the steps after which the first has paid.
"""


@dataclass(frozen=True)
class Timed:
    """A job of a version in a round, in processor seconds.

    Args:
        job: which.
        version: "before", "now" or "compiled".
        round: which.
        first: of the first call, with few steps.
        few: of the second.
        step: of a further step; of what takes none, of the call.
    """

    job: str
    version: str
    round: int
    first: float
    few: float
    step: float


def timed(job: str, version: str, place: Path, number: int) -> Timed:
    """Time a job of a version in a process of its own, that finds no program made before."""
    with tempfile.TemporaryDirectory() as cache:
        known = os.environ | {"PYTHONPATH": str(place), "TORCHINDUCTOR_CACHE_DIR": cache}
        asked = [sys.executable, str(ROOT / JOB), job]
        asked += ["--compiled"] if version == "compiled" else []
        done = subprocess.run(asked, env=known, cwd=cache, check=True, capture_output=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Timed(
        job, version, number, found["first"], found["few"], found.get("step", found["few"])
    )


def measured(places: dict[str, Path], rounds: int, rows: Path) -> list[Timed]:
    """All that is not known yet, kept as it comes."""
    known = read_rows(rows, Timed)
    done = {(each.job, each.version, each.round) for each in known}
    for number in range(rounds):
        for job in JOBS:
            for version, place in places.items():
                unasked = version == "compiled" and job not in FITS
                if unasked or (job, version, number) in done:
                    continue
                known.append(timed(job, version, place, number))
                append_row(rows, known[-1])
                print(known[-1], flush=True)
    return known


def of(rows: list[Timed], job: str, version: str, what: str = "step") -> list[float]:
    """What a job of a version took, round by round."""
    chosen = [each for each in rows if (each.job, each.version) == (job, version)]
    return [getattr(each, what) for each in sorted(chosen, key=lambda each: each.round)]


def ratio(over: list[float], under: list[float]) -> str:
    """Median, least and most of the ratios, round by round."""
    found = [a / b for a, b in zip(over, under, strict=False)]
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})" if found else ""


def shown(seconds: list[float]) -> str:
    """The median in milliseconds."""
    return f"{1e3 * median(seconds):.2f}" if seconds else ""


def write(rows: list[Timed], before: str, folder: Path) -> None:
    """Write the page."""
    page = Report("steps", "What a step costs", folder)
    page.made(without=("--before",))
    page.text(HEAD.format(rounds=1 + max(each.round for each in rows), before=before))
    columns = {job: [of(rows, job, version) for version in VERSIONS] for job in JOBS}
    page.table(
        ("", "before, ms", "now, ms", "now / before", "compiled, ms", "compiled / now"),
        [
            (job, shown(old), shown(new), ratio(new, old), shown(made), ratio(made, new))
            for job, (old, new, made) in columns.items()
        ],
    )
    page.text(COMPILED)
    page.table(
        ("fit", "first, s", "again, s", "pays after, steps"),
        [(job, *_paid(rows, job)) for job in FITS if of(rows, job, "compiled")],
    )
    page.write()


def _paid(rows: list[Timed], job: str) -> tuple[str, str, str]:
    plain, made = (median(of(rows, job, version)) for version in ("now", "compiled"))
    few = median(of(rows, job, "now", "few"))
    first, again = (median(of(rows, job, "compiled", what)) - few for what in ("first", "few"))
    pays = f"{first / (plain - made):,.0f}" if plain > made else "never"
    return f"{first:.1f}", f"{again:.1f}", pays


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, help="another version of the repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    places = {"now": ROOT, "compiled": ROOT}
    named = "not measured"
    if options.before is not None:
        places = {"before": options.before, **places}
        asked = ["git", "-C", str(options.before), "rev-parse", "--short", "HEAD"]
        named = "commit " + subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    rows = measured(places, options.rounds, options.output / "steps.csv")
    write(rows, named.strip(), options.output)


if __name__ == "__main__":
    main()
