"""Lines of a command's progress, renewed on a terminal; and their figures in words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Self, TextIO


class Line:
    """One line on a stream that each report renews; elsewhere than on a terminal, a line a report.

    As a context it ends with the block.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self.live = self._stream.isatty()
        self._open = False  # whether the terminal's cursor stands at its end

    def show(self, parts: Sequence[str], stays: bool = False) -> None:
        """The parts that fit, the most wanted first; what `stays` is whole, and never renewed."""
        text = "  ".join(parts) if stays or not self.live else fitted(parts, room())
        self._open = self.live and not stays
        self._put(("\r\x1b[K" if self.live else "") + text + ("" if self._open else "\n"))

    def say(self, text: str) -> None:
        """A sentence of its own, to stderr."""
        self.end()
        print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave it standing: what is printed next begins under it."""
        if self._open:
            self._open = False
            self._put("\n")

    def remove(self) -> None:
        """Leave nothing of it."""
        if self._open:
            self._open = False
            self._put("\r\x1b[K")

    def _put(self, text: str) -> None:
        print(text, end="", file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def room() -> int:
    """Columns of the terminal, but for the cursor's."""
    return shutil.get_terminal_size().columns - 1


def fitted(parts: Sequence[str], columns: int) -> str:
    """The first parts that fit into so many columns, each whole; only the first may be cut."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > columns:
            break
        line += f"  {part}"
    return line[:columns]


def counted(number: int, thing: str) -> str:
    """The number of things, in words."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def figure(value: float) -> str:
    """A number at a length for such lines: 1,234 or 0.0123 or 2.5e-05."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def time_left(seconds: float) -> str:
    """The time that is left, in whole minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h left"
