"""The interface of the benchmarks' competitors, and SIREN set up as its authors publish it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


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
        return sum(parameter.numel() for parameter in self.network.parameters())

    @abstractmethod
    def step(self, progress: float) -> None:
        """Train one step, ``progress`` in [0, 1] being the share of the budget already used."""

    @abstractmethod
    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (C, *spatial), in intensity units."""

    @abstractmethod
    def at(self, voxels: Tensor) -> Tensor | None:
        """Return the prediction (N, C) at voxel coordinates (N, D), or None if there is none."""


def grid_points(shape: tuple[int, ...]) -> Tensor:
    """Return voxel centres on [-1, 1], both ends included, shape (*shape, len(shape))."""
    axes = [torch.linspace(-1, 1, size) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def adam_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one optimizer step down ``loss``."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


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


class Siren(Baseline):
    """SIREN on random voxels: coordinates in [-1, 1], standardised target, Adam.

    The learning rate falls linearly to zero over the budget.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        image: intensities, shape (C, *spatial).
        width: units of each hidden layer.
        layers: number of hidden (sine) layers.
        learning_rate: Adam's rate at the start.
        points: voxels drawn for each step.
    """

    omega_0 = 30.0

    def __init__(
        self,
        image: Tensor,
        width: int = 128,
        layers: int = 3,
        learning_rate: float = 5e-4,
        points: int = 16_384,
    ) -> None:
        self.shape = tuple(image.shape[1:])
        sizes = (len(self.shape), *(width,) * layers, len(image))
        super().__init__(siren_network(sizes, self.omega_0), f"SIREN {width}x{layers}")
        values = image.flatten(1).T
        self.mean, self.std = values.mean(dim=0), values.std(dim=0)
        self.coordinates = grid_points(self.shape).flatten(0, -2)
        self.target = (values - self.mean) / self.std
        self.learning_rate = learning_rate
        self.points = points
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)

    def step(self, progress: float) -> None:
        """Train one step on random voxels."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * max(0.0, 1.0 - progress)
        chosen = torch.randint(len(self.coordinates), (self.points,))
        prediction = self.network(self.coordinates[chosen])
        adam_step(self.optimizer, F.mse_loss(prediction, self.target[chosen]))

    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (C, *spatial), in intensity units."""
        return self._evaluate(self.coordinates).T.unflatten(1, self.shape)

    def at(self, voxels: Tensor) -> Tensor:
        """Return the prediction (N, C) at voxel coordinates (N, D)."""
        ends = torch.tensor(self.shape, dtype=voxels.dtype) - 1
        return self._evaluate((2 * voxels / ends - 1).to(self.coordinates.dtype))

    @torch.no_grad()
    def _evaluate(self, coordinates: Tensor) -> Tensor:
        chunks = [self.network(chunk) for chunk in coordinates.split(65_536)]
        return torch.cat(chunks) * self.std + self.mean
