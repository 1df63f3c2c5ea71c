"""One loop for all that learns: every descent is interrupted, kept and taken up in the same way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oinr_monai import (
    DenoiseConfig,
    FitConfig,
    OperatorConfig,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    fit_family,
    fit_many,
    learn_operator,
    super_resolve,
)
from oinr_monai.fitting.descent import Descent, Watch
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.grid import Grid

STEPS = 24
FIT = FitConfig(preset="fast", steps=STEPS, channels=(8, 8), places=200, device="cpu")
OPERATOR = OperatorConfig(steps=STEPS, batch=2, channels=(8, 8), field_channels=4, device="cpu")


def images(count: int, shape: tuple[int, ...] = (14, 13), seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, *shape, generator=generator).cumsum(1) for _ in range(count)]


def thick(seed: int = 0) -> Tensor:
    grid = Grid((20, 20, 6), torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0])))
    return grid.to_image(images(1, grid.shape, seed)[0])


Answer = Callable[..., Any]
DESCENTS: dict[str, Answer] = {
    "fit": lambda seed=0, **kept: fit(images(1, seed=seed)[0], FIT, resume=True, **kept),
    "fit_many": lambda seed=0, **kept: fit_many(images(2, seed=seed), FIT, **kept)[0],
    "fit_family": lambda seed=0, **kept: (
        fit_family(images(2, seed=seed), FIT, motion=False, **kept).representation
    ),
    "denoise": lambda seed=0, **kept: denoise(
        images(1, seed=seed)[0], DenoiseConfig(steps=STEPS, device="cpu"), **kept
    ),
    "super_resolve": lambda seed=0, **kept: super_resolve(
        thick(seed), SuperResolveConfig(steps=STEPS, device="cpu"), **kept
    ),
    "learn_operator": lambda seed=0, **kept: learn_operator(
        images(3, seed=seed), OPERATOR, labels=[0, 1, 0], **kept
    ),
}


@pytest.fixture(params=DESCENTS)
def descent(request: pytest.FixtureRequest) -> Answer:
    return DESCENTS[request.param]


def state(representation: Representation) -> dict[str, Tensor]:
    return representation.field.state_dict()


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Press Ctrl-C in the midst of step ``at``."""
    step = Descent.step

    def pressed(self: Descent, batch: Any) -> Tensor:
        if self.clock.step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Descent, "step", pressed)


def test_an_interrupt_ends_it_after_the_step(
    descent: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, 6)
    found = descent()
    assert (found.info["steps"], found.info["interrupted"]) == (7, True)
    assert all(bool(value.isfinite().all()) for value in state(found).values())


@pytest.mark.parametrize("at", [0, 9, 17])
def test_it_goes_on_bit_by_bit_where_it_was(
    descent: Answer, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = descent()
    assert (whole.info["steps"], whole.info["interrupted"]) == (STEPS, False)
    kept = tmp_path / "kept"
    if descent is DESCENTS["fit_many"]:
        kept.mkdir()
    with monkeypatch.context() as patch:
        interrupted(patch, at)
        assert descent(checkpoint=kept).info["steps"] == at + 1
    again = descent(checkpoint=kept)
    assert (again.info["steps"], again.info["interrupted"]) == (STEPS, False)
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_it_does_not_go_on_from_another_image(
    descent: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    if descent is DESCENTS["fit_many"]:
        kept.mkdir()
    with monkeypatch.context() as patch:
        interrupted(patch, 5)
        descent(checkpoint=kept)
    with pytest.raises(ValueError, match="checkpoint must be of the same image and the same set"):
        descent(seed=1, checkpoint=kept)


def test_a_mirror_image_is_another_image(tmp_path: Path) -> None:
    image, kept = images(1)[0], tmp_path / "kept"
    fit(image, FIT, checkpoint=kept)
    with pytest.raises(ValueError, match="same image"):
        fit(image.flip(1), FIT, checkpoint=kept, resume=True)
    mask = torch.ones(image.shape[1:], dtype=torch.bool)
    mask[0] = False
    with pytest.raises(ValueError, match="same image"):
        fit(image, FIT, mask=mask, checkpoint=kept, resume=True)


def test_progress_is_shown_on_stderr(descent: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    if descent is DESCENTS["fit"]:
        fit(images(1)[0], FIT, progress=True)
    else:
        descent(progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err


def test_an_interrupt_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    def interrupted_early() -> None:
        with learning():
            os.kill(os.getpid(), signal.SIGINT)
            fit(images(1)[0], FIT, checkpoint=tmp_path / "kept")

    with pytest.raises(KeyboardInterrupt):
        interrupted_early()
    assert not any(tmp_path.iterdir())


def test_an_interrupt_while_a_result_is_scored_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from oinr_monai.fitting import single

    result = single.ImageFit.result

    def pressed_twice(self: single.ImageFit, interrupted: bool) -> Representation:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return result(self, interrupted)

    monkeypatch.setattr(single.ImageFit, "result", pressed_twice)
    found = fit(images(1)[0], FIT)
    assert (found.info["steps"], found.info["interrupted"]) == (STEPS, False)


def test_handlers_are_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT)
    fit(images(1)[0], replace(FIT, steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_fit_without_a_finite_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="must reach a finite score, got nan after 24 steps"):
        fit(images(1)[0], replace(FIT, learning_rate=1e30))


def test_a_checkpoint_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint must be in an existing folder, got"):
        Watch(checkpoint=tmp_path / "none" / "kept")
