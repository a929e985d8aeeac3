"""Breakout."""

from __future__ import annotations

from agents.commentary.games.common import LIFE_LOST, LIVES, SCORE, lives, score
from agents.commentary.table import Extra, Figure, Pair, Scene, Statement, Table, Thing


def _extra(scene: Scene) -> Extra:
    said: list[Statement] = []
    also: list[Statement] = []
    if scene.moments[-1].facts["bricks"] == 108:
        said.append(Statement("wall of bricks", "is", "whole"))
    turned = scene.turn("ball", 2)
    if turned:
        way, sure = turned
        lowest = max(y for _, _, y in scene.tracks["ball"])
        if way > 0:
            hit = Statement("ball", "bounces off", "paddle")
            (said if sure and lowest > 165 else also).append(hit)
    return said, also


TABLE = Table(
    game="breakout",
    titles=("Breakout",),
    area=(8, 32, 152, 193),
    things=(
        Thing("paddle", "player", axes="x", motion="x", reach=30),
        Thing("ball", "ball", main_motion=True, absent=True, appears=True),
    ),
    figures=(
        score(36, 5, 46, 11, digits=(36, 16, 3)),
        lives(98, 5, 16, 11),
        Figure(
            "bricks", "bricks", near=5, events=(), names=(("few", 36), ("half", 72), ("most", 108))
        ),
    ),
    pairs=(Pair("ball", "paddle", "x", 9),),
    extra=_extra,
    nouns={"P": ("player", ("the paddle", "the red paddle")), "B": ("ball", ("the ball",))},
    describing=(
        ("{P} is <column paddle>",),
        ("{P} (waits|stands) <column paddle>",),
        ("{P} is <column paddle> and {B} is <place ball>",),
        ("{B} is <place ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <motion ball>",),
        ("{B} is (flying|moving) <motion ball> and is now <place ball>",),
        ("{B} <moves ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <xmotion ball>",),
        ("{B} is <place ball>, (flying|moving|heading) <ymotion ball>",),
        ("{B} is <place ball> and <moves ball>",),
        ("{B} is (flying|moving) <xmotion ball>",),
        ("{B} is (flying|moving) <ymotion ball>",),
        ("(there is no ball in play|the ball is out of play)", ("ball", "is", "absent")),
        ("most (of the |)bricks are (left|still standing)", ("bricks", "is", "most")),
        ("about half of the bricks are (left|still standing)", ("bricks", "is", "half")),
        ("(few|only a few) bricks are (left|still standing)", ("bricks", "is", "few")),
        (
            "the wall of bricks is (whole|untouched)",
            ("bricks", "is", "most"),
            ("wall of bricks", "is", "whole"),
        ),
        *SCORE,
        *LIVES,
    ),
    commenting=(
        *LIFE_LOST,
        (9, "bad", "{B} got past {P} and a life is lost", ("lives", "falls by", 1)),
        (
            8,
            "good",
            "(a brick breaks|a brick is gone), worth <gain score>",
        ),
        (
            8,
            "good",
            "{B} hits the wall of bricks for <gain score>",
        ),
        (7, "good", "{B} has just come off {P}", ("ball", "bounces off", "paddle")),
        (7, "good", "{P} (sends|plays|hits) {B} back up", ("ball", "bounces off", "paddle")),
        (
            5,
            "tense",
            "{B} is coming down to the left of {P}",
            ("ball", "y motion", "down"),
            ("ball", "column from paddle", "left"),
        ),
        (
            5,
            "tense",
            "{B} is coming down to the right of {P}",
            ("ball", "y motion", "down"),
            ("ball", "column from paddle", "right"),
        ),
        (
            5,
            "",
            "{B} is coming down and {P} is right below it",
            ("ball", "y motion", "down"),
            ("ball", "column from paddle", "level"),
        ),
        (
            5,
            "",
            "{B} is on its way up to the bricks",
            ("ball", "y motion", "up"),
            ("ball", "row", "bottom"),
        ),
        (4, "", "{B} (flies|is on its way) up", ("ball", "y motion", "up")),
        (3, "", "{P} is right below {B}", ("ball", "column from paddle", "level")),
        (3, "", "{B} is to the left of {P}", ("ball", "column from paddle", "left")),
        (3, "", "{B} is to the right of {P}", ("ball", "column from paddle", "right")),
        (3, "", "{P} is waiting for the next ball", ("ball", "is", "absent")),
        (3, "", "the next ball is still to come", ("ball", "is", "absent")),
        (2, "", "not a single brick is gone yet", ("wall of bricks", "is", "whole")),
        (2, "", "only a few bricks are left to hit", ("bricks", "is", "few")),
        (2, "", "about half of the work is done", ("bricks", "is", "half")),
        (2, "", "{P} is <column paddle> and {B} is <place ball>"),
        (1, "", "<count lives:is|are> left with <unit score> on the board"),
    ),
)
