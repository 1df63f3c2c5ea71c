"""Jets at scales in mm against closed forms, scikit-image and SimpleITK, on grids of all kinds."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from skimage.feature import shape_index as skimage_shape_index
from torch import Tensor

from oinr_monai import (
    FeaturesOINR,
    FitConfig,
    Grid,
    JetFeatures,
    JetFeaturesd,
    fit,
    jet_features,
)
from oinr_monai.analysis import channel_names
from oinr_monai.analysis.invariants import shape_index
from oinr_monai.grids.jets import Jet

# Of the blob in the images, of the Gaussian that looks at it, and of both one after the other.
WIDTH, SIGMA = 3.0, 2.0
BOTH = WIDTH**2 + SIGMA**2


def blob_on(grid: Grid) -> tuple[MetaTensor, Tensor]:
    """A Gaussian blob at the middle of a grid, and the squared distance of the voxels from it."""
    away = grid.points() - grid.to_world(torch.tensor([(n - 1) / 2 for n in grid.shape]))
    square = away.square().sum(-1)
    return MetaTensor(torch.exp(-square / (2 * WIDTH**2))[None], affine=grid.affine), square


def seen(square: Tensor, dims: int) -> Tensor:
    """The blob smoothed, a blob again."""
    return (WIDTH**2 / BOTH) ** (dims / 2) * torch.exp(-square / (2 * BOTH))


GRIDS = {
    "1 mm": Grid((33, 33, 33), torch.eye(4)),
    "thick": Grid((33, 33, 17), torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))),
    "flipped": Grid((40, 33, 27), torch.diag(torch.tensor([-0.8, 1.0, -1.2, 1.0]))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_blob_is_seen_as_its_closed_form(name: str) -> None:
    image, square = blob_on(GRIDS[name])
    maps = ["value", "gradient_magnitude", "hessian_eigenvalues"]
    value, slope, *bends = jet_features(image, maps, [SIGMA]).as_tensor()
    inside = square < 49
    wanted = seen(square, 3)
    along = (square / BOTH - 1) * wanted / BOTH
    exact = [wanted, square.sqrt() * wanted / BOTH, along, -wanted / BOTH, -wanted / BOTH]
    ordered = torch.stack(exact[2:]).sort(0, descending=True).values
    for found, right in zip([value, slope, *bends], [*exact[:2], *ordered], strict=True):
        torch.testing.assert_close(found[inside].double(), right[inside], atol=5e-5, rtol=0)


def test_shape_index_of_a_ball_is_one_whatever_its_contrast() -> None:
    image, square = blob_on(GRIDS["1 mm"])
    for contrast in (1e-20, -40.0):
        found = jet_features(contrast * image, ["shape_index"], [SIGMA]).as_tensor()[0]
        near = (square > 4) & (square < 49)
        wanted = torch.full_like(found[near], np.sign(contrast))
        torch.testing.assert_close(found[near], wanted, atol=0.02, rtol=0)


def test_shape_index_of_tubes_and_saddles() -> None:
    up = torch.tensor([[[0.0], [0.0], [1.0]]])
    for bends, wanted in (((0, -1), 0.5), ((1, -1), 0.0), ((1, 0), -0.5), ((1, 1), -1.0)):
        hessian = torch.diag(torch.tensor([*bends, 0.3]))[None, :, :, None]
        found = shape_index(Jet(torch.zeros(1, 1), up, hessian))
        torch.testing.assert_close(found, torch.full((1, 1), wanted), atol=1e-6, rtol=0)


def test_nothing_bends_where_nothing_is() -> None:
    found = jet_features(torch.full((1, 9, 9, 9), 3.0), scales=[1.0]).as_tensor()
    torch.testing.assert_close(found[0], torch.full((9, 9, 9), 3.0), atol=1e-5, rtol=0)
    assert found[1:].abs().max() < 1e-4


def test_pictures_bend_as_scikit_image_says() -> None:
    # Whose Gaussian is a sum over samples that ends at 4 sigma, ours an integral.
    image = torch.rand(1, 40, 44, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = ["hessian_eigenvalues", "shape_index"]
    found = jet_features(image, maps, [SIGMA]).as_tensor()[..., 12:-12, 12:-12].numpy()
    plain = image[0].numpy()
    second = hessian_matrix(plain, SIGMA, use_gaussian_derivatives=True, mode="nearest")
    theirs = hessian_matrix_eigvals(second)[:, 12:-12, 12:-12]
    assert np.abs(found[:2] - theirs).max() < 0.02 * np.abs(theirs).max()
    index = skimage_shape_index(plain, SIGMA, mode="nearest")[12:-12, 12:-12]
    assert np.corrcoef(found[2].ravel(), index.ravel())[0, 1] > 0.97


def test_slopes_are_those_of_simpleitk() -> None:
    image = torch.rand(1, 24, 26, 20, generator=torch.Generator().manual_seed(0))
    told = sitk.GetImageFromArray(image[0].numpy())
    told.SetSpacing((1.5, 1.0, 0.7))
    told = sitk.GradientMagnitudeRecursiveGaussian(told, SIGMA)
    theirs = sitk.GetArrayFromImage(told)
    affine = torch.diag(torch.tensor([0.7, 1.0, 1.5, 1.0]))
    found = jet_features(MetaTensor(image, affine=affine), ["gradient_magnitude"], [SIGMA])
    inside = (slice(9, -9), slice(7, -7), slice(5, -5))
    off = np.abs(found.as_tensor()[0].numpy() - theirs)[inside].max()
    assert off < 0.02 * theirs[inside].max()


def test_48_orientations_agree() -> None:
    image = torch.rand(1, 7, 6, 5, generator=torch.Generator().manual_seed(0))
    affine = torch.diag(torch.tensor([1.0, 1.5, 2.0, 1.0], dtype=torch.float64))
    maps = ["value", "gradient_magnitude", "hessian_eigenvalues", "shape_index"]
    wanted = jet_features(MetaTensor(image, affine=affine), maps, [2.0]).as_tensor()
    for axes, signs in product(permutations(range(3)), product([1, -1], repeat=3)):
        turned = affine[:, [*axes, 3]] @ torch.diag(torch.tensor([*signs, 1.0]).double())
        flips = [d + 1 for d in range(3) if signs[d] < 0]

        def turn(x: Tensor, axes: tuple[int, ...] = axes, flips: list[int] = flips) -> Tensor:
            return x.permute(0, *[a + 1 for a in axes]).flip(flips)

        found = jet_features(MetaTensor(turn(image), affine=turned), maps, [2.0])
        torch.testing.assert_close(found.as_tensor(), turn(wanted), atol=2e-5, rtol=1e-4)


def test_channels_have_names() -> None:
    image = torch.rand(2, 6, 7, 5)
    found = JetFeaturesd("image", ["gradient", "vesselness"], [1.0, 2.0])({"image": image})
    names = found["image"].meta["channel_names"]
    assert len(names) == len(found["image"]) == 2 * 2 * 4
    assert names[:4] == [
        *(f"channel0_gradient_{a}_at1mm" for a in "xyz"),
        "channel1_gradient_x_at1mm",
    ]
    one = jet_features(image[1:], ["gradient"], [2.0]).as_tensor()
    torch.testing.assert_close(found["image"].as_tensor()[11:14], one)


def test_answers_are_named_after_the_file_of_the_image() -> None:
    image = MetaTensor(torch.rand(1, 6, 7, 5), meta={"filename_or_obj": "/data/case7.nii.gz"})
    asked = FeaturesOINR(maps="value", scales=1.0)
    for found in (jet_features(image, ["value"], [1.0]), asked(fit(image, FitConfig(degree=5)))):
        assert found.meta["filename_or_obj"] == "/data/case7.nii.gz"
        assert found.meta["channel_names"] == ["value_at1mm"]
    with pytest.raises(ValueError, match="layer must be None with maps, got 1"):
        FeaturesOINR(1, maps="value")


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="maps must be one of"):
        JetFeatures("slope")
    with pytest.raises(ValueError, match="sigma must be 0 mm or more, got -1"):
        JetFeatures(scales=[1.0, -1.0])
    with pytest.raises(ValueError, match="maps and scales must name one each"):
        channel_names([], [1.0], 3)
    with pytest.raises(ValueError, match="image must be finite, got NaN"):
        jet_features(torch.full((1, 5, 5), torch.nan), ["value"], [1.0])
    with pytest.raises(ValueError, match=r"shape_index, which needs 2"):
        jet_features(torch.rand(1, 9), ["shape_index"], [1.0])
    with pytest.raises(ValueError, match="must be asked of an image of 2 or 3 dimensions, got 1"):
        shape_index(Jet(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1)))
