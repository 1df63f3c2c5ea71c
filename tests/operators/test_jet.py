"""Jets of samples against closed forms, and an operator that reads them at any spacing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor

from oinr_monai import JetOINR
from oinr_monai.operators.gaussian_matrices import gaussian_matrices
from oinr_monai.operators.jet_layers import JetLayer, Nodes, interpolated, jets

Function = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize(("spacing", "sigma"), [(1.0, 1.0), (0.4, 1.3), (3.0, 0.6), (2.0, 2.0)])
def test_jets_of_polynomials_are_exact(spacing: float, sigma: float) -> None:
    # Smoothed, x^3 is x^3 + 3 sigma^2 x; the spline is the cubic itself.
    count, places = 80, 20
    first, step = 33.3 * spacing, 0.37
    matrices = gaussian_matrices(count, spacing, first, step, places, sigma, order=3)
    centre = first + 3
    y, x = spacing * np.arange(count) - centre, first + step * np.arange(places) - centre
    exact = [x**3 + 3 * sigma**2 * x, 3 * x**2 + 3 * sigma**2, 6 * x, np.full(places, 6.0)]
    for matrix, wanted in zip(matrices, exact, strict=True):
        np.testing.assert_allclose(matrix @ y**3, wanted, rtol=1e-6, atol=2e-4)


def test_a_constant_stays_one_at_the_border_and_beyond() -> None:
    value, *slopes = gaussian_matrices(7, 1.5, -6.0, 1.0, 25, sigma=2.0, order=2)
    np.testing.assert_allclose(value.sum(1), 1.0, atol=1e-7)
    for slope in slopes:
        np.testing.assert_allclose(slope.sum(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(gaussian_matrices(1, 1.0, -3.0, 1.0, 9, 1.0, 1)[0], 1.0, atol=1e-7)


def test_places_on_samples_are_the_samples() -> None:
    (matrix,) = gaussian_matrices(9, 2.0, 0.0, 2.0, 9, sigma=0.0, order=0)
    np.testing.assert_allclose(matrix, np.eye(9), atol=1e-12)


def test_jets_converge_with_the_fourth_power_of_the_spacing() -> None:
    width, sigma = 1.5, 0.5
    both = width**2 + sigma**2
    x = np.arange(-3.0, 3.0, 0.37)
    exact = -x / both * width / np.sqrt(both) * np.exp(-(x**2) / (2 * both))
    errors = []
    for spacing in (1.0, 0.5):
        count = int(40 / spacing) + 1
        y = spacing * np.arange(count) - 20
        slope = gaussian_matrices(count, spacing, 20 + x[0], 0.37, len(x), sigma, 1)[1]
        errors.append(np.abs(slope @ np.exp(-(y**2) / (2 * width**2)) - exact).max())
    assert errors[1] < errors[0] / 14 < 1e-3


def test_mixed_derivatives_are_channels_in_one_order() -> None:
    source, target = [Nodes(24, 1.0), Nodes(16, 1.5)], [Nodes(3, 2.0, 10.0), Nodes(2, 1.0, 11.0)]
    x, y = torch.arange(24.0).double() - 12, 1.5 * torch.arange(16.0).double() - 12
    u = torch.stack([x[:, None] * y, x[:, None] + 0 * y])[None]
    found = jets(u, source, target, [1.0, 0.8], order=2)[0].unflatten(0, (6, 2))
    value, dy, dyy, dx, dxy, dxx = found[:, 0]
    a, b = torch.tensor([-2.0, 0.0, 2.0]).double(), torch.tensor([-1.0, 0.0]).double()
    near = {"atol": 1e-4, "rtol": 0}  # of the border, where splines do not keep lines
    for entry, wanted in (
        (value, a[:, None] * b),
        (dx, b.expand(3, 2)),
        (dy, a[:, None].expand(3, 2)),
        (dxy, torch.ones(3, 2)),
        (dxx, torch.zeros(3, 2)),
        (dyy, torch.zeros(3, 2)),
    ):
        torch.testing.assert_close(entry, wanted.double(), **near)
    torch.testing.assert_close(found[:, 1, 1, 0], torch.eye(6).double()[3], **near)


def test_derivatives_are_per_unit() -> None:
    u, line = torch.rand(1, 1, 12, dtype=torch.float64), [Nodes(12, 1.0)]
    plain, scaled = (jets(u, line, line, [1.0], 2, unit) for unit in (1.0, 3.0))
    powers = torch.tensor([1.0, 3.0, 9.0]).double().view(1, 3, 1)
    torch.testing.assert_close(scaled, plain * powers)


def test_splines_between_lattices_keep_cubics() -> None:
    x = torch.arange(30.0).double()
    found = interpolated((x**3)[None, None], [Nodes(30, 1.0)], [Nodes(20, 0.5, 10.0)])[0, 0]
    torch.testing.assert_close(
        found, (10 + 0.5 * torch.arange(20.0).double()) ** 3, rtol=1e-6, atol=0
    )


# ---- the operator -------------------------------------------------------------------------------


def operator(dims: int = 1, **more: object) -> JetOINR:
    torch.manual_seed(0)
    return JetOINR(dims, 1, 2, **{"channels": 4, "scales": (1.0, 2.0, 4.0), **more}).double()


def wave(x: Tensor) -> Tensor:
    return torch.exp(-((x - 17) ** 2) / 18) * (1 + torch.sin(x / 3))


def sampled(spacing: float, length: float = 36.0) -> Tensor:
    """The wave over voxels that cover so many mm from -1/2 on."""
    count = round(length / spacing)
    return wave(spacing * (torch.arange(count).double() + 0.5) - 0.5)[None, None]


def on_millimetres(network: JetOINR, signal: Tensor, spacing: float) -> Tensor:
    return network.at(signal, [Nodes(36, 1.0, 0.5 - spacing / 2)])


@torch.no_grad()
def test_samples_at_another_spacing_are_answered_alike() -> None:
    network = operator()
    wanted, errors = network(sampled(1.0)), []
    for spacing in (2.0, 0.5):
        found = on_millimetres(network.with_spacing(spacing), sampled(spacing), spacing)
        errors.append(float((found - wanted)[..., 6:-6].abs().max()))
    assert errors[0] < 0.05 * wanted.std()
    assert errors[1] < 0.005 * wanted.std()


@torch.no_grad()
def test_what_larger_voxels_smoothed_is_made_up_for() -> None:
    network, fine = operator(), sampled(1 / 8).unflatten(-1, (-1, 8))
    seen = {h: fine.flatten(-2).unflatten(-1, (-1, 8 * h)).mean(-1) for h in (1, 2)}
    wanted, errors = network(seen[1]), []
    for blur in (0.0, (3 / 12) ** 0.5):
        found = on_millimetres(network.with_spacing(2.0, blur), seen[2], 2.0)
        errors.append(float((found - wanted)[..., 6:-6].square().mean().sqrt()))
    assert errors[1] < errors[0] / 2


@torch.no_grad()
def test_mirrored_images_have_mirrored_jets() -> None:
    # Of even order: those of odd order change their sign.
    u = torch.randn(1, 2, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = [Nodes(11, 1.3)]
    coarse = [own[0].covered(2.0)]
    plain, mirrored = (jets(x, own, coarse, [2.0], order=2) for x in (u, u.flip(-1)))
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0, 1.0]).double().view(1, 6, 1)
    torch.testing.assert_close(mirrored.flip(-1), signs * plain)


def test_it_is_exported(tmp_path: Path) -> None:
    network = operator(2, scales=(1.0, 2.0)).float().eval()
    image = torch.rand(1, 1, 9, 8)
    wanted = network(image)
    program = torch.export.export(network, (image,))
    torch.export.save(program, tmp_path / "jet.pt2")
    again = torch.export.load(tmp_path / "jet.pt2").module()
    torch.testing.assert_close(again(image), wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore::DeprecationWarning")
def test_it_becomes_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    network, image = operator(3).float().eval(), torch.rand(1, 1, 9, 8, 7)
    torch.onnx.export(network, (image,), tmp_path / "jet.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "jet.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(image), atol=1e-5, rtol=1e-4)


def test_it_learns_in_monais_own_loop() -> None:
    x = torch.linspace(-1, 1, 12)
    ball = (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2 < 0.5).float()[None]
    data = CacheDataset(
        [{"image": MetaTensor(ball + i), "label": MetaTensor(ball)} for i in (0, 1)], progress=False
    )
    network, losses = operator(3).float(), []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=30,
        train_data_loader=DataLoader(data, batch_size=2),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 1e-2),
        loss_function=DiceCELoss(softmax=True, to_onehot_y=True),
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output[0]["loss"])
    )
    trainer.run()
    assert losses[-1] < losses[0] / 2
    batch = next(iter(DataLoader(data, batch_size=2)))["image"]
    assert torch.equal(network(batch).affine, batch.affine)


def test_a_step_costs_at_most_three_of_a_unets() -> None:
    image = torch.rand(1, 1, 32, 40, 32)
    unet = UNet(3, 1, 3, (16, 32, 64, 128), (2, 2, 2), num_res_units=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        costs = [_cost(network, image) for network in (unet, JetOINR(3, 1, 3))]
    finally:
        torch.set_num_threads(threads)
    assert costs[1] < 3 * costs[0]


def _cost(network: torch.nn.Module, image: Tensor) -> float:
    """Processor seconds of a step, the least of three."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        network(image).square().mean().backward()
        seconds.append(time.process_time() - started)
    return min(seconds)


def test_what_cannot_be_is_refused() -> None:
    for wrong, message in (
        ({"scales": (2.0, 1.0)}, r"scales must be positive and grow, got \(2.0, 1.0\)"),
        ({"scales": ()}, "scales must be positive and grow"),
        ({"order": 0}, "order must be 1 or more, got 0"),
        ({"spacing": 0.0}, "spacing must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            operator(**wrong)
    with pytest.raises(ValueError, match="spatial_dims must be 1, 2 or 3, got 4"):
        JetOINR(4, 1, 1)
    with pytest.raises(ValueError, match="blur must be below the finest scale, 1 mm, got 1"):
        operator().with_spacing(1.0, blur=1.0)
    with pytest.raises(ValueError, match="shape must have 1 axes"):
        operator()(torch.rand(1, 1, 8, 8))


def test_a_layer_of_order_0_mixes_place_by_place() -> None:
    layer = JetLayer(2, 3, 4, 0, "gelu")
    assert layer.mix.weight.shape == (4, 3, 1, 1)
