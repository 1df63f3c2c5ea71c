"""The weights and frequencies that coefficients are coded by, from scans kept for it.

python -m scripts.learn_coding_tables --data DIR [--output FILE]

DIR holds open_ms, hippocampus and labelmaps. It says what the numbers of the package,
``oinr_monai/coding/tables.py``, cost on those scans, and what others would, learned now. Other
numbers make another format: files that were written go by those of the package.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from oinr_monai.coding.contexts import CERTAIN, CONTEXTS, ORDER, Known, Pass, passes
from oinr_monai.coding.quantised import ROUNDED_UP
from oinr_monai.coding.tables import FREQUENCIES, WEIGHTS
from oinr_monai.coding.tokens import TOKENS, tokens_of
from oinr_monai.coding.wavelets import analyse, subbands
from scripts.shared.head import head

# Steps, in standard deviations of a scan, and chunks: voxels along an axis, and which of them.
STEPS, EDGE, EVERY = (1.0, 1 / 4, 1 / 16, 1 / 64, 1 / 256), 54, 3
BLOCK, HIPPOCAMPI = 96, 6

# Kinds of what is known around a coefficient, and how much less a larger one counts in the squares.
KINDS, CALM = 5, 0.05

# What neighbouring contexts, and all tokens alike, add to the counts of one.
NEIGHBOURS, ALIKE, PRECISION = 0.05, 2e-5, 14

TEXT = '''"""Weights and frequencies that the coding of coefficients goes by.

