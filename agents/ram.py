"""What is where in a game, read from the console's memory: 128 bytes in, facts and boxes out.

Addresses come from AtariARI (Anand et al. 2019, "Unsupervised State Representation Learning in
Atari", MIT) where it has them; offsets, sizes and the addresses marked "found" come from holding
memory against pixels, and `tests/agents/test_ram.py` and `test_ram_games.py` verify each one that
way. All belong to the memory and the picture after the same emulator frame; most fit exactly,
moving objects within the 1-3 pixels that a game moves between writing its memory and drawing.

Boxes are in pixels of the 160-wide screen, cut at the playing field's edge; objects that are not in
play (bursting, between lives) have none, those that only blink keep theirs. Facts are whole
numbers; an object's are its box's centre, None while it is absent. The games, a file each in
`agents/ram_games/`: `GAMES`; the others have neither facts nor boxes.
"""

from __future__ import annotations

import numpy as np

from agents.ram_games import (
    beam_rider,
    bowling,
    boxing,
    breakout,
    demon_attack,
    enduro,
    freeway,
    frostbite,
    ms_pacman,
    pong,
    qbert,
    seaquest,
    skiing,
    space_invaders,
    tennis,
)
from agents.ram_games.common import Facts
from playground.frames import Box

_MODULES = {
    "beam_rider": beam_rider,
    "bowling": bowling,
    "boxing": boxing,
    "breakout": breakout,
    "demon_attack": demon_attack,
    "enduro": enduro,
    "freeway": freeway,
    "frostbite": frostbite,
    "ms_pacman": ms_pacman,
    "pong": pong,
    "qbert": qbert,
    "seaquest": seaquest,
    "skiing": skiing,
    "space_invaders": space_invaders,
    "tennis": tennis,
}
GAMES = tuple(_MODULES)  # games that have facts and boxes


def boxes(game: str, ram: np.ndarray) -> tuple[Box, ...]:
    """Boxes of a game's objects (short name), from its (128,) uint8 memory; () if unknown."""
    if game not in _MODULES:
        return ()
    return tuple(box for box in _MODULES[game].boxes(ram.astype(int)) if box is not None)


def facts(game: str, ram: np.ndarray) -> Facts:
    """Figures of a game, from its (128,) uint8 memory; {} if unknown.

    Scores are the game's own counters (Pong's are two), lives those left in reserve or in play.
    Beside them `<object>_x` and `<object>_y` of the single objects that move.
    """
    if game not in _MODULES:
        return {}
    found: Facts = dict(_MODULES[game].facts(ram.astype(int)))
    places = {box.name: box for box in boxes(game, ram)}
    for name in _MODULES[game].MOVERS:
        box = places.get(name)
        found[f"{name}_x"] = None if box is None else box.x + box.width // 2
        found[f"{name}_y"] = None if box is None else box.y + box.height // 2
    return found
