"""Orthogonalised momentum, an optimiser for convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from oinr_monai.fitting.checkpoint import MOMENTS

from .carried_denoiser import CarriedDenoiser
from .carried_operator import CarriedOperator
from .slice_operator import SliceOperator

__all__ = ["OrthogonalMomentum"]


# A quintic whose repetition drives singular values of 0 to 1 towards 1, within 0.7 to 1.2: that of
# Jordan et al., as is the momentum below.
QUINTIC = (3.4445, -4.7750, 2.0315)


# The last layer sums over many channels, whose steps agree: at the rate of the others it diverges.
# The part of it is chosen by hand.
TAIL_RATE = 0.1


# What the momentum and the two averages of Adam keep in each step; the latter as in other fits.
MOMENTUM, BETAS = 0.95, (0.9, 0.99)


class OrthogonalMomentum(torch.optim.Optimizer):
    """Adam, but for the kernels of the blocks, which move along their momentum made orthogonal.

    The nearest orthogonal matrix to the momentum (out, in x taps) is found by a few products, and
    scaled to the size of Adam's steps, so that one rate suits both.

    References:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
        Liu et al., "Muon is Scalable for LLM Training", 2025 (the scale).

    Args:
        operator: what is trained.
        peak: highest rate, for :class:`~oinr_monai.fitting.handlers.OneCycle`.

    Example:
        >>> operator = SliceOperator(2, channels=1, factor=(1, 2), width=4, blocks=1)
        >>> optimizer = OrthogonalMomentum(operator, peak=1e-3)
        >>> operator(torch.rand(1, 1, 8, 8)).mean().backward()
        >>> optimizer.step()
        >>> bool(operator.tail.bias.abs().max() > 0)
        True
    """

    def __init__(
        self, operator: SliceOperator | CarriedOperator | CarriedDenoiser, peak: float
    ) -> None:
        kernels = [p for p in operator.blocks.parameters() if p.ndim > 1]
        chosen = {id(p) for p in kernels}
        last = [*operator.tail.parameters()]
        chosen |= {id(p) for p in last}
        others = [p for p in operator.parameters() if id(p) not in chosen]
        groups = [
            {"params": kernels, "moments": ("momentum",), "peak": peak},
            {"params": others, "moments": MOMENTS, "peak": peak},
            {"params": last, "moments": MOMENTS, "peak": TAIL_RATE * peak},
        ]
        super().__init__([each for each in groups if each["params"]], {"lr": peak})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            move = self._move_adam if group["moments"] == MOMENTS else self._move_orthogonal
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._keep(parameter, group["moments"])
                    move(parameter, parameter.grad, group["lr"])

    def _keep(self, parameter: Tensor, moments: Sequence[str]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state.update({name: torch.zeros_like(parameter) for name in moments})
        state["step"] += 1

    def _move_orthogonal(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        momentum = self.state[weight]["momentum"]
        momentum.mul_(MOMENTUM).add_(gradient)
        turned = _orthogonal((gradient + MOMENTUM * momentum).reshape(len(weight), -1))
        size = 0.2 * max(turned.shape) ** 0.5
        weight.sub_(turned.reshape(weight.shape), alpha=rate * size)

    def _move_adam(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state, (slow, slower) = self.state[weight], BETAS
        mean, square = (state[name] for name in MOMENTS)
        count = int(state["step"])
        mean.lerp_(gradient, 1 - slow)
        square.lerp_(gradient.square(), 1 - slower)
        size = (square / (1 - slower**count)).sqrt_().add_(1e-8)
        weight.addcdiv_(mean, size, value=-rate / (1 - slow**count))


def _orthogonal(matrix: Tensor) -> Tensor:
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
