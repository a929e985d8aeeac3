"""Reading ahead gives what reading gives, each batch once."""

import pytest

from playground.ahead import Ahead


def test_ahead_reads_each_batch_once_and_goes_anywhere():
    read = []

    def square(n: int) -> int:
        read.append(n)
        return n * n

    ahead = Ahead(square, depth=2)
    assert [ahead.get(n) for n in (0, 1, 2)] == [0, 1, 4]
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
