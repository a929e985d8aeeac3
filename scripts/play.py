"""The playground's command line: watch agents play, train them, score them.

    python scripts/play.py                              watch the agent that ships play Pong
    python scripts/play.py train dqn --game breakout --hours 8
    python scripts/play.py watch --agent runs/dqn/NAME --follow
    python scripts/play.py evaluate zoo:pong --episodes 30 --json

The only place that names every task. A user's mistake ends in one sentence and exit status 2.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

# So that this checkout's rooms are found, with `python scripts/play.py` from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import agents
from agents import dqn
from agents.atari import PROTOCOLS, protocol, resolve
from agents.evaluation import evaluate
from playground import gallery, window
from playground.config import add_arguments, apply_arguments, from_json, to_json
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
from scripts.watching import load_agent, run_watch

PLAY = "python scripts/play.py"
REASONS = {"steps": "all steps are done", "hours": "the time is up", "interrupted": "interrupted"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    torch.set_flush_denormal(True)  # denormals slow a CPU's updates by a third; before any thread
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "watch")
    try:
        args = _parser().parse_args(words)
        args.run(args)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# ---------------------------------------------------------------- train


def run_train_dqn(args: argparse.Namespace) -> None:
    """Train, or go on; in the end a page and a few lines say what came of it."""
    if args.watch:
        _need_display()
    if args.resume:
        run, config, settings = _resumed(args)
    else:
        config, settings = _fresh(args)
    if args.engine == "sb3":
        from agents import sb3

        run = _create(args, config, settings)
        game = resolve(config.game)
        print(f"Training {game} on Stable-Baselines3 into {run.path}, {_until(settings)}.")
        with _removed_if_empty(run), _viewer(run, args.watch):
            sb3.train(config, settings, run, _progress_line(config.game))
        _summary(run)
        return
    seed_everything(settings.seed)
    try:
        task = dqn.DQN(config, settings.seed)
    except MemoryError:
        raise UserError(
            f"A replay of {config.replay_capacity:,} agent steps does not fit into this machine's "
            "memory: lower --replay-capacity."
        ) from None
    task.refill = args.refill
    if not args.resume:
        run = _create(args, config, settings)
    with nullcontext() if args.resume else _removed_if_empty(run):
        trainer = Trainer(settings, task, run, on_progress=_progress_line(task.game))
        if args.resume:
            step = trainer.resume()
            if settings.steps is not None and step >= settings.steps:
                raise UserError(
                    f"{run.path} has {step:,} agent steps already: ask for more with --steps, or "
                    "for time with --hours."
                )
            run.update(trainer=to_json(settings))
            print(f"Going on with {task.game} from {step:,} agent steps in {run.path}; ", end="")
        else:
            task.export(run.path / "last.safetensors")  # --follow has something to show at once
            print(f"Training {task.game} into {run.path}; ", end="")
        print(f"{trainer.precision} on {trainer.device.type}, {_until(settings)}.", flush=True)
        try:
            with _viewer(run, args.watch):
                outcome = trainer.fit()
        finally:
            task.close()
    reason = REASONS.get(outcome.reason, outcome.reason)
    print(f"Stopped at {outcome.progress:,} agent steps: {reason}.")
    _summary(run)


def _fresh(args: argparse.Namespace) -> tuple[dqn.DQNConfig, TrainerConfig]:
    """Settings of a new training: the preset's, then the given flags."""
    if args.refill:
        raise UserError("--refill goes with --resume RUN.")
    args.preset = preset = args.preset or ("sb3" if args.engine == "sb3" else "laptop")
    config = apply_arguments(dqn.preset(preset, getattr(args, "steps", None)), args)
    settings = apply_arguments(TrainerConfig(**dqn.TRAINERS[preset]), args)
    return config, settings


def _create(args: argparse.Namespace, config: dqn.DQNConfig, settings: TrainerConfig) -> Run:
    return Run.create(
        args.runs, "dqn", args.name, to_json(config), label=resolve(config.game),
        preset=args.preset, engine=args.engine or "ours", unit=dqn.DQN.unit,
        trainer=to_json(settings),
    )  # fmt: skip


def _resumed(args: argparse.Namespace) -> tuple[Run, dqn.DQNConfig, TrainerConfig]:
    """The run and its settings; of these only what does not change the learning may be given."""
    run = Run.open(args.resume)
    if run.task != "dqn":
        raise UserError(f"{run.path} is a run of {run.task}, not of dqn.")
    if "sb3" in (args.engine, run.settings.get("engine")):
        raise UserError("--engine sb3 cannot resume: Stable-Baselines3 saves no emulators.")
    config = from_json(dqn.DQNConfig, run.settings["config"])
    settings = from_json(TrainerConfig, run.settings.get("trainer", {}))
    fixed = ("name", "preset", "engine", "seed", *to_json(config))
    for key in fixed:
        if getattr(args, key, None) is not None:
            flag = "--" + key.replace("_", "-")
            raise UserError(f"A resumed run keeps its settings: leave out {flag}.")
    if "hours" in args or "steps" in args:  # the limits of before have done their work
        settings = replace(settings, hours=None, steps=None)
    return run, config, apply_arguments(settings, args)


