"""Enduro. At night rivals are two lights, in the fog they come late."""

from __future__ import annotations

from agents.commentary.table import Extra, Figure, Near, Scene, Statement, Table, Thing

AHEAD_PX, BESIDE_PX = 45, 10  # that a rival right ahead is further up, and aside, at most
_DOUBT_PX = 12


def _extra(scene: Scene) -> Extra:
    """Whether a rival has overtaken, whether one is right ahead."""
    said: list[Statement] = []
    also: list[Statement] = []
    if 0 < scene.change("cars") < 10:  # more are those of the next day
        said.append(Statement("rivals", "overtake", "now"))
    racer = scene.seen.get("race car")
    if racer is None:
        return said, also
    ahead = Statement("rivals", "column from race car", "level")
    for box in scene.moments[-1].boxes:
        up = racer.y - box.y - box.height
        aside = abs(box.x + box.width / 2 - racer.x - racer.width / 2)
        if box.name == "car" and 0 <= up <= AHEAD_PX and aside <= BESIDE_PX:
            said.append(ahead)
        if box.name == "car" and -_DOUBT_PX <= up <= AHEAD_PX + _DOUBT_PX:
            also += [ahead] if aside <= BESIDE_PX + _DOUBT_PX else []
    return said, also


TABLE = Table(
    game="enduro",
    titles=("Enduro",),
    area=(8, 53, 160, 155),
    things=(Thing("race car", "player", axes="x", motion="x", main_motion=True),),
    figures=(
        Figure(
            "cars to pass",
            "cars",
            ("car", "cars"),
            events=("falls by",),
            display=(80, 179, 24, 10),
            digits=(80, 8, 3),
        ),
        Figure("day", "day", events=(), display=(56, 179, 9, 10), digits=(56, 8, 1)),
        Figure("light", "night", events=(), names=(("day", 0), ("night", 1))),
        Figure("fog", "fog", main=False, events=(), names=(("none", 0), ("thick", 1))),
    ),
    nears=(Near("rival", ("car",), "race car", 5, 25, none=True),),
    extra=_extra,
    nouns={
        "R": ("player", ("the race car", "our car")),
        "A": ("car", ("a rival", "another car")),
    },
    describing=(
        ("{R} is <column race car>",),
        ("{R} (drives|races) <column race car>",),
        ("{R} is <column race car>, (moving|steering) <xmotion race car>",),
        ("{R} <xmoves race car>",),
        ("{R} is <column race car> and <xmoves race car>",),
        ("<there cars to pass> (left to pass|still to pass)",),
        ("<count cars to pass:is|are> still to be passed",),
        ("it is day <digits day> with <count cars to pass> left to pass",),
        ("it is day <digits day>",),
        ("this is day <digits day> of the race",),
        ("the sun is up", ("light", "is", "day")),
        ("it is night", ("light", "is", "night")),
        ("it is night on day <digits day>", ("light", "is", "night")),
        ("the sun is up on day <digits day>", ("light", "is", "day")),
        ("fog hides the road", ("fog", "is", "thick")),
        ("{R} has just passed <loss cars to pass>",),
    ),
    commenting=(
        (9, "good", "one more car is passed", ("cars to pass", "falls by", 1)),
        (9, "good", "{R} (overtakes|passes) a rival", ("cars to pass", "falls by", 1)),
        (9, "bad", "a rival (overtakes|passes) {R}", ("rivals", "overtake", "now")),
        (8, "good", "{R} has just passed <loss cars to pass>"),
        (7, "tense", "{A} is very close to {R}", ("rival", "distance to race car", "close")),
        (
            6,
            "tense",
            "{A} is right ahead of {R}",
            ("rivals", "column from race car", "level"),
        ),
        (4, "", "{R} is steering <xmotion race car>"),
        (4, "", "it is night and rivals are only two lights", ("light", "is", "night")),
        (4, "", "fog hides what comes", ("fog", "is", "thick")),
        (3, "", "{R} holds its line", ("race car", "x motion", "none")),
        (3, "", "no rival is near {R}", ("rival", "distance to race car", "far")),
        (
            3,
            "",
            "{R} is <column race car> and no rival is near it",
            ("rival", "distance to race car", "far"),
        ),
        (2, "", "<count cars to pass:is|are> still to be passed on day <digits day>"),
        (2, "", "{R} is <column race car> with <count cars to pass> left to pass"),
    ),
)
