"""Where a replay keeps its frames: as they are, or each compressed without loss.

A store holds ``rows`` frames of ``size`` bytes; row ``rows`` is a frame of zeros that is never
written. Both kinds give the same bytes, so a training learns the same with either.

`PackedFrames` compresses each frame alone by LZ4 (fast mode), so that any row is read without its
neighbours: 2 to 8 microseconds to write a frame of a game, 2 to 4 to read it. How small it gets is
the game's: 0.3 KB in Pong, 0.4 in Breakout, 0.8 in Seaquest, 1.8 in Ms. Pac-Man, of 7.1
(`scripts/benchmarks/replay_compression.py`). zlib and Zstandard make frames smaller by a fifth to a
third and take 2 to 5 times as long to read them.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

POINTER_BYTES = 8  # of a row, in the list of frames


class PlainFrames:
    """Frames as they are: one tensor ``pixels``, (rows + 1, size) uint8."""

    def __init__(self, rows: int, size: int) -> None:
        # NumPy's memory, as torch.empty fills all of it in deterministic mode.
        self.pixels = torch.from_numpy(np.empty((rows + 1, size), np.uint8))
        self.pixels[rows].zero_()

    @property
    def nbytes(self) -> int:
        """Bytes of main memory."""
        return self.pixels.numel()

    def write(self, first: int, frames: np.ndarray) -> None:
        """Put (M, size) uint8 into the rows from ``first`` on."""
        self.pixels[first : first + len(frames)] = torch.from_numpy(frames)

    def read(self, rows: np.ndarray) -> Tensor:
        """(M,) rows -> (M, size) uint8, a copy."""
        return self.pixels.index_select(0, torch.from_numpy(rows))

    def saved(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What a file keeps of (M,) rows."""
        return {"frames": self.pixels.numpy()[rows]}

    def restore(self, rows: np.ndarray, saved: dict[str, np.ndarray]) -> None:
        """Put what ``saved`` gave into (M,) rows."""
        self.pixels[torch.from_numpy(rows)] = torch.from_numpy(saved["frames"])


class PackedFrames:
    """Frames compressed one by one; ``packed`` has each row's bytes, at first those of zeros."""

    def __init__(self, rows: int, size: int) -> None:
        import lz4.block as codec  # type: ignore[import-untyped]  # here only, of all modules

        self._codec, self.size = codec, size
        self.packed: list[bytes] = [self._pack(np.zeros(size, np.uint8))] * (rows + 1)
        self._bytes = POINTER_BYTES * (rows + 1)

    @property
    def nbytes(self) -> int:
        """Bytes of main memory, those of Python's objects included."""
        return self._bytes

    @property
    def pixels(self) -> Tensor:
        """All rows, (rows + 1, size) uint8: a copy as large as the plain store."""
        return self.read(np.arange(len(self.packed)))

    def _pack(self, frame: np.ndarray) -> bytes:
        return self._codec.compress(frame, store_size=False)

    def _put(self, row: int, packed: bytes) -> None:
        blank = self.packed[-1]
        if (before := self.packed[row]) is not blank:
            self._bytes -= sys.getsizeof(before)
        self._bytes += sys.getsizeof(packed)
        self.packed[row] = packed

    def write(self, first: int, frames: np.ndarray) -> None:
        """Put (M, size) uint8 into the rows from ``first`` on."""
        for place, frame in enumerate(frames):
            self._put(first + place, self._pack(np.ascontiguousarray(frame)))

    def read(self, rows: np.ndarray) -> Tensor:
        """(M,) rows -> (M, size) uint8. Rows named several times are decompressed once."""
        each, place = np.unique(rows, return_inverse=True)
        unpack, packed, size = self._codec.decompress, self.packed, self.size
        frames = [unpack(packed[row], size) for row in each.tolist()]
        joined = bytearray().join([frames[k] for k in place.tolist()])
        return torch.frombuffer(joined, dtype=torch.uint8).view(len(rows), size)

    def saved(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What a file keeps of (M,) rows: their bytes one after another, and how many each has."""
        packed = [self.packed[row] for row in rows.tolist()]
        lengths = np.array([len(one) for one in packed], np.int32)
        return {"packed": np.frombuffer(b"".join(packed), np.uint8), "lengths": lengths}

    def restore(self, rows: np.ndarray, saved: dict[str, np.ndarray]) -> None:
        """Put what ``saved`` gave into (M,) rows.

        Raises ValueError for bytes that are no frame, before a training meets them.
        """
        content, ends = saved["packed"].tobytes(), np.cumsum(saved["lengths"], dtype=np.int64)
        begins = ends - saved["lengths"]
        for row, begin, end in zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True):
            packed = content[begin:end]
            try:
                whole = len(self._codec.decompress(packed, self.size)) == self.size
            except self._codec.LZ4BlockError:
                whole = False
            if not whole:
                raise ValueError("its frames are damaged")
            self._put(row, packed)
