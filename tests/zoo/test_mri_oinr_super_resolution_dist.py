"""The flagship bundle as the model zoo tests its own: several processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import nibabel as nib
import numpy as np
import pytest

BUNDLE = os.path.abspath(os.environ.get("BUNDLE_ROOT", "bundles/mri_oinr_super_resolution"))

pytestmark = pytest.mark.slow


class TestSuperResolutionMGPU(unittest.TestCase):
    """Train and evaluate in two processes."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.image = os.path.join(self.folder, "thick.nii.gz")
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 26, 8)], indexing="ij")
        values = 100 * np.exp(-3 * sum(x**2 for x in axes))
        nib.save(nib.Nifti1Image(values.astype("f4"), np.diag([1.0, 1.0, 3.0, 1.0])), self.image)

    def tearDown(self) -> None:
        shutil.rmtree(self.folder)

    def run_configs(self, *names: str) -> None:
        """Run merged configs by torchrun on this machine."""
        files = [os.path.join(BUNDLE, f"configs/{name}.json") for name in names]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1"]
        options = {
            "bundle_root": BUNDLE,
            "image": self.image,
            "output_dir": self.folder,
            "epochs": "1",
            "epoch_length": "5",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(
            [sys.executable, *launcher, "--nproc_per_node", "2", "-m", "monai.bundle", "run",
             "--config_file", str(files), *words],
            check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        )  # fmt: skip

    def test_train_and_eval_mgpu_config(self) -> None:
        self.run_configs("train", "multi_gpu_train")
        self.run_configs("train", "evaluate", "multi_gpu_evaluate")
        with open(os.path.join(self.folder, "metrics.csv")) as file:
            found = dict(line.strip().split(",") for line in file)
        assert float(found["psnr"]) > 0
        assert os.path.isfile(os.path.join(self.folder, "thick_evaluated.nii.gz"))


if __name__ == "__main__":
    unittest.main()
