"""Frames and how they flow: a source yields them, filters change them, sinks take them.

A source is any iterator of frames (a game, a training's pictures), a filter any function from
frame to frame (an overlay, a painter), a sink whatever shows or stores them (a window, a film).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np


@dataclass(frozen=True)
class Box:
    """A named rectangle in a frame: pixels, origin at the top left."""

    name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """One picture, (H, W, 3) uint8 RGB, with what is known about it.

    `text` is a sentence for the viewer, `facts` are figures (score, Q-values), `boxes` objects.
    Filters make new frames (`dataclasses.replace`) and never write into the pixels of old ones.
    """

    pixels: np.ndarray
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or not all(shape) or dtype != np.uint8:
            raise ValueError(f"a frame's pixels are (H, W, 3) uint8, not {shape} {dtype}")

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]


class Sink(Protocol):
    """Takes frames. Used in a `with` block, or closed by `close()`."""

    def write(self, frame: Frame) -> bool | None:
        """Take one frame. False means that the viewer asked to stop."""

    def close(self) -> None:
        """Finish. Called again, it does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


Source = Iterator[Frame]
Filter = Callable[[Frame], Frame]


def pump(
    source: Iterable[Frame], filters: Sequence[Filter] = (), sinks: Sequence[Sink] = ()
) -> int:
    """Draw frames through the filters into every sink; returns how many were written.

    Ends with the source, or after the frame at which a sink answered False. The sequences are read
    anew for every frame, so a list may grow or shrink meanwhile (a recording starts). Neither the
    source nor the sinks are closed: they belong to the caller.
    """
    written = 0
    for frame in source:
        for change in tuple(filters):
            frame = change(frame)
        answers = [sink.write(frame) for sink in tuple(sinks)]  # all of them get the last frame
        written += 1
        if any(answer is False for answer in answers):
            break
    return written


def scale(n: int) -> Filter:
    """A filter that enlarges frames `n` times (nearest neighbour), boxes included."""
    if n < 1:
        raise ValueError(f"a scale is a whole number from 1, not {n}")

    def enlarge(frame: Frame) -> Frame:
        boxes = tuple(
            Box(box.name, box.x * n, box.y * n, box.width * n, box.height * n)
            for box in frame.boxes
        )
        return replace(frame, pixels=frame.pixels.repeat(n, axis=0).repeat(n, axis=1), boxes=boxes)

    return enlarge
