"""Toy trainings for test_ranks: a program that Fabric, or torchrun, starts in several processes.

python ranks_program.py MODE FOLDER [--devices N]
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from playground import gradients
from playground.errors import UserError
from playground.frames import Frame
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, launched, seed_everything

STEPS = 20


class Plain(nn.Module):
    """A small network in float64, whose batch of 12 is shared out; position is the counter."""

    unit = "updates"

    def __init__(self) -> None:
        super().__init__()
        self.net = self.network().double()
        self.spare = nn.Linear(3, 3)  # in the optimizer, but in no loss
        self.halves = nn.Linear(3, 1).double()  # in the first process's loss only
        parameters = list(self.parameters())
        self.optimizers: dict[str, Any] = {"adam": torch.optim.Adam(parameters, 1e-2, fused=True)}
        self.schedules = {
            "adam": torch.optim.lr_scheduler.ExponentialLR(self.optimizers["adam"], 0.97)
        }
        self.progress = 0

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))

    def batch(self, trainer: Trainer) -> Tensor:
        """This process's share, (12 / world, 2, 4, 4)."""
        generator = torch.Generator().manual_seed(self.progress)
        whole = torch.randn(12, 2, 4, 4, generator=generator, dtype=torch.float64)
        return whole.chunk(trainer.world)[trainer.rank]

    def loss(self, x: Tensor) -> Tensor:
        return (self.net(x) - x.sum((1, 2, 3))[:, None].tanh()).square().mean()

    def step(self, trainer: Trainer) -> dict[str, Any]:
        x = self.batch(trainer)

        def loss() -> Tensor:
            if trainer.rank or trainer.world == 1:
                return self.loss(x)
            return self.loss(x) + self.halves(x.mean((1, 3))[:, :3]).mean() * 0

        value = trainer.minimize(loss, self.optimizers["adam"])
        self.schedules["adam"].step()
        self.progress += 1
        return {"loss": value, "rank": trainer.rank}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        with torch.no_grad():
            mean = trainer.mean(self.loss(self.batch(trainer)))
        shares = trainer.gather({"rank": trainer.rank, "loss": mean})
        assert [share["rank"] for share in shares] == list(range(trainer.world))
        return {"score": -float(mean)}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def export(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, path)

    def frames(self) -> Iterator[Frame]:
        for shade in range(20):
            yield Frame(np.full((8, 8, 3), shade, np.uint8), f"shade {shade}")


class Gan(Plain):
    """Two models, two optimizers, each with losses through the other's model."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = self.network().double()
        self.optimizers = {
            "critic": torch.optim.Adam(self.critic.parameters(), 1e-2, (0.5, 0.9)),
            "adam": torch.optim.SGD(self.net.parameters(), 1e-2, momentum=0.9),
        }
        self.schedules = {}

    def step(self, trainer: Trainer) -> dict[str, Any]:
        x = self.batch(trainer)

        def made() -> Tensor:
            return x * self.net(x)[:, :, None, None]

        critic = trainer.minimize(
            lambda: (F.softplus(-self.critic(x)) + F.softplus(self.critic(made().detach()))).mean(),
            self.optimizers["critic"],
        )
        loss = trainer.minimize(
            lambda: F.softplus(-self.critic(made())).mean(), self.optimizers["adam"]
        )
        self.progress += 1
        return {"loss": loss, "critic": critic}


class Lbfgs(Plain):
    """The same network under L-BFGS closures, always on one batch."""

    def batch(self, trainer: Trainer) -> Tensor:
        progress, self.progress = self.progress, 0
        x = super().batch(trainer)
        self.progress = progress
        return x

    def __init__(self) -> None:
        super().__init__()
        self.optimizers = {
            "adam": torch.optim.LBFGS(
                self.net.parameters(), max_iter=4, line_search_fn="strong_wolfe"
            )
        }
        self.schedules = {}

    def step(self, trainer: Trainer) -> dict[str, Any]:
        x = self.batch(trainer)
        value = trainer.minimize(lambda: self.loss(x), self.optimizers["adam"])
        self.progress += 1
        return {"loss": value}


class Normed(Plain):
    """With a batch norm; `parts` normalises the parts of a batch apart, in one process."""

    parts = 1

    def network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1)
        )

    def loss(self, x: Tensor) -> Tensor:
        parts = x.chunk(self.parts) if self.training else [x]
        return torch.stack([super(Normed, self).loss(part) for part in parts]).mean()


class Spoilt(Plain):
    """The last process's losses are not finite in rounds 11 to 16, when it first comes there."""

    def __init__(self) -> None:
        super().__init__()
        self.visits = 0

    def loss(self, x: Tensor) -> Tensor:
        return super().loss(x) * self.factor

    def step(self, trainer: Trainer) -> dict[str, Any]:
        self.visits += self.progress == 11
        spoilt = self.progress == 3 or (11 <= self.progress < 17 and self.visits == 1)
        last = trainer.rank == trainer.world - 1
        self.factor = float("nan") if spoilt and last else 1.0
        return super().step(trainer)


class Drawing(Plain):
    """Adds noise from the global generators, as augmentation does."""

    def batch(self, trainer: Trainer) -> Tensor:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        return super().batch(trainer) + noise / 10


class Slow(Plain):
    """Rounds of 20 ms without an end; each process tells its process id when it is at work."""

    def step(self, trainer: Trainer) -> dict[str, Any]:
        time.sleep(0.02)
        if self.progress == 5:
            (trainer.run.path / f"pid{trainer.rank}").write_text(str(os.getpid()))
        return super().step(trainer)


