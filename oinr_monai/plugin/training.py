"""A fit as MONAI training: random lattices of one volume as a dataset, and answers from the result.

:func:`~oinr_monai.fit` is the short way. These are the pieces by which a bundle's ``train.json``
fits a plain operator with MONAI's trainer, handlers and checkpoints.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor
from monai.inferers import Inferer
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from oinr_monai.fields.fourier import FourierEncoding
from oinr_monai.fitting.presets import FitConfig, places_of
from oinr_monai.fitting.samplers import LatticeSampler
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import inherit
from oinr_monai.operators.operator import LocalOperator
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

__all__ = ["RandomLattices", "TrainedInferer", "represent"]


def _field(grid: Grid, bands: int) -> FourierEncoding:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=bands)


def represent(operator: LocalOperator, image: Tensor, bands: int = 8) -> Representation:
    """The representation of ``image`` that ``operator`` was trained to be.

    Args:
        operator: trained on :class:`RandomLattices` of the image; a copy of it is kept.
        image: the image (C, *spatial), which tells grid and intensity scale.
        bands: wavelengths per axis of the field, as in training.

    Raises:
        ValueError: if it was trained with zeros beyond the border, where it would read the field.
    """
    if operator.radius and operator.padding != "valid":
        raise ValueError(
            f'padding must be "valid" for kernels wider than a voxel, got {operator.padding!r}; '
            "train with that, on RandomLattices with the operator's radius as halo"
        )
    grid = Grid.from_image(image)
    plain = plain_tensor(image)
    field = NeuralField(_field(grid, bands), copy.deepcopy(operator), grid.spacing.tolist())
    scale = IntensityScale.of(plain.cpu().float())
    return inherit(Representation(field, grid, scale), image)


class RandomLattices(IterableDataset[dict[str, Tensor]]):
    """Random places of one volume: the field there, and the standardised intensity.

    Each item holds ``image``, the encoded field (2 D bands, *places), and ``label``, the cubic
    spline through the standardised volume (C, *places), for any MONAI trainer and loss.

    Args:
        data: the items of a datalist; it must hold one, since an operator is fitted to one volume.
        transform: loads an item to a mapping whose ``key`` is an image (C, *spatial).
        key: key of the image.
        bands: wavelengths per axis of the :class:`~oinr_monai.FourierEncoding`.
        halo: radius of the operator in voxels; above 0, places are patches with this halo around,
            for an operator with ``padding="valid"``.
        places: places of a lattice, about; as in :class:`~oinr_monai.FitConfig` if None.
        length: lattices to give, the same ones each time; None for an endless stream.
        seed: seed of the places; give each process its own.

    Raises:
        ValueError: if ``data`` does not hold one item, or its image is not finite or constant.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> item = next(iter(RandomLattices([{"image": wave}], bands=8, places=64)))
        >>> item["image"].shape, item["label"].shape
        (torch.Size([32, 8, 8]), torch.Size([1, 8, 8]))
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable[[Any], Mapping[str, Any]] | None = None,
        key: str = "image",
        bands: int = 8,
        halo: int = 0,
        places: int | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        if len(data) != 1:
            raise ValueError(f"data must hold one item, got {len(data)}; fit each volume by itself")
        item = data[0] if transform is None else transform(data[0])
        self.volume, self.bands = item[key], bands
        self.halo, self.length, self.seed = halo, length, seed
        self.grid = Grid.from_image(self.volume)
        values = plain_tensor(self.volume).float()
        span = float(values.max() - values.min())
        # A NaN anywhere makes the span NaN.
        if not 0 < span < float("inf"):
            raise ValueError(f"image must be finite and vary, got values that span {span}")
        z = IntensityScale.of(values).standardise(values)
        self.span = float(z.max() - z.min())
        self.truth, self.field = CubicInterpolant(z), _field(self.grid, bands)
        self.places = places_of(self.grid, FitConfig(places=places))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Lattices, from the start of their sequence each time."""
        sampler = self._sampler()
        for _ in count() if self.length is None else range(self.length):
            drawn: Any = sampler.draw()
            yield {"image": self._encoded(drawn["image"]), "label": drawn["label"][0]}

    def _sampler(self) -> LatticeSampler:
        worker = get_worker_info()
        seed = self.seed if worker is None else self.seed + 7919 * (worker.id + 1)
        return LatticeSampler(
            truth=self.truth,
            shape=self.grid.shape,
            spacing=tuple(self.grid.spacing.tolist()),
            places=self.places,
            contiguous=self.halo > 0,
            mask=None,
            generator=torch.Generator().manual_seed(seed),
        )

    def _encoded(self, lattice: Lattice) -> Tensor:
        if self.halo:
            spacing = self.grid.spacing.tolist()
            lattice = lattice.padded(
                [self.halo] * self.grid.spatial_dims, spacing, [1] * self.grid.spatial_dims
            )
        with torch.no_grad():
            return self.field(lattice)[0]

    def representation(self, operator: LocalOperator) -> Representation:
        """What ``operator`` has learned of this volume."""
        return represent(operator, self.volume, self.bands)


class TrainedInferer(Inferer):
    """Answer from a fit that is there already, instead of fitting the volume anew.

    Args:
        answer: what to ask the representation, an array transform such as ``SampleOINR()`` or any
            function of one; its intensities on the fitted grid if None.
        bands: wavelengths per axis of the field, as in training.
        fitted: the fit: an ``.oinr`` file; or the state dict, a ``.pt`` file, of an operator
            that was trained on the volume given; or None, where the one given is the trained one.

    Example:
        >>> from oinr_monai import ConvOINR
        >>> image = torch.rand(1, 1, 8, 8)
        >>> TrainedInferer()(image, ConvOINR(2, 32, 1, channels=(8,), kernel_size=1)).shape
        torch.Size([1, 1, 8, 8])
    """

    def __init__(
        self,
        answer: Callable[[Representation], MetaTensor] | None = None,
        bands: int = 8,
        fitted: str | os.PathLike[str] | None = None,
    ) -> None:
        self.answer = answer or Representation.sample
        self.bands = bands
        self.fitted = None if fitted is None else Path(fitted)

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: LocalOperator, *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """Answers (B, C', *shape) for volumes (B, C, *spatial), with their affines.

        Args:
            inputs: the volumes; with an ``.oinr`` file only their number matters.
            network: the operator; not asked with an ``.oinr`` file.
            args: ignored.
            kwargs: ignored.
        """
        with torch.no_grad():
            fits = [self._representation(inputs[i], network) for i in range(len(inputs))]
            answers = [self.answer(fit) for fit in fits]
            return collate_meta_tensor([answer.to(inputs.device) for answer in answers])

    def _representation(self, image: Tensor, operator: LocalOperator) -> Representation:
        if self.fitted is None:
            return represent(operator, image, self.bands)
        if self.fitted.suffix != ".pt":
            return Representation.load(self.fitted).to(image.device)
        operator = copy.deepcopy(operator)
        state = torch.load(self.fitted, map_location=image.device, weights_only=True)
        operator.load_state_dict(state)
        return represent(operator, image, self.bands)
