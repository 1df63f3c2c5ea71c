"""The interface of the benchmarks' competitors, coordinate networks, and SIREN."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.splines import CubicInterpolant


class Baseline(ABC):
    """A competitor that fits one image step by step, so that a bench can hold the clock.

    Args:
        network: what is trained.
        name: how tables call the method.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        self.network = network
        self.name = name

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return count(self.network)

    @abstractmethod
    def step(self, progress: float) -> None:
        """Train one step, ``progress`` in [0, 1] being the share of the budget already used."""

    @abstractmethod
    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (C, *spatial), in intensity units."""

    @abstractmethod
    def at(self, voxels: Tensor) -> Tensor | None:
        """Return the prediction (N, C) at voxel coordinates (N, D), or None if there is none."""


def count(network: nn.Module) -> int:
    """Return the number of trained numbers; a complex one is two."""
    return sum(p.numel() * (1 + p.is_complex()) for p in network.parameters())


def grid_points(shape: tuple[int, ...]) -> Tensor:
    """Return voxel centres on [-1, 1], both ends included, shape (*shape, len(shape))."""
    axes = [torch.linspace(-1, 1, size) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def adam_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one optimizer step down ``loss``."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@dataclass(frozen=True)
class Training:
    """How a coordinate network is trained.

    Args:
        learning_rate: Adam's rate at the start, which falls linearly to zero over the budget.
        points: places drawn for each step.
        between: the places are anywhere, and what is learned there is the cubic spline through the
            voxels, as ``oinr_monai.fit`` learns it; voxels alone if False.
    """

    learning_rate: float
    points: int = 16_384
    between: bool = False


class CoordinateNetwork(Baseline):
    """A function of coordinates in [-1, 1], trained on the standardised image.

    Args:
        image: intensities, shape (C, *spatial).
        network: maps coordinates (N, D) to standardised intensities (N, C).
        name: how tables call the method.
        training: rate, places a step, and whether they are voxels.
    """

    adam: dict[str, Any] = {}

    def __init__(self, image: Tensor, network: nn.Module, name: str, training: Training) -> None:
        super().__init__(network, name)
        self.shape, self.training = tuple(image.shape[1:]), training
        values = image.flatten(1).T
        self.mean, self.std = values.mean(dim=0), values.std(dim=0)
        self.coordinates = grid_points(self.shape).flatten(0, -2)
        self.target = (values - self.mean) / self.std
        self.spline = self._interpolated() if training.between else None
        rate = training.learning_rate
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate, **self.adam)

    def _interpolated(self) -> CubicInterpolant:
        return CubicInterpolant(self.target.T.unflatten(1, self.shape))

    def step(self, progress: float) -> None:
        """Train one step on random places."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.learning_rate * max(0.0, 1.0 - progress)
        coordinates, target = self._drawn()
        adam_step(self.optimizer, F.mse_loss(self.network(coordinates), target))

    def _drawn(self) -> tuple[Tensor, Tensor]:
        points = self.training.points
        if self.spline is None:
            chosen = torch.randint(len(self.coordinates), (points,))
            return self.coordinates[chosen], self.target[chosen]
        share = torch.rand(points, len(self.shape))
        voxels = share * (torch.tensor(self.shape) - 1)
        return 2 * share - 1, self.spline(Scatter(tuple(voxels.T))).T

    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (C, *spatial), in intensity units."""
        return self._evaluate(self.coordinates).T.unflatten(1, self.shape)

    def at(self, voxels: Tensor) -> Tensor:
        """Return the prediction (N, C) at voxel coordinates (N, D)."""
        return self._evaluate(self._unit(voxels))

    def gradient_at(self, voxels: Tensor) -> Tensor:
        """Return the gradient (N, D) of the first channel at voxel coordinates, per voxel."""
        parts = [self._slope(chunk) for chunk in self._unit(voxels).split(self.training.points)]
        return torch.cat(parts) * self.std[0] * 2 / (torch.tensor(self.shape) - 1)

    def _slope(self, coordinates: Tensor) -> Tensor:
        coordinates.requires_grad_()
        return torch.autograd.grad(self.network(coordinates)[:, 0].sum(), coordinates)[0]

    def _unit(self, voxels: Tensor) -> Tensor:
        ends = torch.tensor(self.shape, dtype=voxels.dtype) - 1
        return (2 * voxels / ends - 1).to(self.coordinates.dtype)

    @torch.no_grad()
    def _evaluate(self, coordinates: Tensor) -> Tensor:
        chunks = [self.network(chunk) for chunk in coordinates.split(65_536)]
        return torch.cat(chunks) * self.std + self.mean


class SirenLayer(nn.Module):
    """A sine layer, sin(omega_0 (W x + b)), with the start of its authors.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020, section 3.2.
    """

    def __init__(self, in_features: int, out_features: int, first: bool, omega_0: float) -> None:
        super().__init__()
        self.omega_0 = omega_0
        self.linear = nn.Linear(in_features, out_features)
        bound = 1 / in_features if first else math.sqrt(6 / in_features) / omega_0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return torch.sin(self.omega_0 * self.linear(x))


def siren_network(sizes: tuple[int, ...], omega_0: float) -> nn.Sequential:
    """Return sine layers and a linear last one, (N, sizes[0]) to (N, sizes[-1])."""
    hidden = [SirenLayer(a, b, i == 0, omega_0) for i, (a, b) in enumerate(pairwise(sizes[:-1]))]
    last = nn.Linear(sizes[-2], sizes[-1])
    bound = math.sqrt(6 / sizes[-2]) / omega_0
    nn.init.uniform_(last.weight, -bound, bound)
    return nn.Sequential(*hidden, last)


class Siren(CoordinateNetwork):
    """SIREN: omega_0 = 30, three hidden layers as its authors have, but half their 256 units.

    Their rate is 1e-4, constant; 5e-4 that falls is better in a minute, and higher ones still are.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        image: intensities, shape (C, *spatial).
        width: units of each hidden layer.
        layers: number of hidden (sine) layers.
        training: rate, places a step, and whether they are voxels.
    """

    omega_0 = 30.0

    def __init__(
        self,
        image: Tensor,
        width: int = 128,
        layers: int = 3,
        training: Training = Training(5e-4),
    ) -> None:
        sizes = (image.ndim - 1, *(width,) * layers, len(image))
        network = siren_network(sizes, self.omega_0)
        super().__init__(image, network, f"SIREN {width}x{layers}", training)
