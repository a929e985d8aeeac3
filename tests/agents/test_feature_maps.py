"""The panel of feature maps, on a network of which each channel is known, and beside real games."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import agents
from agents import feature_maps as shown
from agents.agent import Agent
from agents.feature_maps import COLOURS, GAP_PX, MAPS, WIDTH, feature_maps
from agents.qnetwork import QNetwork
from agents.screen import watch
from playground.errors import UserError
from playground.frames import Frame


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "UNSEEN_SECONDS", 1)


def noise(seed: int = 0, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 84, 84), dtype=np.uint8)


def known() -> QNetwork:
    """relu1 has four channels: the newest picture's mean over 8x8, 1 everywhere, twice the oldest's
    top left pixel of 8x8, and nothing.
    """
    network = QNetwork(6, width=0.125, hidden=8)
    conv = network.backbone.conv1
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.zero_()
        conv.weight[0, 3] = 1 / 64
        conv.bias[1] = 1
        conv.weight[2, 0, 0, 0] = 2
    return network


def test_what_changes_is_shown_liveliest_first_from_dark_to_bright() -> None:
    network, unseen = known(), noise()
    panel = shown._Panel(network, ["relu1"], unseen, 210)
    layer = panel.layers["relu1"]
    assert layer.channels.tolist() == [2, 0]
    observation = noise(1, 1)[0]
    panel.look(observation)
    first = observation[0, :77:4, :77:4] / 127.5
    second = observation[3].reshape(21, 4, 21, 4).sum((1, 3)).astype(float)
    second = second[:-1, :-1] + second[1:, :-1] + second[:-1, 1:] + second[1:, 1:]
    (y, x), (side, _) = layer.at, layer.tile
    for place, values in enumerate((first, second / 64 / 255)):
        low, high = layer.low[place].item(), layer.high[place].item()
        expected = ((values - low) / (high - low)).clip(0, 1)
        left = x + GAP_PX + place * (side + GAP_PX)
        found = panel.pixels[y + GAP_PX : y + GAP_PX + side, left : left + side]
        times = side // 20
        assert side == 20 * times and times > 1
        found = found.reshape(20, times, 20, times, 3)
        assert (found == found[:, :1, :, :1]).all()  # a square for each value
        index = (found[:, 0, :, 0, None] == COLOURS).all(3).argmax(2)
        np.testing.assert_allclose(index, 255 * expected, atol=2)


def test_the_same_value_always_looks_the_same() -> None:
    panel = shown._Panel(known(), ["relu1"], noise(), 210)
    grey, bright = np.full((4, 84, 84), 120, np.uint8), np.full((4, 84, 84), 255, np.uint8)
    panel.look(grey)
    before = panel.pixels.copy()
    panel.look(bright)
    assert not np.array_equal(panel.pixels, before)
    panel.look(grey.copy())
    np.testing.assert_array_equal(panel.pixels, before)


def test_a_layer_in_which_nothing_stirs_is_shown_all_the_same() -> None:
    network = known()
    with torch.no_grad():
        network.backbone.conv1.weight.zero_()
    panel = shown._Panel(network, ["relu1", "relu2"], noise(), 210)
    panel.look(noise(1, 1)[0])
    assert len(panel.layers["relu1"].channels) == 1


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, ["relu1", "relu2", "relu3"]),
        ({"trunk_norm": "layer", "dueling": True}, ["relu1", "relu2", "relu3"]),
        (
            {"backbone": "impala", "width": 1, "trunk_norm": "spectral", "distribution": "iqn",
             "quantiles": 4, "noise": 0.5},
            ["block1_2", "block2_2", "relu"],
        ),
        ({"backbone": "arcade"}, ["relu1_2", "relu2_1", "relu3_2", "relu4_2"]),
    ],
)  # fmt: skip
def test_it_goes_with_every_kind_of_network_and_changes_nothing(
    settings: dict[str, Any], layers: list[str]
) -> None:
    torch.manual_seed(0)
    network = QNetwork(6, **{"width": 0.125, "hidden": 8, **settings})
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    assert shown._chosen(network, []) == layers
    for names in (layers, list(network.backbone.channels)):
        panel = shown._Panel(network, names, noise(), 210)
        panel.look(noise(1, 1)[0])
        assert list(panel.layers) == names
        assert panel.pixels.shape[0] == 210 and panel.pixels.shape[1] % round(WIDTH * 210) == 0
        for layer in panel.layers.values():
            assert len(layer.channels) <= MAPS and min(layer.tile) > 1
    assert torch.equal(torch.get_rng_state(), random) and network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("side", "maps", "room", "tile", "grid"),
    [
        ((20, 20), 8, (51, 347), (40, 40), (1, 8)),
        ((7, 7), 8, (51, 347), (42, 42), (1, 8)),
        ((20, 20), 8, (190, 347), (80, 80), (2, 4)),
        ((20, 20), 5, (120, 130), (40, 40), (2, 3)),
        ((84, 84), 8, (51, 347), (42, 42), (1, 8)),  # shrunken
        ((11, 11), 1, (51, 347), (44, 44), (1, 1)),
    ],
)
def test_maps_are_as_large_as_the_room_allows(
    side: tuple[int, int], maps: int, room: tuple[int, int], tile: Any, grid: Any
) -> None:
    assert shown._fitted(side, maps, room) == (tile, grid)


def test_it_stands_beside_the_zoos_pong_and_looks_once_an_agent_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = agents.load("zoo:pong")
    change, asked = feature_maps(), 0
    frames = list(islice(watch(agent, "pong", "sb3"), 13))
    made = [change(frames[0])]
    features = agent.network.backbone.features

    def counted(*args: Any) -> dict[str, Tensor]:
        nonlocal asked
        asked += 1
        return features(*args)

    monkeypatch.setattr(agent.network.backbone, "features", counted)
    made += [change(frame) for frame in frames[1:]]
    assert asked == 3  # the first shows the start, each agent step four
    assert {frame.pixels.shape for frame in made} == {(210, 160 + round(WIDTH * 210), 3)}
    for before, after in zip(frames, made, strict=True):
        np.testing.assert_array_equal(after.pixels[:, :160], before.pixels)
    panels = [frame.pixels[:, 160:] for frame in made]
    assert np.array_equal(panels[9], panels[12]) and not np.array_equal(panels[8], panels[9])
    assert not np.array_equal(panels[0], panels[1])  # once made, a frame stays


def test_another_agent_has_a_panel_of_its_own() -> None:
    frame = next(islice(watch(agents.load("zoo:pong"), "pong"), 5, None))
    change = feature_maps(["relu2"])
    first = change(frame).pixels
    other = Agent(QNetwork(6, width=0.125, hidden=8).eval(), "pong")
    second = change(Frame(frame.pixels, facts={**frame.facts, "agent": other})).pixels
    assert first.shape == second.shape and not np.array_equal(first, second)
    with pytest.raises(UserError, match=r"no layer 'rleu2'\. Did you mean 'relu2'.* It has conv1,"):
        feature_maps(["rleu2"])(frame)
