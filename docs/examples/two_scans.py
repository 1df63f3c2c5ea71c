# %% [markdown]
# # One scan where the other lies
#
# A head is turned and shifted; registration finds by how much, and brings it back.

# %%
import math

import torch

from oinr_monai import Grid, RegisterConfig, Representation, register
from oinr_monai.cli.demo import HEAD

whole = Representation.load(HEAD)
fixed = whole.sample(whole.grid.with_spacing(3.0))

# %% [markdown]
# The moving image is the same head on a grid that is turned by 8 degrees about z and shifted: its
# own header then says that it lies straight.

# %%
turn = math.radians(8.0)
truth = torch.eye(4, dtype=torch.float64)
truth[:2, :2] = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
truth[:3, 3] = torch.tensor([4.0, -3.0, 2.0])
grid = Grid.from_image(fixed)
turned = Grid(grid.shape, torch.linalg.inv(truth) @ grid.affine)
moving = grid.to_image(whole.sample(turned).as_tensor())

# %%
motion = register(fixed, moving, RegisterConfig("rigid"))
middle = grid.points()[10:-10:6, 10:-10:6, 6:-6:6].reshape(-1, 3)
wanted = middle @ truth[:3, :3].T + truth[:3, 3]
off = (motion.at(middle) - wanted).norm(dim=1)
print(f"off by {float(off.mean()):.3f} mm on average, where voxels are 3 mm wide")
