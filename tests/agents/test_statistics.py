"""Aggregates of scores: by hand, by slow definitions, and against rliable where it is installed."""

import json
from itertools import product

import numpy as np
import pytest

from agents import statistics
from agents.atari import human_normalised
from tests.agents import rliable_figures

RAGGED = [np.array([0.0, 1.0]), np.array([2.0]), np.array([0.5, 0.5, 3.5, 4.0])]


@pytest.fixture(scope="module")
def rliable():
    try:
        from rliable import library, metrics
    except Exception as error:  # absent, or at odds with its own dependencies
        pytest.skip(f"rliable, of the extra [metrics], does not import: {error}")
    return library, metrics


@pytest.fixture(scope="module")
def published(data_dir):
    return rliable_figures.published(data_dir / "dqn_reference")


def columns(matrix):
    return list(matrix.T)


def test_normalised_is_the_formula_and_leaves_out_games_without_reference():
    found = statistics.normalised({"pong": [14.6, -20.7], "Breakout": [1.7], "entombed": [1.0]})
    assert list(found) == ["pong", "Breakout"]
    np.testing.assert_allclose(found["pong"], [1, 0], atol=1e-12)
    assert found["Breakout"][0] == human_normalised("breakout", 1.7) == 0


def test_aggregates_by_hand():
    scores = [np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([4.0, 10.0]),
              np.array([0.5, 0.7])]  # fmt: skip
    # sorted: 0 .5 .7 1 2 3 4 10, without two at each end
    assert statistics.iqm(scores) == pytest.approx((0.7 + 1 + 2 + 3) / 4)
    assert statistics.mean(scores) == pytest.approx((0.5 + 2.5 + 7 + 0.6) / 4)
    assert statistics.median(scores) == pytest.approx((0.6 + 2.5) / 2)
    assert statistics.optimality_gap(scores) == pytest.approx(1 - (0 + 1 + 4 + 0.5 + 0.7) / 8)


def test_games_count_the_same_however_many_runs_they_have():
    assert statistics.mean(RAGGED) == pytest.approx((0.5 + 2 + 2.125) / 3)
    assert statistics.median(RAGGED) == 2
    assert statistics.optimality_gap(RAGGED) == pytest.approx(1 - (0.5 + 1 + 0.75) / 3)
    repeated = sorted([0, 0, 1, 1, 2, 2, 2, 2, 0.5, 0.5, 3.5, 4])
    assert statistics.iqm(RAGGED) == pytest.approx(np.mean(repeated[3:9]))
    shares = statistics.profile(RAGGED, [0.5, 2]).share
    np.testing.assert_allclose(shares, [(0.5 + 1 + 0.5) / 3, (0 + 0 + 0.5) / 3])


def test_one_run_of_a_game_gives_no_interval():
    found = statistics.aggregates(RAGGED)
    assert {(e.low, e.high) for e in found.values()} == {(None, None)}
    assert statistics.profile(RAGGED, [1.0]).low is None
    assert statistics.improvement(RAGGED, RAGGED).low is None


def test_improvement_counts_pairs_and_halves_ties():
    ours, theirs = [np.array([1.0, 2.0]), np.array([5.0])], [np.array([1.0, 0.0]), np.array([9.0])]
    assert statistics.improvement(ours, theirs).value == pytest.approx((3.5 / 4 + 0) / 2)
    assert statistics.improvement(ours, ours).value == 0.5
    with pytest.raises(ValueError):
        statistics.improvement(ours, theirs[:1])


@pytest.mark.parametrize("wrong", [[], [np.array([])], [np.zeros((2, 2))]])
def test_no_scores(wrong):
    with pytest.raises(ValueError):
        statistics.aggregates(wrong)


def test_intervals_are_those_of_all_possible_resamples():
    """Two games of three runs: 3^6 equally likely resamples, so the percentiles are known."""
    games = [np.array([0.0, 1.0, 5.0]), np.array([2.0, 2.5, 4.0])]
    every = [
        statistics.iqm([games[0][list(a)], games[1][list(b)]])
        for a in product(range(3), repeat=3)
        for b in product(range(3), repeat=3)
    ]
    found = statistics.aggregates(games, resamples=20_000)["iqm"]
    assert found.low == pytest.approx(np.percentile(every, 2.5), abs=0.05)
    assert found.high == pytest.approx(np.percentile(every, 97.5), abs=0.05)
    assert found == statistics.aggregates(games, resamples=20_000)["iqm"]  # seeded
    wide = statistics.aggregates(games, confidence=0.99, resamples=20_000)["iqm"]
    assert wide.low < found.low and wide.high > found.high


