"""A panel of what there is to see at each evaluation, for the run's gallery and TensorBoard.

The first pictures of `task.frames()`, always the same inputs as far as the task goes, so that the
panels of a run show how it learned. A task whose neighbouring frames look alike (a game) says by
`panel_stride: int` to take every so-manieth.
"""

import contextlib
from itertools import islice
from typing import Any

import numpy as np

from playground.gallery import contact_sheet
from playground.media import write_image
from playground.run import Run

PICTURES, COLUMNS = 16, 4
SMALLEST_PX = 96  # narrower pictures are enlarged, so that the words below them can be read


def keep(task: Any, run: Run, step: int) -> None:
    """Draw the panel and keep it as the run's picture of `step`.

    Nothing where the task shows nothing, or the run keeps nothing.
    """
    pixels = draw(task) if run.writes else None
    if pixels is not None:
        write_image(run.panel(step), pixels)
        run.picture(step, "panel", pixels)


def draw(task: Any) -> np.ndarray | None:
    """(H, W, 3) uint8: the pictures in rows, what each frame says below it; None without frames."""
    stride = getattr(task, "panel_stride", 1)
    frames = task.frames()
    shown = list(islice(frames, 0, (PICTURES - 1) * stride + 1, stride))
    with contextlib.suppress(AttributeError):
        frames.close()  # what a generator holds open, an emulator
    if not shown:
        return None
    times = max(1, SMALLEST_PX // max(frame.width for frame in shown))
    pictures = [frame.pixels.repeat(times, 0).repeat(times, 1) for frame in shown]
    texts = [frame.text for frame in shown]
    return contact_sheet(pictures, COLUMNS, texts if any(texts) else None)
