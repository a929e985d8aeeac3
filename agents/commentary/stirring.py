"""Figures that play reaches late, written into the console's memory at any time.

Random players and young agents see low scores only, and a captioner that learned from them alone
could not read others. A stirred emulator gets figures drawn at random: the game goes on with them
and draws them as its own, so what is told from memory stays true of the picture. Bytes as in
`agents.ram_games`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agents.screen import Screen

Bytes = dict[int, int]  # address -> value


def stir(screen: Screen, rng: np.random.Generator) -> None:
    """Other figures; nothing for games where none are known."""
    stirring = STIRRINGS.get(screen.game)
    if stirring is not None:
        for address, value in stirring(screen.ram, rng).items():
            screen.poke(address, value)


def _digits(rng: np.random.Generator, *addresses: int, most: int) -> Bytes:
    """A number up to `most`, of one to all digits alike often, two digits a byte, highest first."""
    count = int(rng.integers(1, len(str(most)) + 1))
    number = int(rng.integers(min(10**count, most + 1)))
    found = {}
    for address in reversed(addresses):
        number, pair = divmod(number, 100)
        found[address] = pair // 10 * 16 + pair % 10
    return found


def _beam_rider(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    found = _digits(rng, 11, 10, 9, most=99_999) | _digits(rng, 0, most=20)
    found[0] = max(found[0], 1)
    return found | {5: int(rng.integers(0, 7)), 84: int(rng.integers(1, 16))}


def _boxing(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return _digits(rng, 18, most=98) | _digits(rng, 19, most=98)


# Register of the lowest row of bricks -> its bits that are bricks; see `agents.ram_games.breakout`.
_BRICKS = {30: 0xC0, 24: 0xFF, 18: 0xFF, 12: 0xF0, 6: 0xFF, 0: 0x3F}


def _breakout(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    """Bricks are gone too: up to four neighbours at once."""
    share = rng.random()
    bricks = {
        at + row: int(ram[at + row]) & ~bits
        for at, bits in _BRICKS.items()
        for row in range(6)
        if rng.random() < share
    }
    return _digits(rng, 76, 77, most=799) | {57: int(rng.integers(1, 6))} | bricks


def _demon_attack(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return _digits(rng, 1, 3, 5, most=29_999) | {114: int(rng.integers(0, 7))}


def _enduro(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    found = _digits(rng, 44, 43, most=300) | {45: int(rng.integers(1, 10))}
    return found | {43: found[43] or 1}  # no car left: flags instead of a number


def _freeway(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return _digits(rng, 103, most=33)


def _ms_pacman(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    found = _digits(rng, 122, 121, 120, most=29_999)
    return found | {120: found[120] & 0xF0}  # the last digit is never drawn


def _pong(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return {13: int(rng.integers(21)), 14: int(rng.integers(21))}


def _qbert(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return _digits(rng, 89, 90, 91, most=29_999) | {8: int(rng.integers(0, 3))}


def _seaquest(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    found = _digits(rng, 56, 57, 58, most=49_999)
    return found | {59: int(rng.integers(0, 7)), 62: int(rng.integers(0, 7))}


def _skiing(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    return _digits(rng, 107, most=20)


def _space_invaders(ram: np.ndarray, rng: np.random.Generator) -> Bytes:
    """Invaders are gone too: each byte is a row of six."""
    rows = {at: int(ram[at]) & int(rng.integers(64)) for at in range(18, 24) if rng.random() < 0.5}
    left = sum(int(rows.get(at, ram[at])).bit_count() for at in range(18, 24))
    return _digits(rng, 102, 104, most=2_999) | (rows if left else {})


STIRRINGS: dict[str, Callable[[np.ndarray, np.random.Generator], Bytes]] = {
    "beam_rider": _beam_rider,
    "boxing": _boxing,
    "breakout": _breakout,
    "demon_attack": _demon_attack,
    "enduro": _enduro,
    "freeway": _freeway,
    "ms_pacman": _ms_pacman,
    "pong": _pong,
    "qbert": _qbert,
    "seaquest": _seaquest,
    "skiing": _skiing,
    "space_invaders": _space_invaders,
}
