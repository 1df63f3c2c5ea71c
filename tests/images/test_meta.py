"""What an answer takes over from its image, whatever made it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, PersistentDataset
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Flip,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImaged,
    Spacingd,
    SpatialPad,
    SpatialPadd,
    ThresholdIntensityd,
    Transform,
)
from PIL import Image
from torch import Tensor

from oinr_monai import (
    ConvOINR,
    DenoiseConfig,
    DenoiseOINR,
    DenoiseOINRd,
    DeriveOINR,
    DeriveOINRd,
    EncodeGrid,
    EncodeGridd,
    FeaturesOINR,
    FitConfig,
    FitOccupancyOINR,
    FitOccupancyOINRd,
    FitOINR,
    FitOINRd,
    Grid,
    InterpolateOINR,
    LabelsOINR,
    LabelsOINRd,
    OccupancyConfig,
    OperatorConfig,
    RandFitOINR,
    Representation,
    SampleOINR,
    SampleOINRd,
    SimulateThickSlices,
    SuperResolveConfig,
    SuperResolveOINR,
    fit,
    fit_family,
    fit_many,
    fuse,
    interpolate_slices,
    learn_operator,
    learn_start,
    modulate,
)
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.meta import placed
from oinr_monai.images.time_axis import TimeAxis
from oinr_monai.plugin.training import TrainedInferer

FEW = FitConfig("fast", steps=1)
DENOISE = DenoiseConfig(steps=1)


def _modulated(image: MetaTensor) -> MetaTensor:
    operator = learn_operator([image, image], OperatorConfig(steps=1, batch=1))
    return modulate([image], operator)[0].sample()


def _loaded(image: MetaTensor) -> MetaTensor:
    path = Path(image.meta["filename_or_obj"]).with_suffix(".oinr")
    FitOINR(FEW)(image).save(path)
    return Representation.load(path).sample()


def _doubled(image: MetaTensor) -> MetaTensor:
    return MetaTensor(image.as_tensor().expand(2, -1, -1), meta=image.meta)


def _strip(image: MetaTensor) -> MetaTensor:
    return MetaTensor(image.as_tensor()[:, :3, :, None], meta=image.meta)


def _trained(image: MetaTensor) -> MetaTensor:
    return TrainedInferer()(image[None], ConvOINR(2, 32, 1, channels=(8,), kernel_size=1))[0]


ANSWERS: dict[str, Callable[[MetaTensor], MetaTensor]] = {
    "fit": Compose([FitOINR(FEW), SampleOINR()]),
    "fit from a random start": Compose([RandFitOINR(FEW), SampleOINR()]),
    "fit exactly": Compose([FitOINR(FitConfig("exact")), SampleOINR(factor=2)]),
    "fit several": lambda image: fit([image, image], FEW).sample(),
    "fit many": lambda image: fit_many([image], FEW)[0].sample(),
    "fit a family": lambda image: fit_family([image, image], FEW).blend([0.3, 0.7]).sample(),
    "learn a start": lambda image: learn_start([image], FEW, rounds=1).sample(),
    "modulate": _modulated,
    "save and load": _loaded,
    "smooth": lambda image: FitOINR(FEW)(image).smoothed(1.0).sample(),
    "turn to double": lambda image: FitOINR(FEW)(image).to(torch.float64).sample(),
    "denoise": DenoiseOINR(DENOISE),
    "super-resolve": SuperResolveOINR(SuperResolveConfig(steps=1), spacing=0.5),
    "fuse": lambda image: fuse([image, image]).sample(),
    "simulate": SimulateThickSlices(spacing=2.0, axis=1),
    "interpolate frames": lambda image: InterpolateOINR([0.5], config=FEW)(_doubled(image)),
    "interpolate slices": lambda image: interpolate_slices(_strip(image), 0, 2, FEW),
    "infer": _trained,
}


@pytest.fixture
def picture(tmp_path: Path) -> MetaTensor:
    """A grey PNG of 16 bits, its values up to 65,535."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 24)
    pixels = 30_000 * (1 + np.sin(x)[:, None] * np.cos(x)) + 500 * rng.random((24, 24))
    pixels[0, 0] = 65_535
    Image.fromarray(pixels.clip(0, 65_535).astype(np.uint16)).save(tmp_path / "deep.png")
    return read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("made_by", ANSWERS)
