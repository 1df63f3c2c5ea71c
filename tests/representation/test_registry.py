"""Names that files may hold, and nothing else."""

from __future__ import annotations

import json
from inspect import isabstract

import pytest
from torch import nn

from oinr_monai import ConvOINR, CoordinateField, JointField, NoiseField, fields, operators
from oinr_monai.operators import KernelNetwork
from oinr_monai.representation.registry import FIELDS, KERNELS, NETWORKS, build, describe


def test_every_concrete_class_is_registered() -> None:
    offered = {getattr(fields, name) for name in fields.__all__}
    assert set(FIELDS.values()) == {cls for cls in offered if not isabstract(cls)}
    offered = {getattr(operators, name) for name in operators.__all__}
    concrete = {cls for cls in offered if hasattr(cls, "arguments") and not isabstract(cls)}
    kernels = {cls for cls in concrete if issubclass(cls, KernelNetwork)}
    assert set(KERNELS.values()) == kernels
    assert set(NETWORKS.values()) == concrete - kernels
    assert all(name == cls.__name__ for name, cls in {**FIELDS, **KERNELS, **NETWORKS}.items())


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
    for module in (nn.Linear(2, 2), ConvOINR2(1, 1, 1, (2,)), impostor(1, 1, 1, (2,))):
        with pytest.raises(ValueError, match="module must be of a registered class"):
            describe(module)


@pytest.mark.parametrize("name", ["Linear", "torch.nn.Linear", "os.system", None])
def test_a_foreign_name_is_not_built(name: str | None) -> None:
    with pytest.raises(ValueError, match="class must be one of"):
        build({"class": name, "arguments": {}})
    joint = {"class": "JointField", "arguments": {"fields": [{"class": name, "arguments": {}}]}}
    with pytest.raises(ValueError, match="class must be one of"):
        build(joint)
