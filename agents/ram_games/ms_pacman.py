"""Ms. Pac-Man: the player, four ghosts that take turns in being drawn, the fruit."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "blinky", "pinky", "inky", "sue", "fruit")

_FIELD = (0, 2, 160, 171)
_GHOSTS = ("sue", "inky", "pinky", "blinky")


def boxes(ram: np.ndarray) -> Boxes:
    """player, blinky, pinky, inky, sue, fruit; an eaten ghost is a pair of eyes."""
    found = [cut("player", ram[10] - 12, ram[16] + 1, 8, 10, _FIELD)]
    for ghost, name in enumerate(_GHOSTS):
        found.append(cut(name, ram[6 + ghost] - 12, ram[12 + ghost] + 1, 8, 10, _FIELD))
    if ram[11]:
        found.append(cut("fruit", ram[11] - 12, ram[17] + 1, 8, 10, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), dots (eaten), edible: how many ghosts are blue (0-4)."""
    return {
        "score": bcd(ram[122], ram[121], ram[120]),
        "lives": int(ram[123] & 15),
        "dots": int(ram[119]),
        "edible": sum(int(state >> 7) for state in ram[1:5]),
    }
