"""What else makes thick slices finer: interpolation, back-projection, a SIREN, ECLARE."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from scipy.ndimage import affine_transform
from torch import Tensor

from oinr_monai import CarriedOperator, Grid, SuperResolveConfig, super_resolve
from oinr_monai.images.files import read_image
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from oinr_monai.scanner.resampling import Resampling
from oinr_monai.scanner.slices import SliceStack
from scripts.rivals.baseline import Siren

BACK_PROJECTIONS = 10


@dataclass(frozen=True)
class Stack:
    """Thick slices along the last axis, the grid to answer on, and the true profile."""

    image: MetaTensor
    fine: Grid
    profile: Boxcar | Gaussian

    @property
    def places(self) -> tuple[Tensor, ...]:
        """Where the planes of ``fine`` lie along each axis, counted in voxels of ``image``.

        Raises:
            ValueError: if the two do not share their axes.
        """
        places = self.fine.axes_in(Grid.from_image(self.image))
        if places is None:
            raise ValueError("fine must have the axes of image, got rotated ones")
        return places

    @property
    def model(self) -> SliceStack:
        """How the slices came about."""
        return SliceStack(self.fine, Grid.from_image(self.image), 2, self.profile)


Method = Callable[[Stack], Tensor]


def linear(stack: Stack) -> Tensor:
    return Resampling(Grid.from_image(stack.image), stack.fine, 1).forward(stack.image)


def cubic(stack: Stack) -> Tensor:
    """SciPy's cubic B-spline; beyond the outermost slice centres, the nearest slice."""
    matrix = [float(x[1] - x[0]) if len(x) > 1 else 1.0 for x in stack.places]
    found = affine_transform(
        stack.image[0].numpy(), matrix, [float(x[0]) for x in stack.places],
        stack.fine.shape, order=3, mode="nearest",
    )  # fmt: skip
    return torch.from_numpy(found)[None]


def monai_cubic(stack: Stack) -> Tensor:
    resample = SpatialResample(mode=3, padding_mode="nearest", dtype=np.float64)
    found = resample(stack.image, dst_affine=stack.fine.affine, spatial_size=stack.fine.shape)
    return found.as_subclass(Tensor).float()


def back_projection(stack: Stack) -> Tensor:
    """Cubic, then what the slices still miss of it, also interpolated, several times."""
    found, thick = cubic(stack), Grid.from_image(stack.image)
    for _ in range(BACK_PROJECTIONS):
        missed = stack.image.as_tensor() - stack.model.forward(found)
        found = found + cubic(Stack(thick.to_image(missed), stack.fine, stack.profile))
    return found


def windowed_sinc(stack: Stack) -> Tensor:
    """SimpleITK's Hamming-windowed sinc."""
    image = sitk.GetImageFromArray(stack.image[0].numpy().T)
    like = sitk.Image(stack.fine.shape, sitk.sitkFloat32)
    like.SetOrigin([float(x[0]) for x in stack.places])
    like.SetSpacing([float(x[1] - x[0]) for x in stack.places])
    found = sitk.Resample(image, like, sitk.Transform(), sitk.sitkHammingWindowedSinc)
    return torch.from_numpy(sitk.GetArrayFromImage(found).T.copy())[None]


def siren(seconds: float) -> Method:
    """A SIREN on the slice centres, in the voxels' own units."""

    def run(stack: Stack) -> Tensor:
        torch.manual_seed(0)
        network, started = Siren(stack.image.as_tensor()), time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            network.step(spent / seconds)
        thick = Grid.from_image(stack.image)
        ends = torch.tensor(thick.shape) - 1.0
        voxels = thick.to_voxel(stack.fine.points()).flatten(0, 2)
        found = network.at(voxels.clamp(torch.zeros(3).double(), ends.double()))
        return found.T.reshape(1, *stack.fine.shape)

    return run


def ours(steps: int | None, start: CarriedOperator | None = None) -> Method:
    """``super_resolve``, told the true profile, from a start, or learning from slices alone."""

    def run(stack: Stack) -> Tensor:
        config = SuperResolveConfig(steps=steps, device="cpu", start=start)
        found = super_resolve(
            stack.image, config, spacing=stack.fine.spacing.tolist(), slice_axis=2,
            profile=stack.profile,
        )  # fmt: skip
        return found.sample(stack.fine).as_tensor()

    return run


def eclare(command: str) -> Method:
    """ECLARE as a program of its own environment, told the true profile.

    References:
        Remedios et al., "ECLARE: efficient cross-planar learning for anisotropic resolution
        enhancement", Journal of Medical Imaging 2025.
    """

    def run(stack: Stack) -> Tensor:
        voxel, profile = float(stack.fine.spacing.min()), stack.profile
        kind, width = (
            ("boxcar", profile.thickness)
            if isinstance(profile, Boxcar)
            else ("gaussian", profile.fwhm)
        )
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "thick.nii.gz"
            plain = nib.Nifti1Image(stack.image[0].numpy(), stack.image.affine.numpy())
            nib.save(plain, source)
            done = subprocess.run(
                [*shlex.split(command), "--in-fpath", source, "--out-dir", folder,
                 "--relative-slice-thickness", str(width / voxel),
                 "--relative-slice-profile-type", kind],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"ECLARE must run, got {done.stderr[-500:]}")
            found = read_image(Path(folder) / "thick_eclare.nii.gz")
        return Resampling(Grid.from_image(found), stack.fine, 3).forward(found.as_tensor())

    return run


def methods(steps: int | None, seconds: float, program: str | None) -> dict[str, Method]:
    """Everything that is compared, by its name in the tables.

    Args:
        steps: of ours; its own number if None.
        seconds: of the SIREN.
        program: command of ECLARE, if it is there.
    """
    found: dict[str, Method] = {
        "linear": linear,
        "cubic B-spline (SciPy)": cubic,
        "cubic B-spline (MONAI)": monai_cubic,
        "cubic, back-projected": back_projection,
        "windowed sinc (SimpleITK)": windowed_sinc,
        "SIREN": siren(seconds),
        "`super_resolve`": ours(steps),
    }
    return found | ({} if program is None else {"ECLARE": eclare(program)})


def fused_splines(stacks: list[Stack]) -> Tensor:
    """The mean of the splines of several stacks."""
    parts = [Resampling(Grid.from_image(s.image), s.fine, 3).forward(s.image) for s in stacks]
    return torch.from_numpy(np.mean([part.numpy() for part in parts], axis=0))
