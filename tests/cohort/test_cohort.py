"""Each subject once, the same bits from any engine, and nothing made twice or lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from oinr_monai import (
    DenoiseConfig,
    FitConfig,
    Representation,
    SuperResolveConfig,
    fit,
)
from oinr_monai.cohort import (
    Cohort,
    DenoiseTask,
    FeaturesTask,
    FitTask,
    LocalEngine,
    RayEngine,
    Row,
    Subject,
    SuperResolveTask,
    Task,
    find_images,
    read_manifest,
    read_status,
    summary,
)
from oinr_monai.cohort import task as tasks
from oinr_monai.cohort.status import write_status
from oinr_monai.images.notes import ImageNote
from oinr_monai.representation.info import Info


@dataclass(frozen=True)
class Copies(Task):
    """Writes what the image holds, in capitals; counts how often it was asked to."""

    mark: str = ""

    @property
    def suffix(self) -> str:
        return ".txt"

    def settings(self) -> dict[str, Any]:
        return {"mark": self.mark}

    def make(self, subject: Subject, output: Path) -> Info:
        text = subject.image.read_text()
        with subject.image.with_suffix(".asked").open("a") as asked:
            asked.write("x")
        if "bad" in text:
            raise ValueError("text must be good,\ngot bad")
        if "die" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        output.write_text(text.upper() + self.mark)
        return Info(psnr_grid=float(len(text)))


def asked(image: Path) -> int:
    marks = image.with_suffix(".asked")
    return len(marks.read_text()) if marks.exists() else 0


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    subjects = []
    for i in range(5):
        path = tmp_path / f"{i}.in"
        path.write_text(f"text {i}")
        subjects.append(Subject(f"s{i}", path))
    return Cohort(tuple(subjects))


def states(rows: list[Row]) -> list[str]:
    return [row.status for row in rows]


def test_what_is_there_is_not_made_again(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert states(cohort.map(Copies(), out)) == ["done"] * 5
    assert states(cohort.map(Copies(), out)) == ["skipped"] * 5
    assert [asked(each.image) for each in cohort.subjects] == [1] * 5
    # A byte of an input, a result that was damaged, one that is gone, another setting.
    cohort.subjects[0].image.write_text("text!0")
    (out / "s1.txt").write_text("damaged")
    (out / "s2.txt").unlink()
    expected = ["done", "done", "done", "skipped", "skipped"]
    assert states(cohort.map(Copies(), out)) == expected
    assert states(cohort.map(Copies("!"), out)) == ["done"] * 5
    assert (out / "s4.txt").read_text() == "TEXT 4!"


def test_an_image_that_moved_is_the_same_image(cohort: Cohort, tmp_path: Path) -> None:
    cohort.map(Copies(), tmp_path / "out")
    moved = [each.image.rename(each.image.with_suffix(".moved")) for each in cohort.subjects]
    later = Cohort(tuple(Subject(f"s{i}", path) for i, path in enumerate(moved)))
    assert states(later.map(Copies(), tmp_path / "out")) == ["skipped"] * 5


def test_a_run_that_ended_early_forgets_nothing(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cohort.map(Copies(), out)

    class Cut(LocalEngine):
        def run(self, work: Any, jobs: Any) -> Iterator[Any]:
            yield from super().run(work, jobs[:2])
            raise KeyboardInterrupt

    cohort.subjects[0].image.write_text("other")
    with pytest.raises(KeyboardInterrupt):
        cohort.map(Copies(), out, Cut())
    assert states(list(read_status(out).values())) == ["done", "skipped", *["waiting"] * 3]
    assert states(cohort.map(Copies(), out)) == ["skipped"] * 5


def test_one_that_is_bad_fails_its_row_in_one_line(cohort: Cohort, tmp_path: Path) -> None:
    cohort.subjects[1].image.write_text("bad")
    cohort.subjects[3].image.unlink()
    rows = cohort.map(Copies(), tmp_path / "out")
    assert states(rows) == ["done", "failed", "done", "failed", "done"]
    assert rows[1].message == "text must be good, got bad"
    assert "No such file" in rows[3].message
    assert summary(rows).failed.keys() == {"s1", "s3"}


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_own_subject_alone(cohort: Cohort, tmp_path: Path) -> None:
    cohort.subjects[2].image.write_text("die")
    rows = cohort.map(Copies(), tmp_path / "out", LocalEngine(workers=2, threads=1, retries=1))
    assert states(rows) == ["done", "done", "failed", "done", "done"]
    assert "ended, each time" in rows[2].message
    assert [asked(each.image) for each in cohort.subjects] == [1, 1, 2, 1, 1]


def test_shards_share_the_subjects_out(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for i in (1, 2):
        cohort.shard(i, 2).map(Copies(), out, table=f"status-{i}-of-2.csv")
    assert sorted(read_status(out)) == ["s0", "s1", "s2", "s3", "s4"]
    assert [asked(each.image) for each in cohort.subjects] == [1] * 5
    assert states(cohort.map(Copies(), out)) == ["skipped"] * 5


def test_names_that_are_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must occur once, got 'A' again"):
        Cohort((Subject("a", tmp_path), Subject("A", tmp_path)))
    with pytest.raises(ValueError, match="must occur once"):  # one name on some file systems
        Cohort((Subject("Ren\u00e9", tmp_path), Subject("Rene\u0301", tmp_path)))
    with pytest.raises(ValueError, match="must be one or more"):
        Cohort(())


def test_no_two_subjects_write_one_file_and_none_a_table(cohort: Cohort, tmp_path: Path) -> None:
    image = cohort.subjects[0].image

    class Twice(Copies):
        def beside(self, subject: Subject) -> tuple[str, ...]:
            return ("_more.txt",)

    for task, names in ((Twice(), ("a", "A_more")), (FeaturesTask(), ("a", "status-1-of-2"))):
        with pytest.raises(ValueError, match="must write files of their own"):
            Cohort(tuple(Subject(name, image) for name in names)).map(task, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_made_beside_a_file_belongs_to_the_result(cohort: Cohort, tmp_path: Path) -> None:
    class Twice(Copies):
        def beside(self, subject: Subject) -> tuple[str, ...]:
            return ("_more.txt",)

        def make(self, subject: Subject, output: Path) -> Info:
            self.outputs(output, subject)[1].write_text("more")
            return super().make(subject, output)

    out = tmp_path / "out"
    assert states(cohort.map(Twice(), out)) == ["done"] * 5
    (out / "s0_more.txt").unlink()
    (out / "s1_more.txt").write_text("damaged")
    assert states(cohort.map(Twice(), out)) == ["done"] * 2 + ["skipped"] * 3
    assert (out / "s1_more.txt").read_text() == "more"


def test_paths_are_told_to_processes_in_other_folders(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = Cohort(tuple(Subject(s.name, Path(s.image.name)) for s in cohort.subjects))

    class Elsewhere(LocalEngine):
        def run(self, work: Any, jobs: Any) -> Iterator[Any]:
            with monkeypatch.context() as away:
                away.chdir("/")
                yield from super().run(work, jobs)

    assert states(here.map(Copies(), Path("out"), Elsewhere())) == ["done"] * 5


def test_what_a_lost_process_left_half_done_goes(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cohort.map(Copies(), out)  # which sweeps as it begins

    class Lost(LocalEngine):
        def run(self, work: Any, jobs: Any) -> Iterator[Any]:
            yield from super().run(work, jobs)
            (out / ".oinr-lost").mkdir()

    cohort.map(Copies(), out, Lost())
    assert {each.name for each in out.iterdir()} == {*(f"s{i}.txt" for i in range(5)), "status.csv"}


def test_whatever_is_raised_costs_its_row_alone(cohort: Cohort, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Broken(Copies):
        def make(self, subject: Subject, output: Path) -> Info:
            if subject.name == "s2":
                raise KeyError("spacing")
            return super().make(subject, output)

    rows = cohort.map(Broken(), tmp_path / "out")
    assert states(rows) == ["done", "done", "failed", "done", "done"]
    assert rows[2].message == "KeyError: 'spacing'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,image,Age\na,x.nii,31\n", ""),
        ("\ufeffSubject;Image;Age\r\na;x.nii;31\r\n", "semicolons"),
        ("participant_id,Image,Age\na,x.nii,31\n", "'participant_id' is taken for subject"),
    ],
)
def test_tables_as_people_write_them(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", ImageNote)
        (found,) = read_manifest(path)
    assert [said in str(each.message) for each in notes] == [True] * (said != "")
    assert (found.name, found.image, found.others) == ("a", tmp_path / "x.nii", {"Age": "31"})


@pytest.mark.parametrize("name", ["../a", "a/b", "..", ".a", "a\\b"])
def test_no_subject_leaves_the_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"subject,image\n{name},x.nii\n")
    with pytest.raises(ValueError, match="line 2: the subject must be able to name a file"):
        read_manifest(path)
    with pytest.raises(ValueError, match="the subject must be able to name a file"):
        Subject(name, tmp_path)


def test_a_pattern_names_subjects_by_what_differs(tmp_path: Path) -> None:
    for name in ("s1/a/t1.nii.gz", "s2/b/t1.nii.gz", "s2/c/t1.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [s.name for s in find_images("s2/*/t1.nii.gz", tmp_path)] == ["b", "c"]
    assert [s.name for s in find_images("*/*/t1.nii.gz", tmp_path)] == ["a", "b", "c"]
    (tmp_path / "s1/b").mkdir()
    (tmp_path / "s1/b/t1.nii.gz").touch()
    names = [s.name for s in find_images(str(tmp_path / "*/*/t1.nii.gz"))]
    assert names == ["s1_a", "s1_b", "s2_b", "s2_c"]
    with pytest.raises(ValueError, match="must match a file"):
        find_images("*.mgz", tmp_path)


def test_tables_of_status_come_back(tmp_path: Path) -> None:
    rows = [
        Row("a", "done", 40.25, None, 7, 1.5, "", "k", "r"),
        Row("b", "failed", message='a, "b"\nc'),
        Row("c"),
    ]
    write_status(tmp_path / "status.csv", rows)
    assert list(read_status(tmp_path).values()) == rows


def scans(folder: Path, shapes: list[tuple[int, ...]]) -> Cohort:
    folder.mkdir()
    for i, shape in enumerate(shapes):
        values = np.random.default_rng(i).normal(100, 20, shape).astype("f4")
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"s{i}.nii")
    return Cohort(tuple(Subject(p.stem, p) for p in sorted(folder.glob("*.nii"))))


TRAINED = FitTask(FitConfig(preset="fast", steps=4, device="cpu"))


def test_order_and_what_is_there_do_not_change_a_bit(tmp_path: Path) -> None:
    cohort = scans(tmp_path / "scans", [(6, 7, 8), (6, 7, 8), (5, 6, 7), (6, 7, 8)])
    first, second = tmp_path / "first", tmp_path / "second"
    cohort.map(TRAINED, first)
    Cohort(cohort.subjects[::-1]).map(TRAINED, second)
    bits = {path.name: path.read_bytes() for path in first.glob("*.oinr")}
    assert bits == {path.name: path.read_bytes() for path in second.glob("*.oinr")}
    (first / "s1.oinr").unlink()
    rows = cohort.map(TRAINED, first)
    assert states(rows) == ["skipped", "done", "skipped", "skipped"]
    assert bits == {path.name: path.read_bytes() for path in first.glob("*.oinr")}


def interrupted(*given: Any, **more: Any) -> Representation:
    """A fit that ended early."""
    found = fit(given[0], FitConfig(preset="exact"))
    found.info |= {"interrupted": True}
    return found


TASKS = [
    ("fit", FitTask(FitConfig(preset="exact"))),
    ("fit_many", TRAINED),
    ("denoise", DenoiseTask(DenoiseConfig())),
    ("super_resolve", SuperResolveTask(SuperResolveConfig())),
]


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_what_was_interrupted_is_no_result(
    name: str, task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cohort = scans(tmp_path / "scans", [(6, 7, 8)] * (2 if name == "fit_many" else 1))
    made = interrupted
    if name == "fit_many":

        def made(images: Any, *_: Any, **more: Any) -> Any:
            return [interrupted(each) for each in images]

    monkeypatch.setattr(tasks, name, made)
    with pytest.raises(KeyboardInterrupt):
        cohort.map(task, tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert not {name for name in left if name.startswith("s0")}


KILLED = """
import sys
from pathlib import Path
from oinr_monai.cohort import Cohort, LocalEngine
from tests.cohort.test_cohort import Copies, Subject
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    cohort = Cohort(tuple(Subject(p.stem, p) for p in sorted(folder.glob("*.in"))))
    cohort.map(Copies(), folder / "out", LocalEngine(workers=2, threads=1))
