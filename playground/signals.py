"""Ctrl-C and its like: the first asks politely, the second breaks in."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

# The last comes when a terminal closes; Windows has none.
NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextlib.contextmanager
def caught(asked: Callable[[], str]) -> Iterator[None]:
    """While it lasts, the first SIGINT, SIGTERM or SIGHUP calls `asked()`, and its answer is shown.

    A second one raises KeyboardInterrupt. Outside the main thread nothing is caught, as Python
    delivers signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if before:
            raise KeyboardInterrupt
        before.append(number)
        if text := asked():
            # Not `print`: a signal may come in the midst of one, which cannot be entered twice.
            os.write(2, f"\n{text}\n".encode())

    old = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
