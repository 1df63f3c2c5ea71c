"""The nearest spline on coarse knots: its residual is orthogonal to all that it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai.grids import least_squares
from oinr_monai.grids.least_squares import least_squares_coefficients
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant, jet


def halves(samples: int) -> Tensor:
    return torch.arange(2 * samples - 1, dtype=torch.float64) / 2


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("shape", [(17,), (12, 9), (9, 1, 11)])
def test_the_residual_is_orthogonal_to_every_spline(shape: tuple[int, ...], degree: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    truth, reach = CubicInterpolant(image), (degree - 1) // 2
    # The last cell ends where the image does.
    cells = [max((n - 1) // 2, 1) for n in shape]
    steps = [max(n - 1, 1) / count for n, count in zip(shape, cells, strict=True)]

    def in_knots(x: Tensor, step: float) -> Tensor:
        return x / step + reach

    places = [
        in_knots(torch.arange(n).double(), step) for n, step in zip(shape, steps, strict=True)
    ]
    knots = [count + degree for count in cells]
    found = least_squares_coefficients(truth, places, knots, degree)
    lattice = Lattice(tuple(map(halves, shape)))
    inner = Lattice(tuple(in_knots(halves(n), s) for n, s in zip(shape, steps, strict=True)))
    basis = torch.zeros_like(found).requires_grad_()
    residual = truth(lattice) - jet(found, inner, 0, degree=degree)[0]
    (jet(basis, inner, 0, degree=degree)[0] * residual).sum().backward()
    assert residual.abs().max() > 0.1
    assert basis.grad is not None
    assert basis.grad.abs().max() < 1e-9


def test_slabs_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = CubicInterpolant(torch.rand(1, 13, 8, dtype=torch.float64))
    places = [1 + torch.arange(n).double() / 2 for n in (13, 8)]
    whole = least_squares_coefficients(truth, places, [9, 7])
    monkeypatch.setattr(least_squares, "SAMPLES_AT_ONCE", 20)
    torch.testing.assert_close(least_squares_coefficients(truth, places, [9, 7]), whole)
