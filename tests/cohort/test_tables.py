"""Tables of a cohort: names of subjects, what became of them, and who is unlike the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from oinr_monai.cohort import Row, Subject, cohort, read_manifest, read_status, summary
from oinr_monai.cohort.manifest import ALSO, _names
from oinr_monai.cohort.status import APART, FAR, FEW, write_status


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/t1.nii.gz"], ["t1"]),
        (["a/t1.nii.gz", "a/t2.nii"], ["t1", "t2"]),
        (["x/a/t.nii", "x/b/t.nii"], ["a", "b"]),
        # The last part that tells all apart; two together only where no one does.
        (["1/a/t1.nii", "2/b/t2.nii"], ["t1", "t2"]),
        (["1/a/t.nii", "2/a/t.nii", "2/b/t.nii"], ["1_a", "2_a", "2_b"]),
        (["1/a/s.nii", "1/b/t.nii", "2/a/t.nii", "2/b/t.nii"], ["1_a", "1_b", "2_a", "2_b"]),
        (["1/a/s", "1/a/t", "1/b/s", "2/a/s"], ["1_a_s", "1_a_t", "1_b_s", "2_a_s"]),
        (["A/t.nii", "a/s.nii"], ["t", "s"]),
        (["deep/er/t.nii", "s.nii"], ["t", "s"]),
        (["a/.hidden", "a/plain"], [".hidden", "plain"]),
    ],
)
def test_names_are_of_the_parts_that_differ(paths: list[str], names: list[str]) -> None:
    assert _names([Path(each) for each in paths]) == names


def test_columns_are_told_by_any_of_their_names(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_text(
        "subject,image,mask,labels,series,age\na,x.nii, m.nii ,,1.2,31\nb,y.nii,,l.nii,,\n"
    )
    a, b = read_manifest(table)
    assert (a.mask, a.labels, a.series) == (tmp_path / "m.nii", None, "1.2")
    assert (b.mask, b.labels, b.series) == (None, tmp_path / "l.nii", None)
    assert (a.others, b.others) == ({"age": "31"}, {"age": ""})
    assert a.files() == [tmp_path / "x.nii", tmp_path / "m.nii"]
    table.write_text("subject,image,mask\na,x.nii|y.nii | z.nii,m.nii|n.nii\n")
    (c,) = read_manifest(table)
    assert (c.image, c.more) == (tmp_path / "x.nii", (tmp_path / "y.nii", tmp_path / "z.nii"))
    assert (c.mask, c.more_masks) == (tmp_path / "m.nii", (tmp_path / "n.nii",))
    assert len(c.files()) == 5
    assert all(name == names[0] for name, names in ALSO.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have columns subject,image and at least one row, got nothing"),
        ("subject,image\n", "at least one row, got 'subject', 'image'"),
        ("subject,age\na,3\n", "must have columns subject,image, got 'subject', 'age'"),
        ("subject,image\na, |\n", "line 2 must have a subject and an image"),
        ("subject,image\na,\n", "line 2 must have a subject and an image"),
        ("subject,image\na,x\n,y\n", "line 3 must have a subject and an image"),
        ("subject,image\na,x\nA,y\n", "each subject must occur once, got 'A' again"),
    ],
)
def test_tables_that_are_not_whole_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"subject,image\n\xff\xfe,x\n")
    with pytest.raises(ValueError, match="must be a table in UTF-8"):
        read_manifest(tmp_path / "m.csv")


def test_what_a_row_does_not_say_is_left_out() -> None:
    assert Row.read({}) == Row("", "failed")
    assert Row.read({"subject": "a", "status": "done", "steps": "7.0", "seconds": "x"}) == Row(
        "a", "done", steps=7
    )
    assert Row("a", "done", 40.0, None, 7, 0.12345).cells() == {
        "subject": "a", "status": "done", "psnr_grid": "40.0000", "psnr_between": None, "steps": 7,
        "seconds": "0.1235", "message": "", "key": "", "result": "", "ended": None,
    }  # fmt: skip


def test_of_several_tables_the_newest_counts(tmp_path: Path) -> None:
    """As where a whole run follows one by shards, or the other way round."""
    first, later = tmp_path / "status-1-of-2.csv", tmp_path / "status.csv"
    for tables in ((first, later), (later, first)):
        for i, path in enumerate(tables):
            write_status(path, [Row("a", "done", key=path.name), Row(path.name)])
            os.utime(path, (i, i))
        found = read_status(tmp_path)
        assert found.keys() == {"a", first.name, later.name}
        assert found["a"].key == tables[1].name
    later.write_bytes(b"subject\n\xff\xfe\n")
    with pytest.raises(ValueError, match="must be a table in UTF-8"):
        read_status(tmp_path)


def test_the_rate_is_that_of_what_was_worked_on() -> None:
    worked = [Row(str(i), "done" if i else "failed", ended=100.0 + 30 * i) for i in range(5)]
    others = [Row("old", "skipped", ended=1.0), Row("x"), Row("y", ended=2.0)]
    found = summary([*worked, *others])
    assert found.rate == pytest.approx(120)  # four in two minutes
    assert found.seconds_left == pytest.approx(60)
    assert summary([*worked[:1], *others]).rate is None
    assert summary(others).seconds_left is None


def rows(*values: float) -> list[Row]:
    return [Row(str(i), "done", psnr_grid=value) for i, value in enumerate(values)]


def test_outliers_lie_far_from_the_median() -> None:
    # Median 40, median distance 2.
    spread = (40.0, 40.0, 38.0, 42.0, 38.0, 42.0, 36.0, 44.0)
    edge = FAR * 2
    assert summary(rows(*spread, 40 + edge - 0.01)).outliers == {}
    assert summary(rows(*spread, 40 + edge + 0.6)).outliers == {"8": f"psnr_grid {40.6 + edge:.4g}"}
    assert list(summary(rows(*spread, 40 - edge - 0.6)).outliers) == ["8"]
    # Of those that are all alike, a part of the median.
    alike = (40.0,) * (FEW - 1)
    assert summary(rows(*alike, 40 * (1 + APART) - 0.01)).outliers == {}
    assert list(summary(rows(*alike, 40 * (1 + APART) + 0.01)).outliers) == [str(FEW - 1)]
    assert summary(rows(*alike[1:], 400.0)).outliers == {}  # of so few, nobody is


def test_a_cohort_at_a_glance() -> None:
    found = summary(
        [Row("a", "done", seconds=1.0), Row("b", "failed", message="why"), Row("c", seconds=3.0)]
    )
    assert found.counts == {"waiting": 1, "done": 1, "skipped": 0, "failed": 1}
    assert (found.seconds, found.failed) == (2.0, {"b": "why"})
    assert summary([]).seconds is None


class Timer:
    """A timer that goes off when it is told to."""

    begun: list[Timer] = []

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.daemon, self.cancelled = seconds, call, False, False

    def start(self) -> None:
        assert self.daemon
        self.begun.append(self)

    def cancel(self) -> None:
        self.cancelled = True


def test_the_table_is_written_now_or_soon_and_a_full_disk_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []
    now, takes = [100.0], [0.0]

    def write(path: Path, rows: Iterable[Row]) -> None:
        written.append(",".join(each.status for each in rows))
        now[0] += takes[0]
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    Timer.begun.clear()
    monkeypatch.setattr(cohort, "write_status", write)
    monkeypatch.setattr(cohort.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cohort.threading, "Timer", Timer)
    known = {"b": Row("b", "done", seconds=3.0)}
    subjects = [Subject(name, tmp_path) for name in "abc"]
    ledger = cohort._Ledger(tmp_path / "status.csv", subjects, known)
    assert ledger.rows["b"] == Row("b", "waiting", seconds=3.0)
    for name in "aab":
        ledger.note([Row(name, "done")])
    assert written == ["done,waiting,waiting"]
    # What came in between is not left to the next that ends, which may be hours away.
    (later,) = Timer.begun
    assert later.seconds == cohort.PAUSE
    now[0] += cohort.PAUSE
    later.call()  # onto a full disk
    assert written[1:] == ["done,done,waiting"]
    takes[0] = 1.0  # as of very many rows, on a slow disk
    ledger.note([Row("c", "failed")])
    assert written[2:] == ["done,done,failed"]
    ledger.note([])
    assert Timer.begun[1].seconds == cohort.SHARE
    ledger.write()
    assert Timer.begun[1].cancelled
    assert len(written) == 4