def test_pixels_stay_as_deep_as_they_were(picture: MetaTensor, made_by: str) -> None:
    answer = ANSWERS[made_by](picture)
    assert "deep" in answer.meta["filename_or_obj"]
    path = Path(picture.meta["filename_or_obj"]).with_name("answer.png")
    write_image(path, answer)
    found = read_image(path)
    assert found.meta["stored_dtype"] == "uint16"
    assert float(found.max()) > 255
    wanted = answer.as_tensor().float().reshape(found.shape).round().clamp(0, 65_535)
    torch.testing.assert_close(found.as_tensor(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_labels_stay_as_deep_as_they_were(tmp_path: Path, kind: str) -> None:
    labels = np.zeros((12, 12), dtype=kind)
    labels[3:9, 3:9] = np.iinfo(kind).max
    Image.fromarray(labels).save(tmp_path / "labels.png")
    fitted = FitOccupancyOINR(OccupancyConfig(FitConfig("fast", steps=50)))(
        read_image(tmp_path / "labels.png")
    )
    assert "stored_dtype" not in fitted.sample().meta  # occupancies are no labels
    write_image(tmp_path / "found.png", LabelsOINR()(fitted))
    found = read_image(tmp_path / "found.png")
    assert found.meta["stored_dtype"] == kind
    assert float(found.max()) == np.iinfo(kind).max


def test_labels_of_an_array_are_as_deep_as_they_need() -> None:
    labels = torch.zeros(1, 12, 12)
    labels[:, 3:9, 3:9] = 700
    fitted = FitOccupancyOINR(OccupancyConfig(FitConfig("fast", steps=1)))(labels)
    assert LabelsOINR()(fitted).meta["stored_dtype"] == "uint16"


def test_what_is_no_intensity_has_no_pixel_depth(picture: MetaTensor) -> None:
    fitted = FitOINR(FEW)(picture)
    for ask in (
        DeriveOINR(["gradient", "laplacian"]),
        FeaturesOINR(),
        lambda _: EncodeGrid()(picture),
    ):
        answer = ask(fitted)
        assert answer.meta["filename_or_obj"] == picture.meta["filename_or_obj"]
        assert "stored_dtype" not in answer.meta


BOLD = TimeAxis(step=2.2, start=5.0, unit="sec")


@pytest.mark.parametrize(
    ("shown", "axis"),
    [
        ({"factor": 2}, TimeAxis(1.1, 5.0, "sec")),
        ({"at": [0.5, 1.0, 1.5]}, TimeAxis(1.1, 6.1, "sec")),
        ({"at": [0.0, 0.5, 2.0]}, None),
        ({"at": [0.5]}, None),
    ],
)
def test_time_goes_on_between_frames(shown: dict[str, Any], axis: TimeAxis | None) -> None:
    series = MetaTensor(torch.rand(3, 9, 9), meta=BOLD.meta())
    assert TimeAxis.of(InterpolateOINR(**shown, config=FEW)(series).meta) == axis


@pytest.mark.parametrize(
    "made_by", ["fit", "save and load", "denoise", "super-resolve", "simulate", "fuse"]
)
def test_answers_keep_the_times_of_their_channels(made_by: str, tmp_path: Path) -> None:
    meta = {**BOLD.meta(), "filename_or_obj": str(tmp_path / "bold.nii")}
    series = MetaTensor(torch.rand(3, 24, 24), meta=meta)
    assert TimeAxis.of(ANSWERS[made_by](series).meta) == BOLD
    assert TimeAxis.of(FitOINR(FEW)(series).gradient().meta) is None


# ---- MONAI's transforms, undone -----------------------------------------------------------------


ASKED = {
    "fit": [FitOINRd("image", FEW), SampleOINRd("image")],
    "derive": [FitOINRd("image", FEW), DeriveOINRd("image", "gradient_magnitude")],
    "label": [
        ThresholdIntensityd("image", 0.5, cval=0.0),
        AsDiscreted("image", threshold=0.5),
        FitOccupancyOINRd("image", OccupancyConfig(FEW)),
        LabelsOINRd("image"),
    ],
    "denoise": [DenoiseOINRd("image", DENOISE)],
    "encode": [EncodeGridd("image")],
}


@pytest.fixture
def scan(tmp_path: Path, oblique_affine: Tensor) -> Path:
    """A NIfTI file whose axes run otherwise than RAS."""
    affine = oblique_affine[[1, 0, 2, 3]].numpy()
    voxels = np.random.default_rng(0).random((9, 12, 10)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


TURN = Orientationd("image", "RAS", labels=None)


def _read(*transforms: Transform) -> Compose:
    return Compose([LoadImaged("image"), EnsureChannelFirstd("image"), *transforms])


@pytest.mark.parametrize("asked", ASKED)
def test_transforms_before_it_are_undone(scan: Path, asked: str) -> None:
    chain = _read(TURN, SpatialPadd("image", (16, 16, 16)), *ASKED[asked])
    plain = _read()({"image": scan})["image"]
    answer = chain({"image": scan})
    before = answer["image"].meta["original_affine"]
    undone = chain.inverse(answer)["image"]
    assert undone.shape[1:] == plain.shape[1:]
    torch.testing.assert_close(undone.affine, plain.affine)
    np.testing.assert_array_equal(before, plain.affine)


def test_a_finer_answer_is_turned_back(scan: Path) -> None:
    chain = _read(TURN, FitOINRd("image", FEW), SampleOINRd("image", 2))
    plain = _read()({"image": scan})["image"]
    undone = chain.inverse(chain({"image": scan}))["image"]
    wanted = Grid.from_image(plain).refine(2)
    assert tuple(undone.shape[1:]) == wanted.shape
    torch.testing.assert_close(undone.affine, wanted.affine)


def test_voxels_added_before_a_finer_answer_are_not_taken_for_its_own(scan: Path) -> None:
    chain = _read(
        SpatialPadd("image", (16, 16, 16)), FitOINRd("image", FEW), SampleOINRd("image", 2)
    )
    assert chain({"image": scan})["image"].applied_operations == []


def test_an_answer_on_the_grid_of_another_image_has_its_history(scan: Path) -> None:
    plain = _read()({"image": scan})["image"]
    turned = _read(TURN)({"image": scan})["image"]
    answer = SampleOINR()(FitOINR(FEW)(plain), like=turned)
    assert [each["class"] for each in answer.applied_operations] == ["Orientation"]


def test_undoing_an_answer_leaves_the_history_of_its_image(scan: Path) -> None:
    chain = _read(Spacingd("image", (2.0, 2.0, 2.0)), FitOINRd("image", FEW, output_keys="fit"))
    found = chain({"image": scan})
    for _ in range(2):
        answer = SampleOINR()(found["fit"])
        assert chain.inverse({"image": answer})["image"].shape == (1, 9, 12, 10)


def test_a_cache_on_disk_keeps_the_history(scan: Path, tmp_path: Path) -> None:
    chain = _read(TURN, SpatialPadd("image", (16, 16, 16)), *ASKED["fit"])
    for _ in range(2):
        dataset = PersistentDataset(
            [{"image": str(scan)}], chain, cache_dir=tmp_path / "cache", track_meta=True
        )
        answer = dataset[0]["image"]
    assert chain.inverse({"image": answer})["image"].shape == (1, 9, 12, 10)


@pytest.mark.parametrize("factor", [1, 2])
def test_monai_writes_an_answer_where_it_lies(scan: Path, factor: int, tmp_path: Path) -> None:
    """The image's own grid goes back to where it was read; another one stays as it was asked."""
    chain = _read(
        TURN,
        FitOINRd("image", FEW),
        SampleOINRd("image", factor),
        SaveImaged(
            "image", output_dir=tmp_path, resample=True, separate_folder=False, print_log=False
        ),
    )
    answer = chain({"image": scan})["image"]
    written, plain = nib.load(tmp_path / "scan_trans.nii.gz"), nib.load(scan)
    wanted = plain.affine if factor == 1 else answer.affine.numpy()
    np.testing.assert_allclose(written.affine, wanted, atol=1e-5)
    assert written.shape == (plain.shape if factor == 1 else tuple(answer.shape[1:]))


@pytest.mark.parametrize("asked", ["fit", "denoise"])
def test_an_answer_is_inverted_as_a_prediction_is(scan: Path, asked: str) -> None:
    chain = _read(TURN, SpatialPadd("image", (16, 16, 16)))
    answer = Compose(ASKED[asked])(chain({"image": scan}))
    undone = Invertd("image", chain, orig_keys="image", nearest_interp=False)(answer)["image"]
    plain = _read()({"image": scan})["image"]
    assert undone.shape == plain.shape
    torch.testing.assert_close(undone.affine, plain.affine)


def test_a_history_that_cannot_be_undone_elsewhere_is_not_handed_on() -> None:
    image = MetaTensor(torch.rand(1, 9, 8))
    cropped = SpatialPad((12, 12))(Flip(0)(image))
    names = [each["class"] for each in cropped.applied_operations]
    assert names == ["Flip", "SpatialPad"]
    other = MetaTensor(torch.rand(1, 20, 20))
    assert placed(other, cropped).applied_operations == []
    same = MetaTensor(torch.rand(1, 12, 12), affine=cropped.affine)
    assert len(placed(same, cropped).applied_operations) == 2
