"""Laws of Calderon-Zygmund operators: the non-standard form, linearity, cost, the published one."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import skimage.data
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from oinr_monai import CZOINR, FlatCZOINR, FourierEncoding
from oinr_monai.grids.positions import Lattice
from oinr_monai.operators.flat_calderon_zygmund import DenseMaps, UnsharedBands
from oinr_monai.operators.non_standard_form import NonStandardForm
from oinr_monai.operators.wavelets import analyse
from oinr_monai.representation.registry import build, describe

IDENTITY = ("leakyrelu", {"negative_slope": 1.0})
SIZES = (12, 14, 13)


def make(kind: str, **kwargs: object) -> CZOINR | FlatCZOINR:
    torch.manual_seed(0)
    if kind == "flat":
        return FlatCZOINR(
            (6, 8), 4, 2, **{"channels": 3, "levels": 3, "pieces": 2, **kwargs}
        ).double()
    settings = {"channels": 3, "levels": 2, **kwargs}
    return CZOINR(int(kind), 4, 2, **settings).double()


def field(kind: str, generator: torch.Generator, batch: int = 2) -> Tensor:
    shape = (6, 8) if kind == "flat" else SIZES[: int(kind)]
    return torch.randn(batch, 4, *shape, generator=generator, dtype=torch.float64)


KINDS = pytest.mark.parametrize("kind", ["1", "2", "3", "flat"])


def test_published_size() -> None:
    # 10 levels of 4 layers, 6 pieces, 2 x 2 subbands, width 3; 4 matrices at length 64; two maps.
    operators, coarsest = 20 * 20, 256 * 256 // 2**10
    bands = 10 * 4 * operators * 6 * (2 * 2 * 3 + 2)
    dense = 4 * operators * coarsest**2
    with torch.device("meta"):
        network = FlatCZOINR((256, 256), in_channels=41, out_channels=1)
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == bands + dense + 41 * 20 + 20 == 7_898_440


@pytest.mark.parametrize("length", [6, 11, 24, 29])
@pytest.mark.parametrize("pieces", [1, 4, 6])
def test_unshared_bands_place_by_place(
    length: int, pieces: int, generator: torch.Generator
) -> None:
    layer = UnsharedBands(pieces, groups=2, copies=3).double()
    assert layer.weight.numel() == pieces * 2 * 3 * 2 * 2 * 3
    u = torch.randn(2, 4, length, generator=generator, dtype=torch.float64)
    padded, expected = nn.functional.pad(u, (1, 1)), torch.empty(2, 12, length, dtype=u.dtype)
    for i in range(length):
        piece = min(i // (length // pieces), pieces - 1)
        near = padded[:, :, i : i + 3].unflatten(1, (2, 2))
        weight = layer.weight[piece].unflatten(0, (2, 6))
        mixed = torch.einsum("gocw,bgcw->bgo", weight, near).flatten(1)
        expected[:, :, i] = mixed + layer.bias[piece]
    assert torch.allclose(layer(u), expected, rtol=0, atol=1e-12)


def blocks(matrix: Tensor, wave: str, levels: int) -> list[Tensor]:
    # The transform of a matrix along both axes holds the blocks of its non-standard form, per level
    # (approximation and detail out, approximation and detail in); the coarsest one comes last.
    found = []
    for _ in range(levels):
        subbands = analyse(matrix[None, None], wave, 2)[0, 0].unflatten(0, (2, 2))
        found.append(subbands)
        matrix = subbands[0, 0]
    return [*found, matrix]


class Blocks(nn.Module):
    """Blocks (2, 2, n, n) on pairs; approximation to approximation is left to the next level."""

    def __init__(self, given: Tensor, width: int | None = None) -> None:
        super().__init__()
        self.given = given.clone()
        self.given[0, 0] = 0
        if width is not None:
            n = given.shape[-1]
            apart = (torch.arange(n)[:, None] - torch.arange(n)).abs()
            self.given[..., torch.minimum(apart, n - apart) > width] = 0

    def forward(self, u: Tensor) -> Tensor:
        return torch.einsum("oinm,bim->bon", self.given, u)


class Dense(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, u: Tensor) -> Tensor:
        return u @ self.matrix.T


def form(matrix: Tensor, wave: str, levels: int, width: int | None = None) -> NonStandardForm:
    *banded, coarsest = blocks(matrix, wave, levels)
    return NonStandardForm(wave, [Blocks(each, width) for each in banded], Dense(coarsest))


def cauchy(size: int) -> Tensor:
    # 1 / (x - y) on a circle of ``size`` samples, which the periodised wavelets see as it is.
    x = torch.arange(size, dtype=torch.float64)
    angle = math.pi / size * (x[:, None] - x)
    return torch.where(angle == 0, 0.0, math.pi / size / angle.tan())


@pytest.mark.parametrize("wave", ["haar", "db2", "sym4"])
@pytest.mark.parametrize("levels", [1, 3])
def test_the_blocks_of_any_matrix_apply_it(
    wave: str, levels: int, generator: torch.Generator
) -> None:
    matrix = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    u = torch.randn(1, 1, 64, generator=generator, dtype=torch.float64)
    assert torch.allclose(form(matrix, wave, levels)(u), u @ matrix.T, rtol=0, atol=1e-10)


def test_bands_of_a_singular_kernel_converge_faster_with_more_vanishing_moments() -> None:
    matrix, widths = cauchy(256), (3, 6, 12)
    everything = torch.eye(256, dtype=torch.float64)[:, None]
    errors = {
        wave: [
            float((form(matrix, wave, 2, width)(everything)[:, 0].T - matrix).norm())
            for width in widths
        ]
        for wave in ("haar", "db2", "db4")
    }
    rates = {wave: math.log2(found[0] / found[-1]) / 2 for wave, found in errors.items()}
    assert all(wide < narrow for found in errors.values() for narrow, wide in pairwise(found))
    assert 1 < rates["haar"] < rates["db2"] - 1 < rates["db4"] - 3


def test_one_layer_of_bands_is_a_circulant_matrix(generator: torch.Generator) -> None:
    shift = torch.eye(32, dtype=torch.float64)
    matrix = 2.0 * shift - 0.7 * shift.roll(1, 0) + 0.4 * shift.roll(-1, 0)
    *banded, coarsest = blocks(matrix, "haar", levels=2)
    layers = []
    for pair in banded:
        layer = nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular", bias=False).double()
        layer.weight.data = pair[..., 1, :3].clone()
        layer.weight.data[0, 0] = 0
        layers.append(layer)
    operator = NonStandardForm("haar", layers, Dense(coarsest))
    u = torch.randn(2, 1, 32, generator=generator, dtype=torch.float64)
    assert torch.allclose(operator(u), u @ matrix.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["1", "2", "flat"])
@torch.no_grad()
def test_without_activations_it_is_a_matrix(kind: str, generator: torch.Generator) -> None:
    network, u = make(kind, act=IDENTITY), field(kind, generator, batch=1)
    origin = network(torch.zeros_like(u))
    impulses = torch.eye(u.numel(), dtype=torch.float64).reshape(-1, *u.shape[1:])
    columns = (network(impulses) - origin).flatten(1)
    expected = origin.flatten() + u.flatten() @ columns
    assert torch.allclose(network(u).flatten(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dims", "size"), [(1, 256), (2, 64), (3, 32)])
@torch.no_grad()
def test_the_cost_is_linear_in_the_samples(dims: int, size: int) -> None:
    network = CZOINR(dims, 4, 1, channels=2, levels=3)
    counts = []
    for factor in (1, 2, 4, 8):
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 4, factor * size, *[size] * (dims - 1)))
        counts.append(counter.get_total_flops())
    ratios = [more / fewer for fewer, more in pairwise(counts)]
    assert ratios == pytest.approx([2.0] * 3, rel=0.003)


@KINDS
def test_a_description_rebuilds_the_network(
    kind: str, generator: torch.Generator, tmp_path: Path
) -> None:
    network, u = make(kind, wave="sym2", act=("elu", {"alpha": 0.5})), field(kind, generator)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = build(json.loads(json.dumps(describe(network)))).double()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(u), network(u))
    assert describe(again) == describe(network)


@KINDS
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_exports_and_traces_serve_their_size(kind: str, generator: torch.Generator) -> None:
    network, u = make(kind).eval(), field(kind, generator)
    exported = torch.export.export(network, (torch.zeros_like(u),)).module()
    traced = torch.jit.trace(network, torch.zeros_like(u))
    for served in (exported, traced):
        assert torch.allclose(served(u), network(u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_smallest_size_passes_and_no_smaller(dims: int) -> None:
    network = CZOINR(dims, 4, 1, channels=2, levels=2)
    network(torch.zeros(1, 4, *[network.min_size] * dims))
    with pytest.raises(ValueError, match="levels must be at most 1 for shape"):
        network(torch.zeros(1, 4, *[network.min_size - 1] * dims))


def encode(shape: tuple[int, ...]) -> Tensor:
    extent, spacing = [n - 1.0 for n in shape], [1.0] * len(shape)
    encoding = FourierEncoding(extent, spacing, bands=8, shortest=4.0)
    axes = tuple(torch.arange(n, dtype=torch.float64) for n in shape)
    return encoding(Lattice(axes)).squeeze(0)[None]


def fitted(network: nn.Module, signal: Tensor, steps: int, rate: float) -> float:
    """PSNR in dB, of a signal in [0, 1], after as many steps of Adam on the whole lattice."""
    encoded, error = encode(signal.shape), torch.tensor(math.inf)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        error = nn.functional.mse_loss(network(encoded)[0, 0], signal)
        error.backward()
        optimiser.step()
        schedule.step()
    return -10 * math.log10(error.item())


def test_it_starts_better_than_the_published_one() -> None:
    camera = torch.from_numpy(skimage.data.camera()[128:384:8, 128:384:8] / 255).float()
    torch.manual_seed(0)
    native = fitted(CZOINR(2, 32, 1, channels=24, levels=3), camera, steps=40, rate=3e-3)
    flat = FlatCZOINR((32, 32), 32, 1, levels=5)
    published = fitted(flat, camera, steps=40, rate=1e-3)
    assert native > published + 5


@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_the_start_keeps_the_variance(dims: int, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    network = CZOINR(dims, 32, 1, channels=32, levels=2)
    u = torch.sin(torch.randn(1, 32, *((400, 24, 13)[dims - 1],) * dims, generator=generator))
    lifted = network.sigma(network.lift(u))
    mixed = network.mix(network.operator(lifted))
    last = network.sigma(mixed)
    # Phases over more than a turn, waves of their own spread, and an answer that is small.
    for layer in (network.lift, network.mix):
        assert float(layer.bias.abs().max()) == pytest.approx(math.pi / 30, rel=0.2)
    for waves in (lifted, last):
        assert float(waves.std()) == pytest.approx(0.7, abs=0.1)
    assert 0.7 < float(30 * mixed.std()) < 4
    assert torch.allclose(network.hidden(u), last, atol=1e-6)
    assert 0 < float(network(u).std()) < 0.2
    assert not network.project.bias.any()


def test_layers_say_what_they_are() -> None:
    assert repr(UnsharedBands(3, 2, 5)) == "UnsharedBands(pieces=3, groups=2, outputs=20)"
    assert DenseMaps(7, 2, 5)(torch.zeros(1, 2, 7)).shape == (1, 10, 7)


@pytest.mark.parametrize("dims", [0, 4])
def test_dimensions_at_the_door(dims: int) -> None:
    with pytest.raises(ValueError, match=f"spatial_dims must be 1, 2 or 3, got {dims}"):
        CZOINR(dims, 4, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels must be 1 to 60, got 0"),
        ({"act": "nothing"}, "act must be an activation of MONAI, got 'nothing'"),
        ({"act": ("leakyrelu", {"negative_slope": "a"})}, "act must be an activation of MONAI"),
        ({"act": ("softmax", {"dim": 9})}, "act must be an activation of MONAI"),
        ({"act": ("glu", {})}, "act must "),
        ({"levels": 9}, r"levels must be at most 4 for shape \(48,\), got 9"),
        ({"wave": "morl"}, "wave must be a discrete wavelet of PyWavelets, got 'morl'"),
        ({"pieces": 7}, "pieces must be 1 to 6, the coarsest length, got 7; use fewer pieces"),
        ({"pieces": 0}, "pieces must be 1 to 6"),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("flat", **arguments)


def test_another_shape_than_built_for() -> None:
    message = r"field must have shape \(6, 8\), got \(8, 6\); build an operator for each shape"
    with pytest.raises(ValueError, match=message):
        make("flat")(torch.zeros(1, 4, 8, 6, dtype=torch.float64))
