"""Laws of the pose: there and back, and one pose however an image is stored."""

import pytest
import torch

from oinr_monai.grids.grid import Grid
from oinr_monai.restoration.pose import Pose
from tests.test_orientations import ORIENTATIONS, stack, turned


def pose_of(image):
    spacing = Grid.from_image(image).spacing.tolist()
    return Pose.of(image.as_tensor(), [round(h, 6) for h in spacing], range(3))


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::5])
def test_however_an_image_is_stored_its_pose_shows_the_same(order, flips):
    upright, image = stack(), turned(stack(), order, flips)
    wanted, pose = pose_of(upright), pose_of(image)
    values = pose.turned(image.as_tensor())
    assert torch.equal(values, wanted.turned(upright.as_tensor()))
    assert torch.equal(pose.back(values), image.as_tensor())
    grids = pose.grid(Grid.from_image(image)), wanted.grid(Grid.from_image(upright))
    torch.testing.assert_close(grids[0].affine, grids[1].affine, rtol=0, atol=1e-9)


def test_the_pose_of_a_plane():
    image = torch.zeros(1, 3, 4)
    image[0, 0, 1] = 1.0
    assert Pose.of(image, [1.0, 0.0], [0, 1]) == Pose(order=(1, 0), flips=(0, 1))
    assert Pose.of(image, [1.0, 0.0], [1]) == Pose(order=(1, 0), flips=(1,))
