"""The bundles in MONAI's hands, offline and from a directory that is not the repository."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    load,
    onnx_export,
    verify_metadata,
    verify_net_in_out,
)
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image

from oinr_monai import (
    CarriedOperator,
    ConvOINR,
    Grid,
    Motion,
    Representation,
    SuperResolveConfig,
    simulate_slices,
    super_resolve,
)
from oinr_monai.images.metrics import iou, psnr
from oinr_monai.restoration.carried_operator import shipped_operator
from oinr_monai.scanner.slices import fine_grid

ROOT = Path(__file__).parents[1]
BUNDLES = ROOT / "bundles"
CHANNELS = {
    "image_oinr_representation": 1,
    "volume_oinr_representation": 1,
    "volume_oinr_derivatives": 5,
    "volume_oinr_features": 21,
    "volume_oinr_denoising": 1,
    "volume_oinr_occupancy": 1,
    "sequence_oinr_interpolation": 1,
    "mri_oinr_super_resolution": 1,
    "mri_oinr_reconstruction": 1,
    "deformable_oinr_registration": 1,
}
POSTFIX = {name: name.rpartition("_")[2] for name in CHANNELS} | {
    "image_oinr_representation": "sampled",
    "volume_oinr_representation": "sampled",
    "volume_oinr_denoising": "denoised",
    "volume_oinr_occupancy": "labels",
    "sequence_oinr_interpolation": "interpolated",
    "mri_oinr_super_resolution": "super_resolved",
    "mri_oinr_reconstruction": "reconstructed",
    "deformable_oinr_registration": "registered",
}
# Bundles that make voxels as fine along the slices as within them.
FINER = ("super_resolved", "reconstructed")
# Three frames, and two between them, along the fourth axis.
FRAMES, ANSWERED = 3, CHANNELS | {"sequence_oinr_interpolation": 5}
QUICK = {"epochs": 2, "epoch_length": 15, "places": 500}

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
each_bundle = pytest.mark.parametrize("name", CHANNELS)
learning_anew = (
    "sequence_oinr_interpolation", "mri_oinr_super_resolution", "mri_oinr_reconstruction",
    "deformable_oinr_registration",
)  # fmt: skip
answering = [name for name in CHANNELS if name not in learning_anew]
# Its train.json teaches an operator of many scans; those of the others fit a network to one image.
TAUGHT = "mri_oinr_super_resolution"
fitting = [name for name in CHANNELS if name != TAUGHT]


def dims_of(name: str) -> int:
    return 2 if name.startswith("image_") else 3


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarse crop of the MNI152 template, 15 x 16 x 14 voxels of 8 mm."""
    datasets = pytest.importorskip("nilearn.datasets")
    template = datasets.load_mni152_template(resolution=8)
    path = tmp_path_factory.mktemp("volume") / "brain.nii.gz"
    nib.save(template.slicer[5:20, 6:22, 5:19], path)
    return path


@pytest.fixture(scope="session")
def slice_(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An axial slice of it, as 2-D NIfTI."""
    path = tmp_path_factory.mktemp("slice") / "brain.nii.gz"
    volume: Any = nib.load(image)
    nib.save(nib.Nifti1Image(volume.get_fdata(dtype=np.float32)[:, :, 7], volume.affine), path)
    return path


@pytest.fixture(scope="session")
def mask(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is brighter than half its maximum."""
    path = tmp_path_factory.mktemp("mask") / "brain.nii.gz"
    volume: Any = nib.load(image)
    values = volume.get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image((values > values.max() / 2).astype(np.uint8), volume.affine), path)
    return path


