"""Reading data in a thread, ahead of its use."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """Reads the batches of the next updates in a thread while this one's is learned from.

    `read` is a pure function of the update, so nothing here needs to be saved.
    """

    def __init__(self, read: Callable[[int], Any], depth: int = 2) -> None:
        self._read, self._depth = read, depth
        self._pool = ThreadPoolExecutor(1)
        self._coming: dict[int, Future[Any]] = {}

    def get(self, update: int) -> Any:
        """What `read(update)` gives."""
        wanted = range(update, update + 1 + self._depth)
        self._coming = {n: self._coming.get(n) or self._pool.submit(self._read, n) for n in wanted}
        return self._coming.pop(update).result()

    def forget(self) -> None:
        """Read anew what was read already, as `read` gives something else now."""
        self._coming = {}

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(cancel_futures=True)
