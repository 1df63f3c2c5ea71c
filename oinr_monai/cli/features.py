"""``oinr features``: a representation as numbers, of the whole, of regions, or of every voxel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import about, show
from .derive import map_names
from .inputs import chosen_grid, load_representation, place_of
from .options import (
    Device,
    Factor,
    File,
    Json,
    Like,
    Output,
    Overwrite,
    SeriesUid,
    Sigma,
    Spacing,
)
from .outputs import check_not_source, check_output, check_result

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.analysis.table import FeatureTable
    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation

__all__ = ["features"]

# Rows of a table without labels: the whole image is one.
OF_THE_WHOLE = (".csv", ".parquet")

# Maps whose statistics are told where none are named.
IN_TABLES = "gradient_magnitude,laplacian"


def features(  # noqa: PLR0913
    file: File,
    output: Output,
    maps: Annotated[
        str | None, typer.Option(metavar="A,B", help="Maps that count, as of `oinr derive`.")
    ] = None,
    sigma: Sigma = None,
    layer: Annotated[
        int | None, typer.Option(metavar="L", help="Hidden layer, counted from 1; else the last.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="LABELS", help="Label map: a row for each region.")
    ] = None,
    shape: Annotated[
        bool, typer.Option("--shape", help="Extent, thickness and curvatures of labels too.")
    ] = False,
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    uid: SeriesUid = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write what it is like: the whole in a table, regions in a table, or every voxel in an image.

    With --labels, or to .csv or .parquet, a table; else channels: activations of a hidden layer, or
    --maps at scales of --sigma. OUT.codebook.csv says what each column or channel is, and its unit.
    """
    from oinr_monai.analysis.table import TABLE_SUFFIXES

    in_table = labels is not None or output.name.lower().endswith(OF_THE_WHOLE)
    suffixes = TABLE_SUFFIXES if in_table else (".nii.gz", ".npz")
    codes = output.with_name(f"{output.name}.codebook.csv")
    if shape and labels is None:
        raise ValueError("--shape must be of --labels, got none")
    if in_table and (factor, spacing, like) != (None, None, None):
        whose = "the whole image" if labels is None else "--labels"
        raise ValueError(f"{whose} has a grid of its own; give no other")
    for path, endings in ((output, suffixes), (codes, (".csv",))):
        check_output(path, endings, [file, labels, like], overwrite)
    representation = load_representation(file, device)
    for path in (output, codes):
        check_not_source(path, representation.info, overwrite)
    if in_table:
        table = _table(representation, labels, maps, sigma, layer, shape, uid)
        table.save(output)
        names, told = list(table.columns), {table.kind + "s": list(table.rows)}
    else:
        grid = chosen_grid(representation, factor, spacing, like, uid)
        names, told = _voxels(file, representation, output, maps, sigma, layer, grid)
    with_codes = _write_codes(codes, names)
    show({"output": str(output), "features": len(names), **with_codes, **told}, as_json)


def _table(
    representation: Representation,
    labels: Path | None,
    maps: str | None,
    sigma: list[float] | None,
    layer: int | None,
    shape: bool,
    uid: list[str] | None,
) -> FeatureTable:
    from oinr_monai.analysis.regions import image_features, region_features
    from oinr_monai.analysis.shape import shape_features
    from oinr_monai.images.labels import read_labels

    asked: Any = {"maps": map_names(maps or IN_TABLES), "scales": sigma or [0.0], "layer": layer}
    if labels is None:
        return image_features(representation, **asked)
    regions = read_labels(labels, uid or ())
    with about(labels):
        table = region_features(representation, regions, **asked)
        return table.beside(shape_features(regions)) if shape else table


def _voxels(
    file: Path,
    representation: Representation,
    output: Path,
    maps: str | None,
    sigma: list[float] | None,
    layer: int | None,
    grid: Grid,
) -> tuple[list[str], dict[str, Any]]:
    """Write channels on a grid; their names, and what there is to say."""
    if maps is not None:
        if layer is not None:
            raise ValueError(
                "--layer must not be given with --maps; they are channels of two kinds"
            )
        return _jets(representation, output, map_names(maps), sigma, grid)
    with about(file):
        representation.check_layers()
    check_result(output, max(representation.field.hidden_channels), grid, {})
    volume = representation.features(grid, layer)
    layer = layer or len(representation.field.hidden_channels)
    _write(output, volume, grid, f"activations of hidden layer {layer}")
    names = [f"layer{layer}_{i}" for i in range(len(volume))]
    return names, {"layer": layer, **place_of(grid)}


def _jets(
    representation: Representation,
    output: Path,
    maps: list[str],
    sigma: list[float] | None,
    grid: Grid,
) -> tuple[list[str], dict[str, Any]]:
    from oinr_monai.analysis.jet_features import JET_SCALES, channel_names, jet_channels

    scales, channels = sigma or list(JET_SCALES), len(representation.scale.mean)
    names = channel_names(maps, scales, grid.spatial_dims, channels)
    check_result(output, len(names), grid, {})
    _write(output, jet_channels(representation, maps, scales, grid), grid, "jets at scales in mm")
    return names, {"maps": maps, "sigma": scales, **place_of(grid)}


def _write(path: Path, volume: MetaTensor, grid: Grid, what: str) -> None:
    if not path.name.lower().endswith(".npz"):
        from oinr_monai.images.files import write_image

        write_image(path, volume, what)
        return
    import numpy as np

    from oinr_monai.images.replacing import replacing

    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            features=volume.as_tensor().numpy(),
            affine=grid.affine.numpy(),
            spacing=grid.spacing.numpy(),
        )


def _write_codes(path: Path, names: list[str]) -> dict[str, str]:
    from oinr_monai.analysis.codebook import write_codebook

    write_codebook(path, names)
    return {"codebook": str(path)}
