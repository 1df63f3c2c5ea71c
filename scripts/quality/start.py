"""Does a start help? Fits of one head from random weights, and from what was learned of another.

Starts come from the MNI152 template: a plain fit of it, and Reptile over smooth deformations and
contrasts of it. The subject is another head, a T1 scan with contrast agent at 2 mm. Every fit gets
the same steps; seconds are those of the processor, on one thread. Writes the section ``start`` of
``docs/measured/cohort.md``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample, interpolate

from oinr_monai import FitConfig, Grid, Representation, fit, learn_start
from oinr_monai.fitting.presets import PresetName
from oinr_monai.representation.lineage import trained_field
from scripts.shared.pictures import brain
from scripts.shared.problem import load_image
from scripts.shared.report import MEASURED, Report

SUBJECT = "MR_Gd.nii.gz"


def subject(folder: Path) -> MetaTensor:
    """The other head, averaged over blocks of two voxels."""
    image = load_image(str(folder / SUBJECT))
    affine = image.affine.clone()
    affine[:3, 3] += affine[:3, :3].sum(dim=1) / 2
    affine[:3, :3] *= 2
    return MetaTensor(avg_pool3d(image.as_tensor()[:1].float(), 2), affine=affine)


def varied(image: MetaTensor, generator: torch.Generator) -> MetaTensor:
    """A smooth random deformation, of some 5 % of the extent, and another contrast."""
    coarse = 0.1 * torch.randn(1, 3, 5, 5, 5, generator=generator)
    shape = image.shape[1:]
    shift = interpolate(coarse, shape, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    axes = [torch.linspace(-1, 1, n) for n in reversed(shape)]
    mesh = torch.stack(torch.meshgrid(*reversed(axes), indexing="ij")[::-1], dim=-1)
    moved = grid_sample(image.as_tensor()[None], (mesh + shift)[None], align_corners=True)[0]
    power = float(torch.empty(()).uniform_(0.6, 1.6, generator=generator))
    return MetaTensor((moved / moved.max()).clamp_min(0) ** power, affine=image.affine)


def in_world(template: MetaTensor, like: MetaTensor) -> MetaTensor:
    """The template on the subject's grid, where world coordinates say that it lies."""
    grid, source = Grid.from_image(like), Grid.from_image(template)
    voxels = source.to_voxel(grid.points().flatten(0, -2))
    parts = 2 * voxels / (torch.tensor(source.shape) - 1) - 1
    at = parts.flip(-1).reshape(1, *grid.shape, 3).float()
    values = grid_sample(template.as_tensor()[None], at, align_corners=True)[0]
    return MetaTensor(values, affine=like.affine)


def operator_of(start: Representation, image: Tensor, config: FitConfig) -> Representation:
    """A random start with the operator of another one."""
    begun = fit(image, replace(config, steps=0))
    trained_field(begun).network.load_state_dict(trained_field(start).network.state_dict())
    return begun


def starts(preset: PresetName, image: MetaTensor, rounds: int) -> dict[str, Representation | None]:
    """Every start, by its name."""
    config = FitConfig(preset=preset)
    template = brain(2)
    fitted = fit(template, replace(config, steps=1_500))
    placed = fit(in_world(template, image), replace(config, steps=1_500))
    generator = torch.Generator().manual_seed(0)
    heads = [varied(brain(4), generator) for _ in range(8)]
    learned = learn_start(heads, replace(config, steps=60), rounds=rounds, batch=4)
    return {
        "random": None,
        "operator of a fit of MNI152": operator_of(fitted, image, config),
        "fit of MNI152, by parts of the extent": fitted,
        "fit of MNI152, by world coordinates": placed,
        "operator of Reptile on 8 variants": operator_of(learned, image, config),
        "Reptile on 8 variants, by parts of the extent": learned,
    }


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="*", default=["fast", "balanced"])
    parser.add_argument("--steps", type=int, nargs="*", default=[50, 200, 800])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--data", type=Path, default=Path("data"), help=f"holds {SUBJECT}")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not (arguments.data / SUBJECT).is_file():
        parser.error(f"--data must be a folder with {SUBJECT}, got {arguments.data}")
    image = subject(arguments.data)
    report = Report("cohort", "Many fits at once, and where they begin", arguments.output)
    report.made(
        f"{SUBJECT} at 2 mm, {tuple(image.shape[1:])}. PSNR between the samples, and processor"
        " seconds of the fit."
    )
    heads = [f"{steps} steps (dB, s)" for steps in arguments.steps]
    table = report.table(["preset", "start", *heads], text=2)
    for preset in arguments.presets:
        for name, start in starts(preset, image, arguments.rounds).items():
            cells = []
            for steps in arguments.steps:
                began = time.process_time()
                info = fit(image, FitConfig(preset=preset, steps=steps), start=start).info
                cells.append(f"{info['psnr_between']:.2f}, {time.process_time() - began:.1f}")
            table.row(preset, name, *cells)
            report.write_section("Starts for a head")


if __name__ == "__main__":
    main()
