"""The one loop: rounds of a task, logs, evaluations, checkpoints, time budget, signals.

Built on Lightning Fabric (https://lightning.ai/docs/fabric); what one update is stands in
`update`, where it runs in `device`. It never learns what a batch, an epoch or
an environment is: a task is an `nn.Module` whose child modules are its models, with

    optimizers: dict[str, Optimizer]
    unit: str, progress: int            what `steps` counts ("agent steps") and how many are done
    step(trainer) -> dict[str, Tensor]  one round on data that it fetches itself; every update
                                        goes through trainer.minimize
    evaluate(trainer) -> dict           figures, among them "score", higher is better
    state() / load_state(dict)          what is not a tensor of the module
    export(path)                        weights for use, as safetensors
    frames() -> Iterator[Frame]         what there is to see

and, where it has them, `schedules: dict[str, LRScheduler]` (saved here, stepped by the task),
`averaged: tuple[str, ...]` (the child modules under EMA, all by default), `rehearsal()` (a closure
that gives a loss of typical size, for `precision auto`), `attach(run)` (called once, before
anything is loaded, for a task that keeps files of its own in the run), `checkpoint_due: bool` (asks
for a checkpoint) and `reseed(n)` (other random streams, after the n-th return from a divergence).

Call `seed_everything` before building the task: its first weights are drawn there.
"""

import contextlib
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from playground import checkpoint
from playground.config import setting, validate
from playground.device import lay_out, measured_precision, out_of_memory_said, set_up
from playground.errors import UserError
from playground.run import Run, atomic_path, device_name
from playground.update import Updates

FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
MAX_REWINDS = 3


@dataclass
class TrainerConfig:
    """How to train; what to train is the task's own config."""

    steps: int | None = setting(None, "stop after so many (none: no limit)", "task units")
    hours: float | None = setting(None, "stop after so long, counted anew at each start", "hours")
    seed: int = setting(0, "seed of every random generator")
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    devices: int = setting(1, "how many of them", "processes")
    precision: str = setting(
        "auto", "auto measures and keeps the fastest", choices=("auto", "fp32", "bf16", "fp16")
    )
    compile: bool = setting(False, "torch.compile the models")
    deterministic: bool = setting(False, "same seed, same bits: fp32, fixed threads, slower")
    threads: int | None = setting(None, "CPU threads (none: PyTorch's choice)", "threads")
    clip_norm: float | None = setting(None, "largest norm of an optimizer's gradient")
    accumulate: int = setting(1, "calls of minimize averaged into one update", "calls")
    ema: float | None = setting(None, "decay of the averaged weights used to evaluate and export")
    nan_patience: int = setting(20, "non-finite updates in a row before rewinding", "updates")
    evaluate_every: int | None = setting(None, "evaluate at each multiple", "task units")
    checkpoint_every: int | None = setting(None, "save at each multiple", "task units")
    checkpoint_minutes: float | None = setting(10.0, "save after so long", "minutes")
    log_every: int | None = setting(None, "log at each multiple instead of by time", "task units")
    log_seconds: float = setting(10.0, "log after so long", "seconds")
    keep: int = setting(2, "checkpoints kept", "checkpoints")

    def check(self) -> None:
        """UserError for a number out of its range."""
        for name in ("devices", "accumulate", "nan_patience", "keep"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"--{name.replace('_', '-')} starts at 1, not {getattr(self, name)}."
                )
        for name in (
            *("steps", "hours", "threads", "clip_norm", "evaluate_every", "checkpoint_every"),
            *("checkpoint_minutes", "log_every"),
        ):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0, not {value}.")
        if self.seed < 0:
            raise UserError(f"--seed starts at 0, not {self.seed}.")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise UserError(f"--ema is a decay from 0 to below 1, not {self.ema}.")
        if self.devices > 1:
            raise UserError("Training on several devices is not built yet; use --devices 1.")


