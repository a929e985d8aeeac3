"""The queue of a sweep: trainings as processes, a few at a time, and a board of their progress.

What a job's process is the caller says by a command line, so that this knows nothing of tasks. No
process is forked: it works the same where there is no fork.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playground import signals
from playground.errors import UserError
from playground.run import Run, writing
from playground.trainer import reached
from scripts.progress import counted, figure, fitted, room, time_left

POLL_SECONDS = 1.0  # between two looks at the children
LINE_SECONDS = 600.0  # between two lines of a training, where no terminal renews them
TRIES = 2
NARROW = 60  # columns, of which none is left for a table
LEAST_HOURS = 0.01  # less is not worth a start
BREAK_OFF_SECONDS = 20.0  # what a child asked twice to end is given
# In config.json, of a training that has no other end: the sweep's hours, its share of which it had.
TIME_IS_UP = "sweep_time_is_up"
ENDED_EARLY = "ended early"  # the state of one that cannot go on: its weights are all there is
STOPPED = (130, -signal.SIGTERM)  # statuses of one that was asked to end before it began


@dataclass
class Job:
    """One training of the sweep."""

    name: str
    game: str
    seed: int
    path: Path  # of its run
    state: str = "waiting"  # running, finished, saved, ended early, failed, skipped, not started
    hours: float | None = None  # its share, of this start
    tries: int = 0
    said: str = ""  # the last line of its errors
    began: float = 0.0
    process: Any = None
    asked: bool = False  # to end
    errors: Any = None  # the open file of its stderr
    spoke_from: int = 0  # where in it this try begins
    figures: dict[str, Any] = field(default_factory=dict)  # newest of each, from metrics.jsonl
    size: int = -1  # of metrics.jsonl, when last read

    def look(self) -> None:
        """Take over what it has logged since the last look."""
        with contextlib.suppress(OSError, UserError):
            size = (self.path / "metrics.jsonl").stat().st_size
            if size != self.size:
                self.size, self.figures = size, {}
                for line in Run.open(self.path).metrics():
                    self.figures |= line

    def line(self, steps: int | None, columns: int = sys.maxsize) -> str:
        """The job in one line of so many columns at most."""
        name, state = (24, 11) if columns > NARROW else (0, 0)
        head = f"{self.name:{name}} {self.state:{state}}"
        if self.said and self.state != "running":
            head += f"  {self.said}"
        seen, parts = self.figures, [head]
        if "step" in seen:
            parts.append(f"{seen['step']:>11,}" + (f" of {steps:,}" if steps else " agent steps"))
        if self.state == "running":
            if rate := seen.get("per_second"):
                parts.append(f"{figure(rate)}/s")
            if (seconds := self._seconds_left(steps)) is not None:
                parts.append(time_left(seconds))
        for key, word in (("return", "return"), ("evaluate/score", "evaluation")):
            if seen.get(key) is not None:
                parts.append(f"{word} {seen[key]:,.2f}")
        return fitted(parts, columns)

    def _seconds_left(self, steps: int | None) -> float | None:
        limits = []
        if steps and self.figures.get("per_second"):
            limits.append((steps - self.figures["step"]) / self.figures["per_second"])
        if self.hours is not None:
            limits.append(self.hours * 3600 - (time.monotonic() - self.began))
        return max(0.0, min(limits)) if limits else None


def is_done(path: Path, steps: int) -> bool:
    """Whether a run has so many agent steps, saved, and the evaluation that comes after them.

    Without that one, given up or never reached, going on with it makes it first. Where nothing is
    saved to go on from, by Stable-Baselines3 or as somebody has made room, the evaluation decides.
    """
    try:
        run = Run.open(path)
    except UserError:
        return False
    if found := reached(run):
        progress, owed = found
        return progress >= steps and not owed
    return any("evaluate/score" in line and line["step"] >= steps for line in run.metrics())


def share(hours_left: float, waiting: int, jobs: int) -> float:
    """Hours of the next of so many waiting trainings; see the module's top."""
    return hours_left / math.ceil(waiting / jobs)


