"""Where an agent looks, on networks of which it is known; the value's strip, pixel by pixel."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import agents
from agents.agent import Agent
from agents.qnetwork import QNetwork
from agents.saliency import (
    CURVE,
    GAIN,
    HEAT,
    LOSS,
    MEASURES,
    MOST_HEAT,
    STRIP_PX,
    WORDS_PX,
    saliency,
    value_over_time,
)
from agents.screen import watch
from playground.frames import Frame


class Spot(nn.Module):
    """Q-values that depend on the pixels around (60, 20) of the newest picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.asked = 0

    def answer(self, pictures: Tensor) -> Tensor:
        self.asked += len(pictures)
        return pictures[:, 3, 57:64, 17:24].mean((1, 2))[:, None] * self.scale


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 84, 84), dtype=np.uint8)


@pytest.mark.parametrize("measure", MEASURES)
def test_it_looks_where_the_network_does(measure: str) -> None:
    found = MEASURES[measure](Spot(), noise())
    assert (found.shape, found.dtype, found.max()) == ((84, 84), np.float32, 1)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert abs(y - 60) <= 4 and abs(x - 20) <= 4
    assert found[:30].max() < 0.02 and found[:, 50:].max() < 0.02


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "settings",
    [
        {"dueling": True, "layer_norm": True},
        {"distribution": "iqn", "quantiles": 4, "noise": 0.5},
        {"distribution": "c51", "dueling": True, "trunk_norm": "layer"},
    ],
)
def test_it_works_for_every_kind_of_network_and_changes_nothing(
    measure: str, settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network = QNetwork(6, width=0.125, hidden=8, **settings)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    one, again = (MEASURES[measure](network, noise()) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert 0 <= one.min() < one.max() == 1
    assert network.training and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_that_sees_nothing_has_a_map_of_zeros() -> None:
    network = Spot()
    with torch.no_grad():
        network.scale.zero_()
    for of in MEASURES.values():
        assert not of(network, noise()).any()


def test_the_filter_glows_once_an_agent_step() -> None:
    agent, observation = Agent(Spot(), "pong"), noise()
    change = saliency("gradient")
    pixels = np.full((210, 160, 3), 100, np.uint8)
    facts = {"observation": observation, "agent": agent}
    shown = [change(Frame(pixels, facts=facts)) for _ in range(4)]
    assert agent.network.asked == 1
    change(Frame(pixels, facts={"observation": noise(1), "agent": agent}))
    assert agent.network.asked == 2
    at = shown[0].pixels[150, 38]  # 60 / 84 of 210, 20 / 84 of 160
    expected = 100 * (1 - MOST_HEAT) + HEAT * MOST_HEAT
    np.testing.assert_allclose(at, expected, atol=8)
    np.testing.assert_array_equal(shown[0].pixels[5, 150], [100, 100, 100])
    assert (pixels == 100).all()  # the source's own stay
    start = Frame(pixels, facts={"observation": None, "agent": agent})
    assert change(start) is start


def test_the_strip_shows_value_and_rewards() -> None:
    change = value_over_time(frames=100)
    pixels = np.zeros((210, 100, 3), np.uint8)

    def frame(value: float | None, reward: float = 0.0, episode: int = 0) -> np.ndarray:
        facts = {"game": "pong", "step": 0, "value": value, "reward": reward, "episode": episode}
        return change(Frame(pixels, facts=facts)).pixels[210:]

    assert not (frame(None) == CURVE).all(2).any()
    frame(1.0)
    strip = frame(3.0, reward=1.0)  # the third of 100 frames is column 2
    assert strip.shape == (STRIP_PX, 100, 3)
    assert (strip[WORDS_PX:, 2] == CURVE).all()  # from the least to the largest
    assert not (strip[:WORDS_PX] == CURVE).all(2).any()  # the texts stay free
    for _ in range(60):
        strip = frame(2.0, reward=-1.0)
    middle = WORDS_PX + round((STRIP_PX - WORDS_PX - 1) / 2)
    assert (strip[middle, 60] == CURVE).all() and (strip[middle + 2, 60] == LOSS).all()
    assert not (strip[:, 70:] == LOSS).all(2).any()  # to come
    frame(0.0, reward=2.0)
    assert (frame(0.0)[WORDS_PX, 63] == GAIN).all()
    assert (frame(5.0, episode=1) == CURVE).all(2).sum() <= 1  # a new game, a new strip


def test_the_strip_never_mixes_two_games() -> None:
    change = value_over_time(frames=100)
    pixels = np.zeros((210, 100, 3), np.uint8)

    def columns(game: str, episode: int, step: int) -> int:
        facts = {"game": game, "episode": episode, "step": step, "value": 1.0}
        strip = change(Frame(pixels, facts=facts)).pixels[210:]
        return int((strip == CURVE).all(2).any(0).sum())

    assert [columns("pong", 0, step) for step in (0, 0, 1)] == [1, 2, 3]
    assert columns("breakout", 0, 1) == 1  # the next game of the zoo
    assert columns("breakout", 0, 2) == 2
    assert columns("breakout", 0, 0) == 1  # by another agent
    assert columns("breakout", 1, 0) == 1


def test_both_go_on_the_zoos_pong() -> None:
    agent = agents.load("zoo:pong")
    glow, strip = saliency("gradient"), value_over_time()
    frames = [strip(glow(frame)) for frame in islice(watch(agent, "pong", "sb3"), 9)]
    assert {frame.pixels.shape for frame in frames} == {(210 + STRIP_PX, 160, 3)}
    assert frames[0].facts["observation"] is None
    assert frames[1].facts["observation"].shape == (4, 84, 84)
