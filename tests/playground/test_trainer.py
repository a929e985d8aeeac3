"""The loop, proved on two toy tasks: two optimizers, and an L-BFGS closure."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from playground import agenda, checkpoint, device, norms
from playground.errors import UserError
from playground.run import Run, device_name
from playground.trainer import Outcome, Trainer, TrainerConfig, due, reached, seed_everything
from playground.update import ema_decay

EXACT: dict[str, Any] = {
    **{"seed": 3, "deterministic": True, "device": "cpu", "checkpoint_minutes": None},
    **{"evaluate_every": 10, "log_every": 4, "checkpoint_every": 7, "log_seconds": 1e9},
}


class TinyGan(nn.Module):
    """Two models, two optimizers: a generator of 1-D points against a critic."""

    unit = "rounds"

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)
        )
        self.critic = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
        self.optimizers = {
            "critic": torch.optim.Adam(self.critic.parameters(), 2e-2, (0.5, 0.9), fused=True),
            "generator": torch.optim.AdamW(self.generator.parameters(), 2e-2, (0.5, 0.9)),
        }
        rate = torch.optim.lr_scheduler.ExponentialLR(self.optimizers["critic"], 0.99)
        self.schedules = {"critic": rate}
        self.progress = 0
        self.seen = 0  # the data's position
        self.spoil: Callable[[int], bool] = lambda progress: False
        self.on_round: Callable[[int], None] = lambda progress: None

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seen)
        real = 3 + torch.randn(16, 1, generator=generator)
        fake = self.generator(torch.randn(16, 4)).detach()
        spoilt = float("nan") if self.spoil(self.progress) else 1.0

        def critic_loss() -> Tensor:
            loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake)).mean()
            return loss * spoilt

        def generator_loss() -> Tensor:
            return F.softplus(-self.critic(self.generator(torch.randn(16, 4)))).mean() * spoilt

        critic = trainer.minimize(critic_loss, self.optimizers["critic"])
        made = trainer.minimize(generator_loss, self.optimizers["generator"])
        self.schedules["critic"].step()
        self.progress += 1
        self.seen += 1
        self.on_round(self.progress)
        return {"critic_loss": critic, "generator_loss": made}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        with torch.no_grad():
            mean = self.generator(torch.randn(64, 4)).mean()
        return {"score": -abs(float(mean) - 3), "mean": mean}

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def export(self, path: Path) -> None:
        save_file(self.generator.state_dict(), path)

    def rehearsal(self) -> Callable[[], Tensor]:
        x = torch.randn(32, 4)
        return lambda: self.critic(self.generator(x)).square().mean()

    def frames(self) -> Iterator[Any]:
        return iter(())


class Rosenbrock(nn.Module):
    """One parameter of the task itself under an L-BFGS closure (minimum 0 at (1, 1))."""

    unit = "updates"

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.tensor([-1.5, 2.0], dtype=torch.float64))
        lbfgs = torch.optim.LBFGS([self.point], max_iter=4, line_search_fn="strong_wolfe")
        self.optimizers = {"lbfgs": lbfgs}
        self.progress = 0
        self.closures = 0

    def loss(self) -> Tensor:
        self.closures += 1
        x, y = self.point
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        loss = trainer.minimize(self.loss, self.optimizers["lbfgs"])
        self.progress += 1
        return {"loss": loss}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        return {"score": -float(self.loss().detach())}

    def state(self) -> dict[str, Any]:
        return {"closures": self.closures}

    def load_state(self, state: dict[str, Any]) -> None:
        self.closures = state["closures"]

    def export(self, path: Path) -> None:
        save_file({"point": self.point.detach()}, path)

    def frames(self) -> Iterator[Any]:
        return iter(())


class Regression(nn.Module):
    """A convolution and a linear layer fitted to batches that the test hands over."""

    unit = "batches"

    def __init__(self, batches: list[Tensor], **adam: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1))
        self.net.double()
        self.optimizers = {"adam": torch.optim.Adam(self.net.parameters(), 1e-2, **adam)}
        self.batches, self.progress = batches, 0

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        x = self.batches[self.progress]
        loss = trainer.minimize(
            lambda: (self.net(x) - x.sum((1, 2, 3))[:, None]).square().mean(),
            self.optimizers["adam"],
        )
        self.progress += 1
        return {"loss": loss}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        return {"score": 0.0}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def export(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.net.state_dict().items()}, path)

    def frames(self) -> Iterator[Any]:
        return iter(())


def trainer_of(task: Any, run: Run | Path, **config: Any) -> Trainer:
    if isinstance(run, Path):
        run = Run.create(run, type(task).__name__.lower(), None, {})
    config = {"device": "cpu", "precision": "fp32", "threads": 1, **config}
    return Trainer(TrainerConfig(**config), task, run, say=lambda text: None)


class Counting(Regression):
    """Tells the number of each round; the test may have something done in it."""

    def __init__(self, rounds: int = 40, **adam: Any) -> None:
        super().__init__(batches(1) * rounds, **adam)
        self.on_round: Callable[[int], None] = lambda progress: None

    def step(self, trainer: Trainer) -> dict[str, Any]:
        figures = super().step(trainer)
        self.on_round(self.progress)
        return {**figures, "round": self.progress}


class Turns(nn.Module):
    """Two networks with batch norms, each with an optimizer, that learn in turns."""

    unit = "turns"

    def __init__(self) -> None:
        super().__init__()
        self.net, self.other = (
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)) for _ in range(2)
        )
        self.optimizers = {
            "net": torch.optim.Adam(self.net.parameters()),
            "other": torch.optim.Adam(self.other.parameters()),
        }
        self.progress = 0

    def turn(self, trainer: Trainer, x: Tensor) -> None:
        """What is spoilt is seen by both."""
        for name, optimizer in self.optimizers.items():
            net = getattr(self, name)
            trainer.minimize(lambda net=net: F.softplus(net(x)).mean(), optimizer)

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def export(self, path: Path) -> None:
        save_file(self.net.state_dict(), path)


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def gan(run: Run | Path, **config: Any) -> Trainer:
    seed_everything(config.get("seed", 0))
    return trainer_of(TinyGan(), run, **config)


def figures(run: Run) -> list[dict[str, Any]]:
    """Metrics without the clock's."""
    return [{k: v for k, v in m.items() if k not in ("time", "per_second")} for m in run.metrics()]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def batches(count: int, size: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(count, size, 2, 4, 4, generator=generator, dtype=torch.float64))


