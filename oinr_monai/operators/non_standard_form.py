"""The non-standard form of an operator: its action on every wavelet band."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .sine import Sine
from .wavelets import analyse, synthesise

__all__ = ["BAND", "CONVOLUTIONS", "NonStandardForm", "activation", "as_json", "mixing"]

# Width of the bands, as published.
BAND = 3

# By the dimensions of their lattice.
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class NonStandardForm(nn.Module):
    r"""The non-standard form of an operator: a banded map per level, a dense one at the coarsest.

    With :math:`(d_j, s_j)` the details and the approximation of level j, and :math:`s_0 = u`,

    .. math:: (\hat d_j, \hat s_j) = B_j(d_j, s_j), \qquad
              v_J = T(s_J), \qquad v_{j-1} = W^{-1}(\hat d_j, \hat s_j + v_j), \qquad Ku = v_0.

    For a linear Calderon-Zygmund operator the blocks of :math:`B_j` decay away from their diagonal
    like a power that grows with the vanishing moments of the wavelet, so that a band of fixed
    width, at a cost linear in the samples, keeps any wanted precision. Odd axes are cropped on the
    way up.

    References:
        Beylkin, Coifman and Rokhlin, "Fast Wavelet Transforms and Numerical Algorithms I",
        Communications on Pure and Applied Mathematics 1991.

    Args:
        wave: name of a discrete wavelet of PyWavelets.
        bands: a map of (B, C 2^D, *half) to (B, C' 2^D, *half) per level, finest first; the
            subbands of a channel lie side by side, its approximation first.
        coarsest: a map of the last approximation, (B, C, *coarsest) to (B, C', *coarsest).

    Example:
        >>> form = NonStandardForm("haar", [nn.Conv1d(2, 2, 3, padding=1)], nn.Identity())
        >>> form(torch.zeros(1, 1, 7)).shape
        torch.Size([1, 1, 7])
    """

    def __init__(self, wave: str, bands: Iterable[nn.Module], coarsest: nn.Module) -> None:
        super().__init__()
        self.wave = wave
        self.bands = nn.ModuleList(bands)
        self.coarsest = coarsest

    def forward(self, u: Tensor) -> Tensor:
        """Map (B, C, *spatial) to (B, C', *spatial)."""
        shapes, outputs = [], []
        for band in self.bands:
            shapes.append(u.shape[2:])
            subbands = analyse(u, self.wave, len(shapes[-1]))
            outputs.append(band(subbands.flatten(1, 2)).unflatten(1, (-1, subbands.shape[2])))
            u = subbands[:, :, 0]
        v = self.coarsest(u)
        for shape, output in zip(reversed(shapes), reversed(outputs), strict=True):
            approximation = output[:, :, :1] + v.unsqueeze(2)
            v = synthesise(torch.cat([approximation, output[:, :, 1:]], 2), self.wave, shape)
        return v

    def extra_repr(self) -> str:
        """Wavelet, for ``print``."""
        return f"wave={self.wave}"


def mixing(spatial_dims: int, before: int, after: int, bias: bool = True) -> nn.Module:
    """The pointwise map between channels, a convolution of width 1."""
    return CONVOLUTIONS[spatial_dims](before, after, 1, bias=bias)


def activation(act: str | tuple[str, dict[str, Any]]) -> nn.Module:
    """The activation of a name, or of a name and arguments, as MONAI knows it.

    Raises:
        ValueError: if there is none, or it does not map numbers to as many.
    """
    try:
        made = _made(act)
        shape = made(torch.zeros(2, 2, 2)).shape
    except Exception as error:  # whatever each of them says to arguments that it does not take
        raise ValueError(f"act must be an activation of MONAI, got {act!r}: {error}") from error
    if shape != (2, 2, 2):
        raise ValueError(f"act must keep the shape, got {act!r}")
    return made


def _made(act: str | tuple[str, dict[str, Any]]) -> nn.Module:
    name, arguments = (act, {}) if isinstance(act, str) else act
    if str(name).lower() == "sine":  # which MONAI may not have been told of
        return Sine(**arguments)
    from monai.networks.layers.utils import get_act_layer

    return get_act_layer(act)


def as_json(act: str | tuple[str, dict[str, Any]]) -> str | list[Any]:
    """An activation as JSON holds it: a name, or a list of name and arguments."""
    return act if isinstance(act, str) else list(act)
