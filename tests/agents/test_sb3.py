"""The bridge to Stable-Baselines3: files both ways, hostile files, environments, training."""

from __future__ import annotations

import base64
import io
import json
import lzma
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage
from torch import nn

import agents
from agents import sb3
from agents.agent import Agent
from agents.atari import VectorAtari, episode_seed, protocol
from agents.dqn import PRESETS, SB3, TRAINERS, DQNConfig
from agents.evaluation import CONFIRMING_SEEDS, EVALUATION_SEEDS, Evaluation, evaluate
from agents.qnetwork import QNetwork
from agents.sb3_env import OBSERVATION, AtariVecEnv, SB3Screen, VectorSB3, blank_model
from agents.sb3_train import agent_of, build
from agents.screen import watch
from agents.targets import epsilon_at
from playground import signals
from playground.config import to_json
from playground.errors import UserError
from playground.run import Run
from playground.trainer import TrainerConfig

gymnasium.register_envs(ale_py)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(n: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 84, 84), dtype=np.uint8)


def q_of(model: DQN, obs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.q_net(model.policy.obs_to_tensor(obs)[0]).numpy()


# Files: theirs to ours


@pytest.mark.parametrize("hidden", [512, 48])
def test_a_zip_of_theirs_acts_the_same(tmp_path: Path, hidden: int) -> None:
    model = blank_model(6, hidden)
    model.num_timesteps = 1234
    model.save(tmp_path / "model.zip")
    agent = agents.load(tmp_path / "model.zip")
    assert agent.game is None
    assert (agent.actions, agent.preprocessing, agent.protocol) == (6, "sb3", "sb3")
    assert agent.card["trained_agent_steps"] == 1234
    obs = pictures()
    np.testing.assert_allclose(agent.q_values(obs), q_of(model, obs), atol=1e-5)
    assert (agent.predict(obs)[0] == model.predict(obs, deterministic=True)[0]).all()


def test_a_trained_zip_loads(tmp_path: Path) -> None:
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", seed=0), 4)
    model = DQN(
        "CnnPolicy", env, buffer_size=50, learning_starts=4, batch_size=4, device="cpu",
        learning_rate=1e-2, tensorboard_log="logs/PongNoFrameskip-v4/dqn",
    )  # fmt: skip
    model.tensorboard_log, kept = None, model.tensorboard_log
    model.learn(12)
    model.tensorboard_log = kept
    model.save(tmp_path / "model.zip")
    agent = agents.load(tmp_path / "model.zip")
    assert agent.game == "pong"  # from the log folder's name, plain in the JSON
    obs = pictures()
    np.testing.assert_allclose(agent.q_values(obs), q_of(model, obs), atol=1e-5)
    assert agents.load(tmp_path / "model.zip", "breakout").game == "breakout"


def cleanrl_network(actions: int) -> nn.Sequential:
    """As in cleanrl/dqn_atari.py."""
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
        nn.Linear(512, actions),
    )  # fmt: skip


def cleanrl_weights(actions: int = 4) -> tuple[nn.Module, dict[str, Any]]:
    network = cleanrl_network(actions)
    return network, {f"network.{key}": value for key, value in network.state_dict().items()}


def test_cleanrl_weights_load(tmp_path: Path) -> None:
    network, weights = cleanrl_weights()
    torch.save(weights, tmp_path / "dqn_atari.cleanrl_model")
    agent = agents.load(tmp_path / "dqn_atari.cleanrl_model")
    assert (agent.actions, agent.preprocessing, agent.game) == (4, "sb3", None)
    obs = pictures()
    with torch.no_grad():
        q = network(torch.from_numpy(obs) / 255.0).numpy()
    np.testing.assert_allclose(agent.q_values(obs), q, atol=1e-5)


# Files: ours to theirs


