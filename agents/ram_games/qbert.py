"""Q*bert: the player on 21 cubes, and what comes down after him (the flying discs are left out).

Addresses are found but for the player's, Coily's column, the cubes' colours and the score.
"""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "coily")

_FIELD = (0, 8, 160, 180)
_SPRITES = (92, 93, 94, 96, 95)  # shape in each row of cubes from the second on; 7 is none
# shape -> name, left, top, width and height in the sprite, whose feet stand at line 21
_SHAPES = {
    0: ("ball", 1, 15, 7, 6),
    17: ("ball", 1, 1, 7, 9),
    38: ("sam", 0, 3, 8, 18),
    59: ("coily", 0, 0, 8, 21),
    81: ("coily", 0, 3, 8, 18),
    102: ("coily", 0, 6, 8, 15),
}
# left edges by column of half cubes: the pyramid's right half stands 4 pixels further right
_COLUMNS = tuple(14 + 12 * column + 4 * (column > 5) for column in range(12))
_CUBES = (21, 52, 54, 83, 85, 87, 98, 100, 102, 104, 1, 3, 5, 7, 9, 32, 34, 36, 38, 40, 42)
# colour to which the cubes are to be turned, by round; the score is written in it
_TARGETS = (26, 148, 4, 26, 214, 26, 26, 86, 162, 10, 26, 148, 148, 26, 10, 152, 148, 100, 86, 26)


def boxes(ram: np.ndarray) -> Boxes:
    """player, ball (of any colour), sam (and Slick), coily."""
    found: Boxes = []
    fall = (ram[68] + 48) % 256 - 48  # found; negative above the pyramid
    if ram[43] and fall < 164:  # a hop stretches and shrinks him by 2 pixels
        found.append(cut("player", ram[43] - 3, fall + 16, 8, 21, _FIELD))
    for row, sprite in enumerate(_SPRITES):
        if ram[sprite] not in _SHAPES:
            continue
        name, left, top, width, height = _SHAPES[ram[sprite]]
        if name == "coily":  # he climbs; the others fall, from one column of the row to the next's
            x = _COLUMNS[ram[69] % 12]
        else:
            x = ram[44 + row] - 3
        found.append(cut(name, x + left, 39 + 29 * row + top, width, height, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), round (from 1), cubes (of 21 in the right colour)."""
    target = _TARGETS[min(ram[99], len(_TARGETS) - 1)]
    return {
        "score": bcd(*ram[89:92]),
        "lives": max(0, int(ram[8] + 2) % 256 - 1),  # found; -1 with the last, -2 after it
        "round": int(ram[99]) + 1,
        "cubes": sum(bool(ram[byte] == target) for byte in _CUBES),
    }
