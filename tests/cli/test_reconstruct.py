"""Reconstruction in a shell: the volume, the poses, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.scans import load_values, save_nifti
from tests.restoration.moved import moved_stacks


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stacks")
    images, _ = moved_stacks(torch.Generator().manual_seed(0))
    paths = [folder / f"{i}.nii.gz" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        save_nifti(path, image[0].numpy(), image.affine.numpy())
    return paths


def test_volume_and_poses_are_written(
    run: Callable[..., dict[str, Any]], stacks: list[Path], tmp_path: Path
) -> None:
    poses = ["--poses", tmp_path / "poses.csv"]
    done = run("reconstruct", *stacks, "-o", tmp_path / "v.nii.gz", *poses, "--seconds", 0.001)
    assert done["shape"] == [24, 24, 24]
    assert done["slices"] == 24
    assert done["noise"] > 0
    assert np.isfinite(load_values(tmp_path / "v.nii.gz")).all()
    with (tmp_path / "poses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stack"] for row in rows] == [*["0"] * 8, *["1"] * 8, *["2"] * 8]
    assert {row["x"] for row in rows} == {"0.000000"}


def test_errors_and_samples_are_written(
    run: Callable[..., dict[str, Any]], stacks: list[Path], tmp_path: Path
) -> None:
    output, errors = tmp_path / "v.nii.gz", tmp_path / "e.nii.gz"
    maps = ("--error-map", errors, "--samples", 1)
    done = run("reconstruct", *stacks, "-o", output, *maps, "--seconds", 0.001)
    assert done["trust"]["learned_from"].startswith("each stack")
    widths = load_values(errors)
    assert widths.shape == load_values(output).shape == load_values(tmp_path / "v-1.nii.gz").shape
    assert widths.min() > 0


def test_a_thickness_for_each_and_another_spacing(
    run: Callable[..., dict[str, Any]], stacks: list[Path], tmp_path: Path
) -> None:
    many = [each for mm in (6, 5, 6) for each in ("--slice-thickness", mm)]
    output = ["-o", tmp_path / "v.oinr", "--spacing", 3]
    done = run("reconstruct", *stacks, *output, *many, "--seconds", 0.001)
    assert done["spacing"] == [3.0] * 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--mask", "empty.nii.gz"], "--mask must be one for each STACK, got 1"),
        (["--spacing", "-1"], "--spacing must be positive"),
        (["--slice-thickness", "1", "--slice-thickness", "2"], "one for each STACK, got 2"),
        (["--poses", "p.txt"], "must end in .csv"),
        (["--mask", "empty.nii.gz"] * 3, "mask must hold at least one voxel"),
    ],
)
def test_it_refuses(
    refused: Callable[..., str], stacks: list[Path], tmp_path: Path, options: list[str], reason: str
) -> None:
    empty = load_values(stacks[0]) * 0
    image, _ = moved_stacks(torch.Generator().manual_seed(0))
    save_nifti(tmp_path / "empty.nii.gz", empty.astype("f4"), image[0].affine.numpy())
    assert reason in refused("reconstruct", *[stacks[0]] * 3, "-o", "v.nii.gz", *options)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (["-o", "v.txt"], "v.txt: must end in"),
        (["-o", "none/v.nii.gz"], "none must be an existing folder"),
        (["-o", "{stack}"], "is an input; give --overwrite"),
        (["-o", "v.nii.gz", "--poses", "p.txt"], "p.txt: must end in .csv"),
        (["-o", "v.nii.gz", "--mask", "m.nii", "--mask", "m.nii"], "one for each STACK, got 2"),
        (["-o", "v.nii.gz", "--slice-thickness", "1", "--slice-thickness", "2"], "each STACK, got"),
    ],
)
def test_where_it_goes_is_found_out_before_the_work(
    unread: Callable[..., str], stacks: list[Path], output: list[str], reason: str
) -> None:
    options = [each.format(stack=stacks[0]) for each in output]
    assert reason in unread("reconstruct", *stacks, *options)