# ---- the loop


def test_two_optimizers_learn_and_leave_a_run(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    seed_everything(0)
    run = Run.create(tmp_path, "gan", None, {})
    config = TrainerConfig(steps=400, evaluate_every=100, log_every=100, device="cpu", threads=1)
    trainer = Trainer(config, TinyGan(), run, on_progress=reports.append)
    outcome = trainer.fit()
    assert outcome.reason == "steps" and outcome.progress == 400
    assert outcome.best is not None and outcome.best > -1  # it started 3.5 from the real mean
    logs = [m for m in run.metrics() if "critic_loss" in m]
    assert [m["step"] for m in logs] == [100, 200, 300, 400]
    assert [m["step"] for m in run.metrics() if "evaluate/score" in m] == [100, 200, 300, 400]
    assert reports[0]["per_second"] > 0 and reports[0]["eta_seconds"] > 0
    assert reports[1]["score"] == run.metrics()[1]["evaluate/score"]
    for name in ("best", "last"):
        weights = load_file(run.path / f"{name}.safetensors")
        assert set(weights) == set(trainer.task.generator.state_dict())
    assert checkpoint.latest(run.checkpoints) is not None
    assert run.settings["precision"]["precision"] in ("fp32", "bf16")
    assert "fp32" in run.settings["precision"]["reason"] and run.settings["precision"]["device"]


def test_an_lbfgs_closure_converges(tmp_path: Path) -> None:
    outcome = trainer_of(task := Rosenbrock(), tmp_path, steps=25, clip_norm=1e-9).fit()
    assert outcome.score is not None and outcome.score > -1e-9
    assert task.closures > 50  # several an update
    assert torch.allclose(task.point.detach(), torch.ones(2, dtype=torch.float64), atol=1e-4)


def test_an_lbfgs_closure_over_convolutions(tmp_path: Path) -> None:
    """It reads gradients in plain order, so its models are not laid out channels_last."""
    task = Regression(batches(1) * 8)
    task.optimizers = {"adam": torch.optim.LBFGS(task.net.parameters(), max_iter=10)}
    trainer_of(task, tmp_path, steps=8, log_every=1).fit()
    losses = [line["loss"] for line in Run.open(next((tmp_path / "regression").iterdir())).metrics()
              if "loss" in line]  # fmt: skip
    assert losses[-1] < losses[0] / 1000
    assert task.net[0].weight.is_contiguous()


def test_minimize_is_a_plain_update(tmp_path: Path) -> None:
    data = batches(5)
    torch.manual_seed(0)
    mine = Regression(data)
    torch.manual_seed(0)
    bare = Regression(data)
    trainer = trainer_of(mine, tmp_path, steps=5)
    trainer.fit()
    bare.net.to(memory_format=torch.channels_last)
    for x in data:
        loss = (bare.net(x) - x.sum((1, 2, 3))[:, None]).square().mean()
        bare.optimizers["adam"].zero_grad()
        loss.backward()
        bare.optimizers["adam"].step()
    assert equal(mine.state_dict(), bare.state_dict())
    assert mine.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert next(iter(mine.state_dict())) == "net.0.weight"  # keys as the task made them


def test_only_the_optimizers_own_parameters_get_gradients(tmp_path: Path) -> None:
    trainer = gan(tmp_path, accumulate=2)
    task = trainer.task
    trainer.minimize(
        lambda: task.critic(task.generator(torch.randn(4, 4))).mean(), task.optimizers["generator"]
    )
    assert all(p.grad is None for p in task.critic.parameters())
    assert all(p.grad is not None for p in task.generator.parameters())


def test_accumulated_halves_are_one_whole(tmp_path: Path) -> None:
    whole = batches(6)
    halves = [half for batch in whole for half in batch.split(4)]
    states = []
    for data, accumulate in ((whole, 1), (halves, 2)):
        torch.manual_seed(0)
        task = Regression(data)
        trainer_of(
            task, tmp_path, steps=len(data), accumulate=accumulate, clip_norm=0.5, ema=0.5
        ).fit()
        states.append(task.state_dict())
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reads", [True, False], ids=["cpu", "as-on-a-gpu"])
def test_clipping(tmp_path: Path, reads: bool) -> None:
    task = Regression(batches(1))
    task.optimizers["adam"] = torch.optim.SGD(task.net.parameters(), 1.0)
    trainer = trainer_of(task, tmp_path, clip_norm=0.25)
    trainer.updates.may_read = reads
    before = [p.detach().clone() for p in task.net.parameters()]
    task.step(trainer)
    moved = [a - b for a, b in zip(task.net.parameters(), before, strict=True)]
    assert abs(float(nn.utils.get_total_norm(moved).detach()) - 0.25) < 1e-5


def test_momentum_is_none_at_first_and_not_what_lies_in_memory(tmp_path: Path) -> None:
    tasks = [Regression(batches(3)) for _ in range(2)]
    tasks[1].load_state_dict(tasks[0].state_dict())
    for task in tasks:
        task.optimizers["adam"] = torch.optim.SGD(task.net.parameters(), 0.1, 0.9, fused=True)
    trainer = trainer_of(tasks[0], tmp_path)
    optimizer = tasks[0].optimizers["adam"]
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert len(buffers) == len(list(tasks[0].net.parameters()))
    assert not any(buffer.any() for buffer in buffers)
    other = trainer_of(tasks[1], tmp_path / "other")
    tasks[1].optimizers["adam"].state.clear()  # PyTorch's own first step
    for _ in range(3):
        tasks[0].step(trainer)
        tasks[1].step(other)
    assert equal(tasks[0].state_dict(), tasks[1].state_dict())


def test_averages(tmp_path: Path) -> None:
    task = Regression(batches(3))
    trainer = trainer_of(task, tmp_path, ema=0.9)
    expected = {k: v.clone() for k, v in task.state_dict().items()}
    # The decay warms up: (1 + n) / (10 + n) at the n-th update, until it is the one asked for.
    for decay in (2 / 11, 3 / 12, 4 / 13):
        task.step(trainer)
        for name, value in task.state_dict().items():
            expected[name].lerp_(value, 1 - decay)
    live = {k: v.clone() for k, v in task.state_dict().items()}
    with trainer.updates.averaged():
        for name, value in task.state_dict().items():
            torch.testing.assert_close(value, expected[name])
    assert equal(task.state_dict(), live)


def test_a_bad_update_leaves_no_trace_in_batch_norms(tmp_path: Path) -> None:
    task = Regression(batches(1))
    task.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    task.optimizers = {"adam": torch.optim.Adam(task.net.parameters())}
    trainer = trainer_of(task, tmp_path)
    norm = task.net[1]
    for x in (torch.randn(8, 3), torch.full((8, 3), math.inf)):
        before = (norm.running_mean.clone(), norm.running_var.clone())
        trainer.minimize(lambda x=x: task.net(x).square().mean(), task.optimizers["adam"])
        changed = not torch.equal(before[0], norm.running_mean)
        assert changed == bool(x.isfinite().all())
    assert trainer.updates.skipped == 1 and torch.equal(before[1], norm.running_var)
    assert trainer.updates.finite()
    norm.running_mean.fill_(math.nan)
    assert not trainer.updates.finite()


def test_a_bad_call_of_several_leaves_no_trace_in_batch_norms(tmp_path: Path) -> None:
    """Of two optimizers that take turns, and after going on in the midst of an update."""
    seed_everything(0)
    trainer = trainer_of(task := Turns(), tmp_path, accumulate=2)
    for x in (torch.randn(8, 3), torch.full((8, 3), math.inf), torch.randn(8, 3)):
        task.turn(trainer, x)
        if x.isfinite().all():
            before = norms.statistics(task)["net.1.running_mean"].clone()
    assert trainer.updates.skipped == 2 and trainer.updates.finite()
    task.turn(trainer, torch.randn(8, 3))
    assert trainer.updates.skipped == 2 and not torch.equal(before, task.net[1].running_mean)

    task.turn(trainer, torch.randn(8, 3))
    task.progress = 5
    assert trainer.save()
    again = trainer_of(other := Turns(), trainer.run, accumulate=2)
    assert again.resume() == 5
    kept = other.net[1].running_mean.clone()
    assert torch.equal(kept, task.net[1].running_mean)
    other.turn(again, torch.full((8, 3), math.inf))
    assert again.updates.skipped == 2 + 2 and torch.equal(other.net[1].running_mean, kept)


def test_the_last_evaluation_is_made_when_the_hours_are_over(tmp_path: Path) -> None:
    class Patient(Regression):
        def evaluate(self, trainer: Trainer) -> dict[str, float]:
            return {} if trainer.stopping else super().evaluate(trainer)

    outcome = trainer_of(Patient(batches(1)), tmp_path, steps=None, hours=1e-9).fit()
    assert outcome.reason == "hours" and outcome.score is not None


def test_the_best_is_kept_for_what_a_second_look_finds(tmp_path: Path) -> None:
    """A lucky first look is corrected; one that is chosen from none, or does not seem the best, is
    not looked at again.
    """
    first, second = [2.0, 5.0, 0.0, 3.0, -1.0], {2: 1.5, 4: 2.5}
    exported = []

    class Noisy(Regression):
        def evaluate(self, trainer: Trainer) -> dict[str, float]:
            return {"score": first[self.progress - 1]}

        def confirm(self, trainer: Trainer) -> dict[str, float]:
            return {"score": second.pop(self.progress)}

        def export(self, path: Path) -> None:
            exported.append((path.stem, self.progress))
            super().export(path)

    trainer = trainer_of(Noisy(batches(8)), tmp_path, steps=5, evaluate_every=1)
    outcome = trainer.fit()
    logged = [line["evaluate/score"] for line in trainer.run.metrics() if "evaluate/score" in line]
    assert logged == [2.0, 1.5, 0.0, 2.5, -1.0] and not second
    assert (outcome.score, outcome.best) == (-1.0, 2.5)
    assert [at for name, at in exported if name.endswith("best")] == [1, 4]


def test_a_second_look_that_was_given_up_leaves_the_evaluation_owed(tmp_path: Path) -> None:
    class Hasty(Regression):
        def confirm(self, trainer: Trainer) -> dict[str, float]:
            trainer.stop()
            return {}

    trainer = trainer_of(Hasty(batches(8)), tmp_path, steps=4, evaluate_every=2)
    trainer.best = -1e9  # else nothing is looked at twice
    outcome = trainer.fit()
    assert (outcome.reason, outcome.score, outcome.best) == ("stopped", None, -1e9)
    assert trainer.owed and not (trainer.run.path / "best.safetensors").exists()


@pytest.mark.parametrize("every", [4, None], ids=["between", "the last"])
@pytest.mark.parametrize("saves", [4, None])
def test_an_evaluation_that_was_given_up_is_made_on_going_on(
    every: int | None, saves: int | None, tmp_path: Path
) -> None:
    """Whether one was due in between, or at the very end, where the next `fit` has no round."""

    class Hasty(Regression):
        hurried = True

        def evaluate(self, trainer: Trainer) -> dict[str, float]:
            if self.hurried:
                trainer.stop()
                return {}
            return super().evaluate(trainer)

    settings = {"steps": 4, "evaluate_every": every, "checkpoint_every": saves}
    trainer = trainer_of(Hasty(batches(8)), tmp_path, **settings)
    outcome = trainer.fit()
    assert outcome.score is None and trainer.owed
    again = trainer_of(task := Hasty(batches(8)), trainer.run, **settings)
    task.hurried = False
    assert again.resume() == 4 and again.owed
    outcome = again.fit()
    assert outcome.score is not None and not again.owed and outcome.progress == 4
    assert [line["step"] for line in again.run.metrics() if "evaluate/score" in line] == [4]


def test_one_that_is_killed_at_its_last_evaluation_owes_it(tmp_path: Path) -> None:
    class Dying(Regression):
        dies = True

        def evaluate(self, trainer: Trainer) -> dict[str, float]:
            if self.dies:
                raise RuntimeError("killed")
            return super().evaluate(trainer)

    settings = {"steps": 4, "checkpoint_every": 2}
    trainer = trainer_of(Dying(batches(8)), tmp_path, **settings)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit()
    assert reached(trainer.run) == (4, True)
    again = trainer_of(task := Dying(batches(8)), trainer.run, **settings)
    task.dies = False
    again.resume()
    assert again.owed and again.fit().score is not None
    assert reached(trainer.run) == (4, False)
    assert reached(Run.create(tmp_path, "toy", "empty", {})) is None


def test_the_averages_decay_warms_up_to_the_one_asked_for() -> None:
    assert [ema_decay(0.5, n) for n in (1, 2, 8, 1000)] == [2 / 11, 3 / 12, 0.5, 0.5]


def test_only_the_named_models_are_averaged(tmp_path: Path) -> None:
    task = TinyGan()
    task.averaged = ("generator",)
    names = trainer_of(task, tmp_path, ema=0.9).updates.ema
    assert names and all(name.startswith("generator.") for name in names)


# ---- what is logged


@pytest.mark.parametrize("end", ["steps", "hours", "stopped", "interrupted"])
def test_the_last_rounds_are_logged_however_it_ends(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "time", clock := Clock())
    reports: list[dict[str, Any]] = []
    limits = {"steps": {"steps": 7}, "hours": {"hours": 1.0}}.get(end, {})
    trainer = trainer_of(task := Counting(), tmp_path, log_every=4, **limits)
    trainer.on_progress = reports.append

    def ending(progress: int) -> None:
        if progress == 7 and end == "hours":
            clock.now += 3600
        if progress == 7 and end == "stopped":
            trainer.stop()
        if progress == 7 and end == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)

    task.on_round = ending
    assert trainer.fit().reason == end
    lines = [line for line in trainer.run.metrics() if "round" in line]
    assert [(line["step"], line["round"]) for line in lines] == [(4, 2.5), (7, 6.0)]
    assert [line["progress"] for line in reports if "round" in line] == [4, 7]
    # An evaluation stays the last line.
    assert ("evaluate/score" in trainer.run.metrics()[-1]) == (end in ("steps", "hours"))


