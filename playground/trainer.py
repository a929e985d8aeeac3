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
    export(path)                        weights for use, as safetensors with their settings
    frames() -> Iterator[Frame]         what there is to see

and, where it has them, `schedules: dict[str, LRScheduler]` (saved here, stepped by the task),
`averaged: tuple[str, ...]` (the child modules under EMA, all by default), `rehearsal()` (a closure
that gives a loss of typical size, for `precision auto`), `attach(run)` (called once, before
anything is loaded, for a task that keeps files of its own in the run), `begin(trainer)` (called in
front of a new training, to keep what the untrained models do), `checkpoint_due: bool` (asks for a
checkpoint), `confirm(trainer)` (asked where `evaluate` found a better score than the best so far,
so not the first time: figures from more looks, which count instead), `reseed(n)` (other random
streams, after the n-th return from a divergence), `panel_stride: int` (see `panels`), `graph: bool`
(its `learn` records) and `join(dict)` (below).

Call `seed_everything` before building the task: its first weights are drawn there.

Several processes (see `ranks`): build task and run inside `with launched(config)`. All of them run
the same loop on a task of their own and call `step` equally often; `minimize` averages gradients,
so that all keep the same weights (at the start, the first one's). What differs the task says by
`trainer.rank` and `trainer.world`: its share of each batch. `progress` counts what all of them did
and is the same in all. Global random generators differ, so augmentation and exploration do.
`begin`, `evaluate` and `confirm` are called in all of them, and the first one's figures count;
`trainer.mean` and `gather` put shares together. `state()` is asked of each, and given back to each;
a process that the checkpoint does not know gets the first one's by `join`, or else by `load_state`.
A batch norm sees its own process's batch (on GPUs that of all; see `norms`).
"""

import contextlib
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from playground import checkpoint, device, panels, ranks, signals
from playground.agenda import Agenda, due
from playground.config import TASK_UNIT, setting, validate
from playground.device import FABRIC_PRECISION
from playground.errors import UserError
from playground.figures import Means
from playground.norms import shared_statistics
from playground.run import Run, atomic_path
from playground.update import Updates

MAX_REWINDS = 3


@dataclass
class TrainerConfig:
    """How to train; what to train is the task's own config."""

    steps: int | None = setting(
        None, "stop after so many (none: no limit, or the task's)", TASK_UNIT
    )
    hours: float | None = setting(None, "stop after so long, counted anew at each start", "hours")
    seed: int = setting(0, "seed of every random generator")
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    devices: int = setting(1, "how many of them train together", "processes")
    precision: str = setting(
        "auto", "auto measures and keeps the fastest", choices=("auto", *FABRIC_PRECISION)
    )
    compile: bool = setting(False, "torch.compile the models' calls")
    deterministic: bool = setting(False, "same seed, same bits: slow, fixed threads, auto is fp32")
    threads: int | None = setting(None, "CPU threads (none: PyTorch's choice)", "threads")
    clip_norm: float | None = setting(None, "largest norm of an optimizer's gradient")
    accumulate: int = setting(1, "calls of minimize averaged into one update", "calls")
    ema: float | None = setting(None, "decay of the averaged weights used to evaluate and export")
    nan_patience: int = setting(20, "non-finite updates in a row before rewinding", "updates")
    evaluate_every: int | None = setting(
        None, "evaluate at each multiple (none: as fits the task, at least at the end)", TASK_UNIT
    )
    checkpoint_every: int | None = setting(None, "save at each multiple", TASK_UNIT)
    checkpoint_minutes: float | None = setting(10.0, "save after so long", "minutes")
    log_every: int | None = setting(None, "log at each multiple instead of by time", TASK_UNIT)
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
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed lies from 0 to 2^63 - 1, not at {self.seed}.")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise UserError(f"--ema is a decay from 0 to below 1, not {self.ema}.")


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


def launched(config: TrainerConfig) -> contextlib.AbstractContextManager[None]:
    """Run a block in as many processes as `config` asks for; only the first one comes out of it."""
    return ranks.launched(device.find(config.device).type, config.devices)


def reached(run: Run) -> tuple[int, bool] | None:
    """The progress that a run would go on from, and whether it owes an evaluation; None if none."""
    found = checkpoint.glance(run.path / "checkpoints")
    return None if found is None else (found[0], bool(found[1].get("owed", False)))


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
        self.rank, self.world = ranks.rank(), ranks.world()
        self.on_progress = (
            signals.surviving(on_progress) if on_progress and self.rank == 0 else None
        )
        self.say = signals.surviving(say) if self.rank == 0 else lambda text: None
        if ranks.planned(config.devices) != self.world:
            raise UserError(
                "Several processes start before anything else: build the task, the run and the "
                "Trainer inside `with launched(config):`."
            )
        where = device.set_up(config.device, config.threads, config.deterministic)
        if config.precision == "fp64":
            if where.type == "mps":
                raise UserError("Apple's GPUs know no fp64: use --device cpu.")
            task.double()
        device.lay_out(task, where)
        if self.world > 1:
            task.load_state_dict(ranks.by_first(task.state_dict))
        run.lock()
        if hasattr(task, "attach"):
            task.attach(run)
        self.precision = ranks.by_first(
            lambda: device.chosen_precision(
                config.precision, config.deterministic, task, run, where.type, self.say
            )
        )
        # After the one above, which is measured in the first process alone: both change the models
        # so that a forward may wait for the other processes, or for a compiler.
        device.share_norms(task, where)
        if config.compile:
            device.compile(task, self.say)
        precision = FABRIC_PRECISION[self.precision]
        self.fabric = ranks.fabric(where.type, config.devices, precision)
        self.fabric.launch()
        self.device = self.fabric.device
        self.updates = Updates(task, self.fabric, config.clip_norm, config.accumulate, config.ema)
        self.agenda = Agenda(config.hours, config.log_seconds, config.checkpoint_minutes)
        self.means = Means()  # of the step's figures since the last log
        self._rewinds = self._in_vain = 0  # in all, and since it last came further than before
        self._diverged_at = -1  # progress
        self._logged_progress = 0
        self._told_skipped = 0  # updates
        self.score: float | None = None
        self.best: float | None = None
        self.owed = False  # an evaluation that was given up: it is made first on going on
        # A stream of its own: the task's first weights were drawn from `seed`.
        seed_everything(ranks.stream_seed(config.seed + 1))

    def fit(self) -> Outcome:
        """Train until steps or hours are reached, a signal comes or `stop` is called; then save.

        A signal (see `signals.caught`) lets the round end first; a second one raises
        KeyboardInterrupt.
        UserError: disk full, out of memory, or a training that diverges again after rewinding.
        """
        config, task = self.config, self.task
        if getattr(task, "graph", False):  # now, not when the first update is due
            self.updates.check_recordable()
        self.agenda.begin()
        self._logged_progress = task.progress
        evaluated = saved = task.progress  # as it was at the last evaluation and save
        with self._run_ended(), signals.caught(self._interrupt), device.limits_said():
            if not task.progress and hasattr(task, "begin"):
                with self._looking():
                    task.begin(self)
            if self.owed:
                self._evaluate()
                saved = -1
            while (reason := self._reason()) is None:
                before = task.progress
                self.means.add(task.step(self))
                now = task.progress
                log, save = self.agenda.meet(getattr(task, "checkpoint_due", False))
                if config.log_every is not None:
                    log = due(config.log_every, before, now)
                if log or self._reason() is not None:  # what is left in the end, too
                    self._log(go_on=not log)
                if (log or self.updates.may_read) and self._diverging():
                    self._rewind()
                    continue
                best = False
                if due(config.evaluate_every, before, now):
                    best = self._evaluate()
                    evaluated = now
                # With a new best.safetensors its score: a kill must not leave one without the other
                if best or save or due(config.checkpoint_every, before, now):
                    # Until the evaluation at the end is made.
                    self.owed |= self._reason() in ("steps", "hours") and evaluated != now
                    if self.save() is not None:
                        saved = now
            if reason in ("steps", "hours") and evaluated != task.progress:
                self._evaluate()
                saved = -1
            if saved != task.progress:
                self.save(last=True)
        return Outcome(reason, task.progress, self.score, self.best)

    def stop(self) -> None:
        """End `fit` after this round (for tasks that know when they are done)."""
        self.agenda.stop = "stopped"

    @property
    def stopping(self) -> bool:
        """Whether `fit` is asked to end: a long evaluation gives up then, by returning no score.

        Not where its steps or hours are over: that evaluation is the last, and is made.

        Of several processes this one may know it first: what all of them do together goes on.
        """
        return self.agenda.stop in ("stopped", "interrupted")

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, each of which must ask for it, and in the same order."""
        return ranks.mean(tensor)

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank; tensors on the CPU. See `mean`."""
        return ranks.gather(value)

    def minimize(self, loss_fn: Callable[[], Tensor], optimizer: Optimizer) -> Tensor:
        """One update of `optimizer`'s parameters towards a smaller `loss_fn()`; the loss, detached.

        Only these parameters get gradients, whatever else the loss depends on. With accumulate=n
        every n-th call updates, on the mean of n losses. A non-finite update is skipped. L-BFGS
        calls `loss_fn` as often as it needs, without clipping and accumulation. Nothing waits for
        a GPU if the optimizer was made with fused=True.
        """
        return self.updates.minimize(loss_fn, optimizer)

    def restart_averages(self, optimizer: Optimizer) -> None:
        """Averaged weights of `optimizer`'s parameters begin anew, at these weights as they are.

        For trainings of several parts: else those of the part before are averaged in for long.
        """
        self.updates.restart_averages(optimizer)

    def learn(
        self,
        loss_fn: Callable[..., tuple[Tensor, ...]],
        optimizer: Optimizer,
        inputs: Sequence[Tensor],
        graph: bool = False,
    ) -> tuple[Tensor, ...]:
        """`minimize` of the first output of `loss_fn(*inputs)`; all of its outputs, detached.

        With `graph` the update is recorded as a CUDA graph and replayed from then on (see
        `graphs`): `loss_fn` must be the same each time (or equal), depend on tensors alone, and
        read none off the GPU; outputs hold until the next call. UserError where that cannot be.
        """
        return self.updates.learn(loss_fn, optimizer, inputs, graph)

    def save(self, last: bool = False) -> Path | None:
        """Checkpoint now, with last.safetensors.

        None while updates or weights are non-finite (the `last` time weights alone: an update that
        was skipped changed nothing), and where the run keeps nothing.
        """
        if not self.run.kept:
            return None
        bad = (self.updates.bad_run and not last) or not self.updates.finite()
        if ranks.largest([int(bad)])[0]:  # batch norms' statistics are each process's own
            self.say("Not saved: the last update was not finite. The checkpoint before stands.")
            self.agenda.saved(again_in=self.config.log_seconds)
            return None
        self.agenda.saved()
        if self.task.progress > self._diverged_at:
            self._in_vain = 0
        with self.agenda.aside(), shared_statistics(self.task) as statistics:
            mine = {
                "sums": self.means.sums,
                "rng": checkpoint.rng_state(),
                "state": self.task.state(),
                "statistics": statistics,
                "accumulating": self.updates.accumulating(),
            }
            parts = ranks.to_first(mine)
            # Nobody goes on, and drops what an older checkpoint needs, before the new one stands.
            return ranks.by_first(lambda: self._write(parts))

    def _write(self, parts: list[dict[str, Any]]) -> Path:
        """The checkpoint of these processes' parts."""
        task = self.task
        state = {
            "task": type(task).__name__,
            "modules": task.state_dict(),
            "updates": self.updates.state(),
            "schedules": {n: s.state_dict() for n, s in getattr(task, "schedules", {}).items()},
            "score": self.score,
            "best": self.best,
            "owed": self.owed,
            **parts[0],
            "others": parts[1:],
        }
        path = checkpoint.save(self.run.checkpoints, task.progress, state, self.config.keep)
        with self.updates.averaged(), atomic_path(self.run.path / "last.safetensors") as aside:
            task.export(aside)
        return path

    def resume(self, path: Path | None = None) -> int:
        """Go on exactly where a checkpoint (by default the run's newest good one) was saved.

        Returns its progress. UserError when there is none or it belongs to another task. With
        another number of processes than saved it, what each had of its own is lost or begun anew.
        """
        step, state = ranks.by_first(
            lambda: checkpoint.load(path or self.run.checkpoints, self.say)
        )
        task = self.task
        if state.get("task") != type(task).__name__:
            raise UserError(
                f"This checkpoint is of the task {state.get('task')}, not {type(task).__name__}."
            )
        parts = [state, *state.get("others", [])]
        same = len(parts) == self.world
        try:
            task.load_state_dict(state["modules"])
            self.updates.load_state(state["updates"])
            for name, schedule in getattr(task, "schedules", {}).items():
                schedule.load_state_dict(state["schedules"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"The checkpoint does not fit these settings: {reason}") from error
        if same:
            task.load_state_dict(parts[self.rank].get("statistics", {}), strict=False)
        else:
            self.say(f"Saved by {len(parts)} processes, going on with {self.world}.")
        parts_here = [parts[self.rank]] if same else parts
        self.updates.load_accumulating([part.get("accumulating", {}) for part in parts_here])
        self.score, self.best = state["score"], state["best"]
        self.owed = state.get("owed", False)
        task.progress = step
        self.run.rewind(step)
        if self.rank < len(parts):
            mine = parts[self.rank]
            self.means.sums = mine["sums"]
            task.load_state(mine["state"])
            checkpoint.set_rng_state(mine["rng"])  # last, as all of the above may draw
        else:
            self.means.sums = {}
            getattr(task, "join", task.load_state)(state["state"])
            seed_everything(ranks.stream_seed(self.config.seed + 1 + step))
        return step

    def _diverging(self) -> bool:
        return bool(self.updates.bad_run >= self.config.nan_patience)

    def _rewind(self) -> None:
        """After too many non-finite updates: back to the last good state, with other chances."""
        self._rewinds += 1
        self._in_vain += 1
        self._diverged_at = max(self._diverged_at, self.task.progress)
        saved = ranks.by_first(lambda: checkpoint.latest(self.run.checkpoints))
        if self._in_vain > MAX_REWINDS or saved is None:
            raise UserError(
                f"The training diverged: {self.config.nan_patience} updates in a row were not "
                "finite, and going back does not help. Lower the learning rate or set --clip-norm."
            )
        step = self._logged_progress = self.resume()
        self.agenda.logged()
        self.say(
            f"{self.config.nan_patience} updates in a row were not finite; went back to the "
            f"checkpoint at {step} {self.task.unit}."
        )
        seed_everything(ranks.stream_seed(self.config.seed + 1 + 1000 * self._rewinds))
        if hasattr(self.task, "reseed"):
            self.task.reseed(self._rewinds)

    def _evaluate(self) -> bool:
        """Score the averaged models; export them, and say so, when they are the best."""
        progress = self.task.progress
        with self._looking(), shared_statistics(self.task), self.updates.averaged():
            figures = self._first(self.task.evaluate)
            best = self._is_best(figures)
            if best and self.best is not None and hasattr(self.task, "confirm"):
                figures = self._first(self.task.confirm)
                best = self._is_best(figures)
            if best:
                self.best = float(figures["score"])
            if best and self.run.writes:
                with atomic_path(self.run.path / "best.safetensors") as aside:
                    self.task.export(aside)
            if self.rank == 0 and not self.stopping:
                panels.keep(self.task, self.run, progress)
        self.owed = "score" not in figures
        if self.owed:  # given up, as the training is to end
            return False
        self.score = float(figures["score"])
        self.run.log(progress, **{f"evaluate/{key}": value for key, value in figures.items()})
        if self.on_progress:
            self.on_progress({"progress": progress, "best": self.best, **figures})
        return best

    def _first(self, look: Callable[["Trainer"], dict[str, Any]]) -> dict[str, Any]:
        """The first process's figures of what all of them do."""
        own = look(self)
        return ranks.by_first(lambda: own)

    def _is_best(self, figures: dict[str, Any]) -> bool:
        score = float(figures.get("score", math.nan))
        return math.isfinite(score) and (self.best is None or score > self.best)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        """A block in evaluation mode, aside from the training's time.

        Generators and modes are put back, so that looking never changes the training.
        """
        rng = checkpoint.rng_state()
        modes = [(module, module.training) for module in self.task.modules()]
        self.task.eval()
        with self.agenda.aside():
            yield
        checkpoint.set_rng_state(rng)
        for module, training in modes:
            module.training = training

    def _log(self, go_on: bool = False) -> None:
        """Write the mean figures since the last log, and report progress.

        With `go_on` the next line's means take in these rounds too: it is not this line's time yet,
        and a training that goes on later has the lines of one without the stop, and this one.
        """
        progress, seconds = self.task.progress, self.agenda.logged()
        means = self.means.take(go_on)
        if skipped := int(self.updates.skipped):
            means["skipped_updates"] = skipped
        if skipped > 2 * self._told_skipped:  # a few lines, however many there are
            self._told_skipped = skipped
            self.say(
                f"Updates that were not finite, and so were skipped: {skipped} so far; after "
                f"{self.config.nan_patience} in a row the training goes back to a checkpoint."
            )
        rate = (progress - self._logged_progress) / max(seconds, 1e-9)
        self._logged_progress = progress
        self.run.log(progress, **means, per_second=round(rate, 3))
        if not self.on_progress:
            return
        steps = self.config.steps
        left = (steps - progress) / rate if steps is not None and rate > 0 else None
        report = {"progress": progress, "steps": steps, "unit": self.task.unit, "per_second": rate}
        self.on_progress({**report, "eta_seconds": self.agenda.eta(left), **means})

    def _reason(self) -> str | None:
        """Why to stop now, if at all."""
        if self.config.steps is not None and self.task.progress >= self.config.steps:
            return "steps"
        return self.agenda.end

    def _interrupt(self) -> str:
        """At the first signal; what to tell the user."""
        self.agenda.stop = "interrupted"
        text = "Interrupted: saving after this round; once more breaks off."
        return text if self.rank == 0 else ""

    @contextlib.contextmanager
    def _run_ended(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.run.close()
            self.run.unlock()
