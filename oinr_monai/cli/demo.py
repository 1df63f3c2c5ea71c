"""``oinr demo``: the first minute, on a head that comes with the package."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite

__all__ = ["HEAD", "TOUR", "demo"]

# The middle of the MNI152 T1 template at 1 mm, to 45 dB; its licence lies beside it.
HEAD = Path(__file__).with_name("head.oinr")

# What is said of a command, and the command.
TOUR = (
    ("The scan as a function: its file keeps every bit.", "fit scan.nii.gz -o scan.oinr"),
    (
        "Exact derivatives, per mm, and what is dark and as thin as a vessel.",
        "derive scan.oinr -o maps --maps gradient_magnitude,vesselness_dark --sigma 1",
    ),
    (
        "Slices of 4 mm of it, as a scanner sees them.",
        "simulate scan.nii.gz -o thick.nii.gz --spacing 4",
    ),
    ("The spline through them, beside the truth ...", "fit thick.nii.gz -o spline.oinr"),
    ("", "evaluate spline.oinr --image scan.nii.gz"),
    (
        "... and what an operator makes of them that has seen other scans.",
        "super-resolve thick.nii.gz -o fine.oinr --steps 0",
    ),
    ("", "evaluate fine.oinr --image scan.nii.gz"),
    ("A page to look at.", "report fine.oinr -o report.html --image thick.nii.gz"),
)


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")
    ] = Path("oinr-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Run the commands of a first minute on a head, and show each.

    A scan becomes a function, its derivatives are taken, thick slices of it are made fine beside
    the truth. All files stay in DIR, to look at in any viewer.
    """
    if not overwrite and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output}: is not an empty folder; give --overwrite, or another -o")
    output.mkdir(parents=True, exist_ok=True)
    _write_scan(output / "scan.nii.gz")
    with chdir(output):
        for said, command in TOUR:
            _run(said, command)
    typer.echo(f"\nAll of it is in {output}; `oinr --help` has the other commands.")


def _write_scan(path: Path) -> None:
    import torch
    from monai.data import MetaTensor

    from oinr_monai.images.files import write_image
    from oinr_monai.representation.representation import Representation

    head = Representation.load(HEAD).sample()
    whole = head.as_tensor().round().clamp(0).to(torch.int16)
    write_image(path, MetaTensor(whole, affine=head.affine), "MNI152 T1 template")


def _run(said: str, command: str) -> None:
    from .app import main

    typer.echo(f"\n{said}\n$ oinr {command}" if said else f"$ oinr {command}")
    if command.startswith("report") and find_spec("nilearn") is None:
        typer.echo("(left out: pages need `pip install 'oinr-monai[report]'`)")
        return
    sys.stdout.flush()
    began = time.monotonic()
    status = main(shlex.split(command))
    if status:
        raise typer.Exit(status)
    typer.echo(f"{time.monotonic() - began:.1f} s")
