"""Networks that learn to segment from a few labelled volumes, in so much processor time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.data import MetaTensor
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from torch import Tensor, nn
from torch.nn import functional as F

from .hippocampi import CLASSES, Subject

__all__ = ["Learned", "PaddedUNet", "augmentation", "dice", "learn"]

# Of the UNet: so far an axis is halved.
HALVED = 8

# Of the Gaussians that smooth at random, in voxels.
WIDTHS = (0.25, 1.0)


class PaddedUNet(nn.Module):
    """MONAI's UNet, given lattices of any size: padded to multiples of 8, and cropped again."""

    def __init__(self) -> None:
        super().__init__()
        self.network = UNet(3, 1, CLASSES, (16, 32, 64, 128), (2, 2, 2), num_res_units=2)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 1, *spatial) to logits of as many voxels."""
        sizes = image.shape[2:]
        more = [side for n in reversed(sizes) for side in (0, -n % HALVED)]
        return self.network(F.pad(image, more))[..., : sizes[0], : sizes[1], : sizes[2]]


def augmentation(seed: int) -> Compose:
    """Turns, stretches, noise, smoothing and contrast at random; chosen by hand, for all alike."""
    both = ["image", "label"]
    made = Compose(
        [
            RandAffined(
                both,
                prob=1.0,
                rotate_range=[0.3] * 3,
                scale_range=[0.15] * 3,
                translate_range=[3.0] * 3,
                mode=["bilinear", "nearest"],
                padding_mode="border",
            ),
            RandGaussianSmoothd("image", WIDTHS, WIDTHS, WIDTHS, prob=0.3),
            RandGaussianNoised("image", prob=0.5, std=0.15),
            RandScaleIntensityd("image", 0.2, prob=0.5),
            RandShiftIntensityd("image", 0.2, prob=0.5),
        ]
    )
    return made.set_random_state(seed)


@dataclass(frozen=True)
class Learned:
    """A network, and what learning it took."""

    network: nn.Module
    steps: int
    seconds: float


def learn(
    make: Callable[[], nn.Module],
    labelled: Sequence[Subject],
    seconds: float,
    rate: float,
    seed: int,
    decay: float = 1e-4,
) -> Learned:
    """Learn from augmented volumes one by one, until so much processor time is spent on it."""
    torch.manual_seed(seed)
    network, augment, loss = make(), augmentation(seed), DiceCELoss(softmax=True, to_onehot_y=True)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    started, steps, part = time.process_time(), 0, 0.0
    while part < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * part))
        chosen = labelled[int(torch.randint(len(labelled), (), generator=generator))]
        seen = augment({"image": chosen.image, "label": chosen.labels})
        image, label = (_plain(seen[name])[None] for name in ("image", "label"))
        optimizer.zero_grad()
        loss(network(image), label).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        steps, part = steps + 1, (time.process_time() - started) / seconds
    return Learned(network.eval(), steps, time.process_time() - started)


def _plain(image: Tensor) -> Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def dice(found: Tensor, truth: Tensor) -> float:
    """Mean over the classes of twice what they share over what they have."""
    scores = []
    for each in range(1, CLASSES):
        a, b = found == each, truth == each
        scores.append(2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0))
    return sum(scores) / len(scores)
