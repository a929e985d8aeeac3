"""Reading ahead gives what reading gives, each batch once."""

import threading

import pytest

from playground.ahead import Ahead


def test_ahead_reads_each_batch_once_and_goes_anywhere():
    read = []
    after = [threading.Event() for _ in range(20)]

    def square(n: int) -> int:
        read.append(n)
        after[n].set()
        return n * n

    ahead = Ahead(square, depth=2)
    assert ahead.get(0) == 0
    assert after[2].wait(60)  # though nobody asked for it yet
    assert [ahead.get(n) for n in (1, 2)] == [1, 4]
    assert ahead.get(9) == 81 and ahead.get(3) == 9
    ahead.forget()
    ahead.close()
    assert [read.count(n) for n in (0, 1, 2)] == [1, 1, 1]
    assert set(read) <= {0, 1, 2, 3, 4, 5, 9, 10, 11}


def test_what_reading_raises_comes_with_its_batch():
    def fail(n: int) -> int:
        if n == 1:
            raise OSError("gone")
        return n

    ahead = Ahead(fail)
    assert ahead.get(0) == 0
    with pytest.raises(OSError, match="gone"):
        ahead.get(1)
    ahead.close()
