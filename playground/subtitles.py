"""Subtitles of a film: sentences, the frames at which they stand, and their file (SubRip, .srt).

A film's writer gathers them from its frames' facts["caption"]; see `media.VideoWriter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from playground.run import atomic_path

SUFFIX = ".srt"


class Line(NamedTuple):
    """A sentence and when it could be read: from frame `start` to before frame `end`."""

    start: int
    end: int
    text: str


def add(lines: list[Line], frame: int, text: str) -> None:
    """Put in what stands at a frame, which comes after all that are in there; "" is nothing."""
    if not text:
        return
    stood = bool(lines) and lines[-1].end == frame and lines[-1].text == text
    lines.append(Line(lines.pop().start if stood else frame, frame + 1, text))


def subtitles(lines: Sequence[Line], fps: float) -> str:
    """The text of their file."""

    def stamp(frame: int) -> str:
        thousandths = round(1000 * frame / fps)
        minutes, rest = divmod(thousandths, 60_000)
        return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"

    parts = [
        f"{number}\n{stamp(line.start)} --> {stamp(line.end)}\n{line.text}\n"
        for number, line in enumerate(lines, 1)
    ]
    return "\n".join(parts)


def write(path: Path, lines: Sequence[Line], fps: float) -> None:
    """The file, atomically."""
    with atomic_path(path) as aside:
        aside.write_text(subtitles(lines, fps), encoding="utf-8", errors="backslashreplace")


def beside(film: Path) -> Path:
    """Where a film's subtitles lie, and players look for them."""
    return film.with_suffix(SUFFIX)
