"""Tennis: two players who change ends, the ball and its shadow."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, cut

MOVERS = ("player", "enemy", "ball")

_FIELD = (0, 12, 160, 192)


def boxes(ram: np.ndarray) -> Boxes:
    """player (pink), enemy (blue), ball, shadow (of the ball)."""
    # AtariARI's player is whoever stands at the far end; byte 80 (found): 1 when that is the enemy
    far, near = ("enemy", "player") if ram[80] else ("player", "enemy")
    # 16 pixels with the racket, whichever side that is on
    found = [
        cut(far, ram[26] - 2, 166 - ram[24], 16, 23, _FIELD),
        cut(near, ram[27] - 2, 167 - ram[25], 16, 23, _FIELD),
    ]
    if ram[75] == 255:  # found; counts down between points
        found.append(cut("ball", ram[16] - 2, 189 - ram[54], 2, 3, _FIELD))
        found.append(cut("shadow", ram[16] - 2, 189 - ram[55], 2, 3, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """Points of this game (0, 1, 2, 3 are called 0, 15, 30, 40) and games won, of either."""
    return {
        "player_points": int(ram[69]),
        "enemy_points": int(ram[70]),
        "player_games": int(ram[71]),  # found
        "enemy_games": int(ram[72]),
    }
