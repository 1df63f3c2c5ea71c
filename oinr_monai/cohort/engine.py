"""What runs the work on the subjects: this machine, or a cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from oinr_monai.grids.checks import check_positive

__all__ = ["Engine", "Finished", "LocalEngine", "RayEngine"]

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished(Generic[Job, Result]):
    """A job that is no longer worked on.

    Args:
        job: the job.
        result: what came of it; None if what worked on it was lost each time.
        reason: why, if it was.
    """

    job: Job
    result: Result | None
    reason: str = ""


class Engine(ABC):
    """Runs one function on many jobs, in any order, and survives the loss of what it runs on."""

    @abstractmethod
    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job]
    ) -> Iterator[Finished[Job, Result]]:
        """Each job once, as it ends.

        Args:
            work: a function of a module, which raises nothing.
            jobs: what it is called with, to be pickled.
        """


@dataclass(frozen=True)
class LocalEngine(Engine):
    """This machine: one job after the other, or several processes.

    Args:
        workers: processes; 1 works in this one.
        threads: threads that a job computes with. The last bits of what it computes can depend on
            them, and not on the engine.
        retries: how often a job is begun again whose process ended.

    Example:
        >>> [each.result for each in LocalEngine().run(len, ["a", "bc"])]
        [1, 2]
    """

    workers: int = 1
    threads: int = 1
    retries: int = 2

    def __post_init__(self) -> None:
        check_positive(self, "workers", "threads")

    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job]
    ) -> Iterator[Finished[Job, Result]]:
        """Each job once, as it ends."""
        return (self._in_processes if self.workers > 1 else self._here)(work, jobs)

    def _here(
        self, work: Callable[[Job], Result], jobs: Sequence[Job]
    ) -> Iterator[Finished[Job, Result]]:
        for job in jobs:
            with _threads(self.threads):
                result = work(job)
            yield Finished(job, result)

    def _in_processes(
        self, work: Callable[[Job], Result], jobs: Sequence[Job]
    ) -> Iterator[Finished[Job, Result]]:
        workers = [_Worker(self.threads) for _ in range(min(self.workers, len(jobs)))]
        idle = list(workers)
        busy: dict[Future[Finished[Job, Result]], _Worker] = {}
        queue = iter(jobs)
        with ThreadPoolExecutor(max(len(workers), 1)) as threads:
            try:
                while True:
                    for job in islice(queue, len(idle)):
                        worker = idle.pop()
                        busy[threads.submit(worker.run, work, job, self.retries)] = worker
                    if not busy:
                        return
                    for ended in wait(busy, return_when=FIRST_COMPLETED).done:
                        idle.append(busy.pop(ended))
                        yield ended.result()
            finally:
                for worker in workers:
                    worker.end()


class _Worker:
    """A process that works on one job at a time, and is replaced where it ends."""

    def __init__(self, threads: int) -> None:
        self.threads, self.ended = threads, False
        self._pool: ProcessPoolExecutor | None = None

    def run(self, work: Callable[[Job], Result], job: Job, retries: int) -> Finished[Job, Result]:
        """The job, begun again as often as its process ends."""
        for _ in range(retries + 1):
            try:
                return Finished(job, self._begun().submit(work, job).result())
            except BrokenProcessPool:
                self._pool = None
                if self.ended:
                    break
        return Finished(job, None, "the process that worked on it ended, each time")

    def end(self) -> None:
        """Stop at once."""
        self.ended, pool = True, self._pool
        if pool is None:
            return
        for process in list((pool._processes or {}).values()):  # until Python 3.14 names it
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, _begin, (self.threads,))
        return self._pool


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """What torch computes in the block has so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(threads: int) -> None:
    """Leave signals to the process that began this one, and end with it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass(frozen=True)
class RayEngine(Engine):
    """A Ray cluster: each job a task, on whichever node has room for it.

    A task whose worker or node is lost is begun again elsewhere. No more tasks are handed over
    than the cluster works on at once, and as many again that wait.

    Args:
        address: of a running cluster, "auto" for the one that this machine belongs to; a cluster of
            this machine alone, which goes again, if None.
        cpus: cores that a job takes; what it computes with has as many threads.
        gpus: GPUs that it takes, or a part of one.
        memory: MiB that it takes; not looked at if None.
        retries: how often a job is begun again that was lost.

    Raises:
        ValueError: if Ray is not installed.
    """

    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    memory: float | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        check_positive(self, "cpus", "memory")

    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job]
    ) -> Iterator[Finished[Job, Result]]:
        """Each job once, as it ends."""
        try:
            import ray
        except ImportError as error:
            raise ValueError("engine ray needs `pip install oinr-monai[ray]`") from error
        ours = not ray.is_initialized()
        if ours:
            self._join(ray)
        try:
            if ours and self.address is None:
                self._check_room(ray.cluster_resources())
            yield from self._on(ray, work, jobs)
        finally:
            if ours:
                ray.shutdown()

    def _join(self, ray: Any) -> None:  # noqa: ANN401 (a module)
        try:
            ray.init(
                address=self.address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if self.address is None else None,
            )
        except ConnectionError as error:
            raise ValueError(
                f"address must be of a Ray cluster that runs, got {self.address!r};"
                " `ray start --head` begins one"
            ) from error

    def _check_room(self, there: dict[str, float]) -> None:
        """Raise where a job would wait for ever; clusters of others may grow."""
        wanted = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory or 0}
        known = (there.get("CPU", 0), there.get("GPU", 0), there.get("memory", 0) / 2**20)
        for (name, number), most in zip(wanted.items(), known, strict=True):
            if number > most:
                raise ValueError(
                    f"{name} must be at most the {most:g} of this machine, got {number:g}"
                )

    def _on(
        self,
        ray: Any,  # noqa: ANN401 (a module)
        work: Callable[[Job], Result],
        jobs: Sequence[Job],
    ) -> Iterator[Finished[Job, Result]]:
        memory = None if self.memory is None else int(self.memory * 2**20)
        task = ray.remote(_worked).options(
            num_cpus=self.cpus, num_gpus=self.gpus, memory=memory, max_retries=self.retries
        )
        threads = max(int(self.cpus), 1)
        room = max(int(2 * ray.cluster_resources().get("CPU", 1) / self.cpus), 2)
        queue = iter(jobs)
        pending: dict[Any, Job] = {}
        while True:
            for job in islice(queue, room - len(pending)):
                pending[task.remote(work, job, threads)] = job
            if not pending:
                return
            (ended,), _ = ray.wait(list(pending), num_returns=1)
            job = pending.pop(ended)
            try:
                yield Finished(job, ray.get(ended))
            except ray.exceptions.RayError as error:
                yield Finished(job, None, str(error).strip().partition("\n")[0])


def _worked(work: Callable[[Job], Result], job: Job, threads: int) -> Result:
    with _threads(threads):
        return work(job)
