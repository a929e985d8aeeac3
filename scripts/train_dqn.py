"""`train dqn`: what is its own beside `training`: SB3's engine, refilling, a film of films."""

from __future__ import annotations

import argparse
from dataclasses import replace

from agents import checks, dqn, pqn
from agents.atari import resolve
from playground import gallery
from playground.errors import UserError
from playground.films import beside
from playground.run import Run, write_json
from playground.trainer import TrainerConfig
from scripts import following, sweeping, training
from scripts.progress import Line
from scripts.training import PLAY, Door, quoted


def run_train_dqn(args: argparse.Namespace) -> None:
    """Train with our engine, or with Stable-Baselines3's; or many, one after another."""
    if sweeping.is_sweep(args):
        sweeping.run_sweep(args, DQN_ON_SB3 if args.engine == "sb3" else DQN, args.words[2:])
        return
    if args.refill and not args.resume:
        raise UserError("--refill goes with --resume RUN.")
    if args.resume and "sb3" in (args.engine, Run.open(args.resume).settings.get("engine")):
        raise UserError("--engine sb3 cannot resume: Stable-Baselines3 saves no emulators.")
    if args.engine != "sb3":
        training.run_train(args, DQN)
        return
    from agents import sb3

    if args.watch:
        following.need_display()
    door = DQN_ON_SB3
    config, settings = training.fresh(args, door)
    door.check(config, settings)
    run = training.create(args, door, config, settings, engine="sb3")
    game, limits = resolve(config.game), training.until(settings, door.unit)
    print(f"Training {game} on Stable-Baselines3 into {run.path}, {limits}.")
    with training.removed_if_empty(run), following.viewer(run, args.watch), Line() as line:
        agent = sb3.train(config, settings, run, training.progress_line(door, game, line))
    with training.finishing(lambda: False):
        print(f"Stopped at {agent.card['trained_agent_steps']:,} {door.unit}.")
        training.summary(run, _commands(run)[:-1])


def _settings(preset: str, args: argparse.Namespace) -> tuple[dqn.DQNConfig, TrainerConfig]:
    config = dqn.preset(preset, getattr(args, "steps", None))
    return config, TrainerConfig(**dqn.TRAINERS[preset])


def _build(
    args: argparse.Namespace, config: dqn.DQNConfig, settings: TrainerConfig
) -> dqn.DQN | pqn.PQN:
    learner = pqn.PQN if config.algorithm == "pqn" else dqn.DQN
    try:
        task = learner(config, settings.seed, going_on=bool(args.resume))
    except MemoryError:
        lower = "--rollout or --envs" if config.algorithm == "pqn" else "--replay-capacity"
        raise UserError(
            f"What this training keeps does not fit into this machine's memory: lower {lower}."
        ) from None
    task.refill = args.refill
    return task


def _check_resumed(args: argparse.Namespace, run: Run) -> None:
    """UserError where the rows of its replay are missing."""
    if not args.refill and not checks.has_rows(run):
        raise UserError(
            f"{run.path} has nothing of its replay: go on without it by --resume "
            f"{quoted(run.path)} --refill."
        )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--refill", action="store_true",
        help="with --resume, go on from the small files alone: inexact, refills the replay by "
        "acting before it learns")  # fmt: skip
    add("--engine", choices=("ours", "sb3"),
        help="sb3 trains Stable-Baselines3's own DQN (default ours)")  # fmt: skip
    sweeping.add_sweep(parser)


def _finish(task: dqn.DQN | pqn.PQN, run: Run) -> list[str]:
    """The film of films: the same game before, during and after the training."""
    films = run.films()
    if len(films) < 2:
        return []
    first, last = min(films), max(films)
    middle = min(films, key=lambda step: abs(2 * step - first - last))
    growth = run.videos / "growth.mp4"
    try:
        beside({_age(step): films[step] for step in (first, middle, last)}, growth)
    except UserError as error:  # the training stands without it
        return [f"No film of its growth: {error}"]
    write_json(run.gallery / gallery.CAPTIONS, {growth.name: "the same game, as it was learned"})
    return [f"Growth   {growth}"]


def _age(step: int) -> str:
    return f"{step:,} {DQN.unit}" if step else "before"


def _commands(run: Run) -> list[tuple[str, str]]:
    folder = quoted(run.path)
    return [
        ("Watch", f"{PLAY} watch --agent {folder}"),
        ("Score", f"{PLAY} evaluate {folder}"),
        ("Go on", f"{PLAY} train dqn --resume {folder} --hours 1"),
    ]


def _check_sb3(config: dqn.DQNConfig, settings: TrainerConfig) -> None:
    from agents import sb3

    checks.check(config, settings.steps)
    sb3.check(config, settings)


DQN = Door(
    name="dqn",
    help="Deep Q-learning on an Atari game.",
    config_class=dqn.DQNConfig,
    unit=dqn.DQN.unit,
    preset="laptop",
    presets={
        "laptop": "the values below",
        "nature2015": "Mnih et al. 2015",
        "beyond": "IQN and all that goes with it on a GPU, as Clark et al. 2024",
        "minutes": "no replay, for runs of minutes, as PQN, Gallici et al. 2024",
        "sb3": "Stable-Baselines3's own, and the default with --engine sb3",
    },
    settings=_settings,
    label=lambda config: resolve(config.game),
    build=_build,
    check=lambda config, settings: checks.check(config, settings.steps),
    figures=("return", "epsilon", "loss", "q"),
    commands=_commands,
    check_resumed=_check_resumed,
    arguments=_arguments,
    movable=("graph", "replay_device", "emulator_threads"),
    about={"engine": "ours", "score": "return"},
    finish=_finish,
)
DQN_ON_SB3 = replace(DQN, preset="sb3", check=_check_sb3)
