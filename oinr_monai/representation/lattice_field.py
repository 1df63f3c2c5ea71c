"""A field known on its whole lattice at once, and a cubic spline between the nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oinr_monai.fields.field import Field
from oinr_monai.grids.constants import numbers
from oinr_monai.grids.jets import jet_derivatives, jet_size
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.operators.operator import LatticeOperator

from .operator_field import OperatorField

__all__ = ["LatticeField"]


class LatticeField(OperatorField):
    """The signal of an operator from whole lattices to whole lattices, such as a wavelet operator.

    Its answer is known at the voxel centres of the fitted grid alone. In between it is the cubic
    B-spline through them: as good between the samples as the answer on them is, twice
    differentiable, but not a finer operator. The lattice is answered as a whole, once, and kept.

    Args:
        encoding: input function f.
        network: operator; its ``in_channels`` are the channels of ``encoding``.
        spacing: voxel spacing of the fitted grid, in mm.
        shape: shape of the fitted grid.

    Raises:
        ValueError: if the operator cannot answer a lattice of this shape, or the two disagree.

    Example:
        >>> from oinr_monai import CZOINR, FourierEncoding
        >>> from oinr_monai.grids.positions import Scatter
        >>> field = FourierEncoding(extent=(15.0, 15.0), spacing=(1.0, 1.0), bands=3)
        >>> signal = LatticeField(field, CZOINR(2, 12, 1, levels=2), (1.0, 1.0), (16, 16))
        >>> signal(Scatter((torch.rand(5), torch.rand(5))), order=1).shape
        torch.Size([3, 1, 5])
    """

    def __init__(
        self,
        encoding: Field,
        network: LatticeOperator,
        spacing: Sequence[float],
        shape: Sequence[int],
    ) -> None:
        super().__init__(encoding, network, spacing)
        network.check_lattice(shape)
        self.network: LatticeOperator
        self.shape = tuple(shape)
        self._kept: dict[object, CubicInterpolant] = {}

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, field and operator as they are: the caller describes them."""
        return {**super().arguments(), "shape": list(self.shape)}

    def with_spacing(self, spacing: Sequence[float]) -> LatticeField:
        """This field itself: it has the one lattice."""
        return self

    @property
    def hidden_channels(self) -> tuple[int, ...]:
        """Channels before the last matrix."""
        return (self.network.channels,)

    @property
    def anywhere(self) -> bool:
        """True: a spline has a value at any place."""
        return True

    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""
        dims = len(self.shape)
        width = max(self.network.out_channels, self.network.channels)
        return width * jet_size(dims, order) * (4**dims if scattered else 1)

    def forward(
        self,
        positions: Positions,
        order: int = 0,
        layer: int | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the signal, or of the last activations.

        Only :meth:`on_lattice` passes gradients on.
        """
        dims = len(self.shape)
        in_voxels = [x / h for x, h in zip(positions.axes, self.spacing, strict=True)]
        jet = self._interpolant(layer).jet(type(positions)(tuple(in_voxels)), order)
        scales = tuple(
            math.prod(h**-n for h, n in zip(self.spacing, derivatives, strict=True))
            for derivatives in jet_derivatives(dims, order)
        )
        return jet * numbers(scales, jet).view(-1, *[1] * (jet.ndim - 1))

    def on_lattice(self, layer: int | None = None) -> Tensor:
        """Signal (C, *shape) at the voxel centres of the fitted grid, or the last activations."""
        like = next(self.network.parameters())
        axes = [
            torch.arange(n, dtype=torch.float64, device=like.device) * h
            for n, h in zip(self.shape, self.spacing, strict=True)
        ]
        field = self.encoding(Lattice(tuple(axes))).to(like.dtype)
        return (self.network(field) if layer is None else self.network.hidden(field))[0]

    def settle(self) -> None:
        """Answer the lattice, for the programs that are exported from here on."""
        super().settle()
        self._kept = {None: self._interpolant(None)}

    def _interpolant(self, layer: int | None) -> CubicInterpolant:
        if torch.compiler.is_exporting():  # a program holds the spline, and not the operator
            return self._kept[None]
        # What was kept holds as long as no parameter has changed or moved.
        state = (layer, *((p.data_ptr(), p._version) for p in self.parameters()))
        if state not in self._kept:
            with torch.no_grad():
                self._kept = {state: CubicInterpolant(self.on_lattice(layer))}
        return self._kept[state]
