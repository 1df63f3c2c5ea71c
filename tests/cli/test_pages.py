"""``--report``: every answer has a page, that needs nothing beside it and that a browser draws."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oinr_monai.cli.app import main
from tests.cli.scans import SHAPE, blob, save_nifti
from tests.restoration.moved import moved_stacks

pytest.importorskip("nilearn")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

QUICK = "--preset fast --steps 3 --device cpu"

# A command for each kind of page, and what the page must say.
KINDS = {
    "fit": (f"fit scan.nii.gz -o fit.oinr {QUICK}", "between the voxels"),
    "labels": ("fit labels.nii.gz --labels -o labels.oinr --steps 3 --device cpu", "occupancy"),
    "derivatives": ("derive exact.oinr -o maps --maps gradient,vesselness", "gradient, x"),
    "denoised": (
        "denoise scan.nii.gz -o clean.nii.gz --sigma 3 --steps 3 --error-map width.nii.gz",
        "half width of the 90 % interval",
    ),
    "fine": ("super-resolve scan.nii.gz -o fine.nii.gz --steps 0", "input, by a spline"),
    "between": (
        f"interpolate scan.nii.gz other.nii.gz -o m.nii.gz --at 0.5 --save both.oinr {QUICK}",
        "halfway",
    ),
    "moved": ("register scan.nii.gz other.nii.gz -o moved.nii.gz --model rigid", "No fold"),
    "reconstructed": (
        "reconstruct 0.nii.gz 1.nii.gz 2.nii.gz -o v.nii.gz --seconds 0.001",
        "How far the slices had moved",
    ),
    "cohort": ("cohort fit table.csv -o fits --preset exact", "1 failed"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the commands read."""
    place = tmp_path_factory.mktemp("pages")
    noise = np.random.default_rng(0).normal(0, 3, SHAPE).astype("f4")
    save_nifti(place / "scan.nii.gz", blob(SHAPE) + noise)
    save_nifti(place / "other.nii.gz", np.roll(blob(SHAPE), 1, axis=0))
    save_nifti(place / "labels.nii.gz", (blob(SHAPE) > 30).astype("u1"))
    for i, stack in enumerate(moved_stacks(torch.Generator().manual_seed(0))[0]):
        save_nifti(place / f"{i}.nii.gz", stack[0].numpy(), stack.affine.numpy())
    rows = ["subject,image", "a,scan.nii.gz", "b,other.nii.gz", "c,none.nii.gz"]
    (place / "table.csv").write_text("\n".join(rows) + "\n")
    assert main(["fit", str(place / "scan.nii.gz"), "-o", str(place / "exact.oinr")]) == 0
    return place


@pytest.fixture(scope="module")
def page_of(folder: Path) -> Callable[[str], Path]:
    """Run the command of a kind, with its page, once."""

    @cache
    def written(kind: str) -> Path:
        command, _ = KINDS[kind]
        with chdir(folder):
            status = main([*command.split(), "--report", f"{kind}.html", "--json"])
        assert status == (1 if kind == "cohort" else 0)
        return folder / f"{kind}.html"

    return written


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_has_a_page(kind: str, page_of: Callable[[str], Path]) -> None:
    page = page_of(kind)
    assert page.stat().st_size < 8e6
    html = page.read_text(encoding="utf-8")
    assert KINDS[kind][1] in html
    # Outside of the viewer's own script, no other place is named.
    plain = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=.(?!data:)", plain)


def test_what_failed_comes_first(page_of: Callable[[str], Path]) -> None:
    html = page_of("cohort").read_text(encoding="utf-8")
    subjects = re.findall(r"<td>(?:<img[^>]*>)?</td><td>([abc])</td>", html)
    assert subjects == ["c", "a", "b"]
    assert html.count('alt="middle plane of') == 2


def test_pages_are_written_later_as_well(
    page_of: Callable[[str], Path], folder: Path, run: Callable[..., Any]
) -> None:
    def said(*line: str) -> str:
        with chdir(folder):
            run("report", *line, "-o", "later.html")
        return (folder / "later.html").read_text(encoding="utf-8")

    page_of("cohort"), page_of("between")
    assert "1 failed" in said("fits")
    assert "halfway" in said("both.oinr")
    (folder / "still.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 1 0 0 0 1 0 0 0 1 2 0 0\nFixedParameters: 0 0 0\n"
    )
    pair = ["--image", "scan.nii.gz", "--moving", "other.nii.gz"]
    assert "No fold" in said("still.tfm", *pair)


def test_where_the_page_goes_is_found_out_before_the_work(
    unread: Callable[..., str], folder: Path
) -> None:
    scan = folder / "scan.nii.gz"
    assert "must end in .html" in unread("fit", scan, "-o", "a.oinr", "--report", "a.pdf")
    assert "existing folder" in unread("fit", scan, "-o", "a.oinr", "--report", "none/a.html")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_draws_it_without_complaint(kind: str, page_of: Callable[[str], Path]) -> None:
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--disable-background-networking",
        "--disable-component-update", "--virtual-time-budget=20000", "--enable-logging=stderr",
        "--dump-dom", page_of(kind).as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert ("data-drawn" in done.stdout) == (kind != "cohort")
    assert 'data-drawn="true"' in done.stdout or kind == "cohort"
    # What the policy of the page refuses to fetch would be said here as well.
    assert "CONSOLE" not in done.stderr
