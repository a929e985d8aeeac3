"""A replay's rows on disk: append-only segments, written while training goes on.

The checkpoint names how far they reach; with its `Replay.state` they restore the replay bit for
bit.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from agents.replay import Replay
from playground.errors import UserError
from playground.run import atomic_path

SEGMENT_BYTES = 15 * 2**20
# Longest way from one checkpoint to the next, as a part of the ring. The files hold the ring of the
# older checkpoint and all rows since, so at most 1 + 2/8 rings where two checkpoints are kept.
CHECKPOINT_SPAN = 1 / 8


class ReplayFiles:
    """Keeps a replay on disk as append-only segments of at most 15 MiB.

    Full segments are written by a thread while training goes on (their rows are not overwritten
    for a whole round of the ring), so a checkpoint has to wait for one short segment only. How much
    lies on disk depends on how far apart checkpoints are: ``checkpoint_due`` asks for one in time.
    """

    def __init__(self, replay: Replay, folder: Path) -> None:
        self.replay, self.folder = replay, folder
        row_bytes = math.prod(replay.frame_shape) + 7
        self.segment_steps = max(
            1, min(SEGMENT_BYTES // (row_bytes * replay.num_envs), replay.steps // 4)
        )
        self.span = max(int(replay.steps * CHECKPOINT_SPAN), 4 * self.segment_steps)
        self.saved = 0  # vector steps on disk
        self.flushed = 0  # those that the newest checkpoint needs
        self.pruned = 0  # those removed since
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def segments(self) -> list[tuple[int, int, Path]]:
        """(first, end, file) of the segments on disk, in order of time."""
        found = []
        for path in self.folder.glob("rows-*.safetensors"):
            _, first, end = path.stem.split("-")
            found.append((int(first), int(end), path))
        return sorted(found)

    def follow(self) -> None:
        """Call after each ``add``: starts writing when a segment is full."""
        if self.replay.written - self.saved >= self.segment_steps:
            self._join()
            first, self.saved = self.saved, self.saved + self.segment_steps
            self._thread = threading.Thread(target=self._guarded, args=(first, self.saved))
            self._thread.start()

    def flush(self) -> None:
        """Everything added so far is on disk when this returns."""
        self._join()
        while self.saved < self.replay.written:
            end = min(self.replay.written, self.saved + self.segment_steps)
            self._write(self.saved, end)
            self.saved = end
        self.flushed = self.saved

    def abandon(self) -> None:
        """Wait for the segment that is being written, before others take over its folder."""
        if self._thread is not None:
            self._thread.join()

    @property
    def checkpoint_due(self) -> bool:
        """Whether so many rows came since the newest checkpoint that the files outgrow the ring."""
        return self.replay.written - self.flushed >= self.span

    def prune(self, oldest_needed: int) -> None:
        """Remove the segments that end at or before vector step ``oldest_needed``."""
        if oldest_needed <= self.pruned:
            return
        self.pruned = oldest_needed
        for _, end, path in self.segments():
            if end <= oldest_needed:
                path.unlink()

    def load(self, written: int) -> None:
        """Fill the ring with the rows up to vector step ``written``; drop later segments."""
        self._join()
        for torn in self.folder.glob(".tmp-*"):  # of a process that was killed
            torn.unlink()
        replay = self.replay
        needed = max(0, written - replay.steps)
        reached = needed
        for first, end, path in self.segments():
            if first >= written:
                path.unlink()  # written after the checkpoint: that future is played again
                continue
            if end <= needed:
                continue
            if first > reached:
                break
            try:
                self._place(load_file(path), first, end)
            except Exception as error:
                raise UserError(
                    f"The replay file {path} cannot be read ({error}); go on without it by "
                    "--resume RUN --refill."
                ) from error
            reached = end
        if reached < written:
            raise UserError(
                f"The replay in {self.folder} ends at vector step {reached} of {written}; go on "
                "without it by --resume RUN --refill."
            )
        self.saved = self.flushed = written

    def _place(self, rows: dict[str, np.ndarray], first: int, end: int) -> None:
        replay, n = self.replay, self.replay.num_envs
        slots = (np.arange(first, end) % replay.steps)[:, None] * n + np.arange(n)
        slots = slots.reshape(-1)
        replay.store.restore(slots, rows)
        for name in ("actions", "rewards", "flags", "ages"):
            getattr(replay, name)[slots] = rows[name]
        if replay.mirror is not None:
            replay.mirror.copy(slots)

    def _write(self, first: int, end: int) -> None:
        replay, n = self.replay, self.replay.num_envs
        slots = (np.arange(first, end) % replay.steps)[:, None] * n + np.arange(n)
        slots = slots.reshape(-1)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.folder / f"rows-{first:010d}-{end:010d}.safetensors") as path:
            save_file(
                {
                    **replay.store.saved(slots),
                    "actions": replay.actions[slots],
                    "rewards": replay.rewards[slots],
                    "flags": replay.flags[slots],
                    "ages": replay.ages[slots],
                },
                path,
            )

    def _guarded(self, first: int, end: int) -> None:
        try:
            self._write(first, end)
        except BaseException as error:  # carried to the training thread by _join
            self._error = error

    def _join(self) -> None:
        self.abandon()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
