"""Demon Attack: the cannon and its shot, up to three demons and the bombs of the lowest."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut, sprite_x

MOVERS = ("player", "shot")

_FIELD = (0, 20, 160, 186)


def boxes(ram: np.ndarray) -> Boxes:
    """player (the cannon), shot, demon, shapeless demon, bomb: one a line of bombs."""
    found: Boxes = []
    if ram[63] >= 4:  # found; less while it explodes
        found.append(cut("player", sprite_x(ram[16]) + 12, 174, 7, 12, _FIELD))
    if ram[21] > 3:  # 3 while it lies on the cannon
        found.append(cut("shot", sprite_x(ram[22]) + 14, 175 - ram[21], 1, 11, _FIELD))
    for demon in range(3):
        y = 174 - ram[69 + demon]
        # found: a shape of 4 and more in each half; 1-3 while it comes together or bursts
        left, right = sprite_x(ram[13 + demon]) + 12, sprite_x(ram[17 + demon]) + 12
        if 0 < max(ram[29 + demon], ram[33 + demon]) < 4:
            start, end = min(left, right), max(left, right) + 8
            found.append(cut("shapeless demon", start, y, end - start, 8, _FIELD))
        elif 4 <= ram[29 + demon] < 22 and right - left == 8:
            found.append(cut("demon", left, y, 16, 8, _FIELD))
        else:  # from the fifth wave on, one that is hit splits into two
            if ram[29 + demon] >= 4:
                found.append(cut("demon", left, y, 8, 8, _FIELD))
            if ram[33 + demon] >= 4:
                found.append(cut("demon", right, y, 8, 8, _FIELD))
    below = sprite_x(ram[20]) + 12  # found
    if ram[36] >= 4:  # found; the last half of a demon dives
        found.append(cut("demon", below, 176 - ram[72], 8, 8, _FIELD))
    # found: bytes 37-46, lowest row first, hold the bombs' pattern, one bit a pixel from the left
    for row, pattern in enumerate(ram[37:47]):
        if pattern:
            bits = [7 - bit for bit in range(8) if pattern >> bit & 1]
            width = max(bits) - min(bits) + 1
            found.append(cut("bomb", below + min(bits), 178 - 8 * row, width, 8, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), wave (from 1)."""
    return {
        "score": bcd(ram[1], ram[3], ram[5]),
        "lives": int(ram[114]),
        "wave": int(ram[62]) + 1,
    }
