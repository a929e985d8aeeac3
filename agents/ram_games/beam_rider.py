"""Beam Rider: the ship, its shots, and what comes down the beams.

All addresses are found. The game keeps eight objects in the beams' plane, depth at 25-32, place
across at 33-40, kind at 42-49: three saucers, four others or their shots, and the ship's shot.
They are drawn in perspective, two frames later, by turns where there are too many in a line.
"""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut, sprite_x

MOVERS = ("player", "shot")

_FIELD = (8, 46, 160, 181)
_DEPTHS = range(38, 215, 8)
# the upper edge on the screen at each of the depths
_FAR = (46, 47, 49, 51, 53, 56, 58, 61, 64, 67, 71, 75)
_LINES = (*_FAR, 79, 84, 89, 95, 102, 109, 118, 129, 141, 155, 172)
_Sizes = tuple[tuple[int, int, int], ...]  # from which line on, width, height: nearer is larger
_SAUCER: _Sizes = ((0, 3, 2), (56, 4, 2), (68, 6, 4), (85, 7, 4), (118, 8, 6))
_ROCK: _Sizes = ((0, 4, 3), (65, 5, 4), (85, 6, 5), (108, 8, 6))
_OTHERS: _Sizes = ((0, 8, 7),)
_BOLT: _Sizes = ((0, 4, 6),)  # 2x6 and 4x2 by turns
_LASER: _Sizes = ((0, 8, 5),)
_TORPEDO: _Sizes = ((0, 3, 3), (78, 5, 5))


def boxes(ram: np.ndarray) -> Boxes:
    """player, shot (the ship's laser or torpedo), enemy, bolt (an enemy's shot)."""
    if ram[14] > 150:  # destroyed, and the beams are empty
        return []
    found = [cut("player", sprite_x(ram[15]) + 16, 160, 15, 20, _FIELD)]
    for slot in range(8):
        depth, across, kind = ram[25 + slot], ram[33 + slot], ram[42 + slot]
        if not _DEPTHS[0] < depth < 255:  # a point on the horizon, or none
            continue
        line = np.interp(depth, _DEPTHS, _LINES)
        reach = 0.0
        if slot == 7:
            if not 35 <= kind <= 38:
                continue
            name, sizes = "shot", _LASER if kind == 35 else _TORPEDO
            # 8 nearer a step before: where it was drawn last, or is drawn next
            reach = np.interp(depth + 8, _DEPTHS, _LINES) - line
        elif kind < 6:
            name, sizes = ("enemy", _SAUCER) if slot < 3 else ("bolt", _BOLT)
        elif kind < 16:  # bursting
            continue
        else:
            name, sizes = "enemy", _ROCK if kind >> 3 == 3 else _OTHERS
        _, width, height = max(size for size in sizes if size[0] <= line)
        middle = 84 + (across - 128) * (0.336 + 0.0071 * line)
        x = round(middle - width / 2)
        found.append(cut(name, x, round(line), width, height + round(reach), _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), sector (from 1), enemies: still to destroy in the sector.

    After the last of these comes the sector's sentinel: 0 enemies, as the screen shows no number.
    """
    return {
        "score": bcd(ram[11], ram[10], ram[9]),
        "lives": max(0, int(ram[5] + 1) % 256 - 1),  # 255 after the last
        "sector": bcd(ram[0]),
        "enemies": int(ram[84]) % 255,
    }
