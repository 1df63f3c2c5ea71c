"""The closed form of a real volume with a mask: what lies outside is not seen inside."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Representation, fit


@pytest.fixture(scope="module")
def brain() -> tuple[MetaTensor, Tensor]:
    """A corner of a brain, and where it is."""
    datasets = pytest.importorskip("nilearn.datasets")
    image = datasets.load_mni152_template(resolution=2).get_fdata()[4:34, 40:70, 20:50]
    mask = datasets.load_mni152_brain_mask(resolution=2).get_fdata()[4:34, 40:70, 20:50] > 0
    assert 0.2 < mask.mean() < 0.9
    volume = torch.from_numpy(image).float()[None]
    return MetaTensor(volume, affine=torch.eye(4)), torch.from_numpy(mask)


def inside(mask: Tensor) -> Tensor:
    """Places between voxels, all eight of which are inside."""
    whole = -torch.nn.functional.max_pool3d(-mask[None, None].float(), 2, 1)[0, 0]
    cells = whole.nonzero().double()
    return cells + torch.rand(cells.shape, generator=torch.Generator().manual_seed(0)).double()


def spoiled(image: MetaTensor, mask: Tensor) -> MetaTensor:
    """The image with a chequerboard of great numbers outside."""
    where = torch.meshgrid(*[torch.arange(n) for n in mask.shape], indexing="ij")
    board = 1e4 * (1 - 2.0 * (sum(where) % 2))
    return MetaTensor(torch.where(mask, image.as_tensor(), board), affine=image.affine)


def values(found: Representation, mask: Tensor) -> Tensor:
    return found.at(found.grid.to_world(inside(mask)))


def test_what_lies_outside_a_mask_is_not_seen(brain: tuple[MetaTensor, Tensor]) -> None:
    image, mask = brain
    kept = values(fit(image, mask=mask), mask)
    assert torch.equal(values(fit(spoiled(image, mask), mask=mask), mask), kept)
    # Without the mask it rings inside.
    assert (values(fit(spoiled(image, mask)), mask) - kept).abs().max() > 100 * kept.std()


def test_nothing_rings_inside_a_mask(brain: tuple[MetaTensor, Tensor]) -> None:
    """Between its voxels a spline swings a little beyond them, no more at the edge than inside."""
    image, mask = brain
    found = values(fit(spoiled(image, mask), mask=mask), mask)
    known = image.as_tensor()[0][mask]
    swing = 0.1 * (known.max() - known.min())
    assert known.min() - swing < found.min()
    assert found.max() < known.max() + swing
