"""Registration inside Compose, and back out of it."""

from __future__ import annotations

import torch
from monai.transforms import Compose, Flipd

from oinr_monai import Grid, Motion, RegisterConfig, RegisterOINRd
from tests.motion.makers import texture
from tests.motion.test_registration import GRID, TURN, miss, pair


def sample() -> dict[str, object]:
    fixed, moving = pair(TURN)
    labels = Grid.from_image(moving).to_image((moving[0:1].as_tensor() > 1).long() * 2)
    return {"fixed": fixed, "moving": moving, "labels": labels}


def test_images_and_labels_come_onto_the_fixed_grid_and_back() -> None:
    data = sample()
    bring = RegisterOINRd(
        ["moving", "labels"], "fixed", RegisterConfig("rigid"), labels="labels", motion="motion"
    )
    found = bring(data)
    assert isinstance(found["motion"], Motion)
    assert miss(found["motion"], TURN) < 0.02
    inner = (0, *[slice(3, -3)] * 3)
    truth = texture(TURN.at(GRID.points().flatten(0, -2))).view(GRID.shape)
    assert float((found["moving"][0] - truth)[inner[1:]].abs().max()) < 0.05
    assert found["labels"].dtype == torch.int64
    back = bring.inverse(found)
    for key in ("moving", "labels"):
        assert Grid.from_image(back[key]).same_places(Grid.from_image(data[key]))
    inner = (0, *[slice(9, -9)] * 3)
    assert float((back["moving"] - data["moving"])[inner].abs().max()) < 0.1
    assert float((back["labels"] != data["labels"])[inner].float().mean()) < 0.03


def test_it_undoes_with_the_transforms_before_it() -> None:
    data = sample()
    chain = Compose([Flipd("moving", 1), RegisterOINRd("moving", "fixed", RegisterConfig("rigid"))])
    back = chain.inverse(chain(data))
    inner = (0, *[slice(9, -9)] * 3)
    assert torch.allclose(back["moving"].affine, data["moving"].affine)
    assert float((back["moving"] - data["moving"])[inner].abs().max()) < 0.1


def test_missing_keys_are_left_out_if_they_may_be() -> None:
    bring = RegisterOINRd(
        ["moving", "other"], "fixed", RegisterConfig("rigid"), allow_missing_keys=True
    )
    assert set(bring(sample())) == {"fixed", "moving", "labels"}
