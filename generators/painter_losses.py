"""What the feed-forward painter minimises beside `style_losses`: many styles at once, and flicker.

Shapes: pictures and paintings float (B, 3, H, W) in [0, 1]; every loss is a mean over B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from generators.style_losses import STATISTICS, StyleNetwork, Sums, layer_weights, sums
from generators.style_painting import brightness

TONE_PX = 8
TONE_FLOOR = 1e-6  # of a variance of brightness


class StyleTargets:
    """Every style's statistics, computed once, and what paintings in them lose against them."""

    def __init__(self, network: StyleNetwork, pictures: Sequence[Tensor], statistics: str) -> None:
        self.network = network
        strides = {name: network.strides[name] for name in network.style}
        self.weights = layer_weights(statistics, strides)
        losses = STATISTICS[statistics]
        with torch.no_grad():
            seen = [network.style_sums(picture) for picture in pictures]
        self.losses = [{name: losses(found) for name, found in each.items()} for each in seen]

    def __call__(self, maps: Mapping[str, Tensor], styles: Sequence[int]) -> Tensor:
        """The mean over the batch; `maps` of each layer (B, C, h, w), `styles` numbers, B."""
        total = torch.zeros((), device=next(iter(maps.values())).device)
        for name, weight in self.weights.items():
            found = sums(maps[name])
            for i, style in enumerate(styles):
                one = Sums(found.weight[i : i + 1], found.first[i : i + 1], found.second[i : i + 1])
                total = total + weight / len(styles) * self.losses[style][name](one)
        return total


def unchanged(first: Tensor, second: Tensor) -> Tensor:
    """Where two pictures (B, 3, H, W) are the same: bool (B, 1, H, W)."""
    return (first == second).all(1, keepdim=True)


def flicker(first: Tensor, second: Tensor, same: Tensor) -> Tensor:
    """Mean absolute difference of two paintings (B, 3, H, W) where their pictures are the same.

    `same` is bool (B, 1, H, W); 0 where nothing is.
    """
    apart = (first - second).float().abs().mean(1, keepdim=True)
    return (apart * same).sum() / same.sum().clamp_min(1)


def tone(paintings: Tensor, pictures: Tensor) -> Tensor:
    """How little light and shade of paintings follow those of the pictures (B, 3, H, W): 0 to 2.

    1 less the correlation of their brightness over cells of TONE_PX pixels, so that a painting may
    be as light and as strong in contrast as its style wants. 0 where a picture has no shades.
    """
    shades = []
    for each in (paintings, pictures):
        cells = F.avg_pool2d(brightness(each.float()), TONE_PX, ceil_mode=True).flatten(1)
        shades.append(cells - cells.mean(1, keepdim=True))
    mine, wanted = shades
    lengths = (mine.square().sum(1) * wanted.square().sum(1) + TONE_FLOOR).sqrt()
    apart = 1 - (mine * wanted).sum(1) / lengths
    return (apart * (wanted.square().mean(1) > TONE_FLOOR)).mean()


def checkerboard(paintings: Tensor) -> Tensor:
    """What alternates in rows and columns at once: the mean square of its second differences.

    Of pixels, and of cells of 2x2 pixels, where a network that enlarges its maps by 2 leaves such
    patterns: to styles' statistics they look like fine strokes. Edges and strokes have little.
    """
    found = paintings.new_zeros(())
    for x in (paintings, F.avg_pool2d(paintings, 2)):
        across = x[..., 1:] - x[..., :-1]
        found = found + (across[..., 1:, :] - across[..., :-1, :]).float().square().mean()
    return found
