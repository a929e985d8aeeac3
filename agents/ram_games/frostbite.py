"""Frostbite: Bailey on four rows of ice, the animals between them, the bear ashore."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, copies, cut

MOVERS = ("player", "bear")

_FIELD = (8, 46, 160, 182)
_ANIMALS = {142: "goose", 202: "fish", 56: "crab", 26: "clam"}  # by colour


def boxes(ram: np.ndarray) -> Boxes:
    """player, floe, goose, fish, crab, clam, bear."""
    found: Boxes = []
    if not ram[107] and ram[100] > 20:  # found: 107 counts up while he sinks; 20: in the igloo
        found.append(cut("player", ram[102], ram[100] + 28, 8, 19, _FIELD))
    if ram[75] > 2:  # found: the level, from 0
        found.append(cut("bear", ram[104] + 1, 58, 16, 16, _FIELD))
    for row in range(4):  # from the bottom
        top = 174 - 26 * row
        # in every second level the floes are halved
        left, width, floes = (-12, 16, 6) if ram[75] & 1 else (-8, 24, 3)
        for floe in range(floes):
            x = (ram[31 + row] + left + 96 // floes * floe) % 160
            found += [cut("floe", edge, top, width, 7, _FIELD) for edge in (x, x - 160)]
        name = _ANIMALS.get(ram[39 + row] & 254)  # found
        if name and ram[84 + row]:
            for shift in copies(ram[88 + row]):  # found
                x = (ram[84 + row] + shift) % 160
                found.append(cut(name, x, top - 14, 8, 8, _FIELD))
    return found


def facts(ram: np.ndarray) -> Facts:
    """score, lives (in reserve), blocks (of the igloo, 0-16), degrees, level (from 1)."""
    return {
        "score": bcd(*ram[72:75]),
        "lives": int(ram[76]),
        "blocks": int(ram[77] + 1) % 256,
        "degrees": bcd(ram[101]),  # found
        "level": int(ram[75]) + 1,
    }
