"""Published figures of value-based agents, to be drawn beside ours; read from files by columns.

Three kinds of .csv or .csv.gz are known, whatever their names:

- game, agent, iteration, mean_return: Dopamine's baselines (google/dopamine, baselines/atari/data),
  of which DQN, Rainbow and IQN are taken; an iteration is 250,000 agent steps, each figure the mean
  return of its training episodes;
- game, nature_dqn_mean: final scores of Mnih et al. 2015;
- algo, env_id, mean_reward, n_timesteps: the benchmark of RL Baselines3 Zoo, of which DQN and
  QR-DQN are taken.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agents.atari import FRAMES_PER_STEP, resolve
from playground.errors import UserError, listed

ITERATION = 250_000  # agent steps of Dopamine's (`Runner.training_steps`)
STICKY = 0.25  # Dopamine's (`create_atari_environment`)
DOPAMINE = ("DQN", "Rainbow", "IQN")
ZOO = {"dqn": "DQN", "qrdqn": "QR-DQN"}
UNITS = {"k": 1e3, "M": 1e6}

Curve = tuple[tuple[float, float], ...]  # (agent steps, mean return)


@dataclass
class References:
    """`curves` and `finals` are name -> game -> figures, `rules` name -> how they were measured,
    `sticky` name -> with which probability of sticky actions, `lives` name -> whether a lost life
    ended in training what returns are learned from.
    """

    curves: dict[str, dict[str, Curve]] = field(default_factory=dict)
    finals: dict[str, dict[str, float]] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    sticky: dict[str, float] = field(default_factory=dict)
    lives: dict[str, bool] = field(default_factory=dict)


def at(curve: Curve, steps: float) -> tuple[float, float] | None:
    """The newest point of a curve after so many agent steps; None before its first."""
    return next((point for point in reversed(curve) if point[0] <= steps), None)


def read(path: Path) -> References:
    """The published figures in a file, or in all files of a folder.

    A file of a folder that is of none of the kinds is passed over. UserError where no figure is
    found or a file is broken.
    """
    if not os.path.exists(path):  # False too where the system refuses the very name
        raise UserError(f"There is no {path}: name a file or folder of published figures.")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith((".csv", ".csv.gz")))
    found = References()
    for file in files:
        _read(file, found)
    if not found.rules:
        agents = listed([*DOPAMINE, *ZOO.values()])
        raise UserError(
            f"{path} holds no published figures of {agents}: a .csv with the columns game, agent, "
            "iteration, mean_return, or game, nature_dqn_mean, or algo, env_id, mean_reward, "
            "n_timesteps."
        )
    return found


def _read(file: Path, into: References) -> None:
    """Add what the file holds, where it is of a known kind."""
    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as text:
            table = csv.DictReader(line for line in text if not line.startswith("#"))
            columns, rows = set(table.fieldnames or ()), _whole(table)
            if {"game", "agent", "iteration", "mean_return"} <= columns:
                _dopamine(rows, into)
            elif {"game", "nature_dqn_mean"} <= columns:
                _nature(rows, into)
            elif {"algo", "env_id", "mean_reward", "n_timesteps"} <= columns:
                _zoo(rows, into)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    except ValueError as error:
        raise UserError(f"{file} has a line that is not whole: {error}.") from error


Rows = Iterator[Mapping[str, str]]


def _whole(table: csv.DictReader) -> Rows:
    """Its rows; ValueError at one that ends before the last column."""
    for row in table:
        if missing := [name for name, value in row.items() if value is None]:
            raise ValueError(f"{','.join(v for v in row.values() if v)} has no {missing[0]}")
        yield row


def _dopamine(rows: Rows, into: References) -> None:
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if row["agent"] in DOPAMINE and (game := _game(row["game"])):
            step = (int(row["iteration"]) + 1) * ITERATION  # what an iteration ends at
            name = f"Dopamine {row['agent']}"
            points.setdefault(name, {}).setdefault(game, []).append(
                (step, float(row["mean_return"]))
            )
            seeds = f", mean of {row['n_seeds']} seeds" if row.get("n_seeds") else ""
            into.rules[name] = f"training returns, sticky actions {STICKY:g}{seeds}"
            into.sticky[name], into.lives[name] = STICKY, False
    for name in (f"Dopamine {agent}" for agent in DOPAMINE):
        if name in points:
            into.curves[name] = {game: tuple(sorted(curve)) for game, curve in points[name].items()}


def _nature(rows: Rows, into: References) -> None:
    name = "Nature DQN"
    scores = {
        game: float(row["nature_dqn_mean"])
        for row in rows
        if row["nature_dqn_mean"] and (game := _game(row["game"]))
    }
    if not scores:
        return
    into.finals[name] = scores
    into.sticky[name], into.lives[name] = 0.0, True
    into.rules[name] = (
        "evaluation of the best agent within 200M frames, epsilon 0.05, up to 30 no-ops, no sticky "
        "actions"
    )


def _zoo(rows: Rows, into: References) -> None:
    for row in rows:
        if row["algo"] in ZOO and "NoFrameskip" in row["env_id"] and (game := _game(row["env_id"])):
            name = f"RL Zoo {ZOO[row['algo']]}"
            into.finals.setdefault(name, {})[game] = float(row["mean_reward"])
            into.sticky[name], into.lives[name] = 0.0, True
            number = row["n_timesteps"]
            steps = float(number.rstrip("kM")) * UNITS.get(number[-1], 1)
            into.rules[name] = (
                f"evaluation after {steps * FRAMES_PER_STEP / 1e6:g}M frames, one seed, no sticky "
                "actions"
            )


@cache
def _game(name: str) -> str | None:
    """Its short name; None where this emulator does not have it."""
    try:
        return resolve(name)
    except UserError:
        return None
