"""DQN trainings for test_dqn_ranks: a program that Fabric starts in two processes.

python dqn_program.py FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from agents.dqn import DQN, PRESETS
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, launched, seed_everything

SMALL = replace(
    PRESETS["laptop"], game="breakout", envs=3, width=0.25, hidden=16, batch_size=8, warmup=60,
    replay_capacity=120, train_every=6, target_every=5, epsilon_steps=400,
)  # fmt: skip


def train(folder: Path, name: str, devices: int, steps: int, resume: bool = False) -> DQN:
    """Train a run, or go on with it."""
    seed_everything(7)
    task = DQN(SMALL, seed=7)
    task.evaluate = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
    task.frames = lambda: iter(())  # type: ignore[method-assign]
    run = Run.open(folder / "dqn" / name) if resume else Run.create(folder, "dqn", name, {})
    settings = TrainerConfig(
        steps=steps, deterministic=True, precision="fp32", threads=1, seed=7, device="cpu",
        devices=devices, checkpoint_every=90, checkpoint_minutes=None, log_every=60,
    )  # fmt: skip
    trainer = Trainer(settings, task, run)
    task.rows_at_first = 0
    if resume:
        trainer.resume()
        task.rows_at_first = task.replay.written
    trainer.fit()
    task.close()
    return task


def outcome(task: DQN) -> dict[str, Any]:
    """What is to be compared, of this process."""
    assert task.replay.tree is not None
    return {
        "weights": {key: value.clone() for key, value in task.state_dict().items()},
        "frames": task.replay.frames.clone(),
        "priorities": torch.from_numpy(task.replay.tree.nodes),
        "written": task.replay.written,
        "rows_at_first": task.rows_at_first,
        "progress": task.progress,
        "updates": task.updates,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    with launched(TrainerConfig(device="cpu", devices=2)):
        from playground import ranks

        found = {}
        for name, steps, resume in (
            ("whole", 360, False),
            ("halfway", 180, False),
            ("halfway", 360, True),
            ("to grow", 360, True),
            ("to shrink", 180, False),
        ):
            found[name] = ranks.gather(outcome(train(folder, name, 2, steps, resume)))
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main()
