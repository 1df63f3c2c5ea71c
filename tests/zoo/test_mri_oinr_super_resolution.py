"""The flagship bundle as the model zoo tests its own: one process, unittest, throw-away data."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
import warnings

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

BUNDLE = os.environ.get("BUNDLE_ROOT", "bundles/mri_oinr_super_resolution")


class TestSuperResolution(unittest.TestCase):
    """Train, evaluate and answer."""

    def setUp(self) -> None:
        warnings.simplefilter("ignore")
        self.folder = tempfile.mkdtemp()
        self.image = os.path.join(self.folder, "thick.nii.gz")
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 26, 8)], indexing="ij")
        values = 100 * np.exp(-3 * sum(x**2 for x in axes)) + 10 * np.sin(9 * axes[0])
        nib.save(nib.Nifti1Image(values.astype("f4"), np.diag([1.0, 1.0, 3.0, 1.0])), self.image)

    def tearDown(self) -> None:
        shutil.rmtree(self.folder)

    def run_configs(self, kind: str, *names: str, **override: object) -> ConfigWorkflow:
        """Initialise, check, run and finalise a workflow, as the zoo does."""
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=[os.path.join(BUNDLE, f"configs/{name}.json") for name in names],
            logging_file=os.path.join(BUNDLE, "configs/logging.conf"),
            meta_file=os.path.join(BUNDLE, "configs/metadata.json"),
            bundle_root=BUNDLE,
            image=self.image,
            output_dir=self.folder,
            **override,
        )
        workflow.initialize()
        if len(names) == 1:
            assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
        return workflow

    def test_train_eval_config(self) -> None:
        short = {"epochs": 1, "epoch_length": 5, "places": 200}
        self.run_configs("train", "train", **short)
        self.run_configs("train", "train", "evaluate")
        assert os.path.isfile(os.path.join(self.folder, "metrics.csv"))

    def test_infer_config(self) -> None:
        self.run_configs("inference", "inference", steps=0)
        written = nib.load(os.path.join(self.folder, "thick_super_resolved.nii.gz"))
        assert written.shape == (24, 26, 24)
        assert np.isfinite(written.get_fdata()).all()


if __name__ == "__main__":
    unittest.main()
