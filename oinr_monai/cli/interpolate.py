"""The command ``oinr interpolate``: what lies between images, frames or slices."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import about, show
from .inputs import check_budget, device_of
from .keeping import Resume, kept, stopped
from .options import (
    IMAGE_SUFFIXES,
    Device,
    Json,
    Output,
    Overwrite,
    Preset,
    Report,
    Seconds,
    Seed,
    SeriesUid,
    Steps,
)
from .outputs import check_not_source, check_output, check_result
from .pages import check_page, page_of_answer, write_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.images.series import Series
    from oinr_monai.report.page import Page
    from oinr_monai.representation.family import Family

__all__ = ["interpolate"]

OUTPUTS = (*IMAGE_SUFFIXES, ".gif", ".mp4")


def interpolate(  # noqa: PLR0913
    series: Annotated[
        list[Path],
        typer.Argument(
            metavar="SERIES...",
            help="4-D NIfTI, GIF, MP4, a folder, images in order, a volume with --axis; or .oinr.",
        ),
    ],
    output: Output,
    at: Annotated[
        str | None, typer.Option(metavar="T,...", help="Times to show, such as 0.5 or 0.5,1.5.")
    ] = None,
    factor: Annotated[
        int | None, typer.Option(min=2, metavar="F", help="F times as many frames or slices.")
    ] = None,
    times: Annotated[
        str | None, typer.Option(metavar="T,...", help="Times of the images, else 0, 1, 2, ...")
    ] = None,
    axis: Annotated[
        int | None, typer.Option(min=0, max=2, metavar="D", help="Fill in slices along this axis.")
    ] = None,
    motion: Annotated[
        bool, typer.Option(help="Find how things move; otherwise they fade into each other.")
    ] = True,
    realign: Annotated[
        bool, typer.Option("--realign", help="Bring the frames onto the first as rigid bodies.")
    ] = False,
    poses: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Keep how far each frame had moved.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FAMILY.oinr", help="Keep the fit, to ask it again.")
    ] = None,
    report: Report = None,
    preset: Preset = "balanced",
    steps: Steps = None,
    seconds: Seconds = None,
    uid: SeriesUid = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit one operator to several images, and show what lies between them.

    Two images are a blend: --at 0 is the first, --at 1 the second. A series has its own times.
    """
    if (at is None) == (factor is None):
        raise ValueError("--at or --factor must be given, and not both")
    if axis is not None and (factor is None or times is not None or save is not None):
        raise ValueError("--axis must go with --factor, and without --at, --times and --save")
    _check_realigning(realign, axis, poses)
    check_budget(steps, seconds)
    check_page(report, series, overwrite)
    _check_outputs({output: OUTPUTS, save: (".oinr",), poses: (".csv",)}, series, overwrite)
    from oinr_monai.fitting.presets import FitConfig

    config = FitConfig(preset, steps, seconds, seed=seed, device=device_of(device))
    progress = not as_json and sys.stderr.isatty()
    if axis is not None:
        with kept(output, resume) as checkpoint:
            watch = {"checkpoint": checkpoint, "motion": motion, "progress": progress}
            told, make = _slices(series, uid, output, axis, factor or 2, config, watch)
            show(told | write_page(report, make), as_json)
        return
    from oinr_monai.representation.family import Family

    source = _source(series, times)
    shown = _asked(source.times, at, factor)
    _check_frames(output, source, len(shown))
    if isinstance(source, Family):
        check_not_source(output, source.representation.info, overwrite)
    source, moved = _realigned(source, series[0], poses) if realign else (source, {})
    with kept(output, resume) as checkpoint:
        family = source
        if not isinstance(family, Family):
            watch = {"checkpoint": checkpoint, "motion": motion, "progress": progress}
            with about(series[0]):
                family = _fitted(family, output, config, watch)
        _write(family, shown, output)
        if save is not None:
            family.save(save)

    def page_of_family() -> Page:
        from oinr_monai.report import report_of_family

        return report_of_family(family, f"{series[0].name}, and what lies between")

    page = write_page(report, page_of_family)
    show(_summary(family, shown, output) | moved | page, as_json)


def _check_realigning(realign: bool, axis: int | None, poses: Path | None) -> None:
    if (axis is not None and realign) or (poses is not None and not realign):
        raise ValueError("--realign must go with frames, without --axis, and --poses with it")


def _check_outputs(
    outputs: dict[Path | None, tuple[str, ...]], inputs: list[Path], overwrite: bool
) -> None:
    for path, suffixes in outputs.items():
        if path is not None:
            check_output(path, suffixes, inputs, overwrite)


