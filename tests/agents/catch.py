"""A tiny pixel game in the emulators' place: what any agent here learns in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.atari import Step


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
