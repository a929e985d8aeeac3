"""`train dqn --engine sb3`: Stable-Baselines3's own DQN on our backbone and our environments.

The referee: emulators, network, settings and evaluation are ours, the loop, the replay and the
update are SB3's. Observations (N, 4, 84, 84) uint8; SB3 divides by 255, once, and our backbone
takes it from there. Imports SB3: import it lazily.

Departs from `agents.dqn`: fp32 only; a replay of stacks (56 KB a step, against 7); no checkpoints
to resume from; Huber loss, uniform replay, one network's maximum; the gradient's norm is clipped
(10 unless --clip-norm says otherwise).
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor
from torch.nn import functional as F

from agents import sb3
from agents.agent import Agent
from agents.atari import protocol, resolve
from agents.checks import SB3_BYTES, check_memory
from agents.dqn import DQNConfig
from agents.evaluation import CONFIRMING_SEEDS, Evaluation, Stopped, evaluate, pooled
from agents.qnetwork import QNetwork
from agents.rmsprop import CenteredRMSprop
from agents.targets import epsilon_at
from playground import signals
from playground.device import limits_said, set_up
from playground.errors import UserError
from playground.run import Run
from playground.trainer import TrainerConfig, due

ENDLESS = 10**9  # agent steps, where only --hours or a signal ends it


class BackboneExtractor(BaseFeaturesExtractor):
    """Our backbone, hidden layer, norm and ReLU: float (N, 4, 84, 84) in [0, 1] -> (N, hidden)."""

    def __init__(self, observation_space: spaces.Space, network: dict[str, Any]) -> None:
        whole = QNetwork(1, **network)
        super().__init__(observation_space, whole.hidden.out_features)
        self.backbone, self.hidden, self.norm = whole.backbone, whole.hidden, whole.norm

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.hidden(self.backbone(x).flatten(1))))


def check(config: DQNConfig, settings: TrainerConfig) -> None:
    """UserError for what SB3 does not have, and for a replay that does not fit into memory."""
    c = config
    c.check()
    for wrong, flag in (
        (c.double, "--double"),
        (c.dueling, "--dueling"),
        (c.priority > 0, "--priority above 0"),
        (c.loss != "huber", "--loss mse"),
        (c.algorithm != "dqn", f"--algorithm {c.algorithm}"),
        (c.distribution != "none", f"--distribution {c.distribution}"),
        (c.munchausen > 0, "--munchausen"),
        (c.noise > 0, "--noise"),
        (c.trunk_norm != "none", f"--trunk-norm {c.trunk_norm}"),
        (c.max_pool, "--max-pool"),
        (c.replay_compression, "--replay-compression"),
        (c.replay_device == "device", "--replay-device device"),
        (c.graph, "--graph"),
        (c.reward_clip not in (None, 1.0), "--reward-clip other than 1 or none"),
        (c.start is not None, "--start"),
        (settings.precision not in ("auto", "fp32"), f"--precision {settings.precision}"),
        (settings.accumulate > 1, "--accumulate"),
        (settings.ema is not None, "--ema"),
        (settings.devices > 1, "--devices"),
        (settings.compile, "--compile"),
        (settings.seed >= 2**32, "--seed of 2^32 or more"),
    ):
        if wrong:
            raise UserError(f"Stable-Baselines3's DQN has no {flag}; leave it out (--preset sb3).")
    few, many = sorted((c.envs, c.train_every))
    if many % few:
        raise UserError("--engine sb3 needs --envs to divide --train-every, or the reverse.")
    check_memory(replace(c, replay_capacity=_capacity(c, settings)), processes=1, engine="sb3")


def _capacity(config: DQNConfig, settings: TrainerConfig) -> int:
    """Of the replay: no more than will ever be filled."""
    return min(config.replay_capacity, settings.steps or ENDLESS)


def build(config: DQNConfig, settings: TrainerConfig) -> DQN:
    """SB3's DQN as `config` describes it. Raises UserError for what SB3 does not have."""
    check(config, settings)
    c = config
    total, capacity = settings.steps or ENDLESS, _capacity(c, settings)
    device = set_up(settings.device, settings.threads, settings.deterministic)
    env = sb3.as_vec_env(
        c.game, c.envs, c.protocol, settings.seed, clip_rewards=c.reward_clip is not None,
        life_loss_terminal=protocol(c.protocol).life_loss_terminal,
    )  # fmt: skip
    network = {
        "backbone": c.backbone, "width": c.width, "hidden": c.hidden, "layer_norm": c.layer_norm,
    }  # fmt: skip
    explored, last = c.epsilon_steps, c.epsilon_end
    if explored > total:  # SB3's exploration ends within the training: at what ours has come to
        explored, last = total, epsilon_at(total, c.epsilon_start, c.epsilon_end, c.epsilon_steps)
    make = partial(
        DQN, "CnnPolicy", env, learning_rate=c.learning_rate, buffer_size=capacity,
        learning_starts=c.warmup, batch_size=c.batch_size, tau=c.target_tau, gamma=c.gamma,
        train_freq=max(c.train_every // c.envs, 1), gradient_steps=max(c.envs // c.train_every, 1),
        n_steps=c.n_step, target_update_interval=c.target_every * c.train_every,
        exploration_fraction=explored / total, exploration_initial_eps=c.epsilon_start,
        exploration_final_eps=last,
        max_grad_norm=10.0 if settings.clip_norm is None else settings.clip_norm,
        policy_kwargs={
            "net_arch": [], "features_extractor_class": BackboneExtractor,
            "features_extractor_kwargs": {"network": network},
            "optimizer_class": CenteredRMSprop if c.optimizer == "rmsprop" else torch.optim.Adam,
            "optimizer_kwargs": {"eps": c.optimizer_epsilon},
        },
        seed=settings.seed, device=device,
    )  # fmt: skip
    try:
        return make()
    except MemoryError as error:
        env.close()
        raise UserError(
            f"Stable-Baselines3's replay of {capacity:,} agent steps takes "
            f"{capacity * SB3_BYTES / 1e9:.1f} GB, too much here: lower --replay-capacity."
        ) from error
    except RuntimeError:  # of PyTorch: the network's memory
        env.close()
        raise


def agent_of(model: DQN, config: DQNConfig) -> Agent:
    """The model as an agent of ours; shares its weights, so it stays the newest."""
    extractor: Any = model.q_net.features_extractor
    head: Any = model.q_net.q_net[0]
    network = QNetwork(
        head.out_features, backbone=config.backbone, width=config.width, hidden=config.hidden,
        layer_norm=config.layer_norm,
    )  # fmt: skip
    network.backbone, network.hidden = extractor.backbone, extractor.hidden
    network.norm, network.head = extractor.norm, head
    return Agent(network, resolve(config.game), protocol=config.protocol)


def train(
    config: DQNConfig,
    settings: TrainerConfig,
    run: Run,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Agent:
    """Train until --steps, --hours or a signal such as Ctrl-C; the agent.

    Leaves in the run: metrics, last.safetensors, best.safetensors, and sb3.zip where SB3's own
    network can hold the agent.
    """
    with limits_said():
        model = build(config, settings)
    agent = agent_of(model, config)
    watcher = Watcher(config, settings, run, agent, on_progress)
    try:
        with signals.caught(watcher.interrupt):
            model.learn(settings.steps or ENDLESS, callback=watcher)
            if watcher.evaluated != model.num_timesteps and not watcher.interrupted:
                watcher.evaluate()
            watcher.save()
            with contextlib.suppress(UserError):  # sizes that SB3's own policy does not have
                sb3.save(agent, run.path / "sb3.zip")
    finally:
        run.close()
        if model.env is not None:
            model.env.close()
    return agent


class Watcher(BaseCallback):
    """What `playground.trainer` does beside the updates: logs, evaluations, saves, the end."""

    def __init__(
        self,
        config: DQNConfig,
        settings: TrainerConfig,
        run: Run,
        agent: Agent,
        on_progress: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        super().__init__()
        self.config, self.settings, self.run, self.agent = config, settings, run, agent
        self.on_progress = on_progress and signals.surviving(on_progress)
        self.finished: deque[float] = deque(maxlen=100)  # raw returns of whole games
        self.interrupted = False
        self.evaluated = 0
        self.best: float | None = None
        self._saved = False
        self._before = self._logged_step = 0
        self._began = self._logged_at = self._saved_at = time.monotonic()

    def interrupt(self) -> str:
        """At the first signal; what to tell the user."""
        self.interrupted = True
        return "Interrupted: saving after this step; once more breaks off."

    def _on_step(self) -> bool:
        s, now = self.settings, time.monotonic()
        before, self._before = self._before, self.num_timesteps
        for info in self.locals["infos"]:
            if "episode" in info:
                self.finished.append(info["episode"]["r"])
        if s.log_every is None:
            logging = now - self._logged_at >= s.log_seconds
        else:
            logging = due(s.log_every, before, self.num_timesteps)
        if logging:
            self._log(now)
            if not self._saved:  # something to look at
                self.save()
        if due(s.evaluate_every, before, self.num_timesteps):
            self.evaluate()
        minutes = s.checkpoint_minutes
        if minutes is not None and now - self._saved_at >= 60 * minutes:
            self.save()
        return not self.interrupted and (s.hours is None or now - self._began < 3600 * s.hours)

    def _log(self, now: float) -> None:
        rate = (self.num_timesteps - self._logged_step) / max(now - self._logged_at, 1e-9)
        self._logged_at, self._logged_step = now, self.num_timesteps
        figures: dict[str, Any] = {"epsilon": self.model.exploration_rate}  # type: ignore[attr-defined]
        if self.finished:
            figures["return"] = float(np.mean(self.finished))
        loss = self.model.logger.name_to_value.get("train/loss")
        if loss is not None:
            figures["loss"] = float(loss)
        self.run.log(self.num_timesteps, **figures, per_second=round(rate, 3))
        if self.on_progress:
            steps = self.settings.steps
            left = (steps - self.num_timesteps) / rate if steps and rate > 0 else None
            self.on_progress({
                "progress": self.num_timesteps, "steps": steps, "unit": "agent steps",
                "per_second": rate, "eta_seconds": left, **figures,
            })  # fmt: skip

    def evaluate(self) -> None:
        """Whole games, the same that `agents.dqn` evaluates on; the best agent so far is kept.

        One that seems better than the best so far plays as many others, too. Given up when
        interrupted.
        """
        self.evaluated = self.num_timesteps
        try:
            result = self._whole_games(self.settings.seed)
            if self.best is not None and self._is_best(result):
                result = pooled(result, self._whole_games(self.settings.seed + CONFIRMING_SEEDS))
        except Stopped:
            return
        figures = result.to_metrics()
        self.run.log(self.num_timesteps, **{f"evaluate/{k}": v for k, v in figures.items()})
        if self._is_best(result):
            self.best = result.mean
            self._write("best")
        if self.on_progress:
            self.on_progress({"progress": self.num_timesteps, "best": self.best, **figures})

    def _whole_games(self, seed: int) -> Evaluation:
        c = self.config
        return evaluate(
            self.agent, protocol=protocol(c.protocol), episodes=c.eval_episodes,
            epsilon=c.eval_epsilon, seed=seed, stop=lambda: self.interrupted,
            threads=c.emulator_threads or 0,
        )  # fmt: skip

    def _is_best(self, result: Evaluation) -> bool:
        return self.best is None or result.mean > self.best

    def save(self) -> None:
        """Write last.safetensors."""
        self._saved, self._saved_at = True, time.monotonic()
        self._write("last")

    def _write(self, name: str) -> None:
        steps = self.num_timesteps
        self.agent.card["trained_agent_steps"] = steps
        path = self.run.path / f"{name}.safetensors"
        self.agent.save(path, settings=self.config, engine="sb3")
