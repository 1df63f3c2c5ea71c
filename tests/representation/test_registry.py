"""Names that files may hold, and nothing else."""

from __future__ import annotations

import json
from inspect import isabstract

import pytest
from torch import nn

from oinr_monai import ConvOINR, CoordinateField, JointField, NoiseField
from oinr_monai.fields import family as family_field
from oinr_monai.fields import field as fields
from oinr_monai.fields import fourier as encodings
from oinr_monai.operators import calderon_zygmund, kernels
from oinr_monai.operators import conv as networks
from oinr_monai.operators import sequence as sequences
from oinr_monai.representation.registry import FIELDS, KERNELS, NETWORKS, build, describe


def test_every_concrete_class_is_registered() -> None:
    modules = (encodings, family_field, fields)
    public = (getattr(module, name) for module in modules for name in module.__all__)
    assert set(FIELDS.values()) == {cls for cls in public if not isabstract(cls)}
    modules = (calderon_zygmund, networks, sequences)
    public = (getattr(module, name) for module in modules for name in module.__all__)
    assert set(NETWORKS.values()) == {
        cls for cls in public if hasattr(cls, "arguments") and not isabstract(cls)
    }
    public = (getattr(kernels, name) for name in kernels.__all__)
    assert set(KERNELS.values()) == {cls for cls in public if not isabstract(cls)}
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
