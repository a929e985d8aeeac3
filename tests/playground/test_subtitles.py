"""Subtitles: sentences gathered from frames, their file."""

from pathlib import Path

import numpy as np
import pytest

from playground.frames import Frame
from playground.media import VideoWriter
from playground.subtitles import Line, add, beside, subtitles

STOPS = {"stop": KeyboardInterrupt, "break": ZeroDivisionError}


def test_they_are_numbered_and_timed() -> None:
    text = subtitles([Line(0, 90, "One."), Line(60 * 61, 60 * 3700, "둘.")], 60)
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n00:01:01,000 --> 01:01:40,000\n둘.\n"
    )


def test_what_stands_at_frames_becomes_lines() -> None:
    lines: list[Line] = []
    for frame, text in enumerate(["", "a", "a", "b", "", "b", ""]):
        add(lines, frame, text)
    assert lines == [Line(1, 3, "a"), Line(3, 4, "b"), Line(5, 6, "b")]


def test_a_film_of_frames_with_captions_has_them_beside_it(tmp_path: Path) -> None:
    def record(name: str, captions: list[str]) -> None:
        with VideoWriter(tmp_path / name, 10) as film:
            for text in captions:
                film.write(Frame(np.zeros((8, 8, 3), np.uint8), facts={"caption": text}))
                if text in STOPS:
                    raise STOPS[text]

    record("silent.mp4", ["", ""])
    assert not beside(tmp_path / "silent.mp4").exists()
    with pytest.raises(KeyboardInterrupt):
        record("a.b.mp4", ["", "One.", "stop"])
    assert (tmp_path / "a.b.srt").read_text("utf-8") == (
        "1\n00:00:00,100 --> 00:00:00,200\nOne.\n\n2\n00:00:00,200 --> 00:00:00,300\nstop\n"
    )
    with pytest.raises(ZeroDivisionError):
        record("broken.mp4", ["One.", "break"])
    assert not (tmp_path / "broken.srt").exists()
