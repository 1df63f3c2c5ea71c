"""Matrices of one axis: against closed forms of Gaussians and cubic B-splines."""

from __future__ import annotations

import pytest
import torch

from oinr_monai.motion.separable import gaussian_rows, gram_matrices, spline_rows, window_rows


@pytest.mark.parametrize("sigma", [0.8, 2.0])
def test_smoothing_keeps_the_mean_and_adds_its_variance(sigma: float) -> None:
    rows = gaussian_rows(41, sigma).double()
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(41).double())
    apart = torch.arange(41).double() - 20
    assert float(rows[20] @ apart) == pytest.approx(0, abs=1e-6)
    assert float(rows[20] @ apart**2) == pytest.approx(sigma**2, rel=1e-3)
    assert float(rows[20, 21] / rows[20, 20]) == pytest.approx(2.718281828 ** (-0.5 / sigma**2))
    assert torch.equal(gaussian_rows(5, 0.0), torch.eye(5))


@pytest.mark.parametrize("radius", [1, 2, 9])
def test_windows_are_cut_off_at_the_ends(radius: int) -> None:
    values = torch.arange(7.0) ** 2
    sums = [values[max(i - radius, 0) : i + radius + 1].sum() for i in range(7)]
    assert torch.equal(window_rows(7, radius) @ values, torch.stack(sums))


def test_splines_of_a_line_are_the_line_and_go_on_level() -> None:
    places = torch.tensor([-2.0, 1.0, 1.5, 3.25, 6.0, 7.0, 9.0]).double()
    rows = spline_rows(places, 8)
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(len(places)))
    torch.testing.assert_close(rows @ torch.arange(8.0), places.clamp(1, 6).float())
    # At a knot, the values of the cubic B-spline; between two, its weights.
    torch.testing.assert_close(rows[1, :4], torch.tensor([1, 4, 1, 0]) / 6)
    torch.testing.assert_close(rows[2, :5], torch.tensor([1, 23, 23, 1, 0]) / 48)


@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_grams_are_the_integrals_of_products_of_splines(spacing: float) -> None:
    inner = [
        torch.tensor([2416.0, 1191, 120, 1]) / 5040 * spacing,
        torch.tensor([2 / 3, -1 / 8, -1 / 5, -1 / 120]) / spacing,
        torch.tensor([8 / 3, -3 / 2, 0, 1 / 6]) / spacing**3,
    ]
    x = torch.arange(12.0) * spacing
    for order, (gram, known) in enumerate(zip(gram_matrices(12, spacing), inner, strict=True)):
        torch.testing.assert_close(gram[5, 5:9], known, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gram, gram.T)
        # Of the line through the knots, over the cells that have all of theirs.
        length = (12 - 3) * spacing
        line = {
            0: float(sum(x[1:-2] ** 2 + x[1:-2] * spacing + spacing**2 / 3)) * spacing,
            1: length,
        }
        assert float(x @ gram @ x) == pytest.approx(line.get(order, 0), rel=1e-5, abs=1e-4)
