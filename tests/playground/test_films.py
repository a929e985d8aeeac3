"""Films side by side."""

from pathlib import Path

import numpy as np
import pytest

from playground.errors import UserError
from playground.films import GAP_PX, LABEL_PX, beside
from playground.frames import Frame
from playground.media import PANEL, VideoWriter, read_video


def film(path: Path, greys: list[int]) -> Path:
    with VideoWriter(path, fps=30, scale=1) as sink:
        for grey in greys:
            sink.write(Frame(np.full((48, 64, 3), grey, np.uint8)))
    return path


def test_they_run_in_step_and_the_shorter_one_holds_its_last_picture(tmp_path: Path) -> None:
    short, long = film(tmp_path / "a.mp4", [40, 90]), film(tmp_path / "b.mp4", [200, 150, 100, 50])
    beside({"before": short, "after": long}, tmp_path / "both.mp4")
    frames, fps = read_video(tmp_path / "both.mp4")
    shown = [frame[::2, ::2] for frame in frames]  # a film so low is doubled
    assert fps == 30 and {frame.shape for frame in shown} == {(48 + LABEL_PX, 128 + GAP_PX, 3)}
    left, right = ([frame[LABEL_PX + 20, x, 0] for frame in shown] for x in (32, 64 + GAP_PX + 32))
    np.testing.assert_allclose(left, [40, 90, 90, 90], atol=4)
    np.testing.assert_allclose(right, [200, 150, 100, 50], atol=4)
    names = shown[0][:LABEL_PX]
    assert names[:, :64].max() > 150 and names[:, 64 + GAP_PX :].max() > 150
    assert np.abs(shown[0][LABEL_PX:, 67:69].astype(int) - PANEL).max() < 12  # between them


def test_a_broken_film_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    good = film(tmp_path / "a.mp4", [40, 90])
    (tmp_path / "b.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match=r"b\.mp4 is not a film"):
        beside({"one": good, "two": tmp_path / "b.mp4"}, tmp_path / "both.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
