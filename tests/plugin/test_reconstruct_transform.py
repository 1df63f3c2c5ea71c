"""Reconstruction inside Compose: many items in, one volume out."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from oinr_monai import ReconstructConfig, ReconstructOINR, ReconstructOINRd, reconstruct
from oinr_monai.scanner import Gaussian
from tests.restoration.test_reconstruction import moved_stacks

STILL = ReconstructConfig("still")


def sample(generator: torch.Generator) -> dict[str, MetaTensor]:
    stacks, _ = moved_stacks(generator, degrees=0.0, mm=0.0)
    data = {f"stack{i}": stack for i, stack in enumerate(stacks)}
    masks = {f"mask{i}": (stack > stack.mean()).float() for i, stack in enumerate(stacks)}
    return {**data, **masks}


def test_the_volume_is_that_of_reconstruct(generator: torch.Generator) -> None:
    data = sample(generator)
    stacks, masks = ([data[f"{name}{i}"] for i in range(3)] for name in ("stack", "mask"))
    keys = [f"stack{i}" for i in range(3)], [f"mask{i}" for i in range(3)]
    make = ReconstructOINRd(keys[0], "volume", STILL, Gaussian(3.0), keys[1], "poses")
    found = Compose([make])(data)
    flat, profiles = [mask[0] for mask in masks], [Gaussian(3.0)] * 3
    wanted = reconstruct(stacks, STILL, masks=flat, profiles=profiles)
    assert torch.equal(found["volume"], wanted.volume.sample())
    assert torch.equal(found["volume"].affine, wanted.volume.grid.affine)
    assert [pose.slice for pose in found["poses"]] == [pose.slice for pose in wanted.poses]
    array = ReconstructOINR(STILL, Gaussian(3.0))
    assert torch.equal(array(stacks, masks), found["volume"])
    assert torch.equal(array(stacks, flat), found["volume"])
    assert not torch.equal(array(stacks), found["volume"])


def test_stacks_that_are_missing_are_left_out_with_their_masks(generator: torch.Generator) -> None:
    data = sample(generator)
    keys, masks = ["stack0", "other", "stack2"], ["mask0", "none", "mask2"]
    with pytest.raises(KeyError, match="other"):
        ReconstructOINRd(keys, "volume", STILL, masks=masks)(data)
    found = ReconstructOINRd(keys, "volume", STILL, masks=masks, allow_missing_keys=True)(data)
    two = ReconstructOINRd(keys[::2], "volume", STILL, masks=masks[::2])(data)
    assert torch.equal(found["volume"], two["volume"])
    assert set(found) == {*data, "volume"}
