"""Both stores of frames hold the same bytes; the compressed one counts what it takes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from agents.frame_store import PackedFrames, PlainFrames

ROWS, SIZE = 40, 84 * 84
Store = PlainFrames | PackedFrames


def screens(n: int) -> np.ndarray:
    """(n, 7056) uint8 like a game's: even ground, a bar and a dot that move."""
    found = np.full((n, 84, 84), 87, np.uint8)
    for k in range(n):
        found[k, 20 + k % 40 : 30 + k % 40, 4:6] = 147
        found[k, 3 * k % 80, 5 * k % 80] = 236
    return found.reshape(n, SIZE)


@pytest.mark.parametrize("kind", [PlainFrames, PackedFrames])
def test_any_rows_come_back_in_any_order(kind: type[Store]) -> None:
    store, frames = kind(ROWS, SIZE), screens(30)
    frames[7] = np.random.default_rng(0).integers(0, 256, SIZE)  # that cannot be compressed
    store.write(5, frames)
    store.write(6, frames[20:21])  # over another one
    expected = np.concatenate([frames[:1], frames[20:21], frames[2:]])
    rows = np.array([12, 5, 34, 6, 12, ROWS, 12])  # some twice, and the row of zeros
    found = store.read(rows)
    assert found.dtype == torch.uint8 and found.shape == (7, SIZE)
    np.testing.assert_array_equal(found[:5], expected[rows[:5] - 5])
    assert not found[5].any()
    np.testing.assert_array_equal(store.pixels[5:35], expected)
    assert store.pixels.shape == (ROWS + 1, SIZE)


@pytest.mark.parametrize("kind", [PlainFrames, PackedFrames])
def test_what_is_saved_comes_back(kind: type[Store]) -> None:
    store, again, rows = kind(ROWS, SIZE), kind(ROWS, SIZE), np.array([38, 39, 0, 1])
    store.write(38, screens(4)[:2])
    store.write(0, screens(4)[2:])
    again.restore(rows, {k: v.copy() for k, v in store.saved(rows).items()})
    np.testing.assert_array_equal(again.read(rows), screens(4))


def test_compressed_frames_take_little_and_say_how_much() -> None:
    store = PackedFrames(ROWS, SIZE)
    empty = store.nbytes
    assert empty == 8 * (ROWS + 1)
    store.write(0, screens(ROWS))
    held = sum(sys.getsizeof(packed) for packed in store.packed[:ROWS])
    assert store.nbytes == empty + held
    assert held < ROWS * 400
    store.write(0, np.zeros((ROWS, SIZE), np.uint8))  # written over: what was there is given back
    assert store.nbytes == empty + sum(sys.getsizeof(packed) for packed in store.packed[:ROWS])
    assert PlainFrames(ROWS, SIZE).nbytes == (ROWS + 1) * SIZE


@pytest.mark.parametrize("damage", ["cut", "other size"])
def test_bytes_that_are_no_frame_are_refused(damage: str) -> None:
    store, rows = PackedFrames(ROWS, SIZE), np.arange(3)
    store.write(0, screens(3))
    saved = {k: v.copy() for k, v in store.saved(rows).items()}
    if damage == "cut":
        saved["packed"] = saved["packed"][:-40]
    else:
        saved = PackedFrames(ROWS, SIZE // 2).saved(rows)
    with pytest.raises(ValueError, match="damaged"):
        PackedFrames(ROWS, SIZE).restore(rows, saved)
