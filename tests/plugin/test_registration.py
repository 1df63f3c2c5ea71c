"""What MONAI knows of us, and that it stays itself."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import monai.networks.nets
import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser
from monai.inferers import SlidingWindowInferer
from monai.networks.blocks import Convolution
from monai.networks.layers import Act
from torch import nn

import oinr_monai
from oinr_monai import ConvOINR, OINRInferer
from oinr_monai.operators.sine import Sine
from oinr_monai.plugin.registration import register_in_monai
from oinr_monai.representation.registry import OPERATORS

NETWORK = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [4]}
CLASSES = [name for name in oinr_monai.__all__ if isinstance(getattr(oinr_monai, name), type)]


@pytest.mark.parametrize(
    "target", ["ConvOINR", "monai.networks.nets.ConvOINR", "oinr_monai.ConvOINR"]
)
def test_configs_find_the_network(target: str) -> None:
    parser = ConfigParser({"network_def": {"_target_": target, **NETWORK}})
    assert type(parser.get_parsed_content("network_def")) is ConvOINR


@pytest.mark.parametrize("name", CLASSES)
def test_configs_find_every_public_class(name: str) -> None:
    config = {"found": {"_target_": name, "_mode_": "callable"}}
    assert ConfigParser(config).get_parsed_content("found") is getattr(oinr_monai, name)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_networks_are_among_monais(name: str) -> None:
    assert getattr(monai.networks.nets, name) is OPERATORS[name] is getattr(oinr_monai, name)


def test_a_config_describes_an_inferer() -> None:
    operator = {"_target_": "ConvOINR", "_mode_": "callable", "channels": [4], "kernel_size": 1}
    config = {
        "_target_": "OINRInferer",
        "config": {"_target_": "FitConfig", "preset": "fast", "steps": 2, "network": operator},
        "answer": {"_target_": "DeriveOINR", "maps": ["gradient", "laplacian"]},
    }
    inferer = ConfigParser({"inferer": config}).get_parsed_content("inferer")
    assert isinstance(inferer, OINRInferer)
    assert inferer(inputs=torch.rand(1, 1, 6, 7), network=nn.Identity()).shape == (1, 3, 6, 7)


def test_sine_is_an_activation() -> None:
    assert Act["sine"] is Act["SINE"] is Sine
    block = Convolution(2, 1, 2, act=("sine", {"omega_0": 30.0}), norm=None)
    assert block.adn.A.omega_0 == 30.0


def test_registering_again_changes_nothing() -> None:
    before = (ComponentLocator.MOD_START, dict(Act.components), dict(vars(monai.networks.nets)))
    register_in_monai()
    register_in_monai()
    after = (ComponentLocator.MOD_START, dict(Act.components), dict(vars(monai.networks.nets)))
    assert after == before
    assert ComponentLocator.MOD_START == ("monai", "oinr_monai")


def test_what_is_taken_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(nn.Module):
        pass

    monkeypatch.setattr(monai.networks.nets, "ConvOINR", Other)
    with pytest.warns(UserWarning, match=r"monai\.networks\.nets\.ConvOINR is another class"):
        register_in_monai()
    assert monai.networks.nets.ConvOINR is Other
    monkeypatch.undo()

    monkeypatch.setitem(Act.components, "SINE", Act._Component("", lambda: Other))
    with pytest.warns(UserWarning, match="another class; in configs, name ours by its path"):
        register_in_monai()
    assert Act["sine"] is Other


def test_a_monai_without_the_hook_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ComponentLocator, "MOD_START")
    with pytest.warns(UserWarning, match="MOD_START is no prefix"):
        register_in_monai()
    assert not hasattr(ComponentLocator, "MOD_START")


def test_another_package_may_hook_in_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ComponentLocator, "MOD_START", ("monai", "another"))
    register_in_monai()
    assert ComponentLocator.MOD_START == ("monai", "another", "oinr_monai")


def test_no_short_name_of_monai_changes_its_meaning() -> None:
    found = partial(ComponentLocator.get_component_module_name, ComponentLocator())
    found("any")
    ours, monais = (
        set(ComponentLocator()._find_classes_or_functions([m for m in sys.modules if of(m)]))
        for of in (lambda m: m.startswith("oinr_monai"), lambda m: m.startswith("monai"))
    )
    assert {name for name in ours & monais if not name.startswith("_")} == set()
    assert [name for name in CLASSES if isinstance(found(name), list)] == []


def test_a_bundle_reaches_everything_after_one_import() -> None:
    code = (
        "from monai.bundle import ConfigParser\n"
        "parser = ConfigParser({'imports': ['$import oinr_monai'],"
        " 'network': {'_target_': 'ConvOINR', 'spatial_dims': 2, 'in_channels': 3,"
        " 'out_channels': 1}})\n"
        "parser.get_parsed_content('imports')\n"
        "print(type(parser.get_parsed_content('network')).__module__)"
    )
    root = Path(oinr_monai.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "oinr_monai.operators.conv"


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("ConvOINR", (22, 26, 18)), ("CKConvOINR", (22, 26)), ("ConvOINR", (40,))],
)
def test_registered_networks_keep_the_size(name: str, sizes: tuple[int, ...]) -> None:
    network = getattr(monai.networks.nets, name)(len(sizes), 2, 3)
    window = SlidingWindowInferer((16,) * len(sizes))
    assert window(torch.rand(1, 2, *sizes), network).shape == (1, 3, *sizes)
    assert network(torch.rand(1, 2, *[16] * len(sizes))).shape == (1, 3, *[16] * len(sizes))
