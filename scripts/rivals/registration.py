"""Registration by SimpleITK, affine or demons; and by packages elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from oinr_monai import Grid
from oinr_monai.images.itk import LPS_TO_RAS
from oinr_monai.motion import Motion, from_itk, from_voxels, load_motion, to_itk

AFFINE_STEPS, DEMONS_STEPS = 200, 60

THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


@dataclass(frozen=True)
class Scan:
    """An image on voxels (X, Y, Z), and their affine in RAS."""

    values: NDArray[np.float32]
    affine: NDArray[np.float64]

    def itk(self) -> sitk.Image:
        """The same in ITK, at unit spread."""
        low, high = np.quantile(self.values, (0.001, 0.999))
        values = np.clip(self.values, low, high)
        # From nothing on, as some take centres of mass.
        image = sitk.GetImageFromArray(((values - values.min()) / values.std()).T)
        affine = LPS_TO_RAS @ self.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        return image


@dataclass(frozen=True)
class Answer:
    """A motion, and the seconds of the process that it took."""

    motion: Motion
    seconds: float


def affine(fixed: Scan, moving: Scan) -> Motion:
    """The affine motion alone."""
    return from_itk(_affine(fixed.itk(), moving.itk()))


def demons(fixed: Scan, moving: Scan) -> Motion:
    """Symmetric demons after matching histograms, the field smoothed by 1.5 voxels."""
    first, second = fixed.itk(), moving.itk()
    start = _affine(first, second)
    moved = sitk.Resample(second, first, start, sitk.sitkLinear, float(moving.itk()[0, 0, 0]))
    matched = sitk.HistogramMatching(moved, first, 128, 10)
    method = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    method.SetNumberOfIterations(DEMONS_STEPS)
    method.SetStandardDeviations(1.5)
    field = sitk.Cast(method.Execute(first, matched), sitk.sitkVectorFloat64)
    return from_itk(start) @ from_itk(sitk.DisplacementFieldTransform(field))


def _affine(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, AFFINE_STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0.5])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start.Downcast().GetNthTransform(0).Downcast() if _several(start) else start.Downcast()


def _several(transform: sitk.Transform) -> bool:
    return isinstance(transform.Downcast(), sitk.CompositeTransform)


def elsewhere(python: str, way: str, pairs: Sequence[tuple[Scan, Scan]]) -> list[Answer]:
    """What a way of registration_elsewhere finds, by the Python that has it."""
    with tempfile.TemporaryDirectory() as folder:
        jobs, starts = [], []
        for i, (fixed, moving) in enumerate(pairs):
            start = affine(fixed, moving) if way == "convex_adam" else None
            starts.append(start)
            names = [f"{folder}/{i}{kind}.nii.gz" for kind in ("fixed", "moving", "field")]
            sitk.WriteImage(fixed.itk(), names[0])
            sitk.WriteImage(_moved(fixed, moving, start), names[1])
            jobs.append(names)
        Path(f"{folder}/jobs.json").write_text(json.dumps(jobs))
        module = "scripts.rivals.registration_elsewhere"
        limits = dict.fromkeys(("OMP_NUM_THREADS", THREADS), "1")
        told = subprocess.run(
            [python, "-m", module, way, f"{folder}/jobs.json"], check=True, env=os.environ | limits,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ).stdout  # fmt: skip
        found = []
        for seconds, job, start, pair in zip(json.loads(told), jobs, starts, pairs, strict=True):
            found.append(Answer(_read(job[2], start, pair[0]), seconds))
    return found


def _moved(fixed: Scan, moving: Scan, start: Motion | None) -> sitk.Image:
    if start is None:
        return moving.itk()
    image = moving.itk()
    return sitk.Resample(
        image, fixed.itk(), to_itk(start, _grid(fixed)), sitk.sitkLinear, float(image[0, 0, 0])
    )


def _read(field: str, start: Motion | None, fixed: Scan) -> Motion:
    if start is None:
        return load_motion(field)
    voxels = torch.from_numpy(nib.nifti1.load(field).get_fdata()).movedim(-1, 0)
    return start @ from_voxels(voxels, _grid(fixed), _grid(fixed))


def _grid(scan: Scan) -> Grid:
    return Grid(scan.values.shape, torch.from_numpy(scan.affine))


def seeded() -> None:
    """Use one thread, as what is measured beside it does."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
