"""What ships the package elsewhere asks for what setup.cfg asks for."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import yaml

import oinr_monai

ROOT = Path(__file__).parents[2]

# What conda-forge calls otherwise.
CALLED = {"pytorch-ignite": "ignite", "torch": "pytorch"}


def settings() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def recipe(name: str) -> Any:
    return yaml.safe_load((ROOT / "conda" / f"{name}.yaml").read_text())


def asked(requirement: str) -> tuple[str, str]:
    """Name, as conda-forge writes it, and versions."""
    name, versions = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()  # type: ignore[union-attr]
    return CALLED.get(name.lower(), name.lower()), versions


def test_the_recipe_requires_what_the_wheel_requires() -> None:
    wheel = {asked(each) for each in settings()["options"]["install_requires"].split("\n") if each}
    wheel |= {("python", settings()["options"]["python_requires"])}
    assert {asked(each) for each in recipe("oinr-monai")["requirements"]["run"]} == wheel


def test_the_recipe_is_of_this_version_with_this_program() -> None:
    found = recipe("oinr-monai")
    assert found["context"]["version"] == oinr_monai.__version__
    programs = settings()["options.entry_points"]["console_scripts"].split("\n")
    assert found["build"]["python"]["entry_points"] == [each for each in programs if each]


def test_what_conda_forge_lacks_has_a_recipe_of_its_own() -> None:
    made, needed = recipe("pytorch_wavelets"), recipe("oinr-monai")["requirements"]["run"]
    assert made["package"]["name"] in needed
    pinned = (ROOT / "constraints.txt").read_text()
    assert f"pytorch-wavelets=={made['context']['version']}\n" in pinned


def test_the_image_copies_what_there_is() -> None:
    lines = re.findall(r"^COPY (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = [name for line in lines for name in line.split()[:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
