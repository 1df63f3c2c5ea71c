"""Faults that are made to test the tests: each is one, and none touches the work tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts import mutants
from scripts.shared.mutation import mutations, with_mutation

SOURCE = '''
"""A module."""
LIMIT = 3

def door(x: int = 3) -> int:
    """Doc 1 + 1."""
    if not x < LIMIT and x == 2:
        raise ValueError(f"x must be below {LIMIT + 1}")
    check(x)
    return -max(x, 1) + 2
'''
FAULTS = {
    "if False:",
    "not x < LIMIT or x == 2",
    "x < LIMIT",
    "x <= LIMIT",
    "x != 2",
    "x == 3",
    "pass",
    "return None",
    "-max(x, 1) - 2",
    "max(x, 1)",
    "min(x, 1)",
    "-max(x, 2) + 2",
    "-max(x, 1) + 3",
}


def test_every_kind_of_fault_and_no_message_type_or_default() -> None:
    whole = ast.unparse(ast.parse(SOURCE))
    made = [with_mutation(SOURCE, each.number) for each in mutations(SOURCE)]
    assert len(set(made)) == len(made) == len(FAULTS)
    assert all(any(fault in text for text in made) for fault in FAULTS)
    for text in made:
        assert text != whole
        assert "x must be below {LIMIT + 1}" in text
        assert 'def door(x: int=3) -> int:\n    """Doc 1 + 1."""' in text
        compile(text, "module", "exec")


def test_a_module_is_tested_by_its_mirror_or_by_those_that_name_it(tmp_path: Path) -> None:
    copy = mutants.Copy(tmp_path)
    mirrored, named = Path("oinr_monai/grids/tiles.py"), Path("oinr_monai/images/replacing.py")
    assert copy.tests_of(mirrored) == (Path("tests/grids/test_tiles.py"), mirrored)
    assert Path("tests/images/test_scratch.py") in copy.tests_of(named)


def test_a_fault_is_tried_on_a_copy_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("oinr_monai/grids/tiles.py")
    copy, seen = mutants.Copy(tmp_path), []

    def passes(self: mutants.Copy, tests: object, seconds: float) -> bool:
        seen.append((self.root / path).read_text())
        return len(seen) == 1

    monkeypatch.setattr(mutants.Copy, "passes", passes)
    before = (mutants.ROOT / path).read_text()
    mutation = mutations(before)[0]
    assert copy.tried(path, mutation).noticed
    assert seen == [before, with_mutation(before, 0)]
    assert (copy.root / path).read_text() == (mutants.ROOT / path).read_text() == before


def test_faults_are_chosen_by_the_seed() -> None:
    paths = mutants.modules(None)
    assert mutants.chosen(mutants.ROOT, paths, 5, 0) == mutants.chosen(mutants.ROOT, paths, 5, 0)
    assert mutants.chosen(mutants.ROOT, paths, 5, 0) != mutants.chosen(mutants.ROOT, paths, 5, 1)