Measured on scans made of label maps, hippocampi, a FLAIR and a T2, at rates of 0.2 to 7 bits a
voxel, and a part of every file: other numbers would make another format.
"""

from __future__ import annotations

__all__ = ["FREQUENCIES", "WEIGHTS"]

# For each pass: of neighbours one, two and three axes away, of the parent, and of the sub-bands
# beside it, the share in the expected size; least squares with no negative ones.
WEIGHTS = (
{weights}
)

# For each context, how many of 2^14 coefficients are each token.
# fmt: off
FREQUENCIES = (
{frequencies}
)
'''


def scans(data: Path) -> Iterator[NDArray[np.float32]]:
    """Central blocks, and small scans whole."""
    paths = [data / "open_ms" / f"{name}.nii.gz" for name in ("FLAIR", "T2")]
    hippocampi = sorted((data / "hippocampus" / "images").glob("*.nii.gz"))[:HIPPOCAMPI]
    volumes = [head(data / "labelmaps" / "anatomy_01.nii.gz"), *map(values_of, paths)]
    for volume in volumes:
        firsts = [(n - BLOCK) // 2 for n in volume.shape]
        yield volume[tuple(slice(a, a + BLOCK) for a in firsts)].astype(np.float32)
    yield from (values_of(path).astype(np.float32) for path in hippocampi)


def values_of(path: Path) -> NDArray[np.floating]:
    """The voxels of a file."""
    image: Any = nib.load(path)
    return np.asarray(image.dataobj).squeeze()


def chunks_of(volume: NDArray[np.float32]) -> torch.Tensor:
    """Chunks (B, *shape) of equal size; what does not fill one is left out."""
    counts = [max(n // EDGE, 1) for n in volume.shape]
    sizes = [n // k for n, k in zip(volume.shape, counts, strict=True)]
    found = torch.from_numpy(np.ascontiguousarray(volume))
    for axis, size in enumerate(sizes):
        found = found.unfold(axis, size, size)
    return found.reshape(-1, *sizes)


def coefficients(data: Path) -> Iterator[NDArray[np.int32]]:
    """Steps of the coefficients of all scans, at several rates."""
    for volume in scans(data):
        chunks = chunks_of(volume)
        some = chunks[::EVERY] if len(chunks) > EVERY + 1 else chunks
        found = analyse(some)
        for band in subbands(tuple(some.shape[1:])):
            found[(slice(None), *band.box)] *= band.norm
        for part in STEPS:
            scaled = found / (part * float(volume.std()))
            sizes = torch.floor(scaled.abs() + (1 - ROUNDED_UP))
            yield (sizes * scaled.sign()).to(torch.int32).numpy()


Weights = Sequence[Sequence[float]]


def coded(
    steps: NDArray[np.int32], weights: Weights
) -> Iterator[tuple[Known, Pass, NDArray[np.int32], Any]]:
    """Each pass as it is coded: what is known, the sizes, and in which chunks there are some."""
    shape, sizes = steps.shape[1:], np.abs(steps)
    some = [sizes[(slice(None), *band.box)].any(axis=(1, 2, 3)) for band in subbands(shape)]
    known = Known(len(steps), shape, weights)
    for each in passes(shape):
        here = sizes[(slice(None), *each.box)].reshape(len(steps), -1)
        yield known, each, here, some[each.band]
        known.put(each, tokens_of(here))


def learned_weights(data: Path) -> list[list[float]]:
    """For each pass, the weights of least squares, none of them negative."""
    squares, products = np.zeros((len(ORDER), KINDS, KINDS)), np.zeros((len(ORDER), KINDS))
    for steps in coefficients(data):
        for known, each, sizes, _ in coded(steps, WEIGHTS):
            found = {kind: (values / count).ravel() for kind, values, count in known.features(each)}
            if not {3, 4} <= set(found):
                continue
            x = np.stack([found.get(kind, np.zeros(sizes.size)) for kind in range(KINDS)])
            calmed = x / (CALM + x.mean(0))
            squares[each.phase] += calmed @ x.T
            products[each.phase] += calmed @ sizes.ravel()
    return [solved(a, b) for a, b in zip(squares, products, strict=True)]


def solved(squares: NDArray[np.float64], products: NDArray[np.float64]) -> list[float]:
    """Least squares without negative weights, of the normal equations."""
    root = np.linalg.cholesky(squares + 1e-6 * np.trace(squares) * np.eye(KINDS))
    weights: list[float] = nnls(root.T, np.linalg.solve(root, products))[0].round(3).tolist()
    return weights


def counted(data: Path, weights: Weights) -> NDArray[np.float64]:
    """How often each token stands in each context."""
    counts = np.zeros((CONTEXTS, TOKENS))
    for steps in coefficients(data):
        for known, each, sizes, some in coded(steps, weights):
            where = known.contexts(each)[some].astype(np.int64) * TOKENS + tokens_of(sizes)[some]
            counts += np.bincount(where.ravel(), minlength=counts.size).reshape(counts.shape)
    return counts


def frequencies_of(counts: NDArray[np.float64]) -> list[list[int]]:
    """Whole frequencies that sum to 2^14 in each context, none of them 0 but in the last one."""
    ordered, total, found = CERTAIN - len(ORDER), 1 << PRECISION, []
    for context, row in enumerate(counts[:CERTAIN]):
        beside = counts[max(context - 1, 1) : min(context + 2, ordered)].sum(0)
        near = beside if 0 < context < ordered else row
        smooth = row + NEIGHBOURS * near + ALIKE * (row.sum() + 1) / TOKENS
        whole = 1 + np.round(smooth / smooth.sum() * (total - TOKENS)).astype(int)
        whole[np.argmax(whole)] += total - whole.sum()
        found.append(whole.tolist())
    return [*found, [total, *[0] * (TOKENS - 1)]]


def cost(counts: NDArray[np.float64], frequencies: Sequence[Sequence[int]]) -> float:
    """Bits of a token, on average."""
    some, table = counts[:CERTAIN], np.array(frequencies, float)[:CERTAIN]
    return float(-(some * np.log2(table / (1 << PRECISION))).sum() / some.sum())


def written(weights: Sequence[Sequence[float]], frequencies: Sequence[Sequence[int]]) -> str:
    """The module."""
    rows = [f"    ({', '.join(map(str, row))})," for row in weights]
    lines = []
    for row in frequencies:
        parts = [row[k : k + 17] for k in range(0, TOKENS, 17)]
        lines += ["    (", *(f"        {', '.join(map(str, part))}," for part in parts), "    ),"]
    return TEXT.format(weights="\n".join(rows), frequencies="\n".join(lines))


def main() -> None:
    """Learn, and say what it gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="a module")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    of_package = counted(arguments.data, WEIGHTS)
    print(f"the package's numbers: {cost(of_package, FREQUENCIES):.4f} bits a token")
    weights = learned_weights(arguments.data)
    print("weights", weights, "those of the package", WEIGHTS)
    counts = counted(arguments.data, weights)
    frequencies = frequencies_of(counts)
    least = counts[:CERTAIN] / np.maximum(counts[:CERTAIN].sum(1, keepdims=True), 1)
    ideal = -float((counts[:CERTAIN] * np.log2(np.where(least > 0, least, 1))).sum())
    print(
        f"learned now: {cost(counts, frequencies):.4f}; each context's own entropy: "
        f"{ideal / counts[:CERTAIN].sum():.4f}"
    )
    if arguments.output:
        arguments.output.write_text(written(weights, frequencies))


if __name__ == "__main__":
    main()
