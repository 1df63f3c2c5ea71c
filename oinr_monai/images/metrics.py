"""How close a signal is to its reference."""

from __future__ import annotations

import math
from typing import overload

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_one_of, check_shape

from .intensity import check_contrast
from .labels import as_labels

__all__ = ["dice", "hfen", "iou", "mean_square", "mse", "peak_ratio", "psnr", "ssim"]

_SLAB = 2**21  # voxels that ssim filters at once: under 300 MB of intermediate volumes


def mse(signal: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    """Mean squared error, summed in float64.

    Args:
        signal: the signal, shape (C, *spatial).
        reference: the truth, same shape.
        mask: where to count, true or nonzero inside, shape (1, *spatial) or that of the signal;
            everywhere if omitted.

    Returns:
        The mean of the squared differences, in squared units of the signal.

    Raises:
        ValueError: if the shapes differ or the mask is empty.

    Example:
        >>> import torch
        >>> mse(torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[1.0, 4.0, 4.0]]))
        1.6666666666666667
    """
    signal, reference = _compared(signal, reference, mask)
    return mean_square(signal - reference)


def psnr(signal: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio, with the reference's own range as the peak.

    PSNR = 10 log10((max - min)^2 / MSE), where max and min are those of the reference inside the
    mask. Adding a constant to both, or multiplying both by one, changes nothing.

    Args:
        signal: the signal, shape (C, *spatial).
        reference: the truth, same shape.
        mask: where to count, true or nonzero inside, shape (1, *spatial) or that of the signal;
            everywhere if omitted.

    Returns:
        The ratio in dB; infinite if the two are equal.

    Raises:
        ValueError: if the shapes differ, the mask is empty or the reference is constant in it.

    Example:
        >>> import torch
        >>> reference = torch.tensor([[0.0, 10.0, 5.0, 5.0]])
        >>> psnr(reference + 1.0, reference)
        20.0
    """
    signal, reference = _compared(signal, reference, mask)
    _, extent = _range(reference)
    return peak_ratio(mse(signal, reference), extent)


def ssim(signal: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity of two images or volumes: 1 if equal.

    Both are first mapped so that the reference spans 0 to 1; the Gaussian window has a standard
    deviation of 1.5 voxels and a width of 11, or the largest odd width that fits. Volumes go
    through in slabs, so that memory stays under 300 MB beside the two inputs.

    References:
        Wang et al., "Image quality assessment: from error visibility to structural similarity",
        IEEE Transactions on Image Processing 2004.

    Args:
        signal: the signal, shape (C, X, Y) or (C, X, Y, Z).
        reference: the truth, same shape.
        mask: where windows are centred that count, true or nonzero inside, shape (1, *spatial) or
            that of the signal; everywhere if omitted.

    Returns:
        The mean over every place where the whole window fits.

    Raises:
        ValueError: if the shapes differ, are not those of an image or volume, the reference
            is constant, or the mask has no place where the window fits.

    Example:
        >>> import torch
        >>> reference = torch.linspace(0, 1, 256).reshape(1, 16, 16)
        >>> ssim(reference, reference)
        1.0
    """
    from monai.metrics.regression import compute_ssim_and_cs

    check_one_of("spatial dimensions of signal", signal.ndim - 1, (2, 3))
    signal, reference = _compared(signal, reference, None)
    low, extent = _range(reference)
    smallest = min(reference.shape[1:])
    width = min(11, smallest - 1 + smallest % 2)
    places = reference.shape[1] - width + 1
    slab = max(1, _SLAB // reference[:, 0].numel())
    inside = _centres(reference, mask, width)
    total = 0.0
    for start in range(0, places, slab):
        rows = slice(start, min(start + slab, places) + width - 1)
        similarity, _ = compute_ssim_and_cs(
            (signal[None, :, rows] - low) / extent,
            (reference[None, :, rows] - low) / extent,
            spatial_dims=reference.ndim - 1,
            kernel_size=(width,) * (reference.ndim - 1),
            kernel_sigma=(1.5,) * (reference.ndim - 1),
        )
        chosen = inside[:, start : start + slab].to(similarity.device)
        total += float(similarity[0][chosen].sum(dtype=torch.float64))
    return total / int(inside.sum())


def _centres(reference: Tensor, mask: Tensor | None, width: int) -> Tensor:
    """Where windows that fit are centred, and inside the mask."""
    inside = (
        torch.ones_like(reference, dtype=torch.bool) if mask is None else _inside(mask, reference)
    )
    half = width // 2
    centres = inside[(slice(None), *(slice(half, n - half) for n in reference.shape[1:]))]
    if not centres.any():
        raise ValueError(
            f"mask must be nonzero where a window of {width} voxels fits, got only zeros"
        )
    return centres


def hfen(signal: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    r"""High-frequency error norm: what is wrong with edges and fine detail, 0 if nothing.

    .. math:: \lVert L x - L y \rVert / \lVert L y \rVert, \qquad
              L = \nabla^2 G_\sigma, \quad \sigma = 1.5 \text{ voxels.}

    Adding a constant to both, or multiplying both by one, changes nothing.

    References:
        Ravishankar and Bresler, "MR image reconstruction from highly undersampled k-space data by
        dictionary learning", IEEE Transactions on Medical Imaging 2011.

    Args:
        signal: the signal x, shape (C, *spatial).
        reference: the truth y, same shape.
        mask: where to count, true or nonzero inside, shape (1, *spatial) or that of the signal;
            everywhere if omitted.

    Raises:
        ValueError: if the shapes differ, the mask is empty or the reference has no detail in it.

    Example:
        >>> import torch
        >>> reference = torch.rand(1, 16, 16)
        >>> round(hfen(1.2 * reference, reference), 4)
        0.2
    """
    check_shape("signal", signal, tuple(reference.shape))
    found, truth = _compared(_laplacian(signal), _laplacian(reference), mask)
    if not truth.norm() > 0:
        raise ValueError("reference must hold detail, got none")
    return float((found - truth).norm() / truth.norm())


def _laplacian(image: Tensor) -> Tensor:
    """Laplacian of a Gaussian of 1.5 voxels, of every channel, in float64; 0 for a constant."""
    from scipy.ndimage import correlate1d

    sigma, offsets = 1.5, np.arange(-7.0, 8.0)
    smooth = np.exp(-0.5 * (offsets / sigma) ** 2)
    smooth /= smooth.sum()
    second = (offsets**2 / sigma**2 - 1) * smooth
    second -= second.mean()  # sampled, it would pass a little of a constant on
    second *= 2 / (offsets**2 * second).sum()
    values = _plain(image).cpu().double().numpy()
    total = np.zeros_like(values)
    for curved in range(1, values.ndim):
        part = values
        for axis in range(1, values.ndim):
            part = correlate1d(part, second if axis == curved else smooth, axis)
        total += part
    return torch.from_numpy(total)


def iou(labels: Tensor, reference: Tensor) -> dict[int, float]:
    """Intersection over union of each label that the reference holds, but for the background, 0.

    Args:
        labels: label map, shape (1, *spatial).
        reference: the true label map, same shape.

    Returns:
        For each label, voxels that have it in both over voxels that have it in either.

    Raises:
        ValueError: if the shapes differ, or labels are not whole numbers.

    Example:
        >>> iou(torch.tensor([[0, 1, 1, 2]]), torch.tensor([[1, 1, 1, 2]]))
        {1: 0.6666666666666666, 2: 1.0}
    """
    return {
        label: both / (one + other - both)
        for label, (both, one, other) in _counts(labels, reference).items()
    }


def dice(labels: Tensor, reference: Tensor) -> dict[int, float]:
    """Dice's coefficient of each label that the reference holds, but for the background, 0.

    Args:
        labels: label map, shape (1, *spatial).
        reference: the true label map, same shape.

    Returns:
        For each label, twice the voxels that have it in both over the sum of those in each.

    Raises:
        ValueError: if the shapes differ, or labels are not whole numbers.

    Example:
        >>> dice(torch.tensor([[0, 1, 1, 2]]), torch.tensor([[1, 1, 1, 2]]))
        {1: 0.8, 2: 1.0}
    """
    return {
        label: 2 * both / (one + other)
        for label, (both, one, other) in _counts(labels, reference).items()
    }


def _counts(labels: Tensor, reference: Tensor) -> dict[int, tuple[int, int, int]]:
    """Voxels of each label in both maps, in the first and in the reference; exact in integers."""
    check_shape("labels", labels, tuple(reference.shape))
    ours, truth = as_labels(labels), as_labels(reference)
    counts = {}
    for label in truth.unique().tolist():
        inside, wanted = ours == label, truth == label
        counts[label] = (int((inside & wanted).sum()), int(inside.sum()), int(wanted.sum()))
    counts.pop(0, None)
    return counts


def _compared(signal: Tensor, reference: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The two as plain floating-point tensors, inside the mask."""
    check_shape("signal", signal, tuple(reference.shape))
    signal, reference = _plain(signal), _plain(reference).to(signal.device)
    if mask is None:
        return signal, reference
    inside = _inside(mask, reference)
    return signal[inside], reference[inside]


def _inside(mask: Tensor, reference: Tensor) -> Tensor:
    """The mask for each channel of the reference."""
    if tuple(mask.shape) not in {(1, *reference.shape[1:]), tuple(reference.shape)}:
        check_shape("mask", mask, (1, *reference.shape[1:]))
    inside = (_plain(mask) != 0).to(reference.device).expand_as(reference)
    if not inside.any():
        raise ValueError("mask must be nonzero somewhere, got only zeros")
    return inside


def _plain(tensor: Tensor) -> Tensor:
    """Without metadata or gradient, at least in float32."""
    tensor = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def _range(reference: Tensor) -> tuple[float, float]:
    """The smallest value and the distance to the largest."""
    low, high = float(reference.min()), float(reference.max())
    check_contrast("reference", low, high)
    return low, high - low


def mean_square(error: Tensor) -> float:
    """Mean of the squares, in float64, so that it is right for values in any unit.

    Example:
        >>> round(mean_square(torch.tensor([3e-25, 4e-25])) / 1e-50, 3)
        12.5
    """
    parts = error.flatten().split(_SLAB)
    return math.fsum(float(part.double().square().sum()) for part in parts) / error.numel()


@overload
def peak_ratio(error: Tensor, span: Tensor) -> Tensor: ...
@overload
def peak_ratio(error: float, span: float) -> float: ...
def peak_ratio(error: Tensor | float, span: Tensor | float) -> Tensor | float:
    """PSNR in dB of mean squared errors, 10 log10(span^2 / error).

    There is no floor below the errors, so that the unit of the values changes nothing: the ratio is
    infinite where there is no error at all.

    Args:
        error: one, or a tensor of any shape.
        span: how much the values span, likewise.

    Example:
        >>> peak_ratio(1e-44, 1e-21)
        20.0
    """
    peak, square = (torch.as_tensor(each, dtype=torch.float64) for each in (span, error))
    ratio = 20 * (peak / square.sqrt()).log10()
    return ratio if isinstance(error, Tensor) else float(ratio)
