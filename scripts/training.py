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
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from playground import gallery
from playground.config import add_arguments, apply_arguments, from_json, to_json
from playground.device import limits_said, set_up
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, launched, seed_everything
from scripts.following import need_display, viewer

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
    add_arguments(parser, door.config_class)
    add_arguments(parser, TrainerConfig)


def run_train(args: argparse.Namespace, door: Door) -> None:
    """Train, or go on; in the end a page and a few lines say what came of it."""
    if args.watch:
        need_display()
    if args.resume:
        run, config, settings = resumed(args, door)
    else:
        run, (config, settings) = None, fresh(args, door)
        door.check(config, settings)
    with launched(settings):  # in as many processes as asked for; the first one comes out of it
        run = _train(args, door, run, config, settings)
    summary(run, door.commands(run))


def _train(
    args: argparse.Namespace, door: Door, run: Run | None, config: Any, settings: TrainerConfig
) -> Run:
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
        trainer = Trainer(settings, task, run, on_progress=progress_line(door, label))
        if resuming:
            step = trainer.resume()
            if settings.steps is not None and step >= settings.steps and not trainer.owed:
                raise UserError(
                    f"{run.path} has {step:,} {door.unit} already: ask for more with --steps, or "
                    "for time with --hours."
                )
            run.update(trainer=to_json(settings), config=to_json(config))
            print(f"Going on with {label} from {step:,} {door.unit} in {run.path}; ", end="")
        else:
            if trainer.rank == 0:  # something to look at from the start
                task.export(run.path / "last.safetensors")
            print(f"Training {label} into {run.path}; ", end="")
        limits = until(settings, door.unit)
        print(f"{trainer.precision} on {trainer.device.type}, {limits}.", flush=True)
        try:
            with viewer(run, args.watch and trainer.rank == 0):
                outcome = trainer.fit()
            reason = REASONS.get(outcome.reason, outcome.reason)
            print(f"Stopped at {outcome.progress:,} {door.unit}: {reason}.", flush=True)
            for sentence in door.finish(task, run) if trainer.rank == 0 else ():
                print(sentence)
        finally:
            if hasattr(task, "close"):
                task.close()
    return run


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


def progress_line(door: Door, label: str) -> Callable[[dict[str, Any]], None]:
    """One line that renews itself on a terminal, one line a report elsewhere."""
    live = sys.stdout.isatty()

    def show(report: dict[str, Any]) -> None:
        parts = [f"{report['progress']:>10,} {door.unit.split()[-1]}"]
        if "score" in report:
            parts.append(f"{label}: evaluation {report['score']:.2f}, best {report['best']:.2f}")
        else:
            parts.append(f"{report['per_second']:.3g}/s")
            for name in door.figures:
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
