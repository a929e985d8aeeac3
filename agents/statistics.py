"""How good, and how sure: scores of several games and runs together, with bootstrap intervals.

Scores are one array of shape (runs,) for each game, usually human-normalised (0 random play, 1 the
human tester). Every game counts the same, however many runs it has: where games have different
numbers, each score is repeated until all have as many.

Intervals are of the stratified bootstrap: runs are drawn with replacement within each game, and the
2.5th and 97.5th percentiles of the resampled figure bound it (SciPy's `bootstrap`, percentile
method). They tell what other seeds would have given on these games, not other games. A game with
one run says nothing about that: there are no intervals then.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
Where all games have as many runs, everything is equal to the authors' library rliable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.atari import human_normalised

Scores = Sequence[np.ndarray]  # one (runs,) array a game

RESAMPLES = 10_000
BATCH_NUMBERS = 4_000_000  # resampled scores in memory at once


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; `low` and `high` are None where a game has one run only."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Profile:
    """Share of runs above each threshold, each (T,), in [0, 1]; the band is pointwise."""

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def normalised(scores: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Human-normalised (runs,) of each game; games without published human score are left out."""
    found = {}
    for game, values in scores.items():
        each = [human_normalised(game, value) for value in values]
        if None not in each:
            found[game] = np.array(each, float)
    return found


# Each aggregate takes (..., runs, games) and gives (...).


def _iqm(matrix: np.ndarray) -> np.ndarray:
    flat = np.sort(matrix.reshape(*matrix.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def _median(matrix: np.ndarray) -> np.ndarray:
    return np.median(matrix.mean(-2), axis=-1)


def _mean(matrix: np.ndarray) -> np.ndarray:
    return matrix.mean((-2, -1))


def _optimality_gap(matrix: np.ndarray) -> np.ndarray:
    return 1.0 - np.minimum(matrix, 1.0).mean((-2, -1))


AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "iqm": _iqm,
    "median": _median,
    "mean": _mean,
    "optimality_gap": _optimality_gap,
}


def iqm(scores: Scores) -> float:
    """Interquartile mean: of all runs of all games, without the best and the worst quarter."""
    return float(_iqm(_matrix(scores)))


def median(scores: Scores) -> float:
    """Of the games' means over runs."""
    return float(_median(_matrix(scores)))


def mean(scores: Scores) -> float:
    """Of the games' means over runs; a few games with huge scores decide it."""
    return float(_mean(_matrix(scores)))


def optimality_gap(scores: Scores) -> float:
    """How much is missing to 1 (the human), on average; what is above 1 counts as 1."""
    return float(_optimality_gap(_matrix(scores)))


def aggregates(
    scores: Scores, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """All of AGGREGATES with their intervals, from the same resamples."""

    def figures(*games: np.ndarray, axis: int = -1) -> np.ndarray:
        matrix = _matrix(games)
        return np.stack([of(matrix) for of in AGGREGATES.values()])

    values = figures(*_arrays(scores))
    low, high = _interval(figures, _arrays(scores), confidence, resamples, seed)
    return {
        name: Estimate(float(values[i]), _number(low, i), _number(high, i))
        for i, name in enumerate(AGGREGATES)
    }


def improvement(
    ours: Scores,
    theirs: Scores,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Probability that a run of ours beats one of theirs on a game drawn at random.

    Ties count half (the Mann-Whitney U statistic). Both have the same games in the same order.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} games here, {len(theirs)} there")

    def probability(*games: np.ndarray, axis: int = -1) -> np.ndarray:
        pairs = zip(games[: len(ours)], games[len(ours) :], strict=True)
        each = [_wins(x[..., :, None], y[..., None, :]) for x, y in pairs]
        return np.mean(each, axis=0)

    both = [*_arrays(ours), *_arrays(theirs)]
    low, high = _interval(probability, both, confidence, resamples, seed)
    return Estimate(float(probability(*both)), _number(low), _number(high))


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x > y) + 0.5 * (x == y)).mean((-2, -1))


def profile(
    scores: Scores,
    thresholds: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Profile:
    """Performance profile (score distribution): the share of runs above each threshold (T,)."""
    thresholds = np.asarray(thresholds, float)

    def shares(*games: np.ndarray, axis: int = -1) -> np.ndarray:
        above = [(game[..., None, :] > thresholds[:, None]).mean(-1) for game in games]
        return np.moveaxis(np.mean(above, axis=0), -1, 0)  # (T, ...)

    low, high = _interval(
        shares, _arrays(scores), confidence, resamples, seed, width=len(thresholds)
    )
    return Profile(thresholds, shares(*_arrays(scores)), low, high)


def _arrays(scores: Scores) -> list[np.ndarray]:
    found = [np.asarray(game, float) for game in scores]
    if not found or any(game.ndim != 1 or not len(game) for game in found):
        raise ValueError("scores are one array of at least one run for each game")
    return found


def _matrix(games: Scores) -> np.ndarray:
    """(..., runs, games) of one (..., runs) array a game; see the module's top."""
    runs = [np.shape(game)[-1] for game in games]
    most = math.lcm(*runs)
    repeated = [np.repeat(game, most // n, axis=-1) for game, n in zip(games, runs, strict=True)]
    return np.stack(repeated, axis=-1)


def _interval(
    figure: Callable[..., np.ndarray],
    games: list[np.ndarray],
    confidence: float,
    resamples: int,
    seed: int,
    width: int = 1,
) -> tuple[Any, Any]:
    """(low, high) of a figure of games; (None, None) where one has a single run.

    `width` numbers are made of each resampled score at once.
    """
    if min(map(len, games)) < 2:
        return None, None
    from scipy import stats  # half a second of every start, needed here only

    numbers = math.lcm(*map(len, games)) * len(games) * width
    found = stats.bootstrap(
        games,
        figure,
        n_resamples=resamples,
        batch=max(1, min(resamples, BATCH_NUMBERS // numbers)),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high


def _number(bound: Any, place: int | None = None) -> float | None:
    if bound is None:
        return None
    return float(bound if place is None else bound[place])
