"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import oinr_monai

PUBLIC = [
    "CKConvOINR",
    "CZOINR",
    "CarriedDenoiser",
    "CarriedOperator",
    "ConvOINR",
    "CoordinateField",
    "DenoiseConfig",
    "DenoiseOINR",
    "DenoiseOINRd",
    "DeriveOINR",
    "DeriveOINRd",
    "DyadicEncoding",
    "EncodeGrid",
    "EncodeGridd",
    "Family",
    "FamilyField",
    "FeaturesOINR",
    "FeaturesOINRd",
    "Field",
    "FitConfig",
    "FitOINR",
    "FitOINRd",
    "FitOccupancyOINR",
    "FitOccupancyOINRd",
    "FlatCZOINR",
    "FourierEncoding",
    "GaussianNoise",
    "Grid",
    "IntensityScale",
    "InterpolateOINR",
    "InterpolateOINRd",
    "JetFeatures",
    "JetFeaturesd",
    "JetOINR",
    "JointField",
    "LabelsOINR",
    "LabelsOINRd",
    "LearningConfig",
    "LocalCorrelation",
    "Motion",
    "MutualInformation",
    "NeuralField",
    "NoiseField",
    "NoiseModel",
    "OINRInferer",
    "OccupancyConfig",
    "OperatorConfig",
    "PhotonNoise",
    "RandFitOINR",
    "RandFitOINRd",
    "ReconstructConfig",
    "ReconstructOINR",
    "ReconstructOINRd",
    "RegisterConfig",
    "RegisterOINRd",
    "Representation",
    "Restored",
    "RicianNoise",
    "SampleOINR",
    "SampleOINRd",
    "SaveDICOM",
    "SaveDICOMd",
    "ScanReader",
    "SequenceOINR",
    "SimulateThickSlices",
    "SimulateThickSlicesd",
    "SplineField",
    "SquaredDifferences",
    "StoredImage",
    "SuperResolveConfig",
    "SuperResolveOINR",
    "SuperResolveOINRd",
    "Surface",
    "WeightVectors",
    "WorldSignal",
    "add_photon_noise",
    "denoise",
    "denoise_trusted",
    "export_signal",
    "fit",
    "fit_family",
    "fit_many",
    "fit_occupancy",
    "fuse",
    "fuse_trusted",
    "interpolate_slices",
    "isosurface",
    "jet_features",
    "label_map",
    "label_surface",
    "learn_denoising",
    "learn_operator",
    "learn_start",
    "learn_super_resolution",
    "modulate",
    "open_image",
    "reconstruct",
    "region_features",
    "register",
    "register_in_monai",
    "shape_features",
    "simulate_slices",
    "super_resolve",
    "super_resolve_trusted",
    "weight_vector",
]

MODULES = [module.name for module in walk_packages(oinr_monai.__path__, "oinr_monai.")]

# Heavy or optional: they are imported by the functions that need them.
LATE = ["SimpleITK", "matplotlib", "nilearn", "pandas", "ray", "sklearn"]


def test_public_names_are_those_agreed() -> None:
    assert sorted(oinr_monai.__all__) == PUBLIC
    assert all(hasattr(oinr_monai, name) for name in PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    assert "\n    >>> " in (inspect.getdoc(getattr(oinr_monai, name)) or "")


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are_and_offer(module: str) -> None:
    if module.endswith("__main__"):
        return
    loaded = import_module(module)
    assert loaded.__doc__
    for name in loaded.__all__:
        assert getattr(loaded, name).__doc__ or not callable(getattr(loaded, name)), name


CLASSES = {
    value
    for module in MODULES
    if not module.endswith("__main__")
    for value in vars(import_module(module)).values()
    if isinstance(value, type) and value.__module__.startswith("oinr_monai.")
}


@pytest.mark.parametrize("cls", sorted(CLASSES, key=repr), ids=lambda cls: cls.__qualname__)
def test_classes_are_abstract_or_final(cls: type) -> None:
    open_ones = [
        base.__qualname__
        for base in cls.__bases__
        if base in CLASSES and not inspect.isabstract(base)
    ]
    assert not open_ones, "a class that is subclassed must be abstract; wrap it instead"


def told_arguments(documented: object) -> list[str]:
    text = re.search(
        r"^Args:\n((?:(?:    .*)?\n?)*)", inspect.getdoc(documented) or "", re.MULTILINE
    )
    return re.findall(r"^    (\w+): ", text[1], re.MULTILINE) if text else []


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_tell_the_arguments_that_there_are(module: str) -> None:
    if module.endswith("__main__"):
        return
    own = [
        v for v in vars(import_module(module)).values() if getattr(v, "__module__", "") == module
    ]
    classes = [value for value in own if isinstance(value, type)]
    functions = [f for cls in classes for f in vars(cls).values() if inspect.isfunction(f)]
    for each in (*classes, *functions, *filter(inspect.isfunction, own)):
        if told := told_arguments(each):
            taken = [name for name in inspect.signature(each).parameters if name != "self"]
            assert told == [name for name in taken if not name.startswith("_")], each


def test_importing_needs_no_heavy_package() -> None:
    # Each is made impossible to import; MONAI itself would import some where it finds them.
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({LATE})); "
        "import oinr_monai; print(oinr_monai.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(oinr_monai.__file__).parents[1],
    )
    assert done.stdout.strip() == oinr_monai.__version__
