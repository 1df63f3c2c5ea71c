"""The commands ``oinr cohort``: one task on many scans, here or on a cluster."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from .console import message_of, options, say, show
from .inputs import check_budget, device_of, load_representation, profile_of
from .leaving import INTERRUPTED
from .options import (
    Command,
    Commands,
    Device,
    Json,
    Overwrite,
    Preset,
    Report,
    Seconds,
    Seed,
    Steps,
)
from .outputs import check_folder, check_unused
from .pages import check_page, write_page

if TYPE_CHECKING:
    from oinr_monai.cohort import Cohort, Engine, Row, Task
    from oinr_monai.report.page import Page

__all__ = ["cohort"]

cohort = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    help="Many scans: those of a table, or that a pattern of file names finds.",
)


def _run(  # noqa: PLR0913
    task: Task,
    manifest: Annotated[
        str,
        typer.Argument(
            metavar="MANIFEST.csv|PATTERN|BIDS",
            help="Columns subject,image[,mask,labels,series], or such as 'scans/*/t1.nii.gz', or"
            " the root of a BIDS dataset.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Scans of a BIDS dataset, such as suffix=T1w."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes of engine local; 1 is this one.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto", help="A Ray cluster that runs; else one of its own."
        ),
    ] = None,
    cpus: Annotated[
        float, typer.Option(metavar="N", help="Cores, and threads, for each scan.")
    ] = 1.0,
    gpus: Annotated[
        float, typer.Option(min=0, metavar="N", help="GPUs for each scan, with Ray.")
    ] = 0.0,
    memory: Annotated[
        float | None, typer.Option(min=1, metavar="MIB", help="Memory for each scan, with Ray.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often a scan is begun again that was lost.")
    ] = 2,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="The I-th of N parts, for job arrays.")
    ] = None,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    from oinr_monai.cohort import Cohort, LocalEngine, RayEngine, ReconstructTask

    with_ray = engine == "ray"
    if not with_ray and (address is not None or gpus or memory is not None):
        raise ValueError("--address, --gpus and --memory must go with --engine ray")
    if with_ray and workers != 1:
        raise ValueError(f"--workers must go with --engine local, got {workers}; Ray has its own")
    chosen: Engine = (
        RayEngine(address, cpus, gpus, memory, retries)
        if with_ray
        else LocalEngine(workers, max(int(cpus), 1), retries)
    )
    stacks = isinstance(task, ReconstructTask)
    with options("where"):
        every = Cohort.of(manifest, _pairs(where or []), together=stacks)
    subjects, table = _part(every, shard)
    check_folder(_outermost(output, Path(manifest)))
    check_page(report, [Path(manifest)], overwrite)
    _check_outputs(subjects, task, output, table, Path(manifest), overwrite)
    _mapped(subjects, task, output, chosen, table, report, as_json)


def _outermost(output: Path, dataset: Path) -> Path:
    """The outermost folder that is to be made: within a dataset, such as its derivatives, all."""
    within = dataset.is_dir() and output.resolve().is_relative_to(dataset.resolve())
    while within and not output.parent.is_dir():
        output = output.parent
    return output


def _mapped(
    subjects: Cohort,
    task: Task,
    output: Path,
    engine: Engine,
    table: str,
    report: Path | None,
    as_json: bool,
) -> None:
    from oinr_monai.cohort.status import read_table

    started, interrupted = time.monotonic(), False
    try:
        progress = not as_json and sys.stderr.isatty()
        rows = subjects.map(task, output, engine, table=table, progress=progress)
    except KeyboardInterrupt:
        rows, interrupted = read_table(output / table), True
    except OSError as error:  # what is done is there, and stays
        say(message_of(error))
        raise typer.Exit(1) from None
    counts = {each: sum(row.status == each for row in rows) for each in ENDED}
    seconds = round(time.monotonic() - started, 3)
    path = str(output / table)
    page = write_page(report, functools.partial(_page, output, rows))
    told = {"output": str(output), "status": path, **counts, "seconds": seconds}
    show(told | page, as_json)
    if interrupted:
        say("interrupted; repeat the command to go on")
        raise typer.Exit(INTERRUPTED)
    if counts["failed"]:
        say(f"{counts['failed']} of {len(rows)} subjects failed; see {path}")
        raise typer.Exit(1)


def _page(folder: Path, rows: list[Row]) -> Page:
    from oinr_monai.report import report_of_cohort

    return report_of_cohort(folder, rows, f"{folder.resolve().name}, a cohort")


ENDED = ("done", "skipped", "failed")


def _part(every: Cohort, shard: str | None) -> tuple[Cohort, str]:
    """The subjects of a shard, and the name of its table."""
    if shard is None:
        return every, "status.csv"
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    index, count = (int(each) for each in found.groups()) if found else (0, 0)
    if not 1 <= index <= count <= len(every.subjects):
        raise ValueError(
            f"--shard must be I/N, 1/N to N/N of at most {len(every.subjects)}, got {shard!r}"
        )
    return every.shard(index, count), f"status-{index}-of-{count}.csv"


def _pairs(where: list[str]) -> dict[str, str]:
    for each in where:
        if "=" not in each.strip("="):
            raise ValueError(f"where must be KEY=VALUE, got {each!r}")
    return dict(each.split("=", 1) for each in where)


def _check_outputs(
    subjects: Cohort, task: Task, output: Path, table: str, manifest: Path, overwrite: bool
) -> None:
    """Raise where a file to write is one that is read, unless it may be replaced."""
    own = [path for each in subjects.subjects for path in each.files()]
    inputs = {_place(each): each for each in (manifest, *task.files(), *own)}
    places = subjects.places(task, output)
    made = [task.outputs(places[each.name], each) for each in subjects.subjects]
    for path in (output / table, *(path for each in made for path in each)):
        known = inputs.get(_place(path))
        if known is not None:
            check_unused(path, [known], overwrite)


def _place(path: Path) -> Path:
    # A name that no file can have fails its row.
    try:
        return path.resolve()
    except (OSError, ValueError):
        return path


def _on_engine(command: Callable[..., Task]) -> Callable[..., None]:
    """The command that does the task which ``command`` makes of its own options."""
    own, common = inspect.signature(command).parameters, inspect.signature(_run).parameters

    @functools.wraps(command)
    def run(**given: Any) -> None:
        task = command(**{name: given.pop(name) for name in own})
        _run(task, **given)

    (_, manifest, output, *rest) = common.values()
    hints = {
        name: hint
        for function in (_run, command)
        for name, hint in get_type_hints(function, None, {"Task": object}, True).items()
    }
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(kind=each.KEYWORD_ONLY, annotation=hints[each.name])
            for each in (manifest, output, *own.values(), *rest)
        ]
    )
    run.__annotations__ = hints
    return run


@cohort.command("fit", cls=Command)
@_on_engine
def fit_cohort(
    init: Annotated[
        Path | None, typer.Option(metavar="REP.oinr", help="Fit that each begins with.")
    ] = None,
    preset: Preset = None,
    steps: Steps = None,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Task:
    """Fit a representation to each image.

    Subjects that are there already, of the same files and with the same settings, are skipped. What
    became of each is in DIR/status.csv. Ends with 0 if all are there, with 1 if any failed.
    """
    check_budget(steps, seconds)
    from oinr_monai.cohort import FitTask
    from oinr_monai.fitting.presets import FitConfig

    if init is not None:
        load_representation(init, "cpu")
    config = FitConfig(
        preset=preset, steps=steps, seconds=seconds, seed=seed, device=device_of(device)
    )
    return FitTask(config, init and init.absolute())


@cohort.command("denoise", cls=Command)
@_on_engine
def denoise_cohort(
    noise: Annotated[
        Literal["gaussian", "rician"], typer.Option(help="Kind of noise.")
    ] = "gaussian",
    steps: Steps = None,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Task:
    """Remove the noise of each image, whose size is estimated."""
    check_budget(steps, seconds)
    from oinr_monai.cohort import DenoiseTask
    from oinr_monai.restoration.denoising import DenoiseConfig
    from oinr_monai.scanner.noise import GaussianNoise, RicianNoise

    model = GaussianNoise() if noise == "gaussian" else RicianNoise()
    return DenoiseTask(DenoiseConfig(model, steps, seconds, seed, device_of(device)))


@cohort.command("super-resolve", cls=Command)
@_on_engine
def super_resolve_cohort(
    steps: Steps = None,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Task:
    """Make the thick slices of each image fine; their spacing is their thickness."""
    check_budget(steps, seconds)
    from oinr_monai.cohort import SuperResolveTask
    from oinr_monai.restoration.super_resolution import SuperResolveConfig

    return SuperResolveTask(SuperResolveConfig(steps, seconds, seed, device_of(device)))


@cohort.command("register", cls=Command)
@_on_engine
def register_cohort(
    fixed: Annotated[Path, typer.Option(metavar="FIXED", help="Image that stays.")],
    model: Annotated[
        Literal["rigid", "affine", "deformable"], typer.Option(help="What may change.")
    ] = "deformable",
    kinds: Annotated[
        bool,
        typer.Option("--mutual-information", help="For images of different kinds; no deformation."),
    ] = False,
    device: Device = "auto",
) -> Task:
    """Move each image, and its label map of column labels, onto one that stays.

    Beside SUBJECT.nii.gz is SUBJECT_motion.safetensors, which `oinr warp` takes.
    """
    from oinr_monai.cohort import RegisterTask
    from oinr_monai.images.files import read_grid
    from oinr_monai.motion.registration import RegisterConfig
    from oinr_monai.motion.similarity import MutualInformation

    read_grid(fixed)
    with options("model", "similarity"):
        similarity = MutualInformation() if kinds else None
        config = RegisterConfig(model, similarity, device=device_of(device))
    return RegisterTask(fixed.absolute(), config)


@cohort.command("reconstruct", cls=Command)
@_on_engine
def reconstruct_cohort(
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Of the volumes; else the finest.")
    ] = None,
    thickness: Annotated[
        float | None,
        typer.Option("--slice-thickness", metavar="MM", help="Of a slice; else spacing."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="After which no other round begins.")
    ] = None,
) -> Task:
    """Reconstruct one volume of the stacks of each subject, between which it moved.

    Column image names the stacks of a subject, with | between them, and so does mask.
    """
    from oinr_monai.cohort import ReconstructTask
    from oinr_monai.restoration.reconstruction import ReconstructConfig

    if thickness is not None:
        profile_of("boxcar", thickness)
    with options("spacing", "seconds"):
        config = ReconstructConfig(spacing=spacing, seconds=seconds)
    return ReconstructTask(config, thickness)


@cohort.command("regions", cls=Command)
@_on_engine
def regions_cohort() -> Task:
    """Summarise each region of each subject's label map, of column labels, as a table."""
    from oinr_monai.cohort import FeaturesTask

    return FeaturesTask()


@cohort.command("status", cls=Command)
def cohort_status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a cohort's results.")],
    as_json: Json = False,
) -> None:
    """Show how far a cohort is, as it goes or later: what failed and why, what is unlike the rest.

    The rate is that of the scans of this run, and the time left what it comes to.
    """
    from oinr_monai.cohort import read_status, summary

    rows = list(read_status(folder).values())
    if not rows:
        raise ValueError(f"{folder}: must hold a status.csv, got none; `oinr cohort fit` writes it")
    found = summary(rows)
    left = None if found.seconds is None else found.counts["waiting"] * found.seconds
    show(
        {
            "subjects": len(rows),
            **found.counts,
            "seconds_a_subject": found.seconds,
            "processor_seconds_left": left,
            "scans_an_hour": found.rate,
            "seconds_left": found.seconds_left,
            "failures": found.failed,
            "outliers": found.outliers,
        },
        as_json,
    )
