"""Laws of the wavelet transform: reconstruction, energy, gradients, and PyWavelets' own numbers."""

from __future__ import annotations

from itertools import product

import pytest
import pywt
import torch
from torch import Tensor

from oinr_monai.operators.wavelets import analyse, check_levels, max_levels, min_size, synthesise

ORTHOGONAL = ["haar", "db2", "db4", "sym5", "coif1"]
WAVES = [*ORTHOGONAL, "bior2.2", "bior3.1", "rbio4.4"]
SHAPES = [(12,), (13,), (12, 14), (13, 12), (15, 17), (12, 13, 14), (11, 13, 15)]


def lattice(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_synthesis_undoes_analysis(
    wave: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    tolerance: float,
    generator: torch.Generator,
) -> None:
    u = lattice(shape, generator).to(dtype)
    subbands = analyse(u, wave, len(shape))
    assert subbands.shape == (2, 3, 2 ** len(shape), *((n + 1) // 2 for n in shape))
    again = synthesise(subbands, wave, shape)
    assert again.dtype == dtype
    assert torch.allclose(again, u, rtol=0, atol=tolerance)


@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize("shape", SHAPES)
def test_subbands_are_those_of_pywavelets(
    wave: str, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    u, dims = lattice(shape, generator), len(shape)
    theirs = pywt.dwtn(u.numpy(), wave, mode="periodization", axes=range(-dims, 0))
    ours = analyse(u, wave, dims)
    for number, name in enumerate(product("ad", repeat=dims)):
        expected = torch.from_numpy(theirs["".join(name)])
        assert torch.allclose(ours[:, :, number], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("wave", ORTHOGONAL)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_orthogonal_wavelets_keep_the_energy(
    wave: str, dims: int, generator: torch.Generator
) -> None:
    u = lattice((12, 14, 16)[:dims], generator)
    energy = analyse(u, wave, dims).square().sum()
    assert float(energy) == pytest.approx(float(u.square().sum()), rel=1e-10)


@pytest.mark.parametrize("wave", ["haar", "db2", "bior2.2"])
@pytest.mark.parametrize("shape", [(6,), (7,), (6, 7)])
def test_gradients_are_exact(wave: str, shape: tuple[int, ...], generator: torch.Generator) -> None:
    u = lattice(shape, generator)[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda u: analyse(u, wave, len(shape)), u)
    subbands = analyse(u.detach(), wave, len(shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: synthesise(s, wave, shape), subbands)


@pytest.mark.parametrize("wave", WAVES)
def test_levels_and_sizes_agree(wave: str) -> None:
    for levels in (1, 2, 5):
        size = min_size(levels, wave)
        assert max_levels((size, 2 * size), wave) == levels
        assert max_levels((size - 1, 2 * size), wave) == levels - 1


def test_errors() -> None:
    with pytest.raises(
        ValueError, match="wave must be a discrete wavelet of PyWavelets, got 'dbx'"
    ):
        analyse(torch.zeros(1, 1, 8), "dbx", 1)
    message = r"levels must be at most 5 for shape \(40, 40\), got 10; use a larger lattice"
    with pytest.raises(ValueError, match=message):
        check_levels(10, (40, 40), "haar")
    with pytest.raises(ValueError, match="levels must be 1 to 60, got 0"):
        check_levels(0, (40, 40), "haar")
