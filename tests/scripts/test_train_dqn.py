"""The door of `train dqn`: each preset's settings, and the task that they make."""

import argparse
from dataclasses import replace

import pytest

from agents.dqn import DQN, PRESETS, TRAINERS
from agents.pqn import PQN
from playground.trainer import TrainerConfig
from scripts import train_dqn


def test_every_preset_is_whole_and_told() -> None:
    assert set(PRESETS) == set(TRAINERS) == set(train_dqn.DQN.presets)
    for name in PRESETS:
        config, settings = train_dqn.DQN.settings(name, argparse.Namespace())
        config.check()
        settings.check()


@pytest.mark.parametrize(("preset", "kind"), [("laptop", DQN), ("minutes", PQN)])
def test_the_algorithm_decides_the_task(preset: str, kind: type) -> None:
    config = replace(PRESETS[preset], envs=2, rollout=8, batch_size=4, replay_capacity=100)
    task = train_dqn.DQN.build(argparse.Namespace(refill=True), config, TrainerConfig(seed=3))
    assert type(task) is kind and task.refill
    task.close()
