"""What captions are worth."""

import random
from itertools import islice

import pytest

from agents.commentary import comment, describe, examples, judge
from agents.commentary.clips import USUAL
from agents.commentary.merits import COMMENTED, DESCRIBED, commented, described
from agents.commentary.speech import words_of

GAMES = ("pong", "space_invaders")


@pytest.fixture(scope="module")
def truths():
    """Of clips and of their last frames alone."""
    found = [e for game in GAMES for e in islice(examples(game, 1, roster=USUAL[:1]), 6)]
    return [truth for each in found for truth in (each.truth, each.still().truth)]


@pytest.fixture(scope="module")
def pong(truths):
    """A clip of Pong before the first point."""
    found = next(truth for truth in truths if truth.game == "pong")
    assert found.answers()["green points", "is"] == found.answers()["orange points", "is"] == 0
    return found


def test_a_true_and_full_description_is_worth_1(truths):
    rng = random.Random(0)
    assert [described(describe(truth, rng), truth) for truth in truths] == [1.0] * len(truths)


def test_what_is_left_out_is_lost_and_what_is_false_costs_more(pong):
    main = len(pong.main)
    told = "The paddles are tied at 0."
    assert len(judge(told, pong).mentioned) == 2
    assert described(told, pong) == pytest.approx(2 / main)
    lie = "The green paddle has 7 points and the orange paddle has 9."
    assert len(judge(lie, pong).false) == 2
    assert described(lie, pong) == pytest.approx(-2 * DESCRIBED / main)
    assert described(f"{told} {lie}", pong) == pytest.approx((2 - 2 * DESCRIBED) / main)
    assert described(f"{told} Elephants.", pong) == pytest.approx((2 - DESCRIBED) / main)
    assert described("", pong) == 0


def test_the_most_urgent_comment_is_worth_1_and_others_less(truths):
    rng = random.Random(0)
    for truth in truths:
        answers = truth.answers()
        fitting = [c for c in words_of(truth.game).commenting if c.states(answers) is not None]
        most = max(clause.urgency for clause in fitting)
        for clause in fitting:
            text = f"{clause.say(answers, rng).text}."
            assert 2.0 ** (clause.urgency - most) <= commented(text, truth) <= 1
        assert max(commented(f"{c.say(answers, rng).text}.", truth) for c in fitting) == 1
        assert 0 < commented(comment(truth, rng), truth) <= 1
        assert commented("Hello.", truth) == -COMMENTED


def test_a_false_comment_loses(pong):
    assert commented("The paddles are tied at 7.", pong) <= -2 * COMMENTED
