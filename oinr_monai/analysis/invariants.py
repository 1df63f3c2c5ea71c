"""What value, gradient and Hessian say about the shape of an image around a place.

All are differential invariants: they do not depend on how the world's axes lie. Lengths are in mm,
so that gradients are per mm and Hessians per mm².
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.jets import Jet

__all__ = [
    "gaussian_curvature",
    "gradient_magnitude",
    "hessian_eigenvalues",
    "laplacian",
    "mean_curvature",
    "objectness",
    "shape_index",
    "smooth",
    "structure_tensor",
]


def gradient_magnitude(jet: Jet) -> Tensor:
    """Length of the gradient (C, *places), intensity/mm."""
    return _direction(jet.gradient)[1]


def laplacian(jet: Jet) -> Tensor:
    """Sum of the second derivatives along the axes (C, *places), intensity/mm²."""
    return jet.hessian.diagonal(dim1=1, dim2=2).sum(dim=-1)


def hessian_eigenvalues(jet: Jet) -> Tensor:
    """Eigenvalues of the Hessian (C, D, *places), largest first, intensity/mm².

    The order is that of ``skimage.feature.hessian_matrix_eigvals``.
    """
    matrices = jet.hessian.movedim((1, 2), (-2, -1)).double()
    return torch.linalg.eigvalsh(matrices).flip(-1).movedim(-1, 1).to(jet.hessian)


def mean_curvature(jet: Jet) -> Tensor:
    r"""Mean curvature of the isosurface through each place (C, *places), 1/mm.

    .. math:: H = \frac{g^T \mathcal H g - |g|^2 \operatorname{tr} \mathcal H}{(D - 1) |g|^3}

    It is 1/R on a bright ball of radius R, -1/R on a dark one, and 0 where there is no gradient. In
    two dimensions it is the curvature of the isoline.

    References:
        Thirion and Gourdon, "Computing the differential characteristics of isointensity surfaces",
        Computer Vision and Image Understanding 1995.
    """
    n, bend = _bend(jet)
    along = torch.einsum("ci...,cij...,cj...->c...", n, bend, n)
    return (along - bend.diagonal(dim1=1, dim2=2).sum(dim=-1)) / (n.shape[1] - 1)


def gaussian_curvature(jet: Jet) -> Tensor:
    r"""Gaussian curvature of the isosurface through each place (C, *places), 1/mm².

    .. math:: K = \frac{g^T \operatorname{adj}(\mathcal H) g}{|g|^4}

    It is 1/R² on a ball of radius R, bright or dark, 0 on a tube, and negative on a saddle.

    Raises:
        ValueError: if the image is not three-dimensional.
    """
    if jet.gradient.shape[1] != 3:
        raise ValueError(
            "gaussian_curvature must be asked of an image of 3 dimensions, "
            f"got {jet.gradient.shape[1]}; an isoline has mean_curvature alone"
        )
    n, bend = _bend(jet)
    rows = bend.unbind(dim=1)
    # The rows of the adjugate of a symmetric matrix are cross products of its other two rows.
    adjugate = [torch.linalg.cross(rows[(i + 1) % 3], rows[(i + 2) % 3], dim=1) for i in range(3)]
    return torch.einsum("ci...,cij...,cj...->c...", n, torch.stack(adjugate, 1), n)


def shape_index(jet: Jet) -> Tensor:
    r"""Which way an image bends, whatever its contrast (C, *places), -1 to 1.

    .. math:: S = \frac{2}{\pi} \arctan \frac{\kappa_1 + \kappa_2}{\kappa_1 - \kappa_2}

    of the principal curvatures :math:`\kappa_1 \ge \kappa_2` of the isosurface through each place,
    or in two dimensions of minus the Hessian's eigenvalues. It is 1 on a bright ball, 1/2 on a
    bright tube, 0 on a saddle, -1 on a dark ball, and 0 where nothing bends.

    References:
        Koenderink and van Doorn, "Surface shape and curvature scales", Image and Vision Computing
        1992.

    Raises:
        ValueError: if the image has neither two nor three dimensions.

    Example:
        >>> up = torch.tensor([0.0, 0.0, 1.0])  # a slope upwards, bent as the side of a bright ball
        >>> ball = Jet(torch.ones(1), up[None], -torch.eye(3)[None])
        >>> round(shape_index(ball).item(), 3)
        1.0
    """
    dims = jet.gradient.shape[1]
    if dims not in (2, 3):
        raise ValueError(f"shape_index must be asked of an image of 2 or 3 dimensions, got {dims}")
    if dims == 2:
        larger, smaller = hessian_eigenvalues(jet).unbind(1)
        mean, apart = -larger - smaller, larger - smaller
    else:
        mean, product = mean_curvature(jet), gaussian_curvature(jet)
        apart = (mean.square() - product).clamp_min(0).sqrt()
    return torch.atan2(mean, apart) * (2 / math.pi)


def _bend(jet: Jet) -> tuple[Tensor, Tensor]:
    # Unit normal, and the Hessian over the gradient's length; both 0 where there is no gradient.
    normal, slope = _direction(jet.gradient)
    steep = slope > 0
    return normal, torch.where(
        steep[:, None, None], jet.hessian / torch.where(steep, slope, 1.0)[:, None, None], 0.0
    )


def _direction(vectors: Tensor) -> tuple[Tensor, Tensor]:
    # Of vectors (C, D, *places), 0 of none, and their length; no power of their unit is taken, so
    # that a unit of 1e-30 or of 1e30 leaves the range of float32 no more than the vectors do.
    largest = vectors.abs().amax(dim=1, keepdim=True)
    parts = vectors / torch.where(largest > 0, largest, 1.0)
    length = parts.norm(dim=1, keepdim=True)
    normal = parts / torch.where(length > 0, length, 1.0)
    return normal, (length * largest)[:, 0]


def objectness(
    eigenvalues: Tensor,
    dimension: int,
    bright: bool = True,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float | None = None,
) -> Tensor:
    r"""How much the surroundings look like a blob (0), a vessel (1) or a sheet (2): 0 to 1.

    With :math:`|\lambda_1| \le \dots \le |\lambda_D|` and M the dimension of the object,

    .. math:: O = \big(1 - e^{-R_A^2 / 2 \alpha^2}\big) e^{-R_B^2 / 2 \beta^2}
              \big(1 - e^{-S^2 / 2 \gamma^2}\big), \quad
              R_A = \frac{|\lambda_{M + 1}|}{\prod_{i > M + 1} |\lambda_i|^{1 / (D - M - 1)}}, \quad
              R_B = \frac{|\lambda_M|}{\prod_{i > M} |\lambda_i|^{1 / (D - M)}}

    and S the norm of all; 0 where one of :math:`\lambda_{M + 1}, \dots, \lambda_D` has the sign of
    an object of the other brightness. The first factor is left out for M = D - 1 and the second for
    M = 0. In 3-D, M = 1 is Frangi's vesselness.

    References:
        Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998.
        Antiga, "Generalizing vesselness with respect to dimensionality and shape", The Insight
        Journal 2007 (as in ITK).

    Args:
        eigenvalues: of the Hessian, (C, D, *places), in any order.
        dimension: dimension M of the object, 0 to D - 1.
        bright: whether the object is brighter than what surrounds it.
        alpha: sensitivity to R_A.
        beta: sensitivity to R_B.
        gamma: sensitivity to S, in the unit of the eigenvalues; half the largest S of each channel
            if None.

    Raises:
        ValueError: if ``dimension`` is not 0 to D - 1.

    Example:
        >>> tube = torch.tensor([[0.0, -1.0, -1.0]])
        >>> [round(objectness(tube, m, gamma=0.1).item(), 2) for m in (0, 1, 2)]
        [0.0, 0.86, 0.14]
    """
    dims = eigenvalues.shape[1]
    if not 0 <= dimension < dims:
        raise ValueError(f"dimension must be 0 to {dims - 1}, got {dimension}")
    order = eigenvalues.abs().argsort(dim=1)
    signed = eigenvalues.gather(1, order)
    parts, strength = _direction(signed)
    sizes, across = parts.abs(), signed[:, dimension:]
    if gamma is None:
        largest = strength.flatten(1).amax(dim=1).view(-1, *[1] * (strength.ndim - 1))
        gamma = torch.where(largest > 0, largest / 2, 1.0)  # type: ignore[assignment]
    result = 1 - torch.exp(-(strength / gamma).square() / 2)  # type: ignore[operator]
    if dimension < dims - 1:
        flatness = _ratio(sizes[:, dimension], sizes[:, dimension + 1 :])
        result = result * (1 - torch.exp(-flatness.square() / (2 * alpha**2)))
    if dimension > 0:
        roundness = _ratio(sizes[:, dimension - 1], sizes[:, dimension:])
        result = result * torch.exp(-roundness.square() / (2 * beta**2))
    fits = (across < 0) if bright else (across > 0)
    return result * fits.all(dim=1)


def _ratio(small: Tensor, large: Tensor) -> Tensor:
    # To the geometric mean of the larger ones.
    mean = large.prod(dim=1) ** (1 / large.shape[1])
    return torch.where(mean > 0, small / torch.where(mean > 0, mean, 1.0), 0.0)


def structure_tensor(jet: Jet) -> Tensor:
    r"""Products of the gradient's components :math:`g g^T` (C, D, D, *places), (intensity/mm)².

    In float64, since float32 has no room for the square of every gradient that it holds.

    Smoothed over a neighbourhood (:func:`smooth`) they are the structure tensor, whose eigenvectors
    are the directions of greatest and of least change there.

    References:
        Foerstner and Guelch, "A fast operator for detection and precise location of distinct
        points, corners and centres of circular features", ISPRS Intercommission Workshop 1987.
    """
    gradient = jet.gradient.double()
    return gradient[:, :, None] * gradient[:, None, :]


def smooth(image: Tensor, sigma: float, spacing: Sequence[float]) -> Tensor:
    """Gaussian average of an image (K, *spatial), ``sigma`` and ``spacing`` (D,) in mm.

    Voxels are the nodes of the quadrature, and the border's value goes on beyond it.
    """
    from scipy.ndimage import gaussian_filter

    widths = [sigma / h for h in spacing]
    values: list[np.ndarray] = [
        gaussian_filter(each, widths, mode="nearest", truncate=5.0) for each in image.cpu().numpy()
    ]
    return torch.from_numpy(np.stack(values)).to(image.device)
