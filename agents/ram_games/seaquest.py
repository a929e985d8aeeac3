"""Seaquest: fish, submarines and divers in four lanes, the patrol above them."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "patrol")

_FIELD = (8, 40, 160, 160)


def boxes(ram: np.ndarray) -> Boxes:
    """player, torpedo, patrol, fish, submarine, shot (of a submarine), diver."""
    found: Boxes = []
    # byte 105 (found): counts down from 23 when hit, flashing, and from 14 on it is debris
    if ram[105] == 0 or ram[105] > 14:
        found.append(cut("player", ram[70], ram[97] + 33, 16, 11, _FIELD))
    if ram[103]:
        found.append(cut("torpedo", ram[103], ram[97] + 40, 8, 1, _FIELD))
    if ram[118]:  # found; comes when six divers have been brought up
        found.append(cut("patrol", ram[118], 46, 8, 7, _FIELD))
    for lane in range(4):  # from the bottom
        top = 137 - 24 * lane
        submarines = ram[44 + lane] == 8  # found: the lane's colour
        for bit, shift in ((2, 0), (1, 16), (0, 32)):
            if ram[40 + lane] >> bit & 1:  # found: which of the lane's three are there
                x = (ram[30 + lane] + shift) % 256  # one that comes in on the left is at 200-255
                if submarines:
                    found.append(cut("submarine", x, top + 3, 8, 11, _FIELD))
                else:  # byte 93 (found): how deep the fish swim, 0-8
                    found.append(cut("fish", x, top + ram[93], 8, 7, _FIELD))
        if ram[71 + lane]:
            if submarines:
                found.append(cut("shot", ram[71 + lane] + 2, top + 8, 6, 4, _FIELD))
            else:
                found.append(cut("diver", ram[71 + lane], top, 8, 14, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), oxygen (0-64), divers (on board, 0-6)."""
    return {
        "score": bcd(*ram[56:59]),
        "lives": int(ram[59]),
        "oxygen": int(ram[102]),
        "divers": int(ram[62]),
    }
