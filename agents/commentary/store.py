"""Clips gathered once, kept in a file, and read again: what a commentator learns from.

Pixels are kept as numbers of colours, of which the console has 128, and compressed: a clip of four
screens takes some 5 kB instead of 400. Truths are kept as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.agent import Agent
from agents.atari import resolve_all
from agents.commentary.clips import APART, USUAL, Example, examples
from agents.commentary.games import TABLES
from agents.commentary.table import Statement, Truth
from playground.errors import UserError, listed
from playground.frames import Box
from playground.run import atomic_path

Roster = Sequence[tuple[str, float, bool]]
DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error, zipfile.BadZipFile)


class Known(NamedTuple):
    """What is kept of a clip beside its pixels. `boxes` are those of its last frame, drawn ones."""

    truth: Truth
    boxes: tuple[Box, ...]


class Clips:
    """N clips of one shape. `shape`: (T, H, W) of each; `games` (N,) their short names."""

    def __init__(
        self,
        palette: np.ndarray,
        shape: tuple[int, int, int],
        pixels: Sequence[bytes],
        known: Sequence[bytes],
        games: Sequence[str],
    ) -> None:
        self.palette, self.shape, self.games = palette, shape, tuple(games)
        self._pixels, self._known = list(pixels), list(known)

    def __len__(self) -> int:
        return len(self._pixels)

    def frames(self, index: int) -> np.ndarray:
        """(T, H, W, 3) uint8."""
        numbers = np.frombuffer(zlib.decompress(self._pixels[index]), np.uint8)
        return self.palette[numbers.reshape(self.shape)]

    def known(self, index: int, still: bool = False) -> Known:
        """What is true of it, or of its last frame alone, and where things are."""
        whole = json.loads(zlib.decompress(self._known[index]))
        found = whole["still" if still else "clip"]
        told, also = ([Statement(*fact) for fact in found[key]] for key in ("said", "also"))
        main = frozenset((subject, relation) for subject, relation in found["main"])
        truth = Truth(self.games[index], frozenset(told), frozenset(told + also), main)
        return Known(truth, tuple(Box(*box) for box in whole["boxes"]))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """As arrays of numbers and letters, named `name`_..."""
        found = {"palette": self.palette, "shape": np.array(self.shape)}
        found["games"] = np.array(self.games)
        for part, blobs in (("pixels", self._pixels), ("known", self._known)):
            found[part] = np.frombuffer(b"".join(blobs), np.uint8)
            found[f"{part}_ends"] = np.cumsum([len(blob) for blob in blobs])
        return {f"{name}_{key}": array for key, array in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Any, name: str) -> Clips:
        """What `arrays` gave."""

        def blobs(part: str) -> list[bytes]:
            whole = arrays[f"{name}_{part}"].tobytes()
            ends = arrays[f"{name}_{part}_ends"].tolist()
            return [whole[a:b] for a, b in zip([0, *ends], ends, strict=False)]

        frames, height, width = (int(side) for side in arrays[f"{name}_shape"])
        games = [str(game) for game in arrays[f"{name}_games"]]
        palette = arrays[f"{name}_palette"]
        return cls(palette, (frames, height, width), blobs("pixels"), blobs("known"), games)


def gather(
    names: Sequence[str],
    count: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
    roster: Roster = USUAL,
    processes: int | None = None,
    agents: dict[str, Agent] | None = None,
    apart: int = APART,
    eventful: float = 0.0,
) -> Clips:
    """`count` clips of each game, of emulators of their own; reproducible from the seed.

    processes: how many play at once; None: as many as the machine has cores, and games. roster,
    agents, apart and eventful: see `clips.examples`; with agents of one's own all is played in this
    process. UserError for an unknown game, or one whose captions are not known.
    """
    games = resolve_all(names)
    for game in games:
        if game not in TABLES:
            raise UserError(
                f"No captions are known for {game}; choose from {listed(list(TABLES))}."
            )
    if count < 1:
        raise UserError(f"A number of clips starts at 1, not {count}.")
    say(f"Playing {', '.join(games)} for {count:,} clips each ...")
    jobs = [(game, count, seed, tuple(roster), apart, eventful) for game in games]
    processes = min(processes or os.cpu_count() or 1, len(games))
    if processes == 1 or agents is not None:
        parts = [_gather(job, agents) for job in jobs]
    else:
        parts = _at_once(jobs, processes)
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise UserError("These games' screens differ in size: train a captioner for each size.")
    return _joined(parts)


def _at_once(jobs: Sequence[Any], processes: int) -> list[Clips]:
    """What `_gather` gives for each, in processes that end with this one's interruption."""
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        try:
            return list(pool.map(_gather, jobs))
        except BaseException:  # or leaving the block waits for minutes of play
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            raise


