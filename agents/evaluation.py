"""Whole games under a stated protocol: returns, interval, human-normalised score.

Returns are raw (never clipped) sums over whole games; life losses end nothing here. Machado et al.
2018 for the protocol, ``agents/atari_scores.csv`` for the normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agents.agent import Agent
from agents.atari import FRAMES_PER_STEP, Protocol, VectorAtari, human_normalised
from playground.errors import UserError

if TYPE_CHECKING:
    from agents.sb3_env import VectorSB3


# Added to the seed of evaluations: their emulators' seeds are none of a training's.
EVALUATION_SEEDS = 1_000_003
# Added to it by a second look at an agent that stands to be a training's best.
CONFIRMING_SEEDS = 500_000_003
# Added to the seed by who scores a trained agent: a training's own evaluations, by which its best
# agent was chosen, are of other games.
FRESH_SEEDS = 1_000_000_007


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found, with the protocol stamped in."""

    game: str
    protocol: dict[str, Any]
    epsilon: float
    seed: int
    returns: list[float]  # one a game, in order of (environment, game)
    mean: float
    median: float
    std: float  # over games, n - 1
    interval: tuple[float, float]  # 95 %, Student's t over games
    human_normalised: float | None  # of the mean; 0 random, 1 human
    length: float  # mean, agent steps
    frames: int  # emulator frames, all games together

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_metrics(self) -> dict[str, float]:
        """What a training logs of it."""
        low, high = self.interval
        return {"score": self.mean, "low": low, "high": high, "length": self.length}


class Game(NamedTuple):
    """One whole game."""

    score: float  # raw return
    length: int  # agent steps


class Stopped(Exception):
    """An evaluation was given up because ``stop`` said so.

    ``finished`` is of the games that had ended by then, None where none had. Short games end first,
    so its means lean towards them.
    """

    def __init__(self, finished: Evaluation | None) -> None:
        super().__init__()
        self.finished = finished


def interval(returns: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of (n,) returns; (mean, mean) where they are all equal."""
    from scipy import stats  # half a second of every start, needed here only

    mean = float(np.mean(returns))
    if len(returns) < 2:
        return (-float("inf"), float("inf"))
    half = stats.t.ppf(0.5 + confidence / 2, len(returns) - 1) * stats.sem(returns)
    return (mean - float(half), mean + float(half))


def evaluate(
    agent: Agent,
    *,
    protocol: Protocol,
    episodes: int = 30,
    epsilon: float | None = None,
    seed: int = 0,
    envs: int = 10,
    threads: int = 0,
    stop: Callable[[], bool] = lambda: False,
    on_game: Callable[[Sequence[float]], None] = lambda returns: None,
) -> Evaluation:
    """Play ``episodes`` whole games.

    Each environment plays a number of games fixed beforehand, so short games are not counted more
    often than long ones. An agent with ``preprocessing`` "sb3" plays on Stable-Baselines3's own
    wrappers (``agents.sb3_env``).

    Args:
        epsilon: part of random actions, in [0, 1]; the agent's own if None.
        seed: of emulators and exploration; a training of the same seed meets other emulators, but
            its evaluations have these: see ``FRESH_SEEDS``.
        envs: games played at once (at most ``episodes``).
        threads: of our emulators; 0 lets ale-py choose, one a core, at most one a game.
        stop: asked at every step whether to give up.
        on_game: called after each game, with the returns of all that have ended.

    Raises:
        Stopped: ``stop`` said so; has the figures of the games that had ended.
        UserError: no episodes, or an agent of another game.
    """
    if episodes < 1:
        raise UserError("--episodes must be at least 1.")
    name = agent.game
    assert name is not None
    epsilon = agent.epsilon if epsilon is None else epsilon
    envs = min(envs, episodes)
    quota = np.full(envs, episodes // envs)
    quota[: episodes % envs] += 1
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    vector: VectorAtari | VectorSB3
    if agent.preprocessing == "sb3":
        from agents.sb3_env import VectorSB3

        vector = VectorSB3(name, envs, protocol, seed=seed + EVALUATION_SEEDS)
    else:
        vector = VectorAtari(
            name, envs, protocol, seed=seed + EVALUATION_SEEDS, threads=min(threads, envs)
        )
    if agent.actions != vector.num_actions:
        vector.close()
        raise UserError(
            f"This agent has {agent.actions} actions, {name} has {vector.num_actions}: "
            "it was trained for another game."
        )
    games: list[list[Game]] = [[] for _ in range(envs)]  # that have ended
    score, length = np.zeros(envs), np.zeros(envs, int)  # of the running games
    ended = np.zeros(envs, dtype=bool)
    observation = vector.reset()

    def found() -> Evaluation:
        ended = list(chain(*games))
        returns, steps = [game.score for game in ended], sum(game.length for game in ended)
        return _evaluation(name, asdict(protocol), epsilon, seed, returns, steps)

    try:
        while any(len(g) < q for g, q in zip(games, quota, strict=True)):
            if stop():
                raise Stopped(found() if any(games) else None)
            action, _ = agent.predict(observation)
            explore = rng.random(envs) < epsilon
            action = np.where(explore, rng.integers(0, agent.actions, envs), action)
            step = vector.step(action)
            score += np.where(ended, 0, step.reward)
            length += ~ended
            observation, ended = step.obs, step.terminated | step.truncated
            for i in np.flatnonzero(ended):
                if len(games[i]) < quota[i]:
                    games[i].append(Game(float(score[i]), int(length[i])))
                    on_game([game.score for game in chain(*games)])
                score[i] = length[i] = 0
    finally:
        vector.close()
    return found()


def pooled(first: Evaluation, second: Evaluation) -> Evaluation:
    """Two evaluations of one agent under the same rules as one of all their games."""
    returns = first.returns + second.returns
    steps = (first.frames + second.frames) // FRAMES_PER_STEP
    return _evaluation(first.game, first.protocol, first.epsilon, first.seed, returns, steps)


def _evaluation(
    name: str, rules: dict[str, Any], epsilon: float, seed: int, returns: list[float], steps: int
) -> Evaluation:
    """The figures of at least one game; ``steps`` agent steps in all of them."""
    scores = np.array(returns)
    mean = float(scores.mean())
    return Evaluation(
        game=name,
        protocol=rules,
        epsilon=epsilon,
        seed=seed,
        returns=returns,
        mean=mean,
        median=float(np.median(scores)),
        std=float(scores.std(ddof=1)) if len(scores) > 1 else 0.0,
        interval=interval(scores),
        human_normalised=human_normalised(name, mean),
        length=steps / len(scores),
        frames=steps * FRAMES_PER_STEP,
    )