@dataclass(frozen=True)
class Outcome:
    """Why a training ended ("steps", "hours", "interrupted", "stopped"), and what it reached."""

    reason: str
    progress: int
    score: float | None  # of the last evaluation
    best: float | None


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def due(every: int | None, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return every is not None and now // every > before // every


class Trainer:
    """Trains one task into one run. `on_progress` gets each log line with rate and time left."""

    def __init__(
        self,
        config: TrainerConfig,
        task: Any,
        run: Run,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        self.config, self.task, self.run = validate(config), task, run
        self.on_progress, self.say = on_progress, say
        device = set_up(config.device, config.threads, config.deterministic)
        lay_out(task, device, config.compile)
        run.lock()
        if hasattr(task, "attach"):
            task.attach(run)
        self.precision = self._choose_precision(device)
        plugin: Any = FABRIC_PRECISION[self.precision]
        self.fabric = Fabric(accelerator=device.type, devices=config.devices, precision=plugin)
        self.fabric.launch()
        self.device = self.fabric.device
        self.updates = Updates(task, self.fabric, config.clip_norm, config.accumulate, config.ema)
        self._sums: dict[str, tuple[Any, int]] = {}  # of the step's figures since the last log
        self._rewinds = 0
        self._hold_until = 0.0  # no saving before: the last attempt was refused
        self._stop: str | None = None
        self._began = self._logged_at = self._saved_at = time.monotonic()
        self._logged_progress = 0
        self.score: float | None = None
        self.best: float | None = None
        # A stream of its own: the task's first weights were drawn from `seed`.
        seed_everything(config.seed + 1)

    def fit(self) -> Outcome:
        """Train until steps or hours are reached, a signal comes or `stop` is called; then save.

        SIGINT and SIGTERM let the round end first; a second one raises KeyboardInterrupt.
        UserError: disk full, out of memory, or a training that diverges again after rewinding.
        """
        config, task = self.config, self.task
        self._stop = None
        self._began = self._logged_at = self._saved_at = time.monotonic()
        self._logged_progress = task.progress
        evaluated = saved = task.progress  # as it was at the last evaluation and save
        with self._run_ended(), self._signals(), out_of_memory_said():
            while (reason := self._reason()) is None:
                before = task.progress
                self._add(task.step(self))
                now = task.progress
                logging = self._log_due(before, now)
                if logging:
                    self._log()
                if (logging or self.updates.may_read) and self._diverging():
                    self._rewind()
                    continue
                best = False
                if due(config.evaluate_every, before, now):
                    best = self._evaluate()
                    evaluated = now
                # With a new best.safetensors its score: a kill must not leave one without the other
                if best or due(config.checkpoint_every, before, now) or self._save_due():
                    self.save()
                    saved = now
            if reason in ("steps", "hours") and evaluated != task.progress:
                self._evaluate()
                saved = -1
            if saved != task.progress:
                self.save()
        return Outcome(reason, task.progress, self.score, self.best)

    def stop(self) -> None:
        """End `fit` after this round (for tasks that know when they are done)."""
        self._stop = "stopped"

    @property
    def stopping(self) -> bool:
        """Whether `fit` is to end: a long evaluation gives up then, by returning no score."""
        return self._stop is not None

    def minimize(self, loss_fn: Callable[[], Tensor], optimizer: Optimizer) -> Tensor:
        """One update of `optimizer`'s parameters towards a smaller `loss_fn()`; the loss, detached.

        Only these parameters get gradients, whatever else the loss depends on. With accumulate=n
        every n-th call updates, on the mean of n losses. A non-finite update is skipped. L-BFGS
        calls `loss_fn` as often as it needs, without clipping and accumulation. Nothing waits for
        a GPU if the optimizer was made with fused=True.
        """
        return self.updates.minimize(loss_fn, optimizer)

    def save(self) -> Path | None:
        """Checkpoint now, with last.safetensors; None while updates are non-finite."""
        self._saved_at = time.monotonic()
        if self.updates.bad_run:
            self.say("Not saved: the last update was not finite. The checkpoint before stands.")
            self._hold_until = self._saved_at + self.config.log_seconds
            return None
        task = self.task
        state = {
            "task": type(task).__name__,
            "modules": task.state_dict(),
            "updates": self.updates.state(),
            "schedules": {n: s.state_dict() for n, s in getattr(task, "schedules", {}).items()},
            "sums": self._sums,
            "score": self.score,
            "best": self.best,
            "rng": checkpoint.rng_state(),
            "state": task.state(),
        }
        path = checkpoint.save(self.run.checkpoints, task.progress, state, self.config.keep)
        with self.updates.averaged(), atomic_path(self.run.path / "last.safetensors") as aside:
            task.export(aside)
        return path

    def resume(self, path: Path | None = None) -> int:
        """Go on exactly where a checkpoint (by default the run's newest good one) was saved.

        Returns its progress. UserError when there is none or it belongs to another task.
        """
        step, state = checkpoint.load(path or self.run.checkpoints, self.say)
        task = self.task
        if state.get("task") != type(task).__name__:
            raise UserError(
                f"This checkpoint is of the task {state.get('task')}, not {type(task).__name__}."
            )
        try:
            task.load_state_dict(state["modules"])
            self.updates.load_state(state["updates"])
            for name, schedule in getattr(task, "schedules", {}).items():
                schedule.load_state_dict(state["schedules"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"The checkpoint does not fit these settings: {reason}") from error
        self._sums = state["sums"]
        self.score, self.best = state["score"], state["best"]
        task.progress = step
        task.load_state(state["state"])
        self.run.rewind(step)
        checkpoint.set_rng_state(state["rng"])  # last, as all of the above may draw
        return step

    def _diverging(self) -> bool:
        return bool(self.updates.bad_run >= self.config.nan_patience)

    def _rewind(self) -> None:
        """After too many non-finite updates: back to the last good state, with other chances."""
        self._rewinds += 1
        if self._rewinds > MAX_REWINDS or checkpoint.latest(self.run.checkpoints) is None:
            raise UserError(
                f"The training diverged: {self.config.nan_patience} updates in a row were not "
                "finite, and going back does not help. Lower the learning rate or set --clip-norm."
            )
        step = self._logged_progress = self.resume()
        self.say(
            f"{self.config.nan_patience} updates in a row were not finite; went back to the "
            f"checkpoint at {step} {self.task.unit}."
        )
        seed_everything(self.config.seed + 1 + 1000 * self._rewinds)
        if hasattr(self.task, "reseed"):
            self.task.reseed(self._rewinds)

    def _evaluate(self) -> bool:
        """Score the averaged models in eval mode; export them, and say so, when they are the best.

        Generators and modes are put back, so that evaluating never changes the training.
        """
        rng, progress = checkpoint.rng_state(), self.task.progress
        modes = [(module, module.training) for module in self.task.modules()]
        self.task.eval()
        with self.updates.averaged():
            figures = self.task.evaluate(self)
            score = float(figures.get("score", math.nan))
            best = math.isfinite(score) and (self.best is None or score > self.best)
            if best:
                self.best = score
                with atomic_path(self.run.path / "best.safetensors") as aside:
                    self.task.export(aside)
        checkpoint.set_rng_state(rng)
        for module, training in modes:
            module.training = training
        if "score" not in figures:  # given up, as the training is to end
            return False
        self.score = score
        self.run.log(progress, **{f"evaluate/{key}": value for key, value in figures.items()})
        if self.on_progress:
            self.on_progress({"progress": progress, "best": self.best, **figures})
        return best

    def _add(self, figures: dict[str, Any]) -> None:
        """Sum a round's figures where they are, without reading them."""
        for name, value in figures.items():
            value = value.detach() if isinstance(value, Tensor) else value
            total, count = self._sums.get(name, (0, 0))
            self._sums[name] = (total + value, count + 1)

    def _log(self) -> None:
        """Write the mean figures since the last log, and report progress."""
        now, progress = time.monotonic(), self.task.progress
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        if skipped := int(self.updates.skipped):
            means["skipped_updates"] = skipped
        rate = (progress - self._logged_progress) / max(now - self._logged_at, 1e-9)
        self.run.log(progress, **means, per_second=round(rate, 3))
        self._sums, self._logged_at, self._logged_progress = {}, now, progress
        if not self.on_progress:
            return
        left = []  # seconds, by each limit
        if self.config.steps is not None and rate > 0:
            left.append((self.config.steps - progress) / rate)
        if self.config.hours is not None:
            left.append(self.config.hours * 3600 - (now - self._began))
        report = {"progress": progress, "steps": self.config.steps, "unit": self.task.unit}
        eta = max(0.0, min(left)) if left else None
        self.on_progress({**report, "per_second": rate, "eta_seconds": eta, **means})

    def _log_due(self, before: int, now: int) -> bool:
        if self.config.log_every is not None:
            return due(self.config.log_every, before, now)
        return time.monotonic() - self._logged_at >= self.config.log_seconds

    def _save_due(self) -> bool:
        now, minutes = time.monotonic(), self.config.checkpoint_minutes
        asked = getattr(self.task, "checkpoint_due", False) and now >= self._hold_until
        return asked or (minutes is not None and now - self._saved_at >= minutes * 60)

    def _reason(self) -> str | None:
        """Why to stop now, if at all."""
        if self.config.steps is not None and self.task.progress >= self.config.steps:
            return "steps"
        hours = self.config.hours
        if hours is not None and time.monotonic() - self._began >= hours * 3600:
            return "hours"
        return self._stop

    @contextlib.contextmanager
    def _run_ended(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.run.close()
            self.run.unlock()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """While it lasts, the first SIGINT, SIGTERM or SIGHUP ends `fit`, a second breaks in."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals to the main thread only
            return

        def handle(number: int, frame: Any) -> None:
            if self._stop == "interrupted":
                raise KeyboardInterrupt
            self._stop = "interrupted"
            # Not `say`: a signal may come in the midst of a print, which cannot be entered twice.
            os.write(2, b"\nInterrupted: saving after this round; once more breaks off.\n")

        names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last when a terminal closes; not on Windows
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _choose_precision(self, device: torch.device) -> str:
        """The precision's name; the choice is kept in the run's settings and on resume."""
        name, reason = self.config.precision, "asked for"
        if self.config.deterministic:
            name, reason = "fp32", "deterministic mode"
        elif name == "auto":
            kept = self.run.settings.get("precision")
            if kept is not None and kept["device"] == device_name(device.type):
                return kept["precision"]
            name, reason = measured_precision(self.task, device)
        if name == "fp16" and device.type == "cpu":
            raise UserError("fp16 needs a GPU; on a CPU use --precision bf16, fp32 or auto.")
        chosen = {"precision": name, "reason": reason, "device": device_name(device.type)}
        self.run.update(precision=chosen)
        return name
