"""Ctrl-C and its like: the first asks politely, the second breaks in."""

import contextlib
import os
import select
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

HANGUP = getattr(signal, "SIGHUP", None)  # comes when a terminal closes; Windows has none
NUMBERS = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]


@contextlib.contextmanager
def caught(asked: Callable[[], str]) -> Iterator[None]:
    """While it lasts, the first SIGINT, SIGTERM or SIGHUP calls `asked()`, and its answer is shown.

    A second one raises KeyboardInterrupt; but a terminal that closes sends SIGHUP, so does its
    shell, and whoever ends them may send SIGTERM then: that counts once. What is ignored stays so,
    as `nohup` and scripts have it. Outside the main thread nothing is caught, as Python delivers
    signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if number == HANGUP:
            forget_readers()
        elif before and before != [HANGUP]:
            raise KeyboardInterrupt
        first = not before
        if first or before == [HANGUP]:
            before.append(number)
        if first and (text := asked()):
            # Not `print`: a signal may come in the midst of one, which cannot be entered twice.
            with contextlib.suppress(OSError):
                os.write(2, f"\n{text}\n".encode())

    heard = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def surviving(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same, without failing where nobody is left who reads: a terminal closed, a pipe ended."""

    def told(what: Any) -> None:
        try:
            tell(what)
        except OSError:
            forget_readers()

    return told


def forget_readers() -> None:
    """Where nobody reads any more, as a terminal has closed or a pipe's reader has gone, what is
    still printed goes nowhere instead of failing.
    """
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if _is_forsaken(number):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


def _is_forsaken(number: int) -> bool:
    """Whether a file is a terminal that has closed, or a pipe that nobody reads."""
    mode = os.fstat(number).st_mode
    if stat.S_ISCHR(mode):  # or a device such as os.devnull
        return not os.isatty(number)
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
