"""A filter of frames: what the layers of the agent's backbone make of what it sees.

Beside the game stands a panel with the liveliest channels of each layer, whose maps
(``playground.backbone``: ``features``) are drawn anew at each agent step. Which channels these are
is decided once for a network: before it is shown, it plays some seconds of a game that nobody sees
(which takes most of a second), and those are taken that change most over time. Each goes from dark
to bright between the lowest and the highest value that it had there, so that nothing flickers and
nothing jumps. An agent step takes 2 to 3 ms for nature on one core, 5 for impala: live.

It reads the facts of ``agents.screen.watch``, as ``agents.saliency`` does, and goes on when another
agent takes the place of the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.atari import FRAMES_PER_SECOND
from agents.heads import settled
from agents.screen import SIZE, STACK, watch
from playground.backbone import to_unit
from playground.errors import UserError, nearest
from playground.frames import Filter, Frame
from playground.insight import heat
from playground.media import PANEL, draw_text

UNSEEN_SECONDS = 10  # of play, by which channels are chosen
MAPS = 8  # of a layer
LAYERS = 4  # one below the other, at most; more stand in further columns
WIDTH = 1.7  # of a column, by the picture's height: 357 for 210 pixels
NAME_PX, PAD_PX, GAP_PX = 14, 5, 1  # a layer's name, around its maps, between them
LARGEST = 8  # times that a map is enlarged
COLOURS = heat(np.linspace(0, 1, 256)[None])[0]  # (256, 3) uint8
GRID = (46, 48, 56)  # between maps
UNFINISHED = (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)  # layers whose ReLU is still to come


def feature_maps(layers: Sequence[str] = ()) -> Filter:
    """A filter that sets the panel to the right of the game.

    Args:
        layers: of the agent's backbone; if none are named, the last one of each size.

    The filter raises UserError for a layer that the agent's network does not have.
    """
    panel: _Panel | None = None

    def add(frame: Frame) -> Frame:
        nonlocal panel
        network = frame.facts["agent"].network
        if panel is None or panel.network is not network or panel.height != frame.height:
            panel = _Panel(network, _chosen(network, layers), _unseen(frame), frame.height)
        panel.look(frame.facts["observation"])
        return replace(frame, pixels=np.concatenate([frame.pixels, panel.pixels], axis=1))

    return add


def _unseen(frame: Frame) -> np.ndarray:
    """(N, 4, 84, 84) uint8: what the frame's agent meets in a game that nobody sees.

    Without its first steps, whose pictures of zeros stir channels as nothing later does.
    """
    facts = frame.facts
    frames = watch(facts["agent"], facts["game"], facts["protocol"], epsilon=facts["epsilon"])
    met = {
        (frame.facts["episode"], frame.facts["step"]): frame.facts["observation"]
        for frame in islice(frames, UNSEEN_SECONDS * FRAMES_PER_SECOND)
        if frame.facts["step"] >= STACK
    }
    return np.stack(list(met.values()))


def _maps(
    network: Any, observations: np.ndarray, layers: Sequence[str] | None
) -> dict[str, Tensor]:
    """(N, 4, 84, 84) uint8 -> each layer's (N, C, h, w) float; None are all of them."""
    pictures = torch.from_numpy(observations).to(next(network.parameters()).device)
    with torch.inference_mode(), settled(network):
        found = network.backbone.features(to_unit(pictures), layers)
    return {name: maps.float().cpu() for name, maps in found.items()}


def _chosen(network: Any, wanted: Sequence[str]) -> list[str]:
    """The layers to show; UserError for unknown ones."""
    known = network.backbone.channels
    for name in wanted:
        if name not in known:
            raise UserError(
                f"This agent's network has no layer '{name}'.{nearest(name, known)} It has "
                f"{', '.join(known)}."
            )
    if wanted:
        return list(wanted)
    stages = dict(network.backbone.stages())
    maps = _maps(network, np.zeros((1, STACK, SIZE, SIZE), np.uint8), None)
    finished = [name for name in maps if not isinstance(stages[name], UNFINISHED)]
    return list({maps[name].shape[2:]: name for name in finished}.values())


