"""Labelled pictures of games, for whatever learns to see or to draw them: one class a game.

Screens come from `agents.arcade.play`: half of a game's emulators are played by the zoo's agent, if
it has one, the others at random; pictures that were there already are left out. What was gathered
can be kept in a file and read again, so that a training that goes on sees the same pictures.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from agents.arcade import play
from agents.atari import resolve_all
from agents.players import seats, zoo_agents
from playground.data import Pictures, to_stderr
from playground.errors import UserError
from playground.run import atomic_path

PLAYERS = 8  # emulators of a game
TRIES = 6  # screens looked at for each picture kept, at most
HELD_OUT = 1 / 5  # so many again, from emulators of their own;
ENOUGH = 400  # of few as many again, up to so many, as shares of a hundred are coarse,
LEAST_HELD_OUT = 64  # and of each game so many at least: figures need them
HELD_OUT_SEED = 2_000_003  # more than a training's
BATCH = 200  # screens resized together


def game_pictures(
    names: Sequence[str],
    size: int,
    count: int,
    seed: int = 0,
    say: Callable[[str], None] = to_stderr,
) -> tuple[Pictures, Pictures]:
    """`count` different pictures of each game, (size, size) in RGB; and held-out ones.

    The whole screen is resized (antialiased), so its sides of 160 and 210 pixels become equal, near
    to what a television made of them. A game that shows fewer different screens gives fewer, and
    that is said. No held-out picture equals one of the others. UserError for an unknown game.
    """
    games = resolve_all(names)
    if count < 1:
        raise UserError(f"--frames starts at 1, not {count}.")
    held_out = max(LEAST_HELD_OUT, min(count, ENOUGH), round(count * HELD_OUT))
    say(f"Playing {', '.join(games)} for {count:,} pictures each ...")
    learned, seen = _gather(games, size, count, seed, frozenset(), say)
    return learned, _gather(games, size, held_out, seed + HELD_OUT_SEED, seen, say)[0]


def _gather(
    games: Sequence[str],
    size: int,
    count: int,
    seed: int,
    others: Set[int],
    say: Callable[[str], None],
) -> tuple[Pictures, Set[int]]:
    """The pictures and their checksums, none of which is among `others`."""
    agents = zoo_agents()
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    seen: set[int] = set()
    for label, game in enumerate(games):
        players = [play(game, *seat) for seat in seats(seed, label, PLAYERS, agents.get(game))]
        found: dict[int, np.ndarray] = {}  # by the pixels' checksum
        for start in range(0, count * TRIES, BATCH):
            screens = [next(players[(start + i) % PLAYERS]).pixels for i in range(BATCH)]
            for picture in _resized(np.stack(screens), size):
                checksum = zlib.crc32(picture.tobytes())
                if len(found) < count and checksum not in others:
                    found.setdefault(checksum, picture)
            if len(found) == count:
                break
        else:
            if not found:
                raise UserError(f"{game} shows no two different pictures: leave it out of --data.")
            say(f"{game} showed {len(found):,} different pictures only.")
        pixels += found.values()
        labels += [label] * len(found)
        seen |= found.keys()
    return Pictures(torch.from_numpy(np.stack(pixels)), torch.tensor(labels), games), seen


def _resized(screens: np.ndarray, size: int) -> np.ndarray:
    """(B, H, W, 3) uint8 -> (B, 3, size, size) uint8."""
    x = torch.from_numpy(screens).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return x.round_().clamp_(0, 255).to(torch.uint8).numpy()


def save(path: Path, parts: Sequence[Pictures]) -> None:
    """Keep sets of pictures of the same classes in one .npz file, compressed."""
    arrays = {"classes": np.array(parts[0].classes)}
    for i, part in enumerate(parts):
        arrays[f"pixels_{i}"] = part.read(torch.arange(len(part))).numpy()
        arrays[f"labels_{i}"] = part.labels.numpy()
    with atomic_path(path) as aside:
        np.savez_compressed(aside, allow_pickle=False, **arrays)


def read(path: Path) -> list[Pictures]:
    """What `save` kept; UserError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            classes = [str(name) for name in file["classes"]]
            return [
                Pictures(
                    torch.from_numpy(file[f"pixels_{i}"]),
                    torch.from_numpy(file[f"labels_{i}"]),
                    classes,
                )
                for i in range(sum(key.startswith("pixels_") for key in file.files))
            ]
    except (OSError, EOFError, ValueError, LookupError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} does not hold the pictures of a training ({error}).") from error
