"""Settings of the agents, and the presets: everything that decides what is learned.

Frames, agent steps and updates are different units: 1 agent step = 4 emulator frames, one update =
one batch.

``nature2015`` is Mnih et al. 2015; ``laptop`` what learns Pong on one core in about an hour (under
``sb3``);
``beyond`` has the shape of "Beyond the Rainbow" (Clark et al. 2024), for a GPU; ``minutes`` that of
PQN (Gallici et al. 2024), without a replay, for runs of minutes; ``sb3`` is Stable-Baselines3's
own. Where each departs from its paper is told in ``agents.dqn`` and ``agents.pqn``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from agents.atari import PROTOCOLS, protocol, resolve
from agents.qnetwork import DISTRIBUTIONS
from agents.rmsprop import EPSILON as RMSPROP_EPSILON
from playground.config import setting
from playground.errors import UserError


@dataclass(frozen=True)
class DQNConfig:
    """Everything that decides what is learned. Defaults are the preset ``laptop``."""

    game: str = setting("pong", "game to learn, any of ale-py's by its short name")
    protocol: str = setting("machado", "rules of training", choices=tuple(PROTOCOLS))
    algorithm: str = setting(
        "dqn", "dqn learns from a replay, pqn from short rollouts", choices=("dqn", "pqn")
    )
    start: str | None = setting(
        None, "an agent whose network learns on: zoo:NAME, a run or a file; mind --epsilon-start"
    )
    envs: int = setting(8, "environments stepped together, in each process")
    emulator_threads: int | None = setting(
        None, "CPU threads of the emulators, beside --threads (none: one a core); more than "
        "environments are not used", "threads",
    )  # fmt: skip
    backbone: str = setting("nature", "trunk of the Q-network", choices=("nature", "impala"))
    width: float = setting(0.5, "channels of the trunk, as a factor")
    trunk_norm: str = setting(
        "none", "what normalises the trunk: nature has no spectral",
        choices=("none", "layer", "spectral"),
    )  # fmt: skip
    max_pool: bool = setting(False, "max-pool the trunk's last map to 6 x 6 (Clark et al. 2024)")
    hidden: int = setting(256, "units of the hidden layer")
    layer_norm: bool = setting(True, "LayerNorm after the hidden layer")
    dueling: bool = setting(True, "value and advantage heads (Wang et al. 2016)")
    double: bool = setting(False, "actions of the target chosen by the online network")
    noise: float = setting(0.0, "sigma of noisy linear layers (Fortunato et al. 2018), 0 for none")
    distribution: str = setting(
        "none", "of the returns: fixed quantiles (qr, Dabney et al. 2018a), implicit ones (iqn, "
        "2018b) or probabilities of fixed returns (c51, Bellemare et al. 2017)",
        choices=DISTRIBUTIONS,
    )  # fmt: skip
    quantiles: int = setting(32, "quantiles of qr and iqn", "of each action")
    atoms: int = setting(51, "atoms of c51: returns that it gives probabilities", "of each action")
    v_min: float = setting(-10.0, "the least of them; returns below count as it")
    v_max: float = setting(10.0, "the largest of them; returns above count as it")
    munchausen: float = setting(
        0.0, "weight of the log-policy in the reward (Vieillard et al. 2020), 0 for none"
    )
    n_step: int = setting(3, "rewards summed before bootstrapping", "agent steps")
    gamma: float = setting(0.99, "discount", "per agent step")
    replay_capacity: int = setting(
        300_000, "size of each process's replay, 7.1 KB each", "agent steps"
    )
    replay_compression: bool = setting(
        False, "keep its frames by LZ4, without loss: mostly 0.3 to 2 KB each"
    )
    replay_device: str = setting(
        "auto", "where batches are put together: device keeps the frames on the GPU, too; auto "
        "does so on CUDA if they take no more than 60 % of its free memory",
        choices=("auto", "host", "device"),
    )  # fmt: skip
    priority: float = setting(0.5, "exponent of prioritised replay, 0 is uniform")
    priority_beta: float = setting(0.4, "exponent of its importance weights")
    batch_size: int = setting(64, "transitions of an update, in each process")
    train_every: int = setting(8, "a process's own agent steps between two updates", "agent steps")
    graph: bool = setting(False, "record the update as a CUDA graph and replay it")
    rollout: int = setting(32, "of each environment between learnings, in pqn", "agent steps")
    epochs: int = setting(2, "passes over a rollout, in pqn")
    trace: float = setting(0.65, "lambda of the returns, in pqn")
    warmup: int = setting(10_000, "steps before the first update", "agent steps")
    optimizer: str = setting("adam", "optimizer", choices=("adam", "rmsprop"))
    learning_rate: float = setting(2.5e-4, "step size of the optimizer")
    optimizer_epsilon: float = setting(1.5e-4, "added to the optimizer's denominator")
    loss: str = setting("huber", "of the temporal difference", choices=("huber", "mse"))
    reward_clip: float | None = setting(1.0, "rewards learned from lie in [-clip, clip]")
    target_every: int = setting(500, "updates between two copies to the target network", "updates")
    target_tau: float = setting(1.0, "part taken over at each copy; 1 is a hard copy")
    epsilon_start: float = setting(1.0, "exploration at the start")
    epsilon_end: float = setting(0.01, "exploration in the end")
    epsilon_steps: int = setting(100_000, "length of the linear decay", "agent steps")
    eval_episodes: int = setting(10, "games of each evaluation", "episodes")
    eval_epsilon: float = setting(0.01, "exploration of evaluations")
    eval_film: float = setting(20.0, "length of each evaluation's film, 0 for none", "seconds")

    def check(self) -> None:
        """Raises UserError for what no training can use."""
        resolve(self.game)
        protocol(self.protocol)
        for name in ("envs", "hidden", "n_step", "batch_size", "train_every", "target_every",
                     "replay_capacity", "eval_episodes", "quantiles", "rollout",
                     "epochs"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1.")
        for name in ("gamma", "epsilon_start", "epsilon_end", "eval_epsilon", "priority_beta",
                     "trace"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name.replace('_', '-')} must lie between 0 and 1.")
        for name in ("learning_rate", "optimizer_epsilon", "reward_clip", "width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0.")
        for name in ("warmup", "epsilon_steps", "priority", "eval_film", "noise", "munchausen"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be finite and not negative.")
        if self.emulator_threads is not None and self.emulator_threads < 1:
            raise UserError("--emulator-threads must be at least 1.")
        if not 0 < self.target_tau <= 1:
            raise UserError("--target-tau must be above 0 and at most 1.")
        if self.atoms < 2:
            raise UserError("--atoms must be at least 2.")
        if not -math.inf < self.v_min < self.v_max < math.inf:
            raise UserError("--v-min must be below --v-max, both finite.")
        if self.munchausen > 0 and self.distribution == "c51":
            raise UserError("--distribution c51 goes without --munchausen; qr and iqn go with it.")
        if self.munchausen > 0 and self.double:
            raise UserError("--double goes without --munchausen, which takes no best action.")
        if self.distribution != "none" and self.loss != "huber":
            raise UserError("--distribution has a loss of its own: leave out --loss mse.")
        if self.algorithm == "pqn":
            self._check_rollouts()

    def _check_rollouts(self) -> None:
        """UserError for what goes with a replay or a target network only."""
        for given, flag in (
            (self.double, "--double"),
            (self.munchausen > 0, "--munchausen"),
            (self.distribution != "none", "--distribution"),
            (self.priority > 0, "--priority above 0"),
            (self.n_step > 1, "--n-step above 1"),
            (self.replay_compression, "--replay-compression"),
            (self.replay_device == "device", "--replay-device device"),
        ):
            if given:
                raise UserError(f"{flag} is for --algorithm dqn: pqn has no replay and no target.")
        if self.envs * self.rollout % self.batch_size:
            raise UserError(
                f"--batch-size must divide --envs times --rollout, {self.envs * self.rollout}."
            )


NATURE2015 = DQNConfig(
    protocol="nature", envs=1, width=1.0, hidden=512, layer_norm=False, dueling=False, n_step=1,
    replay_capacity=1_000_000, priority=0.0, batch_size=32, train_every=4, warmup=50_000,
    optimizer="rmsprop", optimizer_epsilon=RMSPROP_EPSILON, target_every=10_000, epsilon_end=0.1,
    epsilon_steps=1_000_000, eval_epsilon=0.05,
)  # fmt: skip
SB3 = replace(  # Stable-Baselines3's own defaults (2.9) for a training of 100,000 agent steps
    NATURE2015, protocol="sb3", optimizer="adam", learning_rate=1e-4, optimizer_epsilon=1e-8,
    warmup=100, target_every=2_500, epsilon_end=0.05, epsilon_steps=10_000, eval_epsilon=0.0,
)  # fmt: skip
BEYOND = DQNConfig(
    envs=64, backbone="impala", width=2.0, trunk_norm="spectral", max_pool=True, hidden=512,
    noise=0.5, distribution="iqn", quantiles=8, munchausen=0.9, gamma=0.997,
    replay_capacity=1_048_576, priority=0.2, priority_beta=0.45, batch_size=256, train_every=64,
    warmup=200_000, learning_rate=1e-4, optimizer_epsilon=0.005 / 256, epsilon_steps=2_000_000,
)  # fmt: skip
MINUTES = DQNConfig(
    algorithm="pqn", envs=32, trunk_norm="layer", n_step=1, dueling=False, priority=0.0,
    batch_size=128, rollout=32, epochs=2, trace=0.65, loss="mse", optimizer_epsilon=1e-8,
    epsilon_steps=200_000,
)  # fmt: skip
PRESETS = {
    "laptop": DQNConfig(), "nature2015": NATURE2015, "beyond": BEYOND, "minutes": MINUTES,
    "sb3": SB3,
}  # fmt: skip


def preset(name: str, steps: int | None = None) -> DQNConfig:
    """The preset's settings for a training of ``steps`` agent steps.

    Only "sb3" depends on them: there exploration falls over a tenth of the training.
    """
    config = PRESETS[name]
    return replace(config, epsilon_steps=steps // 10) if name == "sb3" and steps else config


TRAINERS: dict[str, dict[str, Any]] = {  # what a preset asks of the trainer
    "laptop": {"evaluate_every": 100_000},
    "nature2015": {"evaluate_every": 250_000},
    "beyond": {"evaluate_every": 1_000_000, "clip_norm": 10.0},
    "minutes": {"evaluate_every": 500_000, "clip_norm": 10.0},
    "sb3": {"evaluate_every": 100_000, "clip_norm": 10.0},
}
