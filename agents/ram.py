"""What is where in a game, read from the console's memory: 128 bytes in, facts and boxes out.

Addresses come from AtariARI (Anand et al. 2019, "Unsupervised State Representation Learning in
Atari", MIT) where it has them; offsets, sizes and the addresses marked "found" come from holding
memory against pixels, and `tests/agents/test_ram.py` verifies each one that way. All belong to the
memory and the picture after the same emulator frame; most fit exactly, moving objects within the
1-2 pixels that a game moves between writing its memory and drawing.

Boxes are in pixels of the 160-wide screen, cut at the playing field's edge; objects that are not in
play have none. Facts are whole numbers; an object's are its box's centre, None while it is absent.
Games: `GAMES`; the others have neither facts nor boxes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground.frames import Box

Facts = dict[str, int | None]


def boxes(game: str, ram: np.ndarray) -> tuple[Box, ...]:
    """Boxes of a game's objects (short name), from its (128,) uint8 memory; () if unknown."""
    if game not in _READERS:
        return ()
    return tuple(box for box in _READERS[game][0](ram.astype(int)) if box is not None)


def facts(game: str, ram: np.ndarray) -> Facts:
    """Figures of a game, from its (128,) uint8 memory; {} if unknown.

    Scores are the game's own counters (Pong's are two), lives those left in reserve or in play.
    Beside them `<object>_x` and `<object>_y` of the single objects that move.
    """
    if game not in _READERS:
        return {}
    _, figures, movers = _READERS[game]
    found: Facts = dict(figures(ram.astype(int)))
    places = {box.name: box for box in boxes(game, ram)}
    for name in movers:
        box = places.get(name)
        found[f"{name}_x"] = None if box is None else box.x + box.width // 2
        found[f"{name}_y"] = None if box is None else box.y + box.height // 2
    return found


def _cut(
    name: str, x: int, y: int, width: int, height: int, field: tuple[int, int, int, int]
) -> Box | None:
    """The part of a rectangle inside the field (left, top, right, bottom), or None."""
    left, top, right, bottom = field
    x1, y1, x2, y2 = max(x, left), max(y, top), min(x + width, right), min(y + height, bottom)
    return Box(name, int(x1), int(y1), int(x2 - x1), int(y2 - y1)) if x1 < x2 and y1 < y2 else None


def _bcd(byte: int) -> int:
    """Two decimal digits kept in one byte."""
    return int(byte >> 4) * 10 + int(byte & 15)


# Pong ---------------------------------------------------------------------------------------------

_PONG = (0, 34, 160, 194)


