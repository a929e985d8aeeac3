"""Breakout: the paddle, the ball and 108 bricks."""

from __future__ import annotations

import numpy as np

from agents.ram_games.common import Boxes, Facts, bcd, cut

MOVERS = ("player", "ball")

_FIELD = (8, 32, 152, 193)


def boxes(ram: np.ndarray) -> Boxes:
    """player (the paddle), ball."""
    # byte 108 (found): half the paddle's width, 8, and 6 once the ball has met the top wall
    found = [cut("player", ram[72] - 47, 189, 2 * ram[108], 4, _FIELD)]
    if ram[101]:  # 0 until FIRE serves
        found.append(cut("ball", ram[99] - 49, ram[101] + 9, 2, 4, _FIELD))
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


def bricks(ram: np.ndarray) -> np.ndarray:
    """(6, 18) bool: which bricks stand, top row first. Brick (r, c) is 8x6 px at (8+8c, 57+6r)."""
    return np.array([[bool(ram[b] >> bit & 1) for b, bit in row] for row in _BRICK_BITS])


def facts(ram: np.ndarray) -> Facts:
    """score, lives, bricks (0-108)."""
    # bytes 76-77 (found): the score's decimal digits; byte 57 (found): lives
    return {
        "score": bcd(*ram[76:78]),
        "lives": int(ram[57]),
        "bricks": int(bricks(ram).sum()),
    }
