"""Evaluation: quotas, raw returns, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from agents.agent import Agent
from agents.atari import protocol
from agents.evaluation import Evaluation, Stopped, evaluate, interval, pooled
from agents.qnetwork import QNetwork
from playground.errors import UserError


def test_interval_by_hand() -> None:
    low, high = interval(np.array([1.0, 2.0, 3.0]))  # t(0.975, 2) = 4.3027, sem = 0.57735
    assert (low, high) == (pytest.approx(2 - 2.4841, abs=1e-4), pytest.approx(2 + 2.4841, abs=1e-4))
    assert interval(np.array([5.0, 5.0])) == (5.0, 5.0)


def test_random_weights_lose_every_point_of_pong() -> None:
    agent = Agent(QNetwork(6, width=0.25, hidden=8), "pong")
    rules = protocol("machado", max_frames=1200)
    result = evaluate(agent, protocol=rules, episodes=5, envs=3, epsilon=1.0, seed=3)
    again = evaluate(agent, protocol=rules, episodes=5, envs=3, epsilon=1.0, seed=3)
    assert result == again
    assert len(result.returns) == 5
    assert all(r == int(r) and -12 < r <= 0 for r in result.returns)
    assert result.mean == pytest.approx(np.mean(result.returns))
    assert result.length == 300
    assert result.frames == 5 * 1200
    assert result.protocol["sticky"] == 0.25
    assert result.human_normalised is not None
    assert result.human_normalised > 0.3  # cut short, far from -21


def test_without_another_its_own_exploration_counts() -> None:
    agent = Agent(QNetwork(6, width=0.25, hidden=8), "pong")
    rules = protocol("machado", max_frames=400)
    greedy = evaluate(agent, protocol=rules, episodes=1)
    agent.card["settings"] = {"eval_epsilon": 1.0}
    own = evaluate(agent, protocol=rules, episodes=1)
    assert (greedy.epsilon, own.epsilon) == (0, 1)
    assert own == evaluate(agent, protocol=rules, episodes=1, epsilon=1.0)
    assert greedy == evaluate(agent, protocol=rules, episodes=1, epsilon=0.0)


def test_an_agent_of_another_game_is_refused() -> None:
    agent = Agent(QNetwork(6, width=0.25, hidden=8), "breakout")
    with pytest.raises(UserError, match="6 actions, breakout has 4"):
        evaluate(agent, protocol=protocol("sb3"), episodes=1)


def test_what_had_ended_when_it_was_stopped_is_kept() -> None:
    agent = Agent(QNetwork(6, width=0.25, hidden=8), "pong")
    rules = protocol("machado", max_frames=80)
    counts: list[int] = []

    def play(most: int) -> Evaluation:
        counts.clear()
        return evaluate(
            agent, protocol=rules, episodes=5, envs=2, epsilon=1.0,
            stop=lambda: len(counts) >= most, on_game=lambda returns: counts.append(len(returns)),
        )  # fmt: skip

    whole = play(6)
    assert counts == [1, 2, 3, 4, 5]
    assert (whole.length, whole.frames) == (20, 5 * 80)
    with pytest.raises(Stopped) as caught:
        play(3)  # both environments have played two games by then
    found = caught.value.finished
    assert found is not None
    assert found.returns == [*whole.returns[:2], *whole.returns[3:]]
    assert (found.length, found.frames) == (20, 4 * 80)
    with pytest.raises(Stopped) as caught:
        play(0)
    assert caught.value.finished is None


def test_pooled_is_the_evaluation_of_all_games() -> None:
    agent = Agent(QNetwork(6, width=0.25, hidden=8), "pong")
    rules = protocol("machado", max_frames=400)
    first = evaluate(agent, protocol=rules, episodes=3, epsilon=1.0, seed=1)
    second = evaluate(agent, protocol=rules, episodes=1, epsilon=1.0, seed=2)
    both = pooled(first, second)
    assert both.returns == first.returns + second.returns
    assert both.mean == np.mean(both.returns) and both.interval == interval(np.array(both.returns))
    assert (both.length, both.frames) == (100, 4 * 400)
    assert both.to_metrics() == {
        "score": both.mean, "low": both.interval[0], "high": both.interval[1], "length": 100
    }  # fmt: skip
