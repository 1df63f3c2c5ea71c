"""The published O-INR recipes, rebuilt from the facts of the paper and of its released code.

References:
    Pal et al., "Implicit Representations via Operator Learning", ICML 2024, and the released
    code, https://github.com/vsingh-group/oinr.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from oinr_monai import SequenceOINR
from scripts.rivals.baseline import Baseline, adam_step, grid_points

HIDDEN = (64, 128, 128, 64)


def checked(network: nn.Module, expected: int | None) -> nn.Module:
    """Return ``network``, sure that it has the published number of parameters, if one is known."""
    count = sum(parameter.numel() for parameter in network.parameters())
    if expected not in (None, count):
        raise RuntimeError(f"expected {expected} parameters, got {count}")
    return network


def dyadic_encoding(shape: tuple[int, ...], octaves: int) -> Tensor:
    """Return sin and cos of 2^i pi x, i = 0..octaves-1, per axis: (1, 2 octaves D, *shape)."""
    points = grid_points(shape).movedim(-1, 0)
    angles = [2**octave * math.pi * axis for axis in points for octave in range(octaves)]
    return torch.stack([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)])[None]


def noisy_encoding(shape: tuple[int, ...], octaves: int) -> Tensor:
    """Return the dyadic encoding and one channel of noise: (1, 2 octaves D + 1, *shape)."""
    return torch.cat([dyadic_encoding(shape, octaves), torch.randn(1, 1, *shape)], dim=1)


class SineStack(nn.Module):
    """Layers with sines between them.

    Args:
        layers: maps of fields (B, C, *spatial), each taking what the one before returns.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, field: Tensor) -> Tensor:
        """Map an encoded field (B, E, *spatial) to the signal (B, C, *spatial)."""
        for layer in self.layers[:-1]:
            field = torch.sin(layer(field))
        return self.layers[-1](field)


def sine_conv_stack(channels: tuple[int, ...], spatial_dims: int, bias: bool) -> SineStack:
    """Return convolutions of width 3 with zero padding, sines between them.

    Weights and biases keep the start that PyTorch gives a convolution, uniform within
    1 / sqrt(fan_in), as the published code does.
    """
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    return SineStack([conv(a, b, 3, padding="same", bias=bias) for a, b in pairwise(channels)])


class Published(Baseline):
    """A published recipe, which has a number of steps of its own."""

    @property
    @abstractmethod
    def published_steps(self) -> int:
        """Steps that its authors take."""


class WholeImage(Published):
    """A published recipe that looks at the whole image in every step: Adam and squared error.

    Adam's rate is constant; a falling one is an option of the released code, off by default.
    Kernels are fixed in voxels and the encoding is made for one grid, so on another lattice the
    same weights are another function: there is no prediction between the samples.

    Args:
        network: maps the encoded field (1, E, *spatial) to the signal (1, C, *spatial).
        name: how tables call the method.
        field: the encoded field.
        image: intensities, shape (C, *spatial).
        scale: what the network's output is multiplied by.
    """

    published_steps: int
    learning_rate: float

    def __init__(
        self, network: nn.Module, name: str, field: Tensor, image: Tensor, scale: float = 1.0
    ) -> None:
        super().__init__(network, name)
        self.field, self.scale = field, scale
        self.target = image[None] / scale
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)

    def step(self, progress: float) -> None:
        """Train one step on the whole image."""
        adam_step(self.optimizer, F.mse_loss(self.network(self.field), self.target))

    @torch.no_grad()
    def on_grid(self) -> Tensor:
        """Return the prediction at all voxels, shape (C, *spatial), in intensity units."""
        return self.network(self.field)[0] * self.scale

    def at(self, voxels: Tensor) -> None:
        """Return None: the published network is defined on its own grid only."""
        return None


