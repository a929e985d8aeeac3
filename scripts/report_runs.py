"""Runs as a report sees them: game, method and scores; what makes two runs the same method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents import dqn
from agents.atari import PROTOCOLS, protocol, resolve
from playground.charts import Points
from playground.config import to_json
from playground.errors import UserError, listed
from playground.run import Run
from playground.trainer import TrainerConfig

POINTS = 200  # of a mean curve
SHORT = 0.5  # of the longest run's agent steps; a shorter one is not in the mean curve
# Settings of the trainer that change what is learned; others change only where and how long.
LEARNING = ("accumulate", "clip_norm", "ema", "devices")
# Of the task's: they do not make a method, as they change where and how fast it is computed, how it
# is looked at, or what stands beside it anyway.
FREE = ("game", "protocol", "eval_episodes", "eval_film", "replay_compression", "replay_device",
        "graph", "emulator_threads")  # fmt: skip


class Evaluated(NamedTuple):
    """A mean over whole games, with its interval over them where it has one."""

    step: int
    score: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Trained:
    """One run, as far as a report needs it. Scores are raw returns of whole games."""

    path: Path
    game: str
    seed: int
    preset: str
    engine: str
    rules: str  # the protocol's name
    config: dict[str, Any]
    trainer: dict[str, Any]
    device: str
    training: Points  # (agent step, mean return of the newest 100 games)
    evaluations: list[Evaluated]
    steps: int  # agent steps, of the last log

    def points(self, kind: str) -> Points:
        """The learning curve of that kind."""
        if kind == "training":
            return self.training
        return [(of.step, of.score) for of in self.evaluations]

    @property
    def settings(self) -> dict[str, Any]:
        """All that makes the method."""
        learned = {key: value for key, value in self.config.items() if key not in FREE}
        trainer = {key: self.trainer.get(key) for key in LEARNING}
        return {**learned, **trainer, "engine": self.engine, "rules": self.rules}

    @property
    def label(self) -> str:
        """The method in words: preset, what is set otherwise, rules of play."""
        usual = {
            **to_json(dqn.PRESETS.get(self.preset, dqn.DQNConfig())),
            **to_json(TrainerConfig(**dqn.TRAINERS.get(self.preset, {}))),
            "rules": self.rules,
            "engine": "ours",
        }
        if self.preset in dqn.PRESETS:
            usual |= to_json(dqn.preset(self.preset, self.trainer.get("steps")))
        other = [
            _in_words(key, value)
            for key, value in self.settings.items()
            if value != usual.get(key, value)
        ]
        return ", ".join([self.preset, *([listed(other)] if other else []), self.rules])


def _in_words(key: str, value: Any) -> str:
    word = key.replace("_", " ")
    if isinstance(value, bool):
        return word if value else f"no {word}"
    return f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}"


def unfit(run: Run) -> str | None:
    """Why a run has no place in a report."""
    if run.task != "dqn":
        return f"is a run of {run.task}, and a report is of dqn"
    try:
        resolve(run.settings["config"]["game"])
        protocol(run.settings["config"]["protocol"])
    except (UserError, KeyError, TypeError, AttributeError):
        return "does not say which game it plays by which rules"
    return None


def trained(run: Run) -> Trained:
    """What its log and settings say."""
    settings = run.settings
    lines = sorted(run.metrics(), key=lambda line: line["step"])
    evaluations = [
        Evaluated(line["step"], score, line.get("evaluate/low"), line.get("evaluate/high"))
        for line in lines
        if (score := line.get("evaluate/score")) is not None
    ]
    config = {**to_json(dqn.DQNConfig()), **settings["config"]}
    trainer = {**to_json(TrainerConfig()), **settings.get("trainer", {})}
    return Trained(
        path=run.path,
        game=resolve(config["game"]),
        seed=trainer["seed"],
        preset=settings.get("preset") or "own settings",
        engine=settings.get("engine", "ours"),
        rules=config["protocol"],
        config=config,
        trainer=trainer,
        device=settings.get("device", ""),
        training=[
            (line["step"], value) for line in lines if (value := line.get("return")) is not None
        ],
        evaluations=evaluations,
        steps=lines[-1]["step"] if lines else 0,
    )


def methods_of(runs: list[Trained]) -> dict[str, list[Trained]]:
    """Name -> runs of the same settings, in the order met."""
    by_settings: dict[str, list[Trained]] = {}
    for run in runs:
        by_settings.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    named: dict[str, list[Trained]] = {}
    for members in by_settings.values():
        name, number = members[0].label, 2
        while name in named:  # what tells them apart is beyond what a name lists
            name, number = f"{members[0].label} ({number})", number + 1
        named[name] = members
    return named


def about(members: list[Trained]) -> dict[str, Any]:
    """A method's rules and settings."""
    first = members[0]
    rules = PROTOCOLS[first.rules]
    return {
        "preset": first.preset,
        "engine": first.engine,
        "rules": asdict(rules),
        "rules_in_words": ", ".join([
            f"sticky actions {rules.sticky:g}" if rules.sticky else "no sticky actions",
            f"up to {rules.noop_max} no-ops" if rules.noop_max else "no no-ops",
            *(["FIRE at the start"] if rules.fire_reset else []),
        ]),
        "eval_epsilon": first.config["eval_epsilon"],
        "eval_episodes": sorted({run.config["eval_episodes"] for run in members}),
        "settings": first.settings,
    }  # fmt: skip


def mean_curve(runs: Sequence[Trained], kind: str) -> dict[str, Any] | None:
    """Mean, lowest and highest over the runs, where all of them have figures; None without any.

    Runs are read between their points by straight lines, at up to POINTS steps. Those that ended
    before SHORT of the longest are left out: else the curve would end there.
    """
    every = [np.array(points, float).T for run in runs if (points := run.points(kind))]
    if not every:
        return None
    longest = max(xs[-1] for xs, _ in every)
    curves = [(xs, ys) for xs, ys in every if xs[-1] >= SHORT * longest]
    begin, end = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    count = min(POINTS, max(len(xs) for xs, _ in curves))
    steps = np.linspace(begin, end, count) if begin < end else np.array([end])
    if len(curves) == 1 and len(curves[0][0]) <= POINTS:
        steps = curves[0][0]
    values = np.stack([np.interp(steps, xs, ys) for xs, ys in curves])
    return {
        "runs": len(curves),
        "agent_steps": steps.tolist(),
        "mean": values.mean(0).tolist(),
        "low": values.min(0).tolist(),
        "high": values.max(0).tolist(),
    }