@dataclass
class _Layer:
    """What is shown of one layer, and where."""

    channels: Tensor  # (K,), the liveliest first
    low: Tensor  # (K, 1, 1), the value that is dark
    high: Tensor  # the one that is bright
    at: tuple[int, int]  # (y, x) of its maps in the panel
    tile: tuple[int, int]  # (h, w) of a map there
    grid: tuple[int, int]  # rows and columns of them

    def draw(self, maps: Tensor) -> np.ndarray:
        """The layer's maps (C, h, w) -> its grid (H, W, 3) uint8."""
        share = (maps[self.channels] - self.low) / (self.high - self.low).clamp_min(1e-6)
        # Where the tile is a multiple of the map, each of its values fills a square.
        tiles = (255 * F.adaptive_avg_pool2d(share.clamp(0, 1), self.tile)).byte().numpy()
        rows, columns = self.grid
        (h, w), gap = self.tile, GAP_PX
        grid = np.full((rows * columns, h + gap, w + gap, 3), PANEL, np.uint8)
        grid[: len(tiles)] = GRID
        grid[: len(tiles), gap:, gap:] = COLOURS[tiles]
        grid = grid.reshape(rows, columns, h + gap, w + gap, 3).swapaxes(1, 2)
        whole = grid.reshape(rows * (h + gap), columns * (w + gap), 3)
        return np.pad(whole, ((0, gap), (0, gap), (0, 0)), mode="wrap")


class _Panel:
    """The panel of one network, beside pictures of one height.

    Args:
        unseen: (N, 4, 84, 84) uint8, by which channels are chosen.
    """

    def __init__(self, network: Any, names: Sequence[str], unseen: np.ndarray, height: int) -> None:
        self.network, self.height = network, height
        self.layers: dict[str, _Layer] = {}
        self._seen: np.ndarray | None = None  # the last observation
        found = _maps(network, unseen, names)
        across = math.ceil(len(found) / LAYERS)
        down = math.ceil(len(found) / across)
        width, pitch = round(WIDTH * height), height // down
        self.pixels = np.full((height, across * width, 3), PANEL, np.uint8)
        room = (pitch - NAME_PX - PAD_PX, width - 2 * PAD_PX)
        for place, (name, maps) in enumerate(found.items()):
            y, x = place % down * pitch, place // down * width + PAD_PX
            activity = maps.std(0, correction=0).mean((1, 2))
            shown = max(1, min(MAPS, int((activity > 0).sum())))  # what never stirs is left out
            liveliest = activity.argsort(descending=True)[:shown]
            low, high = (of(maps[:, liveliest], (0, 2, 3)) for of in (torch.amin, torch.amax))
            self.layers[name] = _Layer(
                liveliest, low[:, None, None], high[:, None, None],
                (y + NAME_PX, x), *_fitted(maps.shape[2:], shown, room),
            )  # fmt: skip
            words = f"{name}   {shown} of {maps.shape[1]} maps"
            self.pixels = draw_text(self.pixels, words, (x, y + 1))

    def look(self, observation: np.ndarray | None) -> None:
        """Draw what the network makes of (4, 84, 84) uint8, unless that stands there already."""
        if observation is None or observation is self._seen:
            return
        self._seen = observation
        for name, maps in _maps(self.network, observation[None], list(self.layers)).items():
            layer = self.layers[name]
            grid, (y, x) = layer.draw(maps[0]), layer.at
            self.pixels[y : y + grid.shape[0], x : x + grid.shape[1]] = grid


def _fitted(
    side: Sequence[int], maps: int, room: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The largest tile of maps (h, w) at which so many fit into the room; their rows and columns.

    Enlarged by a whole number, or where they are too large shrunken by one.
    """
    for times in chain(map(Fraction, range(LARGEST, 1, -1)), (Fraction(1, n) for n in count(1))):
        tile = (math.ceil(side[0] * times), math.ceil(side[1] * times))
        rows, columns = ((px - GAP_PX) // (of + GAP_PX) for px, of in zip(room, tile, strict=True))
        if rows * columns >= maps:
            break
    rows = math.ceil(maps / columns)
    return tile, (rows, math.ceil(maps / rows))
