"""Clock, rate, best weights and checkpoints, each on an engine that does nothing."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable
from inspect import isabstract
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from safetensors import safe_open
from torch import nn

from oinr_monai.fitting import handlers
from oinr_monai.fitting.checkpoint import CHECKPOINT
from oinr_monai.fitting.handlers import (
    BestOfEach,
    BestWeights,
    Checkpoint,
    Clock,
    OneCycle,
)
from oinr_monai.fitting.notes import CheckpointNote
from oinr_monai.testing import StandIn


def run(*attached: object, steps: int, work: Callable[[], object] = lambda: None) -> Engine:
    engine = Engine(lambda engine, batch: work())
    for handler in attached:
        handler.attach(engine)
    engine.run([0], max_epochs=1, epoch_length=steps)
    return engine


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_clock_stops_after_its_steps(steps: int) -> None:
    clock = Clock(steps, None)
    run(clock, steps=100)
    assert clock.step == steps
    assert clock.fraction == 1


def test_clock_stops_near_its_seconds() -> None:
    clock = Clock(None, 0.3)
    run(clock, steps=10**6, work=lambda: time.sleep(0.01))
    assert 0.3 <= clock.elapsed < 0.6
    assert 1 < clock.step <= 30


def test_clock_stops_at_whichever_comes_first() -> None:
    by_steps, by_seconds = Clock(3, 60.0), Clock(10**6, 0.1)
    run(by_steps, steps=10**6)
    run(by_seconds, steps=10**6, work=lambda: time.sleep(0.01))
    assert by_steps.step == 3
    assert by_seconds.step <= 10


def test_clock_counts_earlier_runs() -> None:
    clock = Clock(10, 8.0, step=4, spent=2.0)
    assert clock.fraction == pytest.approx(0.4, abs=0.01)
    assert Clock(10, 4.0, step=4, spent=3.0).fraction == pytest.approx(0.75, abs=0.01)
    run(clock, steps=100)
    assert clock.step == 10


def test_rate_rises_and_falls_once() -> None:
    weight = nn.Parameter(torch.zeros(1))
    groups = [{"params": [weight], "peak": 2.0}, {"params": [nn.Parameter(weight)], "peak": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    clock = Clock(200, None)
    rates: list[tuple[float, ...]] = []
    run(
        OneCycle(optimizer, clock, rise=0.1),
        clock,
        steps=200,
        work=lambda: rates.append(tuple(g["lr"] for g in optimizer.param_groups)),
    )
    first = [rate[0] for rate in rates]
    top = first.index(max(first))
    assert top == 20
    assert max(first) == pytest.approx(2.0)
    assert first[:top] == sorted(first[:top])
    assert first[top:] == sorted(first[top:], reverse=True)
    assert 0 < first[0] <= 0.05 * 2
    assert 0 <= first[-1] < 1e-3
    assert all(b == pytest.approx(a / 4) for a, b in rates)


def test_the_best_weights_are_kept() -> None:
    network, clock = nn.Linear(1, 1), Clock(50, None)
    scores = itertools.chain([10.0, 30.0, 20.0, math.nan], itertools.repeat(5.0))
    best = BestWeights(network, lambda: next(scores), clock, times=100)
    values: list[float] = []

    def work() -> None:
        with torch.no_grad():
            network.weight.add_(1)
        values.append(network.weight.item())

    run(clock, best, steps=50, work=work)
    assert best.best == 30
    assert best.last == 5
    assert best.weights["weight"].item() == values[10]  # scored at steps 1, 11, 21, ...


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_device_keeps_the_best_weights_itself(device: str) -> None:
    with StandIn() as away:
        network = nn.Linear(1, 1).to(device)
        told = iter([10.0, math.nan, 30.0, 20.0])
        best = BestWeights(network, lambda: scores[next(places)], Clock(4, None))
        scores, places = torch.tensor(list(told), dtype=torch.float64).to(device), iter(range(4))
        with torch.no_grad():
            for value in range(4):
                network.weight.fill_(value)
                best.take()
        waits = away.count("waits")
        kept = best.weights["weight"].cpu().tolist()
        assert best.found
        assert (float(best.best), best.state()["score"]) == (30.0, 30.0)
    assert kept == [[2.0]]
    assert waits == 0


def test_no_weights_are_found_where_no_score_is_finite() -> None:
    with StandIn():
        network = nn.Linear(1, 1).to("meta")
        best = BestWeights(network, lambda: torch.tensor(math.nan).to("meta"), Clock(4, None))
        best.take()
        assert not best.found


def test_scores_are_taken_now_and_then() -> None:
    taken: list[int] = []
    clock = Clock(1000, None)
    best = BestWeights(nn.Linear(1, 1), lambda: float(taken.append(clock.step) or 0), clock, 20)
    run(clock, best, steps=1000)
    assert 18 <= len(taken) <= 22
    assert taken[0] == 1
    assert max(b - a for a, b in itertools.pairwise(taken)) <= 60


def state(step: int = 0) -> dict[str, Any]:
    return {"of": "x", "step": step, "network": {"x": torch.ones(2)}, "optimizer": {"state": {}}}


def step_of(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()[CHECKPOINT.key])["step"])


def test_checkpoints_are_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, numbers = tmp_path / "fit.checkpoint", iter(range(100))
    checkpoint = Checkpoint(path, lambda: state(next(numbers)), every=0.0)
    run(checkpoint, steps=3)
    assert step_of(path) == 2

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(CheckpointNote, match="disk full"):
        checkpoint.save()
    assert os.listdir(tmp_path) == ["fit.checkpoint"]
    assert step_of(path) == 2


def test_a_checkpoint_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "gone" / "fit.checkpoint", state, every=0.0)
    with pytest.warns(CheckpointNote, match="going on without a checkpoint") as told:
        run(checkpoint, steps=5)
    assert len(told) == 1


def test_checkpoints_wait(tmp_path: Path) -> None:
    run(Checkpoint(tmp_path / "fit.pt", dict, every=60.0), steps=50)
    assert os.listdir(tmp_path) == []


def test_every_handler_is_public() -> None:
    classes = {name for name, value in vars(handlers).items() if hasattr(value, "attach")}
    abstract = {name for name in classes if isabstract(getattr(handlers, name))}
    others = {"Scores"}
    assert classes - {"Engine"} - abstract | others == set(handlers.__all__)


def test_each_of_several_networks_keeps_its_own_best_weights() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # As many along every axis as there are networks, which the first one counts.
            for name, shape in (("bias", (3,)), ("weight", (3, 3)), ("kernel", (3, 3, 3))):
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    stack, scores = Stack(), iter([[1.0, 5.0, 2.0], [4.0, 3.0, 2.0], [0.0, 9.0, 2.5]])
    best = BestOfEach(stack, lambda: torch.tensor(next(scores)), Clock(10, None))
    for step in (1, 2, 3):
        with torch.no_grad():
            for value in stack.parameters():
                value.fill_(step)
        best.take()
    assert best.last == pytest.approx(11.5 / 3)
    assert best.best.tolist() == [4, 9, 2.5]
    for kept in best.weights.values():
        for row, step in zip(kept, (2, 3, 3), strict=True):
            assert bool((row == step).all())
