"""DQN: targets by hand, exploration, a tiny pixel game solved, and exact going on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.dqn
from agents.agent import load
from agents.atari import Step
from agents.dqn import DQN, PRESETS, DQNConfig, epsilon_at, td_target
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything


def test_td_target_by_hand() -> None:
    reward = torch.tensor([1.0, 0.5, -1.0])
    discount = torch.tensor([0.9, 0.0, 0.729])  # the second is terminal
    next_q = torch.tensor([[1.0, 3.0], [5.0, 7.0], [2.0, -1.0]])
    torch.testing.assert_close(
        td_target(reward, discount, next_q), torch.tensor([1 + 2.7, 0.5, -1 + 1.458])
    )
    online = torch.tensor([[9.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # chooses actions 0, 1, 1
    torch.testing.assert_close(
        td_target(reward, discount, next_q, online), torch.tensor([1.9, 0.5, -1.729])
    )


def test_epsilon_falls_linearly_then_stays() -> None:
    assert epsilon_at(0, 1.0, 0.1, 1000) == 1.0
    assert epsilon_at(500, 1.0, 0.1, 1000) == pytest.approx(0.55)
    assert epsilon_at(1000, 1.0, 0.1, 1000) == pytest.approx(0.1)
    assert epsilon_at(10**9, 1.0, 0.1, 1000) == pytest.approx(0.1)
    assert epsilon_at(0, 1.0, 0.1, 0) == pytest.approx(0.1)


class Catch:
    """A ball falls, a paddle catches it (+1) or not (-1); six rows, six columns, 84 x 84."""

    num_actions = 3
    cell = 14

    def __init__(
        self, game: str, num_envs: int, protocol: Any, seed: int, threads: int = 0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.n = num_envs
        self.ended = np.zeros(num_envs, bool)

    def reset(self) -> np.ndarray:
        self.stack = np.zeros((self.n, 4, 84, 84), np.uint8)
        self.ball = np.zeros((self.n, 2), int)
        self.paddle = np.zeros(self.n, int)
        for i in range(self.n):
            self._begin(i)
        return self.stack.copy()

    def _begin(self, i: int) -> None:
        self.ball[i], self.paddle[i] = (0, self.rng.integers(6)), self.rng.integers(6)
        self.stack[i] = 0
        self._draw(i)

    def _draw(self, i: int) -> None:
        picture = np.zeros((84, 84), np.uint8)
        row, column = self.ball[i] * self.cell
        picture[row : row + 14, column : column + 14] = 255
        picture[76:, self.paddle[i] * 14 : self.paddle[i] * 14 + 14] = 128
        self.stack[i] = np.concatenate([self.stack[i, 1:], picture[None]])

    def send(self, actions: np.ndarray) -> None:
        self.actions = actions

    def recv(self) -> Step:
        reset, reward = self.ended, np.zeros(self.n, np.float32)
        self.ended = np.zeros(self.n, bool)
        for i in range(self.n):
            if reset[i]:
                self._begin(i)
                continue
            self.paddle[i] = np.clip(self.paddle[i] + self.actions[i] - 1, 0, 5)
            self.ball[i, 0] += 1
            self._draw(i)
            if self.ball[i, 0] == 5:
                self.ended[i] = True
                reward[i] = 1 if self.ball[i, 1] == self.paddle[i] else -1
        none = np.zeros(self.n, bool)
        lives = np.zeros(self.n, np.int32)
        return Step(self.stack.copy(), reward, self.ended.copy(), none, none, lives, reset)

    def state(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in ("stack", "ball", "paddle", "ended")}
        return {"rng": self.rng.bit_generator.state, **arrays}

    def load_state(self, state: dict[str, Any]) -> np.ndarray:
        for name in ("stack", "ball", "paddle", "ended"):
            setattr(self, name, np.array(state[name]))
        self.rng.bit_generator.state = state["rng"]
        return self.stack.copy()

    def close(self) -> None: ...


def unseen(task: DQN) -> None:
    """Neither scored nor shown: that takes real emulators."""
    task.evaluate = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
    task.frames = lambda: iter(())  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [{}, {"double": True, "n_step": 1, "priority": 0.0, "dueling": False, "loss": "mse"}],
    ids=["laptop", "plain double"],
)
def test_a_tiny_pixel_game_is_learned(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    config = replace(
        DQNConfig(), width=0.25, hidden=64, batch_size=32, warmup=300, epsilon_steps=2000,
        replay_capacity=5000, target_every=50, learning_rate=1e-3, **change,
    )  # fmt: skip
    seed_everything(0)
    task = DQN(config)
    run = Run.create(tmp_path, "dqn", None, {})
    settings = TrainerConfig(steps=6000, precision="fp32", threads=1, checkpoint_minutes=None)
    unseen(task)
    Trainer(settings, task, run).fit()
    assert np.mean(list(task.finished)[-60:]) > 0.7  # chance is about -0.6


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Deterministic mode holds for a whole process."""
    yield
    torch.use_deterministic_algorithms(False)


SMALL = replace(
    PRESETS["laptop"], game="breakout", envs=3, width=0.25, hidden=16, batch_size=8, warmup=60,
    replay_capacity=150, train_every=6, target_every=5, epsilon_steps=400, eval_episodes=1,
)  # fmt: skip


