"""An inferer that fits the volume it is given, for MONAI's evaluators, bundles and hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor
from monai.inferers import Inferer
from torch import Tensor

from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.operators.operator import LocalOperator
from oinr_monai.representation.representation import Representation
from oinr_monai.restoration.denoising import DenoiseConfig, denoise

from .ask_transforms import SampleOINR

__all__ = ["EachInferer", "OINRInferer"]


class OINRInferer(Inferer):
    """Fit every volume of a batch by itself and answer from its representation.

    Each fit starts from weights of its own. The network that a host hands over is left alone: what
    is fitted comes from ``config`` and ``network``. A host may have turned gradients off.

    Args:
        config: how to fit, in closed form if None, how to denoise, or how to fit masks and label
            maps.
        answer: what to ask each representation, an array transform such as ``DeriveOINR()`` or any
            function of one; ``SampleOINR()`` if None.
        network: makes a new operator for each volume, as :class:`FitConfig` says; in a bundle a
            ``_target_`` with ``"_mode_": "callable"``.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, None, :, None].expand(1, 1, 16, 16)
        >>> OINRInferer(answer=SampleOINR(factor=2))(wave).shape
        torch.Size([1, 1, 31, 31])
    """

    def __init__(
        self,
        config: FitConfig | DenoiseConfig | OccupancyConfig | None = None,
        answer: Callable[[Representation], MetaTensor] | None = None,
        network: Callable[..., LocalOperator] | None = None,
    ) -> None:
        config = config or FitConfig(network=network)
        if network is not None:
            if not isinstance(config, FitConfig):
                kind = type(config).__name__
                raise ValueError(f"network must be None where config is a {kind}")
            config = replace(config, network=network)
        self.config = config
        self.answer = answer or SampleOINR()

    def __call__(
        self, inputs: Tensor, network: object = None, *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """Answers (B, C', *shape) for volumes (B, C, *spatial), with their affines.

        Args:
            inputs: the volumes; a MetaTensor tells where they lie, else they have unit spacing.
            network: ignored, as all that follows; hosts pass their own.
            args: ignored.
            kwargs: ignored.

        Raises:
            ValueError: if ``inputs`` is no batch, or the answers differ in shape, as volumes of
                different spacings do when asked for one spacing.
        """
        return EachInferer(lambda image: self.answer(self._found(image)))(inputs)

    def _found(self, image: Tensor) -> Representation:
        if isinstance(self.config, DenoiseConfig):
            return denoise(image, self.config)
        if isinstance(self.config, OccupancyConfig):
            return fit_occupancy(image, self.config)
        return fit(image, self.config)


class EachInferer(Inferer):
    """Apply an array transform, such as ``InterpolateOINR``, to each image of a batch.

    Args:
        transform: an image (C, *spatial) to its answer.

    Example:
        >>> EachInferer(lambda image: MetaTensor(2 * image))(torch.ones(2, 1, 4, 4)).shape
        torch.Size([2, 1, 4, 4])
    """

    def __init__(self, transform: Callable[[Tensor], MetaTensor]) -> None:
        self.transform = transform

    def __call__(
        self, inputs: Tensor, network: object = None, *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """Answers (B, C', *shape) for images (B, C, *spatial); all else is ignored.

        Raises:
            ValueError: if ``inputs`` is no batch, or the answers differ in shape.
        """
        if not 3 <= inputs.ndim <= 5:
            raise ValueError(f"inputs must have shape (B, C, *spatial), got {tuple(inputs.shape)}")
        answers = [self.transform(inputs[i]) for i in range(len(inputs))]
        shapes = {tuple(answer.shape) for answer in answers}
        if len(shapes) > 1:
            raise ValueError(
                f"answers must share one shape, got {sorted(shapes)}; use a batch size of 1"
            )
        with torch.no_grad():
            return collate_meta_tensor([answer.to(inputs.device) for answer in answers])
