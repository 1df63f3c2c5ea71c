"""Dictionary versions tell what they take, and have the names that MONAI's have."""

from __future__ import annotations

import inspect

import pytest
from monai.bundle import ConfigParser
from monai.utils import TransformBackends

import oinr_monai
from oinr_monai import DeriveOINRd, FitOINRd, plugin
from oinr_monai.plugin.dictionary import DictionaryTwin

TWINS = [cls for cls in DictionaryTwin.__subclasses__() if cls.__module__.startswith("oinr_monai")]


@pytest.mark.parametrize("twin", TWINS)
def test_a_signature_names_every_argument(twin: type[DictionaryTwin]) -> None:
    arguments = inspect.signature(twin).parameters
    own = list(inspect.signature(twin.array_transform).parameters)
    beside = [] if twin.beside is None else [twin.beside]
    maps = getattr(twin.array_transform, "trust_keys", ())
    by_name = [*beside, *maps, "output_keys", "allow_missing_keys"]
    assert sorted(arguments) == sorted(["keys", *own, *by_name])
    assert {each.kind for each in arguments.values()} <= {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }
    called = inspect.signature(twin.array_transform.__call__).parameters
    assert [name for name in called if name in ("mask", "like", "guide")] == beside
    told = inspect.getdoc(twin) or ""
    assert all(f"\n    {name}: " in told for name in arguments)


def test_what_the_array_transform_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'preset'"):
        FitOINRd("image", preset="fast")
    with pytest.raises(TypeError, match="unexpected keyword argument 'mask'"):
        plugin.SuperResolveOINRd("image", mask="mask")
    with pytest.raises(TypeError, match="unexpected keyword argument 'error_keys'"):
        plugin.SimulateThickSlicesd("image", 3.0, error_keys="error")
    assert DeriveOINRd("image", "hessian", sigma=1.0).transform.maps == ("hessian",)


@pytest.mark.parametrize("twin", TWINS)
def test_monai_finds_it_by_all_its_names(twin: type[DictionaryTwin]) -> None:
    name = twin.__name__.removesuffix("d")
    for other in (f"{name}d", f"{name}D", f"{name}Dict"):
        assert getattr(oinr_monai, other) is twin
    target = ConfigParser({"t": {"_target_": f"{name}Dict", "_mode_": "callable"}})
    assert target.get_parsed_content("t") is twin


@pytest.mark.parametrize("twin", TWINS)
def test_it_says_what_it_works_with(twin: type[DictionaryTwin]) -> None:
    assert twin.backend == twin.array_transform.backend == [TransformBackends.TORCH]
