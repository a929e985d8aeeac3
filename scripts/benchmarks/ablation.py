"""What each ingredient bought here: trained with all of six, and without each one of them.

    python scripts/benchmarks/ablation.py --runs DIR --steps 200000 [--seeds 3] [--threads 1]
    python scripts/benchmarks/ablation.py --runs DIR --report [--known FILE]

Pong and Breakout. The whole is the preset "laptop" with what its size can carry of the newer
ingredients: implicit quantiles with Munchausen, 3-step returns, prioritised replay, a dueling head,
LayerNorm. Each arm leaves one out; "laptop" itself is an arm, too, for what the newer ones add
together. Each cell (arm, game, seed) is one `play.py train dqn`, --jobs of them at a time, its
command is printed; what is done is not trained again, and an interrupted one goes on where it was
saved, so that the same command is repeated until nothing is left. With --hours it ends after so
many, cells being interrupted where they stand. With --known FILE, an ablation.json of before, cells
whose scores stand there are not trained here, even where their runs are gone: so machines of
several kinds share the work. Those of one game and seed, which are compared with each other, are
trained in one precision: that of those that are there, --precision where there is none yet.

The score of a cell is the mean of its last 100 training games (--score evaluation: its last
evaluation). In the end a table on stdout, and ablation.json in --runs: both scores of each cell,
the known ones too, with its precision and commit; and of the table each game's mean over seeds;
human-normalised means over games with a stratified bootstrap's 95 % interval; for each arm the
probability that the whole beats it on a game drawn at random, with its interval
(`agents.statistics`). Three seeds make wide intervals: one that holds 0.5 shows nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.atari import resolve
from agents.statistics import aggregates, improvement, normalised
from playground.device import FABRIC_PRECISION
from playground.errors import UserError
from playground.run import Run, read_json, write_json
from scripts.sweep_queue import Job, Sweep, is_done

PLAY = Path(__file__).parents[1] / "play.py"
WHOLE = "--distribution iqn --quantiles 8 --munchausen 0.9"  # beside the preset "laptop"
ARMS: dict[str, str] = {  # name -> flags, of which the last ones count
    "all": WHOLE,
    "no quantiles": f"{WHOLE} --distribution none",
    "no Munchausen": f"{WHOLE} --munchausen 0",
    "no n-step": f"{WHOLE} --n-step 1",
    "no priorities": f"{WHOLE} --priority 0",
    "no dueling": f"{WHOLE} --no-dueling",
    "no LayerNorm": f"{WHOLE} --no-layer-norm",
    "laptop": "",
}
SCORES = {"training": "return", "evaluation": "evaluate/score"}
RESULT = (*SCORES, "precision", "commit")  # what is kept of a cell


class Cell(NamedTuple):
    """One training."""

    arm: str
    game: str
    seed: int

    def folder(self, runs: Path) -> Path:
        """Of its run."""
        arm = self.arm.lower().replace(" ", "-")
        return runs / "dqn" / f"{arm}-{self.game}-s{self.seed}"


def main() -> int:
    """Train what is missing, as far as the time goes, then tell what is there."""
    args = arguments()
    try:
        games = [resolve(game) for game in args.games.split(",")]
        arms = chosen(args.arms)
        if args.jobs < 1:
            raise UserError("--jobs must be at least 1.")
        known = read_known(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    cells = [Cell(arm, game, seed) for seed in range(args.seeds) for game in games for arm in arms]
    ended = True
    if not args.report:
        ended = train([cell for cell in cells if cell not in known], args, known)
    told = report(cells, args, known)
    if told:
        print(told)
    return 0 if ended else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--runs", type=Path, default=Path("runs/ablation"), metavar="DIR", help="of all runs")
    add("--steps", type=int, default=200_000, help="agent steps of each training (200000)")
    add("--seeds", type=int, default=3, help="seeds of each arm and game, from 0 (3)")
    add("--games", default="pong,breakout", help="(pong,breakout)")
    add("--arms", default=",".join(ARMS), help="which arms (all)")
    add("--protocol", default="machado", help="rules of training (machado)")
    text = "of games and seeds of which nothing is trained yet (fp32)"
    add("--precision", choices=tuple(FABRIC_PRECISION), default="fp32", help=text)
    add("--threads", type=int, help="CPU threads of a training (PyTorch's choice)")
    add("--jobs", type=int, default=1, help="trainings at a time (1)")
    add("--hours", type=float, help="end after so many, to go on by the same command")
    add("--flags", default="", help="more flags for every training, in one word")
    add("--score", choices=tuple(SCORES), default="training", help="what is compared (training)")
    add("--known", type=Path, metavar="FILE", help="an ablation.json of before: scores to keep")
    add("--report", action="store_true", help="train nothing, tell what is there")
    return parser.parse_args()


def chosen(names: str) -> list[str]:
    """The arms of these names. UserError for one that there is not."""
    arms = [name.strip() for name in names.split(",")]
    for arm in arms:
        if arm not in ARMS:
            raise UserError(f"There is no arm {arm!r}; there are {', '.join(ARMS)}.")
    return arms


def read_known(args: argparse.Namespace) -> dict[Cell, dict[str, Any]]:
    """`RESULT` of the cells in --known. UserError for one that was made otherwise."""
    if args.known is None:
        return {}
    saved = read_json(args.known)
    for name, value in conditions(args).items():
        if saved.get(name) != value:
            raise UserError(f"{args.known} is of {name} {saved.get(name)!r}, not {value!r}.")
    if not all({*RESULT} <= row.keys() for row in saved["cells"]):
        raise UserError(f"{args.known} was written before both scores were kept: train it anew.")
    return {
        Cell(row["arm"], row["game"], row["seed"]): {k: row[k] for k in RESULT}
        for row in saved["cells"]
    }


def conditions(args: argparse.Namespace) -> dict[str, Any]:
    """What scores must have in common to be compared."""
    return {name: getattr(args, name) for name in ("steps", "protocol", "flags")}


def precision(cell: Cell, args: argparse.Namespace, known: dict[Cell, dict[str, Any]]) -> str:
    """Its own where it has begun, or that of the first arm of its game and seed that has."""
    for arm in (cell.arm, *ARMS):
        other = cell._replace(arm=arm)
        if other in known:
            return str(known[other]["precision"])
        if is_there(other.folder(args.runs)):
            return str(Run.open(other.folder(args.runs)).settings["trainer"]["precision"])
    return str(args.precision)


def is_there(folder: Path) -> bool:
    """Whether a training has begun there."""
    return (folder / "config.json").exists()


def train(cells: list[Cell], args: argparse.Namespace, known: dict[Cell, dict[str, Any]]) -> bool:
    """Train what is not done yet; whether all of them are done then."""
    waiting = {
        cell.folder(args.runs).name: cell
        for cell in cells
        if not is_done(cell.folder(args.runs), args.steps)
    }

    def command(job: Job) -> list[str]:
        cell = waiting[job.name]
        words = command_of(cell, args, precision(cell, args, known))
        words += [] if job.hours is None else ["--hours", f"{job.hours:.4f}"]
        print(" ".join(words), flush=True)
        return words

    jobs = [
        Job(name, cell.game, cell.seed, cell.folder(args.runs)) for name, cell in waiting.items()
    ]
    logs = args.runs / "logs"
    Sweep(jobs, command, args.jobs, args.hours, args.steps, logs, in_turn=True).run()
    for job in jobs:
        if job.state == "failed":
            print(f"{job.path}: {job.said} (all that it said is in {logs}).", file=sys.stderr)
    return all(job.state == "finished" for job in jobs)


def command_of(cell: Cell, args: argparse.Namespace, precision: str) -> list[str]:
    """What trains a cell, or goes on with it."""
    folder = cell.folder(args.runs)
    computed = ["--precision", precision]
    computed += ["--threads", str(args.threads)] if args.threads else []
    start = [sys.executable, str(PLAY), "train", "dqn"]
    if is_there(folder):
        return [*start, "--resume", str(folder), "--steps", str(args.steps), *computed]
    return [
        *start, "--preset", "laptop", "--game", cell.game, "--protocol", args.protocol,
        "--seed", str(cell.seed), "--steps", str(args.steps), "--runs", str(args.runs),
        "--name", folder.name, *ARMS[cell.arm].split(), *args.flags.split(), *computed,
    ]  # fmt: skip


def trained(cells: list[Cell], args: argparse.Namespace) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """`RESULT` of each cell that has its steps in --runs."""
    for cell in cells:
        folder = cell.folder(args.runs)
        if not is_done(folder, args.steps):
            continue
        run = Run.open(folder)
        lines = run.metrics()[::-1]
        last = {
            kind: next((line[name] for line in lines if name in line), None)
            for kind, name in SCORES.items()
        }
        settings = run.settings
        about = {"precision": settings["trainer"]["precision"], "commit": settings.get("commit")}
        yield cell, {**last, **about}


def report(
    cells: list[Cell], args: argparse.Namespace, known: dict[Cell, dict[str, Any]] | None = None
) -> str:
    """The table, also into ablation.json; "" where there is nothing to tell yet."""
    there = {**(known or {}), **dict(trained(cells, args))}
    found = {
        cell: there[cell] for cell in cells if cell in there and there[cell][args.score] is not None
    }
    by_arm: dict[str, dict[str, list[float]]] = {}
    for cell, result in found.items():
        by_arm.setdefault(cell.arm, {}).setdefault(cell.game, []).append(result[args.score])
    if not by_arm:
        return ""
    games = list(dict.fromkeys(cell.game for cell in cells))
    rows = [figures(arm, by_arm, games) for arm in by_arm]
    columns = ["arm", *games, "human-normalised mean", "all beats it"]
    lines = [columns, ["---"] * len(columns)]
    lines += [
        [
            row["arm"],
            *(told_scores(row["scores"].get(game, [])) for game in games),
            told(row["mean"]),
            told(row["all_beats_it"]),
        ]
        for row in rows
    ]
    write_json(
        args.runs / "ablation.json",
        {
            **conditions(args),
            "score": args.score,
            "cells": [{**cell._asdict(), **result} for cell, result in there.items()],
            "rows": rows,
        },
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{len(found)} of {len(cells)} trainings, {args.steps:,} agent steps each\n\n{table}"


def figures(
    arm: str, by_arm: dict[str, dict[str, list[float]]], games: list[str]
) -> dict[str, Any]:
    """A row: an arm's scores, their mean over games, and how it stands to the whole."""
    mine, whole = normalised(by_arm[arm]), normalised(by_arm.get("all", {}))
    shared = [game for game in games if game in mine and game in whole]
    row: dict[str, Any] = {"arm": arm, "scores": by_arm[arm], "mean": None, "all_beats_it": None}
    if mine:
        row["mean"] = vars(aggregates(list(mine.values()))["mean"])
    if shared and arm != "all":
        against = improvement([whole[game] for game in shared], [mine[game] for game in shared])
        row["all_beats_it"] = vars(against)
    return row


def told_scores(scores: list[float]) -> str:
    """The mean over seeds, and each seed's."""
    each = ", ".join(f"{score:.1f}" for score in scores)
    return f"{np.mean(scores):.1f} ({each})" if scores else ""


def told(estimate: dict[str, float | None] | None) -> str:
    """A figure with its interval, where it has one."""
    if estimate is None:
        return ""
    value = f"{estimate['value']:.3f}"
    if estimate["low"] is None:
        return value
    return f"{value} ({estimate['low']:.3f} to {estimate['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
