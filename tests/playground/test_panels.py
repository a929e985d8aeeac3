"""What there is to see, at each evaluation, in the gallery and in TensorBoard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from playground import panels
from playground.frames import Frame
from playground.media import read_image
from playground.run import Run


class Shades(nn.Module):
    """Frames that get lighter; counts how many were asked for, and whether it was closed."""

    def __init__(self, count: int, size: int = 8) -> None:
        super().__init__()
        self.count, self.size, self.asked, self.closed = count, size, 0, False

    def frames(self) -> Iterator[Frame]:
        try:
            for shade in range(self.count):
                self.asked += 1
                pixels = np.full((self.size, self.size, 3), 10 * shade % 256, np.uint8)
                yield Frame(pixels, f"shade {shade}")
        finally:
            self.closed = True


def centres(panel: np.ndarray, cell: int) -> list[int]:
    """The shades of the first row of pictures, cells of `cell` pixels with 4 around them."""
    return [int(panel[4 + cell // 2, 4 + x * (cell + 4) + cell // 2, 0]) for x in range(4)]


@pytest.mark.parametrize(("stride", "shades", "asked"), [(1, 10, 16), (3, 30, 46)])
def test_the_first_frames_at_a_stride(stride: int, shades: int, asked: int) -> None:
    task = Shades(100, size=96)
    task.panel_stride = stride
    panel = panels.draw(task)
    assert panel is not None
    assert centres(panel, 96)[:2] == [0, shades % 256]
    assert task.asked == asked and task.closed


def test_small_pictures_are_enlarged_and_named() -> None:
    panel = panels.draw(Shades(5, size=8))
    assert panel is not None and panel.shape[1] == 4 + 4 * 100
    assert centres(panel, 96) == [0, 10, 20, 30]
    assert panel[102:114].max() > 150  # letters


def test_nothing_to_see() -> None:
    class Blind(nn.Module):
        def frames(self) -> Iterator[Any]:
            return iter(())

    assert panels.draw(Blind()) is None


def test_a_run_keeps_each_panel_until_it_goes_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run.create(tmp_path, "shades", "a", {})
    for step in (5, 20, 100):
        panels.keep(Shades(3), run, step)
    run.close()
    names = ["panel-0000000005.png", "panel-0000000020.png", "panel-0000000100.png"]
    assert sorted(path.name for path in run.gallery.iterdir()) == names
    drawn = panels.draw(Shades(3))
    assert drawn is not None
    np.testing.assert_array_equal(read_image(run.panel(20)), drawn)
    board = EventAccumulator(str(run.path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Images("panel")] == [5, 20, 100]
    run.rewind(20)
    assert sorted(path.name for path in run.gallery.iterdir()) == names[:2]
