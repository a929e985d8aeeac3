"""Take a run's best or last agent into the zoo, score it on fresh games, and write its card.

    python scripts/benchmarks/zoo_agent.py RUN NAME [--which last] [--command "..."] [--zoo DIR]

Writes into agents/zoo/: NAME.safetensors (fp16), NAME.json (the card: how it was trained, on what,
how long, its learning curve, its scores), films/NAME.gif (half a minute of play under machado, from
a game's start) and README.md (a table of all cards, and the films). The scores are of 30 whole
games under each of the protocols machado and sb3, on emulator seeds that no training and no
evaluation of a training draws; the exploration is the run's own --eval-epsilon unless given. With
--references the card has what the published agents in that file or folder had after as many frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import dqn
from agents.agent import ZOO, Agent, read_weights
from agents.atari import FRAMES_PER_SECOND, FRAMES_PER_STEP, PROTOCOLS, protocol
from agents.dqn import DQNConfig
from agents.evaluation import EVALUATION_SEEDS, FRESH_SEEDS, evaluate
from agents.references import References, at, read
from agents.screen import watch
from playground.config import from_json, to_json
from playground.errors import UserError
from playground.frames import Frame, pump
from playground.media import VideoWriter
from playground.run import Run, atomic_path, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.cards import COURSE, evaluations, flags
from scripts.benchmarks.zoo_curves import PICTURE as CURVES

LARGEST_BYTES = 4_000_000
SCORES = ("machado", "sb3")
FILMS, SECONDS = "films", 30  # their folder; of each
MARKS = ("Dopamine Rainbow", "Dopamine IQN")  # the first is what an agent is to reach

README = """# The agents that ship

Watch one with `python scripts/play.py watch NAME`, score it with `python scripts/play.py evaluate
zoo:NAME`. Each has a card beside it, `NAME.json`: settings, commit, learning curve, every return of
its scores. Scores are means over whole games on seeds that training never used, with their 95 %
interval (Student's t), under two protocols: `machado` (sticky actions 0.25, no no-ops) and `sb3`
(no sticky actions, up to 30 no-ops), with ε random actions, as `watch` and `evaluate` take them
too. Frames are emulator frames, 4 for each agent step; frames and minutes are those until this
agent, the run's best or last. Beside them stand two agents of Dopamine (Castro et al. 2018; mean of
5 seeds, sticky actions), to be held against the column `machado`: the mean of their training
returns, exploration included, over the newest 250,000 agent steps that end by as many frames.
Below: the curves of their trainings (drawn by `scripts/benchmarks/zoo_curves.py`) beside all that
Dopamine's two learned in 200 million frames, and what Mnih et al. 2015 report in the end; and half
a minute of each under `machado`, from a game's start.

This file is written by `scripts/benchmarks/zoo_agent.py`.