@pytest.mark.parametrize("hidden", [512, 64])
def test_a_zip_of_ours_acts_the_same_in_sb3(tmp_path: Path, hidden: int) -> None:
    agent = Agent(QNetwork(6, hidden=hidden), "pong", card={"trained_agent_steps": 7})
    before = torch.get_rng_state()
    sb3.save(agent, tmp_path / "ours.zip")
    assert torch.equal(before, torch.get_rng_state())
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", seed=0), 4)
    model = DQN.load(tmp_path / "ours.zip", env=env, device="cpu")
    assert model.num_timesteps == 7
    obs = pictures()
    np.testing.assert_allclose(q_of(model, obs), agent.q_values(obs), atol=1e-5)
    target = model.q_net_target(model.policy.obs_to_tensor(obs)[0]).detach().numpy()
    np.testing.assert_allclose(target, agent.q_values(obs), atol=1e-5)
    assert (model.predict(obs, deterministic=True)[0] == agent.predict(obs)[0]).all()
    assert model.exploration_rate == model.exploration_final_eps
    again = agents.load(tmp_path / "ours.zip")
    assert (again.q_values(obs) == agent.q_values(obs)).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dueling": True}, "dueling"),
        ({"layer_norm": True}, "LayerNorm"),
        ({"width": 0.5}, "width is 0.5"),
        ({"backbone": "impala", "width": 1}, "backbone is impala"),
        ({"noise": 0.5, "distribution": "iqn"}, "it has distribution, noise"),
    ],
)
def test_what_sb3_cannot_express_is_refused(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    agent = Agent(QNetwork(6, hidden=8, **options), "pong")
    with pytest.raises(UserError, match=reason):
        sb3.save(agent, tmp_path / "ours.zip")
    assert not list(tmp_path.iterdir())


# Files: hostile and foreign ones


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


def members(actions: int = 6) -> dict[str, bytes]:
    buffer = io.BytesIO()
    blank_model(actions, 16).save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_hostile_pickles_are_harmless(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = pickle.dumps(Bomb(mark), protocol=2)
    files = members()
    data = json.loads(files["data"])
    for value in data.values():
        if isinstance(value, dict):
            value[":serialized:"] = base64.b64encode(evil).decode()
    data["policy_kwargs"] = {":type:": "x", ":serialized:": base64.b64encode(evil).decode()}
    files["data"] = json.dumps(data).encode()
    for name in ("pytorch_variables.pth", "policy.optimizer.pth", "other.optimizer.pth"):
        files[name] = saved({"x": Bomb(mark)})
    files["policy_kwargs.pkl"] = evil
    assert agents.load(pack(tmp_path / "a.zip", files)).actions == 6  # pickles beside: not read
    for content in (evil, saved({"q_net.q_net.0.weight": Bomb(mark)}), saved(Bomb(mark))):
        path = pack(tmp_path / "b.zip", files | {"policy.pth": content})
        with pytest.raises(UserError, match="without running code"):
            agents.load(path)
        (tmp_path / "c.cleanrl_model").write_bytes(content)
        with pytest.raises(UserError, match="without running code"):
            agents.load(tmp_path / "c.cleanrl_model")
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists()  # the bomb is a real one


def test_zip_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3, "MAX_BYTES", 20_000_000)
    files = members()
    assert agents.load(pack(tmp_path / "a.zip", files)).actions == 6
    with pytest.raises(UserError, match="unpacks to"):
        agents.load(pack(tmp_path / "b.zip", files | {"more": bytes(30_000_000)}))
    inner = pack(tmp_path / "inner.zip", {"archive/data.pkl": bytes(30_000_000)}).read_bytes()
    assert len(inner) < 100_000
    with pytest.raises(UserError, match="unpacks to"):
        agents.load(pack(tmp_path / "c.zip", files | {"policy.pth": inner}))


def mlp_policy() -> bytes:
    class Vector(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (8,))
        action_space = gymnasium.spaces.Discrete(4)

    return saved(DQN("MlpPolicy", Vector(), buffer_size=1, device="cpu").policy.state_dict())


def altered(change: Callable[[dict[str, Any]], Any]) -> bytes:
    weights = blank_model(6, 16).policy.state_dict()
    change(weights)
    return saved(weights)


NAME = "q_net.features_extractor.cnn.0.weight"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (mlp_policy, "without convolutions"),
        (lambda: altered(lambda w: w.update({"q_net.q_net.2.weight": torch.ones(1)})), "net_arch"),
        (lambda: altered(lambda w: w.update({"quantile_net.x": torch.ones(1)})), "QR-DQN"),
        (lambda: altered(lambda w: w.update({"mlp_extractor.x": torch.ones(1)})), "actor-critic"),
        (lambda: altered(lambda w: w.update({NAME: torch.ones(32, 1, 8, 8)})), "stacks of 1"),
        (lambda: altered(lambda w: w.update({NAME: torch.ones(16, 4, 8, 8)})), r"\(16, 4, 8, 8\)"),
        (lambda: altered(lambda w: w.update({NAME: torch.ones(1).to_sparse()})), "plain numbers"),
        (lambda: altered(lambda w: w.update({NAME: 3})), "plain numbers"),
        (lambda: altered(lambda w: w.pop(NAME)), "other layers"),
        (lambda: saved([1, 2]), "no network's weights"),
        (lambda: b"nonsense", "without running code"),
    ],
)
def test_other_networks_are_refused_with_the_reason(
    tmp_path: Path, make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        agents.load(pack(tmp_path / "model.zip", members() | {"policy.pth": make()}))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"data": b"{nonsense"}, "not JSON"),
        ({"data": b"[" * 100_000}, "not JSON"),
        ({"data": b'{"policy_kwargs": {"normalize_images": false}}'}, "255"),
        ({"data": b'{"policy_kwargs": {"features_extractor_class": "Mine"}}'}, "of its own, Mine"),
    ],
)
def test_other_settings_are_refused_with_the_reason(
    tmp_path: Path, files: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        agents.load(pack(tmp_path / "model.zip", members() | files))


@pytest.mark.parametrize("cut", [0, 10, 2000, 20_000])
def test_truncated_files_are_refused(tmp_path: Path, cut: int) -> None:
    whole = pack(tmp_path / "model.zip", members()).read_bytes()
    (tmp_path / "model.zip").write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r"model\.zip"):
        agents.load(tmp_path / "model.zip")


