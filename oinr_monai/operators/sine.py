"""The sine activation, and what it does to derivatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oinr_monai.grids.jets import second_order_pairs

__all__ = ["Sine", "sine_jet"]


class Sine(nn.Module):
    r"""Sine activation, :math:`u \mapsto \sin(\omega_0 u)`.

    Args:
        omega_0: frequency; weights start smaller by as much, so that it acts as their step size.

    Example:
        >>> Sine(omega_0=2.0)(torch.tensor([0.0])).item()
        0.0
    """

    def __init__(self, omega_0: float = 1.0) -> None:
        super().__init__()
        self.omega_0 = float(omega_0)

    def forward(self, u: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return torch.sin(self.omega_0 * u)

    def extra_repr(self) -> str:
        """Frequency, for ``print``."""
        return f"omega_0={self.omega_0}"


def sine_jet(jet: Tensor, spatial_dims: int) -> Tensor:
    r"""Sine of jets (J, B, C, *spatial), by the chain rule.

    .. math:: y_i = \cos(u) u_i, \qquad y_{ij} = \cos(u) u_{ij} - \sin(u) u_i u_j

    J tells the order: 1 (value), 1 + D (first) or 1 + D + D (D + 1) / 2 (second derivatives).
    """
    if len(jet) == 1:
        return torch.sin(jet)
    sine, cosine = torch.sin(jet[:1]), torch.cos(jet[:1])
    first, second = jet[1 : 1 + spatial_dims], jet[1 + spatial_dims :]
    parts = [sine, cosine * first]
    if len(second):
        # Pair by pair: no copies of the first derivatives, which cost more than the products.
        turned = cosine * second
        bent = sine * first
        for k, (i, j) in enumerate(second_order_pairs(spatial_dims)):
            parts.append(torch.addcmul(turned[k], bent[i], first[j], value=-1)[None])
    # Channels last in memory, as products want them.
    return torch.cat([part.movedim(2, -1) for part in parts]).movedim(-1, 2)
