"""Pong, from the green paddle's side."""

from __future__ import annotations

from agents.commentary.games.common import lead
from agents.commentary.table import Extra, Figure, Pair, Scene, Statement, Table, Thing

_GREEN, _ORANGE = "green points", "orange points"
_WALL_PX = 14


def _extra(scene: Scene) -> Extra:
    said, also = lead("green paddle", "orange paddle", scene)
    if turned := scene.turn("ball", 1):
        way, sure = turned
        hit = Statement("ball", "bounces off", "green paddle" if way > 0 else "orange paddle")
        (said if sure else also).append(hit)
    elif turned := scene.turn("ball", 2):
        way, sure = turned
        heights = [y for _, _, y in scene.tracks["ball"]]
        high, low = min(heights) - 34, 194 - max(heights)
        at_wall = (low if way > 0 else high) < 2 * _WALL_PX
        (said if sure and at_wall else also).append(Statement("ball", "bounces off", "wall"))
    return said, also


TABLE = Table(
    game="pong",
    titles=("Pong",),
    area=(0, 34, 160, 194),
    things=(
        Thing("green paddle", "player", axes="y", motion="y", reach=30),
        Thing("orange paddle", "enemy", axes="y", motion="y", reach=8),
        Thing("ball", "ball", main_motion=True, absent=True, appears=True),
    ),
    figures=(
        Figure(
            _GREEN, "player_score", ("point", "points"), display=(96, 0, 34, 22), digits=(96, 16, 2)
        ),
        Figure(
            _ORANGE, "enemy_score", ("point", "points"), display=(16, 0, 32, 22), digits=(16, 16, 2)
        ),
    ),
    pairs=(Pair("ball", "green paddle", "y", 10), Pair("ball", "orange paddle", "y", 10)),
    extra=_extra,
    nouns={
        "G": ("player", ("the green paddle", "green", "the right paddle")),
        "O": ("enemy", ("the orange paddle", "orange", "the left paddle")),
        "GP": ("player", ("the green paddle", "the green paddle", "the right paddle")),
        "OP": ("enemy", ("the orange paddle", "the orange paddle", "the left paddle")),
        "B": ("ball", ("the ball",)),
    },
    describing=(
        ("{GP} (is|waits|stands) <row green paddle>",),
        ("{OP} (is|waits|stands) <row orange paddle>",),
        ("{GP} is <row green paddle> and {OP} is <row orange paddle>",),
        ("{OP} is <row orange paddle> and {GP} <row green paddle>",),
        ("both paddles are <both green paddle,orange paddle>",),
        ("{B} is <place ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <motion ball>",),
        ("{B} is (flying|moving) <motion ball> and is now <place ball>",),
        ("{B} <moves ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <xmotion ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <ymotion ball>",),
        ("{B} is <place ball> and <moves ball>",),
        ("{B} is (flying|moving) <xmotion ball>",),
        ("{B} is (flying|moving) <ymotion ball>",),
        ("(there is no ball on the field|the ball is out of play)", ("ball", "is", "absent")),
        ("{G} has <unit green points> and {O} has <digits orange points>",),
        ("{G} leads <versus green points,orange points>", ("lead", "is", "green paddle")),
        ("{O} leads <versus orange points,green points>", ("lead", "is", "orange paddle")),
        ("{G} is ahead <versus green points,orange points>", ("lead", "is", "green paddle")),
        ("{O} is ahead <versus orange points,green points>", ("lead", "is", "orange paddle")),
        ("the paddles are tied at <tie green points,orange points>", ("lead", "is", "nobody")),
        ("{G} and {O} are tied at <tie green points,orange points>", ("lead", "is", "nobody")),
        ("{G} has just won <gain green points>",),
        ("{O} has just won <gain orange points>",),
        ("{G} has just scored", (_GREEN, "rises by", 1)),
        ("{O} has just scored", (_ORANGE, "rises by", 1)),
    ),
    commenting=(
        (9, "good", "{G} (scores|has just scored)", (_GREEN, "rises by", 1)),
        (9, "good", "a point for {G}", (_GREEN, "rises by", 1)),
        (9, "good", "{B} has slipped past {OP}", (_GREEN, "rises by", 1)),
        (
            9,
            "good",
            "{G} scores and leads <versus green points,orange points>",
            (_GREEN, "rises by", 1),
            ("lead", "is", "green paddle"),
        ),
        (
            9,
            "good",
            "{G} scores, and the paddles are tied at <tie green points,orange points>",
            (_GREEN, "rises by", 1),
            ("lead", "is", "nobody"),
        ),
        (9, "bad", "{O} (scores|has just scored)", (_ORANGE, "rises by", 1)),
        (9, "bad", "a point for {O}", (_ORANGE, "rises by", 1)),
        (9, "bad", "{B} has slipped past {GP}", (_ORANGE, "rises by", 1)),
        (
            9,
            "bad",
            "{O} scores and leads <versus orange points,green points>",
            (_ORANGE, "rises by", 1),
            ("lead", "is", "orange paddle"),
        ),
        (7, "", "{GP} (sends|hits|plays) {B} back", ("ball", "bounces off", "green paddle")),
        (7, "", "{B} has just come off {GP}", ("ball", "bounces off", "green paddle")),
        (7, "", "{OP} (sends|hits|plays) {B} back", ("ball", "bounces off", "orange paddle")),
        (7, "", "{B} has just come off {OP}", ("ball", "bounces off", "orange paddle")),
        (6, "", "{B} has just bounced off the wall", ("ball", "bounces off", "wall")),
        (6, "", "a bounce off the wall", ("ball", "bounces off", "wall")),
        (
            5,
            "tense",
            "{B} is (coming at|heading for) {GP}, which is too low",
            ("ball", "x motion", "right"),
            ("ball", "row from green paddle", "above"),
        ),
        (
            5,
            "tense",
            "{B} is (coming at|heading for) {GP}, which is too high",
            ("ball", "x motion", "right"),
            ("ball", "row from green paddle", "below"),
        ),
        (
            5,
            "",
            "{B} is (coming at|heading for) {GP}, which is right in its way",
            ("ball", "x motion", "right"),
            ("ball", "row from green paddle", "level"),
        ),
        (
            5,
            "",
            "{B} is (heading for|on its way to) {OP}, which is too low",
            ("ball", "x motion", "left"),
            ("ball", "row from orange paddle", "above"),
        ),
        (
            5,
            "",
            "{B} is (heading for|on its way to) {OP}, which is too high",
            ("ball", "x motion", "left"),
            ("ball", "row from orange paddle", "below"),
        ),
        (4, "", "{B} is heading for {GP}", ("ball", "x motion", "right")),
        (4, "", "{B} is on its way to {OP}", ("ball", "x motion", "left")),
        (3, "", "{B} is above {GP}", ("ball", "row from green paddle", "above")),
        (3, "", "{B} is below {GP}", ("ball", "row from green paddle", "below")),
        (3, "", "{GP} is level with {B}", ("ball", "row from green paddle", "level")),
        (3, "", "{OP} is level with {B}", ("ball", "row from orange paddle", "level")),
        (3, "", "everybody is waiting for the next ball", ("ball", "is", "absent")),
        (3, "", "the next ball is still to come", ("ball", "is", "absent")),
        (
            2,
            "",
            "{G} is in front, <versus green points,orange points>",
            ("lead", "is", "green paddle"),
        ),
        (
            2,
            "",
            "{O} is in front, <versus orange points,green points>",
            ("lead", "is", "orange paddle"),
        ),
        (
            2,
            "",
            "the paddles are tied at <tie green points,orange points>",
            ("lead", "is", "nobody"),
        ),
    ),
)
