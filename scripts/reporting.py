"""`report`: what any number of DQN runs reached, as one page and as figures.

Runs that differ in nothing but game and seed are one method. Training returns (exploring, the mean
of the newest 100 games) and evaluations (whole games of the greedy agent) are never mixed, nor are
rules of play: each method has one protocol, and its name says which.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from agents import statistics
from agents.atari import FRAMES_PER_STEP, PROTOCOLS, human_normalised
from agents.evaluation import interval
from agents.references import References, at, read
from playground.errors import UserError, listed
from playground.run import Run
from scripts import report_page
from scripts.progress import counted
from scripts.report_runs import SHORT, Trained, about, mean_curve, methods_of, trained, unfit
from scripts.scoring import dumps

KINDS = ("evaluation", "training")
FRESH = 0.98  # of what is compared: less is told


def add_report(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add = verb.add_argument
    add("run_paths", nargs="*", type=Path, metavar="RUN", help="run directories (default: all)")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--out", type=Path, default=Path("report.html"), metavar="FILE",
        help="the page (default report.html)")  # fmt: skip
    text = "published figures to draw beside: a .csv of scores or curves, or a folder of such files"
    add("--reference", type=Path, metavar="PATH", help=text)
    add("--json", action="store_true", help="all figures as one JSON object")


def run_report(args: argparse.Namespace) -> None:
    """Write the page; print the figures in words or as JSON."""
    paths = args.run_paths or sorted(p.parent for p in (args.runs / "dqn").glob("*/config.json"))
    if not paths:
        raise UserError(f"There is no run in {args.runs / 'dqn'}; name the runs to report on.")
    found = figures(paths, read(args.reference) if args.reference else References())
    report_page.write(found, args.out)
    print(dumps({"page": str(args.out), **found}) if args.json else in_words(found))
    if not args.json:
        print(args.out)


def figures(paths: Sequence[Path], references: References | None = None) -> dict[str, Any]:
    """Everything that a report tells, as plain values.

    Runs that cannot be part of it are left out, and named in `notes`; what lies among them and is
    no run is named on stderr. UserError where none is left, or there is nothing at a path.
    """
    references = references or References()
    notes: list[str] = []
    runs = []
    for path in dict.fromkeys(paths):
        try:
            run = Run.open(path)
        except UserError as error:
            if not os.path.exists(path):
                raise
            print(f"Left out: {error}", file=sys.stderr)
            continue
        if why := unfit(run):
            notes.append(f"{run.name} {why}: left out.")
            continue
        seen = trained(run)
        if seen.training or seen.evaluations:
            runs.append(seen)
        else:
            notes.append(f"{run.name} has logged no game yet: left out.")
    if not runs:
        raise UserError(" ".join(["There is nothing to report on.", *notes]))
    methods = methods_of(runs)
    games = sorted({seen.game for seen in runs})
    tables: list[dict[str, Any]] = []
    curves: dict[str, dict[str, Any]] = {game: {} for game in games}
    for game in games:
        for method, members in methods.items():
            if here := [run for run in members if run.game == game]:
                row = _row(game, method, here, references)
                tables.append(row)
                curves[game][method] = {kind: mean_curve(here, kind) for kind in KINDS}
    published = _published(references, games, max(seen.steps for seen in runs))
    notes += [*_notes(methods), *_notes_beside(methods, published, references)]
    found: dict[str, Any] = {
        "notes": notes,
        "methods": {method: about(members) for method, members in methods.items()},
        "games": {game: [row for row in tables if row["game"] == game] for game in games},
        "curves": curves,
        "published": published,
        "runs": [_run(run, method) for method, members in methods.items() for run in members],
    }
    beside = _beside(methods, tables, references)
    return found | _together(methods, found["notes"]) | {"beside": beside}


def _run(run: Trained, method: str) -> dict[str, Any]:
    best = max(run.evaluations, key=lambda of: of.score, default=None)
    return {
        "path": str(run.path),
        "method": method,
        "game": run.game,
        "seed": run.seed,
        "agent_steps": run.steps,
        "frames": run.steps * FRAMES_PER_STEP,
        "device": run.device,
        "evaluations": len(run.evaluations),
        "last": run.evaluations[-1]._asdict() if run.evaluations else None,
        "best": best and best._asdict(),
        "training_return": run.training[-1][1] if run.training else None,
    }


# ---------------------------------------------------------------- a game


def _row(game: str, method: str, runs: list[Trained], references: References) -> dict[str, Any]:
    """What the runs of a method reached in a game, beside what was published."""
    steps = [run.steps for run in runs]
    evaluated = [run for run in runs if run.evaluations]
    published = {
        name: {"agent_steps": point[0], "training": _score(game, [point[1]])}
        for name, curves in references.curves.items()
        if (point := at(curves.get(game, ()), min(steps)))
    }
    finals = {
        name: {"evaluation": _score(game, [scores[game]])}
        for name, scores in references.finals.items()
        if game in scores
    }
    best = [max(of.score for of in run.evaluations) for run in evaluated]
    row: dict[str, Any] = {
        "game": game,
        "method": method,
        "runs": len(runs),
        "seeds": [run.seed for run in runs],
        "agent_steps": [min(steps), max(steps)],
        "frames": [min(steps) * FRAMES_PER_STEP, max(steps) * FRAMES_PER_STEP],
        "evaluation": _score(game, [run.points("evaluation")[-1][1] for run in evaluated]),
        "best_evaluation": float(np.mean(best)) if best else None,
        "training": _score(game, [run.training[-1][1] for run in runs if run.training]),
        "published": {"at_the_same_steps": published, "final": finals},
    }
    if len(evaluated) == 1 and (last := evaluated[0].evaluations[-1]).low is not None:
        row["evaluation"] |= {"low": last.low, "high": last.high, "interval_over": "games"}
    return row


def _score(game: str, scores: list[float]) -> dict[str, Any] | None:
    """Mean of one score a run, with Student's t interval over runs from two on."""
    if not scores:
        return None
    mean = float(np.mean(scores))
    low, high = interval(np.array(scores)) if len(scores) > 1 else (None, None)
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "interval_over": "runs" if len(scores) > 1 else None,
        "scores": scores,
        "human_normalised": human_normalised(game, mean),
    }


