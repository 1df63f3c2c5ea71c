"""Workers: each job once, as it ends, begun again where its process ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace
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


class RayError(Exception):
    """What Ray raises where it lost a job."""


class Ray:
    """A cluster that works on what it is handed as it is asked for it."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, **resources: float) -> None:
        self.resources, self.begun, self.ended = resources, [0], False
        self.options: dict[str, Any] = {}
        self.most = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **given: Any) -> None:
        self.given = given
        if given["address"] == "nowhere":
            raise ConnectionError

    def shutdown(self) -> None:
        self.ended = True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Callable[..., Any]) -> Any:
        def call(*given: Any) -> Callable[[], Any]:
            self.begun[0] += 1
            return lambda: function(*given)

        def options(**told: Any) -> Any:
            self.options = told
            return SimpleNamespace(remote=call)

        return SimpleNamespace(options=options)

    def wait(self, pending: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(pending))
        return pending[-num_returns:], pending[:-num_returns]

    def get(self, call: Callable[[], Any]) -> Any:
        return call()


def work(job: int) -> tuple[int, int]:
    if job == 7:
        raise RayError("The worker died unexpectedly.\nCheck the logs.")
    return job, torch.get_num_threads()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray(CPU=6.0, memory=2**30)
    monkeypatch.setitem(sys.modules, "ray", made)  # type: ignore[arg-type]
    return made


def test_ray_is_handed_no_more_than_it_works_on_and_as_many_that_wait(ray: Ray) -> None:
    found = list(RayEngine(cpus=3, memory=512, retries=5).run(work, range(40)))
    assert ray.most == 4
    assert ray.options == {"num_cpus": 3, "num_gpus": 0, "memory": 2**29, "max_retries": 5}
    assert sorted(each.job for each in found) == list(range(40))
    results = {each.job: each for each in found}
    assert results[7] == Finished(7, None, "The worker died unexpectedly.")
    assert all(each.result == (each.job, 3) for each in found if each.job != 7)
    assert ray.ended


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (RayEngine(cpus=7), "cpus must be at most the 6 of this machine, got 7"),
        (RayEngine(gpus=1), "gpus must be at most the 0 of this machine, got 1"),
        (RayEngine(memory=2_000), "memory must be at most the 1024 of this machine, got 2000"),
        (RayEngine("nowhere"), "address must be of a Ray cluster that runs, got 'nowhere'"),
    ],
)
def test_what_would_wait_for_ever_is_refused(engine: RayEngine, reason: str, ray: Ray) -> None:
    with pytest.raises(ValueError, match=reason):
        list(engine.run(work, [1]))
    assert ray.begun == [0]
    assert ray.ended == (engine.address is None)
    if engine.address is None:  # one that grows may have room later
        elsewhere = replace(engine, address="auto")
        assert [each.result for each in elsewhere.run(work, [1])] == [(1, int(engine.cpus))]


@pytest.mark.parametrize("kind", [LocalEngine, RayEngine])
def test_numbers_that_say_nothing_are_refused(kind: type[LocalEngine]) -> None:
    name = "workers" if kind is LocalEngine else "cpus"
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            kind(**{name: value})
