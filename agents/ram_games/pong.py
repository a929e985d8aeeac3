"""Pong: two paddles and the ball."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, cut

MOVERS = ("player", "enemy", "ball")

_FIELD = (0, 34, 160, 194)


def boxes(ram: np.ndarray) -> Boxes:
    """player (right), enemy (left), ball."""
    found: Boxes = []
    if ram[51]:
        # drawn in pairs of lines, so the top is even
        found.append(cut("player", ram[46] - 48, (ram[51] - 13) // 2 * 2, 4, 16, _FIELD))
    if ram[50]:  # 0 between points
        found.append(cut("enemy", ram[45] - 48, ram[50] - 15, 4, 16, _FIELD))
    if ram[54]:  # 0 between points
        found.append(cut("ball", ram[49] - 49, ram[54] - 14, 2, 4, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """player_score, enemy_score: 0-21."""
    return {"player_score": int(ram[14]), "enemy_score": int(ram[13])}
