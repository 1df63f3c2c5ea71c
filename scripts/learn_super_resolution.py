"""Learn the operator of super-resolution that the package ships, from open data.

python -m scripts.learn_super_resolution --data DIR [--steps N | --seconds S] [--output FILE]

DIR holds what ``scripts/shared/open_scans.py`` names. Broken off, it goes on from
OUTPUT.checkpoint.
"""

from __future__ import annotations

from oinr_monai import learn_super_resolution
from scripts.shared.learning import learn

# The most noise that heads of random contrast get, over their range; by hand.
NOISE = 0.02

if __name__ == "__main__":
    learn(learn_super_resolution, NOISE, "super_resolution.safetensors")
