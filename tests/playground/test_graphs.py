"""Recording and replaying, by a tape that stands in for CUDA graphs on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from playground.errors import UserError
from playground.graphs import WARM_CALLS, Recorded
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
from tests.playground.tape import Tape, taped


def test_every_call_gives_what_the_function_would() -> None:
    """Memory, random numbers and views; inputs and outputs lie where they were."""
    total, by_hand = torch.zeros(3), torch.zeros(3)

    def function(x: Tensor) -> tuple[Tensor, ...]:
        noisy = x + torch.rand(3)
        total.add_(noisy)
        return noisy.view(3, 1) * 2, total.sum()

    tape = Tape()
    recorded = Recorded(function, tape)
    for call in range(8):
        x = torch.full((3,), float(call))
        torch.manual_seed(call)
        double, added = recorded([x])
        x.fill_(1e9)  # the inputs may be overwritten at once
        torch.manual_seed(call)
        noisy = torch.full((3,), float(call)) + torch.rand(3)
        by_hand += noisy
        assert torch.equal(double, noisy.view(3, 1) * 2)
        assert torch.equal(added, by_hand.sum()) and torch.equal(total, by_hand)
    assert (tape.recordings, tape.replays) == (1, 8 - WARM_CALLS)
    with pytest.raises(ValueError, match="recorded for"):
        recorded([torch.zeros(1)])


def test_the_tape_finds_what_a_graph_cannot_do() -> None:
    """Else the tests that use it would show nothing."""

    def reading(x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2 if x.sum() > 0 else x,)

    recorded = Recorded(reading, Tape())
    with pytest.raises(RuntimeError, match="reads a number"):
        for _ in range(WARM_CALLS + 1):
            recorded([torch.ones(2)])
    count = 0

    def counting(x: Tensor) -> tuple[Tensor, ...]:
        nonlocal count
        count += 1
        return (x + count,)

    recorded = Recorded(counting, Tape())
    found = [recorded([torch.zeros(1)])[0].item() for _ in range(7)]
    assert found == [1, 2, 3, 4, 4, 4, 4]


class Line(nn.Module):
    """A line through points, one update a step; some batches are not finite."""

    unit, progress = "updates", 0

    def __init__(self, bad: tuple[int, ...] = (), graph: bool = True) -> None:
        super().__init__()
        self.model = nn.Linear(3, 1)
        self.bad, self.graph = bad, graph
        self.optimizers: dict[str, Any] = {
            "model": torch.optim.Adam(self.model.parameters(), 0.05, fused=True)
        }

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        error = self.model(x) - y
        return error.square().mean(), error

    def step(self, trainer: Trainer) -> dict[str, Any]:
        x = torch.randn(8, 3)
        y = x.sum(1, keepdim=True) * (float("nan") if self.progress in self.bad else 1)
        loss, error = trainer.learn(self.loss, self.optimizers["model"], [x, y], self.graph)
        assert not loss.requires_grad and not error.requires_grad
        self.progress += 1
        return {"loss": loss, "error": error.abs().mean()}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        return {"score": 0.0}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None: ...

    def export(self, path: Path) -> None:
        path.write_bytes(b"")

    def frames(self) -> Any:
        return iter(())


def line(folder: Path, name: str, **settings: Any) -> tuple[Trainer, Line]:
    seed_everything(1)
    task = Line(settings.pop("bad", ()), settings.pop("graph", True))
    run = Run.create(folder, "line", name, {})
    limits = {"steps": 30, "precision": "fp32", "threads": 1, "device": "cpu", "log_every": 5}
    return Trainer(TrainerConfig(**{**limits, **settings}), task, run), task


def logged(trainer: Trainer) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("time", "per_second")}
            for row in trainer.run.metrics()]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.2}, {"bad": (2, 9, 10, 20)}])
def test_recorded_updates_are_those_of_a_cpu(settings: dict[str, Any], tmp_path: Path) -> None:
    """Bit for bit, with clipping, and where some are not finite and so are skipped."""
    plain, mine = line(tmp_path, "plain", graph=False, **settings)
    plain.fit()
    trainer, task = line(tmp_path, "taped", **settings)
    tape = taped(trainer)
    trainer.fit()
    assert (tape.recordings, tape.replays) == (1, 30 - WARM_CALLS)
    assert all(map(torch.equal, task.state_dict().values(), mine.state_dict().values()))
    for one, other in zip(logged(trainer), logged(plain), strict=True):
        assert one == pytest.approx(other, nan_ok=True)
    assert int(trainer.updates.skipped) == plain.updates.skipped == len(settings.get("bad", ()))


def test_it_is_recorded_anew_after_going_back(tmp_path: Path) -> None:
    """Resuming puts new tensors into the optimizer, which an old recording would not see."""
    ends = []
    for graph in (False, True):
        trainer, task = line(
            tmp_path, f"{graph}", graph=graph, bad=(16, 17, 18, 19), nan_patience=3,
            checkpoint_every=10, log_every=1,
        )  # fmt: skip
        tape = taped(trainer) if graph else None
        task.load_state = lambda state, task=task: setattr(task, "bad", ())  # type: ignore
        assert trainer.fit().reason == "steps"
        assert trainer._rewinds == 1 and int(trainer.updates.skipped) == 0  # as at the checkpoint
        ends.append(task.state_dict())
    assert tape is not None and tape.recordings == 2
    assert all(map(torch.equal, ends[0].values(), ends[1].values()))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ema": 0.9}, "--ema"),
        ({"accumulate": 2}, "--accumulate"),
        ({}, "optimizers that skip steps"),
    ],
)
def test_what_a_graph_would_not_see_is_refused(
    settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    trainer, task = line(tmp_path, "run", **settings)
    taped(trainer)
    if "optimizers" in reason:
        optimizer = torch.optim.SGD(task.parameters(), 0.1)
        trainer.updates.groups[id(optimizer)] = trainer.updates._group(optimizer)
        task.optimizers = {"model": optimizer}
    with pytest.raises(UserError, match=f"--graph .*{reason}"):
        trainer.fit()


def test_a_cpu_has_no_graphs(tmp_path: Path) -> None:
    trainer, _ = line(tmp_path, "run")
    with pytest.raises(UserError, match="--graph needs a CUDA device, this one is cpu"):
        trainer.fit()
