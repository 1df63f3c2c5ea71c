"""Laws of learning an operator that carries over, and of beginning with one."""

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import (
    CarriedOperator,
    Grid,
    LearningConfig,
    SuperResolveConfig,
    learn_super_resolution,
    super_resolve,
)
from oinr_monai.restoration import operator_learning, pairs, scan_learning, scan_parts
from oinr_monai.restoration.scan_parts import Source
from oinr_monai.restoration.scan_tasks import ScanTasks
from oinr_monai.scanner.profiles import Boxcar
from oinr_monai.scanner.slices import SliceStack
from tests.restoration.test_carried_operator import operator
from tests.restoration.test_super_resolution import phantom, stack


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"WIDTH": 8, "BLOCKS": 1}.items():
        monkeypatch.setattr(operator_learning, name, value)
    monkeypatch.setattr(scan_learning, "HELD_OUT", 4)
    for name, value in {"POOL": 3, "RENEWED": 2}.items():
        monkeypatch.setattr(scan_parts, name, value)


SCANS = [phantom((30, 28, 26)), phantom((28, 26, 30), seed=1)]


def equal(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_a_task_is_the_same_each_time_and_adds_up():
    tasks = ScanTasks([Source.of(SCANS[0], Grid((30, 28, 26), torch.eye(4)))], seed=3)
    one, other = tasks.task(5), tasks.task(6)
    again = tasks.task(5)
    assert torch.equal(one.pair.coarse, again.pair.coarse)
    assert one.told == again.told != other.told
    for number in range(12):
        task = tasks.task(number)
        shape, factor = task.pair.coarse.shape, task.pair.factor[-1]
        assert task.pair.missing.shape == (*shape[:3], shape[3] * factor)
        assert factor - 1 < task.told.ratio <= factor


def test_thick_axes_are_no_targets():
    grid = Grid((20, 20, 6), torch.diag(torch.tensor([1.0, 1.1, 4.0, 1.0])))
    source = Source.of(torch.rand(1, 20, 20, 6), grid)
    assert source.sharp == (0, 1)
    assert source.values.shape == (1, 20, 20, 21)


def test_learning_goes_on_bit_by_bit_from_its_checkpoint(tmp_path, monkeypatch):
    config, path = LearningConfig(steps=9), tmp_path / "learning.checkpoint"
    whole = learn_super_resolution(SCANS, config)
    update, steps = scan_learning.Averaging._update, []

    def interrupted(self, *_):
        update(self)
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(scan_learning.Averaging, "_update", interrupted)
    part = learn_super_resolution(SCANS, config, checkpoint=path)
    assert not equal(part, whole)
    assert equal(learn_super_resolution(SCANS, config, checkpoint=path), whole)


@pytest.mark.slow
def test_what_is_learned_carries_over(monkeypatch):
    monkeypatch.setattr(pairs, "PATCH_SIDE", 12)
    learned = learn_super_resolution(SCANS, LearningConfig(steps=600))
    truth = phantom((26, 28, 32), seed=2)
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
    thick = MetaTensor(truth.unflatten(3, (8, 4)).mean(4), affine=affine)
    found = super_resolve(thick, SuperResolveConfig(steps=0, start=learned)).sample().as_tensor()
    nothing = super_resolve(thick, SuperResolveConfig(steps=0, start=CarriedOperator(8, 1)))
    assert float((found - truth).square().mean()) < 0.97 * float(
        (nothing.sample().as_tensor() - truth).square().mean()
    )


def test_scans_are_checked_at_the_door():
    for scans, reason in (([], "one or more"), ([torch.rand(1, 9, 9)], "3 spatial dimensions")):
        with pytest.raises(ValueError, match=reason):
            learn_super_resolution(scans, LearningConfig(steps=1))
    with pytest.raises(ValueError, match="steps must be positive"):
        LearningConfig(steps=0)


# ---- beginning with one ------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 3])
def test_the_answer_keeps_the_data_from_any_start(steps):
    image = stack(spacing=(1.0, 1.0, 3.5))
    result = super_resolve(image, SuperResolveConfig(steps=steps, start=operator()))
    scanner = SliceStack(result.grid, Grid.from_image(image), 2, Boxcar(3.5))
    seen = scanner.forward(result.sample().as_tensor())
    torch.testing.assert_close(seen, image.as_tensor(), rtol=0, atol=2e-3)
    assert result.info["steps"] == steps
    assert result.info["settings"]["start"].startswith("CarriedOperator(6, 2, ")


def test_a_start_that_is_wrong_does_no_harm():
    # What its own pairs tell of the answer decides how much of it is believed.
    truth = phantom((24, 24, 24))
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
    thick = MetaTensor(truth.unflatten(3, (6, 4)).mean(4), affine=affine)
    errors = []
    for start in (operator(), CarriedOperator(6, 2)):
        found = super_resolve(thick, SuperResolveConfig(steps=0, start=start)).sample()
        errors.append(float((found.as_tensor() - truth).square().mean()))
    assert errors[0] < 1.02 * errors[1]


def test_what_a_start_has_nothing_to_say_of_learns_from_nothing():
    image, config = stack(channels=2), SuperResolveConfig(steps=2, start=None)
    plain = super_resolve(image, config).sample()
    started = super_resolve(image, SuperResolveConfig(steps=2, start=operator())).sample()
    assert torch.equal(plain, started)
    with pytest.raises(ValueError, match="steps must be positive for what is no stack"):
        super_resolve(image, SuperResolveConfig(steps=0, start=operator()))
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        SuperResolveConfig(steps=0, start=None)
