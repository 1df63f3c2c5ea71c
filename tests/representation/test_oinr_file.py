"""Files that were written before still say what they said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from oinr_monai import Representation

# Fits of a random picture (1, 12, 13), three steps each, written at commit 8ea0d91, with samples on
# ``grid.refine(2)``, or on the grid itself for the family.
VERSION_1 = Path(__file__).parents[1] / "reference" / "version_1"


@pytest.mark.parametrize("name", ["ck", "cz", "exact", "family", "flat", "plain"])
def test_files_of_version_1_have_the_answers_that_they_had(name: str, tmp_path: Path) -> None:
    found = Representation.load(VERSION_1 / f"{name}.oinr")
    grid = found.grid if name == "family" else found.grid.refine(2)
    expected = load_file(VERSION_1 / "samples.safetensors")[name]
    for each in (found, rewritten(found, tmp_path / "again.oinr")):
        torch.testing.assert_close(each.sample(grid).as_tensor(), expected, rtol=0, atol=1e-5)


def rewritten(representation: Representation, path: Path) -> Representation:
    representation.save(path)
    return Representation.load(path)
