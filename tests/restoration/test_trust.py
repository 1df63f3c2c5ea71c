"""Laws of error bars: what they cover, what they do not depend on, and what they refuse."""

import math

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import SuperResolveConfig, simulate_slices, super_resolve, super_resolve_trusted
from oinr_monai.grids.grid import Grid
from oinr_monai.restoration.conformal import STRATA, ConformalScores
from oinr_monai.restoration.error_features import FEATURES, REACH, Answer
from oinr_monai.restoration.error_samples import Smoothing, neighbour_correlation, unseen_errors
from oinr_monai.restoration.error_scale import ErrorScale
from oinr_monai.restoration.operator_share import boxes, operator_share
from oinr_monai.restoration.pairs import AxisModel
from oinr_monai.restoration.slice_gap import HANDED_ON, Gap, blurred_once_more, noise_of_pairs
from oinr_monai.restoration.slice_noise import quiet_noise
from oinr_monai.restoration.views import slice_view
from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import Boxcar, Gaussian

AT_ONCE = SuperResolveConfig(steps=0, device="cpu")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def texture(shape, seed=0):
    """Blobs of all sizes, alike along all axes, more of them on one side."""
    spectrum = torch.fft.rfftn(drawn(*shape, seed=seed))
    axes = [torch.fft.fftfreq(n) for n in shape[:-1]] + [torch.fft.rfftfreq(shape[-1])]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0)
    values = torch.fft.irfftn(spectrum / (squares + 0.002), s=shape)
    uneven = torch.linspace(0.1, 1, shape[0]).view(-1, 1, 1)
    return (100 + 10 * uneven * values / values.std())[None]


@pytest.fixture(scope="module")
def truth():
    return MetaTensor(texture((40, 44, 40)), affine=torch.eye(4, dtype=torch.float64))


@pytest.fixture(scope="module")
def thick(truth):
    return simulate_slices(truth, 4.0)


@pytest.fixture(scope="module")
def found(thick):
    return super_resolve_trusted(thick, AT_ONCE)


# scores


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_scores_cover_what_they_promise_however_wrong_the_sizes_are(level):
    place = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    errors, wrong = (1 + 9 * place) * drawn(40_000, seed=1), place.mul(0.7)
    scores = ConformalScores.of(wrong[::2], errors[::2])
    inside = errors[1::2].abs() <= scores.half_width(wrong[1::2], level)
    assert float(inside.double().mean()) == pytest.approx(level, abs=0.015)
    for part in place[1::2].argsort().tensor_split(STRATA):
        assert float(inside[part].double().mean()) == pytest.approx(level, abs=0.04)


def test_few_scores_promise_less():
    scores = ConformalScores.of(torch.zeros(9), torch.arange(1.0, 10.0))
    assert scores.half_width(torch.zeros(1), 0.5).item() == 5  # ceil(10 * 0.5)
    assert scores.half_width(torch.zeros(1), 0.85).item() == 9
    for level in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            scores.quantiles(level)


# sizes


def test_sizes_follow_the_errors():
    features = drawn(FEATURES, 6_000)
    size = (features[0] - 0.5 * features[3]).exp()
    scale = ErrorScale(features, seed=0)
    scale.learn(features, size * drawn(6_000, seed=2), seed=0)
    found = scale.log_size(features)
    # The mean logarithm of |n| is -0.635.
    assert float((found - size.log()).mean()) == pytest.approx(-0.635, abs=0.1)
    assert float(torch.corrcoef(torch.stack([found, size.log()]))[0, 1]) > 0.95


def test_features_are_of_what_is_near(monkeypatch):
    shape, factor = (12, 9, 6), 3
    answer = Answer(drawn(1, *shape), drawn(1, 12, 9, 18, seed=1), drawn(1, 12, 9, 18, seed=2))
    whole = answer.features()
    assert whole.shape == (FEATURES, 12, 9, 18)
    assert answer.factor == factor
    monkeypatch.setattr("oinr_monai.restoration.error_features.SLAB_PLACES", 9 * 18 * 2)
    parts = list(answer.slabs())
    assert len(parts) == 6
    torch.testing.assert_close(torch.cat([p for _, p in parts], dim=1), whole, rtol=0, atol=1e-5)
    far = Answer(*(each.clone() for each in (answer.coarse, answer.fine, answer.added)))
    far.fine[:, 0], far.added[:, 0], far.coarse[:, 0] = 9.0, 9.0, 9.0
    torch.testing.assert_close(far.features()[:, REACH:], whole[:, REACH:])


# the gap


def test_noise_of_pairs_is_what_white_noise_leaves():
    model = AxisModel.of(12, 4.0, 4, Gaussian(4.0))
    handed_on = along_axes(drawn(1, 500, 1, 12).double(), [None, None, model.guess])
    variance = float(handed_on.square().mean())
    fine = math.sqrt(variance) * drawn(1, 500, 1, 48, seed=1).double()
    missed = fine - along_axes(fine, [None, None, model.guess @ model.coarse])
    wanted = HANDED_ON * float(missed.square().mean())
    assert noise_of_pairs(model) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("profile", [Boxcar(4.0), Gaussian(4.0)])
