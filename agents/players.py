"""Who plays when screens are gathered, rather than scores: agents with ε, and held random actions.

A random player repeats an action for a while and prefers some actions over others, another
preference each episode: a player that draws anew at each step stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.agent import Agent, load, zoo
from agents.atari import episode_seed

Player = Callable[[np.ndarray, np.ndarray], int]
"""From an observation (4, 84, 84) uint8 and the memory (128,) uint8 to an action's index."""

EPSILONS = (0.02, 0.1, 0.3)  # of the zoo's agents
HOLD_STEPS = (2, 6, 20)  # agent steps that a random player holds an action, on average
EPISODE_STEPS = 1500  # agent steps, 100 s of play: a stuck game is begun anew


def zoo_agents() -> dict[str, Agent]:
    """The zoo's agents by game."""
    found = [load(f"zoo:{name}") for name in zoo()]
    return {agent.game: agent for agent in found if agent.game is not None}


def greedy(agent: Agent) -> Player:
    """The agent's best action."""
    return lambda obs, ram: int(agent.q_values(obs[None])[0].argmax())


class Seat(NamedTuple):
    """One emulator of a game and who plays it: the agent with ε, or nobody, which is at random."""

    seed: int
    agent: Agent | None
    epsilon: float


def seats(seed: int, label: int, count: int, agent: Agent | None) -> list[Seat]:
    """`count` emulators of the game numbered `label`: every second one is the agent's, if any."""
    return [
        Seat(
            episode_seed(seed, label, number),
            agent if number % 2 else None,
            EPSILONS[number // 2 % len(EPSILONS)],
        )
        for number in range(count)
    ]


class Episode:
    """How one episode is played: by the player, and with probability ε (without one: always) by a
    random action, held for a geometrically distributed number of agent steps.
    """

    def __init__(
        self, random: np.random.Generator, num_actions: int, player: Player | None, epsilon: float
    ) -> None:
        self._random, self._player, self._epsilon = random, player, epsilon
        self._hold = random.choice(HOLD_STEPS)
        self._likes = 0.7 * random.dirichlet(np.full(num_actions, 0.5)) + 0.3 / num_actions
        self._action, self._left = 0, 0

    def action(self, obs: np.ndarray, ram: np.ndarray) -> int:
        """The index of the next action."""
        if self._left == 0:
            self._action = int(self._random.choice(len(self._likes), p=self._likes))
            self._left = int(self._random.geometric(1 / self._hold))
        self._left -= 1
        if self._player is not None and self._random.random() >= self._epsilon:
            self._action, self._left = self._player(obs, ram), 0
        return self._action