def test_intervals_of_many_runs_of_unequal_numbers_fit_into_memory(monkeypatch):
    rng = np.random.default_rng(0)
    games = [rng.normal(size=n) for n in (5, 7, 8, 9)]
    whole = statistics.aggregates(games, resamples=300)
    monkeypatch.setattr(statistics, "BATCH_NUMBERS", 30_000)  # 2 or 3 resamples at once
    few = statistics.aggregates(games, resamples=300)
    for name, estimate in whole.items():
        assert estimate.low < estimate.value < estimate.high
        assert few[name].low == pytest.approx(estimate.low, abs=0.15)


def equal(scores, wanted):
    """Ours of agent -> (runs, games) beside `rliable_figures.theirs`, to 1e-9."""
    for agent, matrix in scores.items():
        found = statistics.aggregates(columns(matrix), resamples=10)
        for name, estimate in found.items():
            reference = wanted["agents"][agent][name]
            assert estimate.value == pytest.approx(reference, abs=1e-9, rel=0)
            assert estimate.value == getattr(statistics, name)(columns(matrix))
        profile = statistics.profile(columns(matrix), rliable_figures.THRESHOLDS, resamples=10)
        np.testing.assert_allclose(
            profile.share, wanted["agents"][agent]["profile"], rtol=0, atol=1e-9
        )
    pairs = rliable_figures.pairs(scores)
    for (one, other), reference in zip(pairs, wanted["improvement"], strict=True):
        found = statistics.improvement(columns(scores[one]), columns(scores[other]), resamples=10)
        assert found.value == pytest.approx(reference, abs=1e-9, rel=0)


def kept(which):
    return json.loads(rliable_figures.KEPT.read_text(encoding="utf-8"))[which]


def test_made_scores_have_the_figures_that_rliable_found():
    equal(rliable_figures.made(), kept("made"))


def test_published_scores_have_the_figures_that_rliable_found(published):
    assert len(published) == 6 and all(m.shape == (7, 55) for m in published.values())
    equal(published, kept("published"))


def test_point_estimates_equal_rliable(rliable, published):
    for scores in (rliable_figures.made(), published):
        equal(scores, rliable_figures.theirs(scores))


def test_intervals_are_close_to_rliable(rliable):
    """The same method on other random numbers."""
    library, metrics = rliable
    rng = np.random.default_rng(7)
    matrix = rng.lognormal(size=(4, 10))
    other = matrix + rng.normal(0.3, 1, size=matrix.shape)

    def theirs(scores):
        return np.array([
            metrics.aggregate_iqm(scores), metrics.aggregate_median(scores),
            metrics.aggregate_mean(scores), metrics.aggregate_optimality_gap(scores),
        ])  # fmt: skip

    np.random.seed(0)
    _, bounds = library.get_interval_estimates({"a": matrix}, theirs, reps=4000)
    ours = statistics.aggregates(columns(matrix))
    for name, (low, high) in zip(statistics.AGGREGATES, bounds["a"].T, strict=True):
        tolerance = 0.05 * (high - low)
        assert ours[name].low == pytest.approx(low, abs=tolerance)
        assert ours[name].high == pytest.approx(high, abs=tolerance)

    _, bounds = library.get_interval_estimates(
        {"ab": [matrix, other]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), reps=1000,
    )  # fmt: skip
    found = statistics.improvement(columns(matrix), columns(other))
    low, high = bounds["ab"][:, 0]
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))

    thresholds = np.linspace(0, 4, 9)
    _, bands = library.create_performance_profile({"a": matrix}, thresholds, reps=1000)
    drawn = statistics.profile(columns(matrix), thresholds)
    np.testing.assert_allclose([drawn.low, drawn.high], bands["a"], atol=0.03)


def test_estimates_are_plain_numbers():
    found = statistics.aggregates([np.array([1.0, 2.0])], resamples=50)
    assert json.dumps([vars(estimate) for estimate in found.values()])
