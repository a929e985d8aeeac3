"""Skiing: down the slope through gates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.commentary.table import (
    SLOW_PX,
    Crowd,
    Extra,
    Figure,
    Near,
    Pair,
    Scene,
    Statement,
    Table,
    Thing,
)
from playground.frames import Box


def _gate(boxes: Sequence[Box]) -> Iterable[Box]:
    """The next gate: the two flags that come first below the skier's head."""
    skier = next((box for box in boxes if box.name == "player"), None)
    flags = [b for b in boxes if b.name == "flag" and skier and b.y + b.height > skier.y + 24]
    if flags:
        first = min(box.y for box in flags)
        pair = [box for box in flags if box.y == first]
        if len(pair) == 2:
            x, right = min(b.x for b in pair), max(b.x + b.width for b in pair)
            yield Box("gate", x, first, right - x, pair[0].height)


def _extra(scene: Scene) -> Extra:
    """Whether the skier goes downhill: the slope rises then, each object in its own column."""
    yes, no = Statement("skier", "downhill", "yes"), Statement("skier", "downhill", "no")
    if len(scene.moments) == 1:
        return [], []
    names = ("flag", "tree", "mogul")
    first, last = (
        {(box.name, box.x): (box.y, box.y + box.height) for box in at.boxes if box.name in names}
        for at in (scene.moments[0], scene.moments[-1])
    )
    same = first.keys() & last.keys()
    # the field's edge holds an upper or lower edge back
    rises = [max(a - b for a, b in zip(first[key], last[key], strict=True)) for key in same]
    if rises and min(rises) > SLOW_PX:
        return [yes], []
    if rises and max(rises) == 0 and first == last:
        return [no], []
    return [], [yes, no]


TABLE = Table(
    game="skiing",
    titles=("Skiing",),
    area=(8, 32, 152, 178),
    things=(
        Thing("skier", "player", axes="x", motion="x", main_motion=True),
        Thing("next gate", "gate", axes="", motion="", main=False),
    ),
    crowds=(
        Crowd("trees", "tree", ("tree", "trees")),
        Crowd("moguls", "mogul", ("mogul", "moguls"), main=False),
    ),
    figures=(
        Figure(
            "gates",
            "gates",
            ("gate", "gates"),
            events=("falls by",),
            display=(62, 5, 24, 10),
            digits=(66, 8, 2),
        ),
        Figure(
            "clock",
            "centiseconds",
            per=100,
            near=3,
            events=(),
            display=(56, 14, 44, 11),
            digits=(58, 8, 3),
            minutes=True,
        ),
    ),
    pairs=(Pair("next gate", "skier", "x", 14),),
    nears=(Near("tree", ("tree",), "skier", 6, 24),),
    derive=_gate,
    extra=_extra,
    nouns={
        "S": ("player", ("the skier",)),
        "G": ("gate", ("the next gate",)),
        "T": ("tree", ("a tree",)),
    },
    describing=(
        ("{S} is <column skier>",),
        (
            "{S} is <column skier>, going straight down",
            ("skier", "x motion", "none"),
            ("skier", "downhill", "yes"),
        ),
        (
            "{S} (stands still|is standing still) <column skier>",
            ("skier", "x motion", "none"),
            ("skier", "downhill", "no"),
        ),
        (
            "{S} is <column skier> and moves neither left nor right",
            ("skier", "x motion", "none"),
        ),
        ("{S} is <column skier> with <count gates> to go",),
        ("that is <loss gates> less to go",),
        ("{S} is <column skier>, (moving|heading) <xmotion skier>",),
        ("{S} is heading <xmotion skier>",),
        ("{S} moves neither left nor right", ("skier", "x motion", "none")),
        ("<there trees> (on the slope|in sight)",),
        ("<count trees:stands|stand> on the slope",),
        ("<count gates:is|are> (left|still to come)",),
        ("the clock shows <clock clock>",),
        ("<count gates:is|are> left after <clock clock>",),
    ),
    commenting=(
        (9, "good", "another gate is done and <count gates:is|are> left", ("gates", "falls by", 1)),
        (9, "", "one gate less to go", ("gates", "falls by", 1)),
        (7, "tense", "{T} is very close to {S}", ("tree", "distance to skier", "close")),
        (6, "", "{G} is to the left", ("next gate", "column from skier", "left")),
        (6, "", "{G} is to the right", ("next gate", "column from skier", "right")),
        (6, "good", "{G} is straight ahead", ("next gate", "column from skier", "level")),
        (
            6,
            "good",
            "{S} is heading left toward {G}",
            ("skier", "x motion", "left"),
            ("next gate", "column from skier", "left"),
        ),
        (
            6,
            "good",
            "{S} is heading right toward {G}",
            ("skier", "x motion", "right"),
            ("next gate", "column from skier", "right"),
        ),
        (
            6,
            "tense",
            "{S} is heading away from {G} on the right",
            ("skier", "x motion", "left"),
            ("next gate", "column from skier", "right"),
        ),
        (
            6,
            "tense",
            "{S} is heading away from {G} on the left",
            ("skier", "x motion", "right"),
            ("next gate", "column from skier", "left"),
        ),
        (4, "", "{S} is gliding <xmotion skier>"),
        (
            4,
            "",
            "{S} is going straight down",
            ("skier", "x motion", "none"),
            ("skier", "downhill", "yes"),
        ),
        (
            5,
            "bad",
            "{S} has come to a stop",
            ("skier", "x motion", "none"),
            ("skier", "downhill", "no"),
        ),
        (5, "", "{S} is racing down the slope", ("skier", "downhill", "yes")),
        (2, "", "{S} is <column skier> with <some trees> on the slope"),
        (3, "", "no tree is near {S}", ("tree", "distance to skier", "far")),
        (2, "", "<count gates:is|are> still to come after <clock clock>"),
    ),
)
