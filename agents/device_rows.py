"""A replay's rows once more, on the learner's device: batches are put together where they are used.

The replay in main memory stays the whole truth: it draws, keeps priorities and goes to files. Here
its rows lie a second time, written as they come, so that of a batch only the numbers of its rows
travel (8 bytes a transition in the place of 56 KB), and everything that follows from them is
computed on the device, in operations that never wait for it: stacks by one gather of single frames,
cut where an episode begins, n-step returns, discounts. For the same rows a batch equals
``agents.replay.Replay.gather``'s bit for bit.

It takes 7.1 KB an agent step of the device's memory; in main memory frames may lie compressed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from agents.replay import FINAL, TERMINAL, Batch, Replay
from playground.device import available_memory
from playground.errors import UserError
from playground.transfer import staging, upload

SHARE = 0.6  # of the device's free memory, at most: networks and their gradients come on top
CHUNK = 2048  # rows copied at once, 14 MB
COLUMNS = ("rewards", "actions", "flags", "ages")  # of a row, beside its frame


def on_device(wanted: str, replay: Replay, device: torch.device) -> bool:
    """Whether the rows are to lie on the device, too.

    Args:
        wanted: "host", "device", or "auto": on a CUDA device with enough free memory.

    Raises:
        UserError: "device" where that cannot be; says why.
    """
    if wanted == "host" or (wanted == "auto" and device.type != "cuda"):
        return False
    if device.type not in ("cuda", "cpu"):
        raise UserError(
            f"A replay on the device needs CUDA (or a CPU, to rehearse), not {device.type}: leave "
            "out --replay-device device."
        )
    needed, free = DeviceRows.size_bytes(replay), available_memory(device)
    if free is None or needed <= SHARE * free:
        return True
    if wanted == "device":
        raise UserError(
            f"A replay of {replay.capacity:,} agent steps takes {needed / 1e9:.1f} GB on the "
            f"device, of {free / 1e9:.1f} GB free there {SHARE:.0%} can be used: lower "
            "--replay-capacity, or use --replay-device host."
        )
    return False


class DeviceRows:
    """The rows of a replay on a device, those that it has already included.

    Set ``replay.mirror`` to it: rows that are added or restored from then on come here, too.
    """

    def __init__(self, replay: Replay, device: torch.device) -> None:
        self.replay, self.device = replay, device
        self.rows = replay.steps * replay.num_envs
        # Row `rows` is the zero frame before an episode's start.
        size = math.prod(replay.frame_shape)
        self.frames = torch.empty((self.rows + 1, size), dtype=torch.uint8, device=device)
        self.frames[self.rows].zero_()
        self.rewards = torch.empty(self.rows, dtype=torch.float32, device=device)
        self.actions, self.flags, self.ages = torch.empty(
            (3, self.rows), dtype=torch.uint8, device=device
        )
        self._forward = torch.arange(replay.n_step + 1, device=device)
        self._back = torch.arange(replay.stack - 1, -1, -1, device=device)  # oldest frame first
        self._discounts = torch.from_numpy(replay.discounts).to(device)  # float64
        there = np.arange(min(replay.written, replay.steps) * replay.num_envs)
        for first in range(0, len(there), CHUNK):
            self.copy(there[first : first + CHUNK])

    @staticmethod
    def size_bytes(replay: Replay) -> int:
        """Bytes that this replay's rows take on a device."""
        row = math.prod(replay.frame_shape) + sum(getattr(replay, c).itemsize for c in COLUMNS)
        return replay.steps * replay.num_envs * row

    def write(self, first: int, frames: np.ndarray) -> None:
        """Take over the N rows from ``first`` on, just added; ``frames`` are theirs, (N, H * W).

        They travel from one page-locked buffer, and nobody waits for them.
        """
        end = first + len(frames)
        new = [getattr(self.replay, name)[first:end] for name in COLUMNS] + [frames]
        staged = staging(sum(part.nbytes for part in new), self.device)
        buffers = staged.split([part.nbytes for part in new])
        for name, part, buffer in zip((*COLUMNS, "frames"), new, buffers, strict=True):
            ring = getattr(self, name)[first:end]
            ready = buffer.view(ring.dtype).view(ring.shape)
            ready.copy_(torch.from_numpy(part))
            ring.copy_(ready, non_blocking=True)

    def copy(self, rows: np.ndarray) -> None:
        """Take over (M,) rows as they are in main memory."""
        index = upload(rows, self.device)
        pixels = self.replay.store.read(rows).numpy()
        self.frames.index_copy_(0, index, upload(pixels, self.device))
        for name in COLUMNS:
            column = upload(getattr(self.replay, name)[rows], self.device)
            getattr(self, name).index_copy_(0, index, column)

    def gather(self, index: np.ndarray, weight: np.ndarray) -> Batch:
        """The transitions that start at the rows ``index`` (B,), on the device."""
        found = self.transitions(upload(index, self.device))
        return Batch(*found, upload(weight, self.device), index)

    def transitions(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B,) int64 on the device -> the first five of a ``Batch``; reads nothing off the device.

        The same arithmetic as ``Replay.gather``, down to the order of its sums.
        """
        replay, n = self.replay, self.replay.num_envs
        path = (index[:, None] + self._forward * n) % self.rows  # (B, n_step + 1)
        flags = self.flags[path]
        terminal = (flags[:, :-1] & TERMINAL) != 0
        stop = terminal | ((flags[:, 1:] & FINAL) != 0)
        steps = self._forward[:-1]
        length = steps.expand_as(stop).masked_fill(~stop, replay.n_step - 1).amin(1)  # the last one
        reward = self.rewards[path[:, :-1]]
        if replay.reward_clip is not None:
            reward = reward.clamp(-replay.reward_clip, replay.reward_clip)
        each = reward * self._discounts[:-1] * (steps <= length[:, None])  # float64
        total = each[:, 0]
        for k in range(1, replay.n_step):
            total = total + each[:, k]
        last = length[:, None]
        ended = terminal.gather(1, last).squeeze(1)
        discount = self._discounts[length + 1].masked_fill(ended, 0.0)
        stacks = torch.cat([index, path.gather(1, last + 1).squeeze(1)])  # (2B,)
        source = (stacks[:, None] - self._back * n) % self.rows  # (2B, S)
        source = source.masked_fill(self._back > self.ages[stacks][:, None], self.rows)
        pixels = self.frames.index_select(0, source.flatten())
        pixels = pixels.view(2, len(index), replay.stack, *replay.frame_shape)
        action = self.actions[index].long()
        return pixels[0], action, total.float(), pixels[1], discount.float()