@pytest.mark.parametrize(
    ("compression", "damage"),
    [
        (zipfile.ZIP_STORED, zipfile.BadZipFile),  # its checksum tells
        (zipfile.ZIP_DEFLATED, zlib.error),
        (zipfile.ZIP_BZIP2, OSError),
        (zipfile.ZIP_LZMA, lzma.LZMAError),
    ],
)
def test_flipped_bits_are_refused(
    tmp_path: Path, compression: int, damage: type[Exception]
) -> None:
    path, rng = tmp_path / "model.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("policy.pth", members()["policy.pth"])
    whole = path.read_bytes()
    assert agents.load(path).actions == 6
    causes = []
    # Within the compressed bytes. Of deflate's also the code tables at their beginning, for flips
    # elsewhere may leave a stream of other bytes, which only the checksum tells.
    tables = range(44, 54) if compression == zipfile.ZIP_DEFLATED else ()
    for place in (*tables, *rng.integers(100, len(whole) - 200, 25)):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"model\.zip is damaged or encrypted \(.+\)\.$"
        ) as caught:
            agents.load(path)
        causes.append(caught.value.__cause__)
    assert any(isinstance(cause, damage) for cause in causes)


def test_other_zips_and_cleanrl_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"without a policy\.pth"):
        agents.load(pack(tmp_path / "a.zip", {"data": b"{}"}))
    with pytest.raises(UserError, match="without running code"):
        agents.load(pack(tmp_path / "b.zip", {"holiday.txt": b"x"}))
    torch.save({"model_weights": {}, "args": {}}, tmp_path / "c51_atari.cleanrl_model")
    with pytest.raises(UserError, match="C51"):
        agents.load(tmp_path / "c51_atari.cleanrl_model")


# SB3's pipeline


