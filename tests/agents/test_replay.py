"""The replay against a reference that keeps every observation whole."""

from __future__ import annotations

import numpy as np
import pytest

from agents.replay import Replay
from agents.sum_tree import SumTree
from tests.agents.stream import SHAPE, STACK, Seen, Stream


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


def test_a_million_transitions_fit_in_7_2_gigabytes() -> None:
    replay = Replay(1_000_000, 8, n_step=3, priority_exponent=0.5)  # pages are not touched
    assert replay.steps * 8 >= 1_000_000
    assert replay.nbytes <= 7.2e9


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
