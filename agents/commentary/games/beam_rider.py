"""Beam Rider. Enemies far up the beams are dots, so that they are not counted on the screen."""

from __future__ import annotations

from agents.commentary.games.common import LIFE_LOST, RESERVE, SCORE, lives, score
from agents.commentary.table import Figure, Near, Table, Thing

TABLE = Table(
    game="beam_rider",
    titles=("Beam Rider",),
    area=(8, 46, 160, 181),
    things=(
        Thing("ship", "player", axes="x", motion="x", main_motion=True, absent=True, reach=9),
        Thing("shot", "shot", axes="", motion="", appears=True),
    ),
    figures=(
        score(58, 9, 52, 9, digits=(60, 8, 6)),
        lives(30, 182, 60, 9),
        Figure("sector", "sector", events=(), display=(91, 20, 14, 10), digits=(92, 8, 2)),
        Figure(
            "enemies",
            "enemies",
            ("enemy", "enemies"),
            events=("falls by",),
            display=(17, 31, 20, 10),
            digits=(18, 8, 2),
        ),
    ),
    nears=(
        Near("enemy", ("enemy",), "ship", 20, 70),
        Near("enemy fire", ("bolt",), "ship", 14, 60),
    ),
    nouns={
        "S": ("player", ("the ship", "the yellow ship")),
        "T": ("shot", ("a shot",)),
        "E": ("enemy", ("an enemy",)),
        "F": ("bolt", ("the fire of an enemy", "enemy fire")),
    },
    describing=(
        ("{S} is <column ship>",),
        ("{S} (waits|stands) <column ship>",),
        ("{S} is <column ship>, (moving|sliding) <xmotion ship>",),
        ("{S} <xmoves ship>",),
        ("{S} is <column ship> and <xmoves ship>",),
        ("{S} has been destroyed", ("ship", "is", "absent")),
        ("{T} is on its way", ("shot", "is", "there")),
        ("<there enemies> left in sector <digits sector>",),
        ("<count enemies:is|are> left in sector <digits sector>",),
        ("<there enemies> left in this sector",),
        ("this is sector <digits sector>",),
        ("{S} has just destroyed <loss enemies>",),
        *SCORE,
        *RESERVE,
    ),
    commenting=(
        *LIFE_LOST,
        (9, "bad", "{S} has been destroyed", ("ship", "is", "absent")),
        (8, "good", "an enemy is hit for <gain score>", ("enemies", "falls by", 1)),
        (8, "good", "{S} has just won <gain score>"),
        (7, "tense", "{F} is very close to {S}", ("enemy fire", "distance to ship", "close")),
        (7, "tense", "{E} is very close to {S}", ("enemy", "distance to ship", "close")),
        (5, "", "{S} has just fired", ("shot", "appears", "now")),
        (4, "", "{S} is sliding <xmotion ship>"),
        (4, "", "{T} is on its way up the beams", ("shot", "is", "there")),
        (3, "", "{S} is holding still", ("ship", "x motion", "none")),
        (3, "", "the enemies are still far away", ("enemy", "distance to ship", "far")),
        (2, "", "<count enemies:is|are> still to be shot in this sector"),
        (2, "", "{S} is <column ship> with <count enemies> still to shoot"),
        (1, "", "the score is <digits score> with <count lives> in reserve"),
    ),
)
