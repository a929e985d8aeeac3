"""Replay of single uint8 frames: n-step, prioritised, truncation-correct, 7.1 KB a transition, or
a few hundred bytes where frames are kept compressed (``agents.frame_store``).

Every observation that an environment returns is stored once, as one row with its newest frame
(84 x 84 uint8), so a stack of four costs one frame instead of eight (observation and next
observation). Rows lie time-major: row ``t * N + i`` is environment ``i`` at vector step ``t``, so
the frame before row ``r`` is row ``r - N``. An episode's last observation has a row of its own
(*final row*: a frame, but no action), from which a truncated episode bootstraps; the row after it
is the next episode's first (``age`` 0), and stacks reach back ``age`` frames at most. Missing
frames are zero, as in ale-py's vector environment.

Sources: Mnih et al. 2015 (replay), Schaul et al. 2016 (proportional prioritisation),
Sutton 1988 / Hessel et al. 2018 (n-step returns), Pardo et al. 2018 (time limits).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.frame_store import PackedFrames, PlainFrames
from agents.sum_tree import SumTree
from playground.errors import UserError

if TYPE_CHECKING:
    from agents.device_rows import DeviceRows

TERMINAL = 1  # the return after this row's action is zero: game over, or a life lost as a signal
FINAL = 2  # a final row: the last observation of an episode, nothing was done on it
SPARE = 0.01  # extra rows for final frames: exact for episodes of 100 agent steps and more


class Batch(NamedTuple):
    """B transitions. ``rows`` says where they lie, for ``update_priorities``."""

    observation: Tensor  # (B, S, H, W) uint8, oldest frame first
    action: Tensor  # (B,) int64
    reward: Tensor  # (B,) float32, discounted sum of up to n rewards
    next_observation: Tensor  # (B, S, H, W) uint8, after those n steps
    discount: Tensor  # (B,) float32, gamma**m, or 0 after a terminal step
    weight: Tensor  # (B,) float32, importance weights in (0, 1], 1 when uniform
    rows: np.ndarray  # (B,) int64


def ring_steps(capacity: int, num_envs: int, n_step: int, stack: int) -> int:
    """Vector steps of a ring for ``capacity`` transitions; UserError where it would be too short.

    Args: those of `Replay`.
    """
    steps = math.ceil(capacity * (1 + SPARE) / num_envs)
    if steps <= stack + n_step:
        raise UserError(
            f"A replay of {capacity} transitions is too small for {num_envs} environments and "
            f"{n_step}-step returns; raise --replay-capacity to at least "
            f"{(stack + n_step + 1) * num_envs}."
        )
    return steps


def drawable(steps: int, num_envs: int, n_step: int, stack: int) -> int:
    """What `len` of a replay is from then on, when its ring of so many vector steps is full."""
    return (steps - stack + 1 - n_step) * num_envs


class Replay:
    """A ring of ``capacity`` transitions from ``num_envs`` environments.

    Args:
        capacity: transitions held, over all environments. Rows are ``SPARE`` more, for final
            frames.
        num_envs: N, environments stepped together.
        n_step: rewards summed before bootstrapping, >= 1.
        gamma: discount a step, in [0, 1].
        priority_exponent: alpha of proportional prioritisation; 0 draws uniformly.
        reward_clip: rewards are clipped to [-clip, clip] one by one as they are *read*; the store
            keeps them raw. None reads them raw.
        stack: S, frames of an observation.
        seed: of the draws.
        compressed: keep frames by LZ4; the same transitions in a fraction of the memory.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        priority_exponent: float = 0.0,
        reward_clip: float | None = 1.0,
        stack: int = 4,
        frame_shape: tuple[int, int] = (84, 84),
        seed: int = 0,
        compressed: bool = False,
    ) -> None:
        self.num_envs, self.n_step, self.stack = num_envs, n_step, stack
        self.gamma, self.alpha, self.reward_clip = gamma, priority_exponent, reward_clip
        self.frame_shape = frame_shape
        self.steps = ring_steps(capacity, num_envs, n_step, stack)  # T
        self.capacity = capacity
        rows = self.steps * num_envs
        # Its row after the last is the zero frame before an episode's start.
        store = PackedFrames if compressed else PlainFrames
        self.store: PlainFrames | PackedFrames = store(rows, math.prod(frame_shape))
        self.actions = np.zeros(rows, dtype=np.uint8)
        self.rewards = np.zeros(rows, dtype=np.float32)
        self.flags = np.zeros(rows, dtype=np.uint8)
        self.ages = np.zeros(rows, dtype=np.uint8)
        self.written = 0  # vector steps ever added
        self.mirror: DeviceRows | None = None  # the rows once more, on the learner's device
        self.tree = SumTree(rows) if priority_exponent > 0 else None
        self.max_priority = 1.0
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.discounts = gamma ** np.arange(n_step + 1, dtype=np.float64)
        self._back = np.arange(stack - 1, -1, -1)  # frames back, oldest first
        self._forward = np.arange(n_step + 1)

    def __len__(self) -> int:
        """Rows that can be drawn from (final rows among them)."""
        low, high = self._drawable()
        return max(0, high - low) * self.num_envs

    @property
    def frames(self) -> Tensor:
        """(rows + 1, H * W) uint8, the last one zeros; a copy where frames are compressed."""
        return self.store.pixels

    @property
    def nbytes(self) -> int:
        """Bytes of everything that grows with the capacity; compressed frames as they are now."""
        rows = self.actions.nbytes + self.rewards.nbytes + self.flags.nbytes + self.ages.nbytes
        return self.store.nbytes + rows + (0 if self.tree is None else self.tree.nodes.nbytes)

    def _drawable(self) -> tuple[int, int]:
        """Vector steps [low, high) with their whole history and n-step future in the ring."""
        oldest = self.written - self.steps
        low = oldest + self.stack - 1 if oldest > 0 else 0
        return low, self.written - self.n_step

    def add(
        self,
        frame: np.ndarray,
        start: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminal: np.ndarray,
        final: np.ndarray,
    ) -> None:
        """Append one vector step: what was seen, what was done on it, what came of it.

        Args:
            frame: (N, H, W) uint8, the newest frame of each observation.
            start: (N,) bool, the observation is an episode's first.
            action: (N,) int, taken on it (ignored in final rows).
            reward: (N,) float32, raw.
            terminal: (N,) bool, nothing is to be bootstrapped after this action.
            final: (N,) bool, the observation is an episode's last: no action was taken.
        """
        n, t = self.num_envs, self.written
        slot = (t % self.steps) * n
        here = slice(slot, slot + n)
        before = ((t - 1) % self.steps) * n
        age = np.minimum(self.ages[before : before + n] + 1, self.stack - 1)
        self.ages[here] = 0 if t == 0 else np.where(start, 0, age)
        pixels = frame.reshape(n, -1)
        self.store.write(slot, pixels)
        self.actions[here] = np.where(final, 0, action)
        self.rewards[here] = np.where(final, 0.0, reward)
        self.flags[here] = terminal * TERMINAL + final * FINAL
        self.written = t + 1
        if self.mirror is not None:
            self.mirror.write(slot, pixels)
        if self.tree is not None:
            self._refresh_priorities(t)

    def _refresh_priorities(self, newest: int) -> None:
        """Open the rows whose future is now complete; close those losing their history."""
        n, steps = self.num_envs, self.steps
        closing = np.array([newest])  # not complete yet, and perhaps an old row overwritten
        if newest >= steps:
            closing = np.append(closing, newest - steps + np.arange(1, self.stack))
        rows = [((closing % steps)[:, None] * n + np.arange(n)).reshape(-1)]
        values = [np.zeros(len(rows[0]))]
        if newest >= self.n_step:
            rows.append(((newest - self.n_step) % steps) * n + np.arange(n))
            opening = (self.flags[rows[1]] & FINAL) == 0
            values.append(np.where(opening, self.max_priority**self.alpha, 0.0))
        assert self.tree is not None
        self.tree.set(np.concatenate(rows), np.concatenate(values))

    def sample(self, batch_size: int, beta: float = 0.4) -> Batch:
        """Draw ``batch_size`` transitions with replacement: ``gather`` of a ``draw``."""
        return self.gather(*self.draw(batch_size, beta))

    def draw(self, batch_size: int, beta: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from, (B,) int64, and their importance weights, (B,) float32.

        Args:
            beta: exponent of the importance weights of prioritised draws, in [0, 1]; the weights
                are divided by the batch's largest.
        """
        if self.tree is None:
            return self._draw_uniform(batch_size), np.ones(batch_size, dtype=np.float32)
        total = self.tree.total
        mass = (np.arange(batch_size) + self.rng.random(batch_size)) * (total / batch_size)
        index = self.tree.draw(mass)
        probability = self.tree.leaves[index] / total
        weight = (probability.min() / probability) ** beta
        return index, weight.astype(np.float32)

    def _draw_uniform(self, batch_size: int) -> np.ndarray:
        low, high = self._drawable()
        n = self.num_envs
        index = self.rng.integers(low * n, high * n, batch_size) % (self.steps * n)
        while (final := (self.flags[index] & FINAL) != 0).any():
            again = self.rng.integers(low * n, high * n, int(final.sum()))
            index[final] = again % (self.steps * n)
        return index

    def gather(self, index: np.ndarray, weight: np.ndarray) -> Batch:
        """The transitions that start at the rows ``index`` (B,), on the mirror's device if any."""
        if self.mirror is not None:
            return self.mirror.gather(index, weight)
        n, rows = self.num_envs, self.steps * self.num_envs
        path = (index[:, None] + self._forward * n) % rows  # (B, n_step + 1)
        flags = self.flags[path]
        terminal = (flags[:, :-1] & TERMINAL) != 0
        stop = terminal | ((flags[:, 1:] & FINAL) != 0)
        length = np.where(stop.any(1), stop.argmax(1), self.n_step - 1)  # last step summed
        reward = self.rewards[path[:, :-1]]
        if self.reward_clip is not None:
            reward = np.clip(reward, -self.reward_clip, self.reward_clip)
        summed = self._forward[:-1] <= length[:, None]
        # One after another, as on a device: NumPy's sums of eight and more are in pairs.
        ret = (reward * self.discounts[:-1] * summed).cumsum(1, dtype=np.float64)[:, -1]
        batch = np.arange(len(index))
        discount = np.where(terminal[batch, length], 0.0, self.discounts[length + 1])
        stacks = np.concatenate([index, path[batch, length + 1]])  # (2B,)
        source = stacks[:, None] - self._back * n  # (2B, S)
        source = np.where(self._back <= self.ages[stacks][:, None], source % rows, rows)
        pixels = self.store.read(source.reshape(-1))
        pixels = pixels.view(2, len(index), self.stack, *self.frame_shape)
        return Batch(
            pixels[0],
            torch.from_numpy(self.actions[index].astype(np.int64)),
            torch.from_numpy(ret.astype(np.float32)),
            pixels[1],
            torch.from_numpy(discount.astype(np.float32)),
            torch.from_numpy(weight),
            index,
        )

    def update_priorities(self, index: np.ndarray, error: np.ndarray) -> None:
        """Set the priority of rows to ``|error|``; rows that are closed stay so, and an error that
        is not finite (of an update that was skipped) changes nothing.

        A row that was written over and opened again since it was drawn gets the old one's error:
        only where more than ``stack + n_step`` vector steps lie between, and only of the oldest.
        """
        if self.tree is None:
            return
        finite = np.isfinite(error)
        if not finite.any():
            return
        index, error = index[finite], error[finite]
        priority = np.abs(error).astype(np.float64) + 1e-6
        self.max_priority = max(self.max_priority, float(priority.max()))
        still_open = self.tree.leaves[index] > 0
        self.tree.set(index[still_open], priority[still_open] ** self.alpha)

    # Saving: rows go to the files of agents.replay_files; the checkpoint says how far they reach.

    def state(self) -> dict[str, Any]:
        """What is not in the rows: cursor, generator, priorities."""
        state: dict[str, Any] = {
            "written": self.written,
            "steps": self.steps,
            "num_envs": self.num_envs,
            "max_priority": self.max_priority,
            "rng": self.rng.bit_generator.state,
        }
        if self.tree is not None:
            state["priorities"] = self.tree.leaves.copy()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore ``state()``; the rows themselves come from ``agents.replay_files``."""
        for key in ("steps", "num_envs"):
            if state[key] != getattr(self, key):
                raise UserError(
                    f"The saved replay has {key} {state[key]}, these settings ask for "
                    f"{getattr(self, key)}; resume with the run's own settings or use --refill."
                )
        self.written = state["written"]
        self.max_priority = state["max_priority"]
        self.rng.bit_generator.state = state["rng"]
        if self.tree is not None:
            self.tree.set_leaves(np.asarray(state["priorities"]))
