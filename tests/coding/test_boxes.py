"""Coded samples box by box: what is read and kept, how many at a time, and what headers may say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oinr_monai.coding import (
    Lossless,
    MaxError,
    Psnr,
    decoder,
    encoder,
    open_samples,
    write_samples,
)
from oinr_monai.coding.chunks import MOST_VOXELS, Chunking
from oinr_monai.coding.copying import copy_samples
from oinr_monai.coding.decoder import MOST_SAMPLES, Parameters, _chunking, alike
from oinr_monai.coding.steps import CODED, Survey, first_step
from tests.coding.damage import InMemory, volume

CPU = torch.device("cpu")


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of some voxels."""
    small = Chunking.of

    def of(shape: Any) -> Chunking:
        whole = small(shape)
        return Chunking(whole.shape, tuple(min(7, e) for e in whole.edges))

    monkeypatch.setattr(Chunking, "of", of)


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("shape", [(2, 20), (1, 15, 16), (2, 9, 8, 20)])
@pytest.mark.parametrize("quality", [Lossless(), MaxError(0.01)])
def test_every_box_is_that_of_the_whole(
    shape: tuple[int, ...], quality: Any, tmp_path: Path
) -> None:
    values = volume(*shape)
    write_samples(tmp_path / "a", InMemory(values), {}, quality)
    found = open_samples(tmp_path / "a")
    whole = found.read([0] * (len(shape) - 1), shape[1:])
    assert float((whole - values).abs().max()) <= getattr(quality, "error", 0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        ends = [sorted(torch.randperm(n + 1, generator=generator)[:2].tolist()) for n in shape[1:]]
        start, stop = zip(*ends, strict=True)
        box = tuple(slice(a, b) for a, b in ends)
        assert torch.equal(found.read(start, stop), whole[(slice(None), *box)])
    for start, stop in (([-1], [3]), ([3], [3]), ([4], [3]), ([0], [10**6])):
        with pytest.raises(ValueError, match="box must lie within"):
            found.read(start * (len(shape) - 1), stop * (len(shape) - 1))


@pytest.mark.usefixtures("chunked")
def test_what_was_decoded_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "a", InMemory(volume(1, 70)), {}, Lossless())
    found = open_samples(tmp_path / "a")
    monkeypatch.setattr(decoder, "CACHE", 4 * 7 * 3)
    read = [found.bytes_read]

    def ask(*places: int) -> bool:
        for place in places:
            found.read([7 * place], [7 * place + 1])
        read.append(found.bytes_read)
        return read[-1] > read[-2]

    assert ask(0, 1, 2)
    assert not ask(0)  # and so it is the latest again
    assert ask(3)
    assert not ask(0, 2, 3)
    assert ask(1)
    assert len(found._cache) == 3


@pytest.mark.usefixtures("chunked")
def test_chunks_of_one_kind_and_shape_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = list(Chunking.of((1, 9, 16)))
    groups = list(alike(chunks, lambda chunk: chunk.start[0] > 0))
    assert [{c.shape for c in g} for g in groups] == [{(7, 7)}, {(7, 2)}, {(2, 7)}, {(2, 2)}]
    assert sorted(c.number for g in groups for c in g) == list(range(len(chunks)))
    monkeypatch.setattr(decoder, "AT_ONCE", 49)
    assert [len(g) for g in alike(chunks[:2], lambda _: 0)] == [1, 1]
    monkeypatch.setattr(decoder, "AT_ONCE", 98)
    assert [len(g) for g in alike(chunks[:2], lambda _: 0)] == [2]
    monkeypatch.setattr(decoder, "AT_ONCE", 1)
    assert [len(g) for g in alike(chunks[:2], lambda _: 0)] == [1, 1]


