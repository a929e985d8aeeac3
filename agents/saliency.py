"""Filters of frames: where the agent looks, and how its value of the game went.

Both read the facts of ``agents.screen.watch``: the observation that the agent acted on, the agent,
value and reward. They keep nothing of the agent, so they go on when another one takes its place.

Two measures of where the agent looks, each a map (84, 84) float32 in [0, 1]:

- ``gradient``: how much the value of the best action changes with each pixel, summed over the four
  pictures of the observation and smoothed (Simonyan et al. 2014; Wang et al. 2016 for Q-networks).
  One backward pass, 2 to 10 ms: live.
- ``perturbation``: how much all Q-values change when the surroundings of a point are blurred
  (Greydanus et al. 2018), at points 5 pixels apart. 289 forward passes, a tenth of a second and
  more: for films. It measures what a loss of information does, not an infinitely small change.

Departs from the papers: Greydanus et al. score a policy's logits and its value, here it is the
Q-values; blurs and masks are theirs (sigma 3 and 5 pixels). Gradients are smoothed by sigma 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.heads import settled
from agents.screen import SIZE
from playground.backbone import to_unit
from playground.frames import Filter, Frame
from playground.media import PANEL, draw_text, text_width

GRID_PX = 5  # between two perturbed points
MASK_PX, BLUR_PX, SMOOTH_PX = 5.0, 3.0, 2.0  # standard deviations
AT_ONCE = 64  # perturbed observations in one forward pass
HEAT = np.array([255, 48, 32], np.float32)
MOST_HEAT = 0.75  # opacity where the map is 1
STRIP_PX, WORDS_PX = 56, 14  # heights of the value's strip, and of the text above its curve
CURVE, GAIN, LOSS = (120, 190, 255), (70, 200, 90), (230, 70, 60)


def gradient(network: Any, observation: np.ndarray) -> np.ndarray:
    """(4, 84, 84) uint8 -> (84, 84) in [0, 1]; see the module's top.

    Args:
        network: an ``agents.qnetwork.QNetwork``.
    """
    import cv2

    with torch.enable_grad(), settled(network):
        pictures = _as_input(network, observation).requires_grad_(True)
        value = network.answer(pictures).amax()
        (slope,) = torch.autograd.grad(value, pictures)
    found = slope[0].abs().sum(0).cpu().numpy()
    return _to_unit_range(cv2.GaussianBlur(found, (0, 0), SMOOTH_PX))


def perturbation(network: Any, observation: np.ndarray) -> np.ndarray:
    """(4, 84, 84) uint8 -> (84, 84) in [0, 1]; see the module's top."""
    import cv2

    whole = _as_input(network, observation)
    pictures = whole[0].cpu().numpy()
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), BLUR_PX) for each in pictures])
    difference = torch.from_numpy(blurred).to(whole.device) - whole[0]
    places = np.arange(GRID_PX // 2, SIZE, GRID_PX)
    masks = torch.from_numpy(_masks(places)).to(whole.device)  # (P, 84, 84)
    changes = []
    with torch.inference_mode(), settled(network):
        before = network.answer(whole)
        for part in masks.split(AT_ONCE):
            after = network.answer(whole + part[:, None] * difference)
            changes.append(0.5 * (after - before).square().sum(1))
    found = torch.cat(changes).cpu().numpy().reshape(len(places), len(places))
    return _to_unit_range(cv2.resize(found, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


MEASURES: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "gradient": gradient,
    "perturbation": perturbation,
}


def _as_input(network: Any, observation: np.ndarray) -> Tensor:
    """(1, 4, 84, 84) float in [0, 1], on the network's device."""
    device = next(network.parameters()).device
    return to_unit(torch.from_numpy(np.ascontiguousarray(observation[None])).to(device))


def _masks(places: np.ndarray) -> np.ndarray:
    """(P * P, 84, 84) float32: a Gaussian of height 1 around each pair of places, row by row."""
    each = np.exp(-0.5 * ((np.arange(SIZE) - places[:, None]) / MASK_PX) ** 2)  # (P, 84)
    found = each[:, None, :, None] * each[None, :, None, :]  # (P, P, 84, 84)
    return found.reshape(-1, SIZE, SIZE).astype(np.float32)


def _to_unit_range(found: np.ndarray) -> np.ndarray:
    top = found.max()
    return (found / top if top > 0 else found).astype(np.float32)


def saliency(measure: str = "gradient") -> Filter:
    """A filter that glows where the agent looks; frames without an observation stay as they are.

    Args:
        measure: one of ``MEASURES``. It is taken once an agent step, of which all frames show it.
    """
    of = MEASURES[measure]
    last: tuple[Any, np.ndarray] | None = None  # the observation, and its map

    def glow(frame: Frame) -> Frame:
        nonlocal last
        observation = frame.facts.get("observation")
        if observation is None:
            return frame
        if last is None or last[0] is not observation:
            last = (observation, of(frame.facts["agent"].network, observation))
        return replace(frame, pixels=_heated(frame.pixels, last[1]))

    return glow


def _heated(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with the map (84, 84) laid over it."""
    import cv2

    height, width = pixels.shape[:2]
    opacity = MOST_HEAT * cv2.resize(heat, (width, height))[..., None]
    return (pixels * (1 - opacity) + HEAT * opacity).round().astype(np.uint8)


def value_over_time(frames: int = 480) -> Filter:
    """A filter that sets a strip below the game: the value of the last ``frames`` frames.

    Rewards are lines through it, green above and red below 0. It begins anew with each episode,
    also where another game's has the same number, or the same one is played again (steps fall).
    The curve fills the strip from the least to the largest value shown, which its texts say.
    """
    shown: deque[tuple[float | None, float]] = deque(maxlen=frames)
    before: tuple[Any, ...] = ()  # game, episode and step of the last frame

    def add(frame: Frame) -> Frame:
        nonlocal before
        facts = frame.facts
        now = (facts["game"], facts["episode"], facts["step"])
        if now[:2] != before[:2] or now[2] < before[2]:
            shown.clear()
        before = now
        shown.append((facts.get("value"), facts.get("reward") or 0.0))
        strip = _strip(frame.width, list(shown), frames)
        return replace(frame, pixels=np.concatenate([frame.pixels, strip]))

    return add


def _strip(width: int, shown: list[tuple[float | None, float]], frames: int) -> np.ndarray:
    """(STRIP_PX, width, 3) uint8; the newest value lies at its right edge once it is full."""
    strip = np.full((STRIP_PX, width, 3), PANEL, np.uint8)
    at = [k * (width - 1) // max(frames - 1, 1) for k in range(len(shown))]
    for x, (_, reward) in zip(at, shown, strict=True):
        if reward:
            strip[WORDS_PX:, x] = GAIN if reward > 0 else LOSS
    values = [value for value, _ in shown if value is not None]
    if not values:
        return strip
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    before: int | None = None
    for x, (value, _) in zip(at, shown, strict=True):
        if value is None:
            continue
        y = WORDS_PX + round((STRIP_PX - WORDS_PX - 1) * (1 - (value - low) / span))
        top, bottom = sorted((y, y if before is None else before))
        strip[top : bottom + 1, x] = CURVE
        before = y
    strip = draw_text(strip, f"value {values[-1]:.2f}", (3, 0))
    reach = f"{low:.2f} to {high:.2f}"
    return draw_text(strip, reach, (width - 3 - text_width(reach), 0))
