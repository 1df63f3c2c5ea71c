"""Laws of the forward models: adjoints, constants, quadrature, data consistency, geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.scanner.blur import Blur, Decimation
from oinr_monai.scanner.forward_model import (
    Composition,
    ForwardModel,
    Separable,
    conjugate_gradients,
)
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SampledProfile, SliceProfile
from oinr_monai.scanner.resampling import Resampling
from oinr_monai.scanner.slices import SliceStack, thick_grid
from oinr_monai.testing import forward_model_laws
from oinr_monai.testing.forward_models import projection_keeps_the_data
from tests.phantoms import GaussianBlob

PROFILES = [
    Boxcar(3.0),
    Gaussian(3.0),
    SampledProfile((-2.0, -1.0, 0.5, 2.5), (-0.1, 1.0, 0.8, 0.0)),
]
SHAPE = (6, 7, 12)


def oblique() -> Grid:
    """Voxels of 0.9 x 1.1 x 0.8 mm, turned about three axes, left-handed, off the origin."""
    generators = torch.tensor([[0.0, -0.3, 0.5], [0.3, 0.0, 0.2], [-0.5, -0.2, 0.0]])
    affine = torch.eye(4, dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(generators.double())
    affine[:3, :3] = rotation * torch.tensor([-0.9, 1.1, 0.8], dtype=torch.float64)
    affine[:3, 3] = torch.tensor([31.25, -47.5, 12.125], dtype=torch.float64)
    return Grid(SHAPE, affine)


def turned(grid: Grid) -> Grid:
    """A coarser grid inside, turned by 0.2 rad about the third axis of the world."""
    affine = grid.affine.clone()
    about = torch.tensor([[0.0, -0.2, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 0.0]]).double()
    affine[:3, :3] = torch.linalg.matrix_exp(about) @ affine[:3, :3] * 1.3
    affine[:3, 3] = grid.to_world(torch.tensor([0.3, -0.4, 1.2]))
    return Grid((4, 5, 6), affine)


def reordered(grid: Grid) -> Grid:
    """Axes in another order, one of them reversed, and between the voxels."""
    affine = grid.affine.clone()
    affine[:3, :3] = affine[:3, [2, 0, 1]] * torch.tensor([-1.5, 1.0, 0.8]).double()
    affine[:3, 3] = grid.to_world(torch.tensor([0.3, 0.2, 10.5]))
    return Grid((6, 5, 7), affine)


def flipped(grid: Grid) -> Grid:
    """Thick slices that run against the third axis."""
    thick = thick_grid(grid, 2, 2.8)
    affine = thick.affine.clone()
    affine[:3, 3] = thick.to_world(torch.tensor([0.0, 0.0, thick.shape[2] - 1.0]))
    affine[:3, 2] *= -1
    return Grid(thick.shape, affine)


def models() -> list[ForwardModel]:
    fine = oblique()
    stacks = [SliceStack(fine, thick_grid(fine, 2, 2.8), 2, profile) for profile in PROFILES]
    blur = Blur(fine, (1.0, 0.0, 2.0))
    resampled = [
        Resampling(fine, make(fine), order) for make in (turned, reordered) for order in (1, 3)
    ]
    between = reordered(fine)
    thick = Resampling(fine, between)
    return [
        *stacks,
        SliceStack(fine, flipped(fine), 2, PROFILES[2]),
        SliceStack(fine, thick_grid(fine, 0, 1.8), 0, Boxcar(1.0)),
        blur,
        Decimation(fine, (2, 1, 3)),
        *resampled,
        Composition(blur, Decimation(blur.target, (2, 2, 2))),
        Composition(
            thick, SliceStack(thick.target, thick_grid(thick.target, 1, 1.8), 1, PROFILES[1])
        ),
    ]


each_model = pytest.mark.parametrize("model", models(), ids=repr)


def random(grid: Grid, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *grid.shape, generator=generator, dtype=torch.float64).to(dtype)


@each_model
@pytest.mark.parametrize("law", forward_model_laws, ids=lambda law: law.__name__)
def test_laws(law: Callable[[ForwardModel], None], model: ForwardModel) -> None:
    law(model)


@pytest.mark.parametrize("model", [m for m in models() if isinstance(m, Separable)], ids=repr)
def test_projection_in_closed_form_keeps_the_data_to_rounding(model: ForwardModel) -> None:
    projection_keeps_the_data(model, within=1e-8)


@each_model
def test_constants_stay(model: ForwardModel) -> None:
    seen = model.forward(torch.full((1, *model.source.shape), 7.0, dtype=torch.float64))
    torch.testing.assert_close(seen, torch.full_like(seen, 7.0), rtol=1e-12, atol=0)


def test_projection_refuses_negative_damping() -> None:
    model = Blur(oblique(), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="damping must be 0 or more"):
        model.project(random(model.source, 0), random(model.target, 0), damping=-1.0)


# ---- slices -------------------------------------------------------------------------------------


def line(size: int, spacing: float = 1.0) -> Grid:
    return Grid((size,), torch.diag(torch.tensor([spacing, 1.0, 1.0, 1.0], dtype=torch.float64)))


def test_boxcar_of_whole_voxels_is_their_mean() -> None:
    fine = oblique()
    x = random(fine, 0)
    stack = SliceStack(fine, thick_grid(fine, 2, 4 * 0.8), 2, Boxcar(4 * 0.8))
    mean = x.unflatten(3, (3, 4)).mean(dim=4)
    torch.testing.assert_close(stack.forward(x), mean, rtol=1e-12, atol=1e-12)


def test_boxcar_takes_parts_of_voxels() -> None:
    fine = line(7)
    stack = SliceStack(fine, thick_grid(fine, 0, 3.5), 0, Boxcar(3.5))
    x = torch.tensor([[2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0]], dtype=torch.float64)
    wanted = [(2 + 3 + 5 + 7 / 2) / 3.5, (7 / 2 + 11 + 13 + 17) / 3.5]
    assert stack.forward(x)[0].tolist() == pytest.approx(wanted, rel=1e-14)


def test_gap_leaves_voxels_unseen_and_overlap_sees_them_twice() -> None:
    fine = line(8)
    thick = thick_grid(fine, 0, 4.0)
    seen = [
        SliceStack(fine, thick, 0, Boxcar(t)).adjoint(torch.ones(1, 2, dtype=torch.float64))[0]
        for t in (2.0, 6.0)
    ]
    assert seen[0].tolist() == pytest.approx([0, 0.5, 0.5, 0, 0, 0.5, 0.5, 0], abs=1e-14)
    # Each slab reaches a voxel beyond the end, whose weight goes to the five inside.
    assert seen[1].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4, 0.4, 0.2, 0.2, 0.2], rel=1e-14)


def test_slices_against_the_axis_are_the_same_slices_backwards() -> None:
    fine = oblique()
    x, profile = random(fine, 0), PROFILES[2]
    mirrored = SampledProfile(
        tuple(-o for o in reversed(profile.offsets)), tuple(reversed(profile.weights))
    )
    along = SliceStack(fine, thick_grid(fine, 2, 2.8), 2, profile).forward(x)
    against = SliceStack(fine, flipped(fine), 2, mirrored).forward(x)
    torch.testing.assert_close(against.flip(3), along, rtol=1e-10, atol=1e-10)


def test_thickness_counts_along_the_normal_of_sheared_slices(sheared_affine: Tensor) -> None:
    fine = Grid((4, 4, 9), sheared_affine)
    assert float(fine.plane_spacing[2]) < float(fine.spacing[2]) - 0.01
    thickness = 3 * float(fine.plane_spacing[2])
    stack = SliceStack(fine, thick_grid(fine, 2, 3 * float(fine.spacing[2])), 2, Boxcar(thickness))
    x = random(fine, 0)
    torch.testing.assert_close(stack.forward(x), x.unflatten(3, (3, 3)).mean(dim=4))


def test_gaussian_has_the_width_it_is_given() -> None:
    fine = line(4001, 0.01)
    one = Grid((1,), fine.shift([2000.0]).affine)
    weights = SliceStack(fine, one, 0, Gaussian(3.0)).adjoint(torch.ones(1, 1).double())[0]
    above = int((weights >= weights.max() / 2).sum()) * 0.01
    assert above == pytest.approx(3.0, abs=0.011)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
def test_quadrature_is_of_second_order(profile: SliceProfile) -> None:
    wave, centre = 2 * math.pi / 9, 0.23
    errors = []
    for h in (0.4, 0.2, 0.1, 0.05):
        fine = Grid((round(40 / h),), torch.diag(torch.tensor([h, 1.0, 1.0, 1.0]).double()))
        fine = fine.shift([-20 / h + 0.5])
        x = torch.sin(wave * fine.points()[:, 0])[None]
        affine = torch.eye(4, dtype=torch.float64)
        affine[0, 3] = centre
        found = SliceStack(fine, Grid((1,), affine), 0, profile).forward(x)
        errors.append(abs(float(found) - exact(profile, wave, centre)))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] > 1.7, (errors, orders)


def exact(profile: SliceProfile, wave: float, centre: float) -> float:
    """The mean of sin(wave x) over the slice, by a sum of a million terms of the profile."""
    faces = torch.linspace(-15, 15, 1_000_001, dtype=torch.float64)
    middles = (faces[1:] + faces[:-1]) / 2
    return float((profile.cumulative(faces).diff() * torch.sin(wave * (middles + centre))).sum())


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
def test_profiles_have_the_integral_one(profile: SliceProfile) -> None:
    ends = profile.cumulative(torch.tensor([-1e3, 1e3]))
    assert ends.tolist() == pytest.approx([0.0, 1.0], abs=1e-15)


def test_sampled_profiles_are_the_same_however_they_are_given() -> None:
    plain = SampledProfile((-1.0, 0.0, 2.0), (0.0, 1.0, 0.0))
    for kind in (list, np.array, torch.tensor):
        other = SampledProfile(kind([-1, 0, 2]), kind([0, 1, 0]))  # type: ignore[arg-type]
        assert other == plain
        assert hash(other) == hash(plain)


def test_sampled_profile_converges_to_the_bell_it_samples() -> None:
    places = torch.linspace(-9, 9, 721, dtype=torch.float64)
    bell = torch.exp(-4 * math.log(2) * (places / 3) ** 2)
    sampled = SampledProfile(tuple(places.tolist()), tuple(bell.tolist()))
    at = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(
        sampled.cumulative(at), Gaussian(3.0).cumulative(at), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Boxcar(0.0), "thickness must be positive"),
        (lambda: Gaussian(math.inf), "fwhm must be positive"),
        (lambda: SampledProfile((0.0,), (1.0,)), "as many, 2 or more"),
        (lambda: SampledProfile((0.0, 0.0), (1.0, 1.0)), "offsets must ascend"),
        (lambda: SampledProfile((0.0, 1.0), (1.0, -1.0)), "positive integral"),
        (
            lambda: SliceStack(line(8), line(8).crop([1], [3]), 1, Boxcar(1.0)),
            "axis must be 0 to 0",
        ),
        (lambda: SliceStack(line(8), line(2).shift([99]), 0, Boxcar(1.0)), "from every slice"),
        (lambda: SliceStack(oblique(), turned(oblique()), 2, Boxcar(1.0)), "share the axes"),
        (lambda: SliceStack(oblique(), oblique().crop((1, 0, 0), SHAPE), 2, Boxcar(1.0)), "axis 0"),
        (lambda: Blur(oblique(), (1.0, 1.0)), "3 widths of 0 or more"),
        (lambda: Decimation(oblique(), (0, 1, 1)), "3 numbers of 1 or more"),
        (Composition, "at least one"),
        (lambda: Composition(Decimation(line(8), (2,)), Blur(line(8), (1.0,))), "meet at one grid"),
        (lambda: Blur(line(8), (1.0,)).forward(torch.zeros(1, 7)), "x must have shape"),
        (lambda: Blur(line(8), (1.0,)).adjoint(torch.zeros(1, 7)), "y must have shape"),
        (lambda: Resampling(line(8), line(8), order=2), "order must be one of"),
    ],
)
def test_refuses(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


# ---- the others ---------------------------------------------------------------------------------


def test_decimation_keeps_voxels_at_their_places() -> None:
    model = Decimation(oblique(), (2, 1, 3))
    places = torch.stack(list(model.source.points().movedim(-1, 0)))
    torch.testing.assert_close(model.forward(places).movedim(0, -1), model.target.points())


def test_blur_has_a_gaussians_response() -> None:
    fine = line(400, 0.1)
    wave = 2 * math.pi / 8
    x = torch.cos(wave * (fine.points()[:, 0] - 20))[None]
    response = float(Blur(fine, (3.0,)).forward(x)[0, 200])
    sigma = 3.0 / math.sqrt(8 * math.log(2))
    assert response == pytest.approx(math.exp(-0.5 * (wave * sigma) ** 2), abs=1e-3)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("make", [turned, reordered])
def test_resampling_is_exact_for_linear_functions_of_position(
    make: Callable[[Grid], Grid], order: Literal[1, 3]
) -> None:
    # Away from the border, where the cubic one bends to its mirror image.
    fine = oblique().refine(2).pad(12)
    target = make(oblique())
    inside = ((fine.to_voxel(target.points()) > 10).all(-1)) & (
        (fine.to_voxel(target.points()) < torch.tensor(fine.shape) - 11).all(-1)
    )
    assert float(inside.double().mean()) > 0.6
    signal = lambda grid: (grid.points() @ torch.tensor([1.0, -2.0, 0.5]).double())[None]  # noqa: E731
    model = Resampling(fine, target, order)
    found = model.forward(signal(fine))
    torch.testing.assert_close(found[:, inside], signal(target)[:, inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("order", [1, 3])
def test_resampling_converges_with_its_order(
    order: Literal[1, 3], gaussian_blob: Callable[..., GaussianBlob]
) -> None:
    target, errors = turned(oblique()), []
    middle = target.to_world(torch.tensor(target.shape) / 2)
    blob = replace(gaussian_blob(3), center=middle)
    for spacing in (2.0, 1.0):
        affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0]).double())
        affine[:3, 3] = middle - 24
        fine = Grid((round(48 / spacing) + 1,) * 3, affine)
        found = Resampling(fine, target, order).forward(blob.value(fine.points())[None])
        errors.append(float((found[0] - blob.value(target.points())).abs().max()))
    assert math.log2(errors[0] / errors[1]) > order + 1 - 0.4


def test_outside_the_border_goes_on() -> None:
    source = oblique()
    x = random(source, 0)
    for order in (1, 3):
        beyond = Resampling(source, source.pad(2), order).forward(x)
        torch.testing.assert_close(beyond[:, 2:-2, 2:-2, 2:-2], x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(beyond[:, 0, 2:-2, 2:-2], x[:, 0], rtol=1e-9, atol=1e-9)


def test_the_two_ways_of_resampling_agree() -> None:
    # Turned by so little that places move by less than 1e-4 voxels, but not a shared axis any more.
    source, target = oblique(), reordered(oblique())
    nearly = target.affine.clone()
    nearly[:3, 0] += torch.tensor([1e-5, 0.0, 0.0], dtype=torch.float64)
    x = random(source, 0)
    for order in (1, 3):
        exact_one = Resampling(source, target, order)
        looked_up = Resampling(source, Grid(target.shape, nearly), order)
        assert exact_one.axes is not None
        assert looked_up.axes is None
        torch.testing.assert_close(looked_up.forward(x), exact_one.forward(x), rtol=0, atol=1e-3)


def test_conjugate_gradients_end_after_as_many_steps_as_unknowns() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, truth = root @ root.T, torch.ones(6, dtype=torch.float64)
    for start in (None, torch.zeros(6).double() + 3):
        found = conjugate_gradients(lambda z: matrix @ z, matrix @ truth, start, steps=12)
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
