"""Space Invaders: the cannon, the fleet, the saucer and what is shot."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player",)

_FIELD = (0, 0, 160, 195)


def boxes(ram: np.ndarray) -> Boxes:
    """player (the cannon), invader, bomb, missile, saucer."""
    found = [cut("player", ram[28] - 1, 185, 7, 10, _FIELD)]
    # bytes 18-23 (found): one row of six invaders each, lowest first, bit = column;
    # byte 26: left edge, 16 (found): the rows' descent in steps of two pixels
    for row in range(6):
        for column in range(6):
            if ram[23 - row] >> column & 1:
                x, y = ram[26] - 1 + 16 * column, 31 + 2 * ram[16] + 18 * row
                found.append(cut("invader", x, y, 8, 10, _FIELD))
    # found: positions of the missiles, 246 while there is none; drawn on some frames only
    for name, x, y in (("bomb", 83, 81), ("bomb", 84, 82), ("missile", 87, 85)):
        if ram[y] < 128:
            found.append(cut(name, ram[x] - 2, 2 * ram[y] + 4, 1, 8, _FIELD))
    if ram[30] < 160:  # found; 180 while there is none
        found.append(cut("saucer", ram[30] - 1, 12, 7, 8, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives, invaders (0-36)."""
    return {
        "score": bcd(ram[102], ram[104]),
        "lives": int(ram[73]),
        "invaders": sum(int(byte).bit_count() for byte in ram[18:24]),
    }
