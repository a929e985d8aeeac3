"""Players: the agent's share, held random actions, who sits at which emulator."""

import numpy as np
import pytest

from agents.atari import resolve_all
from agents.players import EPSILONS, HOLD_STEPS, Episode, seats
from playground.errors import UserError

SEEN = np.zeros((4, 84, 84), np.uint8), np.zeros(128, np.uint8)


def test_the_player_acts_but_for_epsilon():
    random = np.random.default_rng(0)
    for epsilon in (0.0, 0.25, 1.0):
        episode = Episode(random, 6, lambda obs, ram: -1, epsilon)
        own = np.mean([episode.action(*SEEN) == -1 for _ in range(4000)])
        assert own == pytest.approx(1 - epsilon, abs=0.03)


def test_random_actions_are_held_and_some_are_preferred():
    holds = []
    for seed in range(40):
        episode = Episode(np.random.default_rng(seed), 9, None, 0.0)
        actions = [episode.action(*SEEN) for _ in range(1000)]
        holds.append(len(actions) / (1 + np.count_nonzero(np.diff(actions))))
        assert np.bincount(actions, minlength=9).max() > 1000 / 9
    # An action that follows itself makes a hold longer than drawn, never shorter.
    assert min(holds) > 0.9 * min(HOLD_STEPS) and max(holds) > max(HOLD_STEPS)


def test_every_second_seat_is_the_agents():
    agent = object()
    found = seats(7, 3, 8, agent)  # type: ignore[arg-type]
    assert [seat.agent is agent for seat in found] == [False, True] * 4
    assert [seat.epsilon for seat in found[1::2]] == [*EPSILONS, EPSILONS[0]]
    assert len({seat.seed for seat in found}) == 8
    assert all(seat.agent is None for seat in seats(7, 3, 8, None))


def test_games_are_named_once():
    assert resolve_all([" Pong", "ALE/Breakout-v5", ""]) == ["pong", "breakout"]
    for names in (["pong", "ALE/Pong-v5"], [" "], []):
        with pytest.raises(UserError, match="Name each game once"):
            resolve_all(names)
