"""Make the bundles from one source, ``bundles/volume_oinr_representation``, and fit their networks.

python -m scripts.make_bundles               write what the other bundles share with the first
python -m scripts.make_bundles --check       fail, naming the files, if they differ from that
python -m scripts.make_bundles --fit         fit models/model.pt to the MNI152 template first, that
                                             of the 2-D bundle to scikit-image's photograph "camera"
python -m scripts.make_bundles --fit NAME    fit that of one of the two bundles
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scripts.shared.bundles import (
    AVERAGED,
    BETWEEN,
    CARRIED,
    DETAIL,
    FRAMES_ANSWERED,
    LIKE_THE_TRUTH,
    LOADED,
    METADATA_IN_2D,
    METADATA_OF_SEQUENCES,
    ONE_FRAME,
    OTHERS,
    OTHERWISE,
    OUTPUT,
    PARTS,
    POLYNOMIALS,
    SAVED,
    TAUGHT,
    TO_PIXELS,
    TOLD,
    UNUSED,
    encoded,
)

BUNDLES = Path(__file__).parents[1] / "bundles"
SOURCE = BUNDLES / "volume_oinr_representation"
PICTURES = BUNDLES / "image_oinr_representation"
SEQUENCES = BUNDLES / "sequence_oinr_interpolation"
SLICES = BUNDLES / "mri_oinr_super_resolution"
SHIPPED = BUNDLES.parent / "oinr_monai/restoration/super_resolution.safetensors"
COPY = "$import copy"
MADE = (*OTHERS, *OTHERWISE, PICTURES.name, SEQUENCES.name)
SAME_IN_2D = (
    "LICENSE",
    "configs/logging.conf",
    "configs/multi_gpu_evaluate.json",
    "configs/multi_gpu_train.json",
)
SAME = (
    *SAME_IN_2D,
    "configs/evaluate.json",
    "configs/train.json",
    "docs/data_license.txt",
    "models/model.pt",
)


def made(name: str) -> dict[str, bytes]:
    """Files of bundle ``name`` that follow from the source."""
    special = {
        PICTURES.name: _made_in_2d,
        SEQUENCES.name: _made_of_sequences,
        SLICES.name: _made_of_slices,
    }
    if name in special:
        return special[name]()
    return _made_in_3d(OTHERS[name]) if name in OTHERS else _made_otherwise(OTHERWISE[name])


def _made_in_3d(other: dict[str, Any]) -> dict[str, bytes]:
    files = {path: (SOURCE / path).read_bytes() for path in SAME}
    files["configs/inference.json"] = _json(_inference(other))
    files["configs/metadata.json"] = _json(_metadata(other))
    return files


def _made_in_2d() -> dict[str, bytes]:
    files = {path: (SOURCE / path).read_bytes() for path in SAME_IN_2D}
    files["configs/train.json"] = _json(_flat("train"))
    evaluate = _read("evaluate")
    evaluate["validate"]["postprocessing"]["transforms"][0]["squeeze_end_dims"] = False
    files["configs/evaluate.json"] = _json(evaluate)
    files["configs/inference.json"] = _json(_with_pixels(_flat("inference")))
    files["configs/metadata.json"] = _json(_flat_metadata())
    return files


def _made_of_sequences() -> dict[str, bytes]:
    differ = ("configs/train.json", "configs/evaluate.json")
    files = {path: (SOURCE / path).read_bytes() for path in SAME if path not in differ}
    files["configs/train.json"] = _json(_train_one_frame())
    evaluate = _read("evaluate")
    loaded = evaluate["validate"]["preprocessing"]["transforms"]
    loaded.append(ONE_FRAME | {"keys": ["image", "label"]})
    files["configs/evaluate.json"] = _json(evaluate)
    files["configs/inference.json"] = _json(_interpolate())
    metadata = {"metadata": METADATA_OF_SEQUENCES, "answered": FRAMES_ANSWERED}
    files["configs/metadata.json"] = _json(_metadata(metadata))
    return files


def _made_of_slices() -> dict[str, bytes]:
    files = _made_otherwise(OTHERWISE[SLICES.name])
    del files["docs/data_license.txt"]
    inference = json.loads(files["configs/inference.json"])
    inference["network_def"] = CARRIED
    inference["handlers"].insert(0, LOADED)
    del inference["bands"]
    files["configs/inference.json"] = _json(inference)
    files["configs/train.json"] = _json(_teach())
    files["configs/evaluate.json"] = _json(_evaluate_slices())
    several = _read("multi_gpu_train")
    del several["train#dataset#places"]
    several["imports"].append(COPY)
    files["configs/multi_gpu_train.json"] = _json(several)
    metadata = json.loads(files["configs/metadata.json"])
    told = {"inputs": ("image", TOLD), "outputs": ("pred", POLYNOMIALS)}
    for part, (key, channels) in told.items():
        described = metadata["network_data_format"][part][key]
        described |= {"num_channels": len(channels), "channel_def": channels}
    files["configs/metadata.json"] = _json(metadata)
    return files | {"models/model.pt": _shipped()}


def _teach() -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in _read("train").items():
        if key == "network_def":
            config |= {"scans": "$[@image]", "network_def": CARRIED}
        elif key not in ("places", "bands", *TAUGHT):
            config[key] = value
        elif key in TAUGHT:
            config |= TAUGHT if key == "loss" else {}
    config["imports"].append(COPY)
    config |= {"epochs": 120, "val_interval": 10, "learning_rate": 0.002}
    train, validate = config["train"], config["validate"]
    train["dataset"] = PARTS | {"transform": "@train#preprocessing", "seed": "@seed"}
    fixed = {"transform": "@validate#preprocessing", "seed": 20240721, "length": 64}
    validate["dataset"] = PARTS | fixed
    validate["key_metric"] = {"mean_squared_error": DETAIL}
    validate["evaluator"]["network"] = "@average"
    for part in (train["trainer"], validate["evaluator"]):
        part["decollate"] = True
    train["handlers"].insert(0, AVERAGED)
    saver = train["handlers"][-1]
    saver["save_dict"] = {"model": "@average"}
    config["run"] = config["run"][:1]
    return config


def _evaluate_slices() -> dict[str, Any]:
    config = _read("evaluate")
    config["validate"]["inferer"] = LIKE_THE_TRUTH
    return config


def _shipped() -> bytes:
    """The weights that the package ships, as a state dict."""
    from oinr_monai import CarriedOperator

    content = io.BytesIO()
    torch.save(CarriedOperator.load(SHIPPED).state_dict(), content)
    return content.getvalue()


def _made_otherwise(other: dict[str, Any]) -> dict[str, bytes]:
    files = {path: (SOURCE / path).read_bytes() for path in SAME}
    config: dict[str, Any] = {}
    for key, value in _read("inference").items():
        if key == "factor":
            config |= other["constants"]
        elif key == "inferer":
            config |= other["asked"]
        elif key not in (*UNUSED, "preset", "fit", *other.get("without", ())):
            config[key] = value
    config["postprocessing"]["transforms"][0]["output_postfix"] = other["postfix"]
    files["configs/inference.json"] = _json(config)
    files["configs/metadata.json"] = _json(_metadata(other))
    return files


def _train_one_frame() -> dict[str, Any]:
    config: dict[str, Any] = {}
    constants = {"frame": 0, "one_frame": ONE_FRAME | {"keys": "image"}}
    for key, value in _read("train").items():
        config |= {key: value} | (constants if key == "image" else {})
    for part in ("train", "validate"):
        steps = f"$monai.transforms.Compose([@{part}#preprocessing, @one_frame])"
        config[part]["dataset"]["transform"] = steps
    return config


def _interpolate() -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in _read("inference").items():
        if key == "factor":
            config |= {"at": None, "factor": "$2 if @at is None else None", "motion": True}
        elif key not in (*UNUSED, "spacing"):
            config[key] = value
    config["preset"] = "balanced"
    config["inferer"] = BETWEEN
    config["postprocessing"]["transforms"][0]["output_postfix"] = "interpolated"
    return config


def _read(name: str) -> dict[str, Any]:
    return json.loads((SOURCE / f"configs/{name}.json").read_text())


def _flat(name: str) -> dict[str, Any]:
    config = _read(name) | {"image": "$@dataset_dir + '/image.png'"}
    config["network_def"] |= {"spatial_dims": 2, "in_channels": "$4 * @bands"}
    return config


def _with_pixels(config: dict[str, Any]) -> dict[str, Any]:
    saved = config["postprocessing"]["transforms"]
    saved[:] = [TO_PIXELS, saved[0] | SAVED]
    before = list(config).index("network_def")
    items = list(config.items())
    return dict(items[:before]) | OUTPUT | dict(items[before:])


def _flat_metadata() -> dict[str, Any]:
    metadata = _read("metadata") | METADATA_IN_2D
    metadata["required_packages_version"] |= {"pillow": "13.0.0"}
    formats = metadata["network_data_format"]
    formats["inputs"]["image"] |= {"num_channels": 32, "channel_def": encoded(2)}
    for each in (
        *formats["inputs"].values(),
        *formats["outputs"].values(),
        *formats["post_processed_outputs"].values(),
    ):
        each["spatial_shape"] = ["*", "*"]
    return metadata


def _inference(other: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in _read("inference").items():
        config |= {key: value} if key != "factor" else other["constants"]
    if "fit" in other:
        config["fit"] = other["fit"]
    if "trained" in other:
        config["preset"] = other["trained"]
    for key in other.get("without", ()):
        del config[key]
    config["answer"] = {**other["answer"], "factor": "@factor", "spacing": "@spacing"}
    saved = {"output_postfix": other["postfix"], **other.get("saved", {})}
    config["postprocessing"]["transforms"][0] |= saved
    return config


def _metadata(other: dict[str, Any]) -> dict[str, Any]:
    metadata = _read("metadata") | other["metadata"]
    answered = metadata["network_data_format"]["post_processed_outputs"]["pred"]
    answered |= other["answered"]
    return metadata


def _json(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=4) + "\n").encode()


def write() -> None:
    """Write the shared files of all bundles."""
    for name in MADE:
        for path, content in made(name).items():
            file = BUNDLES / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def different() -> list[str]:
    """Files that are not what the source makes of them."""
    files = (
        (BUNDLES / name / path, content) for name in MADE for path, content in made(name).items()
    )
    return [
        str(file.relative_to(BUNDLES))
        for file, content in files
        if not file.is_file() or file.read_bytes() != content
    ]


def save_brain(folder: Path) -> Path:
    """Write the MNI152 template at 4 mm."""
    from nilearn.datasets import load_mni152_template

    load_mni152_template(resolution=4).to_filename(folder / "mni152.nii.gz")
    return folder / "mni152.nii.gz"


def save_camera(folder: Path) -> Path:
    """Write the photograph, 256 x 256 pixels, each the mean of 2 x 2."""
    from PIL import Image
    from skimage import data

    Image.fromarray(data.camera()).reduce(2).save(folder / "camera.png")
    return folder / "camera.png"


FITTED_TO: dict[str, Callable[[Path], Path]] = {SOURCE.name: save_brain, PICTURES.name: save_camera}


def fit(name: str) -> None:
    """Run train.json of bundle ``name`` on the image that its weights are of."""
    from monai.bundle import ConfigWorkflow

    bundle = BUNDLES / name
    with tempfile.TemporaryDirectory() as folder:
        workflow = ConfigWorkflow(
            str(bundle / "configs/train.json"),
            workflow_type="train",
            bundle_root=str(bundle),
            image=str(FITTED_TO[name](Path(folder))),
            output_dir=folder,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        (bundle / "models").mkdir(exist_ok=True)
        (bundle / "models/model.pt").write_bytes((Path(folder) / "model.pt").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--fit", nargs="*", choices=FITTED_TO, default=None, metavar="NAME")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit("\n".join(different()) or 0)
    write()
    if arguments.fit is not None:
        for name in arguments.fit or FITTED_TO:
            fit(name)
        write()


if __name__ == "__main__":
    main()
