"""``oinr fit``: a scan as a function."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import about, show
from .inputs import check_budget, check_grid, device_of, load_representation, marked
from .keeping import Resume, kept, stopped
from .options import Device, Json, Overwrite, Report, Seconds, Seed, SeriesUid, Steps
from .outputs import check_output
from .pages import check_page, write_page
from .quality import Asked, Bits, Degree, Lossless, MaxError, Psnr

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.coding.encoder import Coded
    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.grids.grid import Grid
    from oinr_monai.report.page import Page
    from oinr_monai.representation.representation import Representation

__all__ = ["fit"]


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
    preset: Annotated[
        Literal["exact", "fast", "balanced", "best"] | None,
        typer.Option(
            help="exact trains nothing and is meant where nothing else is said; the others train."
        ),
    ] = None,
    network: Annotated[
        Literal["ConvOINR", "CKConvOINR", "CZOINR"],
        typer.Option(help="Operator: the preset's, with continuous kernels, or of wavelets."),
    ] = "ConvOINR",
    steps: Steps = None,
    seconds: Seconds = None,
    init: Annotated[
        Path | None, typer.Option(metavar="REP.oinr", help="Fit to begin with, of this preset.")
    ] = None,
    resume: Resume = False,
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
        typer.Option(metavar="MIB", min=1, help="Leave IMAGE, NIfTI, on disk; read parts of it."),
    ] = None,
    uid: SeriesUid = None,
    degree: Degree = 3,
    lossless: Lossless = False,
    max_error: MaxError = None,
    psnr: Psnr = None,
    bits: Bits = None,
    compiled: Annotated[
        bool,
        typer.Option("--compiled", help="Make a program of a training's steps: for long ones."),
    ] = False,
    report: Report = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a function of an image, or of several of one object at several resolutions.

    It is the spline through the image's own samples, kept in a small file, and takes no training;
    --preset fast, balanced or best train an operator instead.
    """
    check_budget(steps, seconds)
    asked = Asked(lossless, max_error, psnr, bits)
    _check_alone(images, labels, mask, memory)
    inputs = [*images, init, mask]
    check_output(output, (".oinr",), inputs, overwrite)
    check_page(report, inputs, overwrite)
    from oinr_monai.fitting.interrupts import learning
    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.images.masks import read_mask

    volumes, grid = _opened(images, memory, _reader(labels, mask is None, uid))
    config = FitConfig(
        preset=preset or ("balanced" if labels or init or len(images) > 1 else None),
        steps=steps,
        seconds=seconds,
        network=_operator(network, grid),
        seed=seed,
        device=device_of(device),
        degree=degree,
        compiled=compiled,
    )
    quality = asked.quality(config.preset)
    inside = None if mask is None else read_mask(mask, volumes[0], uid or ())
    start = None if init is None else load_representation(init, device)
    # An interrupt that comes once the fit has ended, or again, must not cost it.
    with kept(output, resume) as checkpoint, learning() as interrupts:
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
        with about(images[0]):
            coded = representation.save(output, quality)
        interrupts.heeded = True
        beside = None if labels or mask is not None or memory is not None else volumes[0]
        page = write_page(report, partial(_page, output, beside))
        show(_summary(output, representation, coded) | page, as_json)
        if representation.info.interrupted:
            stopped(representation.info["steps"], f"{output} holds the best so far")


def _page(output: Path, image: MetaTensor | None) -> Page:
    """About what the file holds."""
    from oinr_monai.report import report_of_fit
    from oinr_monai.representation.representation import Representation

    held = Representation.load(output)
    return report_of_fit(held, image, output.stat().st_size, output.name)


def _check_alone(
    images: Sequence[Path], labels: bool, mask: Path | None, memory: float | None
) -> None:
    """Raise where options do not go together, or not with several images."""
    if labels and len(images) > 1:
        raise ValueError(f"--labels must go with one image, got {len(images)}")
    if memory is not None and (labels or mask is not None or len(images) > 1):
        raise ValueError("--memory must go with one image, without --labels and --mask")


def _reader(labels: bool, finite: bool, uid: Sequence[str] | None) -> Callable[[Path], MetaTensor]:
    """What reads an image, or a label map."""
    from oinr_monai.images.files import read_image
    from oinr_monai.images.labels import read_labels

    read = read_labels if labels else partial(read_image, finite=finite)
    return partial(read, series=uid or ())


def _scores(output: Path, representation: Representation) -> dict[str, float | None]:
    """Of what the file answers, against what was not coded."""
    from oinr_monai.fitting.closed_form import box_scores
    from oinr_monai.representation.representation import Representation as Loaded

    return box_scores(Loaded.load(output), representation)


def _fit_of(labels: bool) -> Callable[..., Representation]:
    """What fits the images: as intensities, or the first as labels."""
    from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy
    from oinr_monai.fitting.single import fit as fit_images

    def fit_labels(images: Sequence[Any], config: FitConfig, **options: Any) -> Representation:
        return fit_occupancy(images[0], OccupancyConfig(config), **options)

    return fit_labels if labels else fit_images


def _operator(name: str, grid: Grid) -> Callable[..., Any] | None:
    """What makes the operator, as ``FitConfig`` takes it; None is the usual one."""
    from oinr_monai.fitting.presets import CHANNELS
    from oinr_monai.operators.calderon_zygmund import CZOINR
    from oinr_monai.operators.ckconv import CKConvOINR
    from oinr_monai.operators.wavelets import max_levels

    if name == "CKConvOINR":
        reach = 1.5 * float(grid.spacing.log().mean().exp())
        return partial(CKConvOINR, channels=CHANNELS, support=(reach, *[0] * len(CHANNELS)))
    if name == "CZOINR":
        levels = min(max(max_levels(grid.shape, "db2"), 1), 4)
        return partial(CZOINR, channels=8, levels=levels)
    return None


def _opened(
    images: Sequence[Path], memory: float | None, read: Callable[[Path], MetaTensor]
) -> tuple[Any, Grid]:
    """The images, in memory or left on disk, and the grid of the first."""
    from oinr_monai.images.stored import open_image

    if memory is not None:
        stored = open_image(images[0], memory)
        return stored, stored.grid
    volumes = marked([read(image) for image in images])
    grid, *_ = [check_grid(*pair) for pair in zip(images, volumes, strict=True)]
    return volumes, grid


def _summary(output: Path, representation: Representation, coded: Coded | None) -> dict[str, Any]:
    known = dict(representation.info)
    if coded is not None and coded.max_error > 0:
        known |= _scores(output, representation)
    size = output.stat().st_size
    samples = len(representation.scale.mean) * math.prod(representation.grid.shape)
    names = ("steps", "seconds", "psnr_grid", "psnr_between", "parameters", "device", "interrupted")
    return {
        "representation": str(output),
        "preset": known["settings"]["preset"],
        **{name: known.get(name) for name in names},
        "bytes": size,
        "bits_per_voxel": 8 * size / samples,
        "max_error": None if coded is None else coded.max_error,
        **{name: known[name] for name in ("iou", "dice") if name in known},
    }
