"""Derivatives against central differences of the representation, and the maps made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from monai.transforms import SobelGradients
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    ConvOINR,
    DeriveOINR,
    FitConfig,
    FlatCZOINR,
    FourierEncoding,
    Grid,
    JetOINR,
    Representation,
    SequenceOINR,
    fit,
)
from oinr_monai.analysis.derivatives import MAPS, check_maps, derivative_maps, described
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.representation import registry
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.neural_field import field_of
from oinr_monai.representation.smoothed_field import SmoothedField

if TYPE_CHECKING:
    from tests.phantoms import GaussianBlob

SHAPE = (16, 14, 12)
LINEAR = ("value", "gradient", "gradient_magnitude", "laplacian", "hessian", "hessian_eigenvalues")

OPERATORS: dict[str, Callable[[], torch.nn.Module]] = {
    "ConvOINR": lambda: ConvOINR(3, 12, 2, (6, 5), kernel_size=3, omega_0=2.0),
    "pointwise ConvOINR": lambda: ConvOINR(3, 12, 2, (6, 5), kernel_size=1, omega_0=2.0),
    "CKConvOINR": lambda: CKConvOINR(3, 12, 2, (6, 5), support=2.0, omega_0=2.0),
    "CZOINR": lambda: CZOINR(3, 12, 2, channels=4, levels=2),
    "FlatCZOINR": lambda: FlatCZOINR(SHAPE, 12, 2, channels=4, levels=3),
    "JetOINR": lambda: JetOINR(3, 12, 2, channels=4, scales=(2.0, 4.0), spacing=2.0),
    "SequenceOINR": lambda: SequenceOINR(3, 12, 2, (6, 5), kernel_size=3, omega_0=2.0).at_time(0.3),
}


def test_every_operator_is_here() -> None:
    assert {name.split()[-1] for name in OPERATORS} == set(registry.OPERATORS)


def representation_of(name: str, affine: Tensor) -> Representation:
    torch.manual_seed(0)
    grid = Grid(SHAPE, affine)
    extent, spacing = grid.extent.tolist(), grid.spacing.tolist()
    encoding = FourierEncoding(extent, spacing, bands=2)
    field = field_of(encoding, OPERATORS[name](), spacing, SHAPE).double()
    return Representation(field, grid, IntensityScale((50.0, 9.0), (20.0, 3.0), (0.0, 0.0)))


@pytest.mark.parametrize("name", OPERATORS)
def test_converge_to_central_differences_at_second_order(name: str, oblique_affine: Tensor) -> None:
    # In float64, in world mm, on oblique and anisotropic voxels. The Hessian is held against
    # differences of the gradient, whose rounding is that of first differences.
    representation = representation_of(name, oblique_affine)
    # Off the knots of splines, across which third derivatives jump.
    voxels = torch.tensor([[5.4, 6.45, 4.6], [8.55, 5.5, 6.4], [6.5, 7.4, 7.55]]).double()
    points = representation.grid.to_world(voxels)
    jet = representation.jet_at(points)
    steps, errors = (0.04, 0.02, 0.01, 0.005), []
    for step in steps:
        ahead, behind = ([], [])
        for offset in step * torch.eye(3).double():
            ahead.append(representation.jet_at(points + offset, order=1))
            behind.append(representation.jet_at(points - offset, order=1))
        pairs = list(zip(ahead, behind, strict=True))
        first = torch.stack([(a.value - b.value) / 2 / step for a, b in pairs], 1)
        second = torch.stack([(a.gradient - b.gradient) / 2 / step for a, b in pairs], 1)
        errors.append((relative(first, jet.gradient), relative(second, jet.hessian)))
    for order in (0, 1):
        along = [each[order] for each in errors]
        if max(along) > 1e-9:  # a piecewise cubic has no error in its second derivatives
            slope = np.polyfit(np.log(steps), np.log(along), 1)[0]
            assert slope == pytest.approx(2, abs=0.1)
        extrapolated = (4 * along[3] - along[2]) / 3
        assert abs(extrapolated) < 1e-6
    torch.testing.assert_close(jet.hessian, jet.hessian.transpose(1, 2))


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", OPERATORS)
def test_one_pass_is_what_each_question_answers(name: str, oblique_affine: Tensor) -> None:
    representation = representation_of(name, oblique_affine)
    grid = representation.grid.crop((2, 3, 4), (7, 9, 8))
    jet = representation.jet(grid)
    close = torch.testing.assert_close
    close(jet.value, representation.sample(grid).as_tensor())
    close(jet.gradient.flatten(0, 1), representation.gradient(grid).as_tensor())
    at = representation.jet_at(grid.points().flatten(0, -2))
    for whole, points in zip(jet, at, strict=True):
        close(whole.flatten(-3), points)
    close(representation.hessian_at(grid.points().flatten(0, -2)), at.hessian.movedim(-1, 0))
    assert representation.jet_at(torch.zeros(0, 3), order=2).hessian.shape == (2, 3, 3, 0)


def blob_image(affine: Tensor, blob: GaussianBlob) -> tuple[Tensor, Grid]:
    grid = Grid((30, 28, 16), affine.clone())
    grid.affine[:3, 3] = -grid.matrix @ ((torch.tensor(grid.shape).double() - 1) / 2)
    return blob.value(grid.points())[None], grid


def test_exact_fits_beat_sobel_five_times_and_the_cubic_spline(
    oblique_affine: Tensor, gaussian_blob: Callable[..., GaussianBlob]
) -> None:
    from oinr_monai.grids.positions import Lattice
    from oinr_monai.grids.splines import CubicInterpolant

    blob = gaussian_blob()
    image, grid = blob_image(oblique_affine, blob)
    representation = fit(grid.to_image(image.float()), FitConfig(preset="exact"))
    wanted = blob.gradient(grid.points()).movedim(-1, 0)
    ours = representation.gradient().as_tensor()
    sobel = SobelGradients(spatial_axes=(0, 1, 2), padding_mode="replicate")(image.float())
    by_sobel = grid.gradient_to_world(torch.as_tensor(sobel).movedim(0, -1)).movedim(-1, 0)
    voxels = Lattice(tuple(torch.arange(n).double() for n in grid.shape))
    per_voxel = CubicInterpolant(image).jet(voxels, order=1)[1:, 0].movedim(0, -1)
    by_spline = grid.gradient_to_world(per_voxel).movedim(-1, 0)
    inner = (slice(None), *[slice(3, -3)] * 3)
    errors = [relative(each[inner], wanted[inner]) for each in (ours, by_sobel, by_spline)]
    assert errors[0] < errors[1] / 5
    assert errors[0] < errors[2]


def test_exact_trains_nothing_and_says_what_it_cannot_take() -> None:
    image = torch.rand(1, 9, 8, 7)
    representation = fit(image, FitConfig(preset="exact"))
    torch.testing.assert_close(representation.sample().as_tensor(), image, rtol=0, atol=1e-5)
    assert representation.info["steps"] == 0
    with pytest.raises(ValueError, match="steps must be None"):
        FitConfig(preset="exact", steps=5)
    with pytest.raises(ValueError, match="several images"):
        fit([image, image], FitConfig(preset="exact"))


def spline_of(shape: tuple[int, ...] = (12, 11, 9)) -> Representation:
    torch.manual_seed(0)
    affine = torch.diag(torch.tensor([1.0, 1.2, 1.5, 1.0]))
    return spline_representation(torch.rand(2, *shape), Grid(shape, affine))


def test_maps_hang_together() -> None:
    representation = spline_of()
    maps = {n: v.as_tensor() for n, v in derivative_maps(representation, list(MAPS), sigma=1.0)}
    assert set(maps) == set(MAPS)
    by_channel = {name: values.unflatten(0, (2, -1)) for name, values in maps.items()}
    close = torch.testing.assert_close
    close(by_channel["gradient"].norm(dim=1), maps["gradient_magnitude"])
    close(by_channel["hessian"][:, [0, 3, 5]].sum(1), maps["laplacian"], rtol=1e-4, atol=1e-5)
    close(by_channel["hessian_eigenvalues"].sum(1), maps["laplacian"], rtol=1e-4, atol=1e-5)
    assert {name: values.shape[1] for name, values in by_channel.items() if len(values) == 2} == {
        **dict.fromkeys(MAPS, 1),
        **{"gradient": 3, "hessian": 6, "hessian_eigenvalues": 3, "structure_tensor": 6},
    }
    # The structure tensor is positive.
    tensor = by_channel["structure_tensor"].movedim(1, -1)[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]]
    assert float(torch.linalg.eigvalsh(tensor.unflatten(-1, (3, 3))).min()) > -1e-6


@pytest.mark.parametrize("unit", [2.0**-100, 2.0**83])
def test_every_map_is_finite_and_seen_in_any_unit(unit: float) -> None:
    image, grid = (
        torch.rand(1, 7, 6, 5, generator=torch.Generator().manual_seed(0)),
        Grid((7, 6, 5), torch.eye(4)),
    )
    plain = dict(derivative_maps(spline_representation(image, grid), list(MAPS)))
    for name, found in derivative_maps(spline_representation(unit * image, grid), list(MAPS)):
        power = {"structure_tensor": 2, **dict.fromkeys(LINEAR, 1)}.get(name, 0)
        wanted = plain[name].double()
        error = (found.double() / unit**power - wanted).abs().max() / wanted.abs().max()
        assert float(error) < 1e-3, name


def test_several_scales_take_the_strongest_response() -> None:
    representation = spline_of()
    alone = [
        dict(derivative_maps(representation, ["vesselness"], sigma=sigma))["vesselness"]
        for sigma in (1.0, 2.0)
    ]
    both = dict(derivative_maps(representation, ["vesselness"], sigma=(1.0, 2.0)))["vesselness"]
    torch.testing.assert_close(both, alone[0].maximum(alone[1]))


def test_a_vessel_is_found_at_its_own_width() -> None:
    # Of a bright tube of Gaussian profile and width w, sigma^2 lambda is largest at sigma = w.
    grid = Grid((40, 40, 12), torch.eye(4))
    across = grid.points()[..., :2] - 19.5
    image = torch.exp(-across.square().sum(-1) / (2 * 3.0**2))[None].float()
    representation = spline_representation(image, grid)
    middle, sigmas = torch.tensor([[19.5, 19.5, 5.5]]), (1.0, 2.0, 3.0, 4.0, 6.0)
    responses = []
    for sigma in sigmas:
        hessian = representation.smoothed(sigma).hessian_at(middle)[0, 0]
        responses.append(-(sigma**2) * float(torch.linalg.eigvalsh(hessian)[0]))
        # The closed form: a wider Gaussian of less height.
        wide = 9 + sigma**2
        assert responses[-1] == pytest.approx(sigma**2 * 9 / wide**2, rel=2e-2)
    assert sigmas[int(np.argmax(responses))] == 3.0
    maps = dict(derivative_maps(representation, ["vesselness", "sheetness"], sigma=3.0))
    assert float(maps["vesselness"][0, 19, 19, 5]) > 0.7
    assert float(maps["vesselness"][0, 19, 19, 5]) > 3 * float(maps["sheetness"][0, 19, 19, 5])
    dark = dict(derivative_maps(representation, ["vesselness_dark"], sigma=3.0))
    assert float(dark["vesselness_dark"][0, 19, 19, 5]) == 0


def test_says_its_units_and_its_scale() -> None:
    assert described("gradient") == "gradient along world x y z, intensity/mm"
    assert described("vesselness", (1.0, 2.5)).endswith("sigma 1 2.5 mm")
    # What NIfTI's header has room for.
    assert all(len(described(name, (0.5, 1, 2, 3))) < 80 for name in MAPS if "ness" in name)
    assert all(len(described(name, 1.25)) < 80 for name in MAPS)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="one number for gradient, got 2"):
        check_maps(["gradient"], (1.0, 2.0))
    with pytest.raises(ValueError, match="0 mm or more, got -1"):
        check_maps(["gradient"], -1)
    with pytest.raises(ValueError, match="got sheetness, which needs 3"):
        check_maps(["sheetness"], 1.0, spatial_dims=2)
    plane = spline_of((12, 11))
    with pytest.raises(ValueError, match="got gaussian_curvature, which needs 3"):
        dict(derivative_maps(plane, ["gaussian_curvature"]))
    flat = [
        name for name in MAPS if name not in ("gaussian_curvature", "sheetness", "sheetness_dark")
    ]
    assert len(dict(derivative_maps(plane, flat, sigma=1.0))) == len(flat)
    with pytest.raises(ValueError, match="one number"):
        DeriveOINR(sigma=(1.0, 2.0))


def test_as_a_transform_at_a_scale() -> None:
    representation = spline_of()
    found = DeriveOINR(["vesselness", "vesselness_dark"], sigma=(1.0, 2.0))(representation)
    assert found.shape == (4, 12, 11, 9)
    gradient = DeriveOINR(sigma=1.0, factor=2)(representation)
    wanted = representation.smoothed(1.0).gradient(representation.grid.refine(2))
    torch.testing.assert_close(gradient.as_tensor(), wanted.as_tensor())
    assert torch.equal(gradient.affine, wanted.affine)


@pytest.mark.parametrize(
    ("maps", "sigma", "times"),
    [
        (list(MAPS), 1.5, 1),
        (["vesselness", "sheetness"], [1.0, 1.5, 2.0], 3),
        (["structure_tensor", "laplacian"], 1.5, 1),
        (list(MAPS), 0.0, 0),
    ],
)
def test_all_maps_of_one_scale_are_smoothed_once(
    maps: list[str], sigma: float | list[float], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    nodes = SmoothedField._answer

    def counted(self: SmoothedField, *args: Any) -> Tensor:
        asked.append(self.sigma)
        return nodes(self, *args)

    monkeypatch.setattr(SmoothedField, "_answer", counted)
    image = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    representation = spline_representation(image, Grid((8, 8, 8), torch.eye(4)))
    assert set(dict(derivative_maps(representation, maps, sigma=sigma))) == set(maps)
    assert len(asked) == len(set(asked)) == times
