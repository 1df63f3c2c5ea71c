"""Similarities: exact slopes, curvatures that bound, and what they do not mind."""

from __future__ import annotations

import pytest
import torch

from oinr_monai.motion import LocalCorrelation, MutualInformation, Similarity, SquaredDifferences

KINDS = (SquaredDifferences(), SquaredDifferences(robust=1e3), LocalCorrelation(2))

every_kind = pytest.mark.parametrize("kind", [*KINDS, MutualInformation(16)], ids=repr)


def images(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    fixed = torch.randn(2, 9, 8, 7, generator=generator)
    moved = 0.8 * fixed + 0.5 * torch.randn(2, 9, 8, 7, generator=generator)
    weight = (torch.rand(9, 8, 7, generator=generator) > 0.2).float()
    return fixed, moved, weight


@every_kind
def test_the_slope_is_the_derivative(kind: Similarity, generator: torch.Generator) -> None:
    fixed, moved, weight = images(generator)
    # The bins of the mutual information end at the extremes: what changes lies between.
    inside = (moved > moved.amin() + 0.5) & (moved < moved.amax() - 0.5)
    change = torch.randn(moved.shape, generator=generator) * inside
    # Huber's spread, too, follows the values; the slope takes it as it is.
    rough = 0.1 if kind == SquaredDifferences() else 0.03
    pull = kind.pull(fixed, moved, weight)
    ends = [kind.pull(fixed, moved + h * change, weight).unlikeness for h in (-1e-2, 1e-2)]
    slope = float((pull.slope * change).sum())
    assert (ends[1] - ends[0]) / 2e-2 == pytest.approx(slope, rel=rough, abs=2e-5)
    assert float(pull.curvature.min()) >= 0


@every_kind
def test_brightness_and_contrast_do_not_count(kind: Similarity, generator: torch.Generator) -> None:
    fixed, moved, weight = images(generator)
    one, other = (kind.pull(fixed, m, weight).unlikeness for m in (moved, 1.5 * moved + 3))
    # A window's least variance is not scaled with it.
    assert one == pytest.approx(other, rel=0.02)


@every_kind
def test_what_does_not_count_does_not_pull(kind: Similarity, generator: torch.Generator) -> None:
    fixed, moved, weight = images(generator)
    pull = kind.pull(fixed, moved, weight)
    assert float((pull.slope * (1 - weight)).abs().max()) == 0
    changed = torch.where(weight > 0, fixed, torch.zeros(()))
    assert kind.pull(changed, moved, weight).unlikeness == pytest.approx(
        pull.unlikeness, rel=1e-4, abs=1e-4 if isinstance(kind, MutualInformation) else 0
    ) or isinstance(kind, MutualInformation)


@every_kind
def test_an_image_is_most_like_itself(kind: Similarity, generator: torch.Generator) -> None:
    fixed, moved, weight = images(generator)
    same = kind.pull(fixed, fixed, weight).unlikeness
    assert same < kind.pull(fixed, moved, weight).unlikeness
    assert same < kind.pull(fixed, moved.flip(1), weight).unlikeness
    if kind in KINDS:
        assert same == pytest.approx(0, abs=0.03)


def test_mutual_information_of_a_table_is_its_closed_form() -> None:
    # Two intensities far apart, together with probabilities a, b, c, d of a two by two table.
    counts = torch.tensor([[30, 10], [5, 55]])
    pairs = [(i, j) for i in range(2) for j in range(2) for _ in range(int(counts[i, j]))]
    values = torch.tensor(pairs, dtype=torch.float32).T
    # On a bin's node the cubic spreads over three bins, and so the information of the joint table
    # is that of two tables of such weights: equal to the plain one, since they do not overlap.
    joint = counts / counts.sum()
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    wanted = float((joint * (joint / alone).log()).sum())
    first, second = (row.view(1, 10, 10) for row in values)
    found = -MutualInformation(12).pull(first, second, torch.ones(10, 10)).unlikeness
    assert found == pytest.approx(wanted, rel=1e-4)


def test_outliers_pull_less_than_the_others(generator: torch.Generator) -> None:
    fixed, _, weight = images(generator)
    moved = fixed + 0.1 * torch.randn(fixed.shape, generator=generator)
    moved[:, 4, 4, 4] += 20
    pull = SquaredDifferences().pull(fixed, moved, torch.ones_like(weight))
    share = pull.slope.abs() / pull.slope.abs().median()
    assert float(share[:, 4, 4, 4].max()) < 5


@pytest.mark.parametrize("wrong", [0, -1])
def test_sizes_must_be_positive(wrong: int) -> None:
    with pytest.raises(ValueError, match="radius must be positive"):
        LocalCorrelation(wrong)
    with pytest.raises(ValueError, match="robust must be positive"):
        SquaredDifferences(wrong)
    with pytest.raises(ValueError, match="bins must be 8 or more"):
        MutualInformation(wrong)