"""


def main() -> int:
    """Add one agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of a DQN training")
    parser.add_argument("name", help="of the agent, for example pong")
    parser.add_argument("--which", choices=("best", "last"), default="best",
        help="the agent of the best evaluation, or the newest (default best)")  # fmt: skip
    parser.add_argument("--command", help="training command, if not as the run's settings tell it")
    parser.add_argument("--course", metavar="TEXT", help=COURSE)
    parser.add_argument("--episodes", type=int, default=30, help="games a protocol (default 30)")
    parser.add_argument("--epsilon", type=float, help="exploration (default: --eval-epsilon's)")
    parser.add_argument("--references", type=Path, help="published figures: a file or folder")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder (default agents/zoo)")
    args = parser.parse_args()
    try:
        add(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def add(args: argparse.Namespace) -> None:
    """Weights, card, film, table; nothing is written before all is known."""
    run = Run.open(args.run)
    if run.task != "dqn":
        raise UserError(f"{run.path} is a run of {run.task}, not of dqn.")
    if args.episodes < 2:
        raise UserError("--episodes must be at least 2: one game has no interval.")
    source = run.path / f"{args.which}.safetensors"
    if not source.exists():
        raise UserError(f"{run.path} has no {source.name}: it was never evaluated.")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "agent.safetensors"
        read_weights(source).save(weights)
        content = weights.read_bytes()
        if len(content) > LARGEST_BYTES:
            raise UserError(
                f"This agent takes {len(content):,} bytes, more than the {LARGEST_BYTES:,} that "
                "the zoo allows; train with a smaller --width or --hidden."
            )
        agent = read_weights(weights)  # as it ships: fp16
    card = make_card(run, agent, args.command, args.course)
    epsilon = agent.epsilon if args.epsilon is None else args.epsilon
    seed = FRESH_SEEDS + run.settings["trainer"]["seed"]
    if args.references:
        card["marks"] = marks(read(args.references), card["game"], card["agent_steps"])
    for rules in SCORES:
        result = evaluate(
            agent, protocol=protocol(rules), episodes=args.episodes, epsilon=epsilon, seed=seed
        )
        card["scores"][rules] = result.to_json()
        print(f"{args.name}, {rules}: {score(card, rules)}, epsilon {epsilon:g}", flush=True)
    shown = Path(FILMS) / f"{args.name}.gif"
    with tempfile.TemporaryDirectory() as folder:
        film(agent, epsilon, seed, Path(folder) / shown)
        pictures = (Path(folder) / shown).read_bytes()
    for file, written in ((Path(f"{args.name}.safetensors"), content), (shown, pictures)):
        with atomic_path(args.zoo / file) as aside:
            aside.write_bytes(written)
    write_json(args.zoo / f"{args.name}.json", card)
    write_table(args.zoo)


def film(agent: Agent, epsilon: float, seed: int, path: Path) -> None:
    """Half a minute of play under machado from a game's start, 15 pictures a second."""
    played = watch(agent, protocol=SCORES[0], seed=seed + EVALUATION_SEEDS, epsilon=epsilon)
    shown = pairs(islice(played, SECONDS * FRAMES_PER_SECOND))
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, fps=FRAMES_PER_SECOND // FRAMES_PER_STEP) as sink:
        pump(shown, sinks=[sink])


def pairs(frames: Iterator[Frame]) -> Iterator[Frame]:
    """One frame an agent step: the brighter of its last two, as what is drawn in turns flickers."""
    for _, step in groupby(frames, lambda frame: frame.facts["step"]):
        last = list(step)[-2:]
        yield replace(last[-1], pixels=np.maximum.reduce([frame.pixels for frame in last]))


def make_card(run: Run, agent: Agent, command: str | None, course: str | None) -> dict[str, Any]:
    """All but the scores. UserError where the log knows nothing of this agent.

    course: what the command does not say of the training, if there is anything.
    """
    config = from_json(DQNConfig, run.settings["config"])
    settings = from_json(TrainerConfig, run.settings["trainer"])
    curve, total = learning_curve(run)
    steps = agent.card["trained_agent_steps"]
    minutes = [point[1] for point in curve if point[0] == steps]
    if not minutes:
        raise UserError(
            f"This agent of {run.path} is of {steps:,} agent steps, but metrics.jsonl has no "
            "evaluation there; go on with the run until it has evaluated again."
        )
    chosen = run.settings["precision"]
    return {
        "game": agent.game,
        "command": command or reconstruct(run, config, settings),
        "commit": run.settings["commit"],
        "settings": asdict(config),
        "protocol": asdict(PROTOCOLS[config.protocol]),
        "agent_steps": steps,
        "frames": steps * FRAMES_PER_STEP,
        "minutes": minutes[-1],
        "minutes_total": total,
        "hardware": f"{chosen['device']}, {settings.threads or 'all'} thread(s)",
        "precision": chosen["precision"],
        "versions": run.settings["versions"],
        "curve": curve,
        **({"course": course} if course else {}),
        "scores": {},
    }


def learning_curve(run: Run) -> tuple[list[list[float]], float]:
    """([[agent steps, minutes, mean return, low, high], ...], minutes in all)."""
    total, found = evaluations(run)
    names = ("score", "low", "high")
    return [
        [line["step"], minutes, *(line[f"evaluate/{name}"] for name in names)]
        for minutes, line in found
    ], total


def reconstruct(run: Run, config: DQNConfig, settings: TrainerConfig) -> str:
    """The command line that trains it again: preset, and what was set otherwise."""
    preset = run.settings["preset"]
    words = ["python scripts/play.py train dqn", f"--preset {preset}", f"--game {config.game}"]
    if run.settings["engine"] != "ours":
        words.append(f"--engine {run.settings['engine']}")
    words.append(f"--seed {settings.seed}")
    usual = {
        **to_json(dqn.preset(preset, settings.steps)),
        **to_json(TrainerConfig(**dqn.TRAINERS[preset])),
    }
    given = {**to_json(config), **to_json(settings)}
    return " ".join([*words, *flags(given, usual, without=("game", "seed"))])


def score(card: dict[str, Any], rules: str) -> str:
    """A mean with its interval, as text."""
    result = card["scores"][rules]
    low, high = result["interval"]
    return f"{result['mean']:.1f} ({low:.1f} to {high:.1f})"


def marks(references: References, game: str, steps: int) -> dict[str, float]:
    """The newest point by so many agent steps of each published agent's curve of this game.

    Dopamine's points are means of the training returns of 250,000 agent steps.
    """
    curves = {name: games[game] for name, games in references.curves.items() if game in games}
    points = {name: at(curve, steps) for name, curve in curves.items()}
    return {name: round(point[1], 1) for name, point in points.items() if point}


def write_table(zoo: Path) -> None:
    """README.md: a row for each card, and below the table what else there is to say of them."""
    columns = ["name", *SCORES, "ε", "Rainbow", "IQN", "frames", "minutes", "on", "trained by"]
    rows = [columns, ["---"] * len(columns)]
    notes = []
    for path in sorted(zoo.glob("*.json")):
        card = read_json(path)
        published = (card.get("marks", {}).get(name) for name in MARKS)
        rows.append([
            path.stem, *(score(card, rules) for rules in SCORES),
            f"{card['scores'][SCORES[0]]['epsilon']:g}",
            *("" if mark is None else f"{mark:.1f}" for mark in published),
            f"{card['frames']:,}",
            f"{card['minutes']:.0f}", card["hardware"], f"`{card['command']}`",
        ])  # fmt: skip
        if "course" in card:
            notes.append(f"\n{path.stem}: {card['course']}\n")
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    if (zoo / CURVES).exists():
        notes.append(f"\n![learning curves, and published ones beside them]({CURVES})\n")
    films = sorted((zoo / FILMS).glob("*.gif"))
    if films:
        notes.append("\n" + "".join(f"![{path.stem}]({FILMS}/{path.name})\n" for path in films))
    with atomic_path(zoo / "README.md") as aside:
        aside.write_text(README + table + "".join(notes), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
