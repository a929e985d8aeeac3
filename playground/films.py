"""Films made of films."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from playground.frames import Frame
from playground.media import PANEL, VideoWriter, draw_text, read_video, text_width

LETTERS_PX, LABEL_PX = 16, 26  # of the names, and of the row that they stand in
GAP_PX = 8  # between two films


def beside(films: Mapping[str, Path], out: Path) -> None:
    """Write films of one height beside each other and in step, each below its name, the key.

    They run at the first one's rate; a shorter one holds its last picture. UserError where one
    cannot be read or `out` not be written.
    """
    with ExitStack() as stack:
        streams, rates = [], []
        for path in films.values():
            stream, fps = read_video(path)
            stack.callback(stream.close)  # type: ignore[attr-defined]
            streams.append(stream)
            rates.append(fps)
        sink = stack.enter_context(VideoWriter(out, fps=rates[0]))
        names: np.ndarray | None = None
        for pictures in _in_step(streams):
            if names is None:
                names = _row([_label(*pair) for pair in zip(films, pictures, strict=True)])
            sink.write(Frame(np.concatenate([names, _row(pictures)])))


def _in_step(streams: Sequence[Iterator[np.ndarray]]) -> Iterator[Sequence[np.ndarray]]:
    """One picture of each, until the longest one ends."""
    shown: Any = [None] * len(streams)
    for found in zip_longest(*streams):
        shown = [old if new is None else new for old, new in zip(shown, found, strict=True)]
        yield shown


def _row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W, 3) each -> side by side, with gaps between them."""
    gap = np.full((len(pictures[0]), GAP_PX, 3), PANEL, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _label(name: str, picture: np.ndarray) -> np.ndarray:
    """(LABEL_PX, W, 3): the name, above the middle of the picture (H, W, 3)."""
    width = picture.shape[1]
    left = (width - text_width(name, LETTERS_PX)) // 2
    empty = np.full((LABEL_PX, width, 3), PANEL, np.uint8)
    return draw_text(empty, name, (max(0, left), 3), LETTERS_PX)
