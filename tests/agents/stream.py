"""Made-up environments that feed a replay, and remember all that they gave it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.replay import Replay

SHAPE = (3, 2)
STACK = 4


@dataclass
class Seen:
    """One row as the environment gave it: the whole observation, and what was done on it."""

    observation: np.ndarray  # (STACK, *SHAPE)
    action: int
    reward: float
    terminal: bool
    final: bool


class Stream:
    """N made-up environments: random frames, ends by terminal or by truncation, lives lost."""

    def __init__(self, num_envs: int, seed: int, shape: tuple[int, int] = SHAPE) -> None:
        self.rng = np.random.default_rng(seed)
        self.n, self.shape = num_envs, shape
        self.history: list[list[Seen]] = [[] for _ in range(num_envs)]
        self.stacks = [np.zeros((STACK, *shape), np.uint8) for _ in range(num_envs)]
        self.final = np.zeros(num_envs, bool)
        self.fresh = np.ones(num_envs, bool)

    def feed(self, replay: Replay) -> None:
        rng, n = self.rng, self.n
        frame = rng.integers(1, 256, (n, *self.shape)).astype(np.uint8)
        action = rng.integers(0, 5, n)
        reward = rng.normal(0, 2, n).astype(np.float32)
        ends = ~self.final & (rng.random(n) < 0.12)
        terminal = ends & (rng.random(n) < 0.5)  # the other ends are truncations
        life = ~self.final & (rng.random(n) < 0.05)
        for i in range(n):
            if self.fresh[i]:
                self.stacks[i] = np.zeros((STACK, *self.shape), np.uint8)
            self.stacks[i] = np.concatenate([self.stacks[i][1:], frame[i][None]])
            self.history[i].append(
                Seen(self.stacks[i], int(action[i]), float(reward[i]),
                     bool(terminal[i] | life[i]), bool(self.final[i]))
            )  # fmt: skip
        replay.add(frame, self.fresh, action, reward, terminal | life, self.final)
        self.fresh, self.final = self.final, ends
