"""Learn the operator that takes noise out, which the package ships, from open data.

python -m scripts.learn_denoising --data DIR [--steps N | --seconds S] [--output FILE]

DIR holds what ``scripts/shared/open_scans.py`` names. Broken off, it goes on from
OUTPUT.checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from oinr_monai import LearningConfig, learn_denoising
from scripts.shared.open_scans import scans

# Heads of random contrast are free of noise: what is learned from is what is to be found.
NOISE = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--output", type=Path, default=Path("denoising.safetensors"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = LearningConfig(arguments.steps, arguments.seconds)
    checkpoint = arguments.output.with_suffix(".checkpoint")
    found = learn_denoising(
        scans(arguments.data, NOISE), config, checkpoint=checkpoint, progress=True
    )
    found.save(arguments.output)


if __name__ == "__main__":
    main()
