"""The replay against a reference that keeps every observation whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agents.replay import FINAL, Replay, ReplayFiles, SumTree
from playground.errors import UserError

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


def expected(rows: list[Seen], t: int, n_step: int, gamma: float, clip: float) -> tuple:
    """(return, next observation or None, discount), walked step by step."""
    total = 0.0
    for k in range(n_step):
        row, following = rows[t + k], rows[t + k + 1]
        total += gamma**k * float(np.clip(row.reward, -clip, clip))
        if row.terminal:
            return total, None, 0.0
        if following.final or k == n_step - 1:
            return total, following.observation, gamma ** (k + 1)
    raise AssertionError


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n_step", [1, 3, 5])
@pytest.mark.parametrize(("num_envs", "feeds"), [(1, 90), (3, 25), (3, 200)])
def test_every_transition_equals_the_reference(
    n_step: int, num_envs: int, feeds: int, compressed: bool
) -> None:
    replay = Replay(
        100, num_envs, n_step=n_step, gamma=0.9, frame_shape=SHAPE, compressed=compressed
    )
    stream = Stream(num_envs, seed=n_step)
    for _ in range(feeds):
        stream.feed(replay)
    low, high = replay._drawable()
    assert high - low > 10
    compared = 0
    for env, rows in enumerate(stream.history):
        for t in range(low, high):
            if rows[t].final:
                continue
            slot = (t % replay.steps) * num_envs + env
            batch = replay.gather(np.array([slot]), np.ones(1, np.float32))
            ret, following, discount = expected(rows, t, n_step, 0.9, 1.0)
            np.testing.assert_array_equal(batch.observation[0], rows[t].observation)
            assert batch.action.item() == rows[t].action
            assert batch.reward.item() == pytest.approx(ret, abs=1e-6)
            assert batch.discount.item() == pytest.approx(discount)
            if following is not None:
                np.testing.assert_array_equal(batch.next_observation[0], following)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_draws_only_whole_transitions_and_all_of_them(alpha: float, compressed: bool) -> None:
    replay = Replay(
        60, 2, n_step=3, frame_shape=SHAPE, priority_exponent=alpha, compressed=compressed
    )
    stream = Stream(2, seed=5)
    for feed in range(150):
        stream.feed(replay)
        low, high = replay._drawable()
        allowed = {
            (t % replay.steps) * 2 + i
            for t in range(max(low, 0), high)
            for i in range(2)
            if not stream.history[i][t].final
        }
        if alpha:
            assert replay.tree is not None
            assert set(np.flatnonzero(replay.tree.leaves)) == allowed
        elif feed > 10:
            drawn = {int(i) for _ in range(20) for i in replay.sample(32).rows}
            assert drawn <= allowed
            if feed % 50 == 0:
                assert drawn == allowed


def prioritised(feeds: int) -> tuple[Replay, SumTree]:
    """A replay of 40 transitions with priorities, fed so often."""
    replay, stream = Replay(40, 1, n_step=1, frame_shape=SHAPE, priority_exponent=0.5), Stream(1, 1)
    for _ in range(feeds):
        stream.feed(replay)
    assert replay.tree is not None
    return replay, replay.tree


def test_priorities_set_how_often_a_row_is_drawn() -> None:
    replay, tree = prioritised(40)
    rows = np.flatnonzero(tree.leaves)
    error = np.random.default_rng(0).uniform(0.1, 4, len(rows))
    replay.update_priorities(rows, -error)
    drawn = np.concatenate([replay.sample(50, beta=1.0).rows for _ in range(400)])
    share = np.array([(drawn == r).mean() for r in rows])
    want = np.sqrt(error) / np.sqrt(error).sum()
    np.testing.assert_allclose(share, want, atol=0.004)
    batch = replay.sample(50, beta=1.0)
    weight = batch.weight.numpy() * tree.leaves[batch.rows]
    np.testing.assert_allclose(weight, weight[0], rtol=1e-5)  # weight ~ 1 / probability
    assert batch.weight.max() == 1


def test_closed_rows_stay_closed_and_errors_that_are_no_numbers_change_nothing() -> None:
    replay, tree = prioritised(60)
    before, most = tree.leaves.copy(), replay.max_priority
    closed, opened = np.flatnonzero(before == 0), np.flatnonzero(before)
    replay.update_priorities(np.arange(len(before)), np.full(len(before), np.nan))
    np.testing.assert_array_equal(tree.leaves, before)
    assert replay.max_priority == most
    error = np.full(len(before), 9.0)
    error[opened[0]] = np.inf
    replay.update_priorities(np.arange(len(before)), error)
    assert len(closed) >= STACK and not tree.leaves[closed].any()
    assert tree.leaves[opened[0]] == before[opened[0]]
    np.testing.assert_allclose(tree.leaves[opened[1:]], 3, rtol=1e-6)
    assert replay.max_priority == pytest.approx(9)


def test_sum_tree_is_exact_and_rebuilds_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    tree = SumTree(37)
    for _ in range(50):
        tree.set(rng.integers(0, 37, 9), rng.random())
    again = SumTree(37)
    again.set_leaves(tree.leaves)
    np.testing.assert_array_equal(again.nodes, tree.nodes)
    assert tree.total == pytest.approx(tree.leaves.sum())
    edges = np.cumsum(tree.leaves)
    mass = rng.random(2000) * tree.total
    np.testing.assert_array_equal(tree.draw(mass), np.searchsorted(edges, mass, side="right"))
    assert tree.leaves[tree.draw(np.array([tree.total, np.nextafter(tree.total, 9e9)]))].min() > 0


def test_a_million_transitions_fit_in_7_2_gigabytes() -> None:
    replay = Replay(1_000_000, 8, n_step=3, priority_exponent=0.5)  # pages are not touched
    assert replay.steps * 8 >= 1_000_000
    assert replay.nbytes <= 7.2e9


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


def test_both_stores_give_the_same_batches() -> None:
    """Frames of another size, drawn by priority while the ring is written over."""
    pair = [
        Replay(80, 2, n_step=3, frame_shape=SHAPE, priority_exponent=0.5, seed=4, compressed=packed)
        for packed in (False, True)
    ]
    streams = [Stream(2, seed=2), Stream(2, seed=2)]
    for feed in range(130):
        for replay, stream in zip(pair, streams, strict=True):
            stream.feed(replay)
        if feed % 10 == 9:
            for one, other in zip(*(replay.sample(16) for replay in pair), strict=True):
                np.testing.assert_array_equal(one, other)


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