def test_blurred_once_more_is_what_the_slices_did(profile):
    grid = Grid((40, 44, 10), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])).double())
    view = slice_view(grid, None, None, profile, None)
    for sharp in (0, 1):
        image, left = blurred_once_more(view, drawn(1, 40, 44, 40).double(), sharp)
        assert float(image.var()) == pytest.approx(left, rel=0.05)
        flat, _ = blurred_once_more(view, torch.ones(1, 40, 44, 40), sharp)
        torch.testing.assert_close(flat, torch.ones_like(flat))
        along = image.diff(dim=sharp + 1).square().mean()
        assert float(image.diff(dim=2 - sharp).square().mean()) < 0.5 * float(along)


def test_a_stretched_scan_has_a_smaller_gap():
    image = texture((48, 48, 96))
    grid = Grid((48, 48, 12), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])).double())
    view = slice_view(grid, None, None, None, None)

    def anisotropy(values):
        slices = values.unflatten(3, (12, 4)).mean(dim=4)
        return Gap.of(view, slices, [(1.0, 1.0)], noise=0.0).anisotropy

    alike, stretched = (
        anisotropy(image[..., :48]),
        anisotropy(image[..., :24].repeat_interleave(2, 3)),
    )
    assert alike == pytest.approx(1, abs=0.15)
    assert stretched < 0.8 * alike


def test_quiet_blocks_tell_the_noise():
    slices = drawn(1, 64, 64, 12)
    assert quiet_noise(slices) == pytest.approx(1, rel=0.03)
    slices[:, :40] += 20 * drawn(1, 40, 64, 12, seed=1)
    assert quiet_noise(slices) == pytest.approx(1, rel=0.25)
    assert quiet_noise(torch.zeros(1, 16, 16, 4)) == 0


# intervals


def test_intervals_cover_what_they_promise(found, truth):
    for level, slack in ((0.5, 0.1), (0.9, 0.05)):
        low, high = found.interval(level)
        inside = (low <= truth) & (truth <= high)
        assert float(inside.double().mean()) == pytest.approx(level, abs=slack)


def test_intervals_are_wide_where_errors_are_large(found, truth):
    error = (found.answer.sample() - truth).as_tensor().abs().flatten()
    width = found.half_width().as_tensor().flatten()
    ranks = torch.stack([error.argsort().argsort(), width.argsort().argsort()]).double()
    assert float(torch.corrcoef(ranks)[0, 1]) > 0.4


def test_intervals_lie_around_the_answer_of_super_resolve(found, thick):
    low, high = found.interval()
    answer = super_resolve(thick, AT_ONCE).sample()
    torch.testing.assert_close((low + high) / 2, answer, rtol=0, atol=1e-3)
    assert bool((found.half_width(0.5) < found.half_width(0.9)).all())
    assert found.answer.info["trust"]["learned_from"].startswith("slices simulated")
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        found.half_width(1.0)


def test_the_same_scan_has_the_same_map_in_its_own_units_and_pose(found, thick):
    again = super_resolve_trusted(thick, AT_ONCE).half_width()
    assert torch.equal(again, found.half_width())
    affine = thick.affine.clone()
    affine[:, [0, 2]] = affine[:, [2, 0]]
    bright = MetaTensor(500 + 3 * thick.as_tensor().transpose(1, 3), affine=affine)
    width = super_resolve_trusted(bright, AT_ONCE).half_width().as_tensor().transpose(1, 3)
    torch.testing.assert_close(width, 3 * again.as_tensor(), rtol=0.02, atol=0.05)


def test_intervals_are_asked_where_the_answer_is():
    coarse = simulate_slices(texture((24, 24, 24)), 4.0)
    found = super_resolve_trusted(coarse, AT_ONCE, spacing=1.5)
    assert found.half_width().shape == found.answer.sample().shape
    assert bool((found.half_width() > 0).all())


@pytest.mark.parametrize("shape", [(2, 24, 24, 6), (1, 24, 6)])
def test_there_are_no_intervals_for_other_images(shape):
    spacing = [1.0] * (len(shape) - 2) + [4.0]
    affine = torch.eye(4, dtype=torch.float64)
    affine[range(len(spacing)), range(len(spacing))] = torch.tensor(spacing).double()
    image = Grid(shape[1:], affine).to_image(drawn(*shape))
    with pytest.raises(ValueError, match="one channel in 3-D for error bars"):
        super_resolve_trusted(image, SuperResolveConfig(steps=1, start=None))


# samples


