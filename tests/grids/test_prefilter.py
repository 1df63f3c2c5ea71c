"""Coefficients of the spline through samples."""

from __future__ import annotations

import pytest
import torch

from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.prefilter import _product, decay, prefilter
from oinr_monai.grids.splines import jet


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("shape", [(1,), (2,), (9,), (7, 30), (6, 1, 5)])
def test_the_spline_goes_through_the_samples(shape: tuple[int, ...], degree: int) -> None:
    samples, beyond = noise(2, *shape), (degree + 1) // 2
    found = prefilter(samples, degree, [(beyond, beyond)] * len(shape))
    places = Lattice(tuple(torch.arange(n, dtype=torch.float64) + beyond for n in shape))
    torch.testing.assert_close(jet(found, places, 0, degree=degree)[0], samples, rtol=0, atol=1e-7)


@pytest.mark.parametrize("degree", [3, 5])
def test_a_ramp_goes_on_beyond_its_ends(degree: int) -> None:
    ramp = 3 + 2 * torch.arange(8.0, dtype=torch.float64)[None]
    found = prefilter(ramp, degree, [(4, 2)])
    wanted = 3 + 2 * torch.arange(-4.0, 10, dtype=torch.float64)[None]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("beyond", [[(0, 0), (0, 0)], [(2, 0), (0, 3)], [(3, 3), (3, 3)]])
def test_the_recursion_and_the_product_agree(degree: int, beyond: list[tuple[int, int]]) -> None:
    samples = noise(2, 40, 31)
    for kind, near in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        found = _product(samples.to(kind), degree, beyond)
        torch.testing.assert_close(
            found.double(), prefilter(samples, degree, beyond), rtol=0, atol=near
        )


@pytest.mark.parametrize("degree", [3, 5])
def test_a_part_has_the_coefficients_of_the_whole_but_near_its_ends(degree: int) -> None:
    samples, reach = noise(1, 120), decay(degree)
    whole = prefilter(samples, degree, [(3, 3)])[:, 3:-3]
    part = prefilter(samples[:, 20:100], degree, [(0, 0)])
    inner = slice(reach, -reach)
    largest = float((part[:, inner] - whole[:, 20:100][:, inner]).abs().max())
    assert largest < 2.0**-23 * float(whole.abs().max())
    assert float((part - whole[:, 20:100]).abs().max()) > 1e-2  # where the ends are felt


def test_another_degree_is_refused() -> None:
    with pytest.raises(ValueError, match="degree must be 3 or 5, got 4"):
        prefilter(noise(1, 9), 4, [(0, 0)])
