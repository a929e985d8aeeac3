"""What every test needs: few threads, no display, no sound, and the way to development data."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before any test imports pygame or matplotlib: neither may want a screen or a sound device.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch

from playground.device import prepare_process

# A shell starts background jobs with Ctrl-C ignored, and what they start inherits it: tests that
# press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

prepare_process()
# One: small tensors gain nothing from more, and lose much beside other work on the machine.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
BARS = ("lying", "standing")  # classes of the made pictures


def bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Made pictures (N, 12, 12) uint8 of a lying or a standing bar in noise, and labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(BARS)
    pixels = rng.integers(0, 120, (count, 12, 12))
    for picture, label, at in zip(pixels, labels, rng.integers(1, 10, count), strict=True):
        (picture if label == 0 else picture.T)[at : at + 2] += 100
    return pixels.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Deterministic mode and the number of threads belong to the process: they are put back."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bars_idx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the made pictures in MNIST's four files: 200 to train on, 60 to test."""
    folder = tmp_path_factory.mktemp("bars")
    for part, count in (("train", 200), ("t10k", 60)):
        for name, array in zip(("images-idx3", "labels-idx1"), bars(count, count), strict=True):
            sizes = b"".join(side.to_bytes(4, "big") for side in array.shape)
            header = bytes((0, 0, 8, array.ndim)) + sizes
            (folder / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


@pytest.fixture(scope="session")
def bars_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made pictures as .png files in class folders, 40 each, without a split."""
    from playground.media import write_image

    folder = tmp_path_factory.mktemp("bars_folder")
    for number, (picture, label) in enumerate(zip(*bars(80, 3), strict=True)):
        grey = np.repeat(picture[..., None], 3, axis=2)
        write_image(folder / BARS[label] / f"{number}.png", grey)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of development data sets: $PLAYGROUND_DATA, or shared/data beside the checkout."""
    named = os.environ.get("PLAYGROUND_DATA")
    path = Path(named) if named else ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no development data in {path}: set PLAYGROUND_DATA to a folder that has them")
    return path
