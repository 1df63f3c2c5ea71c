"""The command line: fit an image, then ask the representation from a shell."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .cohort import cohort
from .console import about, hush, message_of, refuse, say, show, usage_of
from .denoise import denoise
from .derive import derive
from .interpolate import interpolate
from .mesh import mesh
from .options import (
    IMAGE_SUFFIXES,
    Device,
    Factor,
    File,
    Json,
    Like,
    ManyValues,
    Output,
    Preset,
    Seconds,
    Seed,
    Spacing,
    Steps,
    check_budget,
    check_grid,
    check_output,
    chosen_grid,
    device_of,
    load_representation,
    place_of,
    read_mask,
)
from .super_resolve import simulate, super_resolve
from .weights import classify, cohort_features, write_regions

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fit an image once, then ask it anywhere: samples, exact derivatives, features.",
)


# ---- the commands -----------------------------------------------------------------------------


@app.command()
def fit(  # noqa: PLR0913
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="NIfTI, NRRD, MHA, DICOM, PNG, JPEG; several of one object, the finest first.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REP.oinr", help="File to write.")
    ],
    preset: Preset = "balanced",
    network: Annotated[
        Literal["ConvOINR", "CKConvOINR", "CZOINR"],
        typer.Option(help="Operator: the preset's, with continuous kernels, or of wavelets."),
    ] = "ConvOINR",
    steps: Steps = None,
    seconds: Seconds = None,
    init: Annotated[
        Path | None, typer.Option(metavar="REP.oinr", help="Fit to begin with, of this preset.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where Ctrl-C stopped.")] = False,
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Image, nonzero where voxels count.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="IMAGE is a mask or label map: fit its occupancies.")
    ] = False,
    log_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where TensorBoard files go.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(metavar="MIB", min=1, help="Leave IMAGE on disk, and read so much at once."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Fit a representation to an image, or to several of one object at several resolutions."""
    check_budget(steps, seconds)
    if labels and len(images) > 1:
        raise ValueError(f"--labels must go with one image, got {len(images)}")
    if memory is not None and (labels or mask is not None or len(images) > 1):
        raise ValueError("--memory must go with one image, without --labels and --mask")
    check_output(output, (".oinr",))
    from oinr_monai.fitting.presets import FitConfig

    volumes, grid = _opened(images, memory)
    config = FitConfig(
        preset=preset,
        steps=steps,
        seconds=seconds,
        network=_operator(network, grid),
        seed=seed,
        device=device_of(device),
    )
    inside = None if mask is None else read_mask(mask, volumes[0])
    start = None if init is None else load_representation(init, device)
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    _prepare_checkpoint(checkpoint, resume)
    with about(images[0]):
        representation = _fit_of(labels)(
            volumes,
            config,
            start=start,
            mask=inside,
            checkpoint=checkpoint,
            resume=resume,
            log_dir=log_dir,
            progress=not as_json and sys.stderr.isatty(),
        )
    representation.save(output)
    show(_summary(output, representation), as_json)
    if representation.info["interrupted"]:
        say(
            f"interrupted after {representation.info['steps']} steps; {output} holds the best so"
            " far; repeat the command with --resume to go on"
        )
        raise typer.Exit(130)
    checkpoint.unlink(missing_ok=True)


def _fit_of(labels: bool) -> Callable[..., Representation]:
    """What fits the images: as intensities, or the first as labels."""
    from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy
    from oinr_monai.fitting.single import fit as fit_images

    def fit_labels(images: Sequence[Any], config: FitConfig, **options: Any) -> Representation:
        return fit_occupancy(images[0], OccupancyConfig(config), **options)

    return fit_labels if labels else fit_images


app.command()(denoise)
app.command()(interpolate)
app.command()(simulate)
app.command("super-resolve", cls=ManyValues)(super_resolve)
app.add_typer(cohort, name="cohort")
cohort.command("features")(cohort_features)
cohort.command()(classify)
app.command(cls=ManyValues)(mesh)


