# %% [markdown]
# # Features into a network
#
# Channels that tell the surroundings of every voxel, beside the image, into a UNet of MONAI's, and
# a network that reads such channels by itself, trained alike. The task is a toy: in the head that
# comes with the package, find where it is brighter than its surroundings.

# %%
import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, ConcatItemsd, NormalizeIntensityd

from oinr_monai import JetFeaturesd, JetOINR, Representation
from oinr_monai.cli.demo import HEAD

torch.manual_seed(0)
whole = Representation.load(HEAD)
image = whole.sample(whole.grid.with_spacing(4.0))
wide = whole.smoothed(8.0).sample(whole.grid.with_spacing(4.0))
label = (image > wide + 0.1 * image.std()).float()
print(f"{int(label.sum()):,} of {label.numel():,} voxels are brighter than what is around them")

# %% [markdown]
# Jets are made once and cached, as nothing of them is random. `meta["channel_names"]` says what
# they are; scales are in mm, so that they mean the same on scans of other voxels.

# %%
made = Compose(
    [
        NormalizeIntensityd("image"),
        JetFeaturesd("image", ["value", "laplacian"], [4.0, 8.0], output_keys="jets"),
        NormalizeIntensityd("jets", channel_wise=True),
        ConcatItemsd(["image", "jets"], "both"),
    ]
)
data = CacheDataset([{"image": image, "label": label}], made, progress=False)
print("channels:", ", ".join(data[0]["jets"].meta["channel_names"]))

# %% [markdown]
# The same loop trains all three: MONAI's UNet on the image, the UNet on image and jets, and
# `JetOINR`, whose layers read jets of the image, and then of what they made of it.


# %%
def learned(network: torch.nn.Module, key: str, steps: int = 12) -> float:
    """Dice of a network after so many steps on one volume."""
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=steps,
        train_data_loader=DataLoader(data),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), 1e-2),
        loss_function=DiceCELoss(softmax=True, to_onehot_y=True),
        prepare_batch=lambda batch, device, non_blocking, **_: (batch[key], batch["label"]),
    )
    trainer.run()
    with torch.no_grad():
        found = network(data[0][key][None]).argmax(1)
    return float(2 * (found * label).sum() / (found.sum() + label.sum()))


class Cropped(torch.nn.Module):
    """The UNet, which takes sizes that are multiples of 4, on lattices of any size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = UNet(3, channels, 2, (8, 16, 32), (2, 2))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Map a volume to logits of as many voxels."""
        sizes = volume.shape[2:]
        more = [side for n in reversed(sizes) for side in (0, -n % 4)]
        padded = torch.nn.functional.pad(volume, more)
        return self.network(padded)[..., : sizes[0], : sizes[1], : sizes[2]]


print(f"UNet, image:          Dice {learned(Cropped(1), 'image'):.3f}")
print(f"UNet, image and jets: Dice {learned(Cropped(5), 'both'):.3f}")
jet = JetOINR(3, 1, 2, channels=8, scales=(4.0, 8.0), spacing=4.0)
print(f"JetOINR, image:       Dice {learned(jet, 'image'):.3f}")
