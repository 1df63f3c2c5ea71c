"""A fitted image as a function: ask it on any grid, at any point, with exact derivatives."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oinr_monai.coding.decoder import FORMAT_VERSION as SAMPLED
from oinr_monai.coding.decoder import CodedSamples
from oinr_monai.coding.encoder import Coded
from oinr_monai.coding.quality import Lossless, Quality
from oinr_monai.grids.checks import check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.jets import Jet, upper_triangle
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.grids.precision import full_precision
from oinr_monai.grids.tiles import Tile, most_numbers, put_together, slabs
from oinr_monai.images.intensity import IntensityScale, column
from oinr_monai.images.meta import KEPT, inherit
from oinr_monai.images.meta_keys import FILENAME

from .continuous_field import ContinuousField
from .in_monai import InMonai
from .in_notebooks import InNotebooks
from .info import Info
from .oinr_file import Contents, format_version, read_oinr, write_oinr
from .sampled_field import SampledField
from .sampled_file import read_sampled, write_sampled
from .smoothed_field import SmoothedField
from .world import all_of, flatten_border, in_the_world

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["Representation"]

# Voxels of a slab: 64 MiB of float32.
SLAB_VOXELS = 1 << 24

# Part of a voxel by which rounding may place a centre beyond the outermost ones; by hand.
ROUNDING = 1e-4


class Representation(InMonai, InNotebooks):
    """A continuous function fitted to an image, in the image's own intensities and millimetres.

    It answers at any place between the outermost voxel centres. Over the half voxel beyond them it
    keeps the border's value, and farther out it returns the image's minimum, both with zero
    derivatives. Any grid with axes along the fitted ones, and any scattered point, is answered by
    the same function to rounding; so is a rotated grid, point by point.

    Args:
        field: the standardised signal over mm along the axes of ``grid``.
        grid: grid of the image that was fitted.
        scale: intensity scale of the image.
        info: settings and scores of the fit, an :class:`Info` or JSON values.
        source: file of the image, after which MONAI names what it writes; not kept in the file.

    Example:
        >>> import torch
        >>> from oinr_monai import ConvOINR, FourierEncoding, Grid, NeuralField
        >>> grid = Grid((8, 8), torch.eye(4))
        >>> field = FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=2)
        >>> signal = NeuralField(field, ConvOINR(2, 8, 1, channels=(8,)), grid.spacing.tolist())
        >>> representation = Representation(signal, grid, IntensityScale((5.0,), (2.0,), (0.0,)))
        >>> representation.sample(grid.refine(2)).shape
        torch.Size([1, 15, 15])
        >>> representation.gradient_at(torch.tensor([[1.5, 2.5]])).shape
        torch.Size([1, 1, 2])
    """

    def __init__(
        self,
        field: ContinuousField,
        grid: Grid,
        scale: IntensityScale,
        info: Mapping[str, Any] | None = None,
        source: str | None = None,
    ) -> None:
        self.field = field.eval().requires_grad_(False)
        self.grid, self.scale, self._info = grid, scale, Info.of(info or {})
        self.meta: dict[str, Any] = {name: self._info[name] for name in KEPT if name in self._info}
        if source is not None:
            self.meta[FILENAME] = source
        self.applied_operations: list[Any] = []

    @property
    def info(self) -> Info:
        """Settings and scores of the fit, and what the image said of its values."""
        of_image = {name: self.meta[name] for name in KEPT if name in self.meta}
        return self._info | of_image if of_image else self._info

    @info.setter
    def info(self, info: Mapping[str, Any]) -> None:
        self._info = Info.of(info)

    @property
    def source(self) -> str | None:
        """File of the image; None where none is known."""
        return self.meta.get(FILENAME)

    # ---- asking -------------------------------------------------------------------------------

    def sample(self, grid: Grid | None = None) -> MetaTensor:
        """Intensities (C, *grid.shape) at the voxel centres of ``grid``, the fitted one if None."""
        return inherit(self.map(lambda jet: jet.value, grid, order=0), self)

    def slabs(self, grid: Grid | None = None, voxels: int = SLAB_VOXELS) -> Iterator[Tensor]:
        """The same by slabs across the last axis, (C, *grid.shape[:-1], thickness) each.

        So that what is written to disk slab by slab never is in memory as a whole.

        Args:
            grid: where, the fitted grid if None.
            voxels: voxels of a slab, about; one plane at least.
        """
        grid = grid or self.grid
        for start, stop in slabs(grid.shape, voxels):
            yield self.sample(grid.crop(start, stop)).as_tensor()

    def at(self, points: Tensor) -> Tensor:
        """Intensities (N, C) at world points (N, D) in mm."""
        return self.jet_at(points, order=0).value.T

    def gradient(self, grid: Grid | None = None) -> MetaTensor:
        """World gradient (C D, *grid.shape), the D components of each channel together, per mm."""
        return self.map(lambda jet: jet.gradient.flatten(0, 1), grid, order=1)

    def gradient_at(self, points: Tensor) -> Tensor:
        """World gradient (N, C, D) at world points (N, D), per mm."""
        return self.jet_at(points, order=1).gradient.movedim(-1, 0)

    def hessian(self, grid: Grid | None = None) -> MetaTensor:
        """World Hessian (C D (D + 1) / 2, *grid.shape), per mm², ordered xx xy xz yy yz zz."""
        return self.map(lambda jet: upper_triangle(jet.hessian).flatten(0, 1), grid)

    def hessian_at(self, points: Tensor) -> Tensor:
        """World Hessian (N, C, D, D) at world points (N, D), per mm²."""
        return self.jet_at(points).hessian.movedim(-1, 0)

    def jet(self, grid: Grid | None = None) -> Jet:
        """Intensities, world gradient and world Hessian on a grid, in one pass.

        Returns:
            Tensors (C, *grid.shape), (C, D, *grid.shape) and (C, D, D, *grid.shape).
        """
        dims, channels = self.grid.spatial_dims, self.field.channels
        flat = self.map(lambda jet: torch.cat([p.flatten(0, p.ndim - dims - 1) for p in jet]), grid)
        value, gradient, hessian = flat.as_tensor().split(
            [channels, channels * dims, channels * dims**2]
        )
        return Jet(
            value,
            gradient.unflatten(0, (channels, dims)),
            hessian.unflatten(0, (channels, dims, dims)),
        )

    def jet_at(self, points: Tensor, order: int = 2) -> Jet:
        """Intensities, world gradient and world Hessian at world points (N, D), in one pass.

        Args:
            points: in mm.
            order: 0 for intensities alone, 1 for the gradient as well, 2 for all three.

        Returns:
            Tensors (C, N), (C, D, N) and (C, D, D, N).
        """
        if points.ndim != 2 or points.shape[1] != self.grid.spatial_dims:
            raise ValueError(
                f"points must have shape (N, {self.grid.spatial_dims}), got {tuple(points.shape)}"
            )
        voxels = self.grid.to_voxel(points.to(self._device))
        jets = [
            self._answer(Scatter(tuple(chunk.T)), order)
            for chunk in voxels.split(self._places(order, scattered=True))
        ]
        return Jet(*(torch.cat(parts, dim=-1) for parts in zip(*jets, strict=True)))

    def map(
        self, function: Callable[[Jet], Tensor], grid: Grid | None = None, order: int = 2
    ) -> MetaTensor:
        """A function of intensities, gradient and Hessian at the voxel centres of a grid.

        All three come from one pass. The function is called tile by tile, so that what it does not
        return takes the memory of a tile, and not ten times that of the volume.

        Args:
            function: maps a :class:`~oinr_monai.grids.Jet` at places (*tile,) to
                (K, *tile).
            grid: where, the fitted grid if None.
            order: 0 if the function reads intensities alone, 1 the gradient too, 2 all three.

        Returns:
            Image (K, *grid.shape).
        """
        grid = grid or self.grid
        return self._image(grid, self._on_grid(grid, order, function))

    def features(self, grid: Grid | None = None, layer: int | None = None) -> MetaTensor:
        """Activations (F, *grid.shape) of one hidden layer, the last if None; counted from 1.

        Raises:
            ValueError: if there is no such layer.
        """
        self.check_layers()
        depth = len(self.field.hidden_channels)
        layer = depth if layer is None else layer
        if not 1 <= layer <= depth:
            raise ValueError(f"layer must be 1 to {depth}, got {layer}")
        grid = grid or self.grid
        return self._image(grid, self._on_grid(grid, 0, lambda jet: jet.value, layer))

    def check_layers(self) -> None:
        """Raise ValueError if it has no hidden layers, whose activations :meth:`features` are."""
        if not self.field.hidden_channels:
            raise ValueError(
                "representation must have hidden layers for features, got an image in closed form; "
                'fit it with preset="fast", "balanced" or "best"'
            )

    # ---- what an answer is made of --------------------------------------------------------------

    def _image(self, grid: Grid, values: Tensor) -> MetaTensor:
        return inherit(grid.to_image(values), self, values=False)

    def of_field(self, field: ContinuousField, **info: Any) -> Representation:
        """The same with another field, and with items of ``info`` that say what that is."""
        return inherit(Representation(field, self.grid, self.scale, self._info | info), self)

    @full_precision()
    @torch.no_grad()
    def _on_grid(
        self, grid: Grid, order: int, function: Callable[[Jet], Tensor], layer: int | None = None
    ) -> Tensor:
        check_room(grid.shape)
        lattice = self._lattice(grid)
        places = partial(self._scattered, grid) if lattice is None else lattice.part
        return put_together(
            grid.shape,
            self.field.numbers(order, lattice is None),
            lambda tile: function(self._answer(places(tile), order, layer)),
            source=self._device,
        )

    def _lattice(self, grid: Grid) -> Lattice | None:
        # The voxels of the grid in those of the fitted one, where the field can take them so.
        axes = grid.axes_in(self.grid)
        if axes is None:
            return None
        steps: tuple[float, ...] | None = None
        if not self.field.anywhere:
            # Inner kernels need a regular lattice that starts on the domain and stays there.
            sizes = zip(axes, self.grid.shape, strict=True)
            inside = all(float(x.min()) >= 0 and float(x.max()) <= n - 1 for x, n in sizes)
            factors = Lattice(axes).dilation([1.0] * len(axes))
            if factors is None or not inside:
                return None
            steps = tuple(1 / factor for factor in factors)
        return Lattice(tuple(x.to(self._device) for x in axes), steps)

    def _scattered(self, grid: Grid, tile: Tile) -> Scatter:
        box = grid.crop([s.start for s in tile], [s.stop for s in tile])
        return Scatter(tuple(self.grid.to_voxel(box.points().flatten(0, -2).to(self._device)).T))

    @full_precision()
    @torch.no_grad()
    def _answer(self, voxels: Positions, order: int, layer: int | None = None) -> Jet:
        clamped, inside, beyond = [], [], []
        for d, (v, size, h) in enumerate(
            zip(voxels.axes, self.grid.shape, self.grid.spacing.tolist(), strict=True)
        ):
            clamped.append(v.clamp(0, size - 1) * h)
            near = (v >= -0.5) & (v <= size - 0.5)
            # Across a single slice nothing is known, and the border's value is kept.
            within = (v >= -ROUNDING) & (v <= size - 1 + ROUNDING) & (size > 1)
            inside.append(voxels.spread(near[:, None], d)[..., 0])
            beyond.append(voxels.spread(within[:, None], d)[..., 0])
        places = replace(voxels, axes=tuple(clamped))
        if isinstance(places, Lattice) and places.steps is not None:
            pairs = zip(places.steps, self.grid.spacing.tolist(), strict=True)
            places = replace(places, steps=tuple(step * h for step, h in pairs))
        jet = self.field(places, order, layer)
        if order:
            jet = flatten_border(jet, beyond)
        if layer is not None:
            return Jet(jet[0] * all_of(inside), jet[1:], jet[1:])
        return self._in_the_world(jet, all_of(inside))

    def _in_the_world(self, jet: Tensor, inside: Tensor) -> Jet:
        # From standardised intensities and mm along the axes to the image's own and the world's.
        value, intensities = jet[0], self.scale.restore(jet[0])
        slopes = jet[1:] * (inside * column(self.scale.std, value))
        return Jet(
            torch.where(inside, intensities, column(self.scale.outside, intensities)),
            *in_the_world(slopes, self.grid.directions),
        )

    def _places(self, order: int, scattered: bool) -> int:
        return max(most_numbers(self._device) // self.field.numbers(order, scattered), 1)

    # ---- moving and keeping ---------------------------------------------------------------------

    @full_precision()
    def smoothed(self, sigma: float) -> Representation:
        """This function smoothed by a Gaussian of ``sigma`` mm: its derivatives are at that scale.

        See :class:`~oinr_monai.representation.smoothed_field.SmoothedField` for how, and how exact
        it is. The result is for asking; a file keeps the function that it came from.

        Raises:
            ValueError: if ``sigma`` is negative, or the axes of the grid are not at right angles.
        """
        if sigma == 0:
            return self
        if not self.grid.orthogonal:
            raise ValueError(
                "sigma must be 0 where the axes of the grid are not at right angles, "
                f"got {sigma}; resample the image before fitting it"
            )
        field = SmoothedField(self.field, sigma, self.grid.shape, self.grid.spacing.tolist())
        return self.of_field(field)

    @property
    def _device(self) -> torch.device:
        return self.field.device

    @property
    def parameters(self) -> int:
        """Numbers that it is made of: what was fitted, or the samples of an image."""
        return self.field.size

    def to(self, target: torch.device | torch.dtype | str) -> Representation:
        """A copy on another device or in another floating-point type."""
        return self.of_field(copy.deepcopy(self.field).to(target))

    def with_spacing(self, spacing: Sequence[float]) -> Representation:
        """This function with the nodes of its kernels ``spacing`` (D,) apart, in mm.

        The integral operators of a :class:`~oinr_monai.CKConvOINR` are approximated at any spacing,
        to second order in it: at that of the grid to be sampled, above all. Other operators have
        one spacing, and do not change.
        """
        return self.of_field(self.field.with_spacing(spacing))

    def save(self, path: str | os.PathLike[str], quality: Quality | None = None) -> Coded | None:
        """Write one safetensors file with a JSON header, complete or not at all.

        An image in closed form is kept as its samples, coded (format version 2), anything else as
        its weights (version 1). Wall times, ``info["seconds"]``, are not kept, so that the same fit
        is the same file.

        Args:
            path: the file.
            quality: what is promised of the samples, and checked: ``Lossless()``,
                ``MaxError(...)``, ``Psnr(...)`` or ``Bits(...)`` of :mod:`oinr_monai.coding`. If
                None, whole numbers keep every bit, others are off by at most 1e-5 of their range,
                and those of a file are copied as they are.

        Returns:
            What came of coding samples: bytes and errors; None where none was coded.

        Raises:
            ValueError: if it was smoothed, or would not be read again: a number is not finite, or
                its parts disagree; if the quality cannot be met, or weights are given one.
            OSError: if the file cannot be written.
        """
        if isinstance(self.field, SmoothedField):
            raise ValueError(
                "representation must be saved as it was fitted, got it smoothed; save the one that "
                "smoothed() was asked of"
            )
        contents = Contents(self.field, self.grid, self.scale, self.info)
        if isinstance(self.field, SampledField):
            return write_sampled(path, contents, self.field, quality)
        if quality is not None:
            raise ValueError(
                f"quality must be None for weights, which are kept as they are, got {quality}"
            )
        write_oinr(path, contents)
        return None

    def save_exactly(self, path: str | os.PathLike[str]) -> None:
        """Write a file that answers as this does, to the last bit."""
        field = self.field
        apart = isinstance(field, SampledField) and not isinstance(field.samples, CodedSamples)
        self.save(path, Lossless() if apart else None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Representation:
        """Read what :meth:`save` wrote; samples are read where they are asked for.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a representation, damaged, of a newer format, or of a plug-in
                that is not installed.
        """
        sampled = format_version(path) == SAMPLED
        held = read_sampled(Path(path)) if sampled else read_oinr(path)
        return cls(held.field, held.grid, held.scale, held.info, source=str(path))

    def __repr__(self) -> str:
        spacing = " x ".join(f"{h:.4g}" for h in self.grid.spacing.tolist())
        return f"Representation({self.grid.shape} at {spacing} mm, {self.parameters:,} parameters)"
