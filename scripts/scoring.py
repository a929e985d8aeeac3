"""`evaluate`: whole games of an agent, test pictures of classifiers; in words or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from agents.agent import Agent
from agents.atari import Protocol, protocol
from agents.evaluation import FRESH_SEEDS, Evaluation, Stopped, evaluate
from playground import signals
from playground.classifier import Classifier, Ensemble, count_parameters, is_classifier, load
from playground.classifier import evaluate as evaluate_classifier
from playground.data import load as load_pictures
from playground.device import find
from playground.errors import UserError
from playground.run import Run
from scripts.progress import Line, counted
from scripts.watching import load_agent


def run_evaluate(args: argparse.Namespace) -> None:
    """Classifiers by test pictures, several as an ensemble; else an agent by whole games."""
    kinds = {is_classifier(source) for source in args.sources}
    if kinds == {True}:
        for name, default in args.of_games.items():
            if getattr(args, name) != default:
                raise UserError(f"--{name} is for agents, and classifiers look at pictures.")
        _score_classifiers(args)
        return
    if len(args.sources) > 1:
        raise UserError("Several sources make an ensemble of classifiers; these are not all such.")
    if args.data or args.views > 1 or args.all:
        raise UserError("--data, --all and --views are for classifiers, and agents play games.")
    _score_agent(args)


def _score_classifiers(args: argparse.Namespace) -> None:
    """One classifier, or the mean of several."""
    spec = args.data or _data_of(args.sources[0])
    classifier = load(*args.sources)
    pictures = load_pictures(spec, "all" if args.all else "test", _size(classifier))
    if sys.stderr.isatty():
        print(f"Looking at {len(pictures):,} test pictures ...", file=sys.stderr)
    members = _members(classifier)
    for member in members:
        member.network.to(find(args.device))
    result = evaluate_classifier(classifier, pictures, args.views)
    assert result is not None
    figures = result.figures()
    if args.json:
        print(dumps({
            "sources": args.sources, "data": spec, "all": args.all, "views": args.views,
            "pictures": len(pictures), **figures, "recall": result.recall(),
            "parameters": [count_parameters(member.network) for member in members],
            "confusion": result.confusion().tolist(),
        }))  # fmt: skip
        return
    what = members[0].design.backbone if len(members) == 1 else f"ensemble of {len(members)}"
    sizes = " + ".join(f"{count_parameters(member.network):,}" for member in members)
    which = "" if args.all else "test "
    print(f"{what}, {sizes} parameters, on the {len(pictures):,} {which}pictures of {spec}")
    print(f"  accuracy  {figures['score']:.2f} %  ({counted(figures['wrong'], 'picture')} wrong)")
    if "top5" in figures:
        print(f"  top 5     {figures['top5']:.2f} %")
    print(f"  loss      {figures['loss']:.4f}")
    if args.views > 1:
        print(f"  views     {args.views}, the picture itself and augmented copies")
    hardest = sorted(result.recall().items(), key=lambda item: item[1])[:3]
    print("  hardest   " + ", ".join(f"{name} ({share:.1f} %)" for name, share in hardest))


def _data_of(source: str) -> str:
    """What a run was trained on."""
    path = Path(source)
    if not path.is_dir():
        raise UserError(f"{source} does not say where its pictures are: add --data.")
    return str(Run.open(path).settings["config"]["data"])


def _members(classifier: Classifier | Ensemble) -> tuple[Classifier, ...]:
    return classifier.members if isinstance(classifier, Ensemble) else (classifier,)


def _size(classifier: Classifier | Ensemble) -> int | None:
    """The side at which to read pictures: the largest that a member looks at; each makes them fit.

    None (as they are) where one looks at pictures that are not square.
    """
    sizes = [member.design.size for member in _members(classifier)]
    square = all(height == width for height, width in sizes)
    return max(height for height, _ in sizes) if square else None


def _score_agent(args: argparse.Namespace) -> None:
    """Whole games under a protocol; after Ctrl-C the figures of those that have ended."""
    source, rules = args.sources[0], protocol(args.protocol)
    agent = load_agent(source, args.game)
    agent.network.to(find(args.device))
    if not protocol(agent.protocol).plays_as(rules):
        print(f"{source} was trained under {agent.protocol}: --protocol {agent.protocol} scores it "
              "by its own rules.", file=sys.stderr, flush=True)  # fmt: skip
    result = _played(agent, rules, args)
    if args.json:
        about = {"source": source, "trained_under": agent.protocol, "episodes": args.episodes}
        print(dumps({**about, **result.to_json(), "seed": args.seed}))
    else:
        _tell(result, args)
    if len(result.returns) < args.episodes:
        raise KeyboardInterrupt


def _played(agent: Agent, rules: Protocol, args: argparse.Namespace) -> Evaluation:
    """The games asked for, or those that had ended at Ctrl-C; KeyboardInterrupt where none had."""
    asked = False

    def ask() -> str:
        nonlocal asked
        asked = True
        return "Interrupted: ending with the games that are finished; once more breaks off."

    try:
        with signals.caught(ask), _counting(args.episodes, agent.game) as count:
            return evaluate(
                agent, protocol=rules, episodes=args.episodes, epsilon=args.epsilon,
                seed=FRESH_SEEDS + args.seed, stop=lambda: asked, on_game=count,
            )  # fmt: skip
    except Stopped as stopped:
        if stopped.finished is None:
            raise KeyboardInterrupt from None
        return stopped.finished


@contextmanager
def _counting(episodes: int, game: str | None) -> Iterator[Callable[[Sequence[float]], None]]:
    """Takes the returns so far; a line on the terminal, renewed with each game and removed in the
    end. Nothing where stderr is no terminal.
    """
    line = Line(sys.stderr)

    def show(returns: Sequence[float]) -> None:
        parts = [f"{len(returns)} of {counted(episodes, 'game')} of {game}"]
        if returns:
            parts.append(f"mean so far {fmean(returns):.2f}")
        if line.live:
            line.show(parts)

    show([])
    try:
        yield show
    finally:
        line.remove()


def _tell(result: Evaluation, args: argparse.Namespace) -> None:
    """The figures in words."""
    low, high = result.interval
    cut = len(result.returns) < args.episodes
    games = f"{len(result.returns)} of " * cut + counted(args.episodes, "game")
    print(f"{result.game}, {games}, protocol {args.protocol}, epsilon {result.epsilon:g}, "
          f"seed {args.seed}")  # fmt: skip
    if cut:
        print("  interrupted: these games ended first, so short ones count too much")
    between = f"  (95 % interval {low:.2f} to {high:.2f})" if math.isfinite(low) else ""
    print(f"  mean    {result.mean:.2f}{between}")
    print(f"  median  {result.median:.2f}")
    if result.human_normalised is not None:
        print(f"  human-normalised {result.human_normalised:.3f} (0 random, 1 human)")
    print(f"  length  {result.length:.0f} agent steps a game")
    print("  returns " + " ".join(f"{r:g}" for r in result.returns))


def dumps(value: Any) -> str:
    """One line of JSON; numbers without end, which JSON lacks, are null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(item) for key, item in part.items()}
        if isinstance(part, list | tuple):
            return [finite(item) for item in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False)