@pytest.mark.parametrize("game", ["Breakout", "Pong"])
def test_sb3_screen_equals_their_wrappers(game: str) -> None:
    theirs = VecFrameStack(
        make_atari_env(f"{game}NoFrameskip-v4", 1, seed=7, wrapper_kwargs={"clip_reward": False}), 4
    )
    screen = SB3Screen(game)
    obs, their_obs = screen.reset(7), theirs.reset()
    rng = np.random.default_rng(1)
    score, games, lives_lost = sum(screen.rewards_of_last_step), 0, 0
    for _ in range(400 if game == "Breakout" else 200):
        assert (np.moveaxis(their_obs[0], -1, 0) == obs).all()
        action = int(rng.integers(screen.num_actions))
        lives = screen.lives
        their_obs, _, done, infos = theirs.step(np.array([action]))
        obs, reward, terminated, truncated, info = screen.step(action)
        score += reward
        assert len(screen.frames_of_last_step) == len(screen.rewards_of_last_step)
        lives_lost += bool(done[0]) and not terminated
        assert bool(done[0]) == (terminated or truncated or info["lives"] < lives)
        if terminated or truncated:
            games += 1
            assert infos[0]["episode"]["r"] == score
            obs = screen.reset()
            score = sum(screen.rewards_of_last_step)
    assert (games >= 2) and (lives_lost >= 8) if game == "Breakout" else score < 0


def test_sb3_pipeline_under_other_protocols() -> None:
    screen = SB3Screen("breakout", protocol("machado", max_frames=400), 1)
    obs = screen.reset()
    assert len(screen.frames_of_last_step) == 1  # no no-ops, no FIRE
    assert (obs[:3] == 0).all()
    lives, steps, truncated = screen.lives, 0, False
    while not truncated:
        obs, _, terminated, truncated, _ = screen.step(1 + steps % 3)
        assert not terminated
        assert len(screen.frames_of_last_step) == 4 or truncated  # nothing pressed for lost lives
        steps += 1
    assert steps == 100
    assert screen.lives < lives


def test_agents_of_sb3_are_evaluated_on_their_pipeline() -> None:
    agent = Agent(QNetwork(4, hidden=8), "breakout", preprocessing="sb3")
    rules = protocol("sb3", max_frames=500)
    result = evaluate(agent, protocol=rules, episodes=3, envs=2, seed=5)
    assert result == evaluate(agent, protocol=rules, episodes=3, envs=2, seed=5)
    screen = SB3Screen("breakout", rules)
    seed = 5 + EVALUATION_SEEDS
    vector = VectorSB3("breakout", 2, rules, seed=seed)
    obs = vector.reset()
    assert obs.shape == (2, 4, 84, 84)
    alone, score, ended = screen.reset(episode_seed(seed, 1, 0)), 0.0, False
    while not ended:
        assert (alone == obs[1]).all()
        action, _ = agent.predict(obs)
        alone, reward, terminated, truncated, _ = screen.step(int(action[1]))
        score += reward
        step = vector.step(action)
        obs, ended = step.obs, terminated or truncated
        assert (step.terminated[1], step.truncated[1]) == (terminated, truncated)
    assert result.returns[2] == score  # the second environment's game
    assert vector.step([0, 0]).reset[1]
    vector.close()


@pytest.mark.parametrize("weights", [0, 2])  # 2: the time is up while the wrappers press
def test_watching_an_agent_of_sb3_shows_what_the_wrappers_press(weights: int) -> None:
    torch.manual_seed(weights)
    agent = Agent(QNetwork(4, hidden=8), "breakout", preprocessing="sb3")
    rules = protocol("sb3", max_frames=600)
    frames = list(watch(agent, protocol=rules, seed=5 + EVALUATION_SEEDS, episodes=1))
    assert len(frames) - 1 <= 600
    starting = [frame for frame in frames if frame.facts["step"] == 0]
    assert 1 + 1 + 8 <= len(starting) <= 1 + 30 + 8  # reset, no-ops, FIRE and action 2
    result = evaluate(agent, protocol=rules, episodes=1, seed=5)
    assert frames[-1].facts["return"] == result.returns[0]