def test_a_short_training_has_a_line(tmp_path: Path) -> None:
    trainer = trainer_of(Counting(), tmp_path, steps=3)  # well before the first ten seconds
    trainer.fit()
    assert [line["round"] for line in trainer.run.metrics() if "round" in line] == [2.0]


def test_a_line_before_its_time_changes_none_of_the_lines_after_it(tmp_path: Path) -> None:
    config = {**EXACT, "log_every": 4}
    trainers = []
    for steps in (20, 10):
        seed_everything(0)
        trainers.append(trainer_of(Counting(), tmp_path, **config, steps=steps))
        trainers[-1].fit()
    straight, first = trainers
    again = trainer_of(Counting(), Run.open(first.run.path), **config, steps=20)
    assert again.resume() == 10
    again.fit()
    lines = figures(again.run)
    assert [line for line in lines if line["step"] == 10 and "round" in line] == [
        {"step": 10, "loss": lines[2]["loss"], "round": 9.5}
    ]
    assert [line for line in lines if line["step"] != 10] == [
        line for line in figures(straight.run) if line["step"] != 10
    ]
    assert [line["round"] for line in figures(straight.run) if "round" in line][2] == 10.5


def test_speed_is_that_of_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of a second; evaluations of a minute and checkpoints of half a one between them."""
    monkeypatch.setattr(agenda, "time", clock := Clock())
    reports: list[dict[str, Any]] = []
    task = Counting()
    trainer = trainer_of(
        task, tmp_path, steps=40, log_every=4, evaluate_every=10, checkpoint_every=10
    )
    trainer.on_progress = reports.append

    def passing(seconds: float) -> None:
        clock.now += seconds

    task.on_round = lambda progress: passing(1.0)
    monkeypatch.setattr(task, "evaluate", lambda trainer: passing(60.0) or {"score": 0.0})
    monkeypatch.setattr(task, "state", lambda: passing(30.0) or {})
    trainer.fit()
    lines = [line for line in trainer.run.metrics() if "round" in line]
    assert len(lines) == 10 and all(line["per_second"] == 1.0 for line in lines)
    eta = {line["progress"]: line["eta_seconds"] for line in reports if "round" in line}
    assert eta[8] == 32  # nothing else was seen yet
    assert eta[20] == pytest.approx(20 * (20 + 90) / 20)  # the second evaluation is still to come


def test_skipped_updates_are_told_in_a_few_lines(tmp_path: Path) -> None:
    said: list[str] = []
    trainer = trainer_of(task := Counting(), tmp_path, steps=40, log_every=1, nan_patience=50)
    trainer.say = said.append
    bad = torch.full_like(task.batches[0], math.nan)
    task.batches = [bad if 5 <= i < 25 else x for i, x in enumerate(task.batches)]
    trainer.fit()
    assert re.findall(r"skipped: (\d+) so far", " ".join(said)) == ["1", "3", "7", "15"]
    assert trainer.run.metrics()[-2]["skipped_updates"] == 20


def test_a_training_all_of_whose_updates_are_skipped_says_so(tmp_path: Path) -> None:
    """However short it is."""
    said: list[str] = []
    trainer = trainer_of(task := Counting(), tmp_path, steps=3)
    trainer.say = said.append
    task.batches = [torch.empty(0, 2, 4, 4, dtype=torch.float64)] * 3  # whose mean is not finite
    trainer.fit()
    assert "skipped: 3 so far" in said[0]


# ---- precision


def test_rehearsal_leaves_no_trace_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "REHEARSAL_SECONDS", 0.05)
    seed_everything(0)
    task = TinyGan()
    state = {k: v.clone() for k, v in task.state_dict().items()}
    rng = torch.get_rng_state()
    name, reason = device.measured_precision(task, torch.device("cpu"))
    assert name in ("fp32", "bf16") and "fp32" in reason and "bf16" in reason and "ms" in reason
    assert equal(task.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None for p in task.parameters())
    run = Run.create(tmp_path, "gan", None, {})
    here = {"precision": "bf16", "reason": "measured", "device": device_name("cpu")}
    run.update(precision=here)
    assert trainer_of(TinyGan(), run, precision="auto").precision == "bf16"
    run.unlock()
    run.update(precision=here | {"device": "another machine", "precision": "fp16"})
    trainer_of(TinyGan(), run, precision="auto")  # measured anew: fp16 would be refused here
    assert run.settings["precision"]["device"] == device_name("cpu")
    exact = trainer_of(TinyGan(), run, precision="auto", deterministic=True)
    assert exact.precision == "fp32"


def test_bf16_trains_with_fp32_weights(tmp_path: Path) -> None:
    trainer = gan(tmp_path, steps=3, precision="bf16")
    seen = []
    trainer.task.critic.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    trainer.fit()
    assert set(seen) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in trainer.task.parameters())


@pytest.mark.parametrize(
    ("asked", "trained"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp64", "fp64")]
)
def test_deterministic_mode_trains_in_the_precision_that_was_asked_for(
    asked: str, trained: str, tmp_path: Path
) -> None:
    trainer = gan(tmp_path, precision=asked, deterministic=True)
    assert trainer.precision == trainer.run.settings["precision"]["precision"] == trained


def test_deterministic_bf16_repeats_and_resumes_exactly(tmp_path: Path) -> None:
    config = {**EXACT, "precision": "bf16"}
    whole, same = (gan(tmp_path, **config, steps=20) for _ in range(2))
    fp32 = gan(tmp_path, **EXACT, steps=20)
    half = gan(tmp_path, **config, steps=9)
    seen = []
    half.task.critic.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    for trainer in (whole, same, fp32, half):
        seed_everything(5)
        trainer.fit()
    assert seen[0] == torch.bfloat16
    again = trainer_of(TinyGan(), half.run, **config, steps=20)
    again.resume()
    again.fit()
    assert equal(whole.task.state_dict(), same.task.state_dict())
    assert equal(whole.task.state_dict(), again.task.state_dict())
    assert not equal(whole.task.state_dict(), fp32.task.state_dict())


def test_fp64_is_double_all_through(tmp_path: Path) -> None:
    task = TinyGan()
    seen = []
    task.critic.register_forward_pre_hook(lambda module, args: (args[0].double(),))
    task.generator.register_forward_pre_hook(lambda module, args: (args[0].double(),))
    task.critic.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    trainer_of(task, tmp_path, steps=2, precision="fp64").fit()
    assert set(seen) == {torch.float64}
    assert all(p.dtype == torch.float64 for p in task.parameters())


# ---- exact life


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # accumulate=2
@pytest.mark.parametrize("stop", [1, 13, 20])
@pytest.mark.parametrize("extra", [{}, {"accumulate": 2, "ema": 0.9, "clip_norm": 1.0}])
def test_killed_and_resumed_is_uninterrupted(
    tmp_path: Path, stop: int, extra: dict[str, Any]
) -> None:
    """Stopped after `stop` rounds beyond the first save, as kill -9 would: nothing is saved."""
    config = {**EXACT, **extra, "steps": 30}
    straight = gan(tmp_path, **config)
    straight.fit()

    class Killed(BaseException):
        pass

    def kill(progress: int) -> None:
        if progress == 7 + stop:
            raise Killed

    first = gan(tmp_path, **config)
    first.task.on_round = kill
    with pytest.raises(Killed):
        first.fit()
    seed_everything(99)  # another process has other generators
    again = trainer_of(TinyGan(), Run.open(first.run.path), **config)
    assert again.resume() == (7 + stop - 1) // 7 * 7
    assert again.fit() == straight_outcome(straight)
    assert equal(again.task.state_dict(), straight.task.state_dict())
    assert equal(again.updates.ema, straight.updates.ema)
    for name, optimizer in again.task.optimizers.items():
        other = straight.task.optimizers[name].state_dict()
        assert str(optimizer.state_dict()) == str(other)
    assert figures(again.run) == figures(straight.run)
    for name in ("best", "last"):
        file = f"{name}.safetensors"
        assert (again.run.path / file).read_bytes() == (straight.run.path / file).read_bytes()


def straight_outcome(trainer: Trainer) -> Outcome:
    return Outcome("steps", trainer.task.progress, trainer.score, trainer.best)


def test_lbfgs_resumes_exactly(tmp_path: Path) -> None:
    config = {**EXACT, "steps": 12}
    trainer_of(straight := Rosenbrock(), tmp_path, **config).fit()
    first = trainer_of(Rosenbrock(), tmp_path, **{**config, "steps": 5})
    first.fit()
    again = trainer_of(resumed := Rosenbrock(), first.run, **config)
    again.resume()
    again.fit()
    assert torch.equal(resumed.point, straight.point)


def test_convolutions_resume_in_their_memory_order(tmp_path: Path) -> None:
    data = batches(8)
    config = {**EXACT, "steps": 8}
    seed_everything(0)
    trainer_of(straight := Regression(data, fused=True), tmp_path, **config).fit()
    seed_everything(0)
    first = trainer_of(Regression(data, fused=True), tmp_path, **{**config, "steps": 4})
    first.fit()
    again = trainer_of(resumed := Regression(data, fused=True), first.run, **config)
    again.resume()
    moment = resumed.optimizers["adam"].state[resumed.net[0].weight]["exp_avg"]
    assert moment.stride() == resumed.net[0].weight.stride()
    again.fit()
    assert equal(resumed.state_dict(), straight.state_dict())


def test_evaluating_does_not_change_the_training(tmp_path: Path) -> None:
    often = gan(tmp_path, **{**EXACT, "steps": 20, "evaluate_every": 1})
    often.fit()
    never = gan(tmp_path, **{**EXACT, "steps": 20, "evaluate_every": None})
    never.fit()
    assert equal(often.task.state_dict(), never.task.state_dict())


def test_a_new_training_begins_with_a_look_that_does_not_change_it(tmp_path: Path) -> None:
    looks: list[tuple[int, bool]] = []

    class Shown(TinyGan):
        def begin(self, trainer: Trainer) -> None:
            looks.append((self.progress, self.training))
            torch.rand(7)

    def go(name: str, task: TinyGan, resume: bool = False, steps: int = 20) -> TinyGan:
        run = Run.open(tmp_path / "toy" / name) if resume else Run.create(tmp_path, "toy", name, {})
        trainer = Trainer(TrainerConfig(steps=steps, **EXACT), task, run)
        if resume:
            trainer.resume()
        trainer.fit()
        return task

    def made(kind: type[TinyGan]) -> TinyGan:
        seed_everything(3)
        return kind()

    plain = go("plain", made(TinyGan))
    shown = go("shown", made(Shown), steps=10)
    assert looks == [(0, False)] and shown.training
    shown = go("shown", made(Shown), resume=True)
    assert len(looks) == 1
    for one, other in zip(plain.parameters(), shown.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_torn_checkpoint_falls_back_with_a_message(tmp_path: Path) -> None:
    first = gan(tmp_path, **EXACT, steps=14)
    first.fit()
    newest = checkpoint.latest(first.run.checkpoints)
    assert newest is not None
    shard = newest / "tensors-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    said: list[str] = []
    again = Trainer(TrainerConfig(**EXACT, steps=14), TinyGan(), first.run, say=said.append)
    before = min(first.run.checkpoints.iterdir())
    assert before.name.endswith(f"{again.resume():012d}") and before != newest
    assert newest.name in said[0]
    again.fit()
    assert equal(again.task.state_dict(), first.task.state_dict())


def test_foreign_checkpoints(tmp_path: Path) -> None:
    first = gan(tmp_path, steps=1)
    with pytest.raises(UserError, match="no good checkpoint"):
        first.resume()
    first.fit()
    with pytest.raises(UserError, match="of the task TinyGan, not Rosenbrock"):
        trainer_of(Rosenbrock(), first.run).resume()
    wider = TinyGan()
    wider.generator[0] = nn.Linear(5, 8)
    with pytest.raises(UserError, match=r"does not fit these settings: .*generator.0.weight"):
        trainer_of(wider, first.run).resume()
    with pytest.raises(UserError, match="does not fit"):
        trainer_of(TinyGan(), first.run, ema=0.5).resume()


# ---- trouble


@pytest.mark.parametrize("bad", [0, 1])
def test_of_several_calls_each_may_spoil_the_update(tmp_path: Path, bad: int) -> None:
    """A loss of constant slope: its NaN is in no gradient of a bias."""
    trainer = trainer_of(task := Regression(batches(2)), tmp_path, accumulate=2)
    before = {k: v.clone() for k, v in task.state_dict().items()}
    calls = task.batches
    calls[bad] = calls[bad] * math.nan
    for x in calls:
        trainer.minimize(lambda x=x: F.relu(1 - task.net(x)).mean(), task.optimizers["adam"])
    assert equal(task.state_dict(), before) and trainer.updates.skipped == 1
    task.batches = batches(2)
    task.step(trainer)
    task.step(trainer)
    assert not equal(task.state_dict(), before) and trainer.updates.skipped == 1


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("saves", [3, 4])  # whether one is due in that round, too
def test_a_skipped_last_update_is_no_reason_not_to_save(
    tmp_path: Path, saves: int, every: int | None
) -> None:
    given = batches(6)
    given[-1] = given[-1] * math.nan
    settings = {"steps": 6, "checkpoint_every": saves, "evaluate_every": every}
    trainer = trainer_of(Regression(given), tmp_path, **settings)
    assert trainer.fit().progress == 6 and trainer.updates.bad_run == 1
    assert reached(trainer.run) == (6, False)
    assert trainer.save() is None  # in the midst it is


@pytest.mark.parametrize("reads", [True, False], ids=["cpu", "as-on-a-gpu"])
def test_a_non_finite_update_is_skipped(tmp_path: Path, reads: bool) -> None:
    trainer = trainer_of(task := Regression(batches(4), fused=True), tmp_path)
    trainer.updates.may_read = reads
    task.step(trainer)
    before = {k: v.clone() for k, v in task.state_dict().items()}
    moments = str(task.optimizers["adam"].state_dict())
    for spoilt in (float("nan"), float("inf")):
        trainer.minimize(
            lambda spoilt=spoilt: task.net(task.batches[0]).mean() * spoilt,
            task.optimizers["adam"],
        )
    assert equal(task.state_dict(), before)
    assert str(task.optimizers["adam"].state_dict()) == moments
    assert int(trainer.updates.skipped) == int(trainer.updates.bad_run) == 2
    task.step(trainer)
    assert int(trainer.updates.skipped) == 2 and int(trainer.updates.bad_run) == 0
    assert not equal(task.state_dict(), before)


def test_a_finite_loss_with_a_non_finite_gradient_is_skipped(tmp_path: Path) -> None:
    trainer = trainer_of(task := Regression(batches(1)), tmp_path)
    before = {k: v.clone() for k, v in task.state_dict().items()}
    zero = task.batches[0] * 0
    trainer.minimize(
        lambda: (task.net(zero) - task.net(zero)).abs().sqrt().sum(), task.optimizers["adam"]
    )
    assert equal(task.state_dict(), before) and trainer.updates.skipped == 1


def test_lbfgs_survives_a_non_finite_loss(tmp_path: Path) -> None:
    trainer = trainer_of(task := Rosenbrock(), tmp_path)
    task.step(trainer)
    before = task.point.detach().clone()
    trainer.minimize(lambda: task.loss() * float("nan"), task.optimizers["lbfgs"])
    assert torch.equal(task.point, before) and trainer.updates.skipped == 1
    for _ in range(25):
        task.step(trainer)
    assert float(task.loss().detach()) < 1e-9


def test_rewinds_after_many_non_finite_updates(tmp_path: Path) -> None:
    said: list[str] = []
    seed_everything(0)
    task, run = TinyGan(), Run.create(tmp_path, "gan", None, {})
    config = {"steps": 20, "nan_patience": 6, "checkpoint_every": 5, "log_every": 1}
    trainer = trainer_of(task, run, **config)
    trainer.say = said.append
    visits: list[int] = []
    task.spoil = lambda progress: progress >= 11 and visits.count(11) < 2  # the first time only
    task.on_round = visits.append
    outcome = trainer.fit()
    assert outcome.reason == "steps" and visits.count(11) == 2
    assert [text for text in said if "went back to the checkpoint at 10 rounds" in text]
    assert [m["step"] for m in run.metrics() if "critic_loss" in m] == list(range(1, 21))
    assert all(torch.isfinite(p).all() for p in task.parameters())


def test_going_back_that_helps_is_not_counted_for_ever(tmp_path: Path) -> None:
    trainer = gan(tmp_path, steps=100, nan_patience=4, checkpoint_every=5)
    visits: list[int] = []
    again: list[int] = []
    trainer.task.reseed = again.append  # type: ignore[assignment]
    trainer.task.on_round = visits.append
    starts = range(11, 90, 15)
    trainer.task.spoil = lambda progress: any(
        start <= progress < start + 5 and visits.count(start) < 2 for start in starts
    )
    assert trainer.fit().progress == 100
    assert again == list(range(1, 7))  # six times, each with other chances


def test_a_training_that_diverges_for_good_stops_with_a_sentence(tmp_path: Path) -> None:
    trainer = gan(tmp_path, steps=100, nan_patience=4, checkpoint_every=5)
    trainer.task.spoil = lambda progress: progress >= 7
    with pytest.raises(UserError, match=r"diverged.*learning rate"):
        trainer.fit()
    assert checkpoint.load(trainer.run.checkpoints)[0] == 5


def test_disk_full_stops_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = gan(tmp_path, **EXACT, steps=30)
    real = checkpoint._write

    def full(path: Path, step: int, state: dict[str, Any]) -> None:
        real(path, step, state)
        if step > 7:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(UserError, match="disk is full"):
        trainer.fit()
    assert os.listdir(trainer.run.checkpoints) == ["step_000000000007"]
    monkeypatch.undo()
    again = trainer_of(TinyGan(), trainer.run, **EXACT, steps=30)
    assert again.resume() == 7 and again.fit().reason == "steps"


def test_a_training_that_nobody_keeps_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*some: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("playground.run.sync", refused)
    monkeypatch.setattr(checkpoint, "_write", refused)
    trainer = gan(Run.unkept("toy"), steps=4, evaluate_every=2, checkpoint_every=1)
    outcome = trainer.fit()
    assert outcome.progress == 4 and outcome.best is not None and trainer.save() is None


def test_out_of_memory_is_one_sentence(tmp_path: Path) -> None:
    trainer = gan(tmp_path, steps=3)

    def too_much(progress: int) -> None:
        torch.empty(2**60)

    trainer.task.on_round = too_much
    with pytest.raises(UserError, match="Out of memory: lower the batch size"):
        trainer.fit()


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from pathlib import Path
from test_trainer import TinyGan
if sys.argv[3] == "terminal":  # it is this process's own, as that of a shell is
    import fcntl, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
seed_everything(0)
task = TinyGan()
def slowly(progress):
    if progress == 3:
        print("ready", flush=True)
    time.sleep(60 * (progress == 3) if sys.argv[3] == "stubborn" else 0.01)
task.on_round = slowly
config = TrainerConfig(precision="fp32", device="cpu", threads=1, log_every=1)
run = Run.create(Path(sys.argv[2]), "gan", "a", {})
show = None if sys.argv[3] != "terminal" else lambda report: print(report, flush=True)
print(Trainer(config, task, run, show).fit(), flush=True)
"""


