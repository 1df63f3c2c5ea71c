"""Registration and reconstruction of many subjects: what one alone would give, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oinr_monai import Grid
from oinr_monai.cohort import Cohort, ReconstructTask, RegisterTask, Row, Subject
from oinr_monai.images.files import read_image, write_image
from oinr_monai.motion.exchange import load_motion
from oinr_monai.motion.registration import RegisterConfig
from oinr_monai.motion.warp import warp_image, warp_labels
from oinr_monai.restoration.reconstruction import ReconstructConfig, reconstruct
from oinr_monai.scanner.profiles import Boxcar
from tests.cli.scans import save_nifti
from tests.motion.makers import texture
from tests.motion.test_registration import GRID, TURN
from tests.restoration.moved import moved_stacks


def one(cohort: Cohort, task: RegisterTask | ReconstructTask, folder: Path) -> Row:
    (row,) = cohort.map(task, folder)
    return row


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A subject with labels; what it is moved onto lies beside it, as fixed.nii.gz."""
    folder = tmp_path_factory.mktemp("pair")
    beyond = GRID.pad(3)
    moving = texture(beyond.points())
    fixed = texture(TURN.at(GRID.points().flatten(0, -2))).view(GRID.shape)
    for name, values, grid in (
        ("fixed", fixed, GRID),
        ("moving", moving, beyond),
        ("labels", (moving > 1).float() * 3, beyond),
    ):
        save_nifti(folder / f"{name}.nii.gz", values.numpy().astype("f4"), grid.affine.numpy())
    return Subject("s", folder / "moving.nii.gz", labels=folder / "labels.nii.gz")


def test_image_and_labels_are_moved_by_the_motion_beside_them(
    pair: Subject, tmp_path: Path
) -> None:
    task = RegisterTask(pair.image.with_name("fixed.nii.gz"), RegisterConfig("rigid"))
    assert one(Cohort((pair,)), task, tmp_path / "out").status == "done"
    grid = Grid.from_image(read_image(task.fixed))
    motion = load_motion(tmp_path / "out/s_motion.safetensors")
    points = grid.points().flatten(0, -2)[::97]
    assert (motion.at(points) - TURN.at(points)).norm(dim=1).max() < 0.1
    moved = warp_image(read_image(pair.image), motion, grid)
    assert torch.equal(read_image(tmp_path / "out/s.nii.gz"), moved.float())
    labels = warp_labels(read_image(pair.image.with_name("labels.nii.gz")), motion, grid)
    assert torch.equal(read_image(tmp_path / "out/s_labels.nii.gz"), labels.float())


def test_another_image_that_stays_is_another_setting(pair: Subject, tmp_path: Path) -> None:
    task = RegisterTask(tmp_path / "fixed.nii.gz", RegisterConfig("rigid"))
    fixed, found = read_image(pair.image), []
    for factor in (1, 1, 2):
        write_image(task.fixed, fixed * factor)
        found.append(task.settings())
    assert found[0] == found[1] != found[2]
    assert RegisterTask(task.fixed, RegisterConfig("affine")).settings() != found[2]


def test_a_reconstruction_is_that_of_the_stacks_alone(tmp_path: Path) -> None:
    images, _ = moved_stacks(torch.Generator().manual_seed(0))
    paths = [save_nifti(tmp_path / f"{i}.nii.gz", image[0].numpy(), image.affine.numpy())
             for i, image in enumerate(images)]  # fmt: skip
    mask = save_nifti(
        tmp_path / "m.nii.gz", np.ones(images[0].shape[1:], "u1"), images[0].affine.numpy()
    )
    task = ReconstructTask(ReconstructConfig("still"), thickness=6.0)
    subject = Subject("s", paths[0], more=tuple(paths[1:]))
    assert one(Cohort((subject,)), task, tmp_path / "out").status == "done"
    alone = reconstruct(
        [read_image(each) for each in paths], task.config, profiles=[Boxcar(6.0)] * 3
    )
    assert torch.equal(read_image(tmp_path / "out/s.nii.gz"), alone.volume.sample())
    few = Subject("s", paths[0], mask=mask, more=tuple(paths[1:]))
    row = one(Cohort((few,)), task, tmp_path / "out")
    assert (row.status, row.message) == ("failed", "mask must be one file for each image, got 1")


def test_tasks_of_one_image_refuse_several(pair: Subject, tmp_path: Path) -> None:
    several = Subject("s", pair.image, more=(pair.image,))
    row = one(Cohort((several,)), RegisterTask(pair.image), tmp_path / "out")
    assert (row.status, row.message) == ("failed", "image must be one file, got 2")