@pytest.mark.usefixtures("chunked")
def test_no_more_is_in_memory_than_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "WINDOW", 15)
    work = encoder._Work(InMemory(volume(1, 30)), Chunking.of((1, 30)), CPU)
    windows = [[math.prod(c.shape) for c in window] for window in work.windows()]
    assert windows == [[7, 7], [7, 7], [2]]
    monkeypatch.setattr(encoder, "WINDOW", 14)
    assert [len(window) for window in work.windows()] == [2, 2, 1]
    monkeypatch.setattr(encoder, "WINDOW", 1)
    assert [len(window) for window in work.windows()] == [1] * 5
    values = volume(1, 30)
    write_samples(tmp_path / "a", InMemory(values), {}, Lossless())
    assert torch.equal(open_samples(tmp_path / "a").read([0], [30]), values)


class Counted(InMemory):
    def __init__(self, values: Tensor) -> None:
        super().__init__(values)
        self.reads: list[tuple[int, ...]] = []

    def read(self, start: Any, stop: Any) -> Tensor:
        self.reads.append(tuple(start))
        return super().read(start, stop)


@pytest.mark.usefixtures("chunked")
def test_a_survey_tells_the_range_and_a_sample_of_what_differs() -> None:
    values = volume(3, 30)
    values[:, 7:14] = -500.0
    samples = Counted(values)
    survey = encoder._Work(samples, Chunking.of(samples.shape), CPU).survey()
    assert survey.range == float(values.max()) + 500
    assert survey.voxels == 3 * (30 - 7)
    assert survey.share == pytest.approx(23 / 30)
    assert sum(math.prod(each.shape) for each in survey.sample) == 3 * 23
    assert set(samples.reads) == {(0,), (7,), (14,), (21,), (28,)}
    assert not encoder._Work(InMemory(0 * values), Chunking.of(samples.shape), CPU).survey().sample
    for wrong in (torch.nan, torch.inf, -torch.inf):
        broken = values.clone()
        broken[2, 29] = wrong
        with pytest.raises(ValueError, match="samples must be finite"):
            encoder._Work(InMemory(broken), Chunking.of(samples.shape), CPU).survey()


@pytest.mark.usefixtures("chunked")
def test_a_sample_is_of_all_over_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "SAMPLED", 4)
    samples = InMemory(volume(1, 70))
    survey = encoder._Work(samples, Chunking.of((1, 70)), CPU).survey()
    firsts = sorted(float(row[0]) for each in survey.sample for row in each)
    assert firsts == sorted(float(samples.values[0, 7 * k]) for k in (0, 3, 6, 9))
    assert [len(each) for each in survey.some(2)] == [2]
    assert [len(each) for each in survey.some(10)] == [4]


def test_the_first_step_is_near_the_one_that_is_needed(tmp_path: Path) -> None:
    values = volume(1, 60, 50)
    survey = Survey(float(values.max() - values.min()), [values], values.numel(), 1.0)
    step = first_step(Psnr(50.0), survey)
    # Errors of a third of a step, nearly, at so many dB under the range.
    assert step == pytest.approx(math.sqrt(12) * survey.range * 10**-2.51, rel=0.15)
    assert first_step(Psnr(50.0), Survey(0.0, [], 0, 0.0)) == 1.0
    half = Survey(survey.range, [values], values.numel(), 0.5)
    assert first_step(Psnr(50.0), half) > 1.3 * step
    assert 1.0 <= first_step(MaxError(0.5), survey) / 0.5 <= 2.2
    assert CODED > 1


def test_quality_that_cannot_be_met_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Psnr, "met", lambda *_: False)
    with pytest.raises(ValueError, match="quality must be one that can be met, got Psnr"):
        write_samples(tmp_path / "a", InMemory(volume(1, 30)), {}, Psnr(50.0))
    assert not list(tmp_path.iterdir())


# ---- what headers may say ------------------------------------------------------------------------

KNOWN = {"slope": 2.0, "intercept": -1, "step": 0.5, "error": 0.0}