class PublishedOINR2d(WholeImage):
    """The published two-dimensional O-INR with discrete convolutions.

    Args:
        image: intensities in [0, 1], shape (C, X, Y).
    """

    published_steps = 1_000
    learning_rate = 1e-3
    octaves = 10
    published_parameters = {1: 318_528, 3: 319_680}

    def __init__(self, image: Tensor) -> None:
        network = sine_conv_stack((4 * self.octaves, *HIDDEN, len(image)), 2, bias=False)
        checked(network, self.published_parameters.get(len(image)))
        field = dyadic_encoding(tuple(image.shape[1:]), self.octaves)
        super().__init__(network, "O-INR, published 2-D recipe", field, image)


class PublishedOINR3d(WholeImage):
    """The published three-dimensional O-INR, trained on the whole block at every step.

    The target is divided by its maximum (published for binary volumes).

    Args:
        volume: intensities, shape (1, X, Y, Z), with a positive maximum.

    Raises:
        ValueError: if the maximum of ``volume`` is not positive.
    """

    published_steps = 1_000
    learning_rate = 5e-3
    octaves = 8
    published_parameters = 969_793

    def __init__(self, volume: Tensor) -> None:
        if volume.max() <= 0:
            raise ValueError(f"volume must have a positive maximum, got {volume.max().item()}")
        network = sine_conv_stack((6 * self.octaves, *HIDDEN, 1), 3, bias=True)
        checked(network, self.published_parameters)
        field = dyadic_encoding(tuple(volume.shape[1:]), self.octaves)
        scale = volume.max().item()
        super().__init__(network, "O-INR, published 3-D recipe", field, volume, scale)


