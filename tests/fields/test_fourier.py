"""Wavelengths of the encodings, and the published formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oinr_monai import DyadicEncoding, FourierEncoding
from oinr_monai.grids.positions import Scatter
from tests.fields.makers import EXTENT, SPACING, inner_lattice

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("bands", [None, 1, 2, 8])
@pytest.mark.parametrize("shortest", [2.0, 6.0])
def test_fourier_wavelengths_lie_between_domain_and_sampling(
    bands: int | None, shortest: float
) -> None:
    extent, spacing = (200.0, 90.0, 60.0), (0.8, 1.0, 3.0)
    field = FourierEncoding(extent, spacing, bands, shortest)
    for waves, length, step in zip(field.wavelengths, extent, spacing, strict=True):
        assert float(waves.max()) >= 2 * length
        if bands != 1:
            assert float(waves.min()) >= shortest * step - 1e-9
        if bands is not None and bands > 1:
            assert float(waves.min()) == pytest.approx(shortest * step)
        assert bool((waves.diff() < 0).all())
    if bands is not None:
        assert field.channels == 2 * 3 * bands


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("bands", [None, 1, 4])
def test_fourier_ends_differ_but_dyadic_ends_do_not(dims: int, bands: int | None) -> None:
    extent, spacing = EXTENT[:dims], SPACING[:dims]
    ends = Scatter(tuple(torch.tensor([0.0, e], dtype=torch.float64) for e in extent))
    fourier = FourierEncoding(extent, spacing, bands)(ends)[0]
    assert float((fourier[:, 0] - fourier[:, 1]).abs().max()) > 0.1
    dyadic = DyadicEncoding(extent, 4).double()(ends)[0]
    assert torch.allclose(dyadic[:, 0], dyadic[:, 1], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shortest": 1.5}, "shortest must be 2 voxels or more"), ({"bands": 0}, "bands must be 1")],
)
def test_bad_fourier_encodings(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FourierEncoding((9.0,), (1.0,), **arguments)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dyadic_formula(dims: int) -> None:
    field, points = DyadicEncoding(EXTENT[:dims], 5), inner_lattice(dims).points()
    rows = []
    for x, length in zip(points.axes, EXTENT, strict=False):
        z = 2 * x.numpy() / length - 1
        octaves = [2**i * np.pi * z for i in range(5)]
        rows += [np.sin(o) for o in octaves] + [np.cos(o) for o in octaves]
    expected = torch.from_numpy(np.stack(rows))
    assert field.channels == 10 * dims
    assert torch.allclose(field(points)[0], expected, rtol=0, atol=1e-11)


def test_one_octave_is_a_sine_and_a_cosine() -> None:
    assert DyadicEncoding((9.0, 7.0), octaves=1).channels == 4
    for octaves in (0, 61):
        with pytest.raises(ValueError, match="octaves must be 1 to 60"):
            DyadicEncoding((9.0,), octaves)
