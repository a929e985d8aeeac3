"""When to log, save and end; alone here, several processes are in test_ranks."""

from typing import Any

import pytest

from playground import agenda, ranks
from playground.agenda import Agenda


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(agenda, "time", clock)
    return clock


def test_clocks(clock: Clock) -> None:
    it = Agenda(hours=1.0, log_seconds=10.0, checkpoint_minutes=1.0)
    assert it.meet(False) == (False, False)
    clock.now += 10
    assert it.meet(False) == (True, False) and it.logged() == 10
    clock.now += 50
    assert it.meet(False) == (True, True)
    it.saved()
    assert it.logged() == 50 and it.meet(False) == (False, False) and it.end is None
    assert it.eta(None) == 3540 and it.eta(100.0) == 100 and it.eta(5000.0) == 3540
    clock.now += 3540
    it.meet(False)
    assert it.end == "hours"
    it.begin()
    assert it.end is None and it.meet(False) == (False, False)


def test_evaluating_and_saving_stop_the_clock_of_logs(clock: Clock) -> None:
    it = Agenda(None, log_seconds=10.0, checkpoint_minutes=None)
    clock.now += 5
    with pytest.raises(KeyboardInterrupt), it.aside():
        clock.now += 15
        raise KeyboardInterrupt
    assert it.meet(False) == (False, False)  # five seconds of training so far
    assert it.eta(100.0) == 400  # of which a quarter of the time was training
    clock.now += 5
    assert it.meet(False) == (True, False) and it.logged() == 10
    assert it.eta(None) is None
    it.begin()
    assert it.eta(100.0) == 100


def test_the_task_asks_and_a_refusal_is_not_repeated_at_once(clock: Clock) -> None:
    it = Agenda(None, 10.0, None)
    assert it.meet(True) == (False, True)
    it.saved(again_in=5.0)
    assert it.meet(True) == (False, False)
    clock.now += 5
    assert it.meet(True) == (False, True)


def test_a_save_that_was_refused_is_tried_again_soon(clock: Clock) -> None:
    it = Agenda(None, 10.0, checkpoint_minutes=10.0)
    clock.now += 600
    assert it.meet(False) == (True, True)
    it.saved(again_in=10.0)
    clock.now += 9
    assert not it.meet(False)[1]
    clock.now += 1
    assert it.meet(False)[1]
    it.saved()
    clock.now += 599
    assert not it.meet(False)[1]


def test_several_meet_after_rounds_that_all_know(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[list[int]] = []

    def largest(numbers: list[int]) -> list[int]:
        met.append(numbers)
        return numbers

    monkeypatch.setattr(ranks, "largest", largest)
    monkeypatch.setattr(ranks, "_world", 2)
    it = Agenda(None, 10.0, None)
    rounds_between, since = [], 0
    for _ in range(200):
        clock.now += 0.01
        since += 1
        before = len(met)
        it.meet(False)
        if len(met) > before:
            rounds_between.append(since)
            since = 0
    assert rounds_between[:5] == [1, 2, 4, 8, 16]
    assert set(rounds_between[6:]) <= {19, 20}  # 0.2 seconds
    it.stop = "stopped"
    while it.end is None:
        assert it.meet(False) == (False, False)
    assert it.end == "stopped"


def test_an_interruption_counts_more_than_the_clock(clock: Clock) -> None:
    it: Any = Agenda(1.0, 10.0, None)
    it.stop = "interrupted"
    clock.now += 3600
    it.meet(False)
    assert it.end == "interrupted"
