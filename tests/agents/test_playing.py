"""What both tasks share: threads, weights to begin with, what ends a return, films."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agents import atari, playing
from agents.agent import load
from agents.dqn import DQN
from agents.evaluation import Stopped
from agents.playing import Playing
from agents.pqn import PQN
from agents.presets import PRESETS
from playground.errors import UserError
from playground.frames import Frame
from playground.media import read_video
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

SMALL: dict[str, Any] = {"game": "breakout", "width": 0.25, "hidden": 16, "epsilon_steps": 400}
TASKS: dict[str, Any] = {
    "dqn": (DQN, replace(
        PRESETS["laptop"], envs=3, batch_size=8, warmup=60, replay_capacity=150, train_every=6,
        **SMALL,
    )),
    "pqn": (PQN, replace(PRESETS["minutes"], envs=4, rollout=8, batch_size=16, **SMALL)),
}  # fmt: skip


def task_of(kind: str, film_seconds: float) -> Playing:
    build, config = TASKS[kind]
    seed_everything(7)
    task: Playing = build(replace(config, eval_film=film_seconds), seed=7)
    task.evaluate = lambda trainer: {}  # type: ignore[method-assign]
    task.panel_stride = 1  # a panel takes few of its frames
    return task


def trainer_of(task: Playing, run: Run, steps: int) -> Trainer:
    settings = TrainerConfig(
        steps=steps, deterministic=True, precision="fp32", threads=1, seed=7, device="cpu",
        checkpoint_minutes=None,
    )  # fmt: skip
    return Trainer(settings, task, run)


@pytest.mark.parametrize(
    ("asked", "processes", "threads"),
    [(None, 1, 0), (2, 1, 2), (99, 1, 8), (None, 2, 3), (4, 2, 2), (1, 2, 1)],
)
def test_emulators_have_the_threads_that_they_are_given(
    asked: int | None, processes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all processes together, and no more than there are games; 0 is ale-py's choice."""
    monkeypatch.setattr(playing.os, "cpu_count", lambda: 6)
    for name in ("world", "local_world"):
        monkeypatch.setattr(playing.ranks, name, lambda: processes)
    assert playing._threads(replace(PRESETS["laptop"], emulator_threads=asked)) == threads


def test_a_training_plays_and_evaluates_on_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    native, given = atari.native, []

    def spied(game: str, envs: int, rules: Any, threads: int) -> Any:
        given.append((envs, threads))
        return native(game, envs, rules, threads)

    monkeypatch.setattr(atari, "native", spied)
    build, config = TASKS["dqn"]
    task = build(replace(config, emulator_threads=2, eval_episodes=3), seed=7)
    stopping = SimpleNamespace(stopping=True)
    with pytest.raises(Stopped):
        task._whole_games(stopping, 7)
    task.close()
    assert given == [(3, 2), (3, 2)]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    ("rules", "ends"), [("machado", [1]), ("machado_lives", [0, 1]), ("nature", [0, 1])]
)
def test_what_ends_the_bootstrap(kind: str, rules: str, ends: list[int]) -> None:
    """The end of a game and, under rules that say so, a lost life; never the time limit."""
    build, config = TASKS[kind]
    task: Playing = build(replace(config, protocol=rules))
    lost, ended, cut, nothing = np.eye(4, dtype=bool)
    none = np.zeros(4)
    step = atari.Step(none, none, ended, cut, lost, none, nothing)
    assert np.flatnonzero(task._terminal(step)).tolist() == ends
    task.close()


@pytest.mark.parametrize("kind", TASKS)
def test_another_agents_network_learns_on(kind: str, tmp_path: Path) -> None:
    build, config = TASKS[kind]
    first = task_of(kind, 0)
    first.export(source := tmp_path / "a.safetensors")
    task = build(replace(config, start=str(source)), seed=8)
    weights = load(source).network.state_dict()
    for model in {"online", "target"} & {name for name, _ in task.named_children()}:
        own = getattr(task, model).state_dict()
        assert own.keys() == weights.keys()
        assert all(torch.equal(own[key], weights[key]) for key in own)
    with pytest.raises(UserError, match="its hidden is 16, not 24"):
        build(replace(config, start=str(source), hidden=24), seed=8)


@pytest.mark.parametrize("kind", TASKS)
def test_a_film_of_the_untrained_network_changes_nothing(kind: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "filmed", {})
    task = task_of(kind, 0.2)
    trainer = trainer_of(task, run, 120)
    expected = [frame.pixels for frame in islice(task.frames(), 12)]
    trainer.fit()
    assert list(run.films()) == [0]
    found = [frame[::2, ::2] for frame in read_video(run.film(0))[0]]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4  # colours are stored at half the size

    plain = Run.create(tmp_path, "dqn", "plain", {})
    other = task_of(kind, 0)
    trainer_of(other, plain, 120).fit()
    assert not plain.films() and task.updates == other.updates > 0
    for one, two in zip(task.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    np.testing.assert_array_equal(task.observation, other.observation)

    run.film(0).unlink()
    again = task_of(kind, 0.2)
    trainer = trainer_of(again, run, 180)
    trainer.resume()
    trainer.fit()
    assert again.progress >= 180 and not run.films()  # what goes on does not begin
    for each in (task, other, again):
        each.close()


def test_a_beginning_that_is_interrupted_is_saved(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "run", {})
    task = task_of("dqn", 60)
    trainer, frames = trainer_of(task, run, 120), task.frames

    def stopping() -> Iterator[Frame]:
        for number, frame in enumerate(frames()):
            if number == 5:
                trainer.stop()
            yield frame

    task.frames = stopping  # type: ignore[method-assign]
    assert trainer.fit().reason == "stopped"
    assert len(list(read_video(run.film(0))[0])) == 5
    assert 0 < task.progress < 120 and len(list(run.checkpoints.iterdir())) == 1
    task.close()