def _train(
    folder: Path, steps: int, resume: Run | None = None, refill: bool = False, stop: int = 10**9
) -> DQN:
    """Train until `steps`, or be stopped in the middle at `stop`; both save."""

    class Stopped(DQN):
        def step(self, trainer: Trainer) -> dict[str, Any]:
            metrics = super().step(trainer)
            if self.progress >= stop:
                trainer.stop()
            return metrics

    seed_everything(7)
    task = Stopped(SMALL, seed=7)
    task.refill = refill
    run = resume or Run.create(folder, "dqn", "run", {})
    settings = TrainerConfig(
        steps=steps, deterministic=True, precision="fp32", threads=1, seed=7,
        checkpoint_every=150, checkpoint_minutes=None, log_every=30,
    )  # fmt: skip
    unseen(task)
    trainer = Trainer(settings, task, run)
    if resume is not None:
        trainer.resume()
    trainer.fit()
    task.close()
    return task


def test_resume_is_exact_with_a_wrapped_replay(tmp_path: Path) -> None:
    """Sticky actions, priorities, lives, several environments: every bit as if never stopped."""
    whole = _train(tmp_path / "a", 600)
    _train(tmp_path / "b", 600, stop=390)
    again = _train(tmp_path / "b", 600, Run.open(tmp_path / "b" / "dqn" / "run"))
    assert again.replay.written > again.replay.steps  # wrapped
    for (key, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    np.testing.assert_array_equal(whole.replay.frames, again.replay.frames)
    assert whole.replay.tree is not None
    assert again.replay.tree is not None
    np.testing.assert_array_equal(whole.replay.tree.nodes, again.replay.tree.nodes)
    assert list(whole.finished) == list(again.finished)
    lines = [
        [{k: v for k, v in line.items() if k not in ("time", "per_second")} for line in
         Run.open(tmp_path / name / "dqn" / "run").metrics()]
        for name in "ab"
    ]  # fmt: skip
    assert len(lines[0]) > 15
    assert lines[0] == lines[1]


def test_files_stay_near_the_rings_size_and_serve_both_checkpoints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    most = 0

    class Watched(DQN):
        def attach(self, run: Run) -> None:
            super().attach(run)
            assert self.files is not None
            self.files.segment_steps = 6
            self.files.span = self.replay.steps // 8

        def step(self, trainer: Trainer) -> dict[str, Any]:
            nonlocal most
            metrics = super().step(trainer)
            assert self.files is not None
            most = max(most, sum(end - first for first, end, _ in self.files.segments()))
            return metrics

    config = replace(SMALL, envs=2, replay_capacity=300, warmup=10**9)
    run = Run.create(tmp_path, "dqn", "run", {})
    settings = TrainerConfig(steps=1200, precision="fp32", threads=1, checkpoint_minutes=None)
    task = Watched(config)
    unseen(task)
    Trainer(settings, task, run).fit()
    assert task.replay.steps <= most <= 1.3 * task.replay.steps
    checkpoints = sorted(run.checkpoints.glob("step_*"))
    assert len(checkpoints) == 2  # though none was asked for
    (checkpoints[1] / "manifest.json").unlink()
    messages: list[str] = []
    again = Watched(config)
    resumed = Trainer(settings, again, Run.open(run.path), say=messages.append).resume()
    assert f"{resumed:012d}" == checkpoints[0].name.removeprefix("step_")
    assert "damaged" in messages[0]
    steps, written = task.replay.steps, again.replay.written
    kept = np.arange(task.replay.written - steps, written) % steps  # in both rings
    rows = (kept[:, None] * 2 + np.arange(2)).reshape(-1)
    np.testing.assert_array_equal(again.replay.frames[rows], task.replay.frames[rows])
    assert min(first for first, _, _ in again.files.segments()) <= written - steps  # type: ignore[union-attr]


def test_refill_goes_on_from_the_small_files(tmp_path: Path) -> None:
    _train(tmp_path, 300)
    run = Run.open(tmp_path / "dqn" / "run")
    for file in (run.path / "replay").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="--refill"):
        _train(tmp_path, 600, Run.open(run.path))
    task = _train(tmp_path, 600, Run.open(run.path), refill=True)
    assert task.progress >= 600
    assert task.updates > 0


def test_the_agents_file_plays_as_the_network(tmp_path: Path) -> None:
    task = DQN(replace(SMALL, game="pong"), seed=1)
    task.export(tmp_path / "a.safetensors")
    agent = load(tmp_path / "a.safetensors")
    observation = np.random.default_rng(0).integers(0, 256, (5, 4, 84, 84)).astype(np.uint8)
    mine, saved = task.agent().q_values(observation), agent.q_values(observation)
    np.testing.assert_allclose(mine, saved, atol=2e-3)  # fp16
    assert agent.game == "pong"
    assert agent.card["settings"]["n_step"] == 3
    action, state = agent.predict(observation)
    assert state is None
    np.testing.assert_array_equal(action, saved.argmax(1))
    task.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"game": "pnog"}, "pong"), ({"envs": 0}, "--envs"), ({"gamma": 1.5}, "--gamma"),
     ({"replay_capacity": 5}, "--replay-capacity"), ({"protocol": "x"}, "protocol")],
)  # fmt: skip
def test_bad_settings_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DQN(replace(SMALL, **change))
