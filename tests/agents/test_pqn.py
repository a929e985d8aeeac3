"""PQN: rollouts and their returns, a tiny pixel game solved, exact going on, and its settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.pqn
from agents.agent import load
from agents.pqn import PQN
from agents.presets import PRESETS
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
from tests.agents.catch import Catch

SMALL = replace(
    PRESETS["minutes"], game="breakout", protocol="machado_lives", envs=4, rollout=8, width=0.25,
    hidden=16, batch_size=16, epsilon_steps=400, eval_episodes=1,
)  # fmt: skip


def unseen(task: PQN) -> None:
    """Neither scored nor shown: that takes real emulators."""
    task.evaluate = task.confirm = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
    task.frames = lambda: iter(())  # type: ignore[method-assign]


def train(
    task: PQN, run: Run, steps: int, resume: bool = False, stop: int = 10**9, **settings: Any
) -> PQN:
    unseen(task)
    limits: dict[str, Any] = {
        "steps": steps, "precision": "fp32", "threads": 1, "seed": 7, "device": "cpu",
        "checkpoint_minutes": None, "clip_norm": 10.0, **settings,
    }  # fmt: skip
    trainer = Trainer(TrainerConfig(**limits), task, run)
    if resume:
        trainer.resume()
    step = task.step

    def stopped(trainer: Trainer) -> dict[str, Any]:
        metrics = step(trainer)
        if task.progress >= stop:
            trainer.stop()
        return metrics

    task.step = stopped  # type: ignore[method-assign]
    trainer.fit()
    task.close()
    return task


def test_a_tiny_pixel_game_is_learned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(agents.pqn, "VectorAtari", Catch)
    seed_everything(0)
    config = replace(
        SMALL, envs=8, rollout=16, batch_size=32, hidden=64, epsilon_steps=4000, learning_rate=5e-4
    )
    task = train(PQN(config), Run.create(tmp_path, "dqn", None, {}), 16_000)
    assert np.mean(list(task.finished)[-60:]) > 0.7  # chance is about -0.6
    rounds = -(-16_000 // (8 * 16 * 5 // 6))  # a sixth of the rows are final: no agent steps
    assert abs(task.updates - rounds * 2 * 4) < 40


def test_a_rollout_holds_what_was_seen_and_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agents.pqn, "VectorAtari", Catch)
    seed_everything(0)
    task = PQN(replace(SMALL, epsilon_end=1.0))
    trainer = Trainer(
        TrainerConfig(precision="fp32", threads=1), task, Run.create(tmp_path, "dqn", None, {})
    )
    assert task._play(trainer) == 8 * 4 - 4  # the sixth row of each game is final
    r = task.rollout
    assert r.final.nonzero().tolist() == [[5, i] for i in range(4)]
    assert r.terminal.nonzero().tolist() == [[4, i] for i in range(4)]
    assert set(r.reward[4].tolist()) <= {-1.0, 1.0} and not r.reward[torch.arange(8) != 4].any()
    rows = (r.observation[:, :, -1] == 255).any(3).int().argmax(2)  # where the ball is, in pixels
    assert rows[:, 0].tolist() == [0, 14, 28, 42, 56, 70, 0, 14]
    assert not torch.equal(r.action[0], r.action[1])
    q = task.online(r.observation.flatten(0, 1)).amax(1).unflatten(0, (8, 4))
    torch.testing.assert_close(r.value[:-1], q.detach(), atol=1e-5, rtol=1e-4)
    after = task.online(torch.from_numpy(task.observation)).amax(1)
    torch.testing.assert_close(r.value[-1], after.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("clip", "kept"), [(0.5, 0.5), (None, 1.0)])
def test_rewards_are_clipped_as_they_are_learned(
    clip: float | None, kept: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Catch's are 1 and -1; scores stay raw."""
    monkeypatch.setattr(agents.pqn, "VectorAtari", Catch)
    task = PQN(replace(SMALL, reward_clip=clip))
    settings = TrainerConfig(precision="fp32", threads=1)
    task._play(Trainer(settings, task, Run.create(tmp_path, "dqn", None, {})))
    assert task.rollout.reward[4].abs().tolist() == [kept] * 4
    assert {abs(score) for score in task.finished} == {1.0}


def test_rows_without_an_action_teach_nothing() -> None:
    task = PQN(SMALL, seed=1)
    seen = torch.randint(0, 256, (6, 4, 84, 84), dtype=torch.uint8)
    action, target = torch.arange(6) % 4, torch.linspace(-1, 1, 6)
    weight = torch.tensor([1.0, 0, 1, 1, 0, 0])
    loss, q = task._loss(seen, action, target, weight)
    kept = weight == 1
    expected = (q[kept] - target[kept]).square().mean()
    torch.testing.assert_close(loss, expected)
    none, _ = task._loss(seen, action, target, torch.zeros(6))
    assert none.item() == 0
    task.close()


def test_resume_is_exact(tmp_path: Path) -> None:
    """Sticky actions, lives as a signal, several environments: every bit as if never stopped."""

    def go(name: str, **more: Any) -> PQN:
        seed_everything(7)
        task = PQN(SMALL, seed=7)
        resume = more.pop("resume", False)
        folder = tmp_path / name
        run = Run.open(folder / "dqn/run") if resume else Run.create(folder, "dqn", "run", {})
        return train(task, run, 600, resume, deterministic=True, log_every=30, **more)

    whole = go("a")
    go("b", stop=300)
    again = go("b", resume=True)
    assert whole.updates == again.updates > 60
    for (key, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    np.testing.assert_array_equal(whole.observation, again.observation)
    assert list(whole.finished) == list(again.finished)


def test_refill_goes_on_with_fresh_games(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "run", {})
    first = train(PQN(SMALL, seed=7), run, 200)
    task = PQN(SMALL, seed=8)
    task.refill = True
    again = train(task, Run.open(run.path), 400, resume=True)
    assert again.progress >= 400 and again.updates > first.updates


def test_its_agents_file_plays_as_the_network(tmp_path: Path) -> None:
    task = PQN(replace(SMALL, game="pong"), seed=1)
    task.export(tmp_path / "a.safetensors")
    agent = load(tmp_path / "a.safetensors")
    observation = np.random.default_rng(0).integers(0, 256, (5, 4, 84, 84)).astype(np.uint8)
    np.testing.assert_allclose(
        task.agent().q_values(observation), agent.q_values(observation), atol=2e-3
    )
    assert agent.protocol == "machado_lives"
    assert agent.card["settings"]["algorithm"] == "pqn"
    task.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"double": True}, "--double is for"), ({"munchausen": 0.9}, "--munchausen"),
     ({"distribution": "iqn", "loss": "huber"}, "--distribution"),
     ({"priority": 0.5}, "--priority"),
     ({"n_step": 3}, "--n-step"), ({"replay_compression": True}, "--replay-compression"),
     ({"replay_device": "device"}, "--replay-device"),
     ({"batch_size": 24}, "must divide .*, 32"), ({"trace": 1.5}, "--trace"),
     ({"rollout": 0}, "--rollout")],
)  # fmt: skip
def test_bad_settings_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PQN(replace(SMALL, **change))
