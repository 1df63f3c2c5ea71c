"""Measure reconstruction of slices that moved: writes docs/measured/reconstruction.md.

python -m scripts.quality.reconstruction --data DIR [--threads N] [--output FOLDER]

DIR holds stacks/ and volumes/, which the repository does not ship.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from torch import Tensor

from oinr_monai import Grid, ReconstructConfig, fuse, reconstruct
from oinr_monai.images.files import read_image
from oinr_monai.motion import AffineMotion, warp_image
from oinr_monai.restoration.moving_slices import Seen, samples_of
from oinr_monai.restoration.reconstruction import Reconstruction
from oinr_monai.restoration.slice_poses import refined_poses
from oinr_monai.restoration.slice_stage import rigid_between
from oinr_monai.scanner.profiles import Boxcar
from scripts.shared.moved_stacks import MovedStack, Movement, stacks_of
from scripts.shared.report import MEASURED, Report

SIMULATED = """Three stacks of a volume, slices 3.2 voxels thick, each moved: a random walk
of up to 5 degrees about and 3 mm along each axis, about its mean. Noise of 3 % of the brightest,
a bias field of some 20 %, 5 % of the slices lose half to nine tenths of their signal. PSNR in the
object after one common rigid motion and one factor of the intensities; errors of the poses of
slices with at least a quarter of the voxels of the largest, in mm over their voxels and in degrees,
after the same motion. Slices are taken one by one, or interleaved: every other one, then those
between. Seconds of the process and on the clock.
"""

REAL = """Three stacks of one fetal brain, moving, 1.125 x 1.125 x 3.3 mm, with brain masks. Each is
predicted from the other two: those are reconstructed, the stack's slices are sought in that volume
alone. Correlation within its mask; before, all as they lie. With its bias: after the prediction has
been multiplied by the quadratic of the place that fits the stack best, ten numbers for all of it.
No setting was chosen on these stacks.
"""

# How each volume moves, and the numbers of stacks that are tried.
ORDERED, INTERLEAVED = Movement(), Movement(packages=2)
SCENES = {
    "MNI152, 2 mm": [(ORDERED, 3), (ORDERED, 2), (ORDERED, 1), (INTERLEAVED, 3)],
    "MR_Gd, 2 mm": [(ORDERED, 3)],
}

NAMES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Scene:
    """A volume, its stacks, and the place about which the poses are."""

    truth: Tensor
    grid: Grid
    stacks: list[MovedStack]

    @property
    def centre(self) -> Tensor:
        return self.grid.to_world((torch.tensor(self.grid.shape, dtype=torch.float64) - 1) / 2)

    def world_pose(self, stack: int, number: int) -> Tensor:
        """The true pose of a slice, between world places."""
        about = torch.eye(4, dtype=torch.float64)
        about[:3, 3] = self.centre
        return about @ self.stacks[stack].poses[number] @ torch.linalg.inv(about)


def volumes(folder: Path) -> dict[str, MetaTensor]:
    template = load_mni152_template(resolution=2)
    values = torch.from_numpy(template.get_fdata(dtype="f4"))[None]
    mni = MetaTensor(values, affine=torch.from_numpy(template.affine))
    return {"MNI152, 2 mm": mni, "MR_Gd, 2 mm": halved(read_image(folder / "volumes/MR_Gd.nii.gz"))}


def halved(image: MetaTensor) -> MetaTensor:
    """Means of two by two by two voxels."""
    means = F.avg_pool3d(image.as_tensor().float(), 2)
    return Grid.from_image(image).scaled([0.5] * 3, means.shape[1:], [2.0] * 3).to_image(means)


def scene_of(image: MetaTensor, how: Movement, count: int) -> Scene:
    truth, grid = image[0].float(), Grid.from_image(image)
    return Scene(truth, grid, stacks_of(truth, grid, how, 1, (2, 1, 0)[:count]))


def errors(found: Reconstruction, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """The common motion, and of each slice that counts the error in mm and in degrees."""
    here, there, turns = [], [], []
    sizes = [[int(part.sum()) for part in _slices(each)] for each in scene.stacks]
    least = max(max(each) for each in sizes) / 4
    for pose in found.poses:
        if sizes[pose.stack][pose.slice] < least:
            continue
        places = _places(scene.stacks[pose.stack], pose.slice)
        truth = scene.world_pose(pose.stack, pose.slice)
        here.append(places @ pose.matrix[:3, :3].T + pose.matrix[:3, 3])
        there.append(places @ truth[:3, :3].T + truth[:3, 3])
        turns.append((pose.matrix[:3, :3], truth[:3, :3]))
    common = rigid_between(torch.cat(here), torch.cat(there))
    turn, shift = common[:3, :3], common[:3, 3]
    pairs = zip(here, there, strict=True)
    mm = torch.stack([(a @ turn.T + shift - b).norm(dim=1).mean() for a, b in pairs])
    cosines = torch.stack([((turn @ a).T @ b).trace() / 2 - 0.5 for a, b in turns])
    return common, mm, torch.rad2deg(torch.arccos(cosines.clamp(-1, 1)))


def _axis(stack: MovedStack) -> int:
    return int(Grid.from_image(stack.image).spacing.argmax())


def _slices(stack: MovedStack) -> Sequence[Tensor]:
    return stack.mask.unbind(_axis(stack))


def _places(stack: MovedStack, number: int) -> Tensor:
    axis, mask = _axis(stack), torch.zeros_like(stack.mask)
    mask.select(axis, number).copy_(stack.mask.select(axis, number))
    return Grid.from_image(stack.image).to_world(mask.nonzero()[::37].double())


def psnr(volume: MetaTensor, common: Tensor, scene: Scene) -> float:
    """In the object, after the common motion and one factor."""
    back = AffineMotion(torch.linalg.inv(common))
    found = warp_image(volume, back, scene.grid)[0].double()
    brightest = float(np.quantile(scene.truth.numpy(), 0.999))
    inside = scene.truth > 0.05 * brightest
    a, b = found[inside], scene.truth[inside].double()
    left = ((a @ b) / (a @ a) * a - b).square().mean()
    return float(10 * torch.log10(brightest**2 / left))


def simulated(report: Report, folder: Path) -> None:
    report.heading("Simulated")
    report.text(SIMULATED)
    head = ["volume", "stacks", "", "PSNR", "mm", "95 %", "degrees", "outliers", "s", "wall s"]
    table = report.table(head, text=3)
    for name, image in volumes(folder).items():
        for how, count in SCENES[name]:
            scene = scene_of(image, how, count)
            stacks = f"{count}, interleaved" if how == INTERLEAVED else count
            for way, row in rows(scene, count):
                table.row(name, stacks, way, *row)
            # The next scene may take a while.
            report.write()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.text(f"Peak memory of the process, simulation included: {peak:.1f} GiB.")


def rows(scene: Scene, count: int) -> list[tuple[str, list[str]]]:
    images = [each.image for each in scene.stacks]
    still = torch.eye(4, dtype=torch.float64)
    found = []
    if count == 3:
        whole = fuse(images, grid=scene.grid).sample()
        found.append(("`fuse`", [f"{psnr(whole, still, scene):.2f}", *[""] * 6]))
    truth = [
        [scene.world_pose(k, i) for i in range(len(each.poses))]
        for k, each in enumerate(scene.stacks)
    ]
    ways = {
        "as they lie": (ReconstructConfig("still"), None),
        "stacks as bodies": (ReconstructConfig("stacks"), None),
        "`reconstruct`": (ReconstructConfig(), None),
        "true poses": (ReconstructConfig("still"), truth),
    }
    for way, (config, poses) in ways.items():
        started = time.process_time(), time.perf_counter()
        answer = reconstruct(
            images, config, masks=[each.mask for each in scene.stacks], poses=poses
        )
        spent = time.process_time() - started[0], time.perf_counter() - started[1]
        common, mm, degrees = errors(answer, scene)
        told = [
            f"{psnr(answer.volume.sample(), common, scene):.2f}", f"{mm.mean():.2f}",
            f"{mm.quantile(0.95):.2f}", f"{degrees.mean():.2f}",
            str(sum(pose.outlier for pose in answer.poses)), *[f"{each:.0f}" for each in spent],
        ]  # fmt: skip
        found.append((way, told))
    return found


def predicted(
    stack: MetaTensor, mask: Tensor, volume: MetaTensor, moves: bool
) -> tuple[float, float]:
    """Correlation in its mask of a stack with what its slices see of a volume.

    As it is, and after a quadratic of the place that fits best.
    """
    own, grid = Grid.from_image(stack), Grid.from_image(volume)
    axis = int(own.spacing.argmax())
    profile = Boxcar(float(own.spacing[axis]))
    values = stack[0].float()
    centre = grid.to_world((torch.tensor(grid.shape, dtype=torch.float64) - 1) / 2)
    step = float(grid.spacing.min())
    samples = samples_of([values], [own], [mask], [axis], [profile], step, centre)
    target = volume[0].float()
    # Brightness of another stack: one factor.
    seen = samples.values * float(target[target > target.mean()].mean() / samples.values.mean())
    poses = torch.eye(4, dtype=torch.float64).repeat(samples.count, 1, 1)
    every = torch.arange(samples.count)
    for groups, blur in ((every * 0, 2.0), (every % 2, 1.0), (every, 0.5), (every, 0.0)):
        if moves:
            poses = refined_poses(samples, seen, target, grid, poses, groups, 8, blur)
    model = Seen(samples, grid, poses)
    both = torch.stack([model.forward(target[None])[0], samples.values])
    found, wanted = both[:, model.inside].double()
    rows = samples.powers[:, model.inside] * found
    best = torch.linalg.lstsq(rows.T, wanted).solution @ rows
    one, other = (torch.corrcoef(torch.stack([each, wanted]))[0, 1] for each in (found, best))
    return float(one), float(other)


def real(report: Report, folder: Path) -> None:
    report.heading("A fetal brain")
    report.text(REAL)
    stacks = [read_image(folder / f"{name}1_lr.nii.gz") for name in NAMES]
    masks = [read_image(folder / f"{name}1_lr_brain_mask.nii.gz")[0] > 0 for name in NAMES]
    table = report.table(["predicted", "before", "with its bias", "after", "with its bias"])
    for k, name in enumerate(NAMES):
        rest = [i for i in range(3) if i != k]
        told: list[float] = []
        for moves in (False, True):
            config = ReconstructConfig("slices" if moves else "still")
            found = reconstruct([stacks[i] for i in rest], config, masks=[masks[i] for i in rest])
            told.extend(predicted(stacks[k], masks[k], found.volume.sample(), moves))
        table.row(name, *[f"{each:.3f}" for each in told])
    pictures = {}
    for title, motion in (("as they lie", "still"), ("reconstructed", "slices")):
        started = time.process_time()
        config = ReconstructConfig(motion)  # type: ignore[arg-type]
        found = reconstruct(stacks, config, masks=masks)
        pictures[title] = found.volume.sample()[0]
        spent = time.process_time() - started
    report.text(f"All three in {spent:.0f} s of the process: {found.volume.grid.shape} voxels.")
    _picture(pictures, report)


def _picture(volumes: dict[str, Tensor], report: Report) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(volumes), 3, figsize=(9, 6))
    for row, (title, volume) in zip(panels, volumes.items(), strict=True):
        brightest = float(np.quantile(volume.numpy(), 0.999))
        for axis, panel in enumerate(row):
            middle = volume.select(axis, volume.shape[axis] // 2).numpy()
            panel.imshow(np.rot90(middle), cmap="gray", vmin=0, vmax=brightest)
            panel.set_axis_off()
        row[0].set_title(title, fontsize=9, loc="left")
    figure.savefig(report.path("png"), dpi=80)
    report.picture("Middle planes: above the stacks as they lie, below reconstructed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = Report("reconstruction", "Reconstruction of slices that moved", arguments.output)
    report.made("one run, of a CPU that others used too.")
    real(report, arguments.data / "stacks")
    simulated(report, arguments.data)
    report.write()


if __name__ == "__main__":
    main()
