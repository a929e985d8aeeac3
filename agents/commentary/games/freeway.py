"""Freeway: the left chicken crosses ten lanes."""

from __future__ import annotations

from agents.commentary.table import Figure, Near, Table, Thing

TABLE = Table(
    game="freeway",
    titles=("Freeway",),
    area=(8, 14, 160, 196),
    things=(Thing("chicken", "player", axes="y", motion="y", main_motion=True, reach=8),),
    figures=(
        Figure(
            "score", "score", ("crossing", "crossings"), display=(40, 4, 20, 11), digits=(40, 8, 2)
        ),
    ),
    nears=(Near("car", ("car",), "chicken", 3, 10),),
    nouns={
        "C": ("player", ("the chicken", "the chicken on the left")),
        "A": ("car", ("a car",)),
        "road": ("", ("the road", "the freeway")),
    },
    describing=(
        ("{C} is at the (top|far end) of {road}", ("chicken", "row", "top")),
        ("{C} has almost reached the other side", ("chicken", "row", "top")),
        ("{C} is in the middle of {road}", ("chicken", "row", "middle")),
        ("{C} is about halfway across {road}", ("chicken", "row", "middle")),
        ("{C} is at the (bottom|near end) of {road}", ("chicken", "row", "bottom")),
        ("{C} is <row chicken>",),
        ("{C} is <row chicken> and <ymoves chicken>",),
        ("{C} <ymoves chicken>",),
        ("{C} is (walking|running) up {road}", ("chicken", "y motion", "up")),
        ("{C} is (moving|going) back down", ("chicken", "y motion", "down")),
        ("{C} is <row chicken>, (walking|running) up", ("chicken", "y motion", "up")),
        ("{C} is <row chicken>, moving down", ("chicken", "y motion", "down")),
        ("{C} is standing still <row chicken>", ("chicken", "y motion", "none")),
        ("{C} has made <count score>",),
        ("<there score> (so far|on the board)",),
        ("the score is <digits score>",),
        ("the score stands at <digits score>",),
        ("{C} is <row chicken> and has made <count score>",),
        ("{C} has just made <gain score>",),
        ("{C} has just (made it|come) across", ("score", "rises by", 1)),
    ),
    commenting=(
        (9, "good", "{C} has made it across", ("score", "rises by", 1)),
        (9, "good", "{C} makes it to the other side", ("score", "rises by", 1)),
        (9, "good", "that is one more crossing for {C}", ("score", "rises by", 1)),
        (7, "tense", "{A} is very close to {C}", ("car", "distance to chicken", "close")),
        (7, "tense", "{C} has {A} right beside it", ("car", "distance to chicken", "close")),
        (5, "bad", "{C} is (moving|going) back down {road}", ("chicken", "y motion", "down")),
        (4, "", "{C} is (hurrying|running) up {road}", ("chicken", "y motion", "up")),
        (
            4,
            "",
            "{C} is (hurrying|running) up {road} with no car near it",
            ("chicken", "y motion", "up"),
            ("car", "distance to chicken", "far"),
        ),
        (
            4,
            "good",
            "{C} is on its way up and has almost reached the other side",
            ("chicken", "y motion", "up"),
            ("chicken", "row", "top"),
        ),
        (
            4,
            "",
            "{C} is waiting at the bottom",
            ("chicken", "y motion", "none"),
            ("chicken", "row", "bottom"),
        ),
        (
            4,
            "",
            "{C} stands still in the middle of {road}",
            ("chicken", "y motion", "none"),
            ("chicken", "row", "middle"),
        ),
        (3, "", "{C} has almost reached the other side", ("chicken", "row", "top")),
        (3, "", "{C} is right in the middle of {road}", ("chicken", "row", "middle")),
        (3, "", "{C} still has most of {road} ahead of it", ("chicken", "row", "bottom")),
        (3, "", "no car is near {C}", ("car", "distance to chicken", "far")),
        (2, "", "{C} has <count score> so far"),
        (
            2,
            "",
            "{C} is <row chicken> and no car is near it",
            ("car", "distance to chicken", "far"),
        ),
        (2, "", "{C} still waits for its first crossing", ("score", "is", 0)),
    ),
)