def _operator(name: str, grid: Grid) -> Callable[..., Any] | None:
    """What makes the operator, as ``FitConfig`` takes it; None is the usual one."""
    from oinr_monai.fitting.presets import CHANNELS
    from oinr_monai.operators.calderon_zygmund import CZOINR
    from oinr_monai.operators.conv import CKConvOINR
    from oinr_monai.operators.wavelets import max_levels

    if name == "CKConvOINR":
        reach = 1.5 * float(grid.spacing.log().mean().exp())
        return partial(CKConvOINR, channels=CHANNELS, support=(reach, *[0] * len(CHANNELS)))
    if name == "CZOINR":
        levels = min(max(max_levels(grid.shape, "db2"), 1), 4)
        return partial(CZOINR, channels=8, levels=levels)
    return None


@app.command()
def info(file: File, device: Device = "auto", as_json: Json = False) -> None:
    """Show what a representation holds."""
    representation = load_representation(file, device)
    grid, field = representation.grid, representation.field
    channels = len(representation.scale.mean)
    scores = dict(representation.info)
    settings = scores.pop("settings", {})
    show(
        {
            "representation": str(file),
            "shape": list(grid.shape),
            "spacing": grid.spacing.tolist(),
            "affine": grid.affine.tolist(),
            "channels": channels,
            "classes": {
                "encoding": type(field.encoding).__name__,
                "network": type(field.network).__name__,
            },
            "parameters": representation.parameters,
            "compression": math.prod(grid.shape) * channels / representation.parameters,
            "scores": scores,
            "settings": settings,
            "bytes": file.stat().st_size,
        },
        as_json,
    )


