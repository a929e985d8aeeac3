"""A replay's files: restored bit for bit; what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agents.replay import FINAL, Replay
from agents.replay_files import ReplayFiles
from playground.errors import UserError
from tests.agents.stream import SHAPE, Stream


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("feeds", [30, 170])
def test_files_restore_the_ring_bit_for_bit(tmp_path: Path, feeds: int, compressed: bool) -> None:
    def make() -> Replay:
        return Replay(
            90, 3, n_step=3, frame_shape=SHAPE, priority_exponent=0.6, seed=3,
            compressed=compressed,
        )  # fmt: skip

    replay, stream = make(), Stream(3, seed=9)
    files = ReplayFiles(replay, tmp_path)
    files.segment_steps = 7
    for _ in range(feeds):
        stream.feed(replay)
        files.follow()
        if len(replay) > 20:
            batch = replay.sample(8)
            replay.update_priorities(batch.rows, batch.reward.numpy())
    state = replay.state()
    files.flush()
    files.prune(replay.written - replay.steps)
    written = replay.written
    for _ in range(25):  # a future that a kill throws away
        stream.feed(replay)
        files.follow()
    files._join()

    again = make()
    again.load_state(state)
    ReplayFiles(again, tmp_path).load(written)
    fresh = make()
    reference = Stream(3, seed=9)
    for _ in range(feeds):
        reference.feed(fresh)
        if len(fresh) > 20:
            batch = fresh.sample(8)
            fresh.update_priorities(batch.rows, batch.reward.numpy())
    for _ in range(5):
        one, other = again.sample(16), fresh.sample(16)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert max(end for _, end, _ in ReplayFiles(again, tmp_path).segments()) <= written
    assert not (again.flags[one.rows] & FINAL).any()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_file_is_named(tmp_path: Path, compressed: bool) -> None:
    replay = Replay(90, 3, frame_shape=(84, 84), compressed=compressed)
    stream = Stream(3, seed=9, shape=(84, 84))
    files = ReplayFiles(replay, tmp_path)
    for _ in range(30):
        stream.feed(replay)
    files.flush()
    path = files.segments()[0][2]
    if compressed:  # LZ4 has no checksum of its own: what does not decode to a frame is found
        tensors = load_file(path)
        tensors["packed"] = tensors["packed"][::-1].copy()
        save_file(tensors, path)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read.*--refill"):
        ReplayFiles(Replay(90, 3, frame_shape=(84, 84), compressed=compressed), tmp_path).load(30)
