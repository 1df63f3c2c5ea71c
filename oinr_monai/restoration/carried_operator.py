r"""An operator of super-resolution that carries over from scan to scan.

Its weights are functions of what it is told of a scan: features are scaled and moved by a small
network of it (feature-wise modulation), and the last layer answers at any place within a coarse
voxel, by polynomials of the offset,

.. math:: G[y](x_i + \delta) = \sum_b P_b(\delta) \sum_o W_{bo} h(x_i + o \circ s) .

It maps slices and what is told of them, channels of one tensor, to the coefficients of these
polynomials. For one scan what is told is constant, and folds into the plain weights of a
:class:`~oinr_monai.restoration.slice_operator.SliceOperator`, which costs no more than one that
learned from that scan alone, and goes on learning in the same way.

References:
    Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    Chen, Liu and Wang, "Learning Continuous Image Representation with Local Implicit Image
    Function", CVPR 2021 (answers at any offset).
"""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import as_file, files
from typing import final

import torch
from torch import Tensor, nn

from oinr_monai.coding.tensor_file import FileKind, write_tensor_file
from oinr_monai.fitting.checkpoint import fingerprint

from .carried_file import read_carried
from .slice_operator import LEAK, SliceOperator
from .told import Told

__all__ = ["CarriedOperator", "at_places", "shipped_operator", "told_slices"]

# Polynomials of the offset: as many as places that a factor of 8 asks for. This and the next are
# chosen by hand.
DEGREES = 8

# Width of the network of what is told.
TELLING = 32


# The most of each that a file may ask for: many times what ours have.
MOST = {"width": 512, "blocks": 64}

KIND = FileKind(
    "carried_operator",
    "start must be an operator that learn_super_resolution made and saved, got {path} ({reason})",
)


class _Body(nn.Module):
    """The integrals of a plain operator, which what is told comes between."""

    def __init__(self, plain: SliceOperator) -> None:
        super().__init__()
        self.head, self.blocks, self.tail = plain.head, plain.blocks, plain.tail


