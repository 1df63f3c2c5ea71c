"""What hypothesis draws: grids, headers, manifests and the arguments of commands, bad ones too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from oinr_monai import Grid

__all__ = ["arguments", "flips", "grids", "manifests"]

# Numbers that people and programs write where another is meant.
NUMBERS = ("0", "-1", "nan", "inf", "-inf", "1e309", "1e-320", "1" + 26 * "0", "", "x", "½", "1,2")


@st.composite
def grids(draw: st.DrawFn, most: int = 7) -> Grid:
    """Grids in one to three dimensions, rotated, mirrored, uneven and far from the origin."""
    dims = draw(st.integers(1, 3))
    shape = tuple(draw(st.lists(st.integers(1, most), min_size=dims, max_size=dims)))
    lengths = st.floats(1e-3, 1e3)
    spacing = np.array(draw(st.lists(lengths, min_size=dims, max_size=dims)))
    spacing *= np.array(draw(st.lists(st.sampled_from([-1, 1]), min_size=dims, max_size=dims)))
    affine = np.eye(4)
    affine[:dims, :dims] = _rotation(draw, dims) * spacing
    affine[:dims, 3] = draw(st.lists(st.floats(-1e4, 1e4), min_size=dims, max_size=dims))
    return Grid(shape, torch.from_numpy(affine))


def _rotation(draw: st.DrawFn, dims: int) -> np.ndarray:
    angles = draw(st.tuples(*[st.floats(-3, 3)] * 3))
    if dims == 3:
        return Rotation.from_euler("xyz", angles).as_matrix()
    if dims == 2:
        return Rotation.from_euler("z", angles[0]).as_matrix()[:2, :2]
    return np.eye(1)


def flips(size: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Bytes to put at places of a header of ``size`` bytes."""
    place = st.tuples(st.integers(0, size - 1), st.integers(0, 255))
    return st.lists(place, min_size=1, max_size=6)


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Tables of subjects and images, some of which are none."""
    comma = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    cell = st.sampled_from(["a", "b", "é", "../a", "a.nii.gz", " ", "", '"', "a\0b", 60 * "long_"])
    head = draw(
        st.sampled_from([["subject", "image"], ["image", "subject", "label"], ["name"], []])
    )
    rows = draw(st.lists(st.lists(cell, min_size=0, max_size=4), max_size=4))
    text = draw(st.sampled_from(["\n", "\r\n"])).join(comma.join(row) for row in [head, *rows])
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"])))


# Which options a command takes, and good values of each.
OPTIONS = {
    "fit": {"--preset": ["fast", "exact"], "--mask": ["FILE"], "--init": ["FILE"], "--seed": ["1"],
            "--memory": ["1"], "--labels": None, "--resume": None, "--steps": ["2"]},
    "info": {"--json": None, "--device": ["cpu", "auto"]},
    "sample": {"--factor": ["1", "2", "1000000"], "--spacing": ["2", "1 2 3", "1e-9"],
               "--like": ["FILE"], "--labels": None},
    "evaluate": {"--image": ["FILE"], "--mask": ["FILE"]},
    "features": {"--layer": ["1", "9"], "--labels": ["FILE"], "--like": ["FILE"]},
    "derive": {"--maps": ["gradient", "frangi", "laplacian"], "--sigma": ["0", "1", "1 2"],
               "--spacing": ["3"], "--like": ["FILE"]},
    "mesh": {"--level": ["20", "1e9"], "--label": ["1", "7"], "--spacing": ["3", "1e-7"]},
    "denoise": {"--noise": ["rician", "photon"], "--sigma": ["2"], "--counts": ["3"],
                "--frame": ["0", "9"], "--mask": ["FILE"], "--steps": ["2"]},
    "super-resolve": {"--spacing": ["3", "1e-6"], "--axis": ["0", "2", "3"], "--steps": ["2"],
                      "--slice-thickness": ["3", "1e9"], "--slice-profile": ["gaussian"]},
    "simulate": {"--spacing": ["5", "1e-7", "1e9"], "--axis": ["0", "2"], "--sigma": ["1"],
                 "--noise": ["rician"], "--slice-thickness": ["3"]},
    "interpolate": {"--factor": ["2", "20000"], "--at": ["0.5", "9"], "--times": ["0,1,inf"],
                    "--axis": ["0", "2"], "--no-motion": None, "--steps": ["2"]},
    "cohort fit": {"--init": ["FILE"], "--seed": ["1"], "--steps": ["2"]},
    "cohort features": {"--start": ["FILE"], "--representations": ["FILE"]},
    "cohort classify": {"--label": ["label", "subject"], "--folds": ["2", "99"]},
}  # fmt: skip
OUTPUTS = ("a.oinr", "a.nii.gz", "a.nii", "a.mha", "a.png", "a.csv", "a.npz", "a.stl", "maps", "")
# Without a budget a command may take minutes.
BUDGETED = ("fit", "denoise", "super-resolve", "interpolate", "cohort fit")


@st.composite
def arguments(draw: st.DrawFn, files: Sequence[str]) -> list[str]:
    """A command line: a command, one or two of ``files``, some options, mostly with good values."""
    command = draw(st.sampled_from(sorted(OPTIONS)))
    file = st.sampled_from(list(files))
    line = [*command.split(), *draw(st.lists(file, min_size=1, max_size=2))]
    if draw(st.integers(0, 9)) > 0 and command not in ("info", "evaluate", "cohort classify"):
        line += ["-o", draw(st.sampled_from(OUTPUTS))]
    for option, values in sorted(OPTIONS[command].items()):
        if draw(st.booleans()):
            line += [option, *_value(draw, values, file)]
    if command in BUDGETED:
        line += ["--preset", "fast"] if command in ("cohort fit", "interpolate") else []
        line += ["--steps", "2", "--device", "cpu"]
    return line


def _value(
    draw: st.DrawFn, values: Sequence[str] | None, file: st.SearchStrategy[str]
) -> list[str]:
    if values is None:
        return []
    value = draw(st.sampled_from([*values, *values, draw(st.sampled_from(NUMBERS))]))
    return [draw(file)] if value == "FILE" else value.split(" ")
