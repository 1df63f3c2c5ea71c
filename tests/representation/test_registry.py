"""Names that files may hold, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oinr_monai import (
    CKConvOINR,
    ConvOINR,
    CoordinateField,
    FitConfig,
    JointField,
    NoiseField,
    SplineField,
    fit,
    fit_family,
    fit_many,
    operators,
)
from oinr_monai.operators import KernelNetwork, MLPNet, Operator
from oinr_monai.representation import registry
from oinr_monai.representation.registry import (
    FIELDS,
    KERNELS,
    OPERATORS,
    build,
    check_savable,
    describe,
)


def test_every_class_has_one_name() -> None:
    assert all(name == cls.__name__ for name, cls in {**FIELDS, **KERNELS, **OPERATORS}.items())
    assert len({**FIELDS, **KERNELS, **OPERATORS}) == len(FIELDS) + len(KERNELS) + len(OPERATORS)
    offered = {getattr(operators, name) for name in operators.__all__}
    told = {cls for cls in offered if hasattr(cls, "arguments")}
    assert all(issubclass(cls, KernelNetwork | Operator) for cls in told)


def test_nested_descriptions_are_json() -> None:
    inner = JointField([CoordinateField((9.0,)), NoiseField((9.0,), (1.0,), seed=2)])
    described = describe(JointField([inner, CoordinateField((9.0,))]))
    again = build(json.loads(json.dumps(described)))
    assert describe(again) == described
    assert again.channels == 3


def test_a_foreign_class_is_not_described() -> None:
    class ConvOINR2(ConvOINR):
        pass

    impostor = type("ConvOINR", (ConvOINR,), {})
    for module, remedy in (
        (nn.Linear(2, 2), "a file holds fields, operators and kernel networks"),
        (
            ConvOINR2(1, 1, 1, (2,)),
            "offer it by the entry point ConvOINR2 = .*oinr_monai.operators",
        ),
        (impostor(1, 1, 1, (2,)), "is the name of oinr_monai.operators.conv:ConvOINR, choose"),
    ):
        with pytest.raises(ValueError, match=f"module must be of a registered class.*{remedy}"):
            describe(module)


@pytest.mark.parametrize("name", ["Linear", "torch.nn.Linear", "os.system", None])
def test_a_foreign_name_is_not_built(name: str | None) -> None:
    with pytest.raises(ValueError, match="class must be one of"):
        build({"class": name, "arguments": {}})
    joint = {"class": "JointField", "arguments": {"fields": [{"class": name, "arguments": {}}]}}
    with pytest.raises(ValueError, match="class must be one of"):
        build(joint)


def test_a_kernel_alone_is_not_built() -> None:
    with pytest.raises(ValueError, match="class must be a field or an operator, got SIREN"):
        build({"class": "SIREN", "arguments": {}})


# ---- before a fit -------------------------------------------------------------------------------


class Unknown(CoordinateField):
    """A field that no entry point offers."""


class UnknownKernel(MLPNet):
    """A kernel that no entry point offers."""


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": lambda grid: Unknown(grid.extent.tolist())},
        {"encoding": lambda grid: JointField([Unknown(grid.extent.tolist())])},
        {"network": lambda **sizes: CKConvOINR(**sizes, channels=(4,), kernel=UnknownKernel)},
        {"network": lambda **sizes: type("Mine", (ConvOINR,), {})(**sizes, kernel_size=1)},
    ],
    ids=["field", "part of a field", "kernel", "operator"],
)
@pytest.mark.parametrize(
    "door",
    [
        lambda image, config: fit(image, config),
        lambda image, config: fit_many([image], config),
        lambda image, config: fit_family([image, image + 1], config, motion=False),
    ],
    ids=["fit", "fit_many", "fit_family"],
)
def test_what_could_not_be_saved_is_not_fitted(
    door: Callable[[Tensor, FitConfig], object],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ValueError, match=r"module must be .*; offer it by the entry point"):
        door(torch.rand(1, 12, 12), FitConfig("fast", steps=3, **settings))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (lambda field: {"extent": [9.0]}, "got arguments of SplineField .* missing a required"),
        (lambda field: {**field, "extent": torch.ones(1)}, "got TypeError: .* not JSON"),
        (lambda field: {**field, "channels": 3}, "got other shapes of coefficients"),
    ],
    ids=["missing", "no JSON", "another shape"],
)
def test_arguments_must_build_the_same_again(
    arguments: Callable[[dict[str, Any]], dict[str, Any]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    field = SplineField((9.0,), (3.0,), channels=2)
    check_savable(field)
    told = field.arguments()
    monkeypatch.setattr(SplineField, "arguments", lambda self: arguments(told))
    message = (
        rf"SplineField must be built from its arguments, {reason}.*; let SplineField.arguments"
    )
    with pytest.raises(ValueError, match=message):
        check_savable(field)


def test_the_check_draws_no_random_numbers() -> None:
    field = SplineField((9.0,), (3.0,), channels=2)
    before = torch.get_rng_state()
    check_savable(field)
    assert torch.equal(torch.get_rng_state(), before)


class Remembering(CoordinateField):
    """A field with a tensor that its state does not have."""

    def __init__(self, extent: Sequence[float]) -> None:
        super().__init__(extent)
        self.origin = torch.zeros(len(extent))


def test_tensors_outside_the_state_are_refused_before_a_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry.OURS, "Remembering", Remembering)
    with pytest.raises(ValueError, match=r"Remembering must be built .* got origin outside"):
        check_savable(Remembering((9.0,)))