# Our environment in SB3


def test_vec_env_resets_within_the_step() -> None:
    rules = protocol("sb3", max_frames=400)
    env = AtariVecEnv("breakout", 2, rules, 3, clip_rewards=False, life_loss_terminal=False)
    twin = VectorAtari("breakout", 1, rules, seed=3)
    assert env.observation_space == OBSERVATION
    obs, theirs = env.reset(), twin.reset()
    assert obs.shape == (2, 4, 84, 84)
    rng = np.random.default_rng(0)
    score = length = 0.0
    ends = []
    for _ in range(330):
        assert (obs[0] == theirs[0]).all()
        actions = rng.integers(0, 4, 2)
        obs, reward, done, infos = env.step(actions)
        step = twin.step(actions[:1])
        score, length = score + reward[0], length + 1
        assert reward[0] == step.reward[0]
        assert done[0] == (step.terminated[0] or step.truncated[0])
        theirs = step.obs
        if done[0]:
            assert (infos[0]["terminal_observation"] == step.obs[0]).all()
            assert infos[0]["TimeLimit.truncated"] == (step.truncated[0] and not step.terminated[0])
            assert infos[0]["episode"]["r"] == score
            assert infos[0]["episode"]["l"] == length
            ends.append(infos[0]["TimeLimit.truncated"])
            score = length = 0
            theirs = twin.step([0]).obs  # NEXT_STEP: the reset step
            assert (theirs[0, :3] == 0).all()
        else:
            assert not {"terminal_observation", "episode"} & infos[0].keys()
    assert True in ends
    env.seed(9)
    env.reset()
    assert env.get_attr("seed") == [9, 10]
    env.close()
    twin.close()


def test_vec_env_repeats_itself_after_seeding() -> None:
    env = AtariVecEnv("pong", 2, "sb3", 0, clip_rewards=False, life_loss_terminal=False)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 6, (30, 2))

    def played() -> np.ndarray:
        return np.stack([env.reset(), *(env.step(each)[0] for each in actions)])

    seen = []
    for _ in range(3):
        env.seed(5)
        seen.append(played())
    assert (seen[1] == seen[0]).all() and (seen[2] == seen[0]).all()
    assert (played() != seen[0]).any()  # without a seed it goes on to other games
    env.close()


def test_vec_env_for_training_clips_and_ends_at_lost_lives() -> None:
    env = sb3.as_vec_env("space_invaders", 1, clip_rewards=True, life_loss_terminal=True)
    env.reset()
    rng = np.random.default_rng(0)
    rewards, dones, returns = set(), 0, []
    for _ in range(700):
        _, reward, done, infos = env.step(rng.integers(0, 6, 1))
        rewards.add(float(reward[0]))
        dones += int(done[0])
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    assert rewards == {0.0, 1.0}
    assert returns and dones > len(returns)
    assert max(returns) >= 5 and all(r % 5 == 0 for r in returns)  # raw
    env.close()


def test_our_agent_in_evaluate_policy() -> None:
    rules = protocol("sb3", max_frames=600)
    agent = Agent(QNetwork(6, hidden=8), "pong")
    env = AtariVecEnv("pong", 2, rules, 0, clip_rewards=True, life_loss_terminal=True)
    rewards, lengths = evaluate_policy(agent, env, 3, return_episode_rewards=True)
    assert lengths == [150, 150, 150]
    assert all(r <= 0 for r in rewards)  # type: ignore[union-attr]
    env.close()
    # and on SB3's own environment, brought to channels first
    theirs = VecTransposeImage(VecFrameStack(make_atari_env("PongNoFrameskip-v4", 1, seed=0), 4))
    actions, state = agent.predict(theirs.reset(), state=None, episode_start=np.ones(1))
    assert actions.shape == (1,) and state is None
    assert isinstance(theirs.unwrapped, DummyVecEnv)


