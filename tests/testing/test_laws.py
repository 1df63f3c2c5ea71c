"""Every law can be broken: for each there is a part with one fault that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oinr_monai import CZOINR, ConvOINR, Field, GaussianNoise, Grid, SplineField
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.operators import SIREN
from oinr_monai.scanner.blur import Blur
from oinr_monai.testing import (
    Battery,
    field_laws,
    forward_model_laws,
    kernel_laws,
    lattice_operator_laws,
    local_operator_laws,
    noise_laws,
)

# ---- fields -------------------------------------------------------------------------------------


class Splines(Field):
    """Splines by another name, with nothing wrong but what a kind of them does."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.spatial_dims, self.channels = 2, channels
        self.splines = SplineField((9.0, 8.0), (2.0, 2.5), channels)

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        return self.splines(positions, order)

    def arguments(self) -> dict[str, Any]:
        return {"channels": self.channels}


class Miscounted(Splines):
    def __init__(self, channels: int = 2) -> None:
        super().__init__(channels)
        self.channels = channels + 1


class OffOnLattices(Splines):
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        return super().forward(positions, order) + 1e-6 * isinstance(positions, Lattice)


class WrongSecond(Splines):
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        jet = super().forward(positions, order)
        return torch.cat([jet[:4], -jet[4:]])


class Detached(Splines):
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        return super().forward(positions, order).detach()


class Flipped(Splines):
    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        return super().integrate(weight.flip(2), positions, spacing, order)


class Coarse(Splines):
    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        exact = super().integrate(weight, positions, spacing, order)
        return exact if exact.dtype == torch.float64 else exact.bfloat16().float()


class OwnSteps(Splines):
    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        if isinstance(positions, Lattice):
            spacing = [float(x[1] - x[0]) for x in positions.axes]
        return super().integrate(weight, positions, spacing, order)


class Forgetful(Splines):
    def arguments(self) -> dict[str, Any]:
        return {}

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


class Unsaid(Splines):
    def __init__(self, channels: int = 2, factor: float = 1.0) -> None:
        super().__init__(channels)
        self.factor = factor

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        return self.factor * super().forward(positions, order)


class AlwaysDouble(Splines):
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        return super().forward(positions, order).double()


PLACES = Lattice((3.1 + torch.arange(3.0).double(), 3.2 + 0.7 * torch.arange(2.0).double()))

# ---- operators ----------------------------------------------------------------------------------


class Conv(ConvOINR):
    """A convolution with nothing wrong but what a kind of it does."""

    def __init__(self, spatial_dims: int = 2, **more: Any) -> None:
        settings = {
            "channels": (4,),
            "kernel_size": (3, 1),
            "omega_0": 3.0,
            "padding": "valid",
            **more,
        }
        settings |= {"in_channels": 2, "out_channels": 2}
        super().__init__(spatial_dims, **settings)


class Padded(Conv):
    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        return nn.functional.pad(super().forward(field, dilation), (1, 1))


class Global(Conv):
    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        return super().forward(field, dilation) + 1e-6 * field.mean()


class Undilated(Conv):
    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        return super().forward(field, 1)


class OtherInside(Conv):
    def unpadded(self) -> Conv:
        other = super().unpadded()
        other.omega_0 = 2.9
        return other


class OtherJets(Conv):
    def propagate(self, jet: Tensor, dilation: Sequence[int], stop: int | None = None) -> Tensor:
        return 1.01 * super().propagate(jet, dilation, stop)


class WrongSlopes(Conv):
    def propagate(self, jet: Tensor, dilation: Sequence[int], stop: int | None = None) -> Tensor:
        found = super().propagate(jet, dilation, stop)
        return torch.cat([found[:1], 1.01 * found[1:]])


class Copies(Conv):
    def with_spacing(self, spacing: Sequence[float]) -> Conv:
        return copy.deepcopy(self)


class Idle(Conv):
    def __init__(self, spatial_dims: int = 2, **more: Any) -> None:
        super().__init__(spatial_dims, **more)
        self.idle = nn.Parameter(torch.ones(3))


class Mixed(Conv):
    def forward(self, field: Tensor, dilation: int = 1) -> Tensor:
        found = super().forward(field, dilation)
        return found + 1e-6 * found.mean(0, keepdim=True)


class Unlevered(Conv):
    def leverages(self) -> list[tuple[list[nn.Parameter], float]]:
        return super().leverages()[1:]


class Slower(Conv):
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "omega_0": 2.0}


