"""How real and how various generated pictures are, in the features of a frozen network.

    fid        Fréchet distance of two Gaussians (Heusel et al. 2017), by torchmetrics
    kid        squared maximum mean discrepancy of a cubic kernel (Bińkowski et al. 2018), by
               torchmetrics; unbiased, so small numbers of pictures do not flatter
    precision  share of generated pictures within reach of real ones, and
    recall     of real ones within reach of generated ones (Kynkäänniemi et al. 2019)
    coverage   share of real pictures with a generated one nearer than their own NEAREST-th
               neighbour (Naeem et al. 2020): falls when the generator forgets kinds of pictures

Figures compare only for the same network, real pictures and numbers of pictures. The network is any
`playground.backbone`; its last map's mean is the feature vector, with the means of earlier layers
where they are named.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playground.backbone import Backbone, to_unit
from playground.data import Pictures

NEAREST = 5  # neighbours that make a picture's reach
LEAST = 64  # pictures of a side, at least
BATCH = 64
FIGURES = ("fid", "kid", "precision", "recall", "coverage")
SUBSETS, SUBSET = 50, 1000  # of kid; a subset is at most all there is


class Features:
    """Pictures (N, 1 or 3, H, W) floats in [0, 1] -> (N, D) floats, by a frozen backbone.

    Args:
        backbone: the network; it is put into evaluation mode.
        layers: names of layers whose means are joined (default: the last one).
        size: pixels to which pictures are resized before (default: as they are).
    """

    def __init__(
        self, backbone: Backbone, layers: Sequence[str] = (), size: int | None = None
    ) -> None:
        self.backbone = backbone.eval().requires_grad_(False)
        self.layers = tuple(layers) or (list(backbone.channels)[-1],)
        self.size = size

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        parameter = next(self.backbone.parameters())
        x = x.to(parameter.device, torch.float32)
        if self.size is not None and x.shape[2:] != (self.size, self.size):
            x = F.interpolate(
                x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        x = x.expand(-1, self.backbone.in_channels, -1, -1)  # grey as three equal channels
        maps = self.backbone.features(x, self.layers)
        return torch.cat([maps[name].mean((2, 3)) for name in self.layers], 1).float().cpu()

    def of(self, pictures: Pictures, count: int) -> Tensor:
        """(N, D) of at most `count` pictures, evenly spread over the set."""
        chosen = torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().long()
        return torch.cat([self(to_unit(pictures.read(part))) for part in chosen.split(BATCH)])


class _Given(nn.Module):
    """Hands features through to torchmetrics, which would compute them itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, x: Tensor) -> Tensor:
        return x


class Scorer:
    """Holds the features (N, D) of real pictures; `score` holds those of others against them."""

    def __init__(self, real: Tensor) -> None:
        if len(real) < LEAST:
            raise ValueError(f"scores need at least {LEAST} pictures, not {len(real)}")
        self.real = real
        self._reach = reach(real)

    def score(self, found: Tensor | Iterable[Tensor]) -> dict[str, float]:
        """fid, kid, precision, recall and coverage of features (M, D), M at least LEAST.

        All are NaN where a feature is not finite: LAPACK would end the process.
        """
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        fake = found if isinstance(found, Tensor) else torch.cat(list(found))
        if len(fake) < LEAST:
            raise ValueError(f"scores need at least {LEAST} pictures, not {len(fake)}")
        if not fake.isfinite().all():
            return dict.fromkeys(FIGURES, math.nan)
        given, subset = _Given(fake.shape[1]), min(SUBSET, len(fake), len(self.real))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that features stay in memory
            fid = FrechetInceptionDistance(feature=given)
            kid = KernelInceptionDistance(feature=given, subsets=SUBSETS, subset_size=subset)
        for metric in (fid, kid):
            metric.update(self.real, real=True)
            metric.update(fake, real=False)
        with torch.random.fork_rng(devices=[]):  # kid draws its subsets: always the same ones
            torch.manual_seed(0)
            figures: dict[str, Any] = {"fid": fid.compute(), "kid": kid.compute()[0]}
        return {key: float(value) for key, value in figures.items()} | self._shares(fake)

    def _shares(self, fake: Tensor) -> dict[str, float]:
        reach_of_fake = reach(fake)
        near_real = torch.zeros(len(fake), dtype=torch.bool)
        recalled, covered = [], []
        for real, own in zip(self.real.split(1024), self._reach.split(1024), strict=True):
            apart = torch.cdist(real, fake)  # (1024, M)
            near_real |= (apart <= own[:, None]).any(0)
            recalled.append((apart <= reach_of_fake).any(1))
            covered.append(apart.amin(1) <= own)
        return {
            "precision": float(near_real.float().mean()),
            "recall": float(torch.cat(recalled).float().mean()),
            "coverage": float(torch.cat(covered).float().mean()),
        }


def reach(features: Tensor) -> Tensor:
    """(N, D) -> (N,): each one's distance to its NEAREST-th nearest other."""
    nearest = [
        torch.cdist(part, features).kthvalue(NEAREST + 1, dim=1).values  # the first is itself
        for part in features.split(1024)
    ]
    return torch.cat(nearest)