def _fitted(series: Series, output: Path, config: FitConfig, watch: dict[str, Any]) -> Family:
    from oinr_monai.fitting.family import fit_family

    family = fit_family(series.frames, config, times=series.times, **watch)
    if family.representation.info.interrupted:
        stopped(family.representation.info["steps"], f"{output} is not written")
    return family


def _realigned(
    series: Series | Family, path: Path, poses: Path | None
) -> tuple[Series, dict[str, Any]]:
    """The frames on the first, and how far they had moved."""
    from oinr_monai.images.series import Series
    from oinr_monai.motion.frames import realign

    if not isinstance(series, Series):
        raise ValueError(f"--realign must go with frames, got the family {path}")
    with about(path):
        found = realign(series.frames)
    if poses is not None:
        found.write(poses)
    told = {
        "mean_displacement_mm": sum(found.displacements) / len(found.displacements),
        "framewise_displacement_mm": sum(found.steps) / (len(found.steps) - 1),
    }
    kept_in = {} if poses is None else {"poses": str(poses)}
    return replace(series, frames=found.frames), told | kept_in


def _source(paths: list[Path], times: str | None) -> Family | Series:
    """A family that was kept, or the series to fit."""
    from oinr_monai.images.series import read_series
    from oinr_monai.representation.family import Family

    if len(paths) == 1 and paths[0].suffix == ".oinr":
        with about(paths[0]):
            return Family.load(paths[0])
    series = read_series(paths)
    return series if times is None else replace(series, times=tuple(_numbers("--times", times)))


def _slices(
    paths: list[Path],
    uid: list[str] | None,
    output: Path,
    axis: int,
    factor: int,
    config: FitConfig,
    watch: dict[str, Any],
) -> tuple[dict[str, Any], Callable[[], Page]]:
    """Write the finer volume; what is said of it, and what makes a page about it."""
    from oinr_monai.fitting.single import fit
    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.files import read_image, write_image
    from oinr_monai.restoration.interpolation import interpolate_slices

    if len(paths) != 1:
        raise ValueError(f"--axis must go with one volume, got {len(paths)} files")
    with about(paths[0]):
        volume = read_image(paths[0], uid or ())
        grid = Grid.from_image(volume)
        finer = grid.refine([factor if d == axis else 1 for d in range(grid.spatial_dims)])
        check_result(output, len(volume), finer, volume.meta)
        filled = interpolate_slices(volume, axis, factor, config, **watch)
    with about(output):
        write_image(output, filled, f"{factor} times as many slices along axis {axis}")
    shape = list(filled.shape[1:])
    told = {"output": str(output), "shape": shape, "spacing": filled.pixdim.tolist()}
    return told, lambda: page_of_answer(fit(filled), volume, f"{paths[0].name}, filled in")


def _asked(times: Sequence[float] | None, at: str | None, factor: int | None) -> list[float]:
    """The times to show, all of them among those that can be asked."""
    if times is None:
        raise ValueError("the family must have times to be asked at one; it was fitted as a group")
    if at is not None:
        asked = _numbers("--at", at)
        outside = [time for time in asked if not times[0] <= time <= times[-1]]
        if outside or not asked:
            raise ValueError(f"--at must be times from {times[0]:g} to {times[-1]:g}, got {at!r}")
        return asked
    count = factor or 1
    between = [a + (b - a) * i / count for a, b in pairwise(times) for i in range(count)]
    return [*between, times[-1]]


def _check_frames(output: Path, source: Family | Series, count: int) -> None:
    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.series import FILM_SUFFIXES, Series, check_frames

    if isinstance(source, Series):
        grid, meta = Grid.from_image(source.frames[0]), source.frames[0].meta
        channels = len(source.frames[0])
    else:
        grid, meta = source.representation.grid, source.representation.info
        channels = len(source.representation.scale.mean)
    check_frames(output, count, channels, grid.shape)
    if output.suffix.lower() not in FILM_SUFFIXES:
        check_result(output, channels * count, grid, meta)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"{option} must be numbers such as 0.5,1.5, got {text!r}") from error


def _write(family: Family, times: list[float], output: Path) -> None:
    from oinr_monai.images.series import Series, write_series

    with about(output):
        frames = tuple(family.at_time(time).sample() for time in times)
        note = f"at time {times[0]:g}" if len(times) == 1 else f"{len(times)} times"
        write_series(output, Series(frames, tuple(times)), note)


def _summary(family: Family, shown: list[float], output: Path) -> dict[str, Any]:
    known = family.representation.info
    names = ("steps", "seconds", "parameters", "device")
    members = known.get("psnr_members", [])
    return {
        "output": str(output),
        "times": shown,
        "members": len(family),
        "psnr_members": sum(members) / len(members) if members else None,
        # A family that was kept does not know how long its fit took.
        **{name: known.get(name) for name in ("psnr_blends", *names)},
    }
