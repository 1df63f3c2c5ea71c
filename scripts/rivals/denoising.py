"""What else takes noise out of an image: scikit-image here, BM4D and DIPY in their environment."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor

TV_WEIGHTS = (0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
# Patch, distance and h; small distances are the better ones on volumes.
NLM = [
    (3, 1, 0.6),
    (3, 1, 0.8),
    (3, 1, 1.0),
    (3, 2, 0.5),
    (3, 2, 0.7),
    (3, 3, 0.4),
    (5, 6, 0.6),
    (5, 6, 0.8),
]


def total_variation(noisy: Tensor, sigma: float) -> list[Callable[[], Tensor]]:
    """Total variation with each weight of a small range."""

    def run(weight: float) -> Tensor:
        found = [denoise_tv_chambolle(each.numpy(), weight * sigma, max_num_iter=100)
                 for each in noisy] if len(noisy) == 1 else list(np.moveaxis(
                     denoise_tv_chambolle(noisy.movedim(0, -1).numpy(), weight * sigma,
                                          max_num_iter=100, channel_axis=-1), -1, 0))  # fmt: skip
        return torch.from_numpy(np.stack(found)).float()

    return [partial(run, weight) for weight in TV_WEIGHTS]


def nl_means(noisy: Tensor, sigma: float) -> list[Callable[[], Tensor]]:
    """Non-local means with each setting of a small range."""

    def run(patch: int, distance: int, h: float) -> Tensor:
        several = len(noisy) > 1
        array = noisy.movedim(0, -1).numpy() if several else noisy[0].numpy()
        found = denoise_nl_means(array, patch, distance, h * sigma, sigma=sigma, fast_mode=True,
                                 channel_axis=-1 if several else None)  # fmt: skip
        return torch.from_numpy(np.moveaxis(found, -1, 0) if several else found[None]).float()

    volume = noisy.ndim == 4
    return [partial(run, *setting) for setting in NLM if setting[0] == 3 or not volume]


def elsewhere(
    python: str, method: str, noisy: Tensor, sigma: float, spectrum: Tensor | None = None
) -> tuple[Tensor, float]:
    """A volume (1, x, y, z) as others clean it in their own environment, and seconds.

    Args:
        python: command of that environment's Python.
        method: "BM4D", "DIPY" or "MPPCA", which is of DIPY too.
        noisy: the volume, or for the last a series (1, T, x, y, z).
        sigma: size of the noise.
        spectrum: power of the noise at each frequency (x, y, z), for BM4D; white if None.
    """
    program = Path(__file__).with_name("other_denoisers.py")
    with tempfile.TemporaryDirectory() as folder:
        source, answer, power = (Path(folder) / f"{name}.npy" for name in ("in", "out", "power"))
        np.save(source, noisy[0].numpy())
        words = [*shlex.split(python), *map(str, (program, method, source, sigma, answer))]
        if spectrum is not None:
            np.save(power, spectrum.numpy())
            words.append(str(power))
        alone = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        done = subprocess.run(words, capture_output=True, text=True, env=alone)
        if done.returncode:
            raise RuntimeError(f"{method} must run, got {done.stderr[-500:]}")
        return torch.from_numpy(np.load(answer))[None], float(done.stdout.split()[-1])
