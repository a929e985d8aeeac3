"""Clauses that several games share."""

from __future__ import annotations

from typing import Any

from agents.commentary.table import Extra, Figure, Scene, Statement

SCORE: tuple[tuple, ...] = (
    ("the score is <digits score>",),
    ("the score stands at <digits score>",),
    ("the scoreboard shows <unit score>",),
    ("the score has just gone up by <gain score>",),
    ("the score just went up by <gain score>",),
)
LIVES: tuple[tuple, ...] = (
    ("<there lives> left",),
    ("<count lives:is|are> left",),
    ("the score is <digits score> with <count lives> left",),
    ("that has just cost <loss lives>",),
    ("that has just won <gain lives>",),
    ("a life has just been lost", ("lives", "falls by", 1)),
    ("one life was just lost", ("lives", "falls by", 1)),
    ("an extra life has just been won", ("lives", "rises by", 1)),
)
RESERVE: tuple[tuple, ...] = (
    ("<there lives> in reserve",),
    ("the score is <digits score> with <count lives> in reserve",),
    ("that has just cost <loss lives>",),
    ("that has just won <gain lives>",),
    ("a life has just been lost", ("lives", "falls by", 1)),
    ("an extra life has just been won", ("lives", "rises by", 1)),
)
LIFE_LOST: tuple[tuple, ...] = (
    (9, "bad", "a life is lost", ("lives", "falls by", 1)),
    (9, "bad", "that costs a life", ("lives", "falls by", 1)),
    (9, "bad", "a life is gone and <count lives:is|are> left", ("lives", "falls by", 1)),
    (9, "good", "an extra life", ("lives", "rises by", 1)),
)


def score(*display: int, **more: Any) -> Figure:
    """Points, shown there."""
    return Figure("score", "score", ("point", "points"), display=display, **more)


def lives(*display: int, **more: Any) -> Figure:
    """Lives, shown there."""
    changes = ("rises by", "falls by")
    return Figure("lives", "lives", ("life", "lives"), events=changes, display=display, **more)


def lead(one: str, other: str, scene: Scene) -> Extra:
    """Who leads, by the figures `player_score` and `enemy_score`."""
    facts = scene.moments[-1].facts
    ours, theirs = facts["player_score"], facts["enemy_score"]
    assert ours is not None and theirs is not None
    ahead = one if ours > theirs else other if theirs > ours else "nobody"
    return [Statement("lead", "is", ahead)], []
