# %% [markdown]
# # Noise taken out, without being told how much there is
#
# White noise is added to a head; the denoiser finds its size and takes it out. Beside it stands a
# Gaussian filter, the best of several widths chosen with the truth in hand, which no real scan
# allows.

# %%
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from oinr_monai import DenoiseConfig, GaussianNoise, Representation, denoise
from oinr_monai.cli.demo import HEAD
from oinr_monai.images import psnr

whole = Representation.load(HEAD)
truth = whole.sample(whole.grid.crop((40, 60, 30), (104, 124, 62)))
sigma = 0.05 * float(truth.max())
noise = sigma * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
noisy = MetaTensor(truth.as_tensor() + noise, affine=truth.affine)

# %%
clean = denoise(noisy, DenoiseConfig(GaussianNoise()))
print(f"sigma {sigma:.2f}, found {clean.info.noise['sigma']}")

# %%
wanted = truth.as_tensor()
smoothed = [
    torch.from_numpy(gaussian_filter(noisy[0].numpy(), width))[None]
    for width in (0.4, 0.6, 0.8, 1.0)
]
best = max(float(psnr(each, wanted)) for each in smoothed)
print(f"noisy {float(psnr(noisy.as_tensor(), wanted)):.2f} dB, best Gaussian filter {best:.2f} dB")
print(f"denoised {float(psnr(clean.sample().as_tensor(), wanted)):.2f} dB")