@app.command(cls=ManyValues)
def sample(
    file: File,
    output: Output,
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write the labels of a fit of labels.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Sample it on a grid: finer, at another spacing, or another image's."""
    check_output(output, IMAGE_SUFFIXES)
    representation = load_representation(file, device)
    grid = chosen_grid(representation, factor, spacing, like)
    if labels and "occupancy" not in representation.info:
        raise ValueError(f"{file}: must be a fit of labels for --labels; fit with --labels")
    with about(output):
        _write_samples(output, representation, grid, labels)
    show({"output": str(output), **place_of(grid)}, as_json)


@app.command()
def evaluate(
    file: File,
    image: Annotated[Path, typer.Option(metavar="IMAGE", help="The truth, fine or coarse.")],
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Where PSNR and MSE count; SSIM is of all.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare it with an image, at that image's own voxels."""
    representation = load_representation(file, device)
    from oinr_monai.images.files import read_image
    from oinr_monai.images.metrics import mse, psnr, ssim

    reference = read_image(image)
    grid = check_grid(image, reference, representation)
    if "occupancy" in representation.info:
        if mask is not None:
            raise ValueError("--mask must not be given for a fit of labels")
        show(_overlaps(image, representation, reference, grid), as_json)
        return
    channels = len(representation.scale.mean)
    if len(reference) != channels:
        raise ValueError(f"{image}: must have {channels} channels as {file}, got {len(reference)}")
    inside = None if mask is None else read_mask(mask, reference)[None]
    signal = representation.sample(grid)
    with about(image):
        scores = {
            "psnr": psnr(signal, reference, inside),
            "ssim": ssim(signal, reference) if grid.spatial_dims > 1 else None,
            "mse": mse(signal, reference, inside),
        }
    show(scores, as_json)


def _overlaps(
    path: Path, representation: Representation, reference: MetaTensor, grid: Grid
) -> dict[str, Any]:
    from oinr_monai.analysis.occupancy import label_map, labels_in
    from oinr_monai.images.metrics import dice, iou

    with about(path):
        labels_in(reference)
    found = label_map(representation, grid)
    scores = {"iou": iou(found, reference), "dice": dice(found, reference)}
    return {name: {str(k): v for k, v in each.items()} for name, each in scores.items()}


app.command(cls=ManyValues)(derive)


@app.command(cls=ManyValues)
def features(  # noqa: PLR0913
    file: File,
    output: Output,
    layer: Annotated[
        int | None, typer.Option(metavar="L", help="Hidden layer, counted from 1; else the last.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Label map, whose regions go to .csv or .npz."),
    ] = None,
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the activations of a hidden layer, per voxel, or what is in each region of a map."""
    if labels is not None:
        if (factor, spacing, like) != (None, None, None):
            raise ValueError("--labels has a grid of its own; give no other")
        show(write_regions(load_representation(file, device), labels, output, layer), as_json)
        return
    check_output(output, (".nii.gz", ".npz"))
    representation = load_representation(file, device)
    grid = chosen_grid(representation, factor, spacing, like)
    volume = representation.features(grid, layer)
    layer = layer or len(representation.field.hidden_channels)
    if output.name.lower().endswith(".npz"):
        _write_arrays(output, volume, grid)
    else:
        from oinr_monai.images.files import write_image

        write_image(output, volume, f"activations of hidden layer {layer}")
    show(
        {"output": str(output), "features": len(volume), "layer": layer, **place_of(grid)}, as_json
    )


@app.callback(invoke_without_command=True)
def _overview(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from oinr_monai import __version__

        typer.echo(f"oinr-monai {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


# ---- what goes in -----------------------------------------------------------------------------


def _opened(images: Sequence[Path], memory: float | None) -> tuple[Any, Grid]:
    """The images, in memory or left on disk, and the grid of the first."""
    from oinr_monai.images.files import read_image
    from oinr_monai.images.stored import open_image

    if memory is not None:
        stored = open_image(images[0], memory)
        return stored, stored.grid
    volumes = [read_image(image) for image in images]
    grid, *_ = [check_grid(*pair) for pair in zip(images, volumes, strict=True)]
    return volumes, grid


def _prepare_checkpoint(path: Path, resume: bool) -> None:
    if not resume:
        path.unlink(missing_ok=True)
    elif not path.is_file():
        say(f"nothing to resume, {path} does not exist; starting anew")


# ---- what comes out ---------------------------------------------------------------------------


def _write_samples(path: Path, representation: Representation, grid: Grid, labels: bool) -> None:
    from oinr_monai.analysis.occupancy import label_map
    from oinr_monai.images.files import write_image, write_slabs

    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    if labels:
        write_image(path, label_map(representation, grid), "label")
    elif nifti and len(representation.scale.mean) == 1 and grid.spatial_dims == 3:
        # Slab by slab, however large the grid is.
        slabs = (slab[0].numpy() for slab in representation.slabs(grid))
        write_slabs(path, grid.shape, grid.affine.numpy(), slabs, "intensity")
    else:
        write_image(path, representation.sample(grid), "intensity")


def _write_arrays(path: Path, volume: MetaTensor, grid: Grid) -> None:
    import numpy as np

    from oinr_monai.images.replacing import replacing

    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            features=volume.as_tensor().numpy(),
            affine=grid.affine.numpy(),
            spacing=grid.spacing.numpy(),
        )


def _summary(output: Path, representation: Representation) -> dict[str, Any]:
    known = representation.info
    names = ("steps", "seconds", "psnr_grid", "psnr_between", "parameters", "device", "interrupted")
    return {
        "representation": str(output),
        "preset": known["settings"]["preset"],
        **{name: known[name] for name in names},
        **{name: known[name] for name in ("iou", "dice") if name in known},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input and bad usage become one line on stderr.

    Args:
        arguments: what follows ``oinr`` in the shell; those of this process if None.

    Returns:
        The exit status: 0 done, 2 bad input or usage, 130 interrupted.
    """
    try:
        with warnings.catch_warnings():
            hush()
            status = app(args=arguments, prog_name="oinr", standalone_mode=False)
        return int(status or 0)
    except typer.TyperException as error:
        return refuse(usage_of(error))
    except (ValueError, OSError) as error:
        return refuse(message_of(error))
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        return refuse("the result must fit into memory; choose a coarser grid or fewer maps")
