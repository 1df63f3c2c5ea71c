"""Laws of super-resolution: where its answer lies, that it keeps the data, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai.grids.grid import Grid
from oinr_monai.restoration import views
from oinr_monai.restoration.momentum import TAIL_RATE, OrthogonalMomentum
from oinr_monai.restoration.pairs import (
    AxisModel,
    Pair,
    draw_patches,
    resample_axis,
    rotated,
    scored,
)
from oinr_monai.restoration.slice_descent import RENEWALS, SliceDescent
from oinr_monai.restoration.slice_operator import SliceOperator
from oinr_monai.restoration.super_resolution import SuperResolveConfig, super_resolve
from oinr_monai.restoration.views import slice_view
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SampledProfile
from oinr_monai.scanner.simulation import simulate_slices
from oinr_monai.scanner.slices import SliceStack

QUICK = SuperResolveConfig(steps=3)


def oblique(spacing):
    """An affine of these spacings, turned about two axes and moved."""
    one, other = 0.4, -0.7
    about_z, about_x, affine = (torch.eye(4, dtype=torch.float64) for _ in range(3))
    for matrix, first, angle in ((about_z, 0, one), (about_x, 1, other)):
        cos, sin = math.cos(angle), math.sin(angle)
        block = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        matrix[first : first + 2, first : first + 2] = block
    affine = about_z @ about_x @ torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-31.0, 12.5, 7.25], dtype=torch.float64)
    return affine


def phantom(shape, seed=0):
    """Discs and stripes with sharp borders, alike along all axes."""
    generator = torch.Generator().manual_seed(seed)
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    image = torch.zeros(shape)
    for _ in range(40):
        centre = torch.rand(len(shape), generator=generator) * torch.tensor(shape)
        radius = 2 + 4 * float(torch.rand((), generator=generator))
        inside = (places - centre).norm(dim=-1) < radius
        image[inside] = float(torch.rand((), generator=generator))
    return image[None]


def stack(shape=(16, 18, 5), spacing=(1.0, 1.0, 3.0), channels=1):
    generator = torch.Generator().manual_seed(1)
    values = 100 + 20 * torch.rand(channels, *shape, generator=generator)
    return MetaTensor(values, affine=oblique(spacing))


def faces(grid, axis):
    """World places of the middles of the outer faces of a grid, across one axis."""
    ends = []
    for end in (-0.5, grid.shape[axis] - 0.5):
        middle = torch.tensor([(n - 1) / 2 for n in grid.shape]).double()
        middle[axis] = end
        ends.append(grid.to_world(middle))
    return torch.stack(ends)


@pytest.mark.parametrize(
    ("spacing", "thickness", "fine"),
    [((1, 1, 3), None, 15), ((1, 1, 3.5), None, 18), ((0.9, 0.9, 3.5), 2.0, 19)],
)
def test_the_answer_fills_the_cells_of_the_slices(spacing, thickness, fine):
    image = stack(spacing=spacing)
    result = super_resolve(image, QUICK, slice_thickness=thickness)
    before, after = Grid.from_image(image), result.grid
    assert after.shape == (16, 18, fine)
    torch.testing.assert_close(after.directions, before.directions, rtol=0, atol=1e-9)
    fine_spacing = torch.full((3,), spacing[0], dtype=torch.float64)
    torch.testing.assert_close(after.spacing, fine_spacing, rtol=0, atol=1e-9)
    middle = [torch.tensor([(n - 1) / 2 for n in g.shape]).double() for g in (before, after)]
    torch.testing.assert_close(
        after.to_world(middle[1]), before.to_world(middle[0]), rtol=0, atol=1e-6
    )
    if spacing[2] == 3:
        torch.testing.assert_close(faces(after, 2), faces(before, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (1.0, 1.0, 3.5)])
@pytest.mark.parametrize("profile", [None, Boxcar(2.0), Gaussian(3.2)])
def test_the_answer_keeps_the_data(spacing, profile):
    image = stack(spacing=spacing, channels=2)
    result = super_resolve(image, QUICK, profile=profile)
    scanner = SliceStack(result.grid, Grid.from_image(image), 2, profile or Boxcar(spacing[2]))
    seen = scanner.forward(result.sample().as_tensor())
    torch.testing.assert_close(seen, image.as_tensor(), rtol=0, atol=2e-3)
    assert result.info["data_residual"] < 1e-3


def test_thick_slices_may_lie_along_any_axis():
    image = stack()
    last = super_resolve(image, QUICK)
    for axis in range(2):
        affine = image.affine.clone()
        affine[:, [axis, 2]] = affine[:, [2, axis]]
        moved = MetaTensor(image.as_tensor().transpose(axis + 1, 3), affine=affine)
        result = super_resolve(moved, QUICK)
        assert result.grid.shape[axis] == 15
        torch.testing.assert_close(faces(result.grid, axis), faces(last.grid, 2))


def gain(steps):
    """How many times smaller the squared error is than that of the corrected spline."""
    truth = phantom((40, 40, 40))
    thick = simulate_slices(truth, 4.0)
    guess = thick.as_tensor() @ AxisModel.of(10, 4.0, 4, Boxcar(4.0)).guess.T.float()
    answer = super_resolve(thick, SuperResolveConfig(steps=steps)).sample().as_tensor()
    return float((guess - truth).square().mean() / (answer - truth).square().mean())


def test_no_worse_than_the_spline_however_little_was_learnt():
    assert gain(steps=4) > 0.999


@pytest.mark.slow
def test_sharper_than_the_spline_on_structures_that_repeat():
    assert gain(steps=400) > 1.4


def test_the_same_seed_and_steps_give_the_same_answer():
    config = SuperResolveConfig(steps=3, start=None)
    one, same = (super_resolve(stack(), config).sample() for _ in range(2))
    other = super_resolve(stack(), replace(config, seed=1)).sample()
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_intensities_may_be_scaled_and_moved():
    image = stack()
    plain = super_resolve(image, QUICK).sample()
    scaled = super_resolve(1000 * image - 7, QUICK).sample()
    torch.testing.assert_close(scaled / 1000 + 0.007, plain, rtol=0, atol=0.05)


def test_whole_numbers_come_out_as_numbers():
    image = stack().round()
    answer = super_resolve(image.short(), QUICK).sample()
    torch.testing.assert_close(answer, super_resolve(image, QUICK).sample())


def test_all_axes_at_once_where_none_is_thick():
    truth = phantom((24, 26, 22))
    image = truth.unfold(1, 2, 2).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5, 6))
    coarse = MetaTensor(image, affine=oblique((2.0, 2.0, 2.0)))
    result = super_resolve(coarse, QUICK, spacing=1.0)
    assert result.grid.shape == (24, 26, 22)
    for axis in range(3):
        torch.testing.assert_close(faces(result.grid, axis), faces(Grid.from_image(coarse), axis))
    fine = result.sample().as_tensor()
    seen = fine.unfold(1, 2, 2).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5, 6))
    torch.testing.assert_close(seen, image, rtol=0, atol=1e-4)


def test_an_image_of_two_dimensions():
    image = MetaTensor(torch.rand(1, 24, 6), affine=torch.diag(torch.tensor([1.0, 4.0, 1.0, 1.0])))
    assert super_resolve(image, QUICK).grid.shape == (24, 24)


def test_any_spacing_may_be_asked():
    result = super_resolve(stack(), QUICK, spacing=(0.5, 1.0, 0.75))
    torch.testing.assert_close(result.grid.spacing, torch.tensor([0.5, 1.0, 0.75]).double())
    assert result.info["data_residual"] is None


def test_an_interrupt_gives_the_best_so_far(monkeypatch):
    from oinr_monai.restoration import slice_descent

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(slice_descent.Averaging, "_update", interrupted)
    result = super_resolve(stack(), QUICK)
    assert result.info["interrupted"]
    assert bool(torch.isfinite(result.sample()).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slice_axis": 3}, "slice_axis must be 0 to 2, got 3"),
        ({"slice_thickness": -1.0}, "thickness must be positive and finite, got -1.0"),
        ({"slice_thickness": 2.0, "profile": Boxcar(2.0)}, "slice_thickness must be None"),
        ({"spacing": 3.0}, "spacing must be smaller than the 3 mm from slice to slice, got 3"),
        ({"spacing": 0.0}, "spacing must be positive"),
        ({"slice_axis": 0, "spacing": 0.5}, "slice_axis must be one along which the spacing is"),
    ],
)
def test_arguments_are_checked_at_the_door(options, message):
    with pytest.raises(ValueError, match=message):
        super_resolve(stack(), QUICK, **options)


def test_images_are_checked_at_the_door():
    with pytest.raises(ValueError, match="image must have 2 or 3 spatial dimensions, got 1"):
        super_resolve(torch.rand(1, 30), QUICK)
    with pytest.raises(ValueError, match="image must reach over 3 slice spacings"):
        super_resolve(stack(shape=(5, 5, 5)), QUICK)
    with pytest.raises(ValueError, match="spacing must be given for an image without a thick axis"):
        super_resolve(torch.rand(1, 12, 12, 12), QUICK)
    with pytest.raises(ValueError, match="image must be finite"):
        super_resolve(torch.full((1, 12, 12, 4), math.nan), QUICK)
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        SuperResolveConfig(steps=0, start=None)


# ---- the parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [Boxcar(3.0), Boxcar(2.0), Gaussian(3.0)])
def test_the_guess_is_seen_as_the_data_and_keeps_constants(profile):
    model = AxisModel.of(6, 3.0, 3, profile)
    eye, ones = torch.eye(6).double(), torch.ones(18).double()
    torch.testing.assert_close(model.coarse @ model.guess, eye, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.coarse @ model.back, eye, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.guess @ ones[:6], ones, rtol=0, atol=1e-9)


def test_a_lopsided_profile_is_not_mirrored():
    grid = Grid((16, 18, 5), oblique((1.0, 1.0, 3.0)))
    even = slice_view(grid, None, None, Gaussian(3.0), None)
    lopsided = slice_view(grid, None, None, SampledProfile((-2.0, 1.0, 2.0), (0, 1, 0)), None)
    assert even.mirrors == [0, 1, 2]
    assert lopsided.mirrors == [0, 1]
    assert even.swaps == lopsided.swaps == [(0, 1)]


def test_slices_twice_as_far_apart_as_their_voxels_are_thick_and_learnt_from():
    grid = Grid((16, 18, 8), oblique((1.0, 1.0, 2.0)))
    assert slice_view(grid, None, None, None, None).factor == (1, 1, 2)
    between = Grid((16, 18, 8), oblique((1.0, 1.0, 2.5)))
    assert slice_view(between, None, None, None, None).factor == (1, 1, 3)
    with pytest.raises(ValueError, match="slice_axis must be one along which"):
        slice_view(grid, 0, None, None, 0.5)


def test_the_last_layer_learns_at_a_rate_of_its_own():
    groups = OrthogonalMomentum(SliceOperator(2, 1, (1, 2), 4, 1), peak=1e-3).param_groups
    assert [group["peak"] for group in groups] == [1e-3, 1e-3, TAIL_RATE * 1e-3]
    assert len(groups[2]["params"]) == 2


def test_a_pair_adds_up_to_the_fine_image():
    fine = torch.rand(1, 6, 7, 12)
    models = [None, None, AxisModel.of(4, 3.0, 3, Boxcar(3.0))]
    pair = Pair.of(fine, models, (1, 1, 3))
    coarse, missing = pair.patch((1, 2, 1), (4, 5, 2))
    assert coarse.shape == (1, 4, 5, 2)
    assert missing.shape == (1, 4, 5, 6)
    guess = pair.coarse @ models[2].guess.T.float()
    torch.testing.assert_close(guess + pair.missing, fine)


def test_an_untrained_operator_adds_nothing_and_tiles_do_not_matter(monkeypatch):
    from oinr_monai.restoration import slice_operator as slice_operators

    operator = SliceOperator(3, 1, (1, 1, 3), width=6, blocks=2)
    image = torch.rand(1, 9, 8, 5)
    assert float(operator.whole(image).abs().max()) == 0
    torch.nn.init.normal_(operator.tail.weight)
    whole = operator.whole(image)
    monkeypatch.setattr(slice_operators, "TILE_PLACES", 100)
    torch.testing.assert_close(operator.whole(image), whole, rtol=1e-4, atol=1e-5)


def test_a_quarter_turn_moves_voxels_to_voxels():
    image = torch.rand(1, 9, 9, 2)
    quarter = rotated(image, math.pi / 2)
    turned = [torch.rot90(image, k, (1, 2)) for k in (1, -1)]
    assert min(float((quarter - each).abs().max()) for each in turned) < 1e-5


def test_pairs_are_turned_well_away_from_the_axes(monkeypatch, generator):
    angles = []

    def noted(image, angle):
        angles.append(angle)
        return image

    monkeypatch.setattr(views, "rotated", noted)
    view = slice_view(Grid.from_image(stack()), 2, None, Boxcar(4.0), None)
    for _ in range(20):
        view.pairs(torch.rand(1, *view.result.shape), generator)
    low, high = views.ANGLES
    assert low <= min(angles) < 0.6 < 1.0 < max(angles) <= high


def test_resampling_an_axis_keeps_smooth_functions():
    wave = torch.sin(torch.arange(30) / 4.0)[None, :, None]
    finer = resample_axis(wave, 0, before=1.0, after=0.8)
    expected = torch.sin(0.8 * torch.arange(finer.shape[1]) / 4.0)[None, :, None]
    torch.testing.assert_close(finer[:, 4:-4], expected[:, 4:-4], rtol=0, atol=2e-3)


def test_borders_of_patches_do_not_count():
    assert scored(torch.zeros(1, 1, 20, 20, 40), (1, 1, 4)).shape == (1, 1, 14, 14, 32)
    assert scored(torch.zeros(1, 1, 3, 20, 8), (1, 1, 4)).shape[2:] == (1, 14, 8)


def test_patches_are_mirrored_along_the_axes_that_may_be():
    fine = torch.arange(16.0).view(1, 2, 8)
    pair = Pair(fine[..., ::2], fine, (1, 2))
    drawn = draw_patches([pair], torch.Generator().manual_seed(0), mirrors=[0], swaps=[])
    seen = {tuple(next(drawn)[1].flatten().tolist()) for _ in range(20)}
    assert seen == {tuple(each.flatten().tolist()) for each in (fine, fine.flip(1))}


def test_a_fresh_block_changes_little():
    torch.manual_seed(0)
    operator, x = SliceOperator(2, 1, (1, 2), width=32, blocks=3), torch.randn(1, 32, 20, 20)
    for block in operator.blocks:
        assert float((block(x) - x).detach().std()) < 0.1


def test_a_whole_image_is_answered_a_few_rows_at_a_time(monkeypatch):
    from oinr_monai.restoration import slice_operator as slice_operators

    monkeypatch.setattr(slice_operators, "TILE_PLACES", 3 * 8 * 5)
    operator, asked = SliceOperator(3, 1, (1, 1, 3), width=4, blocks=1), []
    operator.head.register_forward_hook(lambda module, inputs, out: asked.append(inputs[0].shape))
    operator.whole(torch.rand(1, 9, 8, 5))
    assert len(asked) == 3


def test_the_estimate_is_renewed_as_learning_goes_on(monkeypatch):
    renewed, renew = [], SliceDescent._renew

    def counted(self, *arguments):
        renewed.append(self.clock.step)
        renew(self, *arguments)

    monkeypatch.setattr(SliceDescent, "_renew", counted)
    super_resolve(stack(), SuperResolveConfig(steps=20, device="cpu"))
    assert renewed == [0, *(round(20 * part) for part in RENEWALS)]


def test_what_no_machine_can_hold_is_refused_before_the_work():
    for room in (1.0, 1e-5):
        with pytest.raises(ValueError, match="the result must fit into memory"):
            super_resolve(stack(), replace(QUICK, steps=0), spacing=1e-4 * room)
