"""Blocks of the MNI152 template with the tissue that is most of each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def patches(size: int = 12) -> tuple[Tensor, np.ndarray, int]:
    """Blocks of MNI152 at 1 mm with the tissue most of each, left hemisphere first.

    Grey and white matter are nilearn's probability templates, and what the brain mask leaves is
    CSF. A block counts where the mask fills it by four fifths; blocks do not overlap.
    """
    from nilearn.datasets import (
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    loaders = (
        load_mni152_template,
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_wm_template,
    )
    files = [load(resolution=1) for load in loaders]
    head, mask, grey, white = (torch.from_numpy(file.get_fdata(dtype="float32")) for file in files)
    fluid = (mask - grey - white).clamp_min(0) * mask
    # Both hemispheres in blocks counted from the midplane, x = 0.
    middle = round(float(-files[0].affine[0, 3] / files[0].affine[0, 0]))
    images, labels, train = [], [], 0
    for left in (True, False):
        half = slice(middle - 72, middle) if left else slice(middle + 1, middle + 73)
        blocks = [
            v[half].unfold(0, size, size).unfold(1, size, size).unfold(2, size, size).flatten(0, 2)
            for v in (head, mask, grey, white, fluid)
        ]
        inside = blocks[1].mean((1, 2, 3)) > 0.8
        images.append(blocks[0][inside][:, None])
        shares = torch.stack([each[inside].mean((1, 2, 3)) for each in blocks[2:]])
        labels.append(shares.argmax(0))
        train = train or len(images[0])
    return torch.cat(images), torch.cat(labels).numpy(), train
