"""The descent: steps of an optimiser on an ignite engine, timed and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions
from oinr_monai.representation.continuous_field import ContinuousField
from oinr_monai.representation.lattice_field import LatticeField
from oinr_monai.representation.neural_field import few_threads

from .handlers import Clock, ProgressBar, TensorBoard
from .objective import Objective
from .samplers import to_device

__all__ = ["adam", "answer", "descend", "weighted_mse"]


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


def weighted_mse(signal: Tensor, label: tuple[Tensor, Tensor | None]) -> Tensor:
    """Mean squared error of (C, *shape) against a target, weighted where the label has weights."""
    target, weight = label
    error = (signal - target) ** 2
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum().clamp_min(1) * len(target))
