"""What an operator answers is a field, which another operator can read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    ConvOINR,
    Field,
    FitConfig,
    Grid,
    JointField,
    Representation,
    SplineField,
    WorldSignal,
    export_signal,
    fit,
    fit_many,
)
from oinr_monai.representation.continuous_field import ContinuousField

OPERATORS: dict[str, Callable[..., torch.nn.Module]] = {
    "pointwise": partial(ConvOINR, channels=(5,), kernel_size=1),
    "inner kernels": partial(ConvOINR, channels=(5,), kernel_size=(1, 3)),
    "continuous": partial(CKConvOINR, channels=(5,), support=(0, 1.5)),
    "whole lattice": partial(CZOINR, channels=3, levels=2),
}

IMAGE = torch.rand(1, 14, 13, generator=torch.Generator().manual_seed(0))


def first(operator: str, sigma: float = 0.0) -> Representation:
    config = FitConfig("fast", steps=3, network=OPERATORS[operator])
    return fit(IMAGE, config).smoothed(sigma)


def beside(field: Field) -> Callable[[Grid], Field]:
    """The field, and learned splines of its own, as one."""

    def make(grid: Grid) -> Field:
        return JointField([field, SplineField(grid.extent.tolist(), [3.0, 3.0], 2, [1.0, 1.0])])

    return make


def second(of: Representation, operator: str = "pointwise", steps: int = 3) -> Representation:
    config = FitConfig("fast", steps=steps, encoding=beside(of.field), network=OPERATORS[operator])
    return fit(IMAGE, config)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("of", OPERATORS)
def test_an_operator_reads_the_signal_of_another(of: str, operator: str, tmp_path: Path) -> None:
    given = first(of)
    before = given.sample().as_tensor().clone()
    found = second(given, operator)
    assert found.field.encoding.channels == given.field.channels + 2
    # The given one is read as it is, and stays so.
    (part,) = found.field.signals()
    for name, tensor in part.state_dict().items():
        assert torch.equal(tensor, given.field.state_dict()[name])
    assert torch.equal(given.sample().as_tensor(), before)
    # The other part was fitted.
    assert not torch.equal(second(given, operator, steps=0).sample(), found.sample())
    found.save(tmp_path / "second.oinr")
    again = Representation.load(tmp_path / "second.oinr")
    finer = found.grid.refine(2)
    assert torch.equal(again.sample(finer).as_tensor(), found.sample(finer).as_tensor())
    assert torch.equal(again.hessian().as_tensor(), found.hessian().as_tensor())


def test_a_smoothed_signal_is_a_field_too(tmp_path: Path) -> None:
    given = first("pointwise", sigma=1.5)
    assert isinstance(given.field, ContinuousField)
    found = second(given)
    found.save(tmp_path / "second.oinr")
    again = Representation.load(tmp_path / "second.oinr")
    assert torch.equal(again.gradient().as_tensor(), found.gradient().as_tensor())


@pytest.mark.parametrize("of", ["pointwise", "inner kernels", "whole lattice"])
def test_what_it_is_made_of_is_exported(of: str, tmp_path: Path) -> None:
    found = second(first(of))
    points = found.grid.points().flatten(0, 1)[::7] + 0.3
    expected = found.at(points)
    torch.testing.assert_close(WorldSignal(found)(points.float()), expected, rtol=0, atol=1e-5)
    export_signal(found, tmp_path / "signal.pt2")
    program = torch.export.load(tmp_path / "signal.pt2").module()
    torch.testing.assert_close(program(points.float()), expected, rtol=0, atol=1e-5)


def test_many_fits_read_one_signal() -> None:
    given = first("pointwise")
    config = FitConfig("fast", steps=2, encoding=beside(given.field))
    for found in fit_many([IMAGE, IMAGE.flip(1)], config):
        (part,) = found.field.signals()
        for name, tensor in part.state_dict().items():
            assert torch.equal(tensor, given.field.state_dict()[name])


def test_a_start_hands_on_what_was_learned_and_not_what_was_given() -> None:
    one = first("pointwise")
    other = fit(IMAGE.flip(1), FitConfig("fast", steps=3, network=OPERATORS["pointwise"]))
    start = second(one)
    config = FitConfig(
        "fast", steps=0, encoding=beside(other.field), network=OPERATORS["pointwise"]
    )
    found = fit(IMAGE, config, start=start)
    (given, learned), (_, started) = found.field.encoding.fields, start.field.encoding.fields
    assert torch.equal(given.encoding.coefficients, other.field.encoding.coefficients)
    assert torch.equal(learned.coefficients, started.coefficients)


def test_memory_counts_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = first("inner kernels")
    alone = fit(IMAGE, FitConfig("fast", steps=0)).field
    assert second(inner).field.numbers(2, scattered=True) >= inner.field.numbers(2, scattered=True)
    assert second(inner).field.numbers(2, scattered=True) > alone.numbers(2, scattered=True)
