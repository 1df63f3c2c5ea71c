"""The laws of every field, ours one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from oinr_monai import Field
from oinr_monai.grids.positions import Lattice
from oinr_monai.representation.registry import FIELDS, SIGNALS
from oinr_monai.testing import field_laws
from tests.fields.makers import EXTENT, MAKERS, SPACING, inner_lattice, make

EVERY = [pytest.param(name, dims, id=f"{name}-{dims}d") for name in MAKERS for dims in (1, 2, 3)]
# Wavelets need more than one sample along an axis.
THIN = [each for each in EVERY if each.values[0] != "LatticeField"]


def test_every_field_is_tested() -> None:
    tested = {name.partition(",")[0].partition(" ")[0] for name in MAKERS}
    assert tested == {*FIELDS, *SIGNALS}


@pytest.mark.parametrize(("name", "dims"), EVERY)
@pytest.mark.parametrize("law", field_laws, ids=lambda law: law.__name__)
def test_laws(law: Callable[[Field, Lattice], None], name: str, dims: int) -> None:
    law(make(name, dims), inner_lattice(dims))


@pytest.mark.parametrize(("name", "dims"), THIN)
def test_thin_axes_stay_finite(name: str, dims: int) -> None:
    extent = (0.0, *EXTENT[1:dims])
    field = MAKERS[name](extent, SPACING[:dims]).double()
    places = Lattice((torch.zeros(1, dtype=torch.float64), *inner_lattice(dims).axes[1:]))
    assert bool(torch.isfinite(field(places, 2)).all())