def _published(references: References, games: list[str], steps: int) -> dict[str, Any]:
    """Of these games alone; curves as far as ours reach, and a little further."""
    wanted = 1.25 * steps
    curves = {
        name: {
            game: cut
            for game in games
            if (cut := [point for point in of.get(game, ()) if point[0] <= wanted])
        }
        for name, of in references.curves.items()
    }
    finals = {
        name: {game: of[game] for game in games if game in of}
        for name, of in references.finals.items()
    }
    return {"curves": curves, "finals": finals, "rules": references.rules}


# ---------------------------------------------------------------- all games together


def _together(methods: dict[str, list[Trained]], notes: list[str]) -> dict[str, Any]:
    """Aggregates, profiles and improvement over human-normalised scores."""
    aggregates: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    scores: dict[str, dict[str, np.ndarray]] = {}
    for method, members in methods.items():
        for kind in KINDS:
            by_game: dict[str, list[float]] = {}
            for run in members:
                if points := run.points(kind):
                    by_game.setdefault(run.game, []).append(points[-1][1])
            known = statistics.normalised(by_game)
            if kind == "evaluation":
                scores[method] = known
            if known:
                estimates = statistics.aggregates(list(known.values()))
                aggregates[kind][method] = {
                    "games": list(known),
                    "runs": sum(map(len, known.values())),
                    **{name: asdict(estimate) for name, estimate in estimates.items()},
                }
                single = [game for game, values in known.items() if len(values) == 1]
                if single and kind == "evaluation":
                    notes.append(
                        f"{method}: no interval over seeds for the aggregates, as one run alone "
                        f"was evaluated of {listed(single)}."
                    )
    return {
        "aggregates": aggregates,
        "profiles": _profiles({method: known for method, known in scores.items() if known}),
        "improvement": _improvement(methods, scores),
    }