@contextmanager
def _removed_if_empty(run: Run) -> Iterator[None]:
    """A mistake that shows before anything was learned leaves no run behind."""
    try:
        yield
    except UserError:
        if not run.metrics() and not any(run.checkpoints.iterdir()):
            run.close()
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _until(settings: TrainerConfig) -> str:
    limits = [f"{settings.steps:,} agent steps"] if settings.steps is not None else []
    limits += [f"{settings.hours:g} h"] if settings.hours is not None else []
    return f"until {' or '.join([*limits, 'Ctrl-C'])}, which saves"


def _progress_line(game: str) -> Callable[[dict[str, Any]], None]:
    """One line that renews itself on a terminal, one line a report elsewhere."""
    live = sys.stdout.isatty()

    def show(report: dict[str, Any]) -> None:
        parts = [f"{report['progress']:>10,} steps"]
        if "score" in report:
            parts.append(f"{game}: evaluation {report['score']:.1f}, best {report['best']:.1f}")
        else:
            parts.append(f"{report['per_second']:.0f}/s")
            for name in ("return", "epsilon", "loss", "q"):
                if name in report:
                    parts.append(f"{name} {report[name]:.3g}")
            if report["eta_seconds"] is not None:
                minutes = round(report["eta_seconds"] / 60)
                parts.append(f"ETA {minutes // 60}:{minutes % 60:02}")
        line = "  ".join(parts)
        if live:
            line = line[: shutil.get_terminal_size().columns - 1]
            print("\r\x1b[K" + line, end="\n" if "score" in report else "", flush=True)
        else:
            print(line, flush=True)

    return show


def _need_display() -> None:
    try:
        window.Window("playground").close()
    except UserError:
        raise UserError(
            "--watch needs a display; leave it out: each evaluation leaves a film in the run's "
            "videos/ folder."
        ) from None


@contextmanager
def _viewer(run: Run, wanted: bool) -> Iterator[None]:
    """A window in a process of its own while it lasts; it lowers its own priority."""
    if not wanted:
        yield
        return
    command = [sys.executable, __file__, "watch", "--agent", str(run.path), "--follow"]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _summary(run: Run) -> None:
    """The run's page, and what to do next."""
    folder = shlex.quote(str(run.path))
    commands = [f"{PLAY} watch --agent {folder}", f"{PLAY} evaluate {folder}"]
    if run.settings.get("engine") != "sb3":
        commands.append(f"{PLAY} train dqn --resume {folder} --hours 1")
    page = run.gallery / "index.html"
    gallery.write_page([run.path], page, title=run.name, commands=commands)
    print(f"Summary  {page}")
    for does, command in zip(("Watch", "Score", "Go on"), commands, strict=False):
        print(f"{does:8} {command}")


# ---------------------------------------------------------------- evaluate, gallery, zoo


def run_evaluate(args: argparse.Namespace) -> None:
    """Whole games under a protocol."""
    agent = load_agent(args.source, args.game)
    if sys.stderr.isatty():
        print(f"Playing {args.episodes} games of {agent.game} ...", file=sys.stderr)
    result = evaluate(
        agent, protocol=protocol(args.protocol), episodes=args.episodes, epsilon=args.epsilon,
        seed=args.seed,
    )  # fmt: skip
    if args.json:
        print(_dumps({"source": args.source, **result.to_json()}))
        return
    low, high = result.interval
    print(f"{result.game}, {_count(len(result.returns))}, protocol {args.protocol}, "
          f"epsilon {args.epsilon:g}, seed {args.seed}")  # fmt: skip
    between = f"  (95 % interval {low:.2f} to {high:.2f})" if math.isfinite(low) else ""
    print(f"  mean    {result.mean:.2f}{between}")
    print(f"  median  {result.median:.2f}")
    if result.human_normalised is not None:
        print(f"  human-normalised {result.human_normalised:.3f} (0 random, 1 human)")
    print(f"  length  {result.length:.0f} agent steps a game")
    print("  returns " + " ".join(f"{r:g}" for r in result.returns))


def run_gallery(args: argparse.Namespace) -> None:
    """One self-contained page of runs."""
    paths = args.run_paths or sorted(p.parent for p in args.runs.glob("*/*/config.json"))
    if not paths:
        raise UserError(f"There is no run in {args.runs}; name the runs to show.")
    gallery.write_page(paths, args.out)
    print(args.out)


def run_zoo(args: argparse.Namespace) -> None:
    """The agents that ship."""
    cards = agents.cards()
    if args.json:
        print(_dumps(cards))
        return
    for name, card in cards.items():
        print(f"zoo:{name}")
        for rules, result in card["scores"].items():
            low, high = result["interval"]
            print(f"  {rules:8} {result['mean']:8.1f}  ({low:.1f} to {high:.1f}, "
                  f"{_count(len(result['returns']))}, epsilon {result['epsilon']:g})")  # fmt: skip
        print(f"  trained  {card['frames']:,} frames, {card['minutes']:.0f} minutes "
              f"on {card['hardware']}")  # fmt: skip
        print(f"  by       {card['command']}")


