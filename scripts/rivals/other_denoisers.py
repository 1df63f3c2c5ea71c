"""What BM4D and DIPY make of a noisy volume or series: a program for an environment that has them.

PYTHON scripts/rivals/other_denoisers.py METHOD NOISY.npy SIGMA ANSWER.npy [SPECTRUM.npy]

It prints the processor seconds that it took.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def main() -> None:
    method, source, sigma, answer, *spectrum = sys.argv[1:]
    noisy = np.load(source)
    if method == "BM4D":
        from bm4d import bm4d

        noise = np.load(spectrum[0]) if spectrum else float(sigma)
        started = time.process_time()
        found = bm4d(noisy, noise)
    elif method == "MPPCA":
        from dipy.denoise.localpca import mppca

        started = time.process_time()
        found = np.moveaxis(mppca(np.moveaxis(noisy, 0, -1), patch_radius=2), -1, 0)
    else:
        from dipy.denoise.nlmeans import nlmeans

        # It takes no values below zero; blockwise, it is worse by 2 dB and more.
        lift = max(-float(noisy.min()), 0.0)
        started = time.process_time()
        lifted = noisy + lift
        found = nlmeans(lifted, float(sigma), rician=False, num_threads=1, method="classic") - lift
    print(time.process_time() - started)
    np.save(answer, np.asarray(found, dtype=np.float32).reshape(noisy.shape))


if __name__ == "__main__":
    main()
