"""Competitors for the benchmarks, each set up as its authors publish it, behind one interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class Baseline(ABC):
    """A competitor that fits one volume step by step, so that a bench can hold the clock.

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
        """Return the prediction at all voxels, shape (X, Y, Z), in intensity units."""

    @abstractmethod
    def at(self, voxels: Tensor) -> Tensor | None:
        """Return the prediction (N,) at voxel coordinates (N, 3), or None if there is none."""


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


def siren_network(
    width: int, layers: int, omega_0: float, dims: int = 3, channels: int = 1
) -> nn.Sequential:
    """Return ``layers`` sine layers of ``width`` and a linear last one, (N, D) to (N, C)."""
    sizes = (dims, *(width,) * layers)
    hidden = [SirenLayer(a, b, i == 0, omega_0) for i, (a, b) in enumerate(pairwise(sizes))]
    last = nn.Linear(width, channels)
    bound = math.sqrt(6 / width) / omega_0
    nn.init.uniform_(last.weight, -bound, bound)
    return nn.Sequential(*hidden, last)


class Siren(Baseline):
    """SIREN on random voxels: coordinates in [-1, 1], standardised target, Adam.

    The learning rate falls linearly to zero over the budget.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        volume: intensities, shape (X, Y, Z).
        width: units of each hidden layer.
        layers: number of hidden (sine) layers.
        learning_rate: Adam's rate at the start.
        points: voxels drawn for each step.
    """

    omega_0 = 30.0

    def __init__(
        self,
        volume: Tensor,
        width: int = 128,
        layers: int = 3,
        learning_rate: float = 5e-4,
        points: int = 16_384,
    ) -> None:
        super().__init__(siren_network(width, layers, self.omega_0), f"SIREN {width}x{layers}")
        self.shape = tuple(volume.shape)
        self.mean, self.std = volume.mean(), volume.std()
        self.coordinates = grid_points(self.shape).reshape(-1, 3)
        self.target = ((volume - self.mean) / self.std).reshape(-1, 1)
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
        """Return the prediction at all voxels, shape (X, Y, Z), in intensity units."""
        return self._evaluate(self.coordinates).reshape(self.shape)

    def at(self, voxels: Tensor) -> Tensor:
        """Return the prediction (N,) at voxel coordinates (N, 3)."""
        ends = torch.tensor(self.shape, dtype=voxels.dtype) - 1
        return self._evaluate((2 * voxels / ends - 1).to(self.coordinates.dtype))

    @torch.no_grad()
    def _evaluate(self, coordinates: Tensor) -> Tensor:
        chunks = [self.network(chunk) for chunk in coordinates.split(65_536)]
        return torch.cat(chunks).squeeze(-1) * self.std + self.mean


class SineConvStack(nn.Module):
    """3x3x3 convolutions with bias and zero padding, sines between them.

    Weights and biases keep the start that PyTorch gives a convolution, uniform within
    1 / sqrt(fan_in), as the published code does.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv3d(before, after, 3, padding="same") for before, after in pairwise(channels)
        )

    def forward(self, field: Tensor) -> Tensor:
        """Map an encoded field (B, E, X, Y, Z) to the signal (B, C, X, Y, Z)."""
        for layer in self.layers[:-1]:
            field = torch.sin(layer(field))
        return self.layers[-1](field)


def dyadic_encoding(shape: tuple[int, ...], octaves: int) -> Tensor:
    """Return sin and cos of 2^i pi x, i = 0..octaves-1, per axis: (1, 2 octaves D, *shape)."""
    points = grid_points(shape).movedim(-1, 0)
    angles = [2**octave * math.pi * axis for axis in points for octave in range(octaves)]
    return torch.stack([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)])[None]


class PublishedOINR3d(Baseline):
    """The published three-dimensional O-INR, trained on the whole block at every step.

    Its kernels are fixed in voxels and its encoding is made for one grid, so on another lattice
    the same weights are another function: there is no prediction between the samples.
    The target is divided by its maximum (published for binary volumes); Adam's rate is constant.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024, and the
        volume part of the released code, https://github.com/vsingh-group/oinr.

    Args:
        volume: intensities, shape (X, Y, Z), with a positive maximum.

    Raises:
        ValueError: if the maximum of ``volume`` is not positive.
    """

    channels = (48, 64, 128, 128, 64, 1)
    octaves = 8
    learning_rate = 5e-3
    published_parameters = 969_793

    def __init__(self, volume: Tensor) -> None:
        if volume.max() <= 0:
            raise ValueError(f"volume must have a positive maximum, got {volume.max().item()}")
        super().__init__(SineConvStack(self.channels), "O-INR, published 3-D recipe")
        if self.parameters != self.published_parameters:
            raise RuntimeError(f"expected {self.published_parameters}, got {self.parameters}")
        self.field = dyadic_encoding(tuple(volume.shape), self.octaves)
        self.scale = volume.max()
        self.target = (volume / self.scale)[None, None]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)

    def step(self, progress: float) -> None:
        """Train one step on the whole block."""
        adam_step(self.optimizer, F.mse_loss(self.network(self.field), self.target))

    @torch.no_grad()
    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (X, Y, Z), in intensity units."""
        return self.network(self.field)[0, 0] * self.scale

    def at(self, voxels: Tensor) -> None:
        """Return None: the published network is defined on its own grid only."""
        return None