def start(tmp_path: Path, manner: str) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(here), str(tmp_path), manner],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_sigterm_saves_and_returns(tmp_path: Path) -> None:
    process = start(tmp_path, "polite")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "reason='interrupted'" in out and "Interrupted" in err
    step, state = checkpoint.load(tmp_path / "gan" / "a" / "checkpoints")
    assert step == state["state"]["seen"] >= 3
    assert json.loads((tmp_path / "gan" / "a" / "config.json").read_text())["task"] == "gan"


@pytest.mark.skipif(os.name == "nt", reason="POSIX terminals")
@pytest.mark.parametrize("hangups", [1, 2])
def test_a_terminal_that_closes_loses_nothing(tmp_path: Path, hangups: int) -> None:
    """It sends SIGHUP, its shell may do so once more, and nothing can be printed from then on."""
    import pty

    here = Path(__file__).parent
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(here), str(tmp_path), "terminal"],
        stdin=end, stdout=end, stderr=end, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
    )  # fmt: skip
    os.close(end)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1024)
    os.close(terminal)
    for _ in range(hangups - 1):
        os.kill(process.pid, signal.SIGHUP)
    assert process.wait(60) == 0
    step, _ = checkpoint.load(tmp_path / "gan" / "a" / "checkpoints")
    assert step >= 3


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_second_ctrl_c_breaks_in(tmp_path: Path) -> None:
    process = start(tmp_path, "stubborn")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in err


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """What the guard does not look at, a single spoilt weight's gradient, ends here."""
    said: list[str] = []
    trainer = gan(tmp_path, steps=3)
    trainer.say = said.append
    trainer.fit()
    with torch.no_grad():
        trainer.task.critic[0].weight[0] = float("inf")
    assert trainer.save() is None and "Not saved" in said[0]
    assert checkpoint.load(trainer.run.checkpoints)[0] == 3