def test_parameters_are_numbers_in_their_ranges() -> None:
    found = Parameters.of(KNOWN, CPU)
    assert found.items() == {"slope": 2.0, "intercept": -1.0, "step": 0.5, "error": 0.0}
    assert list(found.coders) == ["constant", "floats", "deltas", "pictures", "lifted", "wavelets"]
    for name in KNOWN:
        for wrong in (None, True, "1", math.nan, math.inf):
            with pytest.raises(ValueError, match=r"must be (a number|finite)"):
                Parameters.of({**KNOWN, name: wrong}, CPU)
    for name, wrong in (("slope", 0), ("step", 0), ("step", -1.0), ("error", -0.1)):
        with pytest.raises(ValueError, match=r"slope not 0|must be positive"):
            Parameters.of({**KNOWN, name: wrong}, CPU)
    assert Parameters.of({**KNOWN, "error": 1e-9, "slope": -2}, CPU).slope == -2


@pytest.mark.parametrize(
    ("shape", "chunk", "fits"),
    [
        ([1, 9], [9], True),
        ([2, 9, 8, 7], [3, 8, 7], True),
        ([1, 9], [10], False),
        ([1, 9, 9], [9], False),
        ([1, 9], [9, 9], False),
        ([9], [], False),
        ([1, 2, 2, 2, 2], [2, 2, 2, 2], False),
        ([0, 9], [9], False),
        ([1, 9.0], [9], False),
        ([True, 9], [9], False),
        ((1, 9), [9], False),
        ([1, 1 << 31], [1 << 10], True),
        ([1, (1 << 31) + 1], [1 << 10], False),
        ([1, 1 << 21, 1 << 21], [1 << 10, 1 << 11], True),
        ([2, 1 << 21, 1 << 21], [1 << 10, 1 << 11], False),
        ([1, 1 << 21, 2], [1 << 21, 1], True),
        ([1, 1 << 21, 2], [1 << 21, 2], False),
    ],
)
def test_shapes_are_of_what_a_file_may_hold(shape: Any, chunk: Any, fits: bool) -> None:
    assert (MOST_SAMPLES, MOST_VOXELS) == (1 << 42, 1 << 21)
    if fits:
        assert _chunking({"shape": shape, "chunk": chunk}) == Chunking(tuple(shape), tuple(chunk))
    else:
        with pytest.raises(ValueError, match=r"shape|chunk"):
            _chunking({"shape": shape, "chunk": chunk})


def test_files_of_another_kind_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be an existing \.oinr file"):
        open_samples(tmp_path / "none.oinr")
    write_samples(tmp_path / "a.oinr", InMemory(volume(1, 30)), {"x": 1}, Lossless())
    found = open_samples(tmp_path / "a.oinr")
    for version in (1, 3, "2", True, None):
        found.reader.header["format_version"] = version
        copy_samples(tmp_path / "b.oinr", found, {})
        with pytest.raises(ValueError, match=r"must have format version 2, got .*upgrade"):
            open_samples(tmp_path / "b.oinr")
    found.reader.header["format_version"] = 2
    copy_samples(tmp_path / "b.oinr", found, {"y": 2})
    assert open_samples(tmp_path / "b.oinr").header == {"y": 2}
    found.reader.header["samples"]["shape"] = [1, 31]
    copy_samples(tmp_path / "c.oinr", found, {})
    with pytest.raises(ValueError, match=r"must be a whole \.oinr file"):
        open_samples(tmp_path / "c.oinr").read([0], [31])
    del found.reader.header["samples"]
    copy_samples(tmp_path / "c.oinr", found, {})
    with pytest.raises(ValueError, match="a header without its samples"):
        open_samples(tmp_path / "c.oinr")


def test_a_coder_that_is_not_known_is_told(tmp_path: Path) -> None:
    write_samples(tmp_path / "a.oinr", InMemory(volume(1, 30)), {}, Lossless())
    found = open_samples(tmp_path / "a.oinr")
    found.reader.index["coders"] = found.reader.index["coders"] * 0 + 6
    with pytest.raises(ValueError, match="a coder 6 that is not known; upgrade oinr-monai"):
        found.read([0], [30])
