"""The bundles in the hands of MONAI Label and MONAI Deploy, which run them without a workflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst
from pydicom.data import get_testdata_file
from torch import Tensor

from oinr_monai import Grid, SaveDICOM

BUNDLES = Path(__file__).parents[1] / "bundles"
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NAME = "volume_oinr_representation"

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def quick(tmp_path: Path) -> Callable[[str], Path]:
    """``quick(name)``: a copy of a bundle whose fits take a few steps, on the CPU."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(BUNDLES / name, folder)
        file = folder / "configs/inference.json"
        changes = {"preset": "fast", "steps": 5, "device": "$torch.device('cpu')"}
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    return copy


@pytest.fixture
def volume(generator: torch.Generator, oblique_affine: Tensor) -> MetaTensor:
    values = 1000 * torch.rand(1, 7, 9, 6, generator=generator)
    return MetaTensor(values.round(), affine=oblique_affine)


@pytest.fixture
def image(volume: MetaTensor, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    values = volume[0].numpy()
    if "occupancy" in request.node.name:  # wants a mask
        values = (values > 500).astype("f4")
    path = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(values, volume.affine.numpy()), path)
    return path


def check(answer: MetaTensor, channels: int, grid: Grid) -> None:
    assert isinstance(answer, MetaTensor)
    assert answer.dtype in (torch.float32, torch.int64)  # intensities, or labels
    assert answer.shape == (channels, *grid.shape)
    torch.testing.assert_close(
        answer.affine, grid.affine, atol=1e-4, rtol=0, check_dtype=False, check_device=False
    )
    assert bool(torch.isfinite(answer).all())


@pytest.mark.parametrize("name", sorted(folder.name for folder in BUNDLES.glob("volume_*")))
def test_what_the_hosts_call(
    name: str, quick: Callable[[str], Path], image: Path, volume: MetaTensor
) -> None:
    """Both parse the config without a workflow and turn gradients off; Label calls the inferer by
    place with the network, Deploy by name with TorchScript or the network."""
    folder = quick(name)
    parser = ConfigParser()
    parser.read_config(folder / "configs/inference.json")
    parser["bundle_root"] = str(folder)
    network = parser.get_parsed_content("network_def")
    state = torch.load(folder / "models/model.pt", weights_only=True)
    network.load_state_dict(state, strict=True)
    # Label has the loader return image and metadata apart.
    load, channel_first = parser.get_parsed_content("preprocessing").transforms
    load._loader.image_only = False
    inputs = channel_first(load({"image": str(image)}))["image"][None]
    inferer = parser.get_parsed_content("inferer")
    assert [type(t).__name__ for t in parser.get_parsed_content("postprocessing").transforms] == [
        "SaveImaged"
    ]
    with torch.no_grad():
        by_place = inferer(inputs, network)[0]
        by_name = next(iter(inferer(inputs=inputs, network=torch.jit.script(network).eval())))

    described = json.loads((folder / "configs/metadata.json").read_text())["network_data_format"]
    assert (next(iter(described["inputs"])), next(iter(described["outputs"]))) == ("image", "pred")
    grid = Grid.from_image(volume)
    for answer in (by_place, by_name):
        check(
            answer,
            described["post_processed_outputs"]["pred"]["num_channels"],
            grid.refine(2) if name == NAME else grid,
        )
    assert torch.equal(by_place, by_name)
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("restore", [True, False])
def test_label(
    restore: bool, quick: Callable[[str], Path], image: Path, volume: MetaTensor
) -> None:
    pytest.importorskip("monailabel")
    from monailabel.tasks.infer.bundle import BundleInferTask

    task = BundleInferTask(str(quick(NAME)), conf={}, add_post_restore=restore)
    assert task.is_valid()
    _, data = task({"image": str(image), "device": "cpu", "skip_writer": True})
    if restore:
        assert data["pred"].shape == volume.shape[1:]
        assert np.allclose(data["pred_meta_dict"]["affine"], volume.affine, atol=1e-4)
    else:
        check(data["pred"], 1, Grid.from_image(volume).refine(2))


def test_deploy(
    quick: Callable[[str], Path], volume: MetaTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("monai.deploy.operators", exc_type=ImportError)
    from monai.deploy.core import Fragment, Image, IOType
    from monai.deploy.operators import IOMapping, MonaiBundleInferenceOperator

    class OINROperator(MonaiBundleInferenceOperator):
        """As the bundle's README has it."""

        def pre_process(self, data):
            return {"image": EnsureChannelFirst(channel_dim="no_channel")(data["image"])}

        def _send_output(self, value, name, metadata, op_output, context):
            op_output.emit(value, name)

    monkeypatch.setattr(sys, "path", sys.path.copy())
    operator = OINROperator(
        Fragment(),
        app_context=SimpleNamespace(models=None),
        input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
        output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
        bundle_path=quick(NAME),
    )
    # As from a DICOM series: slices first, and pixels of 16 bits.
    spacing = Grid.from_image(volume).spacing.tolist()
    names = ("row_pixel_spacing", "col_pixel_spacing", "depth_pixel_spacing")
    series = Image(
        volume[0].numpy().astype(np.int16).swapaxes(0, 2),
        dict(zip(names, spacing, strict=True)) | {"nifti_affine_transform": volume.affine.numpy()},
    )
    sent: dict[str, Any] = {}
    operator.compute(
        SimpleNamespace(receive={"image": series}.get),
        SimpleNamespace(emit=lambda value, name: sent.update({name: value})),
        None,
    )
    check(sent["pred"], 1, Grid.from_image(volume).refine(2))


def test_deploy_app(tmp_path: Path) -> None:
    """The app of the examples, run by Deploy itself, on slices with a vessel in them."""
    pytest.importorskip("monai.deploy.core", exc_type=ImportError)
    pytest.importorskip("highdicom")
    pytest.importorskip("nilearn")
    x, y = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(16.0) - 8, indexing="ij")
    vessel = 800 * torch.exp(-(x**2 + y**2) / 8)[None, :, :, None].expand(1, 16, 16, 6)
    slices = MetaTensor(vessel, affine=torch.diag(torch.tensor([1.0, 1, 4, 1])))
    SaveDICOM(tmp_path / "series")(slices, get_testdata_file("MR_small.dcm"))
    app = shutil.copy(EXAMPLES / "deploy_app.py", tmp_path)
    config = json.loads((EXAMPLES / "dicom_to_dicom.json").read_text()) | {"steps": 0}
    (tmp_path / "dicom_to_dicom.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    command = [sys.executable, app, "-i", str(tmp_path / "series"), "-o", str(tmp_path / "out")]
    subprocess.run(command, check=True)
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"fine", "width", "vessels", "vessels.stl", "report.html"}
