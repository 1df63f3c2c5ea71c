"""Registration by packages of an environment of their own, one process for many pairs.

PYTHON -m scripts.rivals.registration_elsewhere WAY JOBS

Run from the root of the repository by the Python that has antspyx, convexadam and picsl-greedy;
nothing else of the repository is imported. JOBS is a JSON list of [fixed, moving, field], paths of
NIfTI files; the last one is written: a displacement field in LPS mm. Prints the seconds of the
process that each pair took, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def ants(fixed: str, moving: str, field: str) -> None:
    """Affine, then the symmetric flow by correlation in windows of 5, as the package has it."""
    package: Any = importlib.import_module("ants")
    images = [package.image_read(path) for path in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        found = package.registration(
            *images, type_of_transform="SyN", outprefix=f"{folder}/x", syn_metric="CC",
            syn_sampling=2, random_seed=1,
        )  # fmt: skip
        whole = package.apply_transforms(
            *images, transformlist=found["fwdtransforms"], compose=f"{folder}/whole"
        )
        shutil.copy(whole, field)


def greedy(fixed: str, moving: str, field: str) -> None:
    """Affine from the images' centres, then the flow, both by correlation in windows of 5."""
    tool: Any = importlib.import_module("picsl_greedy").Greedy3D()
    with tempfile.TemporaryDirectory() as folder:
        pair, threads = f"-i {fixed} {moving} -m NCC 2x2x2 -n 100x50x50", "-threads 1"
        tool.execute(f"-d 3 -a {pair} -ia-image-centers -o {folder}/a.mat {threads}")
        tool.execute(f"-d 3 {pair} -it {folder}/a.mat -o {folder}/w.nii.gz {threads}")
        chain = f"-r {folder}/w.nii.gz {folder}/a.mat -rc {field}"
        tool.execute(f"-d 3 -rf {fixed} {chain} {threads}")


def convex_adam(fixed: str, moving: str, field: str) -> None:
    """ConvexAdam with MIND, of images on one grid; the field is in voxels of that."""
    nibabel: Any = importlib.import_module("nibabel")
    package: Any = importlib.import_module("convexAdam.convex_adam_MIND")
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    images = [nibabel.load(path) for path in (fixed, moving)]
    arrays = [torch.from_numpy(image.get_fdata(dtype="f4")) for image in images]
    found = package.convex_adam_pt(*arrays, dtype=torch.float32)
    nibabel.save(nibabel.Nifti1Image(found.astype("f4"), images[0].affine), field)


WAYS: dict[str, Callable[[str, str, str], None]] = {
    "ants": ants,
    "greedy": greedy,
    "convex_adam": convex_adam,
}


def main() -> None:
    way, jobs = WAYS[sys.argv[1]], json.loads(Path(sys.argv[2]).read_text())
    seconds = []
    told = os.dup(1)
    os.dup2(2, 1)  # what the packages print
    for job in jobs:
        started = time.process_time()
        way(*job)
        seconds.append(time.process_time() - started)
    os.write(told, json.dumps(seconds).encode())


if __name__ == "__main__":
    main()
