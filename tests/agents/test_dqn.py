"""DQN: targets by hand, exploration, a tiny pixel game solved, and exact going on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.dqn
from agents.agent import load
from agents.dqn import DQN, PRESETS, DQNConfig, epsilon_at, td_target
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
from tests.agents.catch import Catch


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


def unseen(task: DQN) -> None:
    """Neither scored nor shown: that takes real emulators."""
    task.evaluate = task.confirm = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
    task.frames = lambda: iter(())  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [
        {},
        pytest.param(
            {"double": True, "n_step": 1, "priority": 0.0, "dueling": False, "loss": "mse"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"distribution": "qr", "quantiles": 8, "double": True, "replay_compression": True},
            marks=pytest.mark.slow,
        ),
        {"distribution": "iqn", "quantiles": 4, "munchausen": 0.9, "train_every": 4},
        pytest.param(
            {
                "distribution": "c51",
                "atoms": 21,
                "v_min": -2.0,
                "v_max": 2.0,
                "trunk_norm": "layer",
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"noise": 0.5, "epsilon_start": 0.0, "epsilon_end": 0.0, "train_every": 4},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["laptop", "plain double", "qr double packed", "iqn munchausen", "c51", "noisy"],
)
def test_a_tiny_pixel_game_is_learned(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    settings: dict[str, Any] = {
        "width": 0.25, "hidden": 64, "batch_size": 32, "warmup": 300, "epsilon_steps": 2000,
        "replay_capacity": 5000, "target_every": 50, "learning_rate": 1e-3, **change,
    }  # fmt: skip
    config = replace(DQNConfig(), **settings)
    seed_everything(0)
    task = DQN(config)
    run = Run.create(tmp_path, "dqn", None, {})
    limits = TrainerConfig(steps=6000, precision="fp32", threads=1, checkpoint_minutes=None)
    unseen(task)
    Trainer(limits, task, run).fit()
    assert np.mean(list(task.finished)[-60:]) > 0.7  # chance is about -0.6


SMALL = replace(
    PRESETS["laptop"], game="breakout", protocol="machado_lives", envs=3, width=0.25, hidden=16,
    batch_size=8, warmup=60, replay_capacity=150, train_every=6, target_every=5, epsilon_steps=400,
    eval_episodes=1,
)  # fmt: skip


BEYOND = replace(  # all of the preset's ingredients, small
    SMALL, backbone="impala", width=1.0, trunk_norm="spectral", max_pool=True, noise=0.5,
    distribution="iqn", quantiles=4, munchausen=0.9, batch_size=4, train_every=12,
    replay_compression=True,
)  # fmt: skip


def _train(
    folder: Path, steps: int, resume: Run | None = None, refill: bool = False, stop: int = 10**9,
    config: DQNConfig = SMALL,
) -> DQN:  # fmt: skip
    """Train until `steps`, or be stopped in the middle at `stop`; both save."""

    class Stopped(DQN):
        def step(self, trainer: Trainer) -> dict[str, Any]:
            metrics = super().step(trainer)
            if self.progress >= stop:
                trainer.stop()
            return metrics

    seed_everything(7)
    task = Stopped(config, seed=7)
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


@pytest.mark.parametrize("config", [SMALL, BEYOND], ids=["laptop", "beyond"])
def test_resume_is_exact_with_a_wrapped_replay(config: DQNConfig, tmp_path: Path) -> None:
    """Sticky actions, priorities, lives as a signal, several environments: every bit as if never
    stopped.
    """
    whole = _train(tmp_path / "a", 600, config=config)
    _train(tmp_path / "b", 600, stop=390, config=config)
    run = Run.open(tmp_path / "b" / "dqn" / "run")
    again = _train(tmp_path / "b", 600, run, config=config)
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


def test_going_back_leaves_no_rows_of_the_abandoned_future(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    task, run = DQN(SMALL, seed=7), Run.create(tmp_path, "dqn", "run", {})
    unseen(task)
    limits = TrainerConfig(steps=90, precision="fp32", threads=1, checkpoint_minutes=None)
    trainer = Trainer(limits, task, run)
    trainer.fit()
    files = task.files
    assert files is not None
    saved, write, may = task.replay.written, files._write, threading.Event()

    def late(first: int, end: int) -> None:
        assert may.wait(60)
        write(first, end)

    monkeypatch.setattr(files, "_write", late)
    files.segment_steps = 6
    while files._thread is None:
        task.step(trainer)
    release = threading.Timer(0.3, may.set)
    release.start()
    trainer.resume()  # as it does after a divergence, while a segment is being written
    release.join()
    files._thread.join()
    assert task.files is not None
    assert [end for _, end, _ in task.files.segments() if end > saved] == []
    task.close()


def test_refill_goes_on_from_the_small_files(tmp_path: Path) -> None:
    first = _train(tmp_path, 300)
    run = Run.open(tmp_path / "dqn" / "run")
    for file in (run.path / "replay").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="--refill"):
        _train(tmp_path, 600, Run.open(run.path))
    task = _train(tmp_path, 600, Run.open(run.path), refill=True)
    assert task.progress >= 600
    learned = (600 - 300 - SMALL.warmup) / SMALL.train_every  # after it has filled the replay
    assert task.updates - first.updates == pytest.approx(learned, abs=3)


@pytest.mark.parametrize("config", [SMALL, BEYOND], ids=["laptop", "beyond"])
def test_the_agents_file_plays_as_the_network(config: DQNConfig, tmp_path: Path) -> None:
    task = DQN(replace(config, game="pong"), seed=1)
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
     ({"replay_capacity": 5}, "--replay-capacity"),
     ({"replay_capacity": 30, "batch_size": 40}, "a batch needs 40"),
     ({"protocol": "x"}, "protocol"),
     ({"double": True, "munchausen": 0.9}, "--munchausen"),
     ({"distribution": "iqn", "loss": "mse"}, "--loss mse"), ({"noise": -1.0}, "--noise"),
     ({"trunk_norm": "spectral"}, "norm"),
     ({"distribution": "c51", "munchausen": 0.9}, "c51 goes without --munchausen"),
     ({"distribution": "c51", "loss": "mse"}, "--loss mse"), ({"atoms": 1}, "--atoms"),
     ({"v_min": 10.0}, "--v-min must be below --v-max"),
     ({"v_max": float("inf")}, "both finite"), ({"v_min": float("nan")}, "--v-min")],
)  # fmt: skip
def test_bad_settings_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DQN(replace(SMALL, **change))


def test_the_target_takes_over_weights_and_singular_vectors() -> None:
    task = DQN(BEYOND, seed=1)
    task.online(torch.zeros(1, 4, 84, 84, dtype=torch.uint8))  # a power iteration
    with torch.no_grad():
        task.online.head.bias.add_(1)
    task._copy_to_target()
    for (name, mine), theirs in zip(
        task.online.state_dict().items(), task.target.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    task.close()


def test_the_target_goes_a_part_of_the_way_every_so_many_updates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    copied_at: list[int] = []

    class Watched(DQN):
        def _copy_to_target(self) -> None:
            before, mine = self.target.head.bias.clone(), self.online.head.bias.detach()
            super()._copy_to_target()
            torch.testing.assert_close(self.target.head.bias, 0.75 * before + 0.25 * mine)
            assert not torch.equal(before, mine)
            copied_at.append(self.updates)

    task = Watched(replace(SMALL, target_every=7, target_tau=0.25))
    unseen(task)
    limits = TrainerConfig(steps=250, precision="fp32", threads=1, checkpoint_minutes=None)
    Trainer(limits, task, Run.create(tmp_path, "dqn", None, {})).fit()
    assert task.updates > 20
    assert copied_at == list(range(7, task.updates + 1, 7))


@pytest.mark.gpu
@pytest.mark.parametrize("config", [SMALL, BEYOND], ids=["laptop", "beyond"])
def test_it_trains_and_goes_on_with_a_gpu(config: DQNConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "run", {})
    for steps in (300, 450):
        seed_everything(7)
        task = DQN(config, seed=7)
        unseen(task)
        limits = TrainerConfig(steps=steps, device="cuda", checkpoint_minutes=None, seed=7)
        trainer = Trainer(limits, task, run)
        if steps > 300:
            trainer.resume()
        trainer.fit()
        task.close()
    assert task.updates > (450 - 60) / config.train_every - 3
    assert all(p.device.type == "cuda" and p.isfinite().all() for p in task.parameters())
    assert any("loss" in line for line in run.metrics())