class Sweep:
    """Runs `command(job)` for each waiting job, `at_once` at a time, until all ended.

    stderr of a job goes to the file `logs/NAME.txt`. `hours` are shared equally (see the module's
    top), or with `in_turn` each may use up what is left.
    """

    def __init__(
        self,
        jobs: list[Job],
        command: Callable[[Job], list[str]],
        at_once: int,
        hours: float | None = None,
        steps: int | None = None,
        logs: Path = Path("logs"),
        in_turn: bool = False,
    ) -> None:
        self.jobs, self.command, self.at_once = jobs, command, at_once
        self.hours, self.steps, self.logs, self.in_turn = hours, steps, logs, in_turn
        self.queue = [job for job in jobs if job.state == "waiting"]
        self.running: list[Job] = []
        self.interrupted = False
        self.board = Board(jobs, steps)
        self._began = time.monotonic()

    def run(self) -> None:
        """Until nothing runs and nothing waits. The first signal lets all save and end."""
        self._began = time.monotonic()
        show = signals.surviving(self.board.show)
        with signals.caught(self._interrupt):
            try:
                while self.running or (self.queue and not self.interrupted):
                    self._start_due()
                    self._look()
                    show(False)
                    time.sleep(POLL_SECONDS if self.running else 0)
            finally:
                self._break_off()
        for job in self.queue:
            job.state = "not started"
        show(True)

    def _interrupt(self) -> str:
        """At the first signal: all save, once. What to tell the user."""
        self.interrupted = True
        for job in self.running:
            _ask_to_end(job)
        self.board.below()
        if not self.running:
            return ""
        what = counted(len(self.running), "training")
        return f"Interrupted: saving {what}; once more breaks off."

    def _start_due(self) -> None:
        while self.queue and len(self.running) < self.at_once and not self.interrupted:
            job = self.queue[0]
            if self.hours is not None:
                left = self.hours - (time.monotonic() - self._began) / 3600
                job.hours = left if self.in_turn else share(left, len(self.queue), self.at_once)
                if job.hours < min(LEAST_HOURS, self.hours / len(self.jobs) / 2):
                    for late in self.queue:
                        late.state = "not started"
                    self.queue = []
                    return
            self.queue.pop(0)
            self._start(job)

    def _start(self, job: Job) -> None:
        job.tries += 1
        job.began, job.state, job.asked = time.monotonic(), "running", False
        try:
            _clear_if_empty(job)
            with writing(self.logs):
                self.logs.mkdir(parents=True, exist_ok=True)
                job.errors = open(self.logs / f"{job.name}.txt", "ab")  # noqa: SIM115
                job.errors.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
                job.errors.flush()
                job.spoke_from = job.errors.tell()
        except UserError as error:
            self._failed(job, str(error))
            return
        options: dict[str, Any] = {}
        if os.name != "nt":
            # Ctrl-C reaches a terminal's whole group: only this process shall take it, and tell the
            # children once, as the second time breaks off. Windows' children take it themselves.
            options["start_new_session"] = True
        try:
            job.process = subprocess.Popen(
                self.command(job), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=job.errors, **options,
            )  # fmt: skip
        except OSError as error:  # no memory for another process, say
            job.errors.close()
            self._failed(job, f"cannot be started: {error}")
            return
        self.running.append(job)
        if self.interrupted:  # the signal came in the midst of this
            _ask_to_end(job)

    def _look(self) -> None:
        for job in list(self.running):
            status = job.process.poll()
            job.look()
            if status is not None:
                self.running.remove(job)
                job.errors.close()
                self._ended(job, status)

    def _ended(self, job: Job, status: int) -> None:
        """Finished, saved before its end, or failed."""
        elapsed = (time.monotonic() - job.began) / 3600
        done = self.steps is not None and is_done(job.path, self.steps)
        if status != 0 and not done and not (job.asked and status in STOPPED):
            self._failed(
                job, _last_line(self.logs / f"{job.name}.txt", job.spoke_from) or _death(status)
            )
            return
        job.state, job.said = "saved" if saved(job) else "not started", ""
        if job.state == "not started" and _weights_alone(job):
            job.state, job.said = ENDED_EARLY, "Stable-Baselines3 cannot resume"
        if done:
            job.state = "finished"
        elif job.hours is not None and elapsed >= job.hours:
            job.said = "its time is up"
            if self.steps is None:
                job.state = "finished"
                Run.open(job.path).update(**{TIME_IS_UP: self.hours})

    def _failed(self, job: Job, why: str) -> None:
        job.said = why
        if job.tries < TRIES and not self.interrupted:
            job.state = "waiting"
            job.said = f"failed, and is tried again: {why}"
            self.queue.append(job)
        else:
            job.state = "failed"

    def _break_off(self) -> None:
        """Leave no child behind, where something broke in."""
        for job in self.running:
            _ask_to_end(job, again=True)
        deadline = time.monotonic() + BREAK_OFF_SECONDS
        for job in self.running:
            try:
                job.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()
            job.errors.close()


