"""Coordinate networks and feature grids that ``quality/fitting`` holds ``oinr_monai.fit`` against.

Written from the facts of the papers and of their authors' settings, in plain PyTorch. What differs
from those for all of them: targets are standardised, a step draws 4,096 places, since in seconds on
a processor more steps are worth more than larger ones (SIREN gains 6 dB by it), and the rate falls
linearly to zero over the budget.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn as nn
from torch import Tensor

# Sums of rows are this package's own fast kernel: PyTorch's takes ten times as long to go back.
from oinr_monai.grids.splines import _sums
from scripts.rivals.baseline import CoordinateNetwork, Siren, Training

SPLINE = ", shown the spline"
POINTS = 4_096
SMALLEST = 8


def relu_network(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers with ReLUs between them, (N, sizes[0]) to (N, sizes[-1])."""
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


# ---- WIRE ---------------------------------------------------------------------------------------


class GaborLayer(nn.Module):
    """A complex Gabor wavelet of a linear map z = W x + b: exp(i omega z - |sigma z|^2)."""

    def __init__(self, linear: nn.Linear, omega: float, sigma: float) -> None:
        super().__init__()
        self.linear, self.omega, self.sigma = linear, omega, sigma

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to complex (N, out_features)."""
        z = self.linear(x)
        if not z.is_complex():
            return torch.polar(torch.exp(-((self.sigma * z) ** 2)), self.omega * z)
        size = self.sigma**2 * (z.real.square() + z.imag.square()) + self.omega * z.imag
        return torch.polar(torch.exp(-size), self.omega * z.real)


class Wire(nn.Sequential):
    """Gabor layers, the first of real coordinates, and the real part of a linear last one."""

    def __init__(self, sizes: Sequence[int], omega: float, sigma: float) -> None:
        kinds = [torch.float32, *[torch.complex64] * (len(sizes) - 2)]
        linear = [
            nn.Linear(a, b, dtype=kind) for (a, b), kind in zip(pairwise(sizes), kinds, strict=True)
        ]
        super().__init__(*(GaborLayer(each, omega, sigma) for each in linear[:-1]), linear[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, sizes[0]) to (N, sizes[-1])."""
        for layer in self:
            x = layer(x)
        return x.real


# ---- Fourier features ----------------------------------------------------------------------------


