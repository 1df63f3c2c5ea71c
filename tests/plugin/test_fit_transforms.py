"""Transforms in MONAI's pipelines: right affines, names, caches, workers and files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    PersistentDataset,
    decollate_batch,
    pickle_hashing,
)
from monai.data.utils import no_collation
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    MapTransform,
    Randomizable,
    SaveImaged,
    Transform,
)
from torch import Tensor

from oinr_monai import (
    DeriveOINR,
    DeriveOINRd,
    EncodeGrid,
    EncodeGridd,
    FeaturesOINR,
    FeaturesOINRd,
    FitConfig,
    FitOINR,
    FitOINRd,
    FourierEncoding,
    Grid,
    RandFitOINR,
    RandFitOINRd,
    Representation,
    SampleOINR,
    SampleOINRd,
)
from oinr_monai.fitting import single as fitting

QUICK = FitConfig(preset="fast", steps=20)
PAIRS: list[tuple[type[Transform], type[MapTransform], dict[str, Any]]] = [
    (EncodeGrid, EncodeGridd, {}),
    (SampleOINR, SampleOINRd, {"factor": 2}),
    (DeriveOINR, DeriveOINRd, {"maps": ["gradient", "hessian"]}),
    (FeaturesOINR, FeaturesOINRd, {"layer": 1}),
]


@pytest.fixture
def image(gaussian_blob: Any, oblique_affine: Tensor) -> MetaTensor:
    """A blob on an oblique grid of 12 x 11 x 6 voxels, read from ``case7.nii.gz``."""
    grid = Grid((12, 11, 6), oblique_affine)
    centre = grid.to_world(torch.tensor([5.5, 5.0, 2.5]))
    blob = gaussian_blob()
    values = blob.value(grid.points() - centre + blob.center)[None].float()
    return MetaTensor(
        values, affine=grid.affine, meta={"filename_or_obj": "/data/case7.nii.gz", "note": "x"}
    )


@pytest.fixture
def representation(image: MetaTensor) -> Representation:
    return FitOINR(QUICK)(image)


@pytest.fixture
def nifti(image: MetaTensor, tmp_path: Path) -> Path:
    path = tmp_path / "case7.nii.gz"
    nib.save(nib.Nifti1Image(image[0].numpy(), image.affine.numpy()), path)
    return path


# ---- each transform ---------------------------------------------------------------------------


def test_samples_lie_where_they_say(image: MetaTensor, representation: Representation) -> None:
    fitted = Grid.from_image(image)
    reference = Grid((5, 4, 3), torch.diag(torch.tensor([2.0, 2, 2, 1]))).to_image(
        torch.zeros(1, 5, 4, 3)
    )
    asked = {
        fitted: SampleOINR()(representation),
        fitted.refine(2): SampleOINR(factor=2)(representation),
        fitted.refine((1, 1, 3)): SampleOINR(factor=(1, 1, 3))(representation),
        fitted.with_spacing(0.8): SampleOINR(spacing=0.8)(representation),
        Grid.from_image(reference): SampleOINR()(representation, like=reference),
    }
    for grid, sampled in asked.items():
        assert Grid.from_image(sampled) == grid
        assert torch.equal(sampled.as_tensor(), representation.sample(grid).as_tensor())


def test_derivatives_follow_each_other(representation: Representation) -> None:
    maps = ("laplacian", "gradient", "gradient_magnitude", "hessian")
    derived = DeriveOINR(maps, factor=2)(representation)
    grid = representation.grid.refine(2)
    gradient, hessian = representation.gradient(grid), representation.hessian(grid)
    expected = torch.cat(
        [hessian[[0, 3, 5]].sum(0, keepdim=True), gradient, gradient.norm(dim=0)[None], hessian]
    )
    assert Grid.from_image(derived) == grid
    torch.testing.assert_close(derived.as_tensor(), expected.as_tensor())


def test_features_are_those_of_the_layer(representation: Representation) -> None:
    features = FeaturesOINR(layer=1)(representation)
    assert torch.equal(features, representation.features(layer=1))


def test_an_encoded_grid_is_the_field_on_it(image: MetaTensor) -> None:
    def encoding(grid: Grid) -> FourierEncoding:
        return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=3)

    encoded = EncodeGrid(encoding)(image)
    assert encoded.shape == (18, 12, 11, 6)
    assert torch.equal(encoded.affine, image.affine)
    far = encoding(Grid.from_image(image)).table(1, Grid.from_image(image).extent[1:2], 0)
    torch.testing.assert_close(encoded[6:12, 3, -1, 2].as_tensor(), far[0].float())


def test_what_is_not_a_representation_is_refused(image: MetaTensor) -> None:
    with pytest.raises(TypeError, match="must be a Representation, got MetaTensor; fit the image"):
        SampleOINR()(image)  # type: ignore[arg-type]


def test_contradictory_questions_are_refused(
    image: MetaTensor, representation: Representation
) -> None:
    with pytest.raises(ValueError, match="factor and spacing must not be given together; choose"):
        SampleOINR(factor=2, spacing=1.0)
    with pytest.raises(ValueError, match="factor and like must not be given together; choose"):
        SampleOINR(factor=2)(representation, like=image)
    for maps in ("curl", ["gradient", "curl"], []):
        with pytest.raises(ValueError, match="maps must be"):
            DeriveOINR(maps)


# ---- array and dictionary -----------------------------------------------------------------------


@pytest.mark.parametrize(("array", "dictionary", "arguments"), PAIRS)
def test_dictionary_equals_array(
    array: type[Transform],
    dictionary: type[MapTransform],
    arguments: dict[str, Any],
    image: MetaTensor,
    representation: Representation,
) -> None:
    item = image if array is EncodeGrid else representation
    expected = array(**arguments)(item)
    given = {"a": item, "b": item, "other": 1}
    result = dictionary(["a", "b"], **arguments)(given)
    assert torch.equal(result["a"], expected)
    assert torch.equal(result["b"], expected)
    assert result["other"] == 1
    assert given["a"] is item

    kept = dictionary("a", output_keys="out", **arguments)(given)
    assert kept["a"] is item
    assert torch.equal(kept["out"], expected)


@pytest.mark.parametrize(
    "dictionary", [EncodeGridd, FitOINRd, RandFitOINRd, SampleOINRd, DeriveOINRd, FeaturesOINRd]
)
def test_missing_keys(dictionary: type[MapTransform]) -> None:
    assert dictionary("a", allow_missing_keys=True)({"b": 1}) == {"b": 1}
    with pytest.raises(KeyError, match="was missing in the data"):
        dictionary("a")({"b": 1})


@pytest.mark.parametrize(("array", "dictionary", "arguments"), PAIRS)
def test_everything_pickles(
    array: type[Transform],
    dictionary: type[MapTransform],
    arguments: dict[str, Any],
    image: MetaTensor,
    representation: Representation,
) -> None:
    item = image if array is EncodeGrid else representation
    transform, dictionary_transform, again = pickle.loads(
        pickle.dumps((array(**arguments), dictionary("a", **arguments), item))
    )
    expected = array(**arguments)(item)
    assert torch.equal(transform(again), expected)
    assert torch.equal(dictionary_transform({"a": again})["a"], expected)


def test_other_keys_give_mask_and_grid(image: MetaTensor) -> None:
    mask = MetaTensor(torch.zeros(1, 12, 11, 6), affine=image.affine)
    mask[:, 3:9, 3:9, 1:5] = 1
    reference = Grid.from_image(image).crop((2, 2, 1), (7, 6, 4)).to_image(torch.zeros(1, 5, 4, 3))
    chain = Compose(
        [FitOINRd("image", mask="mask", config=QUICK), SampleOINRd("image", like="reference")]
    )
    result = chain({"image": image, "mask": mask, "reference": reference})["image"]
    expected = SampleOINR()(FitOINR(QUICK)(image, mask=mask), like=reference)
    assert torch.equal(result, expected)
    assert torch.equal(result.affine, reference.affine)


# ---- what a fit is ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_fits_where_gradients_are_off(
    mode: Any, image: MetaTensor, representation: Representation
) -> None:
    with mode():
        given = image.clone()
        result = Compose([FitOINRd("image", config=QUICK), SampleOINRd("image")])({"image": given})
    assert torch.equal(result["image"], representation.sample())


def test_a_fit_repeats_itself_and_leaves_the_global_seed(image: MetaTensor) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = FitOINR(QUICK)(image).sample()
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(FitOINR(QUICK)(image).sample(), first)


def test_random_fits_follow_their_random_state(image: MetaTensor) -> None:
    config = FitConfig(preset="fast", steps=5)
    fits = [RandFitOINR(config).set_random_state(seed)(image) for seed in (1, 1, 2)]
    one, same, other = (each.sample() for each in fits)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert fits[0].info["settings"]["seed"] != fits[2].info["settings"]["seed"]

    chain = Compose([RandFitOINRd(["a", "b"], config=config), SampleOINRd(["a", "b"])])
    chain.set_random_state(3)
    first = chain({"a": image, "b": image})
    chain.set_random_state(3)
    again = chain({"a": image, "b": image})
    assert torch.equal(first["a"], again["a"])
    assert not torch.equal(first["a"], first["b"])
    assert not isinstance(FitOINR(), Randomizable)  # else no dataset would cache it


# ---- files ------------------------------------------------------------------------------------


def test_ten_lines_from_file_to_file(nifti: Path, tmp_path: Path, image: MetaTensor) -> None:
    chain = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            FitOINRd("image", config=QUICK),
            SampleOINRd("image", factor=2),
            SaveImaged("image", output_dir=tmp_path, output_postfix="x2", separate_folder=False),
        ]
    )
    sampled = chain({"image": nifti})["image"]
    written = nib.load(tmp_path / "case7_x2.nii.gz")
    grid = Grid.from_image(image).refine(2)
    assert written.shape == grid.shape
    np.testing.assert_allclose(written.affine, grid.affine, atol=1e-4)
    np.testing.assert_allclose(written.get_fdata(), sampled[0].numpy(), atol=1e-4)
    span = float(image.max() - image.min())
    on_the_grid = torch.from_numpy(written.get_fdata()[::2, ::2, ::2])
    assert float((on_the_grid - image[0].as_tensor()).square().mean().sqrt()) < 0.3 * span


def test_derived_maps_are_written_as_channels(nifti: Path, tmp_path: Path) -> None:
    chain = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            FitOINRd("image", config=QUICK),
            DeriveOINRd("image", output_keys="gradient"),
            DeriveOINRd("image", output_keys="laplacian", maps="laplacian"),
            SaveImaged("gradient", output_dir=tmp_path, output_postfix="g", separate_folder=False),
        ]
    )
    result = chain({"image": nifti})
    assert isinstance(result["image"], Representation)
    assert result["laplacian"].shape == (1, 12, 11, 6)
    assert nib.load(tmp_path / "case7_g.nii.gz").shape == (12, 11, 6, 3)


def test_a_saved_fit_names_its_samples(representation: Representation, tmp_path: Path) -> None:
    representation.save(tmp_path / "brain.oinr")
    assert "/data" not in (tmp_path / "brain.oinr").read_bytes().decode("latin1")
    loaded = Representation.load(tmp_path / "brain.oinr")
    SaveImaged("image", output_dir=tmp_path, separate_folder=False)({"image": SampleOINR()(loaded)})
    assert (tmp_path / "brain_trans.nii.gz").is_file()
    assert representation.sample().meta["filename_or_obj"] == "/data/case7.nii.gz"
    assert "note" not in representation.sample().meta


def test_dicom_in_nifti_out(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    examples = pytest.importorskip("pydicom.data")
    template = pydicom.dcmread(examples.get_testdata_file("CT_small.dcm"))
    series = tmp_path / "series"
    series.mkdir()
    block = template.pixel_array[40:54, 30:46]
    template.Rows, template.Columns = block.shape
    template.ImageOrientationPatient = [0.96, 0.28, 0.0, -0.28, 0.96, 0.0]
    for z in range(4):
        template.SOPInstanceUID = f"{template.SeriesInstanceUID}.{z}"
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.InstanceNumber = z + 1
        template.ImagePositionPatient = [-10.0, 20.0, 30.0 + 2.5 * z]
        template.PixelData = (block + 20 * z).astype(block.dtype).tobytes()
        template.save_as(series / f"{z}.dcm")
    chain = Compose(
        [
            LoadImaged("image", reader="PydicomReader", ensure_channel_first=True),
            FitOINRd("image", config=QUICK, output_keys="oinr"),
            SampleOINRd("oinr", factor=(1, 1, 2)),
            SaveImaged("oinr", output_dir=tmp_path, separate_folder=False),
        ]
    )
    result = chain({"image": series})
    written = nib.load(tmp_path / "series_trans.nii.gz")
    fitted = Grid.from_image(result["image"])
    np.testing.assert_allclose(
        sorted(fitted.spacing.tolist()), [0.661468, 0.661468, 2.5], rtol=1e-5
    )
    assert written.shape == fitted.refine((1, 1, 2)).shape
    np.testing.assert_allclose(written.affine, fitted.refine((1, 1, 2)).affine, atol=1e-4)
    hounsfield = block * float(template.RescaleSlope) + float(template.RescaleIntercept)
    assert abs(float(result["oinr"].mean()) - hounsfield.mean() - 30) < 60


# ---- datasets and loaders -----------------------------------------------------------------------


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each fit of this process."""
    counted: list[int] = []
    run = fitting.ImageFit.run

    def count(*args: Any) -> bool:
        counted.append(1)
        return run(*args)

    monkeypatch.setattr(fitting.ImageFit, "run", count)
    return counted


