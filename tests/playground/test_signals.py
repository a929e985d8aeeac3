"""Which signals ask, which break in, and which are left alone."""

import os
import signal
from collections.abc import Iterator

import pytest

from playground import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were, whatever a test does to them."""
    before = {number: signal.getsignal(number) for number in signals.NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_the_first_asks_and_the_second_breaks_in(capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt), signals.caught(lambda: asked.append(1) or "Saving."):
        send(signal.SIGTERM)
        assert asked == [1] and "Saving." in capfd.readouterr().err
        send(signal.SIGINT)
    assert asked == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_hangups_count_once() -> None:
    asked: list[int] = []
    with signals.caught(lambda: asked.append(1) or ""):
        send(signal.SIGHUP, signal.SIGHUP, signal.SIGHUP)
    with signals.caught(lambda: asked.append(2) or ""):
        send(signal.SIGINT, signal.SIGHUP)
    with signals.caught(lambda: asked.append(3) or ""):
        send(signal.SIGHUP, signal.SIGTERM, signal.SIGHUP)  # a machine that is shut down
    assert asked == [1, 2, 3]
    with pytest.raises(KeyboardInterrupt), signals.caught(lambda: ""):
        send(signal.SIGHUP, signal.SIGTERM, signal.SIGTERM)


def test_who_reads_no_more_is_forgotten() -> None:
    reader, writer = os.pipe()
    assert not signals._is_forsaken(writer)
    os.close(reader)
    assert signals._is_forsaken(writer)
    os.close(writer)
    with open(os.devnull, "w") as nowhere:
        assert signals._is_forsaken(nowhere.fileno())


def test_what_is_ignored_stays_so() -> None:
    """As under `nohup`, and in the background of a script."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked: list[int] = []
    with signals.caught(lambda: asked.append(1) or ""):
        send(signal.SIGHUP, signal.SIGINT)
        assert not asked
        send(signal.SIGTERM)
    assert asked == [1] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
