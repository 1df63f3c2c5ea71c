"""Workers: each job once, as it ends, begun again where its process ended."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
import torch

from oinr_monai.cohort import LocalEngine, RayEngine
from oinr_monai.cohort.engine import Finished, _Worker


class Pool:
    """Works in threads of this process; ends so often before it does."""

    _processes: dict[int, Any] = {}

    def __init__(self, ends: list[int]) -> None:
        self.ends, self.threads, self.shut = ends, ThreadPoolExecutor(1), 0

    def submit(self, work: Any, job: Any) -> Future[Any]:
        if self.ends[0]:
            self.ends[0] -= 1
            raise BrokenProcessPool
        return self.threads.submit(work, job)

    def shutdown(self, **_: Any) -> None:
        self.threads.shutdown()


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[Pool]]:
    """How often a process ends before its work, and the pools that were begun."""
    ends, begun = [0], []

    def start(self: _Worker) -> Any:
        if self._pool is None:
            self._pool = Pool(ends)  # type: ignore[assignment]
            begun.append(self._pool)
        return self._pool

    monkeypatch.setattr(_Worker, "_begun", start)
    return ends, begun  # type: ignore[return-value]


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_each_job_is_done_once(workers: int, pools: tuple[list[int], list[Pool]]) -> None:
    jobs = ["a", "bc", "def", "ghij", ""]
    found = list(LocalEngine(workers=workers).run(len, jobs))
    assert sorted((each.job, each.result) for each in found) == [(j, len(j)) for j in sorted(jobs)]
    assert all(each.reason == "" for each in found)
    assert len(pools[1]) <= (0 if workers == 1 else min(workers, len(jobs)))
    assert list(LocalEngine(workers=workers).run(len, [])) == []


def test_a_job_is_begun_again_as_often_as_it_may(pools: tuple[list[int], list[Pool]]) -> None:
    ends, begun = pools
    ends[0] = 2
    assert _Worker(1).run(len, "abc", 2) == Finished("abc", 3)
    assert len(begun) == 3
    ends[0] = 2
    lost = _Worker(1).run(len, "abc", 1)
    assert lost.result is None
    assert lost.reason == "the process that worked on it ended, each time"
    ends[0] = 5
    ended = _Worker(1)
    ended.ended = True
    assert ended.run(len, "abc", 4).result is None
    assert ends[0] == 4  # not begun again by one that is to stop


def test_a_job_has_the_threads_it_was_told_and_the_others_theirs() -> None:
    before = torch.get_num_threads()
    for count in (1, 2):
        engine = LocalEngine(threads=count)
        (found,) = engine.run(lambda _: torch.get_num_threads(), ["job"])
        assert (found.result, torch.get_num_threads()) == (count, before)


@pytest.mark.parametrize("kind", [LocalEngine, RayEngine])
def test_numbers_that_say_nothing_are_refused(kind: type[LocalEngine]) -> None:
    name = "workers" if kind is LocalEngine else "cpus"
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            kind(**{name: value})