class FourierFeatures(nn.Module):
    """cos and sin of 2 pi B x, for x in [0, 1] given as coordinates in [-1, 1].

    Args:
        frequencies: rows of B, in cycles per extent, shape (M, D).
    """

    frequencies: Tensor

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D) to (N, 2 M)."""
        angles = math.pi * (x + 1) @ self.frequencies.T
        return torch.cat([angles.cos(), angles.sin()], dim=1)


# ---- grids of features --------------------------------------------------------------------------


class FeatureGrids(nn.Module):
    """Features interpolated linearly between the corners of grids of several resolutions.

    A grid with more corners than ``entries`` shares them by a hash of the corner's indices.

    Args:
        cells: cells along each axis, of each grid.
        features: features of each grid.
        entries: greatest number of feature vectors of a grid.
    """

    primes = (1, 2_654_435_761, 805_459_861)

    def __init__(self, cells: Sequence[tuple[int, ...]], features: int, entries: int) -> None:
        super().__init__()
        self.cells, self.entries = cells, entries
        sizes = [min(math.prod(n + 1 for n in each), entries) for each in cells]
        self.tables = nn.ParameterList(torch.empty(n, features) for n in sizes)
        for table in self.tables:
            nn.init.uniform_(table, -1e-4, 1e-4)

    def forward(self, x: Tensor) -> Tensor:
        """Map coordinates (N, D) in [-1, 1] to (N, grids * features)."""
        found = [
            self._at(x, each, table) for each, table in zip(self.cells, self.tables, strict=True)
        ]
        return torch.cat(found, dim=1)

    def _at(self, x: Tensor, cells: tuple[int, ...], table: Tensor) -> Tensor:
        places = (x + 1) / 2 * torch.tensor(cells)
        low = places.detach().floor().clamp_min(0).minimum(torch.tensor(cells) - 1)
        share = places - low
        weights = torch.ones(len(x), 1)
        for axis in range(len(cells)):
            each = torch.stack([1 - share[:, axis], share[:, axis]], dim=1)
            weights = (weights[:, :, None] * each[:, None]).flatten(1)
        corners = self._corners(low.long(), cells, len(table))
        return _sums(table, corners, weights)

    def _corners(self, low: Tensor, cells: tuple[int, ...], entries: int) -> Tensor:
        """Rows (N, 2^D) of the table for the corners from ``low`` (N, D) on."""
        shared = math.prod(n + 1 for n in cells) > entries
        steps = (
            self.primes
            if shared
            else [math.prod(m + 1 for m in cells[:d]) for d in range(len(cells))]
        )
        index = torch.zeros(len(low), 1, dtype=torch.long)
        for axis, step in enumerate(steps):
            each = (low[:, axis, None] + torch.arange(2)) * step
            both = (index[:, :, None], each[:, None])
            index = (both[0] ^ both[1] if shared else both[0] + both[1]).flatten(1)
        return index % entries if shared else index


def geometric_cells(shape: Sequence[int], levels: int, coarsest: int) -> list[tuple[int, ...]]:
    """Cells along each axis of grids that grow geometrically until each voxel is a corner."""
    parts = torch.linspace(0, 1, levels).tolist()
    return [tuple(round(coarsest * ((n - 1) / coarsest) ** part) for n in shape) for part in parts]


def even_cells(shape: Sequence[int], corners: int) -> tuple[int, ...]:
    """Cells along each axis of one grid that has ``corners`` corners along all axes together."""
    return tuple((corners + axis) // len(shape) - 1 for axis in range(len(shape)))


# ---- the rivals ---------------------------------------------------------------------------------


def siren(image: Tensor, training: Training, width: int = 128) -> CoordinateNetwork:
    """SIREN, see :class:`scripts.rivals.baseline.Siren`."""
    return Siren(image, width, training=training)


def wire(image: Tensor, training: Training, width: int = 90) -> CoordinateNetwork:
    """WIRE: three Gabor layers of 128 / sqrt(2) complex units, omega 10 and sigma 10, rate 5e-3.

    The layers, omega and the rate are those of the authors' script for volumes; half its units, as
    with SIREN. Its sigma of 40, for occupancies, is still at the mean after all steps of such a
    budget; 10 is the default of their network, and 28 dB where 40 has 14. They advise 5e-3 to 2e-2.

    References:
        Saragadam et al., "WIRE: Wavelet Implicit Neural Representations", CVPR 2023, and
        https://github.com/vishwa91/wire, wire_occupancy.py and modules/wire.py.
    """
    network = Wire((image.ndim - 1, width, width, width, len(image)), omega=10.0, sigma=10.0)
    return CoordinateNetwork(image, network, "WIRE", training)


def fourier(image: Tensor, training: Training, width: int = 128) -> CoordinateNetwork:
    """Fourier features: 256 Gaussian frequencies of 5 cycles, four layers of 128, rate 2e-3.

    The settings of the authors' experiment on MRI of 96^3 voxels, with half the units.

    References:
        Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low
        Dimensional Domains", NeurIPS 2020, and
        https://github.com/tancik/fourier-feature-networks, 3d_MRI.ipynb.
    """
    features = FourierFeatures(5.0 * torch.randn(256, image.ndim - 1))
    network = nn.Sequential(features, relu_network((512, width, width, width, len(image))))
    return CoordinateNetwork(image, network, "Fourier MLP", training)


class GridNetwork(CoordinateNetwork):
    """Grids of features and an MLP of two hidden layers of 64, with the Adam of Instant-NGP.

    References:
        Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
        ACM Transactions on Graphics 2022, section 4, and https://github.com/NVlabs/instant-ngp,
        configs/image/base.json; without its weight decay of 1e-6.

    Args:
        image: intensities, shape (C, *spatial).
        grids: maps coordinates to features.
        width: features that come out of it.
        name: how tables call the method.
        training: rate, places a step, and whether they are voxels.
    """

    adam = {"betas": (0.9, 0.99), "eps": 1e-15}

    def __init__(
        self, image: Tensor, grids: FeatureGrids, width: int, name: str, training: Training
    ) -> None:
        network = nn.Sequential(grids, relu_network((width, 64, 64, len(image))))
        super().__init__(image, network, name, training)


def hash_grid(image: Tensor, training: Training, entries: int = 2**14) -> GridNetwork:
    """Hash grid: 16 grids of 2 features, from 16 cells to one a voxel, rate 1e-2.

    2^14 entries a grid is the least that the paper considers, 2^19 the default of its code, which
    for 96^3 voxels is more than there are.
    """
    cells = geometric_cells(image.shape[1:], levels=16, coarsest=16)
    return GridNetwork(image, FeatureGrids(cells, 2, entries), 32, "hash grid", training)


def dense_grid(image: Tensor, training: Training, corners: int | None = None) -> GridNetwork:
    """Dense grid of 16 features, as the one Instant-NGP is compared with, 3 voxels apart."""
    shape = image.shape[1:]
    cells = even_cells(shape, corners or sum(math.ceil(n / 3) + 1 for n in shape))
    everything = math.prod(n + 1 for n in cells)
    return GridNetwork(image, FeatureGrids([cells], 16, everything), 16, "dense grid", training)


def large_hash_grid(image: Tensor, training: Training) -> GridNetwork:
    """The hash grid with the 2^19 entries a grid that its code has by default."""
    return hash_grid(image, training, entries=2**19)


@dataclass(frozen=True)
class Rival:
    """A method, and how it is to be tried.

    Args:
        make: makes it for an image and a training; a third argument says how large it is.
        rates: Adam's rates to try.
        largest: greatest size to try where its number of parameters is to match another's; none
            where it is not tried so.
        between: it is shown the cubic spline between the voxels, with the best rate of the method
            that is not.
    """

    make: Callable[..., CoordinateNetwork]
    rates: tuple[float, ...] = ()
    largest: int | None = None
    between: bool = False

    def begin(self, image: Tensor, rate: float, size: int | None = None) -> CoordinateNetwork:
        """Return it untrained, of a size or of its own."""
        training = Training(rate, points=POINTS, between=self.between)
        return self.make(image, training, *([] if size is None else [size]))

    def size(self, image: Tensor, goal: int) -> int:
        """Return the least size that has ``goal`` parameters.

        Raises:
            ValueError: if it is not tried so.
        """
        if self.largest is None:
            raise ValueError("largest must be a size, to match another's parameters, got None")
        return bisect.bisect_left(
            range(self.largest),
            goal,
            lo=SMALLEST,
            key=lambda size: self.make(image, Training(1.0), size).parameters,
        )


def each_third(rate: float) -> tuple[float, ...]:
    """The rate of the authors, a third of it and three times it."""
    return (rate / 3, rate, 3 * rate)


RIVALS = {
    "SIREN": Rival(siren, (5e-4, 1.5e-3, 5e-3), 1_024),
    "WIRE": Rival(wire, each_third(5e-3), 1_024),
    "Fourier MLP": Rival(fourier, each_third(2e-3), 1_024),
    "hash grid, 2^14": Rival(hash_grid, each_third(1e-2), 2**19),
    "hash grid, 2^19": Rival(large_hash_grid, (1e-2,)),
    "dense grid": Rival(dense_grid, each_third(1e-2), 512),
    "SIREN" + SPLINE: Rival(siren, between=True),
    "hash grid, 2^14" + SPLINE: Rival(hash_grid, between=True),
    "hash grid, 2^19" + SPLINE: Rival(large_hash_grid, between=True),
    "dense grid" + SPLINE: Rival(dense_grid, between=True),
}
