"""The benchmark of captioners of games: what is counted, and which captions it shows."""

from types import SimpleNamespace

import numpy as np
import pytest

from agents.commentary import store
from generators.captioner import Caption
from scripts.benchmarks.caption_games import WORST, measured


class Parrot:
    """Says the game's name, rightly in descriptions alone."""

    plan = SimpleNamespace(decoder="nic")

    def __init__(self):
        self.black = []  # of each clip, whether all before its last frame is

    def look(self, seen, register, beam):
        assert seen.shape == (4, 210, 160, 3)
        self.black.append(not seen[:-1].any())
        text = {"describe": "This is Pong.", "comment": "This is Skiing."}[register]
        return [Caption(text, -1.0, text.split(), np.ones((3, 13, 10)))]


@pytest.mark.parametrize("still", [False, True])
def test_each_register_is_counted_and_shows_its_worst(still):
    clips = store.gather(["pong"], WORST + 2, 1, roster=[("random", 1.0, False)], processes=1)
    parrot = Parrot()
    figures, worst = measured(parrot, clips, 3, still)
    assert set(parrot.black) == {still}  # nothing before a single picture
    assert figures["describe"]["true"] == (100, 100, 100) == figures["describe"]["game"]
    assert figures["comment"]["true"] == (0, 0, 0) == figures["comment by game"]["pong"]["true"]
    assert figures["describe"]["mentioned"][0] < 50 and "looked" not in figures["describe"]
    assert len(worst) == WORST and set(worst) == {"This is Skiing. [false: game is skiing]"}
