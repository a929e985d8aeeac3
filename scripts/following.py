"""A window beside a training: the newest agent of a DQN, or the newest panel of any other task."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from playground import window
from playground.errors import UserError
from playground.frames import Frame
from playground.media import read_image, side_panel
from playground.run import Run

SCRIPT = Path(__file__).with_name("play.py")
POLL_SECONDS = 2.0  # between two looks at the run
COLUMN_PX, LETTERS_PX = 230, 12  # of the figures beside the panel
EMPTY = (640, 560)  # pixels high and wide, before the first evaluation


WATCH_NEEDS = (
    "--watch needs a display; leave it out: each evaluation leaves a film or a picture in the "
    "run's folder."
)


def need_display(why: str = WATCH_NEEDS) -> None:
    """UserError, in these words, where no window can be opened."""
    try:
        window.Window("playground").close()
    except UserError:
        raise UserError(why) from None


@contextmanager
def viewer(run: Run, wanted: bool) -> Iterator[None]:
    """A window on the run in a process of its own, which lowers its own priority."""
    if not wanted:
        yield
        return
    command = [sys.executable, str(SCRIPT), "watch", "--agent", str(run.path), "--follow"]
    process: Any = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def lower_priority() -> None:
    """The training beside this process shall hardly notice it."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(15)


def show(run: Run, scale: int | None) -> None:
    """The run's newest panel in a window until the user quits. UserError without a display."""
    title = f"playground: {run.name}"
    with window.Window(title, fps=5, scale=scale, shown=("esc",)) as screen:
        lower_priority()
        frames = newest(run)
        while screen.write(next(frames)):
            screen.poll()


def newest(run: Run) -> Iterator[Frame]:
    """Endless: the run's newest panel beside its newest figures, renewed as they change."""
    seen: tuple[Any, ...] = ()
    frame = _frame(run, None)
    looked = -POLL_SECONDS
    while True:
        if time.monotonic() - looked >= POLL_SECONDS:
            looked = time.monotonic()
            panel = max(run.gallery.glob("panel-*.png"), default=None)
            with suppress(OSError, UserError):  # a file that a resumed training takes back
                size = (run.path / "metrics.jsonl").stat().st_size
                if (panel, size) != seen:
                    frame, seen = _frame(run, panel), (panel, size)
        yield frame


def _frame(run: Run, panel: Path | None) -> Frame:
    figures: dict[str, Any] = {}
    for line in run.metrics():
        figures |= line
    unit = run.settings.get("unit", "steps")
    words = [run.name, "", f"{figures.pop('step', 0):,} {unit}"]
    figures.pop("time", None)
    words += [f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, int | float)]
    if panel is None:
        pixels = np.zeros((*EMPTY, 3), np.uint8)
        words += ["", "The first evaluation", "brings pictures."]
    else:
        pixels = read_image(panel)
    column = side_panel(pixels.shape[0], COLUMN_PX, words, size=LETTERS_PX)
    return Frame(np.concatenate([pixels, column], 1), text=" ".join(words[2:3]))
