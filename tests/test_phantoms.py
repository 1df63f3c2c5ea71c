"""The phantoms' derivatives are those that autograd finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.phantoms import GaussianBlob


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_blob_derivatives(
    gaussian_blob: Callable[..., GaussianBlob], spatial_dims: int, generator: torch.Generator
) -> None:
    blob = gaussian_blob(spatial_dims)
    point = 5 * torch.randn(spatial_dims, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        blob.gradient(point), torch.autograd.functional.jacobian(blob.value, point)
    )
    torch.testing.assert_close(
        blob.hessian(point), torch.autograd.functional.hessian(blob.value, point)
    )


def test_affines_are_what_they_claim(oblique_affine: Tensor, sheared_affine: Tensor) -> None:
    spacing = torch.linalg.norm(oblique_affine[:3, :3], dim=0)
    torch.testing.assert_close(spacing, torch.tensor([0.9, 1.1, 2.5], dtype=torch.float64))
    directions = oblique_affine[:3, :3] / spacing
    torch.testing.assert_close(directions.T @ directions, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(oblique_affine) < 0
    assert not torch.allclose(
        (sheared_affine[:3, :3].T @ sheared_affine[:3, :3]).triu(1), torch.zeros(3, 3).double()
    )
