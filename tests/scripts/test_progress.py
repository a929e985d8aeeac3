"""Lines of progress, and figures in words."""

import os

import pytest

from scripts import progress
from scripts.progress import Line, counted, figure, fitted, time_left


def test_parts_fit_whole_or_not_at_all():
    parts = ["1,000 steps", "123/s", "1:05 h left", "loss 0.0123"]
    assert fitted(parts, 100) == "1,000 steps  123/s  1:05 h left  loss 0.0123"
    assert fitted(parts, 43) == "1,000 steps  123/s  1:05 h left"
    assert fitted(parts, 31) == "1,000 steps  123/s  1:05 h left"
    assert fitted(parts, 30) == "1,000 steps  123/s"
    assert fitted(parts, 4) == "1,00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"), (-20.5, "-20.5"), (999.4, "999"), (999.6, "1,000"),
        (1234.5, "1,234"), (1e6, "1,000,000"), (2.5e-5, "2.5e-05"),
    ],
)  # fmt: skip
def test_large_figures_have_no_exponents(value, text):
    assert figure(value) == text


def test_words():
    assert (time_left(29), time_left(3900)) == ("0:00 h left", "1:05 h left")
    assert (counted(1, "game"), counted(1200, "game")) == ("1 game", "1,200 games")


def test_a_terminals_line_is_renewed_and_ended_once(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((20, 24)))
    with Line() as line:
        line.show(["1 step", "a figure", "another"])
        line.say("a sentence")
        line.show(["2 steps", "evaluated: 1,234.56"], stays=True)
        line.show(["3 steps"])
    found = capsys.readouterr()
    shown = "\r\x1b[K1 step  a figure\n\r\x1b[K2 steps  evaluated: 1,234.56\n\r\x1b[K3 steps\n"
    assert (found.out, found.err) == (shown, "a sentence\n")


def test_a_line_can_be_removed_from_any_stream(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    line = Line(progress.sys.stderr)
    line.show(["1 game"])
    line.remove()
    line.end()
    assert capsys.readouterr() == ("", "\r\x1b[K1 game\r\x1b[K")


def test_elsewhere_each_report_is_a_line(capsys):
    with Line() as line:
        line.show(["1 step", "a figure"])
        line.show(["2 steps"])
    assert capsys.readouterr().out == "1 step  a figure\n2 steps\n"
