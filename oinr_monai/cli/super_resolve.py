"""The commands ``oinr simulate`` and ``oinr super-resolve``: thick slices, made and undone."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import about, options, show
from .inputs import check_budget, check_grid, check_start, device_of, marked, profile_of
from .keeping import Resume, kept, stopped
from .options import (
    IMAGE_SUFFIXES,
    Device,
    Json,
    Output,
    Overwrite,
    Report,
    Seed,
    SeriesUid,
    Spacing,
)
from .pages import check_page, page_of_answer, write_page
from .target import Belonging, Deidentify, Dicom, Target
from .trust import ErrorMap, Hidden, Samples, Share, Trust

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation
    from oinr_monai.restoration.carried_operator import CarriedOperator
    from oinr_monai.restoration.restored import Restored
    from oinr_monai.restoration.slice_noise import AskedNoise
    from oinr_monai.restoration.super_resolution import SuperResolveConfig
    from oinr_monai.scanner.profiles import SliceProfile

__all__ = ["Thickness", "super_resolve"]


# What a run has to tell.
SCORES = (
    "stacks",
    "weight",
    "held_out",
    "factor",
    "profile",
    "data_residual",
    "guided",
    "noise",
    "trust",
    "steps",
    "seconds",
    "device",
)


Thickness = Annotated[
    float | None,
    typer.Option(
        "--slice-thickness",
        metavar="MM",
        help="Of a slice, or width at half maximum; else its spacing.",
    ),
]


def super_resolve(  # noqa: PLR0913
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Thick slices; or several stacks of one object."),
    ],
    output: Output,
    spacing: Spacing = None,
    axis: Annotated[
        int | None,
        typer.Option(min=0, max=2, help="Axis from slice to slice; else the largest spacing's."),
    ] = None,
    thickness: Thickness = None,
    profile: Annotated[
        Literal["boxcar", "gaussian"] | None,
        typer.Option("--slice-profile", help="How a slice weighs what lies across it; boxcar."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Steps to learn; 0 takes OPERATOR's answer as it is."
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds to learn from one image, not steps.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="OPERATOR", help="What learn_super_resolution saved, to begin with; else ours."
        ),
    ] = None,
    guide: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE", help="Another contrast of the same person, sharp across the slices."
        ),
    ] = None,
    noise: Annotated[
        Literal["found", "none", "gaussian", "rician"],
        typer.Option(help="Taken out of the slices; none keeps them exactly. Of one stack."),
    ] = "found",
    sigma: Annotated[
        float | None, typer.Option(metavar="S", help="Gaussian and Rician: size, else estimated.")
    ] = None,
    error_map: ErrorMap = None,
    share: Share = None,
    hidden: Hidden = None,
    samples: Samples = 0,
    report: Report = None,
    uid: SeriesUid = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    dicom: Dicom = False,
    deidentify: Deidentify = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make thick slices isotropic, learning from them on, or fuse several stacks.

    Stacks are fused by least squares, at once: no budget, nothing to resume. An output
    REP.oinr keeps the answer as a function.
    """
    check_budget(steps, seconds)
    belonging = Belonging(dicom, images[0], uid, deidentify)
    suffixes = (*IMAGE_SUFFIXES, ".oinr")
    inputs = [*images, guide]
    target = Target.of(output, belonging, suffixes, inputs, overwrite)
    maps = {"--error-map": error_map, "--share": share, "--hidden": hidden}
    trust = Trust.of(maps, samples, output, inputs, overwrite)
    _check_alone(images, guide, trust)
    asked_noise = _noise(noise, sigma, len(images), trust.option)
    check_page(report, inputs, overwrite)
    from oinr_monai.grids.checks import per_axis
    from oinr_monai.images.files import read_image
    from oinr_monai.restoration.super_resolution import SuperResolveConfig
    from oinr_monai.scanner.slices import fine_grid, thickest_axis

    learned = _started(start)
    config = SuperResolveConfig(steps, seconds, seed, device_of(device), learned, asked_noise)
    volumes = marked([read_image(image, uid or ()) for image in images])
    grids = [check_grid(*pair) for pair in zip(images, volumes, strict=True)]
    with options("spacing"):
        dims = grids[0].spatial_dims
        chosen = None if spacing is None else per_axis("spacing", spacing, dims)
    fine = fine_grid(grids[0], thickest_axis(grids[0]) if axis is None else axis, chosen)
    target.check(len(volumes[0]), fine, volumes[0].meta, grids[0])
    trust.check(len(volumes[0]), fine)
    across = [_across(profile, thickness, grid, axis) for grid in grids]
    with kept(output, resume) as checkpoint:
        with about(images[0]):
            if len(images) > 1:
                asked = _together(grids, axis, across, chosen)
                found, trusted = _fused(volumes, trust, seed, asked)
            else:
                sharp = None if guide is None else read_image(guide)
                watch = {"checkpoint": checkpoint, "progress": not as_json and sys.stderr.isatty()}
                asked = {"spacing": chosen, "slice_axis": axis, "profile": across[0]} | watch
                found, trusted = _made_finer(volumes[0], config, trust, sharp, asked)
        if found.info.interrupted:
            stopped(found.info["steps"], f"{output} is not written")
        target.write(found, "super-resolved")
        layers = trust.write(trusted, seed)
    made = (found, volumes[0], f"{images[0].name}, super-resolved", layers)
    page = write_page(report, partial(page_of_answer, *made))
    place = {"shape": list(found.grid.shape), "spacing": found.grid.spacing.tolist()}
    scores = {name: found.info[name] for name in SCORES if name in found.info}
    show({"output": str(output), **place, **scores, **page}, as_json)