def _pong_boxes(ram: np.ndarray) -> list[Box | None]:
    found: list[Box | None] = []
    if ram[51]:
        # drawn in pairs of lines, so the top is even
        found.append(_cut("player", ram[46] - 48, (ram[51] - 13) // 2 * 2, 4, 16, _PONG))
    if ram[50]:  # 0 between points
        found.append(_cut("enemy", ram[45] - 48, ram[50] - 15, 4, 16, _PONG))
    if ram[54]:  # 0 between points
        found.append(_cut("ball", ram[49] - 49, ram[54] - 14, 2, 4, _PONG))
    return found


def _pong_facts(ram: np.ndarray) -> Facts:
    return {"player_score": int(ram[14]), "enemy_score": int(ram[13])}


# Breakout -----------------------------------------------------------------------------------------

_BREAKOUT = (8, 32, 152, 193)


def _breakout_boxes(ram: np.ndarray) -> list[Box | None]:
    # byte 108 (found): half the paddle's width, 8, and 6 once the ball has met the top wall
    found = [_cut("player", ram[72] - 47, 189, 2 * ram[108], 4, _BREAKOUT)]
    if ram[101]:  # 0 until FIRE serves
        found.append(_cut("ball", ram[99] - 49, ram[101] + 9, 2, 4, _BREAKOUT))
    return found


def _brick_bits() -> list[list[tuple[int, int]]]:
    """[row from the top][column] -> (byte, bit). Found: bytes 0-35 are playfield registers.

    A brick is two playfield bits, of which one is listed. Each half of a row is three registers,
    PF0 (bits 6-7, in the right half 4-7), PF1 (from bit 7 down) and PF2 (from bit 0 up), in bytes
    30, 24, 18 and 12, 6, 0 for the lowest row and one more for each row above it.
    """
    lowest = [(30, 6), *((24, bit) for bit in (6, 4, 2, 0)), *((18, bit) for bit in (0, 2, 4, 6))]
    lowest += [(12, 4), (12, 6), *((6, bit) for bit in (6, 4, 2, 0))]
    lowest += [(0, bit) for bit in (0, 2, 4)]
    return [[(byte + 5 - row, bit) for byte, bit in lowest] for row in range(6)]


_BRICK_BITS = _brick_bits()


def breakout_bricks(ram: np.ndarray) -> np.ndarray:
    """(6, 18) bool: which bricks stand, top row first. Brick (r, c) is 8x6 px at (8+8c, 57+6r)."""
    return np.array([[bool(ram[b] >> bit & 1) for b, bit in row] for row in _BRICK_BITS])


def _breakout_facts(ram: np.ndarray) -> Facts:
    # bytes 76-77 (found): the score's decimal digits; byte 57 (found): lives
    return {
        "score": _bcd(ram[76]) * 100 + _bcd(ram[77]),
        "lives": int(ram[57]),
        "bricks": int(breakout_bricks(ram).sum()),
    }


# Space Invaders -----------------------------------------------------------------------------------

_INVADERS = (0, 0, 160, 195)


def _invader_boxes(ram: np.ndarray) -> list[Box | None]:
    found = [_cut("player", ram[28] - 1, 185, 7, 10, _INVADERS)]
    # bytes 18-23 (found): one row of six invaders each, lowest first, bit = column;
    # byte 26: left edge, 16 (found): the rows' descent in steps of two pixels
    for row in range(6):
        for column in range(6):
            if ram[23 - row] >> column & 1:
                x, y = ram[26] - 1 + 16 * column, 31 + 2 * ram[16] + 18 * row
                found.append(_cut("invader", x, y, 8, 10, _INVADERS))
    # found: positions of the missiles, 246 while there is none; drawn on some frames only
    for name, x, y in (("bomb", 83, 81), ("bomb", 84, 82), ("missile", 87, 85)):
        if ram[y] < 128:
            found.append(_cut(name, ram[x] - 2, 2 * ram[y] + 4, 1, 8, _INVADERS))
    if ram[30] < 160:  # found; 180 while there is none
        found.append(_cut("saucer", ram[30] - 1, 12, 7, 8, _INVADERS))
    return found


def _invader_facts(ram: np.ndarray) -> Facts:
    return {
        "score": _bcd(ram[102]) * 100 + _bcd(ram[104]),
        "lives": int(ram[73]),
        "invaders": sum(int(byte).bit_count() for byte in ram[18:24]),
    }


# Boxing -------------------------------------------------------------------------------------------

_RING = (32, 36, 128, 178)


def _boxing_boxes(ram: np.ndarray) -> list[Box | None]:
    # with drawn-in arms; a punch reaches up to 16 pixels further
    return [
        _cut("player", ram[32] + 5, ram[34] + 38, 14, 47, _RING),
        _cut("enemy", ram[33] + 3, ram[35] + 37, 14, 47, _RING),
    ]


def _boxing_facts(ram: np.ndarray) -> Facts:
    return {"player_score": _bcd(ram[18]), "enemy_score": _bcd(ram[19])}


# Freeway ------------------------------------------------------------------------------------------

_ROAD = (8, 14, 160, 196)


def _freeway_boxes(ram: np.ndarray) -> list[Box | None]:
    found = [_cut("player", 44, 193 - ram[14], 7, 8, _ROAD)]
    for lane in range(10):  # from the top
        # a car that leaves on one side comes in on the other
        x, y = (ram[117 - lane] - 3) % 160, 28 + 16 * lane
        found.append(_cut("car", x, y, 8, 8, _ROAD))
    return found


def _freeway_facts(ram: np.ndarray) -> Facts:
    return {"score": _bcd(ram[103])}


# --------------------------------------------------------------------------------------------------

_Boxes = Callable[[np.ndarray], list[Box | None]]
_READERS: dict[str, tuple[_Boxes, Callable[[np.ndarray], Facts], tuple[str, ...]]] = {
    "boxing": (_boxing_boxes, _boxing_facts, ("player", "enemy")),
    "breakout": (_breakout_boxes, _breakout_facts, ("player", "ball")),
    "freeway": (_freeway_boxes, _freeway_facts, ("player",)),
    "pong": (_pong_boxes, _pong_facts, ("player", "enemy", "ball")),
    "space_invaders": (_invader_boxes, _invader_facts, ("player",)),
}
GAMES = tuple(_READERS)  # games that have facts and boxes
