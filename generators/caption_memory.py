"""Memory of many pictures at once: what a frozen encoder makes of them, computed once and kept.

Computed in fp32 whatever the training's precision, as it is done once, and kept as fp16: a picture
of 7x7 places with 1,304 features takes 128 kB, mirrored too twice that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generators.caption_pairs import Pairs
from generators.captioner import Encoder
from playground.backbone import full_precision, to_unit
from playground.data import to_stderr
from playground.device import available_memory

BATCH = 32  # pictures encoded together
SHARE = 0.5  # of the memory that is free, which may be taken


def to_memory_input(pixels: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """uint8 (B, 3, H, W), or clips (B, T, 3, H, W) -> float of that shape in [0, 1].

    mirrored: (B,) bool, which of them are turned left to right.
    """
    unit = to_unit(pixels.flatten(1, -3))
    if mirrored is not None and mirrored.any():
        unit[mirrored] = unit[mirrored].flip(-1)
    return unit.unflatten(1, pixels.shape[1:-2])


def fits(numbers: int) -> bool:
    """Whether so many fp16 numbers may be kept; where not, that is said."""
    free, wanted = available_memory(), 2 * numbers
    if free is None or wanted <= SHARE * free:
        return True
    to_stderr(
        f"The features of all pictures would take {wanted / 2**30:.1f} GiB, more than half of the "
        f"{free / 2**30:.1f} GiB of memory that is free: they are computed anew for each update, "
        "which is slower. A smaller --grid takes less."
    )
    return False


class Memories:
    """What the encoder makes of N pairs: fp16 (N, views, D, rows, columns).

    Args:
        which: of which pairs alone (N,); None keeps all.
    """

    def __init__(
        self, encoder: Encoder, pairs: Pairs, mirrored: bool, which: Tensor | None = None
    ) -> None:
        device = next(encoder.backbone.parameters()).device
        which = torch.arange(len(pairs)) if which is None else which
        self._rows = torch.full((len(pairs),), -1)  # of each pair, here
        self._rows[which] = torch.arange(len(which))
        kept: Tensor | None = None
        with torch.inference_mode(), full_precision(next(encoder.parameters())):
            for part in which.split(BATCH):
                x = to_memory_input(pairs.read(part).to(device))
                views = [x, x.flip(-1)] if mirrored else [x]
                found = torch.stack([encoder.maps(v).half().cpu() for v in views], 1)
                if kept is None:  # at once: parts and the whole together would be twice as much
                    kept = found.new_empty(len(which), *found.shape[1:])
                kept[self._rows[part]] = found
        assert kept is not None
        self._kept = kept

    def maps(self, indices: Tensor) -> Tensor:
        """Of the pictures at `indices` (B,), unmirrored: float (B, D, rows, columns)."""
        return self._kept[self._rows[indices], 0].float()

    def get(self, indices: Tensor, mirrored: Tensor) -> Tensor:
        """Of those, `mirrored` (B,) or not: float (B, L, D)."""
        return self._kept[self._rows[indices], mirrored.long()].float().flatten(2).mT