# ---- compiling


class Called(TinyGan):
    """PyTorch compiles the calls of classes of its user's, not those of its own."""

    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for layer in self:
                x = layer(x)
            return x

    def __init__(self) -> None:
        super().__init__()
        self.generator = self.Net(*self.generator)
        self.critic = self.Net(*self.critic)


@pytest.mark.parametrize("failing", ["inductor", "eager"])  # the compiler, the tracing before it
def test_what_cannot_be_compiled_runs_eagerly_and_says_so(
    failing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def lookup(name: str) -> Callable[..., Any]:
        asked.append(name)
        if name == failing:
            raise RuntimeError("there is no compiler\nin this place")
        return lambda graph, inputs: graph.forward

    torch._dynamo.reset()

    monkeypatch.setattr("torch._dynamo.lookup_backend", lookup)
    states = []
    for compile in (False, True):
        seed_everything(0)
        run = Run.create(tmp_path, "gan", None, {})
        said: list[str] = []
        config = TrainerConfig(steps=3, compile=compile, precision="fp32", device="cpu")
        trainer = Trainer(config, Called(), run, say=said.append)
        trainer.fit()
        states.append(trainer.task.state_dict())
    assert failing in asked and len(said) == 1
    assert "torch.compile failed" in said[0] and "there is no compiler)" in said[0]
    assert "Traceback" not in capfd.readouterr().err
    assert equal(*states)


def test_compiled_models_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr("torch._dynamo.lookup_backend", lambda name: backend)
    torch._dynamo.reset()
    config = TrainerConfig(steps=3, compile=True, precision="fp32", device="cpu")
    trainer = Trainer(config, Called(), Run.create(tmp_path, "gan", None, {}))
    assert trainer.fit().progress == 3 and graphs
    assert set(load_file(trainer.run.path / "last.safetensors")) == set(
        trainer.task.generator.state_dict()
    )


# ---- small rules


def test_ends(tmp_path: Path) -> None:
    assert gan(tmp_path, hours=0.1 / 3600).fit().reason == "hours"
    trainer = gan(tmp_path)
    trainer.task.on_round = lambda progress: trainer.stop() if progress == 5 else None
    assert trainer.fit() == Outcome("stopped", 5, None, None)
    finished = gan(tmp_path, steps=2)
    finished.fit()
    lines = len(finished.run.metrics())
    assert finished.fit().reason == "steps" and len(finished.run.metrics()) == lines


def test_due() -> None:
    assert due(10, 9, 10) and due(10, 5, 25) and not due(10, 10, 19) and not due(None, 0, 10)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": -1}, "--steps must be above 0"),
        ({"hours": float("nan")}, "--hours"),
        ({"accumulate": 0}, "--accumulate starts at 1"),
        ({"ema": 1.0}, "--ema"),
        ({"precision": "fp8"}, "--precision is one of"),
        ({"precision": "fp16"}, "fp16 needs a CUDA GPU"),
        ({"devices": 2}, "Several processes start before"),
        ({"device": "tpu"}, "--device is one of"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        trainer_of(TinyGan(), tmp_path, **settings)
