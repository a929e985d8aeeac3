"""Q*bert, whom sentences call Qbert. A ball may be Coily's egg; Sam may be Slick."""

from __future__ import annotations

from agents.commentary.games.common import LIFE_LOST, RESERVE, SCORE, lives, score
from agents.commentary.table import Crowd, Extra, Figure, Near, Scene, Statement, Table, Thing

_SCORE = (33, 6, 42, 9)


def _extra(scene: Scene) -> Extra:
    """Whether a cube has got its colour; all of them flash at the end of a round."""
    turned = [Statement("cubes", "turn", "now")] if 0 < scene.change("cubes") < 3 else []
    return turned, []


TABLE = Table(
    game="qbert",
    titles=("Qbert",),
    area=(8, 30, 152, 195),
    things=(
        Thing("Qbert", "player", reach=9),
        Thing("snake", "coily", appears=True, reach=9),
        Thing("green man", "sam", axes="", motion="", main=False, appears=True),
    ),
    crowds=(Crowd("balls", "ball", ("ball", "balls")),),
    figures=(
        score(
            *_SCORE,
            while_drawn=_SCORE,
            digits=(34, 8, 5),
        ),
        lives(33, 16, 40, 13, while_drawn=_SCORE),
        Figure("cubes", "cubes", near=1, events=(), names=(("few", 6), ("half", 14), ("most", 21))),
    ),
    nears=(
        Near("snake", ("coily",), "Qbert", 12, 40),
        Near("ball", ("ball",), "Qbert", 14, 45, none=True),
    ),
    extra=_extra,
    nouns={
        "Q": ("player", ("Qbert", "the orange hero")),
        "S": ("coily", ("the snake", "the purple snake")),
        "G": ("sam", ("the green man",)),
        "B": ("ball", ("a ball",)),
    },
    describing=(
        ("{Q} is <place Qbert>",),
        ("{Q} (stands|sits) <place Qbert>",),
        ("{Q} is <place Qbert> and <moves Qbert>",),
        ("{S} is <place snake>",),
        ("{S} (waits|lurks) <place snake>",),
        ("{Q} is <place Qbert> and {S} is <place snake>",),
        ("{G} is on the pyramid", ("green man", "is", "there")),
        ("<there balls> on the pyramid",),
        ("<some balls:is|are> on the pyramid",),
        ("(few|only a few) of the cubes are turned", ("cubes", "is", "few")),
        ("about half of the cubes are turned", ("cubes", "is", "half")),
        ("most of the cubes are turned", ("cubes", "is", "most")),
        *SCORE,
        *RESERVE,
    ),
    commenting=(
        *LIFE_LOST,
        (8, "good", "another cube is turned", ("cubes", "turn", "now")),
        (8, "good", "{Q} turns a cube for <gain score>", ("cubes", "turn", "now")),
        (8, "tense", "{S} is very close to {Q}", ("snake", "distance to Qbert", "close")),
        (7, "tense", "{B} is very close to {Q}", ("ball", "distance to Qbert", "close")),
        (7, "tense", "{S} appears", ("snake", "appears", "now")),
        (6, "good", "{G} appears", ("green man", "appears", "now")),
        (5, "", "{Q} is hopping <motion Qbert>"),
        (4, "", "{S} is hopping <motion snake>"),
        (4, "", "{G} is on the pyramid", ("green man", "is", "there")),
        (3, "", "{S} is after {Q}", ("snake", "is", "there")),
        (3, "", "{S} is far away from {Q}", ("snake", "distance to Qbert", "far")),
        (
            3,
            "",
            "{Q} is waiting",
            ("Qbert", "x motion", "none"),
            ("Qbert", "y motion", "none"),
        ),
        (3, "", "no ball is near {Q}", ("ball", "distance to Qbert", "far")),
        (2, "", "only a few of the cubes are turned yet", ("cubes", "is", "few")),
        (2, "", "about half of the pyramid is done", ("cubes", "is", "half")),
        (2, "good", "most of the cubes are turned already", ("cubes", "is", "most")),
        (2, "", "{Q} is <place Qbert> with <unit score> on the board"),
        (1, "", "the score is <digits score> with <count lives> in reserve"),
    ),
)
