"""What captioners of games say that is true: on seeds, and of agents, that no training saw.

    python scripts/benchmarks/caption_games.py runs/caption/{nic,attend,best} --out games.json
    python scripts/benchmarks/caption_games.py zoo:games --agents runs/dqn/breakout --speed

Clips are played anew: by the players that trainings learn from (at random, wanderers, and the
zoo's agents), on other seeds; by chasers, who are in no training; and where --agents names some, by
these. Those of an emulator are 60 agent steps apart on average. Each captioner describes and
comments on every clip, and on the last frames of the chasers' clips as single pictures, of which
nothing that moves is known; `agents.commentary` parses what it says back into facts and holds them
against the console's memory.

true: of the stated facts; unnamed: of these but for the game's name. mentioned: of the main facts,
in descriptions. game: named rightly. looked: of the words that name a thing on the screen, those
whose attention peaks at a cell that it touches, or next to it; nic, which has no attention, has
none. strange: captions with words that state nothing. told: of the clips in which a figure changes
(a point, a lost life), those whose caption tells so; "events" are clips that waited for that, by
the players of trainings. Intervals are 95 %, from bootstraps over
clips. The games are those that all of the captioners learned, unless --games says otherwise.

--speed times captions one clip at a time with a beam of 3, on --threads cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.agent import load as load_agent
from agents.commentary import FAR_APART, GAMES, STRANGERS, USUAL
from agents.commentary.store import Clips, Roster, gather
from generators.captioner import Captioner, load
from playground.errors import UserError
from playground.run import device_name, write_json
from scripts.game_captions import REGISTERS, GamePairs, Tally, count

SEED = 5_000_011  # neither a training's nor its held-out clips'
EPSILONS = (0.02, 0.1, 0.3)  # of --agents
RESAMPLES = 1000
KEYS = {
    **{"true": ("true", "stated"), "unnamed": ("unnamed_true", "unnamed")},
    **{"mentioned": ("mentioned", "main"), "game": ("rightly", "named")},
    **{"looked": ("found", "places"), "strange": ("strange", "captions")},
    "told": ("told", "news"),
}
WORST = 12  # captions of a register listed with what is false in them


def players(args: argparse.Namespace, games: list[str]) -> dict[str, Clips]:
    """Clips by who plays."""

    def played(who: list[str], seed: int, roster: Roster, **options: Any) -> Clips:
        return gather(who, args.clips, SEED + seed, print, roster, apart=FAR_APART, **options)

    found = {
        "usual": played(games, 0, USUAL, processes=args.processes),
        "chasers": played(games, 1, STRANGERS, processes=args.processes),
        "events": played(games, 3, USUAL, processes=args.processes, eventful=1.0),
    }
    agents = [load_agent(source) for source in args.agents or ()]
    named = {agent.game: agent for agent in agents if agent.game in games}
    if named:
        roster = [("agent", epsilon, False) for epsilon in EPSILONS]
        found["strangers"] = played(list(named), 2, roster, processes=1, agents=named)
    return found


def measured(
    captioner: Captioner, clips: Clips, beam: int, still: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Figures of a captioner by register, on all clips and by game; each register's worst captions.

    still: on the last frame of each clip alone.
    """
    pairs = GamePairs(clips, stills=float(still))
    indices = range(len(pairs))[-len(clips) :]
    figures: dict[str, Any] = {}
    worst: list[str] = []
    for register in REGISTERS:
        tallies: list[Tally] = []
        wrong: list[tuple[int, str]] = []
        for index in indices:
            seen = pairs.read(torch.tensor([index]))[0].permute(0, 2, 3, 1).numpy()
            (caption,) = captioner.look(seen, register, beam)
            tally = count(pairs, [index], [caption])
            if captioner.plan.decoder == "nic":
                tally.places = 0
            tallies.append(tally)
            if tally.false:
                false = "; ".join(f"{s.subject} {s.relation} {s.value}" for s in tally.wrong[0])
                wrong.append((tally.false, f"{caption.text} [false: {false}]"))
        figures[register] = shares(tallies)
        figures[f"{register} by game"] = {
            game: shares([t for t, g in zip(tallies, clips.games, strict=True) if g == game])
            for game in sorted(set(clips.games))
        }
        wrong.sort(key=lambda found: -found[0])
        worst += [text for _, text in wrong[:WORST]]
    return figures, worst


def shares(tallies: list[Tally]) -> dict[str, tuple[float, float, float]]:
    """Each share in percent with its 95 % interval over clips."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(tallies), size=(RESAMPLES, len(tallies)))
    found = {}
    for key, (part, whole) in KEYS.items():
        counts = np.array([(getattr(t, part), getattr(t, whole)) for t in tallies])
        if not counts[:, 1].sum():
            continue
        sums = counts[draws].sum(1)
        sums = sums[sums[:, 1] > 0]
        ratios = 100 * sums[:, 0] / sums[:, 1]
        low, high = np.percentile(ratios, [2.5, 97.5])
        found[key] = (100 * counts[:, 0].sum() / counts[:, 1].sum(), float(low), float(high))
    return found


def captions_a_second(captioner: Captioner, clips: Clips, register: str, count: int = 30) -> float:
    """One clip at a time, beam 3; the median of `count`."""
    seconds = []
    for index in range(min(count, len(clips))):
        seen = clips.frames(index)
        start = time.perf_counter()
        captioner.caption(seen, register, 3)
        seconds.append(time.perf_counter() - start)
    return 1 / median(seconds)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("captioners", nargs="+", metavar="SOURCE", help="runs, files or zoo:NAME")
    add("--games", help="by comma (default: those that all captioners learned)")
    add("--clips", type=int, default=60, help="of each game and kind of player (60)")
    add("--agents", nargs="*", metavar="SOURCE", help="agents that no training saw")
    add("--beam", type=int, default=3, help="width of the search (3)")
    add("--speed", action="store_true", help="captions a second too")
    add("--threads", type=int, default=2, help="PyTorch's (2)")
    add("--processes", type=int, default=os.cpu_count(), help="that play at once (all cores)")
    add("--out", type=Path, metavar="FILE", help="all figures, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    captioners = {source: load(source) for source in args.captioners}
    learned = [captioner.games or GAMES for captioner in captioners.values()]
    common = [game for game in GAMES if all(game in games for games in learned)]
    played = players(args, args.games.split(",") if args.games else common)
    pictures = ("pictures", played["chasers"], True)
    results: dict[str, Any] = {"device": device_name(), "clips": args.clips, "beam": args.beam}
    for source, captioner in captioners.items():
        results[source] = {"plan": captioner.plan.decoder, "card": captioner.card}
        for who, clips, still in [*((k, v, False) for k, v in played.items()), pictures]:
            figures, worst = measured(captioner, clips, args.beam, still)
            results[source][who] = {**figures, "worst": worst}
            for register in REGISTERS:
                cells = "  ".join(
                    f"{key} {value:6.2f} ({low:.1f} to {high:.1f})"
                    for key, (value, low, high) in figures[register].items()
                )
                print(f"{source:24} {who:9} {register:8} {cells}", flush=True)
        if args.speed:
            for register in REGISTERS:
                rate = captions_a_second(captioner, played["chasers"], register)
                results[source][f"{register}s a second"] = rate
                print(f"{source:24} {rate:.1f} {register}s a second, {args.threads} threads")
    if args.out:
        write_json(args.out, json.loads(json.dumps(results)))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