def _profiles(scores: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Performance profiles of the last evaluations, at thresholds that all share."""
    highest = max((float(max(map(np.max, known.values()))) for known in scores.values()), default=1)
    thresholds = np.linspace(0, max(1.0, highest), 101)
    found = {}
    for method, known in scores.items():
        drawn = statistics.profile(list(known.values()), thresholds)
        found[method] = {
            key: None if value is None else value.tolist() for key, value in vars(drawn).items()
        }
    return found


def _improvement(
    methods: dict[str, list[Trained]], scores: dict[str, dict[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """For each two methods of the same rules, on the games of both."""
    found = []
    for one, other in combinations(methods, 2):
        games = [game for game in scores[one] if game in scores[other]]
        if games and methods[one][0].rules == methods[other][0].rules:
            estimate = statistics.improvement(
                [scores[one][game] for game in games], [scores[other][game] for game in games]
            )
            found.append({"method": one, "over": other, "games": games, **asdict(estimate)})
    return found


def _beside(
    methods: dict[str, list[Trained]], rows: list[dict[str, Any]], references: References
) -> list[dict[str, Any]]:
    """Aggregates of published curves at each method's steps, where they have all of its games and
    its rules.

    Of means over seeds, as no others are published: without an interval.
    """
    found = []
    for method, members in methods.items():
        known = [row for row in rows if row["method"] == method]
        known = [row for row in known if human_normalised(row["game"], 0.0) is not None]
        for name in dict.fromkeys(
            n for row in known for n in row["published"]["at_the_same_steps"]
        ):
            same = {row["game"]: row["published"]["at_the_same_steps"].get(name) for row in known}
            if None not in same.values() and not _otherwise(members, name, references):
                of = [np.array([point["training"]["human_normalised"]]) for point in same.values()]
                found.append({
                    "name": name, "at_the_steps_of": method, "games": list(same),
                    "iqm": statistics.iqm(of), "median": statistics.median(of),
                    "mean": statistics.mean(of), "optimality_gap": statistics.optimality_gap(of),
                })  # fmt: skip
    return found


# ---------------------------------------------------------------- what to know, in words


def _notes(methods: dict[str, list[Trained]]) -> list[str]:
    """What a reader must know before comparing."""
    notes = []
    rules = sorted({run.rules for members in methods.values() for run in members})
    if len(rules) > 1:
        notes.append(
            f"These runs play by different rules ({', '.join(rules)}): each method has one of "
            "them, and scores compare only under the same."
        )
    for game in sorted({run.game for members in methods.values() for run in members}):
        if human_normalised(game, 0.0) is None:
            notes.append(f"{game} has no published human score: not in the aggregates.")
    for method, members in methods.items():
        if bare := [run.path.name for run in members if not run.evaluations]:
            verb = "has" if len(bare) == 1 else "have"
            notes.append(f"{listed(bare)} {verb} no evaluation yet: training returns alone count.")
        for run in members:
            last = run.evaluations[-1].step if run.evaluations else run.steps
            if last < FRESH * run.steps:
                notes.append(
                    f"{run.path.name} has {run.steps:,} agent steps, and was last evaluated after "
                    f"{last:,}: its score is of then."
                )
        for game in sorted({run.game for run in members}):
            here = [run for run in members if run.game == game]
            steps = [run.steps for run in here]
            if min(steps) < FRESH * max(steps):
                notes.append(
                    f"{method} in {game}: runs of {min(steps):,} to {max(steps):,} agent steps; "
                    "the score is each run's last; the mean curve ends with the shortest, those "
                    f"left out that ended before {SHORT:.0%} of the longest."
                )
            if len({run.seed for run in here}) < len(here):
                notes.append(f"{method} in {game}: several runs have the same seed.")
    return notes


def _otherwise(members: list[Trained], name: str, references: References) -> str:
    """How a method's rules differ from those of what was published under a name, {} being that
    name; "" where they do not.
    """
    rules = PROTOCOLS[members[0].rules]
    if references.sticky[name] != rules.sticky:
        one, other = ("with", "without") if rules.sticky else ("without", "with")
        return f"plays {one} sticky actions, {{}} {other}"
    if references.lives[name] != rules.life_loss_terminal:
        one, other = ("", "not ") if rules.life_loss_terminal else ("not ", "")
        return f"is {one}told of lost lives in training, {{}} {other}".rstrip()
    return ""


def _notes_beside(
    methods: dict[str, list[Trained]], published: dict[str, Any], references: References
) -> list[str]:
    """Where what was published was measured by other rules than the runs that it stands beside."""
    shown = {
        name: {game for game, figures in of.items() if figures}
        for kind in ("curves", "finals")
        for name, of in published[kind].items()
    }
    notes = []
    for method, members in methods.items():
        games, others = {run.game for run in members}, dict[str, list[str]]()
        for name in shown:
            if games & shown[name] and (how := _otherwise(members, name, references)):
                others.setdefault(how, []).append(name)
        notes += [
            f"{method} {how.format(listed(names))}: their scores stand beside each other, but do "
            "not compare."
            for how, names in others.items()
        ]
    return notes


def in_words(found: dict[str, Any]) -> str:
    """The figures as a few lines of text."""
    lines = []
    for game, rows in found["games"].items():
        lines.append(game)
        for row in rows:
            steps = f"{row['agent_steps'][1]:,} agent steps, {row['frames'][1]:,} frames"
            lines.append(f"  {row['method']}: {counted(row['runs'], 'run')}, {steps}")
            if score := row["evaluation"]:
                lines.append(f"    last evaluation   {report_page.score(score)}")
            if score := row["training"]:
                lines.append(f"    training return   {report_page.score(score)}")
    for kind, methods in found["aggregates"].items():
        for method, of in methods.items():
            figure = report_page.estimate(of["iqm"])
            games = counted(len(of["games"]), "game")
            lines.append(f"IQM of {kind} scores  {figure}  ({method}; {games})")
    return "\n".join([*lines, *found["notes"]])
