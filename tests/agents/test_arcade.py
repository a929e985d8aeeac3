"""The arcade source: what it yields is what the emulator and `agents.ram` say."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from agents import ram as ram_facts
from agents.arcade import ArcadeSource, movers, play, scenes
from playground.frames import Frame
from playground.pretrain import RAM, SCREEN, SLOTS


def test_frames_agree_with_their_memory_and_repeat_by_seed():
    first, again = ([*itertools.islice(play("pong", seed), 6)] for seed in (5, 5))
    other = next(play("pong", 6))
    for frame, same in zip(first, again, strict=True):
        assert np.array_equal(frame.pixels, same.pixels)
        assert frame.boxes == ram_facts.boxes("pong", frame.facts["ram"])
        assert (
            frame.facts["ram_player_y"] == ram_facts.facts("pong", frame.facts["ram"])["player_y"]
        )
        assert frame.facts["observation"].shape == (4, 84, 84)
    assert not np.array_equal(first[0].facts["ram"], other.facts["ram"])
    assert len({frame.facts["ram"].tobytes() for frame in first}) == len(first)


class Always:
    """An agent that takes its last action."""

    def __init__(self, actions: int) -> None:
        self.actions, self.asked = actions, 0

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.arange(self.actions, dtype=np.float32)[None]


def test_an_agent_plays_all_but_epsilon_of_the_steps():
    agent: Any = Always(6)
    list(itertools.islice(play("pong", 1, agent, epsilon=0.5, stride=1), 40))
    steps = 40 * 1.5  # frames are 1 or 2 steps apart
    assert 0.25 * steps < agent.asked < 0.8 * steps


def test_movers_are_the_facts_that_have_both_coordinates():
    assert movers("pong") == ("ball", "enemy", "player")
    assert movers("alien") == ()


def test_scenes_place_objects_cut_tall_screens_and_pad_low_ones():
    ram = np.zeros(128, np.uint8)
    tall = np.full((250, 160, 3), 7, np.uint8)
    low = np.full((200, 160, 3), 9, np.uint8)
    places = {"ram_ball_x": 30, "ram_ball_y": 40, "ram_enemy_x": None, "ram_enemy_y": None}
    places |= {"ram_player_x": 100, "ram_player_y": 90}
    frames = [
        Frame(tall, facts={"game": "adventure", "ram": ram}),
        Frame(low, facts={"game": "pong", "ram": ram} | places),
    ]
    batch = scenes(frames, ("pong", "adventure"))
    assert batch.pixels.shape == (2, 3, *SCREEN)
    assert batch.pixels.dtype == torch.uint8
    assert (batch.pixels[0] == 7).all()
    assert (batch.pixels[1, :, :200] == 9).all() and (batch.pixels[1, :, 200:] == 0).all()
    assert batch.game.tolist() == [1, 0]
    assert batch.known.sum(1).tolist() == [0, 3]
    assert batch.places[1, 0].tolist() == [30, 40]
    assert batch.places[1, 1].isnan().all()
    assert batch.places[0].isnan().all() and batch.places.shape == (2, SLOTS, 2)


def test_a_source_mixes_games_by_share_and_renews_its_pool():
    source = ArcadeSource(("pong", "alien"), seed=1, pool=20, reuse=2, known_players=1, agents={})
    drawn = [source.draw(20) for _ in range(4)]
    games = torch.cat([batch.game for batch in drawn])
    assert 0.4 < (games == 0).float().mean() < 0.8
    assert {batch.ram.shape for batch in drawn} == {(20, RAM)}
    rows = {row.numpy().tobytes() for batch in drawn for row in batch.ram}
    assert len(rows) > 20  # more than the pool ever held at once
    again = ArcadeSource(("pong", "alien"), seed=1, pool=20, reuse=2, known_players=1, agents={})
    assert torch.equal(again.draw(20).pixels, drawn[0].pixels)


@pytest.mark.slow
def test_every_game_gives_screens():
    source = ArcadeSource(seed=0, pool=400, known_players=1)
    batch = source.draw(256)
    assert len(source.games) > 100
    assert len(batch.game.unique()) > 50
