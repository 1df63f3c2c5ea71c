"""``oinr info``, ``sample`` and ``evaluate``: what a representation answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import about, show
from .inputs import check_grid, chosen_grid, grid_like, load_representation, place_of
from .options import (
    IMAGE_SUFFIXES,
    Device,
    Factor,
    File,
    Json,
    Like,
    Output,
    Overwrite,
    SeriesUid,
    Spacing,
)
from .outputs import check_not_source, check_result
from .target import Belonging, Deidentify, Dicom, Reference, Target

if TYPE_CHECKING:
    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.continuous_field import ContinuousField
    from oinr_monai.representation.representation import Representation

__all__ = ["evaluate", "info", "sample"]


def info(file: File, device: Device = "auto", as_json: Json = False) -> None:
    """Show what a representation holds."""
    representation = load_representation(file, device)
    grid, field = representation.grid, representation.field
    samples = len(representation.scale.mean) * math.prod(grid.shape)
    size = file.stat().st_size
    scores = dict(representation.info)
    settings = scores.pop("settings", {})
    show(
        {
            "representation": str(file),
            "shape": list(grid.shape),
            "spacing": grid.spacing.tolist(),
            "affine": grid.affine.tolist(),
            "channels": len(representation.scale.mean),
            "classes": _classes(field),
            "parameters": representation.parameters,
            "compression": samples / representation.parameters,
            "scores": scores,
            "settings": settings,
            "bytes": size,
            "bits_per_voxel": 8 * size / samples,
            "quality": getattr(getattr(field, "samples", None), "header", {}).get("quality"),
        },
        as_json,
    )


def _classes(field: ContinuousField) -> dict[str, str | None]:
    from oinr_monai.representation.operator_field import OperatorField

    if not isinstance(field, OperatorField):
        return {"encoding": type(field).__name__, "network": None}
    return {"encoding": type(field.encoding).__name__, "network": type(field.network).__name__}


def sample(  # noqa: PLR0913
    file: File,
    output: Output,
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write the labels of a fit of labels.")
    ] = False,
    device: Device = "auto",
    dicom: Dicom = False,
    reference: Reference = None,
    uid: SeriesUid = None,
    deidentify: Deidentify = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Sample it on a grid: finer, at another spacing, or another image's.

    Slices thicker than their pixels are better made fine by `oinr super-resolve` than by --factor.
    With --dicom, intensities become a series, and labels a DICOM Segmentation.
    """
    lossy = (".jpeg", ".jpg") if labels else ()  # JPEG would change labels
    suffixes = tuple(each for each in IMAGE_SUFFIXES if each not in lossy)
    belonging = Belonging(dicom, reference or like, uid, deidentify)
    target = Target.of(output, belonging, suffixes, [like], overwrite)
    representation = load_representation(file, device)
    grid = chosen_grid(representation, factor, spacing, like, uid)
    if labels and representation.info.occupancy is None:
        raise ValueError(f"{file}: must be a fit of labels for --labels; fit with --labels")
    check_not_source(output, representation.info, overwrite)
    _check_samples(target, representation, grid, labels)
    with about(output):
        _write_samples(target, representation, grid, labels)
    show({"output": str(output), **place_of(grid)}, as_json)


def evaluate(
    file: File,
    image: Annotated[Path, typer.Option(metavar="IMAGE", help="The truth, fine or coarse.")],
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Where PSNR and MSE count; SSIM is of all.")
    ] = None,
    uid: SeriesUid = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare it with an image, at that image's own voxels."""
    representation = load_representation(file, device)
    if representation.info.occupancy is not None:
        if mask is not None:
            raise ValueError("--mask must not be given for a fit of labels")
        show(_overlaps(image, uid, representation), as_json)
        return
    import torch

    from oinr_monai.images.files import read_image
    from oinr_monai.images.masks import read_mask
    from oinr_monai.images.metrics import mse, psnr, ssim

    reference = read_image(image, uid or (), finite=mask is None)
    grid = grid_like(image, check_grid(image, reference), representation)
    channels = len(representation.scale.mean)
    if len(reference) != channels:
        raise ValueError(f"{image}: must have {channels} channels as {file}, got {len(reference)}")
    inside = None if mask is None else read_mask(mask, reference, uid or ())[None]
    finite = torch.isfinite(reference.as_tensor())
    if inside is not None and not bool((finite | ~inside).all()):
        raise ValueError(f"{image}: must be finite inside the mask, got NaN or infinite voxels")
    everywhere = grid.spatial_dims > 1 and bool(finite.all())
    signal = representation.sample(grid)
    with about(image):
        scores = {
            "psnr": psnr(signal, reference, inside),
            "ssim": ssim(signal, reference) if everywhere else None,
            "mse": mse(signal, reference, inside),
        }
    show(scores, as_json)


def _overlaps(path: Path, uid: list[str] | None, representation: Representation) -> dict[str, Any]:
    from oinr_monai.analysis.occupancy import label_map, labels_in
    from oinr_monai.images.labels import read_labels
    from oinr_monai.images.metrics import dice, iou

    reference = read_labels(path, uid or ())
    with about(path):
        labels_in(reference)
    found = label_map(representation, grid_like(path, check_grid(path, reference), representation))
    scores = {"iou": iou(found, reference), "dice": dice(found, reference)}
    return {name: {str(k): v for k, v in each.items()} for name, each in scores.items()}


def _in_slabs(path: Path, representation: Representation, grid: Grid) -> bool:
    """Whether it is written slab by slab, however large the grid is."""
    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    return nifti and len(representation.scale.mean) == 1 and grid.spatial_dims == 3


def _check_samples(
    target: Target, representation: Representation, grid: Grid, labels: bool
) -> None:
    from oinr_monai.grids.checks import check_room
    from oinr_monai.representation.info import Info

    channels, info = len(representation.scale.mean), representation.info
    if labels:
        check_room(grid.shape, channels)
        most = max(info["occupancy"]["labels"])
        channels, info = 1, Info(stored_dtype="uint8" if most < 256 else "uint16")
    if target.reference is None:
        held = labels or not _in_slabs(target.path, representation, grid)
        check_result(target.path, channels, grid, info, held=held)
    else:
        target.check(channels, grid, info, representation.grid, as_object=labels)


def _write_samples(
    target: Target, representation: Representation, grid: Grid, labels: bool
) -> None:
    from oinr_monai.analysis.occupancy import label_map
    from oinr_monai.images.dicom_objects import write_segmentation
    from oinr_monai.images.nifti import write_slabs

    if labels and target.reference is not None:
        write_segmentation(target.path, label_map(representation, grid), target.reference, "labels")
    elif labels:
        target.write(label_map(representation, grid), "label")
    elif target.reference is None and _in_slabs(target.path, representation, grid):
        slabs = (slab[0].numpy() for slab in representation.slabs(grid))
        wide = representation.scale.wide
        write_slabs(target.path, grid.shape, grid.affine.numpy(), slabs, "intensity", wide=wide)
    else:
        target.write(representation.sample(grid), "intensity")