class Waves(CZOINR):
    """A wavelet operator with nothing wrong but what a kind of it does."""

    def __init__(self, spatial_dims: int = 2, **more: Any) -> None:
        settings = {"channels": 3, "levels": 1, "wave": "haar", **more}
        super().__init__(spatial_dims, **{**settings, "in_channels": 2, "out_channels": 2})


class Cropped(Waves):
    def forward(self, field: Tensor) -> Tensor:
        return super().forward(field)[..., 1:]


class Added(Waves):
    def forward(self, field: Tensor) -> Tensor:
        return super().forward(field) + 0.1


class MixedWaves(Waves):
    def hidden(self, field: Tensor) -> Tensor:
        found = super().hidden(field)
        return found + 1e-6 * found.mean(0, keepdim=True)


class OtherWaves(Waves):
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "act": "tanh"}


class Siren(SIREN):
    """A kernel with nothing wrong but what a kind of it does."""


class Normalised(Siren):
    def hidden(self, offsets: Tensor) -> Tensor:
        found = super().hidden(offsets)
        return found - found.mean(0)


class Squared(Siren):
    def forward(self, offsets: Tensor) -> Tensor:
        return super().forward(offsets).square()


class IdleSiren(Siren):
    def __init__(self, spatial_dims: int, out_channels: int, **more: Any) -> None:
        super().__init__(spatial_dims, out_channels, **more)
        self.idle = nn.Parameter(torch.ones(3))


class SlowerSiren(Siren):
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "omega_0": 1.0}


# ---- forward models and noises ------------------------------------------------------------------

GRID = Grid((6, 7), torch.eye(4))


class Blurred(Blur):
    """A blur with nothing wrong but what a kind of it does."""

    def __init__(self) -> None:
        super().__init__(GRID, (1.0, 1.5))


class DoubleBlur(Blurred):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x).double()


class RoughBlur(Blurred):
    def _forward(self, x: Tensor) -> Tensor:
        found = super()._forward(x)
        return found if x.dtype == torch.float64 else found.bfloat16().to(x.dtype)


class ShiftedBlur(Blurred):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + 1e-3


class SelfAdjoint(Blurred):
    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


class NoGradient(Blurred):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + 0.1 * x - 0.1 * x.detach()


class NoAdjointGradient(Blurred):
    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y) + 0.1 * y - 0.1 * y.detach()


class Unprojected(Blurred):
    def project(self, x: Tensor, y: Tensor, damping: float = 0.0) -> Tensor:
        return super().project(x, y, damping) + 1e-3


class Undamped(Blurred):
    def project(self, x: Tensor, y: Tensor, damping: float = 0.0) -> Tensor:
        return super().project(x, y)


class OnAnother(Blurred):
    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y).to("meta")


