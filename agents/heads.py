"""Parts of Q-networks beyond plain layers: noise that explores, quantiles and atoms of returns.

Sources: Fortunato et al. 2018, "Noisy Networks for Exploration"; Dabney et al. 2018b, "Implicit
Quantile Networks for Distributional Reinforcement Learning"; Bellemare et al. 2017, "A
Distributional Perspective on Reinforcement Learning".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COSINES = 64  # of a fraction's embedding (Dabney et al. 2018b, equation 4)


class NoisyLinear(nn.Linear):
    """A linear layer whose weights are noisy in training mode: ``mean + sigma * noise``.

    Noise is factorised, ``f(e_out) f(e_in)^T`` with ``f(x) = sign(x) sqrt(|x|)``, and drawn anew at
    each forward, one draw for the whole batch. How noisy each weight is, is learned; in evaluation
    mode the layer is its means. They start as PyTorch's linear layers do, which is what the paper
    prescribes for factorised noise.

    Args:
        sigma: sigma_0 of the paper (0.5 there).
    """

    def __init__(self, in_features: int, out_features: int, sigma: float = 0.5) -> None:
        super().__init__(in_features, out_features)
        size = sigma / math.sqrt(in_features)
        self.weight_sigma = nn.Parameter(torch.full((out_features, in_features), size))
        self.bias_sigma = nn.Parameter(torch.full((out_features,), size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if not self.training:
            return super().forward(x)
        along = _scaled_noise(self.in_features, x.device)
        across = _scaled_noise(self.out_features, x.device)
        weight = torch.addcmul(self.weight, self.weight_sigma, across[:, None] * along)
        return F.linear(x, weight, torch.addcmul(self.bias, self.bias_sigma, across))


def _scaled_noise(size: int, device: torch.device) -> Tensor:
    noise = torch.randn(size, device=device)
    return noise.sign() * noise.abs().sqrt()


class FractionEmbedding(nn.Module):
    """What turns a picture's features into those of one quantile: (N, K) in [0, 1] -> (N, K, F).

    ``relu(W cos(pi i tau) + b)``, i from 0 to COSINES - 1.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(COSINES, features)

    def forward(self, fractions: Tensor) -> Tensor:
        multiples = math.pi * torch.arange(COSINES, device=fractions.device)
        cosines = torch.cos(fractions[..., None] * multiples)
        return F.relu(self.linear(cosines.to(self.linear.weight.dtype)))


def midpoints(count: int, device: torch.device | None = None) -> Tensor:
    """(count,) fractions, the middles of equal parts of [0, 1]: quantiles there have as mean the
    distribution's, as nearly as so many can (Dabney et al. 2018a, lemma 2).
    """
    return (torch.arange(count, device=device) + 0.5) / count


def atom_returns(low: float, high: float, count: int, device: torch.device | None = None) -> Tensor:
    """(count,) float32 returns at equal distances from ``low`` to ``high``: a distribution's atoms
    (Bellemare et al. 2017, section 4).
    """
    return torch.linspace(low, high, count, device=device)


@contextmanager
def settled(module: nn.Module) -> Iterator[None]:
    """A block in evaluation mode: no noise, and no power iterations of spectral norms."""
    before = module.training
    if before:
        module.eval()
    try:
        yield
    finally:
        if before:
            module.train()
