"""What captions are worth."""

import random
from itertools import islice

import pytest

from agents.commentary import comment, describe, examples, judge
from agents.commentary.clips import USUAL
from agents.commentary.merits import COMMENTED, DESCRIBED, MISSED, commented, described
from agents.commentary.speech import words_of
from agents.commentary.table import CHANGES, Statement, Truth

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
        news = [c for c in fitting if {relation for _, relation in c.questions} & {*CHANGES}]
        for clause in fitting:
            text = f"{clause.say(answers, rng).text}."
            missed = MISSED if news and clause not in news else 0
            assert 2.0 ** (clause.urgency - most) - missed <= commented(text, truth) <= 1 - missed
        assert max(commented(f"{c.say(answers, rng).text}.", truth) for c in fitting) == 1
        assert -MISSED * bool(news) < commented(comment(truth, rng), truth) <= 1
        assert commented("Hello.", truth) == -COMMENTED - MISSED * bool(news)


def test_who_is_silent_about_a_point_loses():
    said = frozenset([Statement("lives", "falls by", 1), Statement("ball", "is", "absent")])
    truth = Truth("breakout", said, said, frozenset())
    urgent, other = "A life is lost!", "The next ball is still to come."
    assert (
        commented(urgent, truth) == 1 and judge(other, truth).true and not judge(other, truth).false
    )
    assert -MISSED < commented(other, truth) < -MISSED + 0.1
    calm = Truth("breakout", said - {Statement("lives", "falls by", 1)}, said, frozenset())
    assert commented(other, calm) == 1


def test_a_false_comment_loses(pong):
    assert commented("The paddles are tied at 7.", pong) <= -2 * COMMENTED
