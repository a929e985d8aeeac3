"""Boxing, from the white boxer's side."""

from __future__ import annotations

from agents.commentary.games.common import lead
from agents.commentary.table import Extra, Figure, Near, Pair, Scene, Table, Thing

_WHITE, _BLACK = "white points", "black points"


def _extra(scene: Scene) -> Extra:
    return lead("white boxer", "black boxer", scene)


TABLE = Table(
    game="boxing",
    titles=("Boxing",),
    area=(32, 36, 128, 178),
    things=(
        Thing("white boxer", "player", main_motion=True),
        Thing("black boxer", "enemy"),
    ),
    figures=(
        Figure(
            _WHITE, "player_score", ("point", "points"), display=(36, 4, 20, 10), digits=(39, 8, 2)
        ),
        Figure(
            _BLACK, "enemy_score", ("point", "points"), display=(100, 4, 20, 10), digits=(103, 8, 2)
        ),
    ),
    pairs=(Pair("white boxer", "black boxer", "x", 8), Pair("white boxer", "black boxer", "y", 14)),
    nears=(Near("white boxer", ("player",), "black boxer", 14, 28),),
    extra=_extra,
    nouns={
        "W": ("player", ("the white boxer", "white", "the boxer in white")),
        "K": ("enemy", ("the black boxer", "black", "the boxer in black")),
        "WB": ("player", ("the white boxer", "the white boxer", "the boxer in white")),
        "KB": ("enemy", ("the black boxer", "the black boxer", "the boxer in black")),
    },
    describing=(
        ("{WB} is <place white boxer>",),
        ("{WB} (stands|boxes) <place white boxer>",),
        ("{KB} is <place black boxer>",),
        ("{KB} (stands|boxes) <place black boxer>",),
        ("both boxers are <bothplace white boxer,black boxer>",),
        ("{WB} is <place white boxer> and {KB} is <place black boxer>",),
        ("{KB} is <place black boxer> and {WB} <place white boxer>",),
        ("{WB} <moves white boxer>",),
        ("{WB} is <place white boxer>, (moving|stepping) <motion white boxer>",),
        ("{WB} is <place white boxer>, (moving|stepping) <xmotion white boxer>",),
        ("{WB} is <place white boxer>, (moving|stepping) <ymotion white boxer>",),
        ("{WB} is <place white boxer> and <moves white boxer>",),
        ("{KB} is <place black boxer>, while {WB} is <place white boxer> and <moves white boxer>",),
        ("{WB} is (moving|stepping) <xmotion white boxer>",),
        ("{WB} is (moving|stepping) <ymotion white boxer>",),
        ("{W} has <unit white points> and {K} has <digits black points>",),
        ("{W} leads <versus white points,black points>", ("lead", "is", "white boxer")),
        ("{K} leads <versus black points,white points>", ("lead", "is", "black boxer")),
        ("{W} is ahead <versus white points,black points>", ("lead", "is", "white boxer")),
        ("{K} is ahead <versus black points,white points>", ("lead", "is", "black boxer")),
        ("the boxers are tied at <tie white points,black points>", ("lead", "is", "nobody")),
        ("{W} and {K} are tied at <tie white points,black points>", ("lead", "is", "nobody")),
        ("{W} has just (scored|won) <gain white points>",),
        ("{K} has just (scored|won) <gain black points>",),
    ),
    commenting=(
        (9, "good", "{W} lands a punch for <gain white points>"),
        (9, "good", "a hit by {WB} is worth <gain white points>"),
        (9, "bad", "{K} lands a punch for <gain black points>"),
        (9, "bad", "a hit by {KB} is worth <gain black points>"),
        (
            9,
            "good",
            "{W} lands a punch and leads <versus white points,black points>",
            (_WHITE, "rises by", 1),
            ("lead", "is", "white boxer"),
        ),
        (
            9,
            "bad",
            "{K} lands a punch and leads <versus black points,white points>",
            (_BLACK, "rises by", 1),
            ("lead", "is", "black boxer"),
        ),
        (
            5,
            "tense",
            "{WB} is (moving|stepping) to the right, close to {KB}",
            ("white boxer", "x motion", "right"),
            ("white boxer", "distance to black boxer", "close"),
        ),
        (
            5,
            "",
            "{WB} is backing off to the left",
            ("white boxer", "x motion", "left"),
            ("white boxer", "column from black boxer", "left"),
        ),
        (
            4,
            "tense",
            "(the two boxers|the boxers) are (very close|within reach of each other)",
            ("white boxer", "distance to black boxer", "close"),
        ),
        (
            4,
            "",
            "(the two boxers|the boxers) keep their distance",
            ("white boxer", "distance to black boxer", "far"),
        ),
        (
            4,
            "",
            "(the two boxers|the boxers) are far apart",
            ("white boxer", "distance to black boxer", "far"),
        ),
        (2, "", "{W} has <unit white points> and {K} has <digits black points>"),
        (2, "", "{WB} is <place white boxer> with {KB} <place black boxer>"),
        (3, "", "{WB} is to the left of {KB}", ("white boxer", "column from black boxer", "left")),
        (
            3,
            "",
            "{WB} is to the right of {KB}",
            ("white boxer", "column from black boxer", "right"),
        ),
        (3, "", "{WB} is above {KB}", ("white boxer", "row from black boxer", "above")),
        (3, "", "{WB} is below {KB}", ("white boxer", "row from black boxer", "below")),
        (
            3,
            "",
            "(the two boxers|the boxers) are face to face",
            ("white boxer", "row from black boxer", "level"),
            ("white boxer", "distance to black boxer", "close"),
        ),
        (
            3,
            "",
            "{W} is in front, <versus white points,black points>",
            ("lead", "is", "white boxer"),
        ),
        (
            3,
            "",
            "{K} is in front, <versus black points,white points>",
            ("lead", "is", "black boxer"),
        ),
        (3, "", "the boxers are tied at <tie white points,black points>", ("lead", "is", "nobody")),
    ),
)