@dataclass(frozen=True)
class Seedless(GaussianNoise):
    def add(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        return super().add(signal, torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Half(GaussianNoise):
    def stabilise(self, image: Tensor) -> Tensor:
        return 2 * super().stabilise(image)


@dataclass(frozen=True)
class Biased(GaussianNoise):
    def restore(self, means: Tensor) -> Tensor:
        return super().restore(means) + 0.1 * float(self.sigma or 0)


@dataclass(frozen=True)
class Bent(GaussianNoise):
    def stabilise(self, image: Tensor) -> Tensor:
        return super().stabilise(image) + 0.1


def noise(kind: type[GaussianNoise], unknown: GaussianNoise | None = None) -> tuple[object, ...]:
    return kind(0.05), unknown or kind(), 0.7


FAULTS: dict[str, tuple[Battery, dict[str, Callable[[], tuple[object, ...]]]]] = {
    "field": (
        field_laws,
        {
            "answers_have_their_shape": lambda: (Miscounted(), PLACES),
            "lattice_and_points_agree": lambda: (OffOnLattices(), PLACES),
            "jets_are_derivatives": lambda: (Detached(), PLACES),
            "jets_are_limits": lambda: (WrongSecond(), PLACES),
            "integrals_are_convolutions": lambda: (Flipped(), PLACES),
            "single_precision_suffices": lambda: (Coarse(), PLACES),
            "finer_lattices_agree": lambda: (OwnSteps(), PLACES),
            "arguments_build_it_again": lambda: (Unsaid(factor=2.0), PLACES),
            "precision_and_device_are_kept": lambda: (AlwaysDouble(), PLACES),
        },
    ),
    "local operator": (
        local_operator_laws,
        {
            "answers_shrink_by_the_halo": lambda: (Padded(),),
            "places_are_answered_by_their_halo": lambda: (Global(),),
            "finer_lattices_agree": lambda: (Undilated(),),
            "padding_changes_nothing_inside": lambda: (OtherInside(padding="same"),),
            "continuous_answers_are_its_own": lambda: (OtherJets(),),
            "propagated_jets_are_derivatives": lambda: (WrongSlopes(),),
            "spacings_share_parameters": lambda: (Copies(),),
            "local_operator_can_be_trained": lambda: (Mixed(),),
            "local_operator_is_built_again": lambda: (Slower(),),
        },
    ),
    "lattice operator": (
        lattice_operator_laws,
        {
            "answers_keep_the_lattice": lambda: (Cropped(), (6, 5)),
            "signals_are_projected_activations": lambda: (Added(), (6, 5)),
            "lattice_operator_can_be_trained": lambda: (MixedWaves(), (6, 5)),
            "lattice_operator_is_built_again": lambda: (OtherWaves(), (6, 5)),
        },
    ),
    "kernel": (
        kernel_laws,
        {
            "offsets_are_answered_alone": lambda: (Normalised(2, 3),),
            "values_are_linear_in_the_hidden_units": lambda: (Squared(2, 3),),
            "every_parameter_counts": lambda: (IdleSiren(2, 3),),
            "arguments_build_it_again": lambda: (SlowerSiren(2, 3),),
        },
    ),
    "forward model": (
        forward_model_laws,
        {
            "images_lie_on_their_grids": lambda: (DoubleBlur(),),
            "single_precision_suffices": lambda: (RoughBlur(),),
            "it_is_linear": lambda: (ShiftedBlur(),),
            "the_adjoint_is_one": lambda: (SelfAdjoint(),),
            "the_adjoint_is_that_of_autograd": lambda: (NoGradient(),),
            "the_adjoint_can_be_differentiated": lambda: (NoAdjointGradient(),),
            "projection_keeps_the_data": lambda: (Unprojected(),),
            "damped_projection_is_least_squares": lambda: (Undamped(),),
            "devices_agree": lambda: (OnAnother(),),
        },
    ),
    "noise": (
        noise_laws,
        {
            "samples_are_drawn_from_the_generator": lambda: noise(Seedless),
            "stabilised_noise_has_unit_variance": lambda: noise(Half),
            "means_come_back_without_bias": lambda: noise(Biased),
            "linear_noise_is_scaled": lambda: noise(Bent),
            "unknown_noise_is_estimated": lambda: noise(GaussianNoise, GaussianNoise(0.07)),
        },
    ),
}

WHOLE: dict[str, Callable[[], tuple[object, ...]]] = {
    "field": lambda: (Splines(), PLACES),
    "local operator": lambda: (Conv(),),
    "lattice operator": lambda: (Waves(), (6, 5)),
    "kernel": lambda: (Siren(2, 3),),
    "forward model": lambda: (Blurred(),),
    "noise": lambda: noise(GaussianNoise),
}

every_kind = pytest.mark.parametrize("kind", FAULTS)


@every_kind
def test_a_part_without_fault_passes(kind: str) -> None:
    FAULTS[kind][0](*WHOLE[kind]())


@every_kind
def test_every_law_has_its_fault(kind: str) -> None:
    battery, faults = FAULTS[kind]
    assert [law.__name__ for law in battery] == list(faults)
    assert len(battery) == len(faults)
    assert all(law in battery for law in battery)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, faults) in FAULTS.items() for name in faults]
)
def test_a_fault_breaks_its_law(kind: str, name: str) -> None:
    battery, faults = FAULTS[kind]
    with pytest.raises(AssertionError, match=rf"(?m)^{name}: .* must .*"):
        battery(*faults[name]())


@pytest.mark.parametrize(
    ("operator", "message"),
    [(Idle(), "idle must have a gradient"), (Unlevered(), "leverages.. must name every parameter")],
)
def test_other_faults_of_training(operator: ConvOINR, message: str) -> None:
    with pytest.raises(AssertionError, match=f"local_operator_can_be_trained: {message}"):
        local_operator_laws(operator)


def test_a_field_that_forgets_an_argument_is_caught() -> None:
    message = "arguments_build_it_again: it must answer, got ValueError: other shapes"
    with pytest.raises(AssertionError, match=message):
        field_laws(Forgetful(channels=3), PLACES)


def test_laws_leave_the_callers_settings_as_they_were() -> None:
    field, state = Splines(), torch.get_rng_state()
    before = copy.deepcopy(field.state_dict())
    field_laws(field, PLACES)
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in field.state_dict().items())
    assert all(parameter.grad is None for parameter in field.parameters())
