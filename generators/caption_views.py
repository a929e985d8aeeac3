"""Captions to look at: where each word looked, as a picture and as a film; boxes of the peaks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from generators.captioner import Caption
from generators.words import sentence
from playground.frames import Box, Frame
from playground.gallery import contact_sheet
from playground.media import INK, draw_text, text_width

COLUMNS = 6  # of a sheet
GLOW = (255, 196, 64)  # where a word looked
DARK = 0.35  # of the light that is left where it did not
LETTERS_PX = 14  # of burnt-in captions
SMALLEST_PX = 150  # narrower pictures are enlarged on sheets


def wrapped(text: str, letters: int) -> str:
    """The text in lines of at most so many letters."""
    return "\n".join(textwrap.wrap(text, letters)) or text


def last_picture(pixels: Tensor) -> np.ndarray:
    """A picture (3, H, W) uint8, or a clip's (T, 3, H, W) last one, as (H, W, 3)."""
    return pixels.reshape(-1, *pixels.shape[-3:])[-1].permute(1, 2, 0).contiguous().numpy()


def peaks(caption: Caption, picture: np.ndarray) -> tuple[Box, ...]:
    """For each word a box, named after it: the cell of (H, W, 3) pixels that it looked at most."""
    height, width = picture.shape[:2]
    found = []
    for word, looked in zip(caption.words, caption.attention, strict=True):
        rows, columns = looked.shape
        row, column = np.unravel_index(int(looked.argmax()), looked.shape)
        x, y = round(column * width / columns), round(row * height / rows)
        found.append(Box(word, x, y, round(width / columns), round(height / rows)))
    return tuple(found)


def lit(picture: np.ndarray, looked: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as seen by a word: attention (rows, columns) >= 0 as light on it.

    The brightest cell has all of its light and a glow, a cell that was not looked at DARK of it.
    """
    height, width = picture.shape[:2]
    share = looked / max(float(looked.max()), 1e-9)
    mask = _smooth(share, height, width)[..., None]
    light = picture * (DARK + (1 - DARK) * mask)
    return (light + 0.35 * mask * (np.array(GLOW) - light)).clip(0, 255).round().astype(np.uint8)


def _smooth(share: np.ndarray, height: int, width: int) -> np.ndarray:
    """(rows, columns) -> (height, width), linear between the cells' centres."""
    for axis, size in ((0, height), (1, width)):
        count = share.shape[axis]
        at = ((np.arange(size) + 0.5) * count / size - 0.5).clip(0, count - 1)
        low = np.floor(at).astype(int)
        high, part = np.minimum(low + 1, count - 1), at - low
        part = part[:, None] if axis == 0 else part[None]
        share = share.take(low, axis) * (1 - part) + share.take(high, axis) * part
    return share


def attention_sheet(picture: np.ndarray, caption: Caption) -> np.ndarray:
    """The picture, and once more for each word with light on where it looked: (H, W, 3) uint8."""
    times = max(1, -(-SMALLEST_PX // picture.shape[1]))
    large = picture.repeat(times, 0).repeat(times, 1)
    pictures = [large, *(lit(large, looked) for looked in caption.attention)]
    return contact_sheet(pictures, COLUMNS, ["", *caption.words])


def attention_film(picture: np.ndarray, caption: Caption, frames_a_word: int) -> Iterator[Frame]:
    """Word after word: light on where it looked, and the caption as far as it is said."""
    times = max(1, -(-2 * SMALLEST_PX // picture.shape[1]))
    large = picture.repeat(times, 0).repeat(times, 1)
    lines = len(_lines(caption.text, large.shape[1], LETTERS_PX))
    if not caption.words:
        yield Frame(captioned(large, ""))
    for number, looked in enumerate(caption.attention, 1):
        text = sentence(caption.words[:number], capital=True)
        shown = captioned(lit(large, looked), text, lines)
        for _ in range(frames_a_word):
            yield Frame(shown, text)


def captioned(
    pixels: np.ndarray, text: str, lines: int | None = None, size: int = LETTERS_PX
) -> np.ndarray:
    """A copy with the text in a band below the picture, of as many lines as it takes or `lines`.

    `size` of the letters, in pixels. What does not fit into `lines` is cut off.
    """
    broken = _lines(text, pixels.shape[1], size)
    count = max(1, len(broken)) if lines is None else lines
    band = np.zeros(((size + 2) * count + 8, pixels.shape[1], 3), np.uint8)
    band = draw_text(band, broken[:count], (6, 4), size, INK)
    return np.concatenate([pixels, band])


def _lines(text: str, width: int, size: int) -> list[str]:
    """The text broken into lines that fit into `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width - 12:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
