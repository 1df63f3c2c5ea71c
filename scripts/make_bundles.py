"""Make the bundles from one source, ``bundles/volume_oinr_representation``, and fit their network.

python scripts/make_bundles.py           write what the other bundles share with the first
python scripts/make_bundles.py --check   fail, naming the files, if they differ from that
python scripts/make_bundles.py --fit     fit models/model.pt to the MNI152 template first
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

BUNDLES = Path(__file__).parents[1] / "bundles"
SOURCE = BUNDLES / "volume_oinr_representation"
SAME = (
    "LICENSE",
    "configs/evaluate.json",
    "configs/logging.conf",
    "configs/multi_gpu_train.json",
    "configs/train.json",
    "docs/data_license.txt",
    "models/model.pt",
)

# What differs: constants and the question in inference.json, and what metadata.json says of it.
OTHERS: dict[str, dict[str, Any]] = {
    "volume_oinr_derivatives": {
        "constants": {"maps": ["gradient", "gradient_magnitude", "laplacian"], "factor": None},
        "answer": {"_target_": "oinr_monai.DeriveOINR", "maps": "@maps"},
        "postfix": "derivatives",
        "metadata": {
            "name": "Volume O-INR derivatives",
            "task": "Exact spatial derivatives of one volume from its continuous representation",
            "description": "Fits an operator-based implicit neural representation to one volume "
            "and returns its exact derivatives in world axes, per mm.",
        },
        "answered": {
            "num_channels": 5,
            "value_range": [],
            "channel_def": {
                "0": "derivative along world x, intensity/mm",
                "1": "derivative along world y, intensity/mm",
                "2": "derivative along world z, intensity/mm",
                "3": "gradient magnitude, intensity/mm",
                "4": "Laplacian, intensity/mm^2",
            },
        },
    },
    "volume_oinr_features": {
        "constants": {"layer": None, "factor": None},
        "answer": {"_target_": "oinr_monai.FeaturesOINR", "layer": "@layer"},
        "postfix": "features",
        "metadata": {
            "name": "Volume O-INR features",
            "task": "Features of one volume from the layers of its continuous representation",
            "description": "Fits an operator-based implicit neural representation to one volume "
            "and returns the activations of a hidden layer, 16 channels with the default preset.",
        },
        "answered": {"num_channels": 16, "value_range": [-1, 1], "channel_def": {"0": "feature"}},
    },
    "volume_oinr_denoising": {
        "constants": {
            "noise": {"_target_": "oinr_monai.RicianNoise", "sigma": "@sigma"},
            "sigma": None,
            "factor": None,
        },
        "answer": {"_target_": "oinr_monai.SampleOINR"},
        "fit": {
            "_target_": "oinr_monai.DenoiseConfig",
            "noise": "@noise",
            "steps": "@steps",
            "seed": "@seed",
            "device": "$str(@device)",
        },
        "postfix": "denoised",
        "metadata": {
            "name": "Volume O-INR denoising",
            "task": "Denoising of one volume without a clean image",
            "description": "Learns an operator that takes noise out of one noisy volume, from that "
            "volume alone, and returns the clean volume as its continuous representation.",
        },
        "answered": {"channel_def": {"0": "denoised intensity"}},
    },
}


def made(name: str) -> dict[str, bytes]:
    """Files of bundle ``name`` that follow from the source."""
    other = OTHERS[name]
    files = {path: (SOURCE / path).read_bytes() for path in SAME}
    files["configs/inference.json"] = _json(_inference(other))
    files["configs/metadata.json"] = _json(_metadata(other))
    return files


def _inference(other: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in json.loads((SOURCE / "configs/inference.json").read_text()).items():
        config |= {key: value} if key != "factor" else other["constants"]
    if "fit" in other:
        config["fit"] = other["fit"]
        del config["preset"]
    config["answer"] = {**other["answer"], "factor": "@factor", "spacing": "@spacing"}
    config["postprocessing"]["transforms"][0]["output_postfix"] = other["postfix"]
    return config


def _metadata(other: dict[str, Any]) -> dict[str, Any]:
    metadata = json.loads((SOURCE / "configs/metadata.json").read_text())
    metadata |= other["metadata"]
    answered = metadata["network_data_format"]["post_processed_outputs"]["pred"]
    answered |= other["answered"]
    return metadata


def _json(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=4) + "\n").encode()


def write() -> None:
    """Write the shared files of all bundles."""
    for name in OTHERS:
        for path, content in made(name).items():
            file = BUNDLES / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def different() -> list[str]:
    """Files that are not what the source makes of them."""
    files = (
        (BUNDLES / name / path, content) for name in OTHERS for path, content in made(name).items()
    )
    return [
        str(file.relative_to(BUNDLES))
        for file, content in files
        if not file.is_file() or file.read_bytes() != content
    ]


def fit() -> None:
    """Run the source's train.json on the MNI152 template at 4 mm."""
    import nibabel as nib
    from monai.bundle import ConfigWorkflow
    from nilearn.datasets import load_mni152_template

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "mni152.nii.gz"
        nib.save(load_mni152_template(resolution=4), image)
        workflow = ConfigWorkflow(
            SOURCE / "configs/train.json",
            workflow_type="train",
            bundle_root=str(SOURCE),
            image=str(image),
            output_dir=folder,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        (SOURCE / "models").mkdir(exist_ok=True)
        (SOURCE / "models/model.pt").write_bytes((Path(folder) / "model.pt").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit("\n".join(different()) or 0)
    if arguments.fit:
        fit()
    write()


if __name__ == "__main__":
    main()
