"""Pairs of frames of games: from the emulator, changed in places, other ones held out."""

import itertools

import numpy as np
import pytest
import torch

from agents import frame_pairs
from playground.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(frame_pairs, "PLAYERS", 2)
    monkeypatch.setattr(frame_pairs, "STRIDE", 2)
    monkeypatch.setattr(frame_pairs, "HELD_OUT", 2)


def test_clips_are_consecutive_frames_as_the_screen_shows_them():
    clips = list(itertools.islice(frame_pairs.clips("breakout", 3), 6))
    assert all(len(clip) == 4 and clip[0].shape == (210, 160, 3) for clip in clips)
    again = next(frame_pairs.clips("breakout", 3))
    assert all(np.array_equal(a, b) for a, b in zip(again, clips[0], strict=True))
    apart = [(a != b).any(2).mean() for clip in clips for a, b in itertools.pairwise(clip)]
    assert max(apart) < 0.05  # a game's next frame is nearly the same


def test_pairs_differ_in_places_and_are_held_out_apart():
    said = []
    learned, held_out = frame_pairs.pairs(["pong", " breakout"], 4, 1, said.append)
    assert learned.classes == ("pong", "breakout") and len(learned) == 8 and len(held_out) == 4
    assert learned.channels == 6 and learned.size == (210, 160)
    assert learned.labels.tolist() == [0] * 4 + [1] * 4 and "pong, breakout" in said[0]
    pixels = learned.read(torch.arange(8))
    same = (pixels[:, :3] == pixels[:, 3:]).all(1).float().mean((1, 2))
    assert float(same.min()) > 0.8 and float(same.max()) < 1
    more, _ = frame_pairs.pairs(["pong"], 4, 1, said.append)
    assert torch.equal(more.read(torch.arange(4)), pixels[:4])


def test_screens_of_other_heights_are_fitted():
    tall = np.full((250, 160, 3), 7, np.uint8)
    assert frame_pairs.fitted(tall).shape == (210, 160, 3)
    low = frame_pairs.fitted(tall[:200])
    assert low[:200].min() == 7 and low[200:].max() == 0


@pytest.mark.parametrize(
    ("names", "count", "sentence"),
    [
        (["pong", "pong"], 4, "Name each game once"),
        (["pong"], 0, "--frames starts at 1"),
        (["pnog"], 4, "Did you mean 'pong'"),
    ],
)
def test_what_cannot_be_played(names, count, sentence):
    with pytest.raises(UserError, match=sentence):
        frame_pairs.pairs(names, count, 0, lambda text: None)
