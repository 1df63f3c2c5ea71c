"""Laws of kernel networks: functions of one offset each, which can be trained and built again."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor

from oinr_monai.operators.kernels import KernelNetwork

from .law import Battery, agree, generator, law, require

__all__ = ["kernel_laws"]


@law
def offsets_are_answered_alone(kernel: KernelNetwork) -> None:
    """What a kernel is at an offset does not depend on the others that are asked for."""
    kernel, offsets = copy.deepcopy(kernel).double(), _offsets(kernel)
    together = kernel(offsets)
    wanted = (len(offsets), kernel.output.out_features)
    require(
        tuple(together.shape) == wanted, f"kernel must have shape {wanted}, got {together.shape}"
    )
    alone = torch.cat([kernel(offset[None]) for offset in offsets])
    agree("kernel at each offset alone", alone, together, within=1e-12)


@law
def values_are_linear_in_the_hidden_units(kernel: KernelNetwork) -> None:
    """The last map is linear, so that a layer can scale the kernel that it starts with."""
    kernel, offsets = copy.deepcopy(kernel).double(), _offsets(kernel)
    hidden = kernel.hidden(offsets)
    agree("kernel", kernel(offsets), kernel.output(hidden), within=1e-12)


@law
def every_parameter_counts(kernel: KernelNetwork) -> None:
    """Every parameter has a gradient."""
    kernel, offsets = copy.deepcopy(kernel).double(), _offsets(kernel)
    kernel(offsets).square().sum().backward()
    for name, parameter in kernel.named_parameters():
        moved = parameter.grad is not None and bool((parameter.grad != 0).any())
        require(moved, f"{name} must have a gradient, got none")


@law
def arguments_build_it_again(kernel: KernelNetwork) -> None:
    """Its arguments, as JSON, with the two that a layer decides, and its state make it again."""
    kernel, offsets = copy.deepcopy(kernel).double(), _offsets(kernel)
    again = type(kernel)(
        spatial_dims=kernel.spatial_dims,
        out_channels=kernel.output.out_features,
        **json.loads(json.dumps(kernel.arguments())),
    ).double()
    again.load_state_dict(kernel.state_dict())
    agree("kernel built again", again(offsets), kernel(offsets), within=0)


kernel_laws = Battery(
    (
        offsets_are_answered_alone,
        values_are_linear_in_the_hidden_units,
        every_parameter_counts,
        arguments_build_it_again,
    )
)
"""Laws of a kernel network, given alone."""


def _offsets(kernel: KernelNetwork) -> Tensor:
    return 2 * torch.rand(40, kernel.spatial_dims, generator=generator()).double() - 1