# Training SB3's DQN on our backbone


TINY = DQNConfig(
    protocol="sb3", envs=2, width=0.25, hidden=16, layer_norm=True, dueling=False, n_step=1,
    replay_capacity=64, priority=0.0, batch_size=4, train_every=4, warmup=8, target_every=3,
    epsilon_steps=20, eval_episodes=1,
)  # fmt: skip


def test_their_network_on_our_backbone_divides_by_255_once() -> None:
    model = build(TINY, TrainerConfig(steps=40, device="cpu", threads=1))
    agent = agent_of(model, TINY)
    obs = pictures()
    np.testing.assert_allclose(q_of(model, obs), agent.q_values(obs), atol=1e-5)
    assert np.abs(q_of(model, obs)).max() < 5
    layers = [type(module) for module in model.q_net.q_net]
    assert layers == [nn.Linear]  # SB3's two layers of 64 are left out
    assert model.train_freq.frequency == 2 and model.gradient_steps == 1  # type: ignore[union-attr]
    assert model.target_update_interval == 12
    assert model.env is not None
    model.env.close()


def test_sb3_defaults_are_the_preset() -> None:
    """PRESETS["sb3"] against SB3's own defaults, read from a model of theirs."""
    theirs = blank_model(6, 512)
    steps = 100_000  # at which the preset's exploration is SB3's 10 %
    small = replace(SB3, replay_capacity=100)
    model = build(small, TrainerConfig(steps=steps, device="cpu", **TRAINERS["sb3"]))
    for name in (
        *("learning_rate", "learning_starts", "batch_size", "tau", "gamma", "train_freq"),
        *("gradient_steps", "target_update_interval", "exploration_fraction", "n_steps"),
        *("exploration_initial_eps", "exploration_final_eps", "max_grad_norm"),
    ):
        assert getattr(model, name) == getattr(theirs, name), name
    assert SB3.replay_capacity == 1_000_000
    assert model.policy.optimizer.defaults == theirs.policy.optimizer.defaults
    shapes = [sorted(p.shape for p in m.q_net.parameters()) for m in (model, theirs)]
    assert shapes[0] == shapes[1]
    assert model.env is not None
    model.env.close()


