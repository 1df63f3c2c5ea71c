"""How a fit goes down: what it is held against, where it looks, and the steps it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor, nn

from .handlers import Clock, ProgressBar, TensorBoard
from .metrics import psnr
from .neural_field import ContinuousField, LatticeField, few_threads
from .positions import Positions, Scatter
from .presets import FitConfig, places_of
from .representation import IntensityScale, Representation
from .samplers import LatticeSampler, WholeLattice
from .scans import Scan
from .splines import CubicInterpolant

__all__ = ["Objective", "adam", "answer", "descend", "to_device", "weighted_mse"]

# Places at which psnr_between is measured, at most so many for each voxel, and their seed: the same
# for every fit of an image.
BETWEEN_PLACES, PLACES_A_VOXEL, BETWEEN_SEED = 65_536, 4, 20_240_721

# Inputs, targets, and the network's other arguments.
_Batch = tuple[Positions | None, tuple[Tensor, Tensor | None], tuple[()], dict[str, Any]]


class Objective:
    """What a fit is held against: the images, standardised, and the splines through them.

    Args:
        scans: what it sees; the first one's intensities, grid and scores are the result's.
        config: how to fit.
    """

    def __init__(self, scans: Sequence[Scan], config: FitConfig) -> None:
        self.scans, self.first, self.config = scans, scans[0], config
        self.grid = self.first.grid
        self.scale = IntensityScale.of(self.first.image, self.first.mask)
        self.truths = [CubicInterpolant(self.scale.standardise(scan.filled)) for scan in scans]

    def batches(self, field: ContinuousField, clock: Clock) -> Iterator[dict[str, object]]:
        """Where the steps look, and what is there.

        Each step draws from a seed of its own, so that a resumed fit sees the places it missed.
        """
        generator = torch.Generator()
        samplers = self._samplers(field, generator)
        while True:
            generator.manual_seed(((self.config.seed << 32) + clock.step) % (1 << 63))
            chosen = 0
            if len(samplers) > 1:
                chosen = int(torch.randint(len(samplers), (), generator=generator))
            yield samplers[chosen].draw()

    def held_out(self, field: ContinuousField, device: torch.device) -> list[_Batch]:
        """One batch for each image, the same for every fit, which no step sees."""
        samplers = self._samplers(field, torch.Generator().manual_seed(BETWEEN_SEED))
        return [to_device(sampler.draw(), device) for sampler in samplers]

    def _samplers(
        self, field: ContinuousField, generator: torch.Generator
    ) -> list[LatticeSampler | WholeLattice]:
        return [
            self._sampler(field, scan, truth, generator)
            for scan, truth in zip(self.scans, self.truths, strict=True)
        ]

    def _sampler(
        self,
        field: ContinuousField,
        scan: Scan,
        truth: CubicInterpolant,
        generator: torch.Generator,
    ) -> LatticeSampler | WholeLattice:
        spacing = tuple(scan.grid.spacing.tolist())
        if isinstance(field, LatticeField):
            return WholeLattice(self.scale.standardise(scan.image), scan.mask, spacing)
        return LatticeSampler(
            truth=truth,
            shape=scan.grid.shape,
            spacing=spacing,
            places=places_of(scan.grid, self.config),
            contiguous=not field.anywhere,
            mask=scan.mask,
            generator=generator,
            origin=scan.origin,
        )

    def result(self, field: ContinuousField, taken: dict[str, Any]) -> Representation:
        """The representation that ``field`` is; its ``info`` holds what it took, and its scores."""
        result = Representation(field, self.grid, self.scale)
        result.info = {
            "settings": self.config.settings(),
            **taken,
            "parameters": result.parameters,
            "psnr_grid": psnr(
                result.sample().as_tensor(),
                self.first.image,
                None if self.first.mask is None else self.first.mask[None],
            ),
            "psnr_between": self._psnr_between(result),
        }
        return result

    def _psnr_between(self, result: Representation) -> float:
        generator = torch.Generator().manual_seed(BETWEEN_SEED)
        last = torch.tensor(self.grid.shape, dtype=torch.float64) - 1
        # Inner kernels ask for a whole neighbourhood around every place.
        field = result.field
        around = field.numbers(0, scattered=True) // field.numbers(0, scattered=False)
        wanted = min(BETWEEN_PLACES, PLACES_A_VOXEL * math.prod(self.grid.shape))
        places = max(wanted // around, 1_024)
        voxels = torch.rand(places, len(last), generator=generator, dtype=torch.float64) * last
        if self.first.mask is not None:
            voxels = voxels[self.first.mask[tuple(voxels.round().long().T)]]
        z = self.truths[0](Scatter(tuple(voxels.T)))
        std, mean = (torch.tensor(v)[:, None] for v in (self.scale.std, self.scale.mean))
        error = result.at(self.grid.to_world(voxels)).T.cpu() - (z * std + mean)
        span = float(self.first.counted.max() - self.first.counted.min())
        return 10 * math.log10(span**2 / max(float((error.double() ** 2).mean()), 1e-30))


def adam(
    field: ContinuousField, rate: float, weights: Mapping[str, Tensor]
) -> torch.optim.Optimizer:
    """The optimizer of ``field``, each group with the highest rate that suits its part.

    Args:
        field: tells the parts and their leverage.
        rate: peak rate of the effective weights.
        weights: what is trained in place of each of the field's parameters, by its name.
    """
    trained = {id(p): weights[name] for name, p in field.named_parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [trained[id(p)] for p in parameters], "peak": rate / leverage}
        for parameters, leverage in field.network.leverages()
    ]
    learned = [trained[id(p)] for p in field.encoding.parameters() if p.requires_grad]
    groups += [{"params": learned, "peak": 2 * rate}] if learned else []
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def descend(
    network: nn.Module,
    field: ContinuousField,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    clock: Clock,
    loss: Callable[[Tensor, tuple[Tensor, Tensor | None]], Tensor],
    handlers: Sequence[Any],
    bfloat16: bool,
) -> bool:
    """Take steps until the clock's budget is spent; whether an interrupt came before that.

    Args:
        network: answers at positions, (1, C, *positions.shape), with what the optimizer trains.
        field: the field it is, or one of those it is a stack of.
        objective: where to look, and what is there.
        optimizer: steps down the loss.
        clock: the budget.
        loss: of the answer at a batch's places, given its label.
        handlers: Ignite handlers, the clock among them.
        bfloat16: run the operator in reduced precision.
    """
    if clock.fraction >= 1:
        return False
    device = next(network.parameters()).device
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        epoch_length=(1 << 40 if clock.steps is None else clock.steps) - clock.step,
        train_data_loader=objective.batches(field, clock),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=to_device,
        inferer=_FieldInferer(bfloat16),
        train_handlers=handlers,
        optim_set_to_none=True,
        decollate=False,
    )
    trainer.logger.setLevel("CRITICAL")
    try:
        with few_threads(field):
            trainer.run()
    except KeyboardInterrupt:
        return True
    finally:
        for handler in handlers:
            if isinstance(handler, TensorBoard | ProgressBar):
                handler.close()
    return False


class _FieldInferer(Inferer):
    """Runs the operator in reduced precision where the machine gains from it."""

    def __init__(self, bfloat16: bool) -> None:
        self.bfloat16 = bfloat16

    def __call__(  # type: ignore[override]
        self, inputs: Positions | None, network: nn.Module, *args: Any, **kwargs: Any
    ) -> Tensor:
        device = next(network.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            return answer(network, inputs, **kwargs).float()


def answer(network: nn.Module, places: Positions | None, **options: Any) -> Tensor:
    """Signal (C, *places.shape); on the whole lattice where there are no places."""
    if isinstance(network, LatticeField) and places is None:
        return network.on_lattice()
    signal: Tensor = network(places, **options)[0]
    return signal


def to_device(batch: dict[str, Any], device: torch.device, *args: Any, **kwargs: Any) -> _Batch:
    """A batch in the form that MONAI's engines take: inputs, targets, the network's options."""
    positions, (target, weight) = batch["image"], batch["label"]
    if positions is not None:
        positions = type(positions)(tuple(x.to(device) for x in positions.axes))
    label = (target.to(device), None if weight is None else weight.to(device))
    return positions, label, (), {"spacing": batch["spacing"]}


def weighted_mse(signal: Tensor, label: tuple[Tensor, Tensor | None]) -> Tensor:
    """Mean squared error of (C, *shape) against a target, weighted where the label has weights."""
    target, weight = label
    error = (signal - target) ** 2
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum().clamp_min(1) * len(target))
