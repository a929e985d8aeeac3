"""`train dqn --games A,B --seeds N --jobs J`: many trainings on one machine, J at a time.

Each game and seed is a `train dqn` in a process of its own, named GAME-sSEED (after --name, where
that is given: NAME-GAME-sSEED). The same command again goes on where it was: what is finished is
skipped, what is not is resumed. A training that fails leaves the others alone; it is put at the end
of the queue and tried once more. A folder of its name that is no run is skipped, too. In the end
there is one report over all of them.

What is the sweep's own stands beside the tasks' folders, which hold nothing but runs: its report
and what its trainings said to stderr are in `RUNS/sweeps/NAME/` (without --name: the task's).

Cores are shared equally, among PyTorch's threads and once more among the emulators', which run
beside them, unless --threads and --emulator-threads say otherwise. That the replays of all that run
at a time fit into memory is looked at before anything starts.

--hours is for the whole sweep, from this start on. A training that starts gets the time that is
left, divided by the number of rounds that the waiting ones still need at J at a time: all get the
same, and what the early ones leave over (those that reach their --steps) goes to the later ones.
Starting up and the last evaluations are not in it, so a sweep ends some minutes late. What the time
does not suffice for is not started. Without --steps a training that had its share is finished; with
more --hours than the sweep had that gave it, it goes on. With neither a sweep takes a night.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents import checks
from agents.atari import resolve
from playground.config import from_json
from playground.errors import UserError, listed
from playground.run import Run, check_name
from playground.trainer import TrainerConfig
from scripts import report_page, reporting
from scripts.following import SCRIPT
from scripts.progress import counted
from scripts.sweep_queue import ENDED_EARLY, TIME_IS_UP, Job, Sweep, is_done, saved
from scripts.training import PLAY, Door, fresh, quoted

FLAGS = ("games", "seeds", "jobs")  # what makes a training a sweep
NIGHT_HOURS = 8.0  # of a sweep that is told neither --hours nor --steps
# Given to a training that goes on, as what its door calls movable: the other settings it has kept.
ON_RESUME = ("steps", "device", "devices", "precision", "threads", "deterministic", "compile",
             "evaluate_every", "checkpoint_every", "checkpoint_minutes", "log_every",
             "log_seconds", "keep", "nan_patience")  # fmt: skip


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """The flags that make a training a sweep."""
    add = parser.add_argument
    add("--games", metavar="GAME,...", help="a sweep: train all of these, each in its own run, in "
        f"{NIGHT_HOURS:g} hours for all unless --hours or --steps is given")  # fmt: skip
    add("--seeds", type=int, metavar="N", help="of a sweep: so many seeds a game, counted from "
        "--seed (default 1)")  # fmt: skip
    add("--jobs", type=int, metavar="N", help="of a sweep: trainings at a time, which share the "
        "cores; --hours is for all together (default 1)")  # fmt: skip


def is_sweep(args: argparse.Namespace) -> bool:
    """Whether any of its flags is given."""
    return any(getattr(args, name) is not None for name in FLAGS)


def run_sweep(args: argparse.Namespace, door: Door, words: Sequence[str]) -> None:
    """Train all; in the end the report. `words` are the command line's after `train dqn`.

    UserError before anything is started for what no training can use, and in the end where some
    failed.
    """
    jobs = plan(args, door)
    kept = _words_of_all(words)
    limit = getattr(args, "steps", None)
    share = str(max(1, _cores() // _jobs(args)))
    unsaid = (name for name in ("threads", "emulator_threads") if name not in args)
    threads = [word for name in unsaid for word in (_flag(name), share)]

    def command(job: Job) -> list[str]:
        given = [*kept, "--game", job.game, "--seed", str(job.seed), "--name", job.name]
        if job.path.exists():
            given = ["--runs", str(args.runs), "--resume", str(job.path)]
            given += _limits(args, (*ON_RESUME, *door.movable))
        hours = [] if job.hours is None else ["--hours", f"{job.hours:.6f}"]
        return [sys.executable, str(SCRIPT), "train", door.name, *given, *threads, *hours]

    again = " ".join(map(quoted, [*PLAY.split(), "train", door.name, *words]))
    folder = args.runs / "sweeps" / (args.name or door.name)
    logs = folder / "logs"
    all_hours = getattr(args, "hours", None)
    sweep = Sweep(jobs, command, _jobs(args), all_hours, limit, logs)
    within = "" if all_hours is None else f"in {all_hours:g} h, "
    print(
        f"{counted(len(jobs), 'training')}, {_jobs(args)} at a time, {within}into "
        f"{args.runs / door.name}; Ctrl-C saves them, and the same command goes on.",
        flush=True,
    )
    if begun := [job.name for job in jobs if job.state == "waiting" and saved(job)]:
        print(f"Going on with {listed(begun)}; another --name begins anew.", flush=True)
    sweep.run()
    _report(jobs, folder / "report.html")
    if sweep.interrupted or any(job.state in ("saved", "not started") for job in jobs):
        print(f"Go on    {again}")
    if failed := [job for job in jobs if job.state == "failed"]:
        of = f"{len(failed)} of {counted(len(jobs), 'training')} failed"
        why = listed([f"{job.name}: {job.said.rstrip('.')}" for job in failed])
        raise UserError(f"{of}: {why} (all that they said is in {logs}).")


def plan(args: argparse.Namespace, door: Door) -> list[Job]:
    """The trainings, each game's first seed first; UserError for what cannot work.

    Runs that exist must have been trained with the same settings.
    """
    for name in ("seeds", "jobs"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name} must be at least 1.")
    if args.name is not None:
        check_name(args.name)
    if args.resume or args.refill:
        raise UserError("A sweep goes on by the same command: leave out --resume and --refill.")
    if args.watch:
        raise UserError("--watch is for one training; beside a sweep use watch --agent RUN "
                        "--follow.")  # fmt: skip
    if args.games is not None and "game" in args:
        raise UserError("Name the games of a sweep by --games alone, without --game.")
    if not {"steps", "hours"} & vars(args).keys():
        args.hours = NIGHT_HOURS
    if all(getattr(args, name, None) is None for name in ("steps", "hours")):
        raise UserError("A sweep needs --steps or --hours: else its first trainings never end.")
    named = (getattr(args, "game", "pong") if args.games is None else args.games).split(",")
    games = list(dict.fromkeys(resolve(name) for name in named if name.strip()))
    if not games:
        raise UserError("--games needs the name of a game, or several with commas between.")
    first = getattr(args, "seed", 0)
    jobs = []
    for seed in range(first, first + (args.seeds or 1)):
        for game in games:
            name = "-".join([*([args.name] if args.name else []), game, f"s{seed}"])
            job = Job(name, game, seed, args.runs / door.name / name)
            _check(job, args, door)
            jobs.append(job)
    _check_memory(jobs, args, door)
    return jobs


def _check_memory(jobs: list[Job], args: argparse.Namespace, door: Door) -> None:
    """UserError where the replays of those that run at a time do not fit into memory."""
    waiting = sum(job.state == "waiting" for job in jobs)
    if not waiting:
        return
    config, settings = fresh(args, door)  # of all, but for game and seed
    filled = min(config.replay_capacity, settings.steps or config.replay_capacity)
    checks.check_memory(
        replace(config, replay_capacity=filled), min(waiting, _jobs(args)) * settings.devices,
        args.engine or "ours", fewer="--jobs",
    )  # fmt: skip


def _check(job: Job, args: argparse.Namespace, door: Door) -> None:
    """UserError for settings that no training can use, or that a standing run has not."""
    mine = copy.copy(args)
    mine.game, mine.seed = job.game, job.seed
    config, settings = fresh(mine, door)
    if not job.path.exists():
        door.check(config, settings)
        return
    try:
        run = Run.open(job.path)
    except UserError as error:
        job.state, job.said = "skipped", str(error)
        print(f"Skipped: {error}", file=sys.stderr)
        return
    before: Any = from_json(type(config), run.settings["config"])
    trainer = from_json(TrainerConfig, run.settings.get("trainer", {}))
    pairs = [(name, getattr(config, name), getattr(before, name)) for name in vars(config)]
    learning = ("seed", "accumulate", "clip_norm", "ema")
    pairs += [(name, getattr(settings, name), getattr(trainer, name)) for name in learning]
    pairs.append(("engine", args.engine or "ours", run.settings.get("engine", "ours")))
    other = [name for name, wanted, has in pairs if wanted != has and name not in door.movable]
    if other:
        flags = listed([_flag(name) for name in other])
        raise UserError(
            f"{job.path} was trained with another {flags}: choose another --name for this sweep."
        )
    job.look()
    steps, hours = (getattr(args, name, None) for name in ("steps", "hours"))
    job.state = "finished" if _finished(run, steps, hours) else "waiting"
    if job.state == "waiting" and args.engine == "sb3":
        job.state = ENDED_EARLY
        job.said = f"Stable-Baselines3 cannot resume: remove {job.path} to train it anew"


def _finished(run: Run, steps: int | None, hours: float | None) -> bool:
    """Whether it has its steps; without any, whether it had its share of so many hours."""
    if steps is None:
        had = run.settings.get(TIME_IS_UP)
        return had is not None and hours is not None and had >= hours
    return is_done(run.path, steps)


def _words_of_all(words: Sequence[str]) -> list[str]:
    """The command line's words that each training gets too."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in (*FLAGS, "game", "seed", "name", "hours"):
        own.add_argument(f"--{flag}")
    return own.parse_known_args(list(words))[1]


def _limits(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The given ones of these flags, which a training that goes on may be given anew."""
    words = []
    for name in names:
        if name in args:
            flag, value = _flag(name), getattr(args, name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                words += [flag, "none" if value is None else str(value)]
    return words


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _jobs(args: argparse.Namespace) -> int:
    return int(args.jobs or 1)


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _report(jobs: list[Job], out: Path) -> None:
    """The morning's page, of the runs that have figures."""
    paths = [job.path for job in jobs if (job.path / "metrics.jsonl").is_file()]
    if not paths:
        return
    try:
        found = reporting.figures(paths)
    except UserError:  # no game was ended yet
        return
    report_page.write(found, out)
    print(reporting.in_words(found))
    print(f"Report   {out}")
    print(f"Beside published figures   {PLAY} report --reference PATH "
          + " ".join(quoted(path) for path in paths))  # fmt: skip
