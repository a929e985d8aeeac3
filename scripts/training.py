"""What every `train` verb shares: settings, the run, the loop's lines, the summary, going on.

A task comes in through its `Door`: its settings and presets, how it is built, and what there is to
say and to draw when it ends. Nothing here knows one task from another.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from playground import gallery, ranks, signals
from playground.config import add_arguments, apply_arguments, from_json, to_json
from playground.device import limits_said, set_up
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, launched, reached, seed_everything
from scripts.following import need_display, viewer
from scripts.progress import Line, figure, time_left

PLAY = "python scripts/play.py"
REASONS = {"steps": "all steps are done", "hours": "the time is up", "interrupted": "interrupted"}


@dataclass(frozen=True)
class Door:
    """How one task enters `train`. `config` is always an instance of `config_class`."""

    name: str  # of the task, its folder of runs and its word on the command line
    help: str
    config_class: type
    unit: str  # of its steps
    preset: str  # the default one
    presets: Mapping[str, str]  # name -> what it is, for --help
    # (preset's name, given flags) -> its settings, the trainer's too
    settings: Callable[[str, argparse.Namespace], tuple[Any, TrainerConfig]]
    label: Callable[[Any], str]  # config -> a word for lines and run names
    build: Callable[[argparse.Namespace, Any, TrainerConfig], Any]  # the task
    figures: tuple[str, ...]  # of the progress line, beside steps and speed
    commands: Callable[[Run], list[tuple[str, str]]]  # (what it does, command) for the summary
    # what only the built task knows of a new training's limits
    limits: Callable[[Any, TrainerConfig], TrainerConfig] = lambda task, settings: settings
    # UserError for a new training's settings that are of no use, before anything is built
    check: Callable[[Any, TrainerConfig], None] = lambda config, settings: None
    # UserError where a run lacks what going on needs, as soon
    check_resumed: Callable[[argparse.Namespace, Run], None] = lambda args, run: None
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None  # flags of its own
    gathering: tuple[str, ...] = ()  # those of what is gathered once; not given leave no trace
    movable: tuple[str, ...] = ()  # settings that a resumed run may be given anew
    about: Mapping[str, Any] = field(default_factory=dict)  # kept in config.json beside them
    finish: Callable[[Any, Run], list[str]] = lambda task, run: []  # pictures; sentences to print


def add_training(
    tasks: Any, door: Door, run: Callable[[argparse.Namespace], None] | None = None
) -> None:
    """The verb `train <door.name>`; `run` is `run_train` with this door, unless told."""
    parser = tasks.add_parser(door.name, help=door.help, description=door.help)
    parser.set_defaults(run=run or (lambda args: run_train(args, door)))
    add = parser.add_argument
    choices = ", ".join(f"{name} ({what})" for name, what in door.presets.items())
    text = f"settings to start from: {choices}; default {door.preset}"
    add("--preset", choices=tuple(door.presets), help=text.replace("%", "%%"))
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--name", help="of the run (default: what it learns and the time)")
    add("--resume", type=Path, metavar="RUN", help="go on exactly where a run's checkpoint stands")
    add("--watch", action="store_true", help="a window with what it learned so far")
    door.arguments(parser)
    config, settings = door.settings(door.preset, argparse.Namespace())
    add_arguments(parser, door.config_class, config)
    add_arguments(parser, TrainerConfig, settings, door.unit)


def run_train(args: argparse.Namespace, door: Door) -> None:
    """Train, or go on; in the end a page and a few lines say what came of it."""
    if args.watch:
        need_display()
    if args.resume:
        run, config, settings = resumed(args, door)
        _check_going_on(run, settings, door)
        door.check_resumed(args, run)
    else:
        run, (config, settings) = None, fresh(args, door)
        door.check(config, settings)
    with launched(settings):  # in as many processes as asked for; the first one comes out of it
        _train(args, door, run, config, settings)


def _check_going_on(run: Run, settings: TrainerConfig, door: Door) -> None:
    """UserError where there is nothing to go on from, or nothing left to do; before it is built."""
    found = reached(run)
    if found is None:
        weights = run.path / "last.safetensors"
        can_start = weights.is_file() and "start" in run.settings["config"]
        instead = f" A new training can learn on from its weights: --start {quoted(weights)}."
        raise UserError(f"{run.path} has no good checkpoint to go on from.{instead * can_start}")
    step, owed = found
    if settings.steps is not None and step >= settings.steps and not owed:
        raise UserError(
            f"{run.path} has {step:,} {door.unit} already: ask for more with --steps, or for time "
            "with --hours."
        )


def _train(
    args: argparse.Namespace, door: Door, run: Run | None, config: Any, settings: TrainerConfig
) -> None:
    """Train a new run, or go on with `run`; only the first process's lines are seen."""
    resuming = run is not None
    # Already here: building a task may take minutes of playing or of looking at pictures.
    set_up(settings.device, settings.threads, settings.deterministic)
    seed_everything(settings.seed)
    with limits_said():
        task = door.build(args, config, settings)
    config = task.config  # with what was made of "none", or of a game's long name
    if run is None:
        settings = door.limits(task, settings)
        run = create(args, door, config, settings)
    with nullcontext() if resuming else removed_if_empty(run):
        label = door.label(config)
        line = Line()
        report = progress_line(door, label, line)
        trainer = Trainer(settings, task, run, on_progress=report, say=line.say)
        if resuming:
            step = trainer.resume()
            run.update(trainer=to_json(settings), config=to_json(config))
            print(f"Going on with {label} from {step:,} {door.unit} in {run.path}; ", end="")
        else:
            if trainer.rank == 0:  # something to look at from the start
                task.export(run.path / "last.safetensors")
            print(f"Training {label} into {run.path}; ", end="")
        limits = until(settings, door.unit)
        print(f"{trainer.precision} on {trainer.device.type}, {limits}.", flush=True)
        try:
            with (
                viewer(run, args.watch and trainer.rank == 0),
                finishing(lambda: trainer.agenda.stop == "interrupted"),
            ):
                with line:
                    outcome = trainer.fit()
                reason = REASONS.get(outcome.reason, outcome.reason)
                print(f"Stopped at {outcome.progress:,} {door.unit}: {reason}.", flush=True)
                if trainer.rank == 0:
                    for sentence in door.finish(task, run):
                        print(sentence)
                    summary(run, door.commands(run))
        finally:
            if hasattr(task, "close"):
                task.close()


