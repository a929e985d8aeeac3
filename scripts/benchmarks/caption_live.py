"""Whether the commentator tells what happens, and how long what it says stays true on the screen.

    python scripts/benchmarks/caption_live.py zoo:games [--seconds 60]

The zoo's agents play, the commentator watches as in `play.py watch --captions --record`, and
`agents.commentary` holds each sentence against the console's memory: when it was said, and every
twelfth of a second for as long as it stands. What tells of a change (a point, a bounce, what has
just come) is news: it is true where it happened within 0.7 seconds before it was said, for which it
may have had to wait, and stays true. All else tells how things stand.

said: of all stated facts, those that were true when they were said. news: of the sentences that
come upon points or a lost life, those that truly tell of a change. standing: of the time that a
fact which tells how things stand is on the screen, the share in which it is true. stale: of the
sentences, those of which something was true when it was said and false for half of its time or
more. shown: of the time, the share with a sentence. a minute: sentences. seconds: that one stands,
on average. other: of the sentences, those that differ from the three before. Intervals are 95 %,
from bootstraps over sentences.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

# So that this checkout's rooms are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.commentary import FRAMES, SPACING, TABLES, Moment, Statement, Truth, moment, parse
from agents.commentary.facts import boxes_of, statements
from agents.players import zoo_agents
from agents.screen import watch
from generators.captioner import load
from generators.commentator import FPS, LATE_S, SETTLE_S, Commentator
from playground.errors import UserError
from playground.frames import Box, Frame
from playground.run import device_name, write_json
from scripts.benchmarks.measuring import run
from scripts.game_captions import changes, news_of

SEED = 5_000_011  # of the emulators: neither a training's nor its held-out clips'
EVERY = 5  # frames from one look at a standing sentence to the next
LENGTH = (FRAMES - 1) * SPACING + 1  # frames of a clip
STATES = {"is", "count", "row", "column", "x motion", "y motion"}  # relations of how things stand
UPON = round((SETTLE_S + LATE_S) * FPS)  # frames after an event in which it may be told
RESAMPLES = 1000


@dataclass
class Line:
    """A sentence on the screen.

    true: of its facts, when it was said. upon: whether something had just happened. stood: by fact,
    whether it was true at each look.
    """

    text: str
    facts: frozenset[Statement]
    true: frozenset[Statement]
    upon: bool
    frames: int = 0
    stood: dict[Statement, list[bool]] = field(default_factory=dict)


class Past:
    """The last frames of a game, and what is true of clips that ended in the last moment."""

    def __init__(self, game: str) -> None:
        self._table = TABLES[game]
        self._moments: deque[Moment] = deque(maxlen=LENGTH + UPON)
        self._boxes: deque[tuple[Box, ...]] = deque(maxlen=LENGTH + UPON)
        self._episode: Any = None

    def see(self, frame: Frame) -> None:
        if frame.facts["episode"] != self._episode:
            self._episode = frame.facts["episode"]
            self._moments.clear()
            self._boxes.clear()
        self._moments.append(moment(self._table, frame.facts["ram"], frame.pixels))
        self._boxes.append(boxes_of(self._table, frame.facts["ram"]))

    def truth(self, ago: int = 0) -> Truth | None:
        """Of the clip that ended so many frames ago; None before there is one."""
        end = len(self._moments) - ago
        if end < LENGTH:
            return None
        clip = list(self._moments)[end - LENGTH : end]
        boxes = list(self._boxes)[end - LENGTH : end]
        return statements(self._table, clip[::SPACING], SPACING, boxes)

    def true(self, facts: frozenset[Statement]) -> frozenset[Statement]:
        """Those that are true now, and of what happens, those that were within the last moment."""
        truths = [truth for ago in range(0, UPON + 1, 3) if (truth := self.truth(ago))]
        known = [truth.tolerated for truth in truths]
        return frozenset(
            fact
            for fact in facts
            if any(fact in each for each in known[: 1 if is_state(fact) else None])
        )


def is_state(fact: Statement) -> bool:
    """Whether it tells how things stand, so that it may be true now and false in a second."""
    relation = fact.relation
    return relation in STATES or " from " in relation or relation.startswith("distance to")


def heard(comment: Commentator, agent: Any, game: str, seconds: float) -> tuple[list[Line], float]:
    """The sentences of a game, and the share of the time in which one stood."""
    past, lines, shown = Past(game), list[Line](), 0
    frames = int(seconds * FPS)
    before, lives, since = "", None, UPON
    for frame in islice(watch(agent, game, "machado", SEED, epsilon=0.0), frames):
        past.see(frame)
        happened = frame.facts["reward"] or (lives or 0) > (frame.facts["lives"] or 0)
        lives, since = frame.facts["lives"], 0 if happened else since + 1
        text = comment.see(frame).facts["caption"]
        if text and text != before:
            facts = parse(text).statements
            lines.append(Line(text, facts, past.true(facts), since <= UPON))
        before = text
        if not text:
            continue
        shown += 1
        line = lines[-1]
        if line.frames % EVERY == 0 and (truth := past.truth()) is not None:
            for fact in filter(is_state, line.facts):
                line.stood.setdefault(fact, []).append(fact in truth.tolerated)
        line.frames += 1
    return lines, shown / frames


def is_stale(line: Line) -> bool:
    """Whether something of it was true at first, and false for half of its time or more."""
    return any(
        fact in line.true and sum(looks) <= len(looks) / 2 for fact, looks in line.stood.items()
    )


def figures(films: list[list[Line]]) -> dict[str, tuple[float, float, float]]:
    """Each share in percent, seconds as they are, with the 95 % interval over sentences."""
    lines = [line for film in films for line in film]
    others = [
        all(line.text != earlier.text for earlier in film[max(i - 3, 0) : i])
        for film in films
        for i, line in enumerate(film)
    ]
    parts = np.array(
        [
            (
                (len(line.true), len(line.facts)),
                (line.upon and changes(line.true), line.upon),
                (sum(map(sum, line.stood.values())), sum(map(len, line.stood.values()))),
                (is_stale(line), 1),
                (line.frames / FPS / 100, 1),
                (other, 1),
            )
            for line, other in zip(lines, others, strict=True)
        ],
        float,
    )  # (lines, figures, 2)
    draws = np.random.default_rng(0).integers(len(lines), size=(RESAMPLES, len(lines)))
    found = {}
    for i, name in enumerate(("said", "news", "standing", "stale", "seconds", "other")):
        top, bottom = parts[:, i].T
        shares = 100 * top[draws].sum(1) / np.maximum(bottom[draws].sum(1), 1)
        low, high = np.percentile(shares, [2.5, 97.5])
        found[name] = (100 * top.sum() / max(bottom.sum(), 1), float(low), float(high))
    return found


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("captioner", metavar="SOURCE", help="a run, a file or zoo:NAME")
    add("--games", help="by comma (default: those of the zoo that it learned)")
    add("--seconds", type=float, default=60.0, help="of play of each game (60)")
    add("--threads", type=int, default=1, help="PyTorch's (1)")
    add("--out", type=Path, metavar="FILE", help="all figures and sentences, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    captioner, agents = load(args.captioner), zoo_agents()
    known = [game for game in captioner.games if game in agents and game in TABLES]
    games = args.games.split(",") if args.games else known
    if not games or args.seconds <= 0:
        raise UserError("Name a captioner of the zoo's games, and seconds above 0.")
    films, results = [], dict[str, Any]()
    for game in games:
        if game not in known:
            raise UserError(f"The captioner does not know {game}, or the zoo has no agent of it.")
        lines, shown = heard(
            Commentator(captioner, news=news_of(captioner)), agents[game], game, args.seconds
        )
        if not lines:
            raise UserError(f"{args.seconds:g} seconds of {game} are too short for a sentence.")
        films.append(lines)
        results[game] = {
            "shown": 100 * shown,
            "a minute": 60 * len(lines) / args.seconds,
            **figures([lines]),
            "lines": [
                {
                    **{"text": line.text, "seconds": line.frames / FPS, "upon": line.upon},
                    **{"true": len(line.true) == len(line.facts), "stale": is_stale(line)},
                    "news": changes(line.facts),
                }
                for line in lines
            ],
        }
        tell(game, results[game])
    results["all"] = {
        **{key: float(np.mean([results[g][key] for g in games])) for key in ("shown", "a minute")},
        **figures(films),
    }
    tell("all", results["all"])
    if args.out:
        about = {"device": device_name(), "captioner": args.captioner, "seconds": args.seconds}
        write_json(args.out, {**about, **results})
    return 0


def tell(name: str, row: dict[str, Any]) -> None:
    """A line of figures."""
    cells = [
        f"{key} {value[0]:.1f} ({value[1]:.1f} to {value[2]:.1f})"
        for key, value in row.items()
        if isinstance(value, tuple)
    ]
    told = [f"shown {row['shown']:.1f}", f"a minute {row['a minute']:.1f}", *cells]
    print(f"{name:14} {'  '.join(told)}", flush=True)


if __name__ == "__main__":
    run(main)
