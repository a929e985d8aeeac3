"""Enduro: the player's car and up to seven others; at night only their tail lights are seen.

All addresses are found.
"""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut, sprite_x

MOVERS = ("player",)

_FIELD = (8, 53, 160, 155)
# by slot from the nearest: left and top edge against the slot's bytes, width, height
_DAY = (
    (16, 89, 16, 11),
    (18, 42, 12, 8),
    (15, -5, 8, 6),
    (16, -17, 6, 4),
    (17, -54, 4, 3),
    (17, -62, 4, 2),
    (18, -66, 2, 1),
)
_NIGHT = (
    (18, 65, 12, 3),
    (18, 65, 12, 3),
    (16, -44, 6, 2),
    (16, -44, 6, 2),
    (17, -27, 4, 2),
    (17, -27, 4, 2),
    (18, -66, 2, 1),
)


def boxes(ram: np.ndarray) -> Boxes:
    """player, car: at night its lights."""
    steered = ram[46] - 256 * (ram[46] > 127)
    found = [cut("player", 77 - steered // 2, ram[52] + 89, 16, 11, _FIELD)]
    shapes = _NIGHT if ram[122] < 2 else _DAY
    for slot, (left, top, width, height) in enumerate(shapes):
        if ram[3 + slot] != 4:  # what an empty slot has, as one that fog hides
            x, y = sprite_x(ram[3 + slot]) + left, ram[11 + slot] + top
            found.append(cut("car", x, y, width, height, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """day (from 1), cars (still to pass today), night and fog (0 or 1)."""
    return {
        "day": bcd(ram[45]),
        "cars": bcd(ram[44], ram[43]),
        "night": int(ram[122] < 2),
        "fog": int(ram[63] == 16),
    }