def test_smoothing_keeps_variance_and_is_its_own_adjoint():
    smoothing = Smoothing(0.4, axes=(0, 1))
    white, other = drawn(1, 90, 90, 4), drawn(1, 90, 90, 4, seed=1)
    smooth = smoothing(white)
    assert float(smooth.var()) == pytest.approx(1, rel=0.05)
    assert neighbour_correlation(smooth, [0, 1]) == pytest.approx(0.4, abs=0.03)
    assert neighbour_correlation(smooth, [2]) == pytest.approx(0, abs=0.03)
    torch.testing.assert_close((smooth * other).sum(), (white * smoothing(other)).sum())


@pytest.mark.parametrize("profile", [Boxcar(4.0), Gaussian(4.0)])
def test_slices_see_nothing_of_unseen_errors(profile):
    model = AxisModel.of(8, 4.0, 4, profile)
    spread = 1 + torch.rand(1, 40, 40, 32, generator=torch.Generator().manual_seed(0))
    errors = unseen_errors(spread, model, Smoothing(0.3, (0, 1)), torch.Generator().manual_seed(1))
    seen = along_axes(errors, [None, None, model.coarse])
    assert float(seen.square().mean().sqrt()) < 0.01 * float(errors.square().mean().sqrt())
    assert float((errors / spread).square().mean().sqrt()) == pytest.approx(1, rel=0.1)


def test_samples_scatter_as_the_intervals_say_and_keep_the_slices(found, thick):
    images = list(found.samples(6))
    assert all(map(torch.equal, images, found.samples(6)))
    answer, width = found.answer.sample().as_tensor(), found.half_width().as_tensor()
    scores = torch.stack([(image.as_tensor() - answer) / width for image in images])
    assert float((scores.abs() <= 1).double().mean()) == pytest.approx(0.9, abs=0.03)
    seen = images[0].as_tensor().unflatten(3, (10, 4)).mean(dim=4) - thick.as_tensor()
    noise = found.answer.info["trust"]["noise"]
    assert float(seen.square().mean().sqrt()) == pytest.approx(noise, rel=0.3)
    with pytest.raises(ValueError, match="count must be 1 or more"):
        found.samples(0)


def test_means_over_whole_slices_are_surer_than_voxels(found, truth):
    low, high = found.interval_of(lambda image: image[:, 10:30, 10:30, 8:28].mean())
    value = truth.as_tensor()[:, 10:30, 10:30, 8:28].mean()
    assert float(low) <= float(value) <= float(high)
    assert float(high - low) < 0.2 * float(found.half_width().mean())


# shares


def test_boxes_are_as_long_as_from_slice_to_slice():
    for thick, spacing in ((4.0, 1.0), (3.0, 1.0), (2.0, 1.0), (5.0, 0.8), (4.0, 4.0)):
        (size,) = boxes(thick, [spacing])
        assert size % 2 == 1
        assert thick <= size * spacing + 1e-6 < thick + 2 * spacing


def test_the_share_of_the_operator_is_its_part_of_the_energy():
    told, added = drawn(1, 30, 30, 30), 0.5 * drawn(1, 30, 30, 30, seed=1)
    share = operator_share(told, added, [9, 9, 9])[:, 4:-4, 4:-4, 4:-4]
    # Means of 729 squares are off by 5 %.
    torch.testing.assert_close(share, torch.full_like(share, 0.2), rtol=0, atol=0.05)
    assert not operator_share(told, 0 * added, [3, 3, 3]).any()
    assert not operator_share(0 * told + 5, 0 * added, [3, 3, 3]).any()
    assert bool((operator_share(0 * told + 5, 5 * added, [3, 3, 3]) > 0.99).all())
    one = torch.zeros(1, 9, 9, 9)
    one[0, 4, 4, 4] = 1.0
    near = operator_share(drawn(1, 9, 9, 9), one, [3, 5, 1]) > 0
    assert torch.equal(near.nonzero()[:, 1:].amin(0), torch.tensor([3, 2, 4]))
    assert int(near.sum()) == 15


def test_shares_and_hidden_contrast_are_the_same_in_all_units_and_poses(found, thick):
    share, hidden = found.share(), found.hidden().as_tensor()
    assert hidden.shape == share.shape
    assert share.shape == found.half_width().shape
    assert 0 <= float(share.min()) < 0.02 < float(share.max()) < 1
    for order in ((2, 0, 1), (0, 2, 1)):
        turned = thick.as_tensor().permute(0, *[d + 1 for d in order]).flip(1)
        affine = thick.affine[:, [*order, 3]].clone()
        affine[:, 3] += (turned.shape[1] - 1) * affine[:, 0]
        affine[:, 0] *= -1
        image = MetaTensor((500 + 3 * turned).contiguous(), affine=affine)
        other = super_resolve_trusted(image, AT_ONCE)
        wanted = [each.permute(0, *[d + 1 for d in order]).flip(1) for each in (share, hidden)]
        torch.testing.assert_close(other.share(), wanted[0], rtol=0, atol=2e-3)
        torch.testing.assert_close(other.hidden() / 3, wanted[1], rtol=0, atol=1e-2)
