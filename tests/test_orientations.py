"""However the axes of an image lie in the world, the answers at a place of the world agree."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    DenoiseConfig,
    FitConfig,
    Grid,
    Motion,
    RegisterConfig,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    register,
    super_resolve,
)
from oinr_monai.motion import AffineMotion, rigid_about, warp_image
from tests.phantoms import rotation
from tests.restoration.test_carried_operator import operator

SHAPE, SPACING = (12, 11, 6), torch.tensor([1.0, 1.2, 3.0], dtype=torch.float64)

# Standard deviation of the noise of what is learned from.
NOISE = 20.0

LEARNED = ("denoise", "super-resolve", "carried over")

# An order of the axes, and which of them run the other way: 48 of them, half left-handed.
ORIENTATIONS = [
    (order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)
]

OBLIQUE = [(0.3, -0.5, 0.2), (1.2, 0.1, 0.0), (-0.7, 0.9, 2.0), (0.05, 0.0, 0.0), (2.5, 1.0, -1.0)]
OBLIQUE += [(-1.5, -0.2, 0.6)]


def stack(noise: float = 0.0) -> MetaTensor:
    """A blob beside waves, unlike its mirror images, on an upright grid off the origin."""
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    values = 300 * torch.exp(-3 * ((x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.4) ** 2))
    values = values + 40 * torch.sin(3 * x + y) + 20 * z
    values = values + noise * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    affine = torch.diag(torch.cat([SPACING, torch.ones(1).double()]))
    affine[:3, 3] = torch.tensor([-20.0, 35.0, 7.0])
    return MetaTensor(values[None].float(), affine=affine)


def turned(image: MetaTensor, order: tuple[int, ...], flips: tuple[bool, ...]) -> MetaTensor:
    """The same voxels at the same places, stored along other axes."""
    values, affine = image.as_tensor(), image.affine.clone()
    for axis in (d for d in range(3) if flips[d]):
        values = values.flip(axis + 1)
        affine[:, 3] += (values.shape[axis + 1] - 1) * affine[:, axis]
        affine[:, axis] *= -1
    affine = torch.cat([affine[:, list(order)], affine[:, 3:]], dim=1)
    return MetaTensor(values.permute(0, *[d + 1 for d in order]).contiguous(), affine=affine)


def moved(image: MetaTensor, angles: tuple[float, float, float]) -> MetaTensor:
    """The image in a world that is turned."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = rotation(*angles)
    return MetaTensor(image.as_tensor(), affine=turn @ image.affine)


def learned(named: str, image: MetaTensor) -> Representation:
    """What one step of learning gives of the image."""
    if named == "denoise":
        return denoise(image, DenoiseConfig(steps=1))
    start = operator() if named == "carried over" else None
    return super_resolve(image, SuperResolveConfig(steps=1, start=start))


def places(count: int = 60) -> Tensor:
    """Places (N, 3) of the world inside the stack, in mm."""
    part = torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.tensor([-20.0, 35.0, 7.0]) + part * (torch.tensor(SHAPE) - 1) * SPACING


def check(found: Representation, upright: Representation, turn: Tensor, within: float) -> None:
    """Compare value, gradient and Hessian, in parts of the largest of each.

    Args:
        found: of the image whose world was turned.
        upright: of the image itself.
        turn: turns the world, (3, 3).
        within: what they may differ by.
    """
    one, other = upright.jet_at(places()), found.jet_at(places() @ turn.T)
    wanted = (
        one.value,
        torch.einsum("ij,cjn->cin", turn.to(one.gradient), one.gradient),
        torch.einsum("ij,cjkn,lk->ciln", turn.to(one.hessian), one.hessian, turn.to(one.hessian)),
    )
    for given, expected in zip(other, wanted, strict=True):
        off = float((given - expected).abs().max() / expected.abs().max())
        assert off < within, off


UPRIGHT = torch.eye(3, dtype=torch.float64)


@pytest.fixture(scope="module")
def upright() -> dict[str, Representation]:
    """What the stack as it stands gives."""
    return {
        "exact": fit(stack(), FitConfig("exact")),
        **{named: learned(named, stack(noise=NOISE)) for named in LEARNED},
    }


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_exact_fits_and_derivatives_in_48_orientations(
    order: tuple[int, ...], flips: tuple[bool, ...], upright: dict[str, Representation]
) -> None:
    found = fit(turned(stack(), order, flips), FitConfig("exact"))
    check(found, upright["exact"], UPRIGHT, within=1e-4)


@pytest.mark.parametrize("angles", OBLIQUE)
def test_exact_fits_and_derivatives_in_oblique_frames(
    angles: tuple[float, float, float], upright: dict[str, Representation]
) -> None:
    found = fit(moved(stack(), angles), FitConfig("exact"))
    check(found, upright["exact"], rotation(*angles), within=1e-4)


@pytest.mark.parametrize("angles", OBLIQUE)
@pytest.mark.parametrize("named", LEARNED)
def test_what_is_learned_turns_with_the_world(
    named: str, angles: tuple[float, float, float], upright: dict[str, Representation]
) -> None:
    found = learned(named, moved(stack(noise=NOISE), angles))
    check(found, upright[named], rotation(*angles), within=1e-4)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::9])
@pytest.mark.parametrize("named", LEARNED)
def test_what_is_learned_stays_in_its_place(
    named: str,
    order: tuple[int, ...],
    flips: tuple[bool, ...],
    upright: dict[str, Representation],
) -> None:
    """The weights of `denoise` start at random along the stored axes, which moves some noise."""
    found = learned(named, turned(stack(noise=NOISE), order, flips))
    off = (found.at(places()) - upright[named].at(places())).abs().max()
    assert float(off) < (0.02 if named == "denoise" else 1e-4) * NOISE


def moved_pair() -> tuple[MetaTensor, MetaTensor]:
    """A stack as it looks after a small motion, and itself."""
    grid = Grid.from_image(stack())
    centre = grid.to_world((torch.tensor(SHAPE, dtype=torch.float64) - 1) / 2)
    motion = rigid_about(torch.tensor([0.05, -0.08, 0.1]), torch.tensor([0.5, -0.4, 0.8]), centre)
    return warp_image(stack(), motion, grid), stack()


@pytest.fixture(scope="module")
def found_motion() -> Motion:
    """The flow between the two as they stand."""
    return register(*moved_pair(), start=AffineMotion.identity(3))


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_motions_do_not_depend_on_storage(number: int, found_motion: Motion) -> None:
    """Each image is stored in a way of its own."""
    fixed, moving = moved_pair()
    ways = ORIENTATIONS[number], ORIENTATIONS[(number + 17) % 48]
    stored = turned(fixed, *ways[0]), turned(moving, *ways[1])
    found = register(*stored, start=AffineMotion.identity(3))
    assert float((found.at(places()) - found_motion.at(places())).abs().max()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("number", range(48))
@pytest.mark.parametrize("model", ["rigid", "affine", "deformable"])
def test_motions_are_found_in_48_orientations(number: int, model: str) -> None:
    fixed, moving = moved_pair()
    ways = ORIENTATIONS[number], ORIENTATIONS[(number + 17) % 48]
    config = RegisterConfig(model)  # type: ignore[arg-type]
    found = register(turned(fixed, *ways[0]), turned(moving, *ways[1]), config)
    wanted = register(fixed, moving, config)
    assert float((found.at(places()) - wanted.at(places())).abs().max()) < 1e-3
