"""DiffAugment: random variations of real and generated pictures alike, with gradients through them.

Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training". A critic that sees
only varied pictures cannot learn the few real ones by heart, and a generator that is told through
the variation does not learn to draw it. Float (N, C, H, W) in [0, 1] -> the same shape,
differentiable in the pictures; every draw comes from torch's generators.

Departs from the paper: pictures are in [0, 1] instead of [-1, 1], so brightness moves by ±0.25 and
what translation and cutout leave empty is mid-grey (0.5), as 0 is there.
"""

import torch
from torch import Tensor

from playground.errors import UserError, nearest

POLICIES = ("colour", "translation", "cutout", "mirror")
SHIFT = 1 / 8  # of the side, at most
HOLE = 1 / 2  # of the side
GREY = 0.5


def check(policy: tuple[str, ...]) -> None:
    """UserError for an unknown one."""
    for name in policy:
        if name not in POLICIES:
            raise UserError(
                f"--augment takes some of {', '.join(POLICIES)}, not '{name}'."
                f"{nearest(name, POLICIES)}"
            )


def vary(x: Tensor, policy: tuple[str, ...]) -> Tensor:
    """Each picture varied by each of the policy's parts."""
    if "mirror" in policy:
        flipped = torch.rand(len(x), device=x.device) < 0.5
        x = torch.where(flipped[:, None, None, None], x.flip(3), x)
    if "colour" in policy:
        x = _colour(x)
    if "translation" in policy:
        x = _translation(x)
    if "cutout" in policy:
        x = _cutout(x)
    return x


def _colour(x: Tensor) -> Tensor:
    """Brightness ±0.25, saturation times 0..2, contrast times 0.5..1.5."""
    brightness, saturation, contrast = torch.rand(
        3, len(x), 1, 1, 1, device=x.device, dtype=x.dtype
    )
    x = x + (brightness - 0.5) / 2
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey.expand_as(x), x, saturation * 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, contrast + 0.5)


def _translation(x: Tensor) -> Tensor:
    """Moved by up to SHIFT of the sides; what comes in is grey."""
    count, _, height, width = x.shape
    down, across = (
        torch.randint(-round(side * SHIFT), round(side * SHIFT) + 1, (count, 1), device=x.device)
        for side in (height, width)
    )
    rows = torch.arange(height, device=x.device) + down  # (N, H): where each row comes from
    columns = torch.arange(width, device=x.device) + across
    inside = ((rows >= 0) & (rows < height))[:, None, :, None]
    inside = inside & ((columns >= 0) & (columns < width))[:, None, None, :]
    picture = torch.arange(count, device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[
        picture, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return torch.where(inside, moved.permute(0, 3, 1, 2), GREY)


def _cutout(x: Tensor) -> Tensor:
    """A square of HOLE of the side, somewhere, is grey."""
    count, _, height, width = x.shape
    hidden = torch.ones(count, 1, 1, 1, dtype=torch.bool, device=x.device)
    for side, view in ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1))):
        size = round(side * HOLE)
        centre = torch.randint(0, side + (1 - size % 2), (count, 1, 1, 1), device=x.device)
        places = torch.arange(side, device=x.device).view(view)
        hidden = hidden & (places >= centre - size // 2) & (places < centre + size - size // 2)
    return torch.where(hidden, GREY, x)
