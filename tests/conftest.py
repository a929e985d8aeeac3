"""What every test needs: few threads, no display, no sound, and the way to development data."""

import os
import signal
from pathlib import Path

# Before any test imports pygame or matplotlib: neither may want a screen or a sound device.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

# A shell starts background jobs with Ctrl-C ignored, and what they start inherits it: tests that
# press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_flush_denormal(True)
# One: small tensors gain nothing from more, and lose much beside other work on the machine.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of development data sets: $PLAYGROUND_DATA, or shared/data beside the checkout."""
    named = os.environ.get("PLAYGROUND_DATA")
    path = Path(named) if named else ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no development data in {path}: set PLAYGROUND_DATA to a folder that has them")
    return path
