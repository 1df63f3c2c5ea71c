"""Views: which axes are sharp, how pairs are seen, and what the answer keeps of the slices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.restoration.pairs import AxisModel, Pair, resample_axis, rotated, scored
from oinr_monai.restoration.views import ANGLES, FEWEST, SHARP, Slices, isotropic_view, slice_view
from oinr_monai.scanner.profiles import Boxcar, SampledProfile


def grid(shape: tuple[int, ...], *spacing: float) -> Grid:
    return Grid(shape, torch.diag(torch.tensor([*spacing, 1.0])).double())


def slices(shape: tuple[int, ...] = (24, 20, 8), *spacing: float) -> Slices:
    found = slice_view(grid(shape, *(spacing or (1.0, 1.0, 3.0))), None, None, None, None)
    assert isinstance(found, Slices)
    return found


@pytest.mark.parametrize(
    ("spacing", "sharp"),
    [
        ((1.0, 1.0, 3.0), [0, 1]),
        ((1.0, SHARP - 0.01, 3.0), [0, 1]),
        ((1.0, SHARP, 3.0), [0]),
        ((SHARP + 0.01, 1.0, 3.0), [1]),
        ((0.5, 0.5 * SHARP - 0.01, 3.0), [0, 1]),
        ((0.5, 0.5 * SHARP + 0.01, 3.0), [0]),
        ((2.0, 2.0 * SHARP - 0.01, 6.0), [0, 1]),
        ((2.0, 2.0 * SHARP + 0.01, 6.0), [0]),
    ],
)
def test_axes_are_sharp_that_are_nearly_as_fine_as_the_finest(
    spacing: tuple[float, ...], sharp: list[int]
) -> None:
    assert slices((40, 40, 8), *spacing).sharp == sharp


def test_sharp_axes_reach_over_some_slices() -> None:
    assert slices((3 * FEWEST, 30, 8)).sharp == [0, 1]
    assert slices((3 * FEWEST - 1, 30, 8)).sharp == [1]
    with pytest.raises(ValueError, match=r"must reach over 3 slice spacings .* got 2"):
        slices((3 * FEWEST - 1, 3 * FEWEST - 2, 8))


def test_what_is_finer_than_asked_is_refused() -> None:
    thick = grid((24, 20, 8), 1.0, 1.0, 3.0)
    assert slice_view(thick, None, None, None, 2.9).result.spacing.tolist() == [2.9] * 3
    with pytest.raises(ValueError, match="spacing must be smaller than the 3 mm from slice to sl"):
        slice_view(thick, None, None, None, 2.95)
    # So many fine voxels in a slice as make them no coarser than those within.
    for spacing, factor in ((3.0, 3), (3.05, 4), (3.01, 3), (1.9, 2)):
        assert slices((24, 20, 8), 1.0, 1.0, spacing).factor == (1, 1, factor)
    with pytest.raises(ValueError, match="slice_axis must be one along which"):
        slice_view(thick, 0, None, None, 0.4)


def test_all_axes_may_be_made_finer() -> None:
    alike = grid((9, 8, 7), 2.0, 2.0, 3.0)
    assert isotropic_view(alike, 1.0).factor == (2, 2, 3)
    assert isotropic_view(alike, (2.0, 1.0, 1.5)).factor == (1, 2, 2)
    assert isotropic_view(alike, (2.0, 1.0, 3.0)).profiles == (None, Boxcar(2.0), None)
    for spacing in (3.0, (2.0, 2.0, 3.0)):
        with pytest.raises(ValueError, match="spacing must be smaller than that of the image"):
            isotropic_view(alike, spacing)
    with pytest.raises(ValueError, match="spacing must be given for an image without"):
        isotropic_view(alike, None)
    (pair,) = isotropic_view(alike, 1.0).pairs(torch.rand(1, 9, 8, 7), torch.Generator())
    assert pair.coarse.shape == (1, 4, 4, 2)
    assert pair.missing.shape == (1, 8, 8, 6)


def test_mirrors_and_swaps_are_of_axes_that_are_alike() -> None:
    view = slices()
    assert view.mirrors == [0, 1, 2]
    assert view.swaps == [(0, 1)]
    assert slices((24, 20, 8), 1.0, 1.009, 3.0).swaps == [(0, 1)]
    assert slices((24, 20, 8), 1.0, 1.011, 3.0).swaps == []
    lopsided = SampledProfile((-2.0, 1.0, 2.0), (0, 1, 0))
    assert slice_view(view.grid, None, None, lopsided, None).mirrors == [0, 1]
    assert isotropic_view(grid((9, 8, 7), 2, 2, 2), 1.0).swaps == [(0, 1), (0, 2), (1, 2)]
    keys = view.order_keys
    assert keys[2] > max(keys[:2])
    assert view.across == (3.0, Boxcar(3.0))


@pytest.mark.parametrize("spacing", [None, 0.9, (1.0, 1.0, 0.7), 1.3])
def test_the_answer_keeps_the_slices(
    spacing: float | tuple[float, ...] | None, generator: torch.Generator
) -> None:
    view = slice_view(grid((24, 20, 8), 1.0, 1.0, 3.0), None, None, None, spacing)
    coarse = torch.rand(1, 24, 20, 8, generator=generator).double()
    guess = view.guess(coarse)
    torch.testing.assert_close(view.keep_data(guess, coarse), guess)
    answer = view.answer(guess + torch.rand(guess.shape, generator=generator), coarse)
    assert answer.shape[1:] == view.result.shape
    left = view.residual(answer, coarse)
    within = spacing is None or spacing == (1.0, 1.0, 0.7)
    assert view.asks_lattice == (spacing is None)
    assert (left is None) != within
    if left is not None:
        assert left < 1e-6
        moved = view.residual(answer + 1, coarse)
        assert moved is not None
        assert moved == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("sharp", [0, 1])
def test_a_pair_is_the_image_seen_as_slices_along_a_sharp_axis(
    sharp: int, generator: torch.Generator
) -> None:
    view = slices((24, 21, 8))
    fine = torch.rand(1, 24, 21, 24, generator=generator).double()
    firsts = set()
    for _ in range(12):
        pair = view.pair(fine, sharp, generator)
        assert pair.factor == (1, 1, 3)
        count = pair.coarse.shape[3]
        size = fine.shape[sharp + 1]
        assert size // 3 - 1 <= count <= size // 3
        model = AxisModel.of(count, 3.0, 3, Boxcar(3.0))
        seen = pair.missing + pair.coarse @ model.guess.T
        turned = fine.transpose(sharp + 1, 3)
        parts = {f: turned[..., f : f + 3 * count] for f in range(3) if f + 3 * count <= size}
        (first,) = (f for f, part in parts.items() if torch.allclose(part, seen, atol=1e-9))
        firsts.add(first)
        torch.testing.assert_close(seen @ model.coarse.T, pair.coarse)
    assert firsts == {0, 1, 2}


def test_pairs_are_of_the_image_as_it_lies_and_turned(generator: torch.Generator) -> None:
    x = torch.linspace(-1, 1, 24)
    hill = torch.exp(-2 * (x[:, None, None] ** 2 + x[:, None] ** 2)).expand(1, 24, 24, 24).clone()
    found = slices((24, 24, 8)).pairs(hill, generator)
    assert len(found) == 4
    for pair in found:  # a round hill is the same, turned
        assert float(pair.missing.abs().max()) < 0.08
    assert len(slices((24, 24, 8), 1.0, 1.1, 3.3).pairs(hill, generator)) == 2
    low, high = ANGLES
    assert 0 < low < high < torch.pi / 2


def test_a_part_of_large_stacks_is_as_large_as_asked(generator: torch.Generator) -> None:
    view, image = slices((24, 20, 8)), torch.rand(1, 24, 20, 24, generator=generator)
    part = view.part(image, 24 * 100, generator)
    assert part.shape == (1, 11, 11, 24)
    assert torch.equal(view.part(image, 10**6, generator), image)
    firsts = {float(view.part(image, 24 * 100, generator)[0, 0, 0, 0]) for _ in range(20)}
    assert len(firsts) > 5


# ---- pairs ---------------------------------------------------------------------------------------


def test_models_see_their_own_guess() -> None:
    model = AxisModel.of(6, 4.0, 4, Boxcar(4.0))
    unit = torch.eye(6).double()
    torch.testing.assert_close(model.coarse @ model.guess, unit, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.coarse @ model.back, unit, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.coarse, unit.repeat_interleave(4, dim=1) / 4)
    # The smallest that is seen so: the mean, everywhere.
    torch.testing.assert_close(model.back, unit.repeat_interleave(4, dim=0))


def test_a_patch_is_a_part_of_both() -> None:
    coarse, missing = torch.rand(1, 5, 6, 4), torch.rand(1, 5, 6, 12)
    near, fine = Pair(coarse, missing, (1, 1, 3)).patch([1, 2, 1], [3, 4, 2])
    assert torch.equal(near, coarse[:, 1:4, 2:6, 1:3])
    assert torch.equal(fine, missing[:, 1:4, 2:6, 3:9])


@pytest.mark.parametrize(
    ("shape", "factor", "inner"),
    [((20, 12), (1, 3), (14, 6)), ((5, 9), (1, 3), (1, 3)), ((4, 3), (1, 3), (2, 3))],
)
def test_what_is_scored_is_away_from_the_border(
    shape: tuple[int, ...], factor: tuple[int, ...], inner: tuple[int, ...]
) -> None:
    values = torch.zeros(1, 1, *shape)
    found = scored(values, factor)
    assert found.shape[2:] == inner


def test_an_axis_at_another_spacing_is_the_same_function() -> None:
    x = torch.arange(40).double()
    wave = torch.sin(x / 6).view(1, 1, 40).expand(1, 3, 40)
    found = resample_axis(wave, 1, 1.0, 0.8)
    at = torch.arange(found.shape[2]).double() * 0.8
    inner = (at > 3) & (at < 36)
    torch.testing.assert_close(found[0, 0, inner], torch.sin(at[inner] / 6), rtol=0, atol=2e-3)
    assert resample_axis(wave, 1, 1.0, 1.0005) is wave


def test_a_turn_is_of_places_in_voxels() -> None:
    def hill(angle: float) -> Tensor:
        x, y = torch.meshgrid(torch.arange(30.0) - 14.5, torch.arange(24.0) - 11.5, indexing="ij")
        cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
        u, v = cos * x - sin * y, sin * x + cos * y
        return torch.exp(-((u - 3) ** 2) / 12 - v**2 / 30)[None, :, :, None]

    for angle in (0.4, 1.1):
        turned = rotated(hill(0.0), angle)
        errors = [float((turned - hill(sign * angle)).abs().max()) for sign in (1, -1)]
        assert min(errors) < 0.02
        assert max(errors) > 0.2
