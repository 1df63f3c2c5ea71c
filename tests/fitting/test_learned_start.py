"""Starts that are learned from images: nearer to new ones of their kind than a random start."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig, fit, fit_many, learn_start
from oinr_monai.fitting import objective as descent

CONFIG = FitConfig(preset="fast", channels=(8, 8), places=200, steps=10)


@pytest.fixture(autouse=True)
def _fewer_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "BETWEEN_PLACES", 2_000)


def blobs(count: int, seed: int) -> list[Tensor]:
    """Round blobs near the middle, of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.meshgrid(*[torch.linspace(-1, 1, 12)] * 2, indexing="ij")
    numbers = torch.rand(count, 3, generator=generator)
    return [
        torch.exp(-((x - a + 0.5) ** 2 + (y - b + 0.5) ** 2) * (2 + 6 * c))[None]
        for a, b, c in numbers.tolist()
    ]


def mean_psnr(images: list[Tensor], config: FitConfig, start: object = None) -> float:
    found = fit_many(images, config, start=start)
    return sum(rep.info["psnr_grid"] for rep in found) / len(found)


def test_a_learned_start_is_nearer_to_unseen_images() -> None:
    unseen = blobs(6, seed=1)
    start = learn_start(blobs(12, seed=0), CONFIG, rounds=20, batch=6)
    cold, learned = (mean_psnr(unseen, CONFIG, s) for s in (None, start))
    assert learned > cold + 4


def test_the_seed_decides_the_start() -> None:
    images = blobs(4, seed=0)
    first, again, other = (
        learn_start(images, replace(CONFIG, seed=seed), rounds=2, batch=2) for seed in (0, 0, 1)
    )
    assert torch.equal(first.sample().as_tensor(), again.sample().as_tensor())
    assert not torch.equal(first.sample().as_tensor(), other.sample().as_tensor())


def test_one_round_at_full_rate_is_the_mean_of_the_fits() -> None:
    images = blobs(3, seed=0)
    start = learn_start(images, CONFIG, rounds=1, batch=3, rate=1.0)
    begun = fit(images[0], replace(CONFIG, steps=0))
    found = fit_many(images, replace(CONFIG, seed=1), start=begun)
    for name, weight in start.field.named_parameters():
        mean = torch.stack([dict(f.field.named_parameters())[name] for f in found]).mean(0)
        assert torch.allclose(weight, mean, atol=1e-5)


def test_at_no_rate_it_stays_where_it_began() -> None:
    images = blobs(2, seed=0)
    start = learn_start(images, CONFIG, rounds=2, batch=2, rate=1e-9)
    begun = fit(images[0], replace(CONFIG, steps=0))
    torch.testing.assert_close(start.sample().as_tensor(), begun.sample().as_tensor())


def test_later_rounds_move_it_less() -> None:
    images = blobs(2, seed=0)
    first = learn_start(images, CONFIG, rounds=1, batch=2, rate=0.5)
    half = learn_start(images, CONFIG, rounds=2, batch=2, rate=0.5)
    # The first round of two is the one of one; the second moves on from there by half as much.
    looks = replace(CONFIG, seed=CONFIG.seed + 2)
    found = fit_many(images, looks, start=first)
    pairs = zip(first.field.parameters(), half.field.parameters(), strict=True)
    for k, (before, after) in enumerate(pairs):
        mean = torch.stack([list(each.field.parameters())[k] for each in found]).mean(0)
        torch.testing.assert_close(after, before.lerp(mean, 0.25), rtol=0, atol=1e-4)


def test_info() -> None:
    start = learn_start(blobs(2, seed=0), CONFIG, rounds=1, batch=5)
    assert (start.info["rounds"], start.info["images"]) == (1, 2)
    assert start.info["settings"]["steps"] == CONFIG.steps
    assert start.info["seconds"] > 0


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"steps": None}, {}, "config must have steps, and no seconds"),
        ({"seconds": 1.0}, {}, "config must have steps, and no seconds"),
        ({}, {"rounds": 0}, "rounds, batch and images must be 1 or more"),
        ({}, {"rate": math.nan}, r"rate in \(0, 1\]"),
    ],
)
def test_errors(changes: dict[str, object], arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_start(blobs(2, seed=0), replace(CONFIG, **changes), **arguments)
