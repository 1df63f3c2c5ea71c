"""Damaged checkpoints: each is refused in one line, or read and fit to go on from."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig
from oinr_monai.fitting.checkpoint import read_checkpoint, write_checkpoint
from oinr_monai.fitting.cohort import _BatchFit
from oinr_monai.fitting.descent import Descent
from oinr_monai.fitting.objective import ImageObjective
from oinr_monai.fitting.shared_operator import OperatorConfig, _OperatorFit
from oinr_monai.fitting.single import ImageFit
from oinr_monai.images.scans import checked_scans
from oinr_monai.images.stack import Signals
from tests.mutants import Mutator, bounded

CONFIG = FitConfig("fast", steps=50, channels=(6, 6), places=64, device="cpu")


def images() -> list[Tensor]:
    axis = torch.linspace(0, 6, 14)
    return [torch.sin(k * axis)[None, :, None] * torch.cos(axis[:12]) for k in (1.0, 2.0)]


def one() -> Descent:
    return ImageFit(
        ImageObjective(checked_scans(images()[:1], None), CONFIG), None, time.monotonic()
    )


def many() -> Descent:
    scans = [scan for image in images() for scan in checked_scans([image], None)]
    return _BatchFit(scans, CONFIG, None, "fit")


def operator() -> Descent:
    config = OperatorConfig(steps=50, batch=2, channels=(6, 6), field_channels=3, device="cpu")
    signals = Signals.of(images(), torch.device("cpu"))
    return _OperatorFit(signals, config, torch.tensor([0, 1]), None)


KINDS: tuple[Callable[[], Descent], ...] = (one, many, operator)


def step(descent: Descent) -> None:
    descent.generator.manual_seed(descent.clock.step)
    descent.step(next(descent.batches()))
    descent.clock.step += 1


@pytest.fixture(scope="module")
def descents() -> list[Descent]:
    made = [make() for make in KINDS]
    for descent in made:
        for _ in range(3):
            step(descent)
        descent.best.take()
    return made


def check_goes_on(descent: Descent) -> None:
    """From what was read, a step leads to finite weights."""
    step(descent)
    assert all(bool(torch.isfinite(p).all()) for p in descent.network.parameters())
    assert {name: t.shape for name, t in descent.best.network.state_dict().items()} == {
        name: t.shape for name, t in descent.best.weights.items()
    }


def outcome(path: Path, descent: Descent) -> str:
    """Read what may be damaged: "refused" by the documented error, or "read"."""
    try:
        with bounded():
            state = read_checkpoint(path, descent.state(), descent.optimizer)
    except ValueError as error:
        said = str(error)
        assert re.match(rf"checkpoint must .*{re.escape(str(path))}", said), said
        assert len(said) <= 300
        assert said.isprintable()
        return "refused"
    descent.restore(state)
    check_goes_on(descent)
    return "read"


def battery(descents: list[Descent], folder: Path, seed: int, count: int) -> dict[str, int]:
    path, whole = folder / "a.checkpoint", []
    for descent in descents:
        write_checkpoint(path, descent.state())
        assert outcome(path, descent) == "read"
        whole.append(path.read_bytes())
    mutator, counts = Mutator(whole, seed), {"refused": 0, "read": 0}
    for i in range(count):
        which, what, content = mutator.draw()
        path.write_bytes(content)
        try:
            counts[outcome(path, descents[which])] += 1
        except BaseException as error:
            raise AssertionError(f"{i}, {what}: {type(error).__name__}: {error}") from error
    return counts


def test_100_damaged_checkpoints(descents: list[Descent], tmp_path: Path) -> None:
    assert battery(descents, tmp_path, seed=1, count=100)["refused"] > 60


@pytest.mark.slow
def test_1000_damaged_checkpoints(descents: list[Descent], tmp_path: Path) -> None:
    assert battery(descents, tmp_path, seed=2, count=1_000)["refused"] > 600
