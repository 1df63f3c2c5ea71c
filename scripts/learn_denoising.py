"""Learn the operator that takes noise out, which the package ships, from open data.

python -m scripts.learn_denoising --data DIR [--steps N | --seconds S] [--start FILE] [--output O]

DIR holds what ``scripts/shared/open_scans.py`` names; FILE of an operator to go on from. Broken
off, it goes on from O.checkpoint.
"""

from __future__ import annotations

from oinr_monai import CarriedDenoiser, learn_denoising
from scripts.shared.learning import learn

# Heads of random contrast are free of noise: what is learned from is what is to be found.
NOISE = 0.0

if __name__ == "__main__":
    learn(learn_denoising, NOISE, "denoising.safetensors", CarriedDenoiser.load)
