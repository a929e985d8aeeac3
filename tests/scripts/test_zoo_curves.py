"""The picture of the learning curves of the agents that ship."""

import numpy as np
import pytest

from agents.agent import ZOO
from agents.references import References
from playground.errors import UserError
from playground.media import read_image
from playground.run import read_json, write_json
from scripts.benchmarks.zoo_curves import DPI, FINAL, FINAL_COLOUR, OURS, PUBLISHED, draw

RAINBOW = "Dopamine Rainbow"


def has(picture: np.ndarray, colour: str) -> bool:
    """Whether some pixels of it are of that colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - wanted).max(axis=2) < 8).sum() > 20)


def test_a_panel_a_card_with_what_was_published(tmp_path) -> None:
    for name in ("pong", "boxing"):
        write_json(tmp_path / f"{name}.json", read_json(ZOO / f"{name}.json"))
    alone = read_image(draw(tmp_path, References()))
    assert alone.shape[1] == 16 * DPI
    assert has(alone, OURS)
    assert not has(alone, PUBLISHED[RAINBOW]) and not has(alone, FINAL_COLOUR)
    curve = tuple((250_000.0 * k, float(k)) for k in range(1, 21))
    beside = References(curves={RAINBOW: {"boxing": curve}}, finals={FINAL: {"boxing": 71.8}})
    both = read_image(draw(tmp_path, beside))
    assert has(both, OURS) and has(both, PUBLISHED[RAINBOW]) and has(both, FINAL_COLOUR)


def test_without_a_card_there_is_nothing_to_draw(tmp_path) -> None:
    with pytest.raises(UserError, match="no card"):
        draw(tmp_path, References())


def test_the_picture_that_ships_has_a_panel_for_each_agent() -> None:
    rows = -(-len(list(ZOO.glob("*.json"))) // 5)
    assert read_image(ZOO / "curves.png").shape == (rows * 270 + 40, 16 * DPI, 3)
