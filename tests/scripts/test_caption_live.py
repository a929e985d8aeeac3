"""The benchmark of the commentator: which facts are news, what is stale, and its figures."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from agents.commentary import Statement
from agents.screen import watch
from scripts.benchmarks.caption_live import Line, Past, figures, heard, is_stale, is_state


def fact(relation, value="x"):
    return Statement("ball", relation, value)


def test_what_happens_is_no_state():
    states = ("is", "row", "x motion", "column from paddle", "distance to paddle", "count")
    assert all(is_state(fact(relation)) for relation in states)
    assert not any(is_state(fact(way)) for way in ("rises by", "appears", "bounces off"))


def line(text="A", true=(), upon=False, stood=None, frames=60):
    return Line(
        text, frozenset([fact("is"), fact("row")]), frozenset(true), upon, frames, stood or {}
    )


def test_stale_is_what_was_true_and_is_not_for_half_of_the_time():
    looks = {fact("is"): [True, False, False], fact("row"): [True, True, False]}
    assert is_stale(line(true=[fact("is")], stood=looks))
    assert not is_stale(line(true=[fact("row")], stood=looks))
    assert not is_stale(line(stood=looks))  # it was false from the first


def test_figures_by_hand():
    change = Statement("score", "rises by", 1)
    film = [
        line("A", [fact("is"), fact("row")], stood={fact("is"): [True, False]}),
        line("B", [fact("is")], upon=True),
        line("A", [change], upon=True, frames=120),
    ]
    found = {name: value for name, (value, _, _) in figures([film, [line("A")]]).items()}
    assert found["said"] == pytest.approx(100 * 4 / 8)
    assert found["news"] == pytest.approx(50) and found["standing"] == pytest.approx(50)
    assert found["stale"] == pytest.approx(25) and found["seconds"] == pytest.approx(1.25)
    assert found["other"] == pytest.approx(75)  # another film's A is no repetition


class Oracle:
    """A commentator that says one sentence throughout."""

    def see(self, frame):
        frame.facts["caption"] = "This is Pong. Orange is ahead 1 to 0."
        return frame


class Still:
    """An agent that does nothing."""

    def q_values(self, obs):
        return np.array([[1.0, 0, 0, 0, 0, 0]])


def test_a_film_is_heard_from_its_first_clip_on():
    (said,), shown = heard(Oracle(), Still(), "pong", 5.0)
    assert shown == 1.0 and said.frames == 300
    looks = said.stood[Statement("orange points", "is", 1)]
    assert looks[0] is False and True in looks and len(looks) == (300 - 15) // 5
    assert all(said.stood[Statement("game", "is", "pong")])


def test_no_clip_reaches_into_another_episode():
    past, frames = Past("pong"), list(islice(watch(Still(), "pong"), 20))
    for frame in frames[:16]:
        assert past.truth() is None
        past.see(frame)
    assert past.truth().game == "pong"
    past.see(replace(frames[16], facts={**frames[16].facts, "episode": 1}))
    assert past.truth() is None
