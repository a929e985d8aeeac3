"""Skiing: the skier, and the flags, trees and moguls that come up the slope.

Addresses are found but for the skier's, the heights' and the clock's.
"""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player",)

_FIELD = (8, 32, 152, 178)
# kind of a slot -> name, left edge against the slot's x, width, height
_KINDS = {2: ("flag", 1, 5, 14), 5: ("mogul", 2, 16, 6), 85: ("tree", -3, 16, 30)}


def boxes(ram: np.ndarray) -> Boxes:
    """player, flag (two a gate), tree, mogul."""
    found = [cut("player", ram[25] + 1, 39, 8, 20, _FIELD)]
    for slot in range(8):  # from the top; each has x at 62, kind at 70, height at 86
        kind, up = ram[70 + slot], ram[86 + slot]
        if kind not in _KINDS or up > 150:  # 151 and more: gone
            continue
        name, left, width, height = _KINDS[kind]
        # held at 149-150 while it leaves at the top; the slot before tells how much has left
        gone = max(0, ram[85 + slot] - 154) if slot and up >= 149 else 0
        x = ram[62 + slot] + left + (5 if name == "tree" and gone > 15 else 0)
        for shift in (0, 32) if name == "flag" else (0,):  # a gate has two
            edge = (x + shift + 8) % 160 - 8  # what leaves on the right comes in on the left
            found.append(cut(name, edge, 181 - up, width, max(height - gone, 0), _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """gates (still to come), centiseconds (on the clock)."""
    return {
        "gates": bcd(ram[107]),
        "centiseconds": bcd(ram[104]) * 6000 + bcd(ram[105], ram[106]),
    }
