"""How large the error of an answer is likely to be, learned from errors that are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oinr_monai.fitting.device import seeded

__all__ = ["FLOOR", "ErrorScale"]

# Added to what logarithms are taken of, over the standard deviation of the image or of its noise;
# chosen by hand.
FLOOR = 1e-3

# Width of the network, steps, places in each, and the greatest rate; all chosen by hand on heads
# of random contrast and on hippocampi: linear features alone rank errors worse by .03.
WIDTH, STEPS, PLACES, RATE = 24, 300, 1_024, 1e-2


class ErrorScale(nn.Module):
    r"""A small network from the features of a place to a typical size of the error there.

    .. math:: s = \arg\min E \big( \log(|e| + \epsilon) - \log s(\phi) \big)^2 .

    Args:
        features: of places whose errors are known (K, N); their means and spreads are kept.
        seed: of the start.

    Example:
        >>> features = torch.randn(5, 500)
        >>> scale = ErrorScale(features, seed=0)
        >>> scale.learn(features, features[0].exp(), seed=0)
        >>> scale.log_size(features).shape
        torch.Size([500])
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, features: Tensor, seed: int) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=1))
        self.register_buffer("spread", features.std(dim=1).clamp_min(1e-6))
        with seeded(seed):
            self.network = nn.Sequential(
                nn.Linear(len(features), WIDTH),
                nn.SiLU(),
                nn.Linear(WIDTH, WIDTH),
                nn.SiLU(),
                nn.Linear(WIDTH, 1),
            )
        self.to(features.device)

    def forward(self, features: Tensor) -> Tensor:
        """Logarithms (N,) of the sizes, of features (N, K)."""
        sizes: Tensor = self.network((features - self.mean) / self.spread)
        return sizes[:, 0]

    @torch.no_grad()
    def log_size(self, features: Tensor) -> Tensor:
        """Logarithms (*shape) of the sizes, of features (K, *shape)."""
        return self(features.flatten(1).T).unflatten(0, features.shape[1:])

    @torch.enable_grad()
    def learn(self, features: Tensor, errors: Tensor, seed: int) -> None:
        """Learn from features (K, N) and errors (N,) of either sign."""
        wanted = (errors.abs() + FLOOR).log()
        nn.init.constant_(self.network[-1].get_parameter("bias"), float(wanted.mean()))
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), RATE)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            drawn = torch.randint(len(wanted), (PLACES,), generator=generator).to(wanted.device)
            loss = (self(features[:, drawn].T) - wanted[drawn]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