def finishing(asked_before: Callable[[], bool]) -> AbstractContextManager[None]:
    """A training and what comes after it: there the first Ctrl-C lets the page be finished.

    Not where the training was `asked_before` to end: then it is the second, and breaks off.
    """

    def ask() -> str:
        if asked_before():
            raise KeyboardInterrupt
        return "" if ranks.rank() else "Interrupted: finishing the page; once more breaks off."

    return signals.caught(ask)


def fresh(args: argparse.Namespace, door: Door) -> tuple[Any, TrainerConfig]:
    """Settings of a new training: the preset's, then the given flags."""
    args.preset = args.preset or door.preset
    config, settings = door.settings(args.preset, args)
    return apply_arguments(config, args), apply_arguments(settings, args)


def create(
    args: argparse.Namespace, door: Door, config: Any, settings: TrainerConfig, **extra: Any
) -> Run:
    """A new run of these settings."""
    return Run.create(
        args.runs, door.name, args.name, to_json(config), label=door.label(config),
        preset=args.preset, unit=door.unit, trainer=to_json(settings), **{**door.about, **extra},
    )  # fmt: skip


def resumed(args: argparse.Namespace, door: Door) -> tuple[Run, Any, TrainerConfig]:
    """The run and its settings; of these only what does not change the learning may be given."""
    run = Run.open(args.resume)
    if run.task != door.name:
        raise UserError(f"{run.path} is a run of {run.task}, not of {door.name}.")
    config: Any = from_json(door.config_class, run.settings["config"])
    settings = from_json(TrainerConfig, run.settings.get("trainer", {}))
    learning = ("seed", "accumulate", "clip_norm", "ema")  # of the trainer's settings
    for key in ("name", "preset", "engine", *door.gathering, *learning, *to_json(config)):
        if key not in door.movable and getattr(args, key, None) is not None:
            flag = "--" + key.replace("_", "-")
            raise UserError(f"A resumed run keeps its settings: leave out {flag}.")
    if "hours" in args or "steps" in args:  # the limits of before have done their work
        settings = replace(settings, hours=None, steps=None)
    return run, apply_arguments(config, args), apply_arguments(settings, args)


@contextmanager
def removed_if_empty(run: Run) -> Iterator[None]:
    """A mistake that shows before anything was learned, or a Ctrl-C, leaves no run behind."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        stopped, begun = isinstance(error, KeyboardInterrupt), any(run.checkpoints.iterdir())
        if run.settings.get("engine") == "sb3":  # ours exports at the start, and saves checkpoints
            begun = (run.path / "last.safetensors").exists()
        if begun and stopped:
            raise KeyboardInterrupt(f"Interrupted; {run.path} has what was saved.") from None
        if begun or run.metrics():
            raise
        run.close()
        shutil.rmtree(run.path, ignore_errors=True)
        if stopped:
            raise KeyboardInterrupt("Interrupted before anything was saved.") from None
        raise


def until(settings: TrainerConfig, unit: str) -> str:
    """When a training of these settings ends, in words."""
    limits = [f"{settings.steps:,} {unit}"] if settings.steps is not None else []
    limits += [f"{settings.hours:g} h"] if settings.hours is not None else []
    return f"until {' or '.join([*limits, 'Ctrl-C'])}, which saves"


def progress_line(door: Door, label: str, line: Line) -> Callable[[dict[str, Any]], None]:
    """Shows the reports of a trainer's `on_progress`; evaluations stay on the terminal."""

    def show(report: dict[str, Any]) -> None:
        parts = [f"{report['progress']:>10,} {door.unit.split()[-1]}"]
        if "score" in report:
            best = "none" if report["best"] is None else f"{report['best']:,.2f}"  # none was finite
            parts.append(f"{label}: evaluation {report['score']:,.2f}, best {best}")
        else:
            parts.append(f"{figure(report['per_second'])}/s")
            if report["eta_seconds"] is not None:
                parts.append(time_left(report["eta_seconds"]))
            names = (name for name in door.figures if name in report)
            parts += [f"{name} {figure(report[name])}" for name in names]
        line.show(parts, stays="score" in report)

    return show


def longer(run: Run) -> int | None:
    """Twice the updates that a run has, which going on with it must ask for.

    None where it goes on as it was asked to: for the rest of its updates, or its hours once more.
    """
    limits = run.settings["trainer"]
    done = max((line["step"] for line in run.metrics()), default=0)
    left = limits["hours"] is not None if limits["steps"] is None else done < limits["steps"]
    return None if left else 2 * max(done, 1)


def summary(run: Run, commands: list[tuple[str, str]]) -> None:
    """The run's page, and what to do next."""
    page = run.gallery / "index.html"
    lines = [command for _, command in commands]
    gallery.write_page([run.path], page, title=run.name, commands=lines)
    print(f"Summary  {page}")
    for does, command in commands:
        print(f"{does:8} {command}")


def quoted(word: Path | str) -> str:
    """A path or a name as the system's shell takes it; cmd.exe knows no single quotes."""
    return subprocess.list2cmdline([str(word)]) if os.name == "nt" else shlex.quote(str(word))
