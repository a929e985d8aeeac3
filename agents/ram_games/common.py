"""What the games' files share: cutting boxes at the playing field, reading decimal digits."""

from __future__ import annotations

import numpy as np

from playground.frames import Box

Facts = dict[str, int | None]
Boxes = list[Box | None]
Field = tuple[int, int, int, int]  # left, top, right, bottom


def cut(name: str, x: int, y: int, width: int, height: int, field: Field) -> Box | None:
    """The part of a rectangle inside the field, or None."""
    left, top, right, bottom = field
    x1, y1, x2, y2 = max(x, left), max(y, top), min(x + width, right), min(y + height, bottom)
    return Box(name, int(x1), int(y1), int(x2 - x1), int(y2 - y1)) if x1 < x2 and y1 < y2 else None


def bcd(*digits: int | np.integer) -> int:
    """The number whose decimal digits, two to a byte, stand in these bytes, highest first."""
    number = 0
    for byte in digits:
        number = number * 100 + int(byte >> 4) * 10 + int(byte & 15)
    return number


def sprite_x(byte: int | np.integer) -> int:
    """Pixels from the left, but for a constant, of a byte made for the console's HMOVE.

    The lower four bits count steps of 15 pixels, the upper four, with a sign, pixels back.
    """
    fine = int(byte) >> 4
    return 15 * (int(byte) & 15) - (fine - 16 if fine > 7 else fine)


_COPIES = {1: (0, 16), 2: (0, 32), 3: (0, 16, 32), 4: (0, 64), 6: (0, 32, 64)}


def copies(byte: int | np.integer) -> tuple[int, ...]:
    """Left edges of an object's copies, in pixels, that a byte for the console's NUSIZ asks for."""
    return _COPIES.get(int(byte) & 7, (0,))
