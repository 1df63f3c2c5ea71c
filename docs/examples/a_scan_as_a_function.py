# %% [markdown]
# # A scan as a function
#
# A head becomes a function of world millimetres: it is asked between its voxels, on another grid,
# and for its exact derivatives; then it is kept in a file that is smaller than the scan's own.

# %%
import tempfile
from pathlib import Path

import torch

from oinr_monai import Representation, fit
from oinr_monai.cli.demo import HEAD

whole = Representation.load(HEAD)
image = whole.sample(whole.grid.crop((40, 60, 20), (110, 130, 70)))

# %% [markdown]
# Nothing is trained: the function is the spline through the voxels.

# %%
scan = fit(image)
off = float((scan.sample().as_tensor() - image.as_tensor()).abs().max())
print(scan, f"off by {off:.2g} at most at the voxels")

# %% [markdown]
# Any place in mm can be asked, with its exact gradient per mm. A step of a hundredth of a
# millimetre along the gradient changes the value by as much as the gradient says.

# %%
place = scan.grid.to_world(torch.tensor([[31.3, 40.8, 22.1]], dtype=torch.float64))
value, slope = scan.at(place)[0, 0], scan.gradient_at(place)[0, 0]
along = 0.01 * slope / slope.norm()
stepped = scan.at(place + along)[0, 0]
print(f"{float(value):.2f} there, {float(slope.norm()):.2f} per mm")
print(f"step: {float((stepped - value) / 0.01):.2f} per mm")

# %% [markdown]
# On a grid of half the spacing it is the same function.

# %%
fine = scan.sample(scan.grid.refine(2))
print(tuple(fine.shape), "voxels, twice as fine")

# %% [markdown]
# The file holds the samples, coded without loss of what matters.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "scan.oinr")
    scan.save(path)
    print(f"{path.stat().st_size / 1e3:.0f} kB, {image.numel() * 2 / 1e3:.0f} kB as whole numbers")
    again = Representation.load(path)
    print(f"{float((again.at(place) - scan.at(place)).abs().max()):.2g} apart after reading it")
