"""A filter of frames: what the agent thinks, in a panel beside the game.

Reads the facts that ``agents.screen.watch`` puts into its frames: Q-values, the action taken,
return, lives, exploration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from playground.frames import Filter, Frame
from playground.media import side_panel

PANEL_WIDTH = 116  # pixels beside the game's 160


def overlay(title: str, action_names: tuple[str, ...]) -> Filter:
    """A filter that sets Q-values as bars, return, lives and epsilon to the right of the game.

    Args:
        title: first line of the panel.
        action_names: of the game's minimal actions, in their order.
    """

    def add(frame: Frame) -> Frame:
        facts = frame.facts
        lines = [title, f"return {facts['return']:g}"]
        if facts["lives"]:
            lines.append(f"lives {facts['lives']}")
        lines += [f"episode {facts['episode'] + 1}", f"epsilon {facts['epsilon']:g}"]
        values = dict(zip(action_names, facts["q_values"], strict=True))
        panel = side_panel(
            frame.height, PANEL_WIDTH, lines, values, chosen=action_names[facts["action"]]
        )
        return replace(frame, pixels=np.concatenate([frame.pixels, panel], axis=1))

    return add
