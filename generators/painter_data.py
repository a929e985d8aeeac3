"""What a painter learns from: paintings with their credits, and pairs of pictures.

A pair is two pictures that are the same in places: there the two paintings shall be the same, too.
Consecutive frames of a game are such pairs; of a photo the second one is made here, by pasting
parts of other photos into it and by noise.

A clip of T frames is a picture of 3T channels, so that `playground.data.Pictures` holds it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from generators.painter import Credit
from generators.painter_losses import unchanged
from generators.style_easel import LEAST_PX, fitting, resized
from playground import ranks
from playground.ahead import Ahead
from playground.data import Pictures, batch_indices
from playground.errors import UserError
from playground.inputs import to_batch
from playground.media import composed, read_image

CREDITS = "styles.csv"  # beside the paintings: file,title,painter,year,terms
PATCHES = 3  # pasted into a photo, at most
PATCH = (0.08, 0.4)  # their sides, as parts of the photo's
NOISE = 0.02  # standard deviation at most, of pixels in [0, 1]


# ---------------------------------------------------------------- paintings


def paintings(source: str | Path) -> list[tuple[Credit, Path]]:
    """The picture files of a folder, or the one file, with what is known about each.

    A style is called after its file. Titles, painters, years and terms come from a table
    `styles.csv` beside the files, with the columns file, title, painter, year and terms, where
    there is one. UserError where there is no picture, two have one name, or the table is broken.
    """
    source = Path(source).expanduser()
    if source.is_dir():
        files = [path for path in sorted(source.iterdir()) if path.is_file()]
        files = [path for path in files if not path.name.startswith(".") and _is_picture(path)]
    else:
        read_image(source)  # whose error says what is wrong with it
        files = [source]
    if not files:
        raise UserError(f"There are no paintings in {source}.")
    folder = source if source.is_dir() else source.parent
    known = _table(folder / CREDITS)
    names = [composed(path.stem) for path in files]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two paintings in {source} have the name {name}: rename one.")
    told = [known.get(composed(path.name), {}) for path in files]
    return [(Credit(n, **c), path) for n, c, path in zip(names, told, files, strict=True)]


def painting_of(path: Path, longer: int) -> Tensor:
    """A painting's file as (1, 3, h, w) float in [0, 1], its longer side not above `longer`.

    UserError where it cannot be read, or is too small to learn from.
    """
    picture = to_batch(read_image(path)).contiguous()
    height, width = picture.shape[2:]
    if min(height, width) < LEAST_PX:
        raise UserError(f"The painting {path} has {width}x{height} pixels: too few to learn from.")
    return resized(picture, fitting(height, width, min(longer, max(height, width))))


def _is_picture(path: Path) -> bool:
    try:
        read_image(path, 1)
    except UserError:
        return False
    return True


def _table(path: Path) -> dict[str, dict[str, str]]:
    """File, its name composed -> its columns."""
    if not path.is_file():
        return {}
    wanted = [field.name for field in fields(Credit) if field.name != "name"]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"The table {path} cannot be read: {error}.") from error
    for row in rows:
        if not row.get("file") or None in row.values():
            columns = ", ".join(["file", *wanted])
            raise UserError(f"The table {path} needs the columns {columns} in each row.")
    return {composed(row["file"]): {name: row.get(name) or "" for name in wanted} for row in rows}


# ---------------------------------------------------------------- pairs


class Pairs:
    """Batches of pairs from several sources in turn, read ahead; a pure function of the update.

    Args:
        sources: of 3 channels (photos) or of 6 (pairs of frames), each of a size of its own.
        batch_size: pairs of an update, of all processes.
        seed: of their order.
    """

    def __init__(self, sources: Sequence[Pictures], batch_size: int, seed: int) -> None:
        for source in sources:
            if source.channels not in (1, 3, 6):
                raise ValueError(f"pairs are made of 1, 3 or 6 channels, not {source.channels}")
        self.sources, self.batch_size, self.order = sources, batch_size, seed
        self._ahead = Ahead(self._read)

    def get(self, update: int) -> Tensor:
        """This process's share of an update's: (B, 3 or 6, H, W) uint8."""
        return self._ahead.get(update)

    def _read(self, update: int) -> Tensor:
        turn, which = divmod(update, len(self.sources))
        source = self.sources[which]
        place = ranks.rank(), ranks.world()
        chosen = batch_indices(len(source), self.batch_size, self.order, turn, *place)
        pixels = source.read(chosen)
        return pixels if pixels.shape[1] > 1 else pixels.expand(-1, 3, -1, -1)

    def reorder(self, seed: int) -> None:
        """Another order from now on."""
        self.order = seed
        self._ahead.forget()

    def close(self) -> None:
        """End the reading thread."""
        self._ahead.close()


def split_clips(unit: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of frames (B, 6, H, W) -> the two frames (B, 3, H, W), in either order by chance."""
    first, second = unit.chunk(2, 1)
    turned = torch.rand(len(unit), 1, 1, 1, device=unit.device) < 0.5
    return torch.where(turned, second, first), torch.where(turned, first, second)


def followers(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """What might follow pictures in a film: (them changed in places, where they are unchanged).

    Rectangles come from the next picture of the batch, from another place; half of the pictures
    get noise all over, which counts as unchanged: a film's grain shall not make paintings flicker.

    Args:
        pictures: float (B, 3, H, W) in [0, 1].

    Returns: float (B, 3, H, W) in [0, 1]; bool (B, 1, H, W).
    """
    count, _, height, width = pictures.shape
    changed = pictures.clone()
    others = pictures.roll(1, 0)
    for number in range(count):
        for _ in range(int(torch.randint(1, PATCHES + 1, ()))):
            h, w = (
                max(1, int(side * (PATCH[0] + (PATCH[1] - PATCH[0]) * float(torch.rand(())))))
                for side in (height, width)
            )
            y, x, v, u = (
                int(torch.randint(side - part + 1, ()))
                for side, part in ((height, h), (width, w), (height, h), (width, w))
            )
            patch = others[number, :, v : v + h, u : u + w]
            changed[number, :, y : y + h, x : x + w] = patch
    same = unchanged(pictures, changed)
    strength = NOISE * torch.rand(count, 1, 1, 1, device=pictures.device)
    strength = torch.where(torch.rand_like(strength) < 0.5, strength, 0)
    return (changed + strength * torch.randn_like(changed)).clamp(0, 1), same


def pictures_first(source: Pictures, count: int) -> Tensor:
    """Some pictures of a source, spread over all of it: (n, C, H, W) uint8, 3 or 6 channels."""
    chosen = torch.linspace(0, len(source) - 1, min(count, len(source))).round().long()
    pixels = source.read(chosen)
    return pixels if pixels.shape[1] > 1 else pixels.expand(-1, 3, -1, -1)
