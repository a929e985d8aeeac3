"""Demon Attack."""

from __future__ import annotations

from agents.commentary.games.common import LIFE_LOST, RESERVE, SCORE, lives, score
from agents.commentary.table import Crowd, Near, Table, Thing

TABLE = Table(
    game="demon_attack",
    titles=("Demon Attack",),
    area=(0, 20, 160, 186),
    things=(
        Thing("purple cannon", "player", axes="x", motion="x", main_motion=True, absent=True),
        Thing("shot", "shot", axes="", motion="", appears=True),
    ),
    crowds=(Crowd("demons", "demon", ("demon", "demons"), unsure="shapeless demon"),),
    figures=(
        score(56, 5, 48, 12, digits=(56, 8, 6)),
        lives(14, 186, 50, 9),
    ),
    nears=(Near("demon bombs", ("bomb",), "purple cannon", 14, 40),),
    nouns={
        "C": ("player", ("the purple cannon",)),
        "T": ("shot", ("a shot",)),
        "D": ("demon", ("the demons",)),
        "bombs": ("bomb", ("the bombs of a demon", "the demon bombs")),
    },
    describing=(
        ("{C} is <column purple cannon>",),
        ("{C} (waits|stands) <column purple cannon>",),
        ("{C} is <column purple cannon>, (moving|sliding) <xmotion purple cannon>",),
        ("{C} <xmoves purple cannon>",),
        ("{C} is <column purple cannon> and <xmoves purple cannon>",),
        ("{C} has been destroyed", ("purple cannon", "is", "absent")),
        ("<there demons> (in the air|in the sky)",),
        ("<some demons:faces|face> {C}",),
        ("{T} is in the air", ("shot", "is", "there")),
        *SCORE,
        *RESERVE,
    ),
    commenting=(
        *LIFE_LOST,
        (8, "good", "a demon is hit for <gain score>"),
        (8, "bad", "{C} has been destroyed", ("purple cannon", "is", "absent")),
        (
            6,
            "tense",
            "{bombs} are very close to {C}",
            ("demon bombs", "distance to purple cannon", "close"),
        ),
        (5, "", "{C} has just fired", ("shot", "appears", "now")),
        (4, "", "{C} is sliding <xmotion purple cannon>"),
        (4, "", "{T} is in the air above {C}", ("shot", "is", "there")),
        (3, "", "{C} is holding still", ("purple cannon", "x motion", "none")),
        (3, "", "<some demons:hovers|hover> above {C}"),
        (2, "", "{C} is <column purple cannon> with <some demons> above it"),
        (2, "", "only <count lives:is|are> left in reserve", ("lives", "is", 1)),
        (1, "", "the score is <digits score> with <count lives> in reserve"),
    ),
)