class Stopping(Slow):
    """The second process wishes to stop."""

    def step(self, trainer: Trainer) -> dict[str, Any]:
        if trainer.rank == 1 and self.progress == 3:
            trainer.stop()
        return super().step(trainer)


class Failing(Slow):
    """The second process cannot go on."""

    def step(self, trainer: Trainer) -> dict[str, Any]:
        if trainer.rank == 1 and self.progress == 3:
            raise UserError("The second process has no more memory.")
        return super().step(trainer)


def train(task: type[Plain], folder: Path, name: str, devices: int, **config: Any) -> Trainer:
    """Train a new run, or go on with `resume`."""
    resume = config.pop("resume", False)
    seed_everything(5)
    made = task()
    runs = folder / "plain" / name
    run = Run.open(runs) if resume else Run.create(folder, "plain", name, {})
    settings = {
        **{"steps": STEPS, "device": "cpu", "devices": devices, "precision": "fp64", "threads": 1},
        **{"checkpoint_minutes": None, "log_every": 5, "seed": 1, "evaluate_every": STEPS},
        **config,
    }
    said: list[str] = []
    trainer = Trainer(TrainerConfig(**settings), made, run, said.append, said.append)
    if resume:
        trainer.resume()
    trainer.outcome = trainer.fit()
    trainer.said = said
    return trainer


CASES: dict[str, tuple[type[Plain], dict[str, Any]]] = {
    "plain": (Plain, {"ema": 0.9, "clip_norm": 0.5}),
    "accumulated": (Plain, {"accumulate": 2, "steps": 21}),
    "gan": (Gan, {}),
    "lbfgs": (Lbfgs, {}),
    "normed": (Normed, {"ema": 0.9}),
}


def outcome(trainer: Trainer) -> dict[str, Any]:
    """What is to be compared, of this process."""
    task = trainer.task
    return {
        "weights": {k: v.clone() for k, v in task.state_dict().items()},
        "ema": dict(trainer.updates.ema),
        "trained": [list(o.state_dict()["state"]) for o in task.optimizers.values()],
        "moments": str([o.state_dict() for o in task.optimizers.values()]),
        "score": trainer.score,
        "progress": task.progress,
        "skipped": int(trainer.updates.skipped),
        "reason": trainer.outcome.reason,
        "said": trainer.said,
        "draw": (random.random(), float(np.random.rand()), float(torch.rand(()))),
    }


def everything(folder: Path, devices: int) -> dict[str, list[dict[str, Any]]]:
    """By case, the outcome of each process, gathered in the first one."""
    found: dict[str, list[dict[str, Any]]] = {}
    gradients.BUCKET_BYTES = 300  # several buckets
    early: list[int] = []  # buckets on their way when backward ends
    finish = gradients.Averaging.finish

    def noted(self: gradients.Averaging) -> Tensor:
        early.append(self.sent)
        return finish(self)

    gradients.Averaging.finish = noted  # type: ignore[method-assign]

    def case(name: str, task: type[Plain], **config: Any) -> None:
        trainer = train(task, folder, name, devices, **config)
        found[name] = trainer.gather(outcome(trainer) | {"early": early.copy()})
        early.clear()

    for name, (task, config) in CASES.items():
        case(name, task, **config)
    case("spoilt", Spoilt, nan_patience=6, checkpoint_every=5, log_every=1)
    case("drawing", Drawing, steps=40, checkpoint_every=7, accumulate=2)
    case("halfway", Drawing, steps=21, accumulate=2)
    case("halfway", Drawing, steps=40, accumulate=2, resume=True)
    case("normed halfway", Normed, steps=10, ema=0.9)
    case("normed halfway", Normed, ema=0.9, resume=True)
    trainer = train(Normed, folder, "one's statistics", devices, steps=3)
    if trainer.rank == trainer.world - 1:
        trainer.task.net[1].running_mean.fill_(float("nan"))
    found["one's statistics"] = trainer.gather({"saved": trainer.save() is not None})
    case("to shrink", Plain, steps=11, accumulate=2)
    if (folder / "plain" / "to grow").exists():
        case("to grow", Plain, steps=21, accumulate=2, resume=True)
    case("hours", Slow, steps=None, hours=0.3 / 3600)
    case("stopped", Stopping, steps=None)
    case("interrupted", Slow, steps=None)  # by a signal to the first process
    return found


def main() -> None:
    mode, folder = sys.argv[1], Path(sys.argv[2])
    devices = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    print("before", flush=True)
    with launched(TrainerConfig(device="cpu", devices=devices)):
        print("inside", flush=True)
        if mode == "everything":
            torch.save(everything(folder, devices), folder / "found.pt")
            train(Failing, folder, "failing", devices, steps=None)
        elif mode == "plain":
            trainer = train(Plain, folder, "plain", devices, **CASES["plain"][1])
            torch.save({"plain": trainer.gather(outcome(trainer))}, folder / "found.pt")
        else:
            train(Slow, folder, "slow", devices, steps=None, log_every=None)
    print("after", flush=True)


def again(folder: Path) -> None:
    """What a program tries that has had its several processes."""
    train(Plain, folder, "alone afterwards", 1)
    with launched(TrainerConfig(device="cpu", devices=2)):
        print("twice", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        if sys.argv[1] == "everything":
            try:
                again(Path(sys.argv[2]))
            except UserError as other:
                print(other, file=sys.stderr)
        sys.exit(2)
