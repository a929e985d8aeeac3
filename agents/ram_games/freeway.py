"""Freeway: the chicken and ten cars."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player",)

_FIELD = (8, 14, 160, 196)


def boxes(ram: np.ndarray) -> Boxes:
    """player (the left chicken), car: one in each of ten lanes."""
    found = [cut("player", 44, 193 - ram[14], 7, 8, _FIELD)]
    for lane in range(10):  # from the top
        # a car that leaves on one side comes in on the other
        x, y = (ram[117 - lane] - 3) % 160, 28 + 16 * lane
        found.append(cut("car", x, y, 8, 8, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score: crossings."""
    return {"score": bcd(ram[103])}
