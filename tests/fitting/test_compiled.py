"""A step as a program: one for all steps of a fit, without a way back to Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig, fit, fit_many
from oinr_monai.fitting import cohort, device, single

CPU = torch.device("cpu")


def image(scale: float = 1.0) -> Tensor:
    axis = torch.linspace(-1, 1, 12)
    return scale * (torch.sin(5 * axis)[:, None, None] + torch.cos(4 * axis)[:, None] * axis)[None]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Programs that steps become, which run as they are; whatever is no program fails."""
    found: list[Any] = []

    def kept(program: Any, example: Any) -> Any:
        found.append(program)
        return program.forward

    def whole(work: Callable[..., Tensor], place: torch.device) -> Callable[..., Tensor]:
        return torch.compile(work, fullgraph=True, dynamic=False, backend=kept)

    monkeypatch.setattr(single, "compiled", whole)
    monkeypatch.setattr(cohort, "compiled", whole)
    return found


def settings(compiled: bool, preset: str = "fast") -> FitConfig:
    return FitConfig(preset, steps=4, device="cpu", compiled=compiled)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda compiled: [fit(image(), settings(compiled))], id="fast"),
        pytest.param(lambda compiled: [fit(image(), settings(compiled, "balanced"))], id="closed"),
        pytest.param(
            lambda compiled: [fit(image(), settings(compiled), mask=image()[0] > 0)], id="mask"
        ),
        pytest.param(
            lambda compiled: fit_many([image(), image(2.0)], settings(compiled)), id="many"
        ),
    ],
)
def test_all_steps_are_one_program_that_finds_the_same(
    run: Callable[[bool], list[Any]], programs: list[Any]
) -> None:
    found = [each.sample().as_tensor() for each in run(True)]
    assert len(programs) == 1
    for one, other in zip(found, run(False), strict=True):
        assert torch.allclose(one, other.sample().as_tensor(), atol=1e-5)
    assert len(programs) == 1


def test_images_of_several_resolutions_are_a_program_each(programs: list[Any]) -> None:
    images = [image(), image()[:, ::2, ::2, ::2]]
    fit(images, FitConfig("fast", steps=8, device="cpu", compiled=True))
    assert 1 <= len(programs) <= 2


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"compiled must be False .* \(no-such-compiler\)"):
        fit(image(), settings(True))


def test_what_trains_nothing_has_no_step_to_compile() -> None:
    with pytest.raises(ValueError, match="compiled must be False"):
        FitConfig("exact", compiled=True)


def test_a_replay_on_a_device_hands_out_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = torch.zeros(()), {}

    def program(work: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        asked.update(options)
        return lambda step: answer.fill_(step)  # as a graph, into the same memory each time

    monkeypatch.setattr(torch, "compile", program)
    step = device.compiled(lambda batch: batch, torch.device("cuda"))
    first, second = step(1.0), step(2.0)
    assert (float(first), float(second)) == (1.0, 2.0)
    assert asked["mode"] == "reduce-overhead"


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
def test_compiled_steps_find_what_others_find(preset: str) -> None:
    found, other = (fit(image(), settings(each, preset)).sample() for each in (True, False))
    assert torch.allclose(found, other, atol=1e-3)