def _count(games: int) -> str:
    return "1 game" if games == 1 else f"{games} games"


def _dumps(value: Any) -> str:
    """One line of JSON; numbers without end, which JSON lacks, are null."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: finite(item) for key, item in part.items()}
        if isinstance(part, list | tuple):
            return [finite(item) for item in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False)


# ---------------------------------------------------------------- the command line


class _Parser(argparse.ArgumentParser):
    """Its errors are sentences like all others, without the usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    """A parser of whole numbers or numbers within bounds, for argparse."""
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {low:,} to {high:,}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="play.py",
        description="Watch, train and score agents that play Atari from pixels. Without a verb: "
        "watch the agent that ships play Pong.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], None], help: str) -> Any:
        made = verbs.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    def rules(made: argparse.ArgumentParser, default: str | None, which: str) -> None:
        add = made.add_argument
        add("--protocol", choices=tuple(PROTOCOLS), default=default,
            help=f"rules of play (default {which})")  # fmt: skip
        add("--epsilon", type=_number(float, 0, 1), default=0.0,
            help="part of random actions, 0 to 1 (default 0)")  # fmt: skip
        add("--seed", type=_number(int, 0, 2**31 - 1), default=0,
            help="of emulators and exploration (default 0)")  # fmt: skip

    watching = verb(
        "watch",
        run_watch,
        "Watch an agent play in a window, or on film where there is no display.",
    )
    add = watching.add_argument
    add("game", nargs="?", help="a game of the zoo (default pong), or the game of --agent FILE")
    add("--agent", help="zoo:NAME, a run directory, or an agent's file")
    add("--game", dest="named_game", metavar="GAME", help="for files that do not name their game")
    add("--follow", action="store_true", help="with --agent RUN: always a training's newest agent")
    rules(watching, None, "those it was trained under")
    add("--record", metavar="FILE", help="a film, .mp4 or .gif, instead of the window")
    add("--window", action="store_true", help="a window or nothing: no film without a display")
    add("--episodes", type=_number(int, 1, 10**6),
        help="games to play (default: a film has one, a window goes on)")  # fmt: skip
    add("--seconds", type=_number(float, 0.1, 86400), help="end after so many seconds of play")
    add("--scale", type=_number(int, 1, 16),
        help="enlargement (default: a window's as fits, an .mp4's 2, a .gif's 1)")  # fmt: skip
    add("--overlay", action=argparse.BooleanOptionalAction, default=True,
        help="Q-values, return and epsilon beside the game (default on)")  # fmt: skip

    training = verbs.add_parser("train", help="Train an agent.", description="Train an agent.")
    tasks = training.add_subparsers(metavar="TASK", required=True)
    text = "Deep Q-learning on an Atari game."
    train = tasks.add_parser("dqn", help=text, description=text)
    train.set_defaults(run=run_train_dqn)
    add = train.add_argument
    add("--preset", choices=tuple(dqn.PRESETS),
        help="settings to start from: laptop (the default, its values below), nature2015 (Mnih et "
        "al. 2015), sb3 (Stable-Baselines3's own; the default with --engine sb3)")  # fmt: skip
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--name", help="of the run (default: game and time)")
    add("--resume", type=Path, metavar="RUN", help="go on exactly where a run's checkpoint stands")
    add("--refill", action="store_true",
        help="with --resume, go on from the small files alone: inexact, refills the replay by "
        "acting before it learns")  # fmt: skip
    add("--engine", choices=("ours", "sb3"),
        help="sb3 trains Stable-Baselines3's own DQN (default ours)")  # fmt: skip
    add("--watch", action="store_true", help="a window with the newest agent")
    add_arguments(train, dqn.DQNConfig)
    add_arguments(train, TrainerConfig)

    scoring = verb("evaluate", run_evaluate, "Score an agent over whole games.")
    add = scoring.add_argument
    add("source", help="zoo:NAME, a run directory, or an agent's file")
    add("--game", help="for files that do not name their game")
    add("--episodes", type=_number(int, 1, 10**6), default=30, help="games (default 30)")
    add("--json", action="store_true", help="one JSON object")
    rules(scoring, "machado", "machado")

    page = verb("gallery", run_gallery, "One self-contained HTML page of runs.")
    add = page.add_argument
    add("run_paths", nargs="*", type=Path, metavar="RUN", help="run directories (default: all)")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--out", type=Path, default=Path("gallery.html"), metavar="FILE",
        help="the page (default gallery.html)")  # fmt: skip

    listing = verb("zoo", run_zoo, "List the agents that ship.")
    listing.add_argument("--json", action="store_true", help="one JSON object")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: films are finished
    sys.exit(main())
