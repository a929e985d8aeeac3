"""Bowling: the bowler, the ball and ten pins."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "ball")

_FIELD = (0, 104, 160, 172)
# found: byte -> its value while the pin stands, left and top edge; hit, it counts down to 255
_PINS = {
    57: (7, 121, 137),
    58: (5, 125, 131),
    59: (5, 125, 143),
    60: (3, 129, 125),
    61: (3, 129, 137),
    62: (3, 129, 149),
    63: (1, 133, 119),
    64: (1, 133, 131),
    65: (1, 133, 143),
    66: (1, 133, 155),
}


def boxes(ram: np.ndarray) -> Boxes:
    """player (the bowler), ball, pin: those that stand."""
    found = [
        cut("player", ram[29] + 8, 141 - 2 * ram[40], 8, 32, _FIELD),
        cut("ball", ram[30] + 7, 163 - 2 * ram[41], 4, 10, _FIELD),
    ]
    for byte, (standing, x, y) in _PINS.items():
        if ram[byte] == standing:
            found.append(cut("pin", x, y, 2, 4, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, frame (1-10), pins: how many stand."""
    return {
        "score": bcd(ram[38], ram[33]),
        "frame": bcd(ram[36]),
        "pins": sum(bool(ram[byte] == standing) for byte, (standing, *_) in _PINS.items()),
    }
