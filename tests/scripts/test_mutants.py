"""Faults that are made to test the tests: each is one, and none touches the work tree."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import mutants
from scripts.shared.equivalent import CHANGES_NOTHING
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


def test_a_fault_knows_where_it_is() -> None:
    assert {each.within for each in mutations(SOURCE)} == {"door"}
    within = {each.within for each in mutations("class A:\n    def f(self):\n        return 1\n")}
    assert within == {"A.f"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> mutants.Copy:
    return mutants.Copy(tmp_path_factory.mktemp("mutants"))


def test_a_module_is_tested_by_its_mirror_or_by_those_that_name_it(copy: mutants.Copy) -> None:
    mirrored, named = Path("oinr_monai/grids/tiles.py"), Path("oinr_monai/images/replacing.py")
    assert copy.tests_of(mirrored) == ("tests/grids/test_tiles.py", str(mirrored))
    assert "tests/images/test_scratch.py" in copy.tests_of(named)
    assert "tests/field/test_values.py" in copy.tests_of(named)


def test_a_fault_is_tried_on_a_copy_and_undone(
    copy: mutants.Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = Path("oinr_monai/grids/tiles.py"), []

    def failing(self: mutants.Copy, tests: object, words: list[str]) -> list[str]:
        seen.append((self.root / path).read_text())
        return ["the::test"]

    monkeypatch.setattr(mutants.Copy, "failing", failing)
    before = (mutants.ROOT / path).read_text()
    mutation, fault = copy.faults(path)[0]
    assert copy.judged(mutation, fault).by == "the::test"
    assert seen == [with_mutation(before, 0)]
    assert (copy.root / path).read_text() == (mutants.ROOT / path).read_text() == before


def test_tests_that_fail_are_told(copy: mutants.Copy) -> None:
    (copy.root / "tests" / "test_it.py").write_text(
        "def test_one():\n    assert False\n\n\ndef test_word():\n    assert not 'word'\n"
    )
    tests = ["tests/test_it.py"]
    assert copy.failing(tests, ["_word"]) == ["tests/test_it.py::test_word"]
    assert len(copy.failing(tests, every=True)) == 2
    (copy.root / "tests" / "test_it.py").write_text("def test_one():\n    pass\n")
    assert copy.failing(tests) == []


def test_faults_are_chosen_by_the_seed_and_found_again(copy: mutants.Copy) -> None:
    paths = mutants.modules(None)
    chosen = mutants.chosen(copy, paths, 5, 0)
    assert chosen == mutants.chosen(copy, paths, 5, 0) != mutants.chosen(copy, paths, 5, 1)
    for each in chosen:
        found = mutants.there(copy, each)
        assert found is not None
        assert found[1] == each
    assert mutants.there(copy, replace(chosen[0], before="what is no more")) is None


def test_what_is_noticed_late_is_told_apart(
    copy: mutants.Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants.Copy, "judged", lambda self, _, fault: replace(fault, by="a::test"))
    (drawn,) = mutants.chosen(copy, mutants.modules(None), 1, 7)
    assert mutants.judged_now(copy, drawn, again=False) == replace(drawn, by="a::test", seed=7)
    assert mutants.judged_now(copy, drawn, again=True) == replace(drawn, by="a::test", late=1)
    later = replace(drawn, by=mutants.LATER)
    assert mutants.judged_now(copy, later, again=True) == replace(drawn, by="a::test")
    gone = replace(drawn, before="what is no more")
    assert mutants.judged_now(copy, gone, again=True).by == mutants.GONE


def test_samples_are_counted_as_drawn_and_now() -> None:
    fault = mutants.Tried("a.py", 1, "f", "constant", "1", "2", 0, seed=7)
    noticed, missed, gone = (replace(fault, by=by) for by in ("t", "", mutants.GONE))
    known = next(iter(CHANGES_NOTHING))
    path, within, before, after, which = known
    same = replace(fault, path=path, within=within, before=before, after=after, which=which)
    late, first = replace(noticed, late=1), replace(noticed, seed=mutants.FIRST)
    every = [noticed, noticed, noticed, late, missed, gone, same, first]
    assert mutants.samples(every) == [
        (mutants.FIRST, 1, 0, "", "", 1, 0, 0, "100 %"),
        (7, 7, 1, 3, 3, 4, 1, 1, "80 %"),
    ]


def test_what_changes_nothing_is_there(copy: mutants.Copy) -> None:
    for path, within, before, after, which in CHANGES_NOTHING:
        faults = [fault for _, fault in copy.faults(Path(path)) if fault.which == which]
        assert (within, before, after) in {(f.within, f.before, f.after) for f in faults}
