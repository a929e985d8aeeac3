"""`evaluate`: whole games of an agent, test pictures of classifiers; in words or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from agents.atari import protocol
from agents.evaluation import evaluate
from playground.classifier import Classifier, Ensemble, count_parameters, is_classifier, load
from playground.classifier import evaluate as evaluate_classifier
from playground.data import load as load_pictures
from playground.device import find
from playground.errors import UserError
from playground.run import Run
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
    """Whole games under a protocol."""
    source = args.sources[0]
    agent = load_agent(source, args.game)
    agent.network.to(find(args.device))
    if sys.stderr.isatty():
        print(f"Playing {args.episodes} games of {agent.game} ...", file=sys.stderr)
    result = evaluate(
        agent, protocol=protocol(args.protocol), episodes=args.episodes, epsilon=args.epsilon,
        seed=args.seed,
    )  # fmt: skip
    if args.json:
        print(dumps({"source": source, **result.to_json()}))
        return
    low, high = result.interval
    print(f"{result.game}, {counted(len(result.returns), 'game')}, protocol {args.protocol}, "
          f"epsilon {args.epsilon:g}, seed {args.seed}")  # fmt: skip
    between = f"  (95 % interval {low:.2f} to {high:.2f})" if math.isfinite(low) else ""
    print(f"  mean    {result.mean:.2f}{between}")
    print(f"  median  {result.median:.2f}")
    if result.human_normalised is not None:
        print(f"  human-normalised {result.human_normalised:.3f} (0 random, 1 human)")
    print(f"  length  {result.length:.0f} agent steps a game")
    print("  returns " + " ".join(f"{r:g}" for r in result.returns))


def counted(number: int, thing: str) -> str:
    """The number of things, in words."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def dumps(value: Any) -> str:
    """One line of JSON; numbers without end, which JSON lacks, are null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(item) for key, item in part.items()}
        if isinstance(part, list | tuple):
            return [finite(item) for item in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False)
