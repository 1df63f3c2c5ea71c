"""Commands that learn stop when they are asked to, keep what they know, and go on from there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from oinr_monai.cli import main
from oinr_monai.fitting.descent import Descent
from tests.cli.scans import FAST, blob, load_values, save_nifti

STEPS = 16


@pytest.fixture
def thick(tmp_path: Path) -> Path:
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    noise = np.random.default_rng(0).normal(0, 3, (20, 18, 6))
    return save_nifti(tmp_path / "thick.nii.gz", blob((20, 18, 6)) + noise, affine)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    frames = [blob((14, 13, 6)) * (1 + 0.1 * i) for i in range(3)]
    return save_nifti(tmp_path / "series.nii.gz", np.stack(frames, axis=-1))


COMMANDS = {
    "denoise": ("thick", ["denoise"]),
    "denoise frames": ("series", ["denoise", "--sigma", "2"]),
    "super-resolve": ("thick", ["super-resolve"]),
    "interpolate": ("series", ["interpolate", "--factor", "2", "--no-motion", "--preset", "fast"]),
    "interpolate slices": (
        "thick",
        ["interpolate", "--axis", "2", "--factor", "2", "--no-motion", "--preset", "fast"],
    ),
}


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, at: int) -> None:
    """Send this process a signal in the midst of a step."""
    step, taken = Descent.step, iter(range(10**6))

    def sent(self: Descent, batch: object) -> Tensor:
        if next(taken) == at:
            os.kill(os.getpid(), number)
        return step(self, batch)

    monkeypatch.setattr(Descent, "step", sent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_it_goes_on_where_it_was_stopped(
    name: str,
    number: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kind, (command, *options) = COMMANDS[name]
    image = request.getfixturevalue(kind)
    given = [command, str(image), *options, "--steps", str(STEPS), "--device", "cpu", "--json"]
    assert main([*given, "-o", str(tmp_path / "whole.nii.gz")]) == 0
    output = tmp_path / "out.nii.gz"
    # In the second frame of a series that is denoised frame by frame.
    at = STEPS + 5 if name == "denoise frames" else 5
    with monkeypatch.context() as patch:
        stop_at(patch, number, at)
        capfd.readouterr()
        assert main([*given, "-o", str(output)]) == 130
    assert not output.exists()
    assert "interrupted" in capfd.readouterr().err
    assert main([*given, "-o", str(output), "--resume"]) == 0
    np.testing.assert_array_equal(load_values(output), load_values(tmp_path / "whole.nii.gz"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".gz"}


def test_a_fit_ended_by_sigterm_is_saved(
    thick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, signal.SIGTERM, 5)
    output = tmp_path / "a.oinr"
    assert main(["fit", str(thick), "-o", str(output), *FAST, "--steps", "30", "--json"]) == 130
    assert output.exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