def _ask_to_end(job: Job, again: bool = False) -> None:
    """SIGTERM: a training saves, and breaks off when it is asked again.

    Windows would kill it; there Ctrl-C has reached it already.
    """
    if job.asked and not again:
        return
    job.asked = True
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError):
            job.process.send_signal(signal.SIGTERM)


def _clear_if_empty(job: Job) -> None:
    """Remove a run of ours that ended before its first checkpoint: there is nothing to go on from.

    UserError while another process trains it, or where its checkpoints were removed: with a best
    agent there has been one.
    """
    if not job.path.exists() or saved(job):
        return
    run = Run.open(job.path)
    run.lock()
    run.unlock()
    if run.settings.get("engine") == "sb3":
        raise UserError(f"{job.path} ended early, and Stable-Baselines3 cannot resume.")
    if (job.path / "best.safetensors").exists():
        raise UserError(
            f"{job.path} has an agent and no checkpoint to go on from: move it away to train anew."
        )
    shutil.rmtree(job.path)
    job.figures, job.size = {}, -1


def saved(job: Job) -> bool:
    """Whether there is something to go on from."""
    folder = job.path / "checkpoints"
    return any([*folder.glob("step_*"), *folder.glob(".old-step_*")])


def _weights_alone(job: Job) -> bool:
    """Whether it is one of Stable-Baselines3's, which saves weights and nothing to go on from."""
    with contextlib.suppress(UserError):
        theirs = Run.open(job.path).settings.get("engine") == "sb3"
        return theirs and (job.path / "last.safetensors").is_file()
    return False


def _last_line(file: Path, start: int) -> str:
    """That has anything in it, from a byte on."""
    with contextlib.suppress(OSError):
        lines = file.read_bytes()[start:].decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def _death(status: int) -> str:
    """How a process ended that said nothing."""
    if status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return f"was ended by {name}{memory}"
    return f"ended with status {status} and said nothing"


class Board:
    """One line a job: renewed on a terminal; elsewhere printed when there is news."""

    def __init__(self, jobs: list[Job], steps: int | None) -> None:
        self.jobs, self.steps = jobs, steps
        self.live = sys.stdout.isatty()
        self._height = 0  # lines on the terminal
        self._told: dict[str, tuple[Any, ...]] = {}
        self._told_at: dict[str, float] = {}

    def show(self, last: bool = False) -> None:
        """Print what is new."""
        if self.live:
            self._renew(last)
            return
        for job in self.jobs:
            news = (job.state, job.said, job.figures.get("evaluate/score"))
            old, now = self._told.get(job.name, ("waiting", "", None)), time.monotonic()
            late = now - self._told_at.get(job.name, now) >= LINE_SECONDS
            if news != old or (late and job.state == "running"):
                print(job.line(self.steps), flush=True)
                self._told[job.name] = news
                self._told_at[job.name] = now
            self._told_at.setdefault(job.name, now)

    def below(self) -> None:
        """Begin anew under what others have printed."""
        self._height = 0

    def _renew(self, last: bool) -> None:
        columns, rows = room(), shutil.get_terminal_size().lines
        shown = self.jobs
        if not last and len(shown) > rows - 3:  # what runs, and how many others there are
            shown = [job for job in self.jobs if job.state == "running"][: rows - 3]
        lines = [job.line(self.steps, columns) for job in shown]
        if len(shown) < len(self.jobs):
            states = [job.state for job in self.jobs]
            counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
            lines.append(", ".join(counts)[:columns])
        up = f"\x1b[{self._height}A" if self._height else ""
        drawn = "".join(f"\r\x1b[K{line}\n" for line in lines)
        print(up + drawn + "\x1b[J", end="", flush=True)
        self._height = len(lines)
