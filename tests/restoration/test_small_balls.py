"""Laws of what small balls leave in thick slices, and of how they are told from what is there."""

import math

import pytest
import torch

from oinr_monai.restoration.small_balls import SIZES, SmallBalls
from oinr_monai.scanner.profiles import Boxcar, Gaussian


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cloudy(shape, seed=0):
    """Clutter whose power falls with the square of the frequency."""
    axes = [torch.fft.fftfreq(n) for n in shape]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    values = torch.fft.ifftn(torch.fft.fftn(drawn(*shape, seed=seed)) / (squares + 1e-3)).real
    return values / values.std()


@pytest.mark.parametrize("profile", [Boxcar(4.0), Gaussian(4.0)])
@pytest.mark.parametrize("phase", [0, 2])
def test_slices_hold_the_whole_ball(profile, phase):
    balls = SmallBalls(profile, 4, (1.0, 0.8, 1.0))
    seen = balls.ball(1.5, phase, torch.zeros(24, 20, 9))
    assert float(seen.sum()) * 4 * 0.8 == pytest.approx(math.pi / 6 * 6**3, rel=0.2)
    sums = seen.sum(dim=(0, 1)).roll(4)
    middle = float((sums * torch.arange(9)).sum() / sums.sum())
    # From the middle of the first voxel of slice 4, by phases.
    assert middle == pytest.approx(4 + (phase - 1.5) / 4, abs=0.02)


def test_slices_hold_the_whole_ball_between_them_alone():
    seen = SmallBalls(Boxcar(4.0), 4, (1.0, 1.0, 1.0)).ball(0.7, 0, torch.zeros(16, 16, 9))
    assert [k for k in range(9) if seen[..., k].any()] == [0, 8]


@pytest.mark.parametrize("phase", [0, 1, 3])
@pytest.mark.parametrize("contrast", [2.0, -3.0])
def test_a_ball_is_found_where_it_is_with_its_contrast(phase, contrast):
    balls = SmallBalls(Boxcar(4.0), 4, (1.0, 1.0, 1.0))
    empty = torch.zeros(40, 40, 14)
    ball = sum(balls.ball(size, phase, empty) for size in SIZES) / len(SIZES)
    slices = (100 + contrast * ball.roll((17, 22, 6), dims=(0, 1, 2)))[None]
    found = balls.contrast(slices)
    assert found.shape == (1, 40, 40, 56)
    place = found.abs().flatten().argmax().item()
    assert (place // 56 // 40, place // 56 % 40) == (17, 22)
    assert abs(place % 56 - 24 - phase) <= 1
    assert float(found[0, 17, 22, 24 + phase]) == pytest.approx(contrast, rel=0.02)


def test_it_tells_balls_from_clutter_better_than_their_likeness():
    balls = SmallBalls(Boxcar(4.0), 4, (1.0, 1.0, 1.0))
    ball = balls.ball(0.7, 0, torch.zeros(32, 32, 12)).roll((16, 16, 6), dims=(0, 1, 2))
    ours, plain = [], []
    for seed in range(8):
        pair = [cloudy((32, 32, 12), seed), cloudy((32, 32, 12), seed) + ball]
        ours.append([float(balls.contrast(each[None])[0, 16, 16, 24]) for each in pair])
        plain.append([float((each * ball).sum() / ball.square().sum()) for each in pair])

    def clearness(found):
        without, with_ball = torch.tensor(found).T
        return float((with_ball - without).mean() / without.square().mean().sqrt())

    assert clearness(ours) > 2 * clearness(plain)