"""


@pytest.mark.slow
def test_workers_end_with_the_process_that_began_them(tmp_path: Path) -> None:
    for i in range(400):
        (tmp_path / f"{i:03d}.in").write_text("text")
    (tmp_path / "run.py").write_text(KILLED)
    root = Path(__file__).parents[2]
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)})
    while not list((tmp_path / "out").glob("*.txt")):
        time.sleep(0.05)
    workers = _children(process.pid)
    assert workers
    process.kill()
    process.wait()
    ends = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(each) for each in text.split()]
    threads = Path(f"/proc/{pid}/task").iterdir()
    more = [int(c) for t in threads for c in (t / "children").read_text().split()]
    return sorted({*found, *more})


@pytest.mark.slow
def test_ray_gives_the_same_bits_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("OINR_TEST", str(tmp_path))  # which all that it begins inherits
    cohort = scans(tmp_path / "scans", [(6, 7, 8), (6, 7, 8), (5, 6, 7)])
    here, there = tmp_path / "here", tmp_path / "there"
    cohort.map(TRAINED, here)
    assert states(cohort.map(TRAINED, there, RayEngine(retries=0))) == ["done"] * 3
    for path in here.glob("*.oinr"):
        assert path.read_bytes() == (there / path.name).read_bytes()
    assert _that_inherited(str(tmp_path)) == []


def _that_inherited(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"OINR_TEST={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().decode())
        except OSError:  # it has just gone
            continue
    return [each for each in found if each]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_node_that_is_lost_in_between_costs_nothing(tmp_path: Path) -> None:
    utils = pytest.importorskip("ray.cluster_utils")
    cohort = scans(tmp_path / "scans", [(32, 32, 33)] * 8)
    task = FitTask(FitConfig(preset="fast", steps=60, device="cpu"))
    cohort.map(task, tmp_path / "here")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        there = tmp_path / "there"
        lost = threading.Thread(target=lose_one, args=(cluster, nodes[0], there))
        lost.start()
        rows = cohort.map(task, there, RayEngine(cluster.address))
        lost.join()
    finally:
        cluster.shutdown()
    assert states(rows) == ["done"] * 8
    for path in (tmp_path / "here").glob("*.oinr"):
        assert path.read_bytes() == (there / path.name).read_bytes()
    assert {each.name for each in there.iterdir()} == {
        *(f"{each.name}.oinr" for each in cohort.subjects),
        "status.csv",
    }


def lose_one(cluster: Any, node: Any, out: Path) -> None:
    """Kill a node once there is a result, as others are worked on."""
    while not list(out.glob("*.oinr")):
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
