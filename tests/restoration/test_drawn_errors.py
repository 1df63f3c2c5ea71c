"""Laws of errors that are drawn: their covariance, their widths, and what scores make of them."""

import math

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import (
    Grid,
    ReconstructConfig,
    fuse,
    fuse_trusted,
    reconstruct,
    simulate_slices,
)
from oinr_monai.restoration.drawn_errors import DRAWS, DrawnErrors, pooled_spread
from oinr_monai.restoration.fused_stacks import Fusion, View
from oinr_monai.scanner.profiles import Boxcar

SIZE, WEIGHT = 6, 0.05


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fusion():
    """Two stacks that cross, with slices 3 voxels thick."""
    grid = Grid((SIZE,) * 3, torch.eye(4, dtype=torch.float64))
    truth = grid.to_image(drawn(1, *grid.shape))
    views = []
    for axis in (0, 2):
        thick = simulate_slices(truth, 3.0, axis=axis)
        views.append(View(thick.double(), Grid.from_image(thick), axis, Boxcar(3.0), grid))
    return Fusion(views, grid, None)


def columns(apply, shape):
    """A linear map of (1, *spatial), which takes channels by themselves, as a matrix, exactly."""
    each = torch.eye(math.prod(shape)).unflatten(1, shape[1:])
    return apply(each).flatten(1).T.double()


def test_drawn_errors_have_the_covariance_of_the_posterior(fusion, monkeypatch):
    monkeypatch.setattr("oinr_monai.restoration.fused_stacks.ROUGHLY", 1e-6)
    monkeypatch.setattr("oinr_monai.restoration.fused_stacks.STEPS", 400)
    shape = tuple(fusion.base.shape)
    calm = 0.5 + torch.rand(shape, generator=torch.Generator().manual_seed(3))
    normal = WEIGHT * columns(lambda x: fusion.curvature(calm * fusion.curvature(x)), shape)
    made = []
    none = [torch.zeros_like(y) for y in fusion.wanted]
    for i, view in enumerate(fusion.views):
        seen = columns(view.model.forward, shape)
        normal = normal + seen.T @ (view.counts.flatten().double()[:, None] * seen)

        def of_noise(noise, i=i):
            seen = [
                noise if j == i else n.expand(len(noise), -1, -1, -1) for j, n in enumerate(none)
            ]
            return fusion.perturbed(WEIGHT, calm, seen, torch.zeros(len(noise), *shape[1:]))

        made.append(columns(of_noise, tuple(fusion.wanted[i].shape)))
    nothing = [n.expand(math.prod(shape), -1, -1, -1) for n in none]
    made.append(columns(lambda rough: fusion.perturbed(WEIGHT, calm, nothing, rough), shape))
    together = torch.cat(made, dim=1)
    wanted = torch.linalg.inv(normal)
    away = together @ together.T - wanted
    assert float(away.norm()) < 2e-3 * float(wanted.norm())


def test_noise_is_what_makes_the_stacks_most_likely(fusion):
    weight, calm = 0.01, 1 + drawn(*fusion.base.shape).abs()
    rest = fusion.solve(weight) - fusion.base
    found = fusion.noise(weight, calm, fusion.solve(weight))
    total = weight * (calm * fusion.curvature(rest).square()).sum()
    for view, wanted in zip(fusion.views, fusion.wanted, strict=True):
        total = total + (view.model.forward(rest) - wanted).square().sum()
    assert found == pytest.approx(math.sqrt(float(total) / sum(y.numel() for y in fusion.wanted)))


def test_scores_make_widths_what_they_have_to_be():
    wide = torch.linspace(1, 3, 20).view(1, 1, 20).expand(1, 30, 20)
    scores = 2 * drawn(40_000, seed=1).abs()

    def draw(generator):
        return wide * torch.randn(wide.shape, generator=generator)

    errors = DrawnErrors(draw, scores, {"learned_from": "a test"}, seed=0)
    assert errors.statement()["gap"] == pytest.approx(2, rel=0.03)
    truth = 2 * wide * drawn(*wide.shape, seed=3)
    inside = truth.abs() <= errors.half_width(0.9)
    assert float(inside.double().mean()) == pytest.approx(0.9, abs=0.04)
    one, two = (errors.sample(torch.Generator().manual_seed(s)) for s in (5, 5))
    assert torch.equal(one, two)
    assert float((one / wide).std()) == pytest.approx(2, rel=0.1)


def test_spreads_are_root_mean_squares():
    found = pooled_spread([3 * drawn(1, 40, 40, 5, seed=s) for s in range(DRAWS)])
    assert found.shape == (1, 40, 40, 5)
    assert float(found.square().mean().sqrt()) == pytest.approx(3, rel=0.03)
    assert pooled_spread([torch.ones(1, 1, 7)]).shape == (1, 1, 7)


# volumes of moving slices


def test_reconstructed_volumes_have_intervals(truth):
    images = [simulate_slices(truth, 4.0, axis=axis) for axis in range(3)]
    found, again = (reconstruct(images, ReconstructConfig("still"), errors=True) for _ in "ab")
    assert torch.equal(found.trusted.half_width(), again.trusted.half_width())
    plain = reconstruct(images, ReconstructConfig("still"))
    torch.testing.assert_close(found.volume.sample(), plain.volume.sample())
    low, high = found.trusted.interval()
    where = found.volume.sample(Grid.from_image(truth)).as_tensor()
    assert where.shape == truth.shape
    inside = (low <= truth) & (truth <= high)
    assert 0.8 < float(inside.double().mean()) < 0.99
    with pytest.raises(ValueError, match="two or more for error bars, got 1"):
        reconstruct(images[:1], ReconstructConfig("still"), errors=True)
    with pytest.raises(ValueError, match="errors must be asked for"):
        plain.trusted.half_width()


# fusion


@pytest.fixture(scope="module")
def truth():
    axes = [torch.fft.fftfreq(32)] * 3
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    values = torch.fft.ifftn(torch.fft.fftn(drawn(32, 32, 32)) / (squares + 0.004)).real
    return MetaTensor((values / values.std())[None], affine=torch.eye(4, dtype=torch.float64))


def test_fused_volumes_have_intervals(truth):
    images = [simulate_slices(truth, 4.0, axis=axis) for axis in range(3)]
    found, again = fuse_trusted(images), fuse_trusted(images)
    assert torch.equal(found.half_width(), again.half_width())
    plain = fuse(images)
    torch.testing.assert_close(found.answer.sample(), plain.sample())
    low, high = found.interval()
    inside = (low <= truth) & (truth <= high)
    assert 0.8 < float(inside.double().mean()) < 0.99
    assert found.answer.info["trust"]["learned_from"].startswith("each stack")
    with pytest.raises(ValueError, match="two stacks or more for error bars, got 1"):
        fuse_trusted(images[:1])