def chain() -> Compose:
    return Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            FitOINRd("image", config=QUICK),
            SampleOINRd("image"),
        ]
    )


def test_a_cache_dataset_fits_once(nifti: Path, fits: list[int]) -> None:
    dataset = CacheDataset([{"image": nifti}] * 2, chain(), num_workers=2, progress=False)
    items = [dataset[i]["image"] for i in (0, 1, 0)]
    assert len(fits) == 2
    # two threads fitted at once, each as a fit alone would have
    alone = chain()({"image": nifti})["image"]
    assert all(torch.equal(item, alone) for item in items)


def test_a_cache_dataset_keeps_representations(nifti: Path, fits: list[int]) -> None:
    transforms = [LoadImaged("image", ensure_channel_first=True), FitOINRd("image", config=QUICK)]
    dataset = CacheDataset([{"image": nifti}], Compose(transforms), progress=False)
    assert torch.equal(dataset[0]["image"].sample(), dataset[0]["image"].sample())
    assert len(fits) == 1


@pytest.mark.parametrize("hash_transform", [None, pickle_hashing])
def test_a_persistent_dataset_fits_once(
    nifti: Path, tmp_path: Path, fits: list[int], hash_transform: Any
) -> None:
    for _ in range(2):
        dataset = PersistentDataset(
            [{"image": str(nifti)}],
            chain(),
            cache_dir=tmp_path / "cache",
            hash_transform=hash_transform,
            track_meta=True,
        )
        item = dataset[0]["image"]
    assert len(fits) == 1
    assert torch.equal(item, chain()({"image": nifti})["image"])
    assert Grid.from_image(item) == Grid.from_image(chain()({"image": nifti})["image"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_batch_samples(nifti: Path, num_workers: int) -> None:
    loader = DataLoader(
        Dataset([{"image": nifti}] * 2, chain()), batch_size=2, num_workers=num_workers
    )
    batch = next(iter(loader))["image"]
    alone = chain()({"image": nifti})["image"]
    assert batch.shape == (2, *alone.shape)
    for item in decollate_batch(batch):
        torch.testing.assert_close(item.as_tensor(), alone.as_tensor())
        assert Grid.from_image(item) == Grid.from_image(alone)
        assert item.meta["filename_or_obj"] == str(nifti)


def test_workers_hand_over_representations(nifti: Path) -> None:
    transforms = [LoadImaged("image", ensure_channel_first=True), FitOINRd("image", config=QUICK)]
    dataset = Dataset([{"image": nifti}] * 2, Compose(transforms))
    items = list(DataLoader(dataset, num_workers=2, collate_fn=no_collation))
    samples = [item["image"].sample() for (item,) in items]
    assert torch.equal(samples[0], samples[1])
