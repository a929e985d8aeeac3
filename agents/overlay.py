"""A filter of frames: what the agent thinks, in a panel beside the game.

Reads the facts that ``agents.screen.watch`` puts into its frames: Q-values, the action taken,
return, lives, exploration.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from playground.frames import Filter, Frame
from playground.media import side_panel, text_width

PANEL_WIDTH_PX = 116  # beside the game's 160, at least
MANY = 11  # actions; with more, the text above the bars takes a line less


def overlay(title: str, action_names: tuple[str, ...]) -> Filter:
    """A filter that sets return, lives, epsilon, and Q-values as bars to the right of the game.

    The panel's size depends on the game alone, so that all frames of a game are alike; at an
    episode's start, before the first action, it has no values yet.

    Args:
        title: first line of the panel.
        action_names: of the game's minimal actions, in their order.
    """
    longest = max(text_width(name) for name in action_names)
    width = max(PANEL_WIDTH_PX, longest + text_width("-00.00") + 20)

    @lru_cache(maxsize=1)  # four frames an agent step have the same panel
    def panel(
        height: int, lines: tuple[str, ...], values: tuple[float, ...] | None, action: int | None
    ) -> np.ndarray:
        bars = None if values is None else dict(zip(action_names, values, strict=True))
        chosen = None if action is None else action_names[action]
        return side_panel(height, width, lines, bars, chosen)

    def add(frame: Frame) -> Frame:
        facts = frame.facts
        lives = f"   lives {facts['lives']}" if facts["lives"] is not None else ""
        hand = "you play" if facts["human"] else f"epsilon {facts['epsilon']:g}"
        lines = [f"episode {facts['episode'] + 1}", hand]
        if len(action_names) > MANY:
            lines = ["   ".join(lines)]
        lines = [title, f"return {facts['return']:g}{lives}", *lines]
        values = facts["q_values"]
        beside = panel(frame.height, tuple(lines), values and tuple(values), facts["action"])
        return replace(frame, pixels=np.concatenate([frame.pixels, beside], axis=1))

    return add
