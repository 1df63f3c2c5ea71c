"""Help, versions and usage errors: at once, for nothing that computes is loaded for them."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from oinr_monai.analysis.derivatives import MAPS
from oinr_monai.cli.app import ASK, FIRST, FIT, MANY, RESTORE, app, main
from oinr_monai.cli.derive import MAP_NAMES
from oinr_monai.fitting import FitConfig, fit
from oinr_monai.operators import CZOINR

LOADED = """
import sys
sys.orig_argv = ["python", "-m", "oinr_monai"]
from oinr_monai.cli import main
status = main(sys.argv[1:])
print(status, *(name for name in ("torch", "numpy", "monai", "nibabel") if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("line", "status"),
    [("--help", 0), ("--version", 0), ("fitt", 2), ("derive -h", 0), ("cohort fit --prest 1", 2)],
)
def test_what_computes_nothing_loads_nothing_that_computes(line: str, status: int) -> None:
    command = [sys.executable, "-c", LOADED, *line.split()]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == str(status)


HEAVY = ("monai", "ignite", "scipy", "pandas", "matplotlib", "nibabel", "imagecodecs")


@pytest.mark.parametrize(
    "config",
    [FitConfig(), FitConfig(network=partial(CZOINR, levels=2), steps=1)],
    ids=["samples", "weights"],
)
def test_info_loads_no_more_than_reads_the_file(config: FitConfig, tmp_path: Path) -> None:
    path = tmp_path / "rep.oinr"
    fit(torch.eye(16)[None], config).save(path)
    code = LOADED.replace('"torch", "numpy", "monai", "nibabel"', repr(HEAVY)[1:-1])
    command = [sys.executable, "-c", code, "info", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "0"


def test_the_program_has_every_name_of_the_package() -> None:
    code = "\n".join(
        [
            *LOADED.splitlines()[1:3],
            "import oinr_monai",
            "print('torch' in sys.modules)",
            "from oinr_monai import Grid, fit",
            "print(Grid.__name__, fit.__name__)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "Grid fit"]


def test_the_names_of_maps_are_those_of_the_analysis() -> None:
    assert list(MAP_NAMES) == list(MAPS)


def test_every_command_has_its_heading_and_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    overview = capsys.readouterr().out
    for command in app.registered_commands:
        assert command.name is not None
        assert f"\n  {command.name} " in overview
        assert main([command.name, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"Example: oinr {command.name} " in shown
        # A whole sentence, in the overview as well.
        sentence = (command.callback.__doc__ or "").split("\n\n")[0]
        assert " ".join(sentence.split()) in " ".join(overview.split())
    assert "..." not in overview.replace("[ARGS]...", "")
    headings = [line[:-1] for line in overview.splitlines() if re.match(r"\w.*:$", line)]
    assert headings == ["Options", FIRST, FIT, ASK, RESTORE, MANY]