def _gather(
    job: tuple[str, int, int, Roster, int, float], agents: dict[str, Agent] | None = None
) -> Clips:
    game, count, seed, roster, apart, eventful = job
    found = examples(game, seed, agents=agents, roster=roster, apart=apart, eventful=eventful)
    return pack(islice(found, count))


def pack(found: Iterator[Example]) -> Clips:
    """Examples of one shape, compressed. ValueError where there are more than 256 colours."""
    colours: dict[int, int] = {}
    pixels, known, games = [], [], []
    shape = (0, 0, 0)
    for example in found:
        shape = example.frames.shape[:3]
        wide = example.frames.astype(np.int32)
        codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        own, places = np.unique(codes, return_inverse=True)
        numbers = np.array([colours.setdefault(int(code), len(colours)) for code in own])
        if len(colours) > 256:
            raise ValueError("a console has no more than 256 colours")
        pixels.append(zlib.compress(numbers[places].astype(np.uint8).tobytes(), 6))
        known.append(zlib.compress(json.dumps(_plain(example)).encode()))
        games.append(example.game)
    palette = np.array([[c >> 16, c >> 8 & 255, c & 255] for c in colours], np.uint8)
    return Clips(palette, shape, pixels, known, games)


def _plain(example: Example) -> dict[str, Any]:
    now = example.moments[-1]
    return {
        "clip": _told(example.truth),
        "still": _told(example.still().truth),
        "boxes": [
            [box.name, box.x, box.y, box.width, box.height]
            for box in now.boxes
            if box not in now.hidden
        ],
    }


def _told(truth: Truth) -> dict[str, Any]:
    def facts(statements: frozenset[Statement]) -> list[list[str | int]]:
        rows = [[s.subject, s.relation, s.value] for s in statements]
        return sorted(rows, key=lambda row: (row[0], row[1], str(row[2])))

    also = truth.tolerated - truth.said
    return {"said": facts(truth.said), "also": facts(also), "main": sorted(truth.main)}


def _joined(parts: Sequence[Clips]) -> Clips:
    """All clips, over one palette; in turn from each part, so that any beginning has all games."""
    palette = np.unique(np.concatenate([part.palette for part in parts]), axis=0)
    if len(palette) > 256:
        raise ValueError("a console has no more than 256 colours")
    index = {tuple(colour): number for number, colour in enumerate(palette.tolist())}
    tables = [
        np.array([index[tuple(c)] for c in part.palette.tolist()], np.uint8) for part in parts
    ]
    pixels, known, games = [], [], []
    for place in range(max(map(len, parts))):
        for part, table in zip(parts, tables, strict=True):
            if place < len(part):
                numbers = np.frombuffer(zlib.decompress(part._pixels[place]), np.uint8)
                pixels.append(zlib.compress(table[numbers].tobytes(), 6))
                known.append(part._known[place])
                games.append(part.games[place])
    return Clips(palette, parts[0].shape, pixels, known, games)


def save(path: Path, **parts: Clips) -> None:
    """Keep named sets of clips in one .npz file."""
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        arrays |= part.arrays(name)
    with atomic_path(path) as aside:
        np.savez(aside, allow_pickle=False, **arrays)


def read(path: Path, *names: str) -> list[Clips]:
    """What `save` kept under these names; UserError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = [Clips.from_arrays(file, name) for name in names]
            for part in found:
                part.frames(0), part.known(0)
            return found
    except DAMAGED as error:
        raise UserError(f"{path} does not hold the clips of a training ({error}).") from error