@final
class CarriedOperator(nn.Module):
    """One set of weights for slices of any spacing, profile and noise; the slices lie along axis 2.

    It starts as zero, whatever it is told.

    Args:
        width: channels of the blocks.
        blocks: number of blocks.

    Example:
        >>> from oinr_monai.scanner.profiles import Boxcar
        >>> carried = CarriedOperator(width=8, blocks=1)
        >>> plain = carried.at(factor=3, told=Told.of(2.5, Boxcar(2.5), 2.5))
        >>> plain(torch.zeros(1, 1, 6, 7, 5)).shape
        torch.Size([1, 1, 6, 7, 15])
    """

    # TorchScript compiles what answers, not what optimizers ask for.
    __jit_unused_properties__ = ("blocks", "tail")

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.width = width
        plain = SliceOperator(3, 1, (1, 1, DEGREES), width, blocks)
        self.body, self.rectify = _Body(plain), nn.LeakyReLU(LEAK)
        # A gain and a move for each channel of the head and of the first half of each block, and a
        # gain for each that the tail reads.
        last = nn.Linear(TELLING, width * (2 * (blocks + 1) + 1))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.telling = nn.Sequential(
            nn.Linear(Told.COUNT, TELLING), nn.SiLU(), nn.Linear(TELLING, TELLING), nn.SiLU(), last
        )

    def __repr__(self) -> str:
        digest = fingerprint(*self.state_dict().values())
        return f"{type(self).__name__}({self.width}, {len(self.blocks)}, {digest})"

    @property
    def blocks(self) -> nn.Sequential:
        """The blocks."""
        return self.body.blocks

    @property
    def tail(self) -> nn.Module:
        """The last layer."""
        return self.body.tail

    def forward(self, seen: Tensor) -> Tensor:
        """Map slices and what is told of them to polynomials within each slice.

        Args:
            seen: (B, 1 + :attr:`Told.COUNT`, x, y, z) of :func:`told_slices`.

        Returns:
            Their coefficients (B, DEGREES, x, y, z), which :func:`at_places` evaluates.
        """
        changes = self.telling(seen[:, 1:].mean(dim=(2, 3, 4)))
        changes = changes.reshape(-1, 2 * len(self.body.blocks) + 3, self.width, 1, 1, 1)
        h = self.body.head(seen[:, :1]) * (1 + changes[:, 0]) + changes[:, 1]
        for i, block in enumerate(self.body.blocks):
            gain, move = changes[:, 2 * i + 2], changes[:, 2 * i + 3]
            h = block(h, 1 + gain, move)
        return self.body.tail(self.rectify(h) * (1 + changes[:, -1]))

    @torch.no_grad()
    def at(self, factor: int, told: Told) -> SliceOperator:
        """The plain operator for one kind of scan, with ``factor`` places in each slice."""
        plain = SliceOperator(3, 1, (1, 1, factor), self.width, len(self.blocks))
        plain.load_state_dict(self._folded(factor, told))
        return plain

    def _folded(self, factor: int, told: Told) -> dict[str, Tensor]:
        device = self.tail.get_parameter("bias").device
        changes = self.telling(told.numbers().to(device)).unflatten(0, (-1, self.width))
        weights: dict[str, Tensor] = dict(self.body.named_parameters())
        names = ["head", *(f"blocks.{i}.first" for i in range(len(self.blocks)))]
        for name, gain, move in zip(names, 1 + changes[:-1:2], changes[1:-1:2], strict=True):
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            weights[f"{name}.weight"] = weight * gain.view(-1, 1, 1, 1, 1)
            weights[f"{name}.bias"] = bias * gain + move
        polynomials, gain = legendre(factor).to(device), 1 + changes[-1]
        tail = weights["tail.weight"] * gain.view(-1, 1, 1, 1)
        weights["tail.weight"] = torch.einsum("fb,b...->f...", polynomials, tail)
        weights["tail.bias"] = polynomials @ weights["tail.bias"]
        return weights

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the operator, complete or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        header = {"width": self.width, "blocks": len(self.blocks)}
        write_tensor_file(path, KIND.key, header, self.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CarriedOperator:
        """Read an operator, from a file that may hold anything.

        Raises:
            OSError: if there is no such file.
            ValueError: if it holds no such operator, or is damaged.
        """
        return read_carried(path, KIND, MOST, cls)


@cache
def shipped_operator() -> CarriedOperator:
    """The operator that the package ships, which ``scripts/learn_super_resolution.py`` made.

    Example:
        >>> shipped_operator().width
        48
    """
    with as_file(files("oinr_monai.restoration") / "super_resolution.safetensors") as path:
        return CarriedOperator.load(path)


def told_slices(coarse: Tensor, told: Told) -> Tensor:
    """Slices (B, 1, x, y, z), and what is told of them as channels that are alike everywhere.

    Example:
        >>> from oinr_monai.scanner.profiles import Boxcar
        >>> told_slices(torch.zeros(2, 1, 6, 7, 5), Told.of(2.5, Boxcar(2.5), 2.5)).shape
        torch.Size([2, 6, 6, 7, 5])
    """
    numbers = told.numbers().to(coarse).view(1, -1, 1, 1, 1)
    return torch.cat([coarse, numbers.expand(len(coarse), -1, *coarse.shape[2:])], dim=1)


def at_places(coefficients: Tensor, factor: int) -> Tensor:
    """Polynomials within slices (B, DEGREES, x, y, z) at ``factor`` places (B, 1, x, y, z factor).

    Example:
        >>> at_places(torch.ones(1, 8, 6, 7, 5), factor=3).shape
        torch.Size([1, 1, 6, 7, 15])
    """
    values = torch.einsum("fb,nbxyz->nxyzf", legendre(factor).to(coefficients), coefficients)
    return values.flatten(3)[:, None]


def legendre(factor: int) -> Tensor:
    """Normalised Legendre polynomials (factor, DEGREES) at the middles of equal parts of a voxel.

    Example:
        >>> legendre(2)[:, 0].tolist()
        [1.0, 1.0]
    """
    x = (2 * torch.arange(factor, dtype=torch.float64) + 1) / factor - 1
    rows = [torch.ones_like(x), x]
    for n in range(1, DEGREES - 1):
        rows.append(((2 * n + 1) * x * rows[n] - n * rows[n - 1]) / (n + 1))
    return torch.stack([(2 * n + 1) ** 0.5 * row for n, row in enumerate(rows)], dim=1).float()
