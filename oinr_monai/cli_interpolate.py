"""The command ``oinr interpolate``: what lies between images, frames or slices."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .arguments import IMAGE_SUFFIXES, Device, Json, Output, check_output, device_of
from .console import about, say, show

if TYPE_CHECKING:
    from .families import Family
    from .presets import FitConfig

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
    save: Annotated[
        Path | None, typer.Option(metavar="FAMILY.oinr", help="Keep the fit, to ask it again.")
    ] = None,
    preset: Annotated[
        Literal["fast", "balanced", "best"], typer.Option(help="Quality against time.")
    ] = "balanced",
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Steps to take, not the preset's.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds to take, instead of steps.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the start and of the places seen.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Fit one operator to several images, and show what lies between them.

    Two images are a blend: --at 0 is the first, --at 1 the second. A series has its own times.
    """
    if (at is None) == (factor is None):
        raise ValueError("--at or --factor must be given, and not both")
    if axis is not None and (factor is None or times is not None or save is not None):
        raise ValueError("--axis must go with --factor, and without --at, --times and --save")
    check_output(output, OUTPUTS)
    if save is not None:
        check_output(save, (".oinr",))
    from .presets import FitConfig

    config = FitConfig(preset, steps, seconds, seed=seed, device=device_of(device))
    progress = not as_json and sys.stderr.isatty()
    if axis is not None:
        show(_slices(series, output, axis, factor or 2, config, motion, progress), as_json)
        return
    family = _family(series, times, config, motion, progress)
    if family.representation.info["interrupted"] and not _is_fit(series):
        say(f"interrupted; {output} is not written")
        raise typer.Exit(130)
    shown = _asked(family, at, factor)
    _write(family, shown, output)
    if save is not None:
        family.save(save)
    show(_summary(family, shown, output), as_json)


def _is_fit(series: list[Path]) -> bool:
    return len(series) == 1 and series[0].suffix == ".oinr"


def _family(
    paths: list[Path], times: str | None, config: FitConfig, motion: bool, progress: bool
) -> Family:
    from .families import Family, fit_family
    from .series import read_series

    if _is_fit(paths):
        with about(paths[0]):
            return Family.load(paths[0])
    series = read_series(paths)
    given = series.times if times is None else _numbers("--times", times)
    with about(paths[0]):
        return fit_family(series.frames, config, times=given, motion=motion, progress=progress)


def _slices(
    paths: list[Path],
    output: Path,
    axis: int,
    factor: int,
    config: FitConfig,
    motion: bool,
    progress: bool,
) -> dict[str, Any]:
    from .families import interpolate_slices
    from .images import read_image, write_image

    if len(paths) != 1:
        raise ValueError(f"--axis must go with one volume, got {len(paths)} files")
    with about(paths[0]):
        volume = interpolate_slices(
            read_image(paths[0]), axis, factor, config, motion=motion, progress=progress
        )
    with about(output):
        write_image(output, volume, f"{factor} times as many slices along axis {axis}")
    shape = list(volume.shape[1:])
    return {"output": str(output), "shape": shape, "spacing": volume.pixdim.tolist()}


def _asked(family: Family, at: str | None, factor: int | None) -> list[float]:
    times = family.times
    if times is None:
        raise ValueError("the family must have times to be asked at one; it was fitted as a group")
    if at is not None:
        return _numbers("--at", at)
    count = factor or 1
    between = [a + (b - a) * i / count for a, b in pairwise(times) for i in range(count)]
    return [*between, times[-1]]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"{option} must be numbers such as 0.5,1.5, got {text!r}") from error


def _write(family: Family, times: list[float], output: Path) -> None:
    from .series import Series, write_series

    with about(output):
        if not times:
            raise ValueError("--at must name one time or more, got none")
        frames = tuple(family.at_time(time).sample() for time in times)
        note = f"at time {times[0]:g}" if len(times) == 1 else f"{len(times)} times"
        write_series(output, Series(frames, tuple(times)), note)


def _summary(family: Family, shown: list[float], output: Path) -> dict[str, Any]:
    known = family.representation.info
    names = ("steps", "seconds", "parameters", "device")
    members = known["psnr_members"]
    return {
        "output": str(output),
        "times": shown,
        "members": len(family),
        "psnr_members": sum(members) / len(members),
        "psnr_blends": known["psnr_blends"],
        **{name: known[name] for name in names},
    }
