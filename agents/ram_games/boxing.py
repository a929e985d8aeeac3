"""Boxing: two boxers, seen from above."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "enemy")

_FIELD = (32, 36, 128, 178)


def boxes(ram: np.ndarray) -> Boxes:
    """player (white) and enemy (black), with drawn-in arms."""
    # with drawn-in arms; a punch reaches up to 16 pixels further
    return [
        cut("player", ram[32] + 5, ram[34] + 38, 14, 47, _FIELD),
        cut("enemy", ram[33] + 3, ram[35] + 37, 14, 47, _FIELD),
    ]


def facts(ram: np.ndarray) -> Facts:
    """player_score, enemy_score: hits."""
    return {"player_score": bcd(ram[18]), "enemy_score": bcd(ram[19])}
