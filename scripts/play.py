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
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import agents
from agents import dqn
from agents.atari import FRAMES_PER_SECOND, PROTOCOLS, action_names, protocol, resolve
from agents.evaluation import evaluate
from agents.overlay import overlay
from agents.screen import watch
from playground import gallery, window
from playground.config import add_arguments, apply_arguments, from_json, to_json
from playground.errors import UserError
from playground.frames import Frame, Sink, pump
from playground.media import VideoWriter
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

PLAY = "python scripts/play.py"
FILM_SECONDS = 60.0  # of a recording that nobody ends


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    torch.set_flush_denormal(True)  # denormals slow a CPU's updates by a third; before any thread
    try:
        args = _parser().parse_args(argv)
        args.run(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# ---------------------------------------------------------------- watch


def run_watch(args: argparse.Namespace) -> None:
    """Play on a window, or onto a film where there is no display or one is asked for."""
    game = resolve(args.game) if args.game else None
    source = args.agent or (f"zoo:{game}" if game in agents.zoo() else "zoo:pong")
    agent = agents.load(source, game if args.agent else None)
    if game is not None and agent.game != game:
        raise UserError(
            f"The zoo has no agent for {game}; train one with `{PLAY} train dqn --game {game}`, "
            f"or watch another with --agent (zoo: {', '.join(agents.zoo())})."
        )
    if agent.game is None:
        raise UserError(f"{source} does not say which game it plays: add --game NAME.")
    if args.record or not window.available():
        _record(args, agent, Path(args.record or f"recordings/{agent.game}.mp4"))
    else:
        _show(args, agent, source)


def _frames(args: argparse.Namespace, agent: agents.Agent, seed: int, **more: Any) -> Any:
    rules = protocol(args.protocol)
    return watch(agent, agent.game, rules, seed=seed, epsilon=args.epsilon, **more)


def _record(args: argparse.Namespace, agent: agents.Agent, path: Path) -> None:
    """One game, or --seconds of play, as a film; then where it is."""
    assert agent.game is not None
    seconds = args.seconds or (FILM_SECONDS if args.record is None else None)
    episodes = args.episodes or (None if args.seconds else 1)
    source = _frames(args, agent, args.seed, episodes=episodes)
    if seconds is not None:
        source = islice(source, round(seconds * FRAMES_PER_SECOND))
    filters = [overlay(agent.game, action_names(agent.game))] if args.overlay else []
    if not args.record:
        print("There is no display: recording a film instead.")
    last: dict[str, Any] = {}

    def remember(frame: Frame) -> Frame:
        last.update(frame.facts)
        return frame

    with VideoWriter(path, fps=FRAMES_PER_SECOND, scale=args.scale or 2) as film:
        written = pump(source, [remember, *filters], [film])
    print(
        f"{path}: {written / FRAMES_PER_SECOND:.1f} s of {agent.game}, return {last['return']:g}."
    )


class _Player:
    """The window's keys: overlay, recording, human takeover, next game."""

    def __init__(self, args: argparse.Namespace, screen: window.Window) -> None:
        self.args, self.window = args, screen
        self.sinks: list[Sink] = [screen]
        self.show_overlay = args.overlay
        self.held: frozenset[str] = frozenset()
        self.leave = self.quit = False
        self.film: VideoWriter | None = None
        self.names: tuple[str, ...] = ()

    def start(self, game: str) -> None:
        """Another game is on."""
        self.names = action_names(game)
        self.panel = overlay(game, self.names)
        self.leave = False

    def filter(self, frame: Frame) -> Frame:
        """Act on the keys; the panel where it is wanted."""
        self.read_keys()
        return self.panel(frame) if self.show_overlay else frame

    def read_keys(self) -> None:
        """Do what was pressed since the last time."""
        keys = self.window.poll()
        self.held = keys.held
        if "overlay" in keys.pressed:
            self.show_overlay = not self.show_overlay
        if "record" in keys.pressed:
            self.record()
        self.leave = self.leave or "next" in keys.pressed
        self.quit = self.quit or "quit" in keys.pressed

    def record(self) -> None:
        """Begin a film, or end the one that runs."""
        if self.film is None:
            path = Path(f"recordings/{time.strftime('%Y%m%d-%H%M%S')}.mp4")
            self.film = VideoWriter(path, fps=FRAMES_PER_SECOND, scale=2)
            self.sinks.append(self.film)
            self.window.status = "recording"
        else:
            self.sinks.remove(self.film)
            self.film.close()
            print(f"Recorded {self.film.path}.")
            self.film, self.window.status = None, ""

    def control(self) -> int | None:
        """The human's action while they have taken over, else None."""
        if not self.window.human:
            return None
        moves = "".join(d.upper() for d in ("up", "down", "right", "left") if d in self.held)
        fire = "FIRE" if "fire" in self.held else ""
        for name in (moves + fire, moves, fire, "NOOP"):  # not every game knows every combination
            if name in self.names:
                return self.names.index(name)
        return 0


def _show(args: argparse.Namespace, agent: agents.Agent, source: str) -> None:
    others = [f"zoo:{name}" for name in agents.zoo()]
    with window.Window("playground", fps=FRAMES_PER_SECOND, scale=args.scale) as screen:
        player = _Player(args, screen)
        try:
            seed = args.seed
            while True:
                assert agent.game is not None
                player.start(agent.game)
                screen.title = f"{agent.game}: {source}"
                follow = _newest(source) if args.follow else None
                stream = _frames(args, agent, seed, episodes=args.episodes, control=player.control)
                stopped = _until_left(stream, player, follow)
                if stopped == "quit" or (stopped == "ended" and args.episodes):
                    return
                if stopped == "next" and others:
                    place = others.index(source) + 1 if source in others else 0
                    source = others[place % len(others)]
                agent, seed = agents.load(source), seed + 1
        finally:
            if player.film is not None:
                player.record()


def _until_left(stream: Iterator[Frame], player: _Player, follow: float | None) -> str:
    """Show a game until its frames end, "next" or "quit" is pressed, or a newer agent stands."""

    def going() -> Iterator[Frame]:
        for frame in stream:
            if player.leave:
                return
            if follow is not None and frame.facts["step"] == 0 and _newest_changed(player, follow):
                return
            yield frame

    pump(going(), [player.filter], player.sinks)
    player.read_keys()
    if player.quit:
        return "quit"
    return "next" if player.leave else "ended"


def _newest_changed(player: _Player, follow: float) -> bool:
    return _newest(player.args.agent) != follow


def _newest(source: str) -> float:
    """When the run's newest agent was written."""
    path = Path(source) / "last.safetensors"
    if not path.exists():
        raise UserError(f"--follow needs a run directory with an agent in it, not {source}.")
    return path.stat().st_mtime


# ---------------------------------------------------------------- train


def run_train_dqn(args: argparse.Namespace) -> None:
    """Train, or go on; in the end a page and a few lines say what came of it."""
    if args.resume:
        run = Run.open(args.resume)
        if run.task != "dqn":
            raise UserError(f"{run.path} is a run of {run.task}, not of dqn.")
        config = from_json(dqn.DQNConfig, run.settings["config"])
        settings = from_json(TrainerConfig, run.settings["trainer"])
        given = vars(args).keys() & to_json(config).keys()
        if given:
            raise UserError(
                f"A resumed run keeps its settings; leave out --{min(given).replace('_', '-')}."
            )
        settings = apply_arguments(settings, args)
        run.update(trainer=to_json(settings))
    else:
        if args.refill:
            raise UserError("--refill goes with --resume RUN.")
        config = apply_arguments(dqn.PRESETS[args.preset], args)
        settings = apply_arguments(TrainerConfig(**dqn.TRAINERS[args.preset]), args)
        run = Run.create(
            args.runs, "dqn", args.name, to_json(config), label=resolve(config.game),
            preset=args.preset, engine=args.engine, trainer=to_json(settings),
        )  # fmt: skip
    if args.engine == "sb3":
        from agents import sb3

        if args.resume:
            raise UserError("--engine sb3 cannot resume; Stable-Baselines3 saves no emulators.")
        sb3.train(config, settings, run)
        _summary(run)
        return
    seed_everything(settings.seed)
    task = dqn.DQN(config, settings.seed)
    task.refill = args.refill
    trainer = Trainer(settings, task, run, on_progress=_progress_line(config.game))
    if args.resume:
        step = trainer.resume()
        print(f"Going on from {step:,} agent steps in {run.path}.")
    else:
        print(f"Training {task.game} into {run.path} ({trainer.precision}); Ctrl-C saves.")
    viewer = _viewer(run, trainer) if args.watch else None
    try:
        outcome = trainer.fit()
    finally:
        task.close()
        run.close()
        if viewer is not None:
            viewer.terminate()
    print(f"\nStopped ({outcome.reason}) at {outcome.progress:,} agent steps.")
    _summary(run)


def _progress_line(game: str) -> Callable[[dict[str, Any]], None]:
    def show(report: dict[str, Any]) -> None:
        if "score" in report:
            text = f"{game}: evaluation {report['score']:.1f}, best {report['best']:.1f}"
            print(f"\r{report['progress']:>10,} steps  {text}".ljust(100))
            return
        parts = [f"{report['progress']:>10,} steps", f"{report['per_second']:.0f}/s"]
        for name in ("return", "epsilon", "loss", "q"):
            if name in report:
                parts.append(f"{name} {report[name]:.3g}")
        if report["eta_seconds"] is not None:
            minutes = report["eta_seconds"] / 60
            parts.append(f"ETA {minutes // 60:.0f}:{minutes % 60:02.0f}")
        end = "" if sys.stdout.isatty() else "\n"
        print("\r" + "  ".join(parts).ljust(100), end=end, flush=True)

    return show


def _viewer(run: Run, trainer: Trainer) -> subprocess.Popen[bytes]:
    """A window in a process of its own, at low priority, so that training hardly notices."""
    if not window.available():
        raise UserError("--watch needs a display; the run's videos/ folder holds films instead.")
    if not (run.path / "last.safetensors").exists():
        trainer.save()
    command = [sys.executable, __file__, "watch", "--agent", str(run.path), "--follow"]
    low = {"preexec_fn": lambda: os.nice(15)} if os.name == "posix" else {}
    return subprocess.Popen(command, **low)  # type: ignore[call-overload, no-any-return]


def _summary(run: Run) -> None:
    page = run.gallery / "index.html"
    gallery.write_page([run.path], page)
    print(f"Summary: {page}")
    print(f"Watch:   {PLAY} watch --agent {run.path}")
    if run.settings.get("engine") != "sb3":
        print(f"Go on:   {PLAY} train dqn --resume {run.path} --hours 1")


# ---------------------------------------------------------------- evaluate, gallery, zoo


def run_evaluate(args: argparse.Namespace) -> None:
    """Whole games under a protocol."""
    agent = agents.load(args.source, args.game)
    if agent.game is None:
        raise UserError(f"{args.source} does not say which game it plays: add --game NAME.")
    result = evaluate(
        agent, protocol=protocol(args.protocol), episodes=args.episodes, epsilon=args.epsilon,
        seed=args.seed,
    )  # fmt: skip
    if args.json:
        print(json.dumps({"source": args.source, **result.to_json()}))
        return
    low, high = result.interval
    print(f"{result.game}, {len(result.returns)} games, protocol {args.protocol}, "
          f"epsilon {args.epsilon:g}, seed {args.seed}")  # fmt: skip
    print(f"  mean   {result.mean:.2f}  (95 % interval {low:.2f} to {high:.2f})")
    print(f"  median {result.median:.2f}")
    if result.human_normalised is not None:
        print(f"  human-normalised {result.human_normalised:.3f} (0 random, 1 human)")
    print(f"  length {result.length:.0f} agent steps a game")
    print("  returns " + " ".join(f"{r:g}" for r in result.returns))


def run_gallery(args: argparse.Namespace) -> None:
    """One self-contained page of runs."""
    runs = [Run.open(path).path for path in args.run_paths]
    gallery.write_page(runs, args.out)
    print(args.out)


def run_zoo(args: argparse.Namespace) -> None:
    """The agents that ship."""
    cards = agents.cards()
    if args.json:
        print(json.dumps(cards))
        return
    for name, card in cards.items():
        print(f"zoo:{name}")
        for rules, result in card["scores"].items():
            low, high = result["interval"]
            print(f"  {rules:8} {result['mean']:8.1f}  ({low:.1f} to {high:.1f}, "
                  f"{len(result['returns'])} games)")  # fmt: skip
        print(f"  {card['frames']:,} frames, trained by: {card['command']}")


# ---------------------------------------------------------------- the command line


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {text}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="play.py", description="Watch, train and score agents that play Atari from pixels."
    )
    parser.set_defaults(run=run_watch)
    verbs = parser.add_subparsers(metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], None], help: str) -> Any:
        made = verbs.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    def rules(made: Any, default: str) -> None:
        made.add_argument("--protocol", choices=tuple(PROTOCOLS), default=default,
                          help=f"rules of play (default {default})")  # fmt: skip
        made.add_argument("--epsilon", type=_share, default=0.0,
                          help="part of random actions, 0 to 1 (default 0)")  # fmt: skip
        made.add_argument("--seed", type=int, default=0, help="of emulators and exploration")

    watching = verb("watch", run_watch, "Watch an agent play, in a window or onto a film.")
    watching.add_argument("game", nargs="?", help="a game of the zoo (default pong)")
    watching.add_argument("--agent", help="zoo:NAME, a run directory, or an agent's file")
    rules(watching, "machado")
    watching.add_argument("--record", metavar="FILE", help="film instead of window, .mp4 or .gif")
    watching.add_argument("--seconds", type=float, help="length of the film, seconds")
    watching.add_argument("--episodes", type=_positive, help="games to play (default: go on)")
    watching.add_argument("--follow", action="store_true", help="reload a run's newest agent")
    watching.add_argument("--scale", type=_positive, help="enlargement, whole number")
    watching.add_argument("--overlay", action=argparse.BooleanOptionalAction, default=True,
                          help="Q-values, return and epsilon beside the game")  # fmt: skip
    parser.set_defaults(**vars(watching.parse_args([])))

    training = verbs.add_parser("train", help="Train an agent.", description="Train.")
    tasks = training.add_subparsers(metavar="TASK", required=True)
    train = tasks.add_parser("dqn", help="deep Q-learning on an Atari game")
    train.set_defaults(run=run_train_dqn)
    train.add_argument("--preset", choices=tuple(dqn.PRESETS), default="laptop",
                       help="settings to start from (default laptop)")  # fmt: skip
    train.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    train.add_argument("--name", help="name of the run (default: game and time)")
    train.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run, exactly")
    train.add_argument("--refill", action="store_true",
                       help="resume from the small files alone: inexact, refills the replay by "
                       "acting")  # fmt: skip
    train.add_argument("--engine", choices=("ours", "sb3"), default="ours",
                       help="sb3 trains Stable-Baselines3's own DQN (default ours)")  # fmt: skip
    train.add_argument("--watch", action="store_true", help="a window with the newest agent")
    add_arguments(train, dqn.DQNConfig)
    add_arguments(train, TrainerConfig)

    scoring = verb("evaluate", run_evaluate, "Score an agent over whole games.")
    scoring.add_argument("source", help="zoo:NAME, a run directory, or an agent's file")
    scoring.add_argument("--game", help="for files that do not name their game")
    scoring.add_argument("--episodes", type=_positive, default=30, help="games (default 30)")
    scoring.add_argument("--json", action="store_true", help="one JSON object")
    rules(scoring, "machado")

    page = verb("gallery", run_gallery, "One self-contained HTML page of runs.")
    page.add_argument("run_paths", nargs="+", type=Path, metavar="RUN")
    page.add_argument("--out", type=Path, default=Path("gallery.html"), help="(gallery.html)")

    listing = verb("zoo", run_zoo, "List the agents that ship.")
    listing.add_argument("--json", action="store_true", help="one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