def _check_alone(images: list[Path], guide: Path | None, trust: Trust) -> None:
    """Raise where options do not go together, or not with several stacks."""
    alone = [name for name in trust.maps if name in ("--share", "--hidden")]
    for name in [*([] if guide is None else ["--guide"]), *alone]:
        if len(images) > 1:
            raise ValueError(f"{name} must go with one stack, got {len(images)}; leave it out")
    if guide is not None and trust.option is not None:
        raise ValueError(f"--guide must be left out with {trust.option}, which knows nothing of it")


def _noise(
    kind: Literal["found", "none", "gaussian", "rician"],
    sigma: float | None,
    stacks: int,
    trusts: str | None,
) -> AskedNoise:
    from oinr_monai.scanner.noise import GaussianNoise, RicianNoise

    if kind in ("found", "none"):
        if sigma is not None:
            raise ValueError(f"--sigma must go with --noise gaussian or rician, got {kind}")
        return "found" if kind == "found" else None
    if stacks > 1:
        raise ValueError(f"--noise must go with one stack, got {stacks}; leave it out")
    if trusts is not None:
        raise ValueError(f"--noise must be left out with {trusts}, which counts it as it is")
    return GaussianNoise(sigma) if kind == "gaussian" else RicianNoise(sigma)


def _made_finer(
    image: MetaTensor,
    config: SuperResolveConfig,
    trust: Trust,
    guide: MetaTensor | None,
    asked: dict[str, Any],
) -> tuple[Representation, list[Restored]]:
    from oinr_monai.restoration.super_resolution import super_resolve, super_resolve_trusted

    if trust.option is None:
        return super_resolve(image, config, guide=guide, **asked), []
    found = super_resolve_trusted(image, config, **asked)
    return found.answer, [found]


def _started(path: Path | None) -> CarriedOperator:
    from oinr_monai.restoration.carried_operator import CarriedOperator, shipped_operator

    return shipped_operator() if path is None else CarriedOperator.load(check_start(path))


def _fused(
    volumes: list[MetaTensor], trust: Trust, seed: int, asked: dict[str, Any]
) -> tuple[Representation, list[Restored]]:
    from oinr_monai.restoration.fusion import fuse, fuse_trusted

    if trust.option is None:
        return fuse(volumes, **asked), []
    found = fuse_trusted(volumes, seed=seed, **asked)
    return found.answer, [found]


def _together(
    grids: list[Grid],
    axis: int | None,
    profiles: list[SliceProfile | None],
    spacing: list[float] | None,
) -> dict[str, Any]:
    """How several stacks are fused."""
    from oinr_monai.scanner.profiles import Boxcar
    from oinr_monai.scanner.slices import fine_grid, thickest_axis

    axes = [thickest_axis(grid) if axis is None else axis for grid in grids]
    known = [
        profile or Boxcar(float(grid.spacing[across]))
        for profile, grid, across in zip(profiles, grids, axes, strict=True)
    ]
    fine = None if spacing is None else fine_grid(grids[0], axes[0], spacing)
    return {"axes": axes, "profiles": known, "grid": fine}


def _across(
    profile: str | None, thickness: float | None, grid: Grid, axis: int | None
) -> SliceProfile | None:
    """The profile that the options ask for; None if they ask for none."""
    from oinr_monai.scanner.slices import thickest_axis

    if profile is None and thickness is None:
        return None
    if axis is not None and axis >= grid.spatial_dims:
        raise ValueError(f"--axis must be 0 to {grid.spatial_dims - 1}, got {axis}")
    spacing = float(grid.spacing[thickest_axis(grid) if axis is None else axis])
    return profile_of(profile or "boxcar", spacing if thickness is None else thickness)
