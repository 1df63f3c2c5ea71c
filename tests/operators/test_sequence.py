"""The published operator of sequences: its size, and what time does to it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from oinr_monai import SequenceOINR
from oinr_monai.representation.registry import build, describe


def test_the_published_number_of_parameters() -> None:
    # 40-64-128-256-256-128-64-1 with kernels of 3 x 3 and biases.
    widths = (40, 64, 128, 256, 256, 128, 64, 1)
    expected = sum(9 * a * b + b for a, b in pairwise(widths))
    assert sum(p.numel() for p in SequenceOINR(2, 40, 1).parameters()) == expected == 1_351_617


@pytest.mark.parametrize("bands", [0, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_moment_is_a_plain_operator(dims: int, bands: int, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    network = SequenceOINR(dims, 5, 2, channels=(6, 4), time_bands=bands, padding="valid").double()
    field = torch.randn(3, 5, *[9] * dims, generator=generator, dtype=torch.float64)
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    together = network(field, times)
    alone = [network.at_time(float(t))(u[None])[0] for t, u in zip(times, field, strict=True)]
    assert torch.allclose(together, torch.stack(alone), rtol=0, atol=1e-10)
    assert not torch.allclose(network(field[:1], times[:1]), network(field[:1], times[2:]))


def test_the_offset_is_added_to_every_channel(generator: torch.Generator) -> None:
    network = SequenceOINR(2, 5, 1, channels=(6,), offset=0.4, padding="same").double()
    field = torch.randn(1, 5, 7, 7, generator=generator, dtype=torch.float64)
    shifted = network.operator(field + 0.2)
    assert torch.equal(network(field, torch.tensor([0.5], dtype=torch.float64)), shifted)


@pytest.mark.parametrize("bands", [0, 2])
def test_a_description_rebuilds_the_network(bands: int) -> None:
    network = SequenceOINR(2, 5, 1, channels=(6, 4), time_bands=bands, kernel_size=(3, 1, 1))
    again = build(describe(network))
    again.load_state_dict(network.state_dict())
    field, time = torch.randn(2, 5, 8, 8), torch.rand(2)
    assert torch.equal(again(field, time), network(field, time))
    assert describe(again) == describe(network)


def test_traces_and_exports() -> None:
    network = SequenceOINR(2, 5, 1, channels=(6, 4)).eval()
    inputs = (torch.randn(2, 5, 8, 8), torch.rand(2))
    traced = torch.jit.trace(network, inputs, check_trace=False)
    exported = torch.export.export(network, inputs).module()
    assert torch.allclose(traced(*inputs), network(*inputs), atol=1e-6)
    assert torch.allclose(exported(*inputs), network(*inputs), atol=1e-6)


def test_errors() -> None:
    with pytest.raises(ValueError, match="time_bands must be 0 or more, got -1"):
        SequenceOINR(2, 5, 1, time_bands=-1)
