"""What dreams are shown as: sheets, the nearest real picture beside each, frames of a walk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from generators.dreamer import Dreamer
from generators.gan_scores import Features
from playground.data import Pictures
from playground.frames import Frame
from playground.gallery import contact_sheet

ENLARGED_PX = 128  # smaller pictures are shown at a whole multiple up to this,
WALK_PX = 256  # in films up to this
CLASS_COLUMNS = 8  # dreams of each class on a class sheet


def as_pixels(pictures: Tensor, side: int = ENLARGED_PX) -> list[np.ndarray]:
    """Float (N, 1 or 3, S, S) in [0, 1] -> N arrays (k S, k S, 3) uint8, small ones enlarged."""
    times = max(1, side // pictures.shape[-1])
    pixels = (pictures.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1)
    return list(pixels.permute(0, 2, 3, 1).numpy().repeat(times, 1).repeat(times, 2))


def sheet(
    dreamer: Dreamer,
    count: int = 64,
    seed: int = 0,
    label: str | None = None,
    truncation: float | None = None,
) -> np.ndarray:
    """`count` dreams in rows of about a square, (H, W, 3) uint8."""
    dreams = dreamer.sample(count, seed, label, truncation)
    return contact_sheet(as_pixels(dreams), max(1, round(count**0.5)))


def class_sheet(
    dreamer: Dreamer, seed: int = 0, truncation: float | None = None, columns: int = CLASS_COLUMNS
) -> np.ndarray:
    """A row for each class, its name below the first picture, (H, W, 3) uint8."""
    pictures: list[np.ndarray] = []
    names: list[str] = []
    for name in dreamer.classes:
        pictures += as_pixels(dreamer.sample(columns, seed, name, truncation))
        names += [name] + [""] * (columns - 1)
    return contact_sheet(pictures, columns, names)


def nearest(dreams: Tensor, real: Pictures, features: Features) -> tuple[Tensor, Tensor]:
    """Of each dream (N, C, S, S) the position (N,) of the most alike real picture, and how near.

    Near is measured in the features, in units of the median distance from a real picture to its own
    nearest other: far below 1, a dream is a real picture learned by heart.
    """
    known = features.of(real, len(real))
    apart, found = torch.cdist(features(dreams), known).min(1)
    some = known[torch.linspace(0, len(known) - 1, min(1000, len(known))).long()]
    own = torch.cdist(some, known).kthvalue(2, dim=1).values.median()  # the first is itself
    return found, apart / own.clamp_min(1e-12)


def neighbour_sheet(dreams: Tensor, real: Pictures, features: Features) -> np.ndarray:
    """Each dream with its nearest real picture to the right of it, (H, W, 3) uint8."""
    found, apart = nearest(dreams, real, features)
    pairs = zip(as_pixels(dreams), as_pixels(real.read(found) / 255), apart.tolist(), strict=True)
    pictures: list[np.ndarray] = []
    texts: list[str] = []
    for dream, picture, distance in pairs:
        pictures += [dream, picture]
        texts += [f"dream, {distance:.2f} from", "the nearest real"]
    return contact_sheet(pictures, 8, texts)


def walk(
    dreamer: Dreamer,
    steps: int,
    stops: int,
    seed: int = 0,
    label: str | None = None,
    truncation: float | None = None,
) -> Iterator[Frame]:
    """The frames of one loop through `stops` dreams; see `Dreamer.walk`."""
    for picture in dreamer.walk(steps, stops, seed, label, truncation):
        yield Frame(as_pixels(picture[None], WALK_PX)[0], text="dream")
