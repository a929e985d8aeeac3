"""DQN trainings for test_dqn_ranks: a program that Fabric starts in two processes.

python dqn_program.py FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from agents.dqn import DQN, PRESETS, DQNConfig
from agents.pqn import PQN
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, launched, seed_everything

SMALL = replace(
    PRESETS["laptop"], game="breakout", envs=3, width=0.25, hidden=16, batch_size=8, warmup=60,
    replay_capacity=120, train_every=6, target_every=5, epsilon_steps=400,
)  # fmt: skip
BEYOND = replace(  # a spectral norm's vectors and random quantiles must not drift apart
    SMALL, backbone="impala", width=1.0, trunk_norm="spectral", max_pool=True, noise=0.5,
    distribution="iqn", quantiles=4, munchausen=0.9, batch_size=4, replay_compression=True,
)  # fmt: skip
MINUTES = replace(
    PRESETS["minutes"], game="breakout", envs=3, rollout=8, width=0.25, hidden=16, batch_size=12,
    epsilon_steps=400,
)  # fmt: skip


def train(
    folder: Path, name: str, devices: int, steps: int, resume: bool = False,
    config: DQNConfig = SMALL,
) -> DQN | PQN:  # fmt: skip
    """Train a run, or go on with it."""
    seed_everything(7)
    task: Any = (PQN if config.algorithm == "pqn" else DQN)(config, seed=7)
    task.evaluate = task.confirm = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
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
        task.rows_at_first = task.replay.written if isinstance(task, DQN) else 0
    trainer.fit()
    task.close()
    return task


def outcome(task: Any) -> dict[str, Any]:
    """What is to be compared, of this process."""
    found = {
        "weights": {key: value.clone() for key, value in task.state_dict().items()},
        "progress": task.progress,
        "updates": task.updates,
    }
    if isinstance(task, PQN):
        return found | {"frames": torch.from_numpy(task.observation), "priorities": torch.zeros(0)}
    assert task.replay.tree is not None
    return found | {
        "frames": task.replay.frames.clone(),
        "priorities": torch.from_numpy(task.replay.tree.nodes),
        "written": task.replay.written,
        "rows_at_first": task.rows_at_first,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    with launched(TrainerConfig(device="cpu", devices=2)):
        from playground import ranks

        found = {}
        for name, steps, resume, config in (
            ("whole", 360, False, SMALL),
            ("halfway", 180, False, SMALL),
            ("halfway", 360, True, SMALL),
            ("to grow", 360, True, SMALL),
            ("to shrink", 180, False, SMALL),
            ("beyond whole", 180, False, BEYOND),
            ("beyond halfway", 100, False, BEYOND),
            ("beyond halfway", 180, True, BEYOND),
            ("minutes whole", 180, False, MINUTES),
            ("minutes halfway", 100, False, MINUTES),
            ("minutes halfway", 180, True, MINUTES),
        ):
            found[name] = ranks.gather(outcome(train(folder, name, 2, steps, resume, config)))
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main()