class ContinuousKernelConv(nn.Module):
    """A 2-D convolution whose 3 x 3 kernel is a sine network of the tap's place in [-1, 1]².

    k(x) = V sin(omega_0 (W x + b)) + c with two sines. W starts uniform within 1 / 2, V uniform
    within sqrt(3 / 2) / sqrt(in_channels taps), all biases at zero. The places are the same for
    every image size, as published.

    References:
        Romero et al., "CKConv: Continuous Kernel Convolution for Sequential Data", ICLR 2022;
        Chang et al., "Principled Weight Initialization for Hypernetworks", ICLR 2020.
    """

    omega_0 = 42.0
    units = 2
    taps = 3

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shape = (out_channels, in_channels, self.taps, self.taps)
        self.hidden = nn.Linear(2, self.units)
        self.output = nn.Linear(self.units, out_channels * in_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.uniform_(self.hidden.weight, -1 / 2, 1 / 2)
        bound = math.sqrt(3 / self.units) / math.sqrt(in_channels * self.taps**2)
        nn.init.uniform_(self.output.weight, -bound, bound)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("places", grid_points((self.taps, self.taps)).flatten(0, -2))

    def kernel(self) -> Tensor:
        """Return the sampled kernel (out_channels, in_channels, 3, 3)."""
        waves = torch.sin(self.omega_0 * self.hidden(self.places))
        return self.output(waves).T.reshape(self.shape)

    def forward(self, field: Tensor) -> Tensor:
        """Map (B, in_channels, X, Y) to (B, out_channels, X, Y), zeros around."""
        return F.conv2d(field, self.kernel(), self.bias, padding=self.taps // 2)


class PublishedContinuous(Published):
    """The published O-INR with continuous kernels, one operator for one image at many sizes.

    A step is one image of one size. The first 80 % of the images are trained on, always in their
    order; the next 10 % decide after each pass whether the rate falls; of the rest, the first is
    what ``on_grid`` answers for. Every size has its own fixed noise channel.

    Args:
        images: the same picture at many sizes, shuffled, each (C, n, n) in [0, 1].
    """

    epochs = 400
    learning_rate = 5e-4
    octaves = 10
    published_parameters = {1: 106_783, 3: 107_169}

    def __init__(self, images: Sequence[Tensor]) -> None:
        channels = (4 * self.octaves + 1, *HIDDEN, len(images[0]))
        network = SineStack([ContinuousKernelConv(a, b) for a, b in pairwise(channels)])
        checked(network, self.published_parameters.get(channels[-1]))
        super().__init__(network, "O-INR, published continuous recipe")
        self.training, self.validation, self.unseen = split(images)
        self.fields: dict[int, Tensor] = {}
        self.taken = 0
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.75, patience=35
        )

    @property
    def published_steps(self) -> int:
        """Steps of the published number of passes."""
        return self.epochs * len(self.training)

    def step(self, progress: float) -> None:
        """Train on the next image; after the last, validate and adapt the rate."""
        image = self.training[self.taken % len(self.training)]
        self.taken += 1
        adam_step(self.optimizer, self._loss(image))
        if self.taken % len(self.training) == 0:
            self.plateau.step(self._validation_loss())

    def on_grid(self) -> Tensor:
        """Return the prediction at the first unseen size, shape (C, n, n)."""
        return self.at_size(self.unseen[0].shape[-1])

    @torch.no_grad()
    def at_size(self, size: int) -> Tensor:
        """Return the prediction (C, size, size)."""
        return self.network(self._field(size))[0]

    def at(self, voxels: Tensor) -> None:
        """Return None: the encoding, and with it the prediction, is made for whole images."""
        return None

    def _field(self, size: int) -> Tensor:
        if size not in self.fields:
            self.fields[size] = noisy_encoding((size, size), self.octaves)
        return self.fields[size]

    def _loss(self, image: Tensor) -> Tensor:
        return F.mse_loss(self.network(self._field(image.shape[-1])), image[None])

    @torch.no_grad()
    def _validation_loss(self) -> float:
        return sum(self._loss(image).item() for image in self.validation) / len(self.validation)


def split(images: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    """Return the first 80 %, the next 10 % and the rest."""
    first, second = (int(share * len(images)) for share in (0.8, 0.9))
    return images[:first], images[first:second], images[second:]


class PublishedSequence(Published):
    """The published recipe of sequences: frames of one shape in batches of 8, in a random order.

    Seven convolutions read the encoding plus an offset, 0 to 0.1 over the sequence, on every
    channel; intensities are divided by their maximum.

    Args:
        frames: kept frames (T, C, X, Y), at even times.
        bands: waves in time instead of the offset; 0 as published.
        asked: times, 0 to 1, of the frames that ``on_grid`` answers.
    """

    passes = 200
    batch = 8
    learning_rate = 1e-3
    octaves = 10
    published_parameters = 1_351_617

    def __init__(self, frames: Tensor, bands: int = 0, asked: Sequence[float] = (0.0,)) -> None:
        channels, self.asked = frames.shape[1], asked
        network = SequenceOINR(
            2, 4 * self.octaves, channels, time_bands=bands, omega_0=1.0, padding="same"
        )
        for layer in network.operator.integrals:
            bound = 1 / math.sqrt(layer.fan_in)
            layer.start(bound, bound)
        expected = self.published_parameters if (bands, channels) == (0, 1) else None
        super().__init__(checked(network, expected), "O-INR, published sequence recipe")
        self.scale = frames.abs().max().item()
        self.frames, self.times = frames / self.scale, torch.linspace(0, 1, len(frames))
        self.field = dyadic_encoding(tuple(frames.shape[2:]), self.octaves)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        self.order: list[Tensor] = []

    @property
    def published_steps(self) -> int:
        """Steps of the published number of passes."""
        return self.passes * math.ceil(len(self.frames) / self.batch)

    def step(self, progress: float) -> None:
        """Train on the next frames of the pass."""
        if not self.order:
            self.order = list(torch.randperm(len(self.frames)).split(self.batch))
        chosen = self.order.pop()
        field = self.field.expand(len(chosen), -1, -1, -1)
        found = self.network(field, self.times[chosen])
        adam_step(self.optimizer, F.mse_loss(found, self.frames[chosen]))

    @torch.no_grad()
    def at_time(self, time: float) -> Tensor:
        """Return the frame (C, X, Y) at a time from 0 to 1."""
        return self.network(self.field, torch.tensor([time]))[0] * self.scale

    def on_grid(self) -> Tensor:
        """Return the frames that were asked for, one after the other, (frames C, X, Y)."""
        return torch.cat([self.at_time(time) for time in self.asked])

    def at(self, voxels: Tensor) -> None:
        """Return None: the published network is defined on its own grid only."""
        return None
