"""The laws of every operator, ours one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch

from oinr_monai import CZOINR, CKConvOINR, ConvOINR, FlatCZOINR, JetOINR, SequenceOINR
from oinr_monai.operators import LatticeOperator, LocalOperator, MAGNet
from oinr_monai.representation.registry import OPERATORS
from oinr_monai.testing import lattice_operator_laws, local_operator_laws

LOCAL: dict[str, Callable[..., LocalOperator]] = {
    **{
        f"ConvOINR, {kernel_size}": partial(ConvOINR, kernel_size=kernel_size)
        for kernel_size in (1, 3, (3, 1, 1), (3, 3, 1), (1, 3, 5))
    },
    "ConvOINR, no bias": partial(ConvOINR, kernel_size=(3, 1, 1), bias=False),
    "CKConvOINR": CKConvOINR,
    "CKConvOINR, wide first": partial(CKConvOINR, support=(2.0, 0, 0)),
    "CKConvOINR, separable": partial(CKConvOINR, separable=True),
    "CKConvOINR, window": partial(CKConvOINR, window=0.5),
    "CKConvOINR, MAGNet": partial(
        CKConvOINR, kernel=partial(MAGNet, hidden_channels=4, steerable=True)
    ),
}

LATTICE: dict[str, tuple[Callable[[], LatticeOperator], Sequence[int]]] = {
    "CZOINR, 1d": (lambda: CZOINR(1, 4, 2, channels=3, levels=2), (12,)),
    "CZOINR, 2d": (lambda: CZOINR(2, 4, 2, channels=3, levels=2), (12, 14)),
    "CZOINR, 3d": (lambda: CZOINR(3, 4, 2, channels=3, levels=2), (12, 14, 13)),
    "CZOINR, elu": (
        lambda: CZOINR(2, 4, 2, 3, 2, wave="sym2", act=("elu", {"alpha": 0.5})),
        (13, 12),
    ),
    "JetOINR": (lambda: JetOINR(3, 4, 2, channels=3, scales=(1.0, 2.0)), (9, 8, 7)),
    "JetOINR, anisotropic": (
        lambda: JetOINR(2, 4, 2, channels=3, scales=(1.0, 1.7), order=3, spacing=(1.0, 2.5)),
        (9, 5),
    ),
    "JetOINR, line": (lambda: JetOINR(1, 4, 2, channels=3, scales=(2.0,)), (14,)),
    "FlatCZOINR": (
        lambda: FlatCZOINR((6, 8), 4, 2, channels=3, levels=3, pieces=2, act="tanh"),
        (6, 8),
    ),
}


def test_every_operator_is_tested() -> None:
    tested = {name.partition(",")[0] for name in (*LOCAL, *LATTICE)}
    assert tested == set(OPERATORS) - {SequenceOINR.__name__}


def test_lengths_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="support must not be negative, got"):
        CKConvOINR(1, 4, 2, channels=(6,), support=(1.0, -0.5))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("law", local_operator_laws, ids=lambda law: law.__name__)
def test_laws_of_local_operators(
    law: Callable[[LocalOperator], None], name: str, dims: int
) -> None:
    torch.manual_seed(dims)
    # Inner kernels of many nodes would take gigabytes in three dimensions.
    plain = name.startswith("CK") and "wide" not in name
    reach = {"support": 0.75 if dims == 3 else 1.5} if plain else {}
    law(LOCAL[name](dims, 4, 2, channels=(6, 5), **reach))


@pytest.mark.parametrize("name", LATTICE)
@pytest.mark.parametrize("law", lattice_operator_laws, ids=lambda law: law.__name__)
def test_laws_of_lattice_operators(
    law: Callable[[LatticeOperator, Sequence[int]], None], name: str
) -> None:
    torch.manual_seed(0)
    make, shape = LATTICE[name]
    law(make(), shape)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_layer_starts_within_its_bound(dims: int) -> None:
    network = ConvOINR(dims, 4, 2, channels=(6, 5), kernel_size=(3, 1, 3))
    omega, taps = network.omega_0, 3**dims
    bounds = [1 / (4 * math.sqrt(taps)), math.sqrt(6 / 6) / omega, 0.1 * math.sqrt(6 / (5 * taps))]
    phases = [math.pi / omega, math.pi / omega, 0.0]
    asked: list[tuple[float, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(network.first), "start", lambda self, bound, phase: asked.append((bound, phase))
        )
        network.start()
    assert [bound for bound, _ in asked] == pytest.approx(bounds)
    assert [phase for _, phase in asked] == pytest.approx(phases)