def test_rmsprop_has_its_epsilon_inside_the_root() -> None:
    """As the preset means it; PyTorch's own RMSprop would step 14 times as far here."""
    config = replace(PRESETS["nature2015"], replay_capacity=64)
    model = build(config, TrainerConfig(steps=40, device="cpu"))
    weights = [parameter.detach().clone() for parameter in model.q_net.parameters()]
    g = 1e-3
    for parameter in model.q_net.parameters():
        parameter.grad = torch.full_like(parameter, g)
    model.policy.optimizer.step()
    root = np.sqrt(0.05 * g**2 - (0.05 * g) ** 2 + 0.01 / 32**2)  # means of decay 0.95, from 0
    for before, after in zip(weights, model.q_net.parameters(), strict=True):
        moved = torch.full_like(before, config.learning_rate * g / root)
        torch.testing.assert_close(before - after, moved, rtol=1e-2, atol=1e-7)
    assert model.env is not None
    model.env.close()


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({"double": True}, {}, "--double"),
        ({"priority": 0.5}, {}, "--priority"),
        ({"loss": "mse"}, {}, "--loss mse"),
        ({"distribution": "iqn"}, {}, "--distribution iqn"),
        ({"munchausen": 0.9}, {}, "--munchausen"),
        ({"noise": 0.5}, {}, "--noise"),
        ({"replay_compression": True}, {}, "--replay-compression"),
        ({"replay_device": "device"}, {}, "--replay-device device"),
        ({}, {"precision": "bf16"}, "--precision bf16"),
        ({"envs": 3}, {}, "--envs"),
        ({}, {"devices": 2}, "--devices"),
        ({}, {"compile": True}, "--compile"),
        ({}, {"seed": 2**32}, "--seed of 2"),
        ({"replay_capacity": 10**12}, {"steps": 10**12}, "needs 56448000.0 GB"),
    ],
)
def test_what_their_dqn_lacks_is_refused(
    change: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        build(replace(TINY, **change), TrainerConfig(device="cpu", **settings))


@pytest.mark.parametrize("decay", [50, 400, 1000])
def test_their_exploration_is_ours(decay: int) -> None:
    """Also where it falls on beyond the training's end."""
    config = replace(TINY, epsilon_steps=decay, replay_capacity=99)
    model = build(config, TrainerConfig(device="cpu", steps=400))
    model._setup_learn(400)
    for step in (0, 30, 200, 400):
        ours = epsilon_at(step, config.epsilon_start, config.epsilon_end, decay)
        assert model.exploration_schedule(1 - step / 400) == pytest.approx(ours)
    assert model.env is not None
    model.env.close()


def test_train_leaves_an_agent_and_a_zip(tmp_path: Path) -> None:
    config = replace(TINY, width=1.0, layer_norm=False, game="freeway")
    settings = TrainerConfig(
        steps=24, device="cpu", threads=1, log_every=8, evaluate_every=12, seed=3
    )
    run = Run.create(tmp_path, "dqn", "x", to_json(config))
    reports: list[dict[str, Any]] = []
    short = protocol("sb3", max_frames=40)
    seeds = []

    def spied(agent: Agent, **options: Any) -> Evaluation:
        seeds.append(options["seed"])
        score = float(len(seeds))  # each better than the one before
        return replace(evaluate(agent, **options), returns=[score], mean=score)

    with pytest.MonkeyPatch.context() as patch:  # whole games of Freeway last two minutes
        patch.setattr("agents.sb3_train.protocol", lambda name: short)
        patch.setattr("agents.sb3_train.evaluate", spied)

        def told(report: dict[str, Any]) -> None:
            reports.append(report)
            raise BrokenPipeError  # nobody reads any more, which ends nothing

        agent = sb3.train(config, settings, run, told)
    # On the emulators that evaluations of ours play on; as better than another, again on others
    assert seeds == [settings.seed, settings.seed, settings.seed + CONFIRMING_SEEDS]
    scores = [line["evaluate/score"] for line in run.metrics() if "evaluate/score" in line]
    assert scores == [1.0, 2.5]
    obs = pictures()
    last = agents.load(run.path)
    assert (last.game, last.preprocessing) == ("freeway", "ale")
    assert last.card["trained_agent_steps"] == 24
    np.testing.assert_allclose(last.q_values(obs), agent.q_values(obs), atol=1e-2)  # fp16
    again = DQN.load(run.path / "sb3.zip", device="cpu")
    np.testing.assert_allclose(q_of(again, obs), agent.q_values(obs), atol=1e-5)
    assert [line["step"] for line in run.metrics()] == [8, 12, 16, 24, 24]
    assert "evaluate/score" in run.metrics()[-1]
    assert {"per_second", "epsilon", "progress"} <= reports[0].keys()
    assert "score" in reports[-1]


@pytest.mark.parametrize(("every", "at"), [(8, 8), (None, 24)])  # in the midst, in the end
def test_a_signal_ends_an_evaluation_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int | None, at: int
) -> None:
    def called(agent: Agent, **options: Any) -> Evaluation:
        os.kill(os.getpid(), signals.NUMBERS[-1])  # a terminal closes
        return evaluate(agent, **options)

    monkeypatch.setattr("agents.sb3_train.evaluate", called)
    config = replace(TINY, game="freeway")  # whose games last two minutes
    settings = TrainerConfig(steps=24, device="cpu", threads=1, log_every=8, evaluate_every=every)
    run = Run.create(tmp_path, "dqn", "x", to_json(config))
    sb3.train(config, settings, run)
    assert [line["step"] for line in run.metrics()] == list(range(8, at + 1, 8))
    assert not any("evaluate/score" in line for line in run.metrics())
    assert agents.load(run.path).card["trained_agent_steps"] == at
