"""Q-learning without a replay: lambda-returns of short rollouts from parallel games, for minutes.

All games act for ``rollout`` agent steps each; then the returns are computed from the values seen
on the way, and the network learns from these steps in ``epochs`` passes over shuffled batches, and
forgets them. There is no target network and no replay; LayerNorm keeps the learning stable, and
memory is what one rollout takes: 28 KB an agent step.

Source: Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning" (PQN), and its code's
settings for Atari: 128 games, rollouts of 32, 32 batches, 2 epochs, Q(lambda) of 0.65, gradients
clipped at 10.

Departs from the paper:

Preset ``minutes`` plays 32 games in batches of 128, so that there are as many updates for each
agent step (one in 64), on a Nature network of half the width. Its LayerNorms after convolutions
take channels and places together, as CleanRL's do (theirs each place's channels). Adam stands in
the place of RAdam; the loss is the mean square, theirs half of it; exploration falls to 0.01 over
200,000 agent steps, theirs to 0.001 over a tenth of the training. Rules of games are the protocol's
(``agents.atari``): theirs have no sticky actions, and end the bootstrap where a life is lost. An
episode cut by the time limit bootstraps from its last observation.

With several processes (``--devices N``) each has games of its own, and gradients are averaged:
``envs`` and ``batch_size`` are each process's. ``progress`` counts the agent steps of all. Going on
with the same number is exact; those that join begin with games of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.atari import VectorAtari
from agents.playing import Playing
from agents.presets import DQNConfig
from agents.targets import lambda_returns, of_action
from playground.trainer import Trainer
from playground.transfer import upload


@dataclass
class Rollout:
    """T steps of N games; the tensors are written anew each time."""

    observation: Tensor  # (T, N, 4, 84, 84) uint8
    action: Tensor  # (T, N) int64
    reward: Tensor  # (T, N) float32, clipped
    terminal: Tensor  # (T, N) bool, nothing is bootstrapped after this step
    final: Tensor  # (T, N) bool, an episode's last observation: no action was taken on it
    value: Tensor  # (T + 1, N) float32, the largest Q-value of each observation

    @classmethod
    def empty(cls, steps: int, games: int, stack: tuple[int, ...] = (4, 84, 84)) -> Rollout:
        """Room for so many."""
        return cls(
            torch.empty(steps, games, *stack, dtype=torch.uint8),
            torch.empty(steps, games, dtype=torch.int64),
            torch.empty(steps, games),
            torch.empty(steps, games, dtype=torch.bool),
            torch.empty(steps, games, dtype=torch.bool),
            torch.empty(steps + 1, games),
        )


class PQN(Playing):
    """The training task: N games played by exploration, learned from rollout by rollout."""

    def __init__(self, config: DQNConfig, seed: int = 0, going_on: bool = False) -> None:
        super().__init__(config, seed, VectorAtari, going_on)
        self.optimizers = {"online": self._optimizer()}
        self.rollout = Rollout.empty(config.rollout, config.envs)

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """One rollout, and what is learned from it."""
        acted = self._play(trainer)
        metrics = self._learn(trainer)
        made = trainer.mean(torch.tensor(acted, dtype=torch.float64)).item()  # over the processes
        self.progress += round(made * trainer.world)
        metrics["epsilon"] = self.epsilon
        if self.finished:
            metrics["return"] = float(np.mean(self.finished))
        return metrics

    def _play(self, trainer: Trainer) -> int:
        """Fill the rollout; the agent steps made."""
        r, clip, acted = self.rollout, self.config.reward_clip, 0
        for t in range(self.config.rollout):
            action, r.value[t] = self._act(trainer)
            self.envs.send(action)
            r.observation[t] = torch.from_numpy(self.observation)  # while the emulators run
            r.action[t] = torch.from_numpy(action)
            r.final[t] = torch.from_numpy(self.ended)
            step = self.envs.recv()
            reward = step.reward if clip is None else np.clip(step.reward, -clip, clip)
            r.reward[t] = torch.from_numpy(reward)
            r.terminal[t] = torch.from_numpy(self._terminal(step))
            acted += int(self._received(step).sum())
        r.value[-1] = self._values(trainer).amax(1)
        return acted

    def _act(self, trainer: Trainer) -> tuple[np.ndarray, Tensor]:
        """(N,) actions, and (N,) largest Q-values."""
        n = self.config.envs
        explore = self.rng.random(n) < self.epsilon
        action = self.rng.integers(0, self.envs.num_actions, n)
        value, greedy = self._values(trainer).max(1)
        return np.where(explore, action, greedy.cpu().numpy()), value

    def _learn(self, trainer: Trainer) -> dict[str, Any]:
        c, r, device = self.config, self.rollout, trainer.device
        returns = lambda_returns(r.reward, r.terminal, r.final, r.value, c.gamma, c.trace)
        tensors = [
            upload(part.flatten(0, 1), device)
            for part in (r.observation, r.action, returns, (~r.final).float())
        ]
        metrics: dict[str, Any] = {}
        for _ in range(c.epochs):
            order = torch.from_numpy(self.rng.permutation(c.rollout * c.envs)).to(device)
            for rows in order.split(c.batch_size):
                metrics = self._update(trainer, [part.index_select(0, rows) for part in tensors])
        return metrics

    def _update(self, trainer: Trainer, batch: list[Tensor]) -> dict[str, Any]:
        loss, q = trainer.learn(self._loss, self.optimizers["online"], batch, self.graph)
        self.updates += 1
        return {"loss": loss, "q": q.mean()}

    def _loss(
        self, observation: Tensor, action: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(mean loss of the rows of weight 1, Q of the actions taken (B,))."""
        q = of_action(self.online(observation), action)
        each = F.smooth_l1_loss if self.config.loss == "huber" else F.mse_loss
        total = (weight * each(q, target, reduction="none")).sum()
        return total / weight.sum().clamp(min=1), q

    def rehearsal(self) -> Callable[[], Tensor]:
        """A loss on noise of a batch's size, by which the trainer times precisions."""
        device, size = next(self.parameters()).device, self.config.batch_size
        noise = torch.randint(0, 256, (size, 4, 84, 84), dtype=torch.uint8, device=device)
        action = torch.zeros(size, dtype=torch.int64, device=device)
        ones = torch.ones(size, device=device)
        return lambda: self._loss(noise, action, ones, ones)[0]
