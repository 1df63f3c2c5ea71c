"""What files of coded samples take and lose: coding.md.

python -m scripts.cost.coding [--data DIR] [--part NAME ...] [--damaged N] [--output FOLDER]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. Each command runs
in a process of its own, on one thread; seconds are those of its processor, all of it counted. Its
own work is what is beyond the same command on a volume of 8³ voxels, which imports the same, and
beyond reading the file by nibabel. Each part makes its section of the page; the others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from oinr_monai import Representation, fit, isosurface
from oinr_monai.analysis.derivatives import derivative_maps
from oinr_monai.coding import Psnr
from scripts.shared.head import write_head, write_mirrored
from scripts.shared.problem import make_problem
from scripts.shared.report import MEASURED, Report

VOLUMES = ("MR_Gd", "MNI152", "CT_AVM")
SIZES, TIMES, ERRORS, LARGE, DAMAGED = (
    "Bytes of scans of whole numbers",
    "A head of 256³",
    "What a file of 45 dB answers",
    "512³ from disk to disk",
    "Damaged files",
)
QUALITIES = ((), ("--psnr", "45"), ("--max-error", "5"))
# Voxels along each axis of the box that is asked of the large file, and damaged files a process.
BOX, AT_ONCE = 64, 2_000
# Runs of which the quicker counts, for the machine may be shared.
TWICE = 2
# Scales of vesselness in mm.
SCALES = (1.0, 2.0)

ASK = """
import json, random, sys, time
from oinr_monai import Representation
started = time.process_time()
found = Representation.load(sys.argv[1])
draw = random.Random(0)
start = [draw.randrange(n - {box} + 1) for n in found.grid.shape]
found.sample(found.grid.crop(start, [a + {box} for a in start]))
seconds = time.process_time() - started
print(json.dumps({{"seconds": seconds, "bytes": found.field.samples.bytes_read}}))
"""


@dataclass(frozen=True)
class Run:
    """What a command said, and what it took: processor seconds, and the most memory in GiB."""

    said: dict[str, Any]
    seconds: float
    gib: float


# A process of a small one, so that the memory of this one is not counted as its own.
WITHIN = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.stdout.splitlines()[-1], used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run(*words: str | Path) -> Run:
    """Run Python with arguments, on one thread; it prints JSON in its last line."""
    command = [sys.executable, "-c", WITHIN, sys.executable, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, text=True)
    said, seconds, kilobytes = json.loads(done.stdout)
    return Run(json.loads(said), seconds, kilobytes / 2**20)


def fitted(image: Path, output: Path, *options: str) -> Run:
    """``oinr fit``, as a user would."""
    return run("-m", "oinr_monai", "fit", image, "-o", output, "--overwrite", "--json", *options)


def file_of(volume: str, data: Path) -> Path:
    """Where the NIfTI file of a volume lies."""
    if volume != "MNI152":
        return data / f"{volume}.nii.gz"
    from nilearn import datasets

    folder = Path(datasets.__file__).parent / "data"
    return folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def seconds_of_reading(path: Path) -> float:
    """Processor seconds of nibabel for all voxels."""
    started = time.process_time()
    image: Any = nib.load(path)
    np.asarray(image.dataobj)
    return time.process_time() - started


# ---- the parts -----------------------------------------------------------------------------------


def sizes(report: Report, folder: Path, arguments: argparse.Namespace) -> None:
    """Scans as they come, every bit kept."""
    report.text("`oinr fit SCAN.nii.gz -o SCAN.oinr`; every voxel comes back as it was.")
    head = ("scan", ".nii.gz, bytes", ".oinr, bytes", "ratio", "bits a voxel", "seconds", "GiB")
    table = report.table(head)
    for volume in volumes(arguments):
        path = file_of(volume, arguments.data)
        done = fitted(path, folder / "scan.oinr")
        given, kept = path.stat().st_size, int(done.said["bytes"])
        assert done.said["max_error"] == 0
        bits, taken = done.said["bits_per_voxel"], (f"{done.seconds:.1f}", f"{done.gib:.2f}")
        table.row(volume, f"{given:,}", f"{kept:,}", f"{kept / given:.3f}", f"{bits:.2f}", *taken)


def times(report: Report, folder: Path, arguments: argparse.Namespace) -> None:
    """A head of int16, in every quality."""
    report.text(
        "A scan made of a label map, with noise (of a phantom where there are no label maps), as "
        ".nii.gz. The quicker of two runs counts, of each command."
    )
    image, small = folder / "head.nii.gz", folder / "small.nii.gz"
    write_head(image, arguments.data.parent / "labelmaps" / "anatomy_01.nii.gz")
    nib.save(nib.Nifti1Image(np.arange(512, dtype=np.int16).reshape(8, 8, 8), np.eye(4)), small)
    reading = seconds_of_reading(image)
    report.text(f"Reading it takes nibabel {reading:.2f} s.")
    head = ("command", "seconds in all", "of 8³", "its own work", "GiB", "bytes", "max error")
    table = report.table(head)
    none = min(fitted(small, folder / "small.oinr").seconds for _ in range(TWICE))
    for options in QUALITIES:
        runs = [fitted(image, folder / "head.oinr", *options) for _ in range(TWICE)]
        done = min(runs, key=lambda each: each.seconds)
        own = done.seconds - none - reading
        name = " ".join(("oinr fit", *options))
        taken = (f"{done.seconds:.2f}", f"{none:.2f}", f"{own:.2f}", f"{done.gib:.2f}")
        table.row(f"`{name}`", *taken, f"{done.said['bytes']:,}", f"{done.said['max_error']:.3g}")


def errors(report: Report, folder: Path, arguments: argparse.Namespace) -> None:
    """Answers of a file that is a little off, against those of the samples."""
    report.text(
        "Central 96³ blocks, saved with `--psnr 45`, against the same block as it was. Twice as "
        "fine: PSNR of all samples at half the spacing. Gradient and Hessian: root mean square "
        "error over root mean square, at the voxels, and at a scale of 1 mm. Vesselness "
        f"({' and '.join(f'{s:g}' for s in SCALES)} mm): greatest and root mean square difference "
        "of a map from 0 to 1. Mesh: the surface at half of the 99th percentile; how far its "
        "vertices lie from the surface of the samples, in mm, and how its area and volume differ."
    )
    head = ("", "bits a voxel", "twice as fine (dB)", "gradient", "Hessian", "at 1 mm: gradient")
    more = ("Hessian", "vesselness: most", "rms", "mesh: median (mm)", "95 %", "area", "volume")
    table = report.table((*head, *more))
    for volume in volumes(arguments):
        source = "mni152" if volume == "MNI152" else str(arguments.data / f"{volume}.nii.gz")
        truth = fit(make_problem(source, 96).image)
        coded = truth.save(folder / "block.oinr", Psnr(45.0))
        assert coded is not None
        table.row(
            volume,
            f"{coded.bits_per_voxel:.2f}",
            *compared(Representation.load(folder / "block.oinr"), truth),
        )


def compared(found: Representation, truth: Representation) -> list[str]:
    """The cells of a row: samples, derivatives, vesselness and mesh."""
    finer = truth.grid.refine(2)
    a, b = (each.sample(finer).as_tensor().double() for each in (found, truth))
    ratio = 10 * float(torch.log10((b.max() - b.min()).square() / (a - b).square().mean()))
    cells = [f"{ratio:.2f}"]
    pair = (found, truth)
    for sigma in (0.0, 1.0):
        names = ["gradient", "hessian"]
        mine, theirs = (dict(derivative_maps(each, names, sigma=sigma)) for each in pair)
        cells += [f"{relative(mine[name], theirs[name]):.3f}" for name in names]
    tubes = [dict(derivative_maps(each, ["vesselness"], sigma=SCALES)) for each in pair]
    off = (tubes[0]["vesselness"] - tubes[1]["vesselness"]).abs()
    cells += [f"{float(off.max()):.3f}", f"{float(off.square().mean().sqrt()):.4f}"]
    return [*cells, *surfaces(found, truth)]


def relative(found: Tensor, truth: Tensor) -> float:
    """Root mean square error over the root mean square."""
    return float((found - truth).double().norm() / truth.double().norm())


def surfaces(found: Representation, truth: Representation) -> list[str]:
    """How far the surface of one lies from that of the other."""
    level = 0.5 * float(truth.sample().as_tensor().double().flatten().quantile(0.99))
    mine, theirs = isosurface(found, level), isosurface(truth, level)
    values, slopes = truth.at(mine.vertices)[:, 0], truth.gradient_at(mine.vertices)[:, 0]
    # To first order where there is a slope; never more than to the nearest vertex.
    most = torch.from_numpy(cKDTree(theirs.vertices.numpy()).query(mine.vertices.numpy())[0])
    away = ((values - level).abs() / slopes.norm(dim=1).clamp_min(1e-6)).double().minimum(most)
    quantiles = away.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
    ratios = (mine.area / theirs.area - 1, mine.volume / theirs.volume - 1)
    return [*(f"{each:.3f}" for each in quantiles), *(f"{100 * each:+.2f} %" for each in ratios)]


def large(report: Report, folder: Path, arguments: argparse.Namespace) -> None:
    """A volume that stays on disk, and a box of its file."""
    report.text(
        "The head above, mirrored to twice its size along each axis, int16, from .nii to .oinr by "
        f"`--memory 256`; then a random box of {BOX}³ voxels of the file."
    )
    image, output = folder / "large.nii", folder / "large.oinr"
    write_mirrored(image, arguments.data.parent / "labelmaps" / "anatomy_01.nii.gz")
    table = report.table(("", "seconds in all", "GiB", "bytes", "of the file"))
    done = fitted(image, output, "--memory", "256")
    whole = output.stat().st_size
    table.row("`oinr fit`", f"{done.seconds:.1f}", f"{done.gib:.2f}", f"{whole:,}", "")
    asked = run("-c", ASK.format(box=BOX), output)
    parts = (f"{asked.said['bytes']:,}", f"{100 * asked.said['bytes'] / whole:.2f} %")
    table.row(f"box of {BOX}³", f"{asked.seconds:.1f}", f"{asked.gib:.2f}", *parts)
    table.row("of that, opening and asking", f"{asked.said['seconds']:.2f}", "", "", "")


def damaged(report: Report, folder: Path, arguments: argparse.Namespace) -> None:
    """Files that somebody damaged, half of them with checksums that are right again."""
    report.text(
        "Copies of seven files with bits, bytes, headers, chunks and coders changed, half of them "
        "with their checksums made right. Each is refused in one line of the documented error, or "
        "read, within 2 processor seconds and 300 MB; what is not ends the run."
    )
    table = report.table(("seed", "files", "refused", "read"), text=0)
    for seed in range(max(arguments.damaged // AT_ONCE, 1)):
        count = min(arguments.damaged, AT_ONCE)
        command = [sys.executable, "-m", "tests.coding.damage", str(seed), str(count)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        refused, read = re.findall(r"\d+", said.splitlines()[-1])
        table.row(seed, f"{count:,}", refused, read)


PARTS: dict[str, tuple[str, Callable[[Report, Path, argparse.Namespace], None]]] = {
    "sizes": (SIZES, sizes),
    "times": (TIMES, times),
    "errors": (ERRORS, errors),
    "large": (LARGE, large),
    "damaged": (DAMAGED, damaged),
}


def volumes(arguments: argparse.Namespace) -> Sequence[str]:
    """Those that are there."""
    return [each for each in VOLUMES if file_of(each, arguments.data).is_file()]


def main() -> None:
    """Measure the parts that are asked for, and write their sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="labelmaps lies beside it")
    parser.add_argument("--part", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--damaged", type=int, default=10 * AT_ONCE, help="files")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.part:
        title, part = PARTS[name]
        report = Report("coding", "Files of coded samples", arguments.output)
        report.made(without=["--part"])
        with tempfile.TemporaryDirectory() as folder:
            part(report, Path(folder), arguments)
        report.write_section(title)


if __name__ == "__main__":
    main()