@pytest.fixture(scope="session")
def series(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crop, moved on by a voxel from frame to frame."""
    path = tmp_path_factory.mktemp("series") / "brain.nii.gz"
    volume: Any = nib.load(image)
    values = volume.get_fdata(dtype=np.float32)
    frames = np.stack([np.roll(values, t, axis=0) for t in range(FRAMES)], axis=-1)
    nib.save(nib.Nifti1Image(frames, volume.affine), path)
    return path


@pytest.fixture(scope="session")
def thick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crop of the template at 4 mm, 24 x 24 voxels in 6 slices of 16 mm."""
    datasets = pytest.importorskip("nilearn.datasets")
    template = datasets.load_mni152_template(resolution=4).slicer[12:36, 16:40, 10:34]
    volume = MetaTensor(template.get_fdata(dtype=np.float32)[None], affine=template.affine)
    slices = simulate_slices(volume, 16.0)
    path = tmp_path_factory.mktemp("thick") / "brain.nii.gz"
    nib.save(nib.Nifti1Image(slices[0].numpy(), slices.affine.numpy()), path)
    return path


@pytest.fixture(scope="session")
def image_for(
    image: Path, slice_: Path, mask: Path, series: Path, thick: Path
) -> Callable[[str], Path]:
    """``image_for(name)``: an image of the kind that the bundle takes."""
    special = {
        "image_oinr_representation": slice_,
        "volume_oinr_occupancy": mask,
        "sequence_oinr_interpolation": series,
        "mri_oinr_super_resolution": thick,
        "mri_oinr_reconstruction": thick,
    }
    return lambda name: special.get(name, image)


@pytest.fixture(scope="session")
def run_bundle() -> Callable[..., ConfigWorkflow]:
    """``run_bundle(name, "train", **overrides)`` initialises, checks and runs a workflow."""

    def run(name: str, *configs: str, **overrides: Any) -> ConfigWorkflow:
        folder = BUNDLES / name
        workflow = ConfigWorkflow(
            [str(folder / f"configs/{config}.json") for config in configs],
            workflow_type="inference" if configs == ("inference",) else "train",
            bundle_root=str(folder),
            logging_file=False,
            **overrides,
        )
        workflow.initialize()
        if len(configs) == 1:
            assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
        return workflow

    return run


@pytest.fixture(scope="session")
def fitted(
    image: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What train.json, which all bundles of volumes share, writes."""
    folder = tmp_path_factory.mktemp("fit")
    run_bundle(
        "volume_oinr_representation", "train", image=str(image), output_dir=str(folder), **QUICK
    )
    return folder


@pytest.fixture(scope="session")
def fitted_for(
    fitted: Path,
    image_for: Callable[[str], Path],
    run_bundle: Callable[..., ConfigWorkflow],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """``fitted_for(name)``: what the bundle's train.json writes."""
    special = {
        name: tmp_path_factory.mktemp("fit")
        for name in fitting
        if image_for(name) != image_for("volume_oinr_representation")
    }
    for name, folder in special.items():
        run_bundle(name, "train", image=str(image_for(name)), output_dir=str(folder), **QUICK)
    return lambda name: special.get(name, fitted)


def first_channel(image: Path) -> Any:
    """The image, or its first frame."""
    return LoadImage(image_only=True, ensure_channel_first=True)(image)[:1]


def config(name: str, file: str) -> dict[str, Any]:
    return json.loads((BUNDLES / name / f"configs/{file}.json").read_text())


def test_every_bundle_is_tested() -> None:
    assert {folder.name for folder in BUNDLES.iterdir()} == set(CHANNELS)


# ---- what MONAI's verbs say ---------------------------------------------------------------------


@each_bundle
def test_metadata(name: str, shared_data: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_bytes((shared_data / "meta_schema_20240725.json").read_bytes())
    verify_metadata(
        meta_file=str(BUNDLES / name / "configs/metadata.json"),
        filepath=str(schema),
        hash_val="76e1add273836515d0bbb3bc71962474",
        hash_type="md5",
    )


@each_bundle
def test_network_takes_and_gives_what_the_metadata_says(name: str) -> None:
    configs = BUNDLES / name / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        any=4,
    )


def places_of(name: str, *shape: int) -> tuple[int, ...]:
    """Shape of what the network takes: an encoded field, or slices and what is told of them."""
    dims = dims_of(name)
    return (6 if name == TAUGHT else 16 * dims, *shape[:dims])


@each_bundle
def test_torchscript_answers_as_the_network(name: str, tmp_path: Path) -> None:
    folder = BUNDLES / name
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(folder / "models/model.pt"),
        meta_file=str(folder / "configs/metadata.json"),
        config_file=str(folder / "configs/inference.json"),
    )
    field = torch.randn(1, *places_of(name, 3, 4, 5))
    network = loaded(name)
    exported = torch.jit.load(tmp_path / "model.ts")
    torch.testing.assert_close(exported(field), network(field))


@each_bundle
def test_onnx_answers_on_another_grid(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = BUNDLES / name
    axes = {0: "b", 2: "x", 3: "y"} | ({4: "z"} if dims_of(name) == 3 else {})
    onnx_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.onnx"),
        ckpt_file=str(folder / "models/model.pt"),
        meta_file=str(folder / "configs/metadata.json"),
        config_file=str(folder / "configs/inference.json"),
        input_shape=[1, *places_of(name, 8, 8, 8)],
        converter_kwargs={
            "input_names": ["field"],
            "output_names": ["pred"],
            "dynamic_axes": {"field": axes, "pred": axes},
        },
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    field = torch.randn(2, *places_of(name, 3, 4, 5))
    (answer,) = session.run(None, {"field": field.numpy()})
    with torch.no_grad():
        wanted = loaded(name)(field)
    torch.testing.assert_close(torch.from_numpy(answer), wanted, rtol=1e-4, atol=1e-4)


def loaded(name: str) -> ConvOINR | CarriedOperator:
    return load(name, bundle_dir=str(BUNDLES), workflow_type="inference", source="github")


@each_bundle
def test_load_gives_the_network_with_its_weights(name: str) -> None:
    state = torch.load(BUNDLES / name / "models/model.pt", weights_only=True)
    network = loaded(name)
    assert isinstance(network, CarriedOperator if name == TAUGHT else ConvOINR)
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in state.items()
    }
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@each_bundle
def test_versions_and_files(name: str) -> None:
    metadata = config(name, "metadata")
    assert metadata["version"] in metadata["changelog"]
    answered = metadata["network_data_format"]["post_processed_outputs"]["pred"]
    assert answered["num_channels"] == CHANNELS[name]
    for path in ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf"):
        assert (BUNDLES / name / path).stat().st_size > 0
    assert not list((BUNDLES / name).rglob("*.py"))
    assert [path.name for path in (BUNDLES / name / "models").iterdir()] == ["model.pt"]


@each_bundle
def test_read_mes_have_the_sections_of_the_zoo(name: str) -> None:
    text = (BUNDLES / name / "docs/README.md").read_text()
    found = re.findall(r"^##+ \*\*(.*)\*\*$", text, re.MULTILINE)
    assert found == [
        "Authors", "Tags", "Model Description", "Data", "Performance", "Additional Usage Steps",
        "System Configuration", "Limitations", "Citation Info", "References",
    ]  # fmt: skip
    for part in re.split(r"^##+ \*\*.*\*\*$", text, flags=re.MULTILINE):
        assert part.strip()


@pytest.mark.parametrize(
    ("name", "page"),
    [("mri_oinr_super_resolution", "carried"), ("volume_oinr_denoising", "volume_denoising")],
)
def test_scores_of_a_bundle_are_those_of_its_page(name: str, page: str) -> None:
    text = (BUNDLES / name / "docs/README.md").read_text()
    _, _, performance = text.partition("**Performance**")
    told = set(re.findall(r"[+\d.]+(?= dB)", performance.partition("`models/model.pt`")[0]))
    measured = (ROOT / f"docs/measured/{page}.md").read_text()
    scores = {each for each in told if re.fullmatch(r"\+?\d+\.\d\d", each)}
    assert len(scores) >= 7
    for score in scores:
        assert score in measured, score
    metrics = config(name, "metadata")["eval_metrics"].items()
    for key, value in metrics:
        assert "model_pt" in key or f"{value:.2f}" in "".join(scores)


@each_bundle
def test_every_channel_is_told(name: str) -> None:
    told = config(name, "metadata")["network_data_format"]
    for part in ("inputs", "outputs", "post_processed_outputs"):
        for each in told[part].values():
            channels = [str(i) for i in range(each["num_channels"])]
            assert list(each["channel_def"]) == channels


# ---- the configs agree --------------------------------------------------------------------------


@each_bundle
def test_blocks_shared_by_the_configs_are_equal(name: str) -> None:
    train, inference = config(name, "train"), config(name, "inference")
    for key in ("imports", "bundle_root", "dataset_dir", "image", "device", "bands", "seed",
                "network_def", "network", "initialize"):  # fmt: skip
        if (name, key) not in [(TAUGHT, "bands"), (TAUGHT, "imports")]:
            assert train[key] == inference[key], key
    assert train["train"]["preprocessing"] == inference["preprocessing"]


def test_bundles_are_what_the_script_makes_of_their_source() -> None:
    spec = importlib.util.spec_from_file_location("make", ROOT / "scripts/make_bundles.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.different() == []


# ---- runs ---------------------------------------------------------------------------------------


def test_train_writes_a_checkpoint_a_representation_and_tensorboard(
    fitted: Path, image: Path
) -> None:
    assert {path.name.partition(".")[0] for path in fitted.iterdir()} == {"model", "fit", "events"}
    state = torch.load(fitted / "model.pt", weights_only=True)
    assert state.keys() == loaded("volume_oinr_representation").state_dict().keys()
    volume = LoadImage(image_only=True, ensure_channel_first=True)(image)
    representation = Representation.load(fitted / "fit.oinr")
    assert representation.grid == Grid.from_image(volume)
    # 30 steps already tell the brain from the background.
    assert psnr(representation.sample(), volume) > 15


@each_bundle
def test_train_of_every_bundle(
    name: str,
    image_for: Callable[[str], Path],
    run_bundle: Callable[..., ConfigWorkflow],
    tmp_path: Path,
) -> None:
    quick = {**QUICK, "epochs": 1, "epoch_length": 2}
    run_bundle(name, "train", image=str(image_for(name)), output_dir=str(tmp_path), **quick)
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize("name", fitting)
def test_evaluate(
    name: str,
    fitted_for: Callable[[str], Path],
    image_for: Callable[[str], Path],
    run_bundle: Callable[..., ConfigWorkflow],
    tmp_path: Path,
) -> None:
    fitted, image = fitted_for(name), image_for(name)
    workflow = run_bundle(
        name,
        "train",
        "evaluate",
        image=str(image),
        model=str(fitted / "model.pt"),
        output_dir=str(tmp_path),
    )
    volume = first_channel(image)
    sampled = Representation.load(fitted / "fit.oinr").sample()
    metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    assert metrics["psnr"] == pytest.approx(psnr(sampled, volume), abs=1e-3)
    assert (tmp_path / "metrics.csv").is_file()
    written = nib.load(tmp_path / "brain_evaluated.nii.gz")
    values = written.get_fdata().reshape(sampled[0].shape)
    assert np.allclose(values, sampled[0].numpy(), atol=1e-5)


def test_what_train_teaches_is_what_evaluate_and_inference_answer_with(
    thick: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    where = {"image": str(thick), "output_dir": str(tmp_path)}
    workflow = run_bundle(TAUGHT, "train", epochs=2, epoch_length=3, val_interval=1, **where)
    errors = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    assert errors["mean_squared_error"] > 0
    taught = loaded(TAUGHT)
    before = taught.tail.weight.clone()
    taught.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert not torch.equal(before, taught.tail.weight)
    how = {"model": str(tmp_path / "model.pt"), **where}
    workflow = run_bundle(TAUGHT, "train", "evaluate", **how)
    found = super_resolve(first_channel(thick), SuperResolveConfig(steps=0, start=taught))
    metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    thick_grid = found.sample(Grid.from_image(first_channel(thick)))
    assert metrics["psnr"] == pytest.approx(psnr(thick_grid, first_channel(thick)), abs=1e-3)
    run_bundle(TAUGHT, "inference", steps=0, **how)
    written = nib.load(tmp_path / "brain_super_resolved.nii.gz").get_fdata()
    assert np.abs(written - found.sample()[0].numpy()).max() < 1e-3 * written.max()


def test_the_bundle_of_slices_has_the_weights_that_the_package_ships() -> None:
    shipped = shipped_operator().state_dict()
    assert all(
        torch.equal(shipped[key], value) for key, value in loaded(TAUGHT).state_dict().items()
    )


@pytest.mark.parametrize(
    ("name", "answers_from"),
    [
        *((name, "a fit") for name in CHANNELS if name != TAUGHT),
        *((name, file) for name in answering for file in ("fit.oinr", "model.pt")),
    ],
)
def test_inference_writes_what_reloads(
    name: str,
    answers_from: str,
    fitted_for: Callable[[str], Path],
    image_for: Callable[[str], Path],
    run_bundle: Callable[..., ConfigWorkflow],
    tmp_path: Path,
) -> None:
    fitted, image, dims = fitted_for(name), image_for(name), dims_of(name)
    how: dict[str, Any] = {"steps": 20, "preset": "balanced"}
    if POSTFIX[name] == "registered":
        how = {"fixed": str(image), "model": "rigid"}
    if answers_from != "a fit":
        how = {"fitted": str(fitted / answers_from)}
    workflow = run_bundle(name, "inference", image=str(image), output_dir=str(tmp_path), **how)
    source = "fit" if answers_from == "fit.oinr" else "brain"
    written = nib.load(tmp_path / f"{source}_{POSTFIX[name]}.nii.gz")
    fitted_grid = Grid.from_image(first_channel(image))
    grid = fitted_grid.refine(2) if POSTFIX[name] == "sampled" else fitted_grid
    grid = fine_grid(grid, axis=2) if POSTFIX[name] in FINER else grid
    assert written.shape[:dims] == grid.shape
    assert np.allclose(written.affine, grid.affine.numpy(), atol=1e-5)
    values = torch.from_numpy(written.get_fdata(dtype=np.float32))
    values = values[None] if values.ndim == 3 else values.movedim(-1, 0)
    values = values[..., 0] if dims == 2 else values
    if answers_from == "a fit":
        assert len(values) == ANSWERED[name]
        assert bool(torch.isfinite(values).all())
    else:
        answer = workflow.parser.get_parsed_content("answer")
        expected = answer(Representation.load(fitted / "fit.oinr"))
        torch.testing.assert_close(values, expected.as_tensor().float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_become_png(
    channels: int, suffix: str, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 14), np.linspace(-1, 1, 17))
    pixels = np.clip(np.stack([270 * np.exp(-(x**2) - k * y**2) for k in (1, 2, 3)], -1), 0, 255)
    pixels = pixels.round().astype(np.uint8)
    pixels = pixels if channels == 3 else pixels[:, :, 0]
    Image.fromarray(pixels).save(tmp_path / f"picture{suffix}")
    run_bundle(
        "image_oinr_representation",
        "inference",
        image=str(tmp_path / f"picture{suffix}"),
        output_dir=str(tmp_path),
    )
    with Image.open(tmp_path / "picture_sampled.png") as picture:
        assert picture.size == (27, 33)
        error = np.asarray(picture)[::2, ::2].astype(float) - pixels
    # wrapped pixels would be off by 256
    assert np.abs(error).max() < 64
    assert np.abs(error).mean() < 6


def test_a_spacing_replaces_the_factor(
    fitted: Path, image: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    how = {"fitted": str(fitted / "fit.oinr"), "spacing": 5.0, "output_dir": str(tmp_path)}
    run_bundle("volume_oinr_representation", "inference", image=str(image), **how)
    written = nib.load(tmp_path / "fit_sampled.nii.gz")
    assert np.allclose(np.linalg.norm(written.affine[:3, :3], axis=0), 5.0)


def test_labels_come_back(run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path) -> None:
    labels = np.zeros((16, 14, 12), np.uint8)
    labels[3:8, 3:11, 3:9], labels[8:13, 3:11, 3:9] = 2, 5
    nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "two.nii.gz")
    where = {"image": str(tmp_path / "two.nii.gz"), "output_dir": str(tmp_path)}
    run_bundle("volume_oinr_occupancy", "inference", preset="fast", steps=400, **where)
    written: Any = nib.load(tmp_path / "two_labels.nii.gz")
    assert written.get_data_dtype().kind == "i"
    assert min(iou(torch.from_numpy(written.get_fdata()), torch.from_numpy(labels)).values()) > 0.9


def test_frames_at_chosen_times(
    series: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    where = {"image": str(series), "output_dir": str(tmp_path)}
    run_bundle(
        "sequence_oinr_interpolation", "inference", at=[0, 1], preset="fast", steps=400, **where
    )
    frames = nib.load(series).get_fdata()[..., :2]
    written: Any = nib.load(tmp_path / "brain_interpolated.nii.gz")
    assert written.shape == frames.shape
    # the other frame, a voxel away, is far worse
    shifted = psnr(torch.from_numpy(frames[..., :1]), torch.from_numpy(frames[..., 1:]))
    assert psnr(torch.from_numpy(written.get_fdata()), torch.from_numpy(frames)) > shifted + 3


def test_thick_slices_are_kept(
    thick: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    how = {
        "steps": 3,
        "profile": {"_target_": "oinr_monai.scanner.Boxcar", "thickness": 8},
    }
    where = {"image": str(thick), "output_dir": str(tmp_path)}
    run_bundle("mri_oinr_super_resolution", "inference", **how, **where)
    written: Any = nib.load(tmp_path / "brain_super_resolved.nii.gz")
    assert written.shape == (24, 24, 24)
    inner = written.get_fdata().reshape(24, 24, 6, 4)[..., 1:3].mean(axis=3)
    assert np.abs(inner - nib.load(thick).get_fdata()).max() < 0.01 * inner.max()


def test_what_moved_comes_back(
    series: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    frames: Any = nib.load(series)
    for name, frame in (("fixed", 0), ("moving", 1)):
        nib.save(frames.slicer[..., frame], tmp_path / f"{name}.nii.gz")
    where = {key: str(tmp_path / f"{name}.nii.gz") for key, name in
             (("fixed", "fixed"), ("image", "moving"))}  # fmt: skip
    how = {"model": "rigid", "transform": str(tmp_path / "there.safetensors")}
    run_bundle(
        "deformable_oinr_registration", "inference", output_dir=str(tmp_path), **where, **how
    )
    fixed, moving = (torch.from_numpy(frames.get_fdata()[..., t]) for t in (0, 1))
    written: Any = nib.load(tmp_path / "moving_registered.nii.gz")
    inner = (slice(2, -2),) * 3
    moved = torch.from_numpy(written.get_fdata())
    assert psnr(moved[inner], fixed[inner]) > psnr(moving[inner], fixed[inner]) + 10
    middle = Grid.from_image(first_channel(series)).to_world(torch.tensor([[7.0, 8.0, 7.0]]))
    shift = Motion.load(how["transform"]).at(middle) - middle
    step = torch.from_numpy(frames.affine[:3, 0])
    assert float((shift - step).norm()) < 0.1 * float(step.norm())


def test_stacks_that_cross_tell_more_than_one(
    thick: Path, run_bundle: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    datasets = pytest.importorskip("nilearn.datasets")
    template = datasets.load_mni152_template(resolution=4).slicer[12:36, 16:40, 10:34]
    truth = torch.from_numpy(template.get_fdata(dtype=np.float32))
    slices = simulate_slices(MetaTensor(truth[None], affine=template.affine), 16.0, axis=0)
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(slices[0].numpy(), slices.affine.numpy()), other)
    scores = []
    for others in ([], [str(other)]):
        where = {"image": str(thick), "others": others, "output_dir": str(tmp_path)}
        run_bundle("mri_oinr_reconstruction", "inference", motion="still", **where)
        written: Any = nib.load(tmp_path / "brain_reconstructed.nii.gz")
        scores.append(psnr(torch.from_numpy(written.get_fdata()), truth))
    assert scores[1] > scores[0] + 1


def test_two_bundles_in_one_process(image: Path, tmp_path: Path) -> None:
    workflows = [
        ConfigWorkflow(
            str(BUNDLES / name / "configs/inference.json"),
            workflow_type="inference",
            bundle_root=str(BUNDLES / name),
            logging_file=False,
            image=str(image),
            steps=5,
            output_dir=str(tmp_path),
        )
        for name in ("volume_oinr_derivatives", "volume_oinr_features")
    ]
    for workflow in workflows:
        workflow.initialize()
    for workflow in workflows:
        workflow.run()
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["brain_derivatives.nii.gz", "brain_features.nii.gz"]


# ---- the command line and several processes, each in processes of their own ---------------------


def command(*arguments: str, folder: Path, launcher: tuple[str, ...] = ()) -> None:
    subprocess.run(
        [sys.executable, *launcher, "-m", "monai.bundle", *arguments],
        check=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=120,
        capture_output=True,
    )


@pytest.mark.slow
@each_bundle
def test_command_line(name: str, image_for: Callable[[str], Path], tmp_path: Path) -> None:
    folder, image = BUNDLES / name, image_for(name)
    configs = folder / "configs"
    common = ["--bundle_root", str(folder), "--image", str(image), "--output_dir", str(tmp_path)]
    short = ["--epochs", "1", "--epoch_length", "5"]
    command("run", "--config_file", str(configs / "train.json"), *common, *short, folder=tmp_path)
    both = f"['{configs}/train.json','{configs}/evaluate.json']"
    command("run", "--config_file", both, *common, folder=tmp_path)
    inference = str(configs / "inference.json")
    how = ["--fixed", str(image)] if POSTFIX[name] == "registered" else ["--steps", "5"]
    command("run", "--config_file", inference, *common, *how, folder=tmp_path)
    assert (tmp_path / f"brain_{POSTFIX[name]}.nii.gz").is_file()


@pytest.mark.slow
def test_two_processes_fit_as_well_as_one(image: Path, tmp_path: Path) -> None:
    folder = BUNDLES / "volume_oinr_representation"
    train, several = folder / "configs/train.json", folder / "configs/multi_gpu_train.json"
    common = ["--bundle_root", str(folder), "--image", str(image), "--epochs", "10",
              "--epoch_length", "30"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    command("run", "--config_file", str(train), *common, "--output_dir", str(one), folder=tmp_path)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1",
                "--nproc_per_node", "2")  # fmt: skip
    command(
        "run", "--config_file", f"['{train}','{several}']", *common, "--output_dir", str(two),
        folder=tmp_path, launcher=torchrun,
    )  # fmt: skip
    volume = LoadImage(image_only=True, ensure_channel_first=True)(image)
    scores = [
        psnr(Representation.load(where / "fit.oinr").sample(), volume) for where in (one, two)
    ]
    assert scores[1] > scores[0] - 0.5
    # The names of event files end in host, process and a counter.
    events = [path.name.split(".")[-2] for path in two.glob("events*")]
    assert len(set(events)) == 1
    assert len(list(two.glob("*"))) == len(list(one.glob("*")))


@each_bundle
def test_training_logs_a_line_an_epoch(name: str) -> None:
    parser = ConfigParser(json.loads((BUNDLES / name / "configs" / "train.json").read_text()))
    parser["epoch_length"] = 15
    (config,) = (
        each
        for each in parser["train"]["handlers"]
        if each["_target_"] == "StatsHandler" and "tag_name" in each
    )
    parser["log"] = {**config, "_disabled_": False}
    engine = Engine(lambda engine, batch: [{"loss": torch.tensor(0.5)}])
    handler = parser.get_parsed_content("log")
    told: list[int] = []
    handler.epoch_log = False
    handler.iteration_print_logger = lambda engine: told.append(engine.state.iteration)
    handler.attach(engine)
    engine.run(range(15), max_epochs=2)
    assert told == [15, 30]
