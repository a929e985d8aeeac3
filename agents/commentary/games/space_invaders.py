"""Space Invaders. Lives are shown between two of them only, so nothing is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.commentary.games.common import SCORE, score
from agents.commentary.table import Crowd, Extra, Figure, Near, Scene, Statement, Table, Thing
from playground.frames import Box

_GREY = ((142, 142, 142),)


def _fleet(boxes: Sequence[Box]) -> Iterable[Box]:
    """The box around all invaders."""
    invaders = [box for box in boxes if box.name == "invader"]
    if invaders:
        x, y = min(box.x for box in invaders), min(box.y for box in invaders)
        right = max(box.x + box.width for box in invaders)
        bottom = max(box.y + box.height for box in invaders)
        yield Box("fleet", x, y, right - x, bottom - y)


def _extra(scene: Scene) -> Extra:
    """Whether invaders were shot, whether a bomb is right above the cannon."""
    said: list[Statement] = []
    also: list[Statement] = []
    if scene.change("invaders") < 0:
        said.append(Statement("invaders lost", "is", "some"))
    cannon = scene.seen.get("cannon")
    over = Statement("bombs", "column from cannon", "level")
    for at in scene.moments[-2:] if cannon else ():
        for box in at.boxes:
            if box.name == "bomb" and cannon and box.y < cannon.y:
                away = abs(box.x - cannon.x - cannon.width / 2)
                if away <= 5 and box not in at.hidden and at is scene.moments[-1]:
                    said.append(over)
                elif away <= 12:
                    also.append(over)
    return said, also


TABLE = Table(
    game="space_invaders",
    titles=("Space Invaders",),
    area=(0, 25, 160, 195),
    things=(
        Thing("cannon", "player", axes="x", motion="x", main_motion=True, colours=((50, 132, 50),)),
        Thing("fleet", "fleet", axes="", motion="x", main=False),
        Thing("missile", "missile", axes="", motion="", colours=_GREY, appears=True),
        Thing("saucer", "saucer", axes="", motion="x", appears=True),
    ),
    crowds=(
        Crowd("invaders", "invader", ("invader", "invaders")),
        Crowd("bombs", "bomb", ("bomb", "bombs"), colours=_GREY),
    ),
    figures=(
        score(2, 8, 64, 13, digits=(4, 16, 4)),
        Figure("lives", "lives", ("life", "lives"), main=False, events=("falls by",)),
    ),
    nears=(Near("bombs", ("bomb",), "cannon", 18, 60),),
    derive=_fleet,
    extra=_extra,
    nouns={
        "C": ("player", ("the cannon", "the green cannon")),
        "F": ("fleet", ("the invaders",)),
        "M": ("missile", ("the missile",)),
        "S": ("saucer", ("the saucer", "the flying saucer")),
        "I": ("invader", ("an invader",)),
        "D": ("bomb", ("a bomb",)),
    },
    describing=(
        ("{C} is <column cannon>",),
        ("{C} (waits|stands) <column cannon>",),
        ("{C} is <column cannon>, (moving|sliding) <xmotion cannon>",),
        ("{C} <xmoves cannon>",),
        ("<there invaders> left",),
        ("<count invaders:is|are> left",),
        ("<there invaders> in the sky",),
        ("<there invaders> in the sky and {C} is <column cannon>",),
        ("{C} is <column cannon> and <xmoves cannon>",),
        ("<count invaders:faces|face> {C}, which is <column cannon>",),
        ("<count bombs:is|are> in the air",),
        ("<there bombs> in the air",),
        ("<count invaders:is|are> left and <some bombs:is|are> in the air",),
        ("{M} is in the air", ("missile", "is", "there")),
        ("the missile of {C} is in the air", ("missile", "is", "there")),
        ("{S} is (here|at the top)", ("saucer", "is", "there")),
        *SCORE,
    ),
    commenting=(
        (9, "bad", "a life is lost", ("lives", "falls by", 1)),
        (9, "bad", "{C} has been lost and a new one comes", ("lives", "falls by", 1)),
        (9, "good", "{I} is hit for <gain score>", ("invaders lost", "is", "some")),
        (
            9,
            "good",
            "(a hit|one invader less), and <gain score> more",
            ("invaders lost", "is", "some"),
        ),
        (8, "good", "that is worth <gain score>"),
        (8, "good", "{S} appears", ("saucer", "appears", "now")),
        (7, "", "{S} is (here|at the top)", ("saucer", "is", "there")),
        (7, "tense", "{D} is right above {C}", ("bombs", "column from cannon", "level")),
        (6, "tense", "{D} is very close to {C}", ("bombs", "distance to cannon", "close")),
        (6, "", "{C} has just fired", ("missile", "appears", "now")),
        (5, "", "{M} is in the air", ("missile", "is", "there")),
        (4, "", "{F} are marching to the left", ("fleet", "x motion", "left")),
        (4, "", "{F} are marching to the right", ("fleet", "x motion", "right")),
        (4, "", "{C} is sliding <xmotion cannon>"),
        (3, "", "{C} is holding still", ("cannon", "x motion", "none")),
        (3, "", "no bomb is in the air right now", ("bombs", "count", 0)),
        (2, "", "<count invaders:is|are> still to be shot"),
        (2, "", "not a single invader has been shot yet", ("invaders", "count", 36)),
        (2, "", "{C} is <column cannon> with <count invaders> still to shoot"),
        (3, "tense", "{C} has a bomb in the air above it", ("bombs", "count", 1)),
        (3, "tense", "{C} has two bombs in the air above it", ("bombs", "count", 2)),
        (1, "", "the score is <digits score> with <count invaders> left"),
    ),
)
