"""Ms. Pac-Man. The console draws the ghosts by turns; their places are told from clips."""

from __future__ import annotations

from agents.commentary.games.common import LIFE_LOST, RESERVE, SCORE, lives, score
from agents.commentary.table import Extra, Near, Scene, Statement, Table, Thing

_EDIBLE = ((66, 114, 194), (214, 214, 214))  # blue, and white as the time runs out
_GHOSTS = {
    "blinky": ((200, 72, 72), *_EDIBLE),
    "pinky": ((198, 89, 179), *_EDIBLE),
    "inky": ((84, 184, 153), *_EDIBLE),
    "sue": ((180, 122, 48), *_EDIBLE),
}


def _extra(scene: Scene) -> Extra:
    edible = [at.facts["edible"] or 0 for at in scene.moments]
    if len(edible) == 1:
        return [], []
    if min(edible) > 0:
        return [Statement("ghosts", "are", "blue")], []
    if max(edible) == 0:
        return [Statement("ghosts", "are", "dangerous")], []
    return [], [Statement("ghosts", "are", "blue"), Statement("ghosts", "are", "dangerous")]


TABLE = Table(
    game="ms_pacman",
    titles=("Ms. Pac-Man",),
    area=(0, 2, 160, 171),
    things=(
        Thing("Ms. Pac-Man", "player", main_motion=True),
        *(
            Thing(name, name, main=False, colours=colour, turns=4)
            for name, colour in _GHOSTS.items()
        ),
        Thing("fruit", "fruit", appears=True, main=False),
    ),
    figures=(
        score(55, 185, 50, 11, digits=(55, 8, 6)),
        lives(10, 171, 60, 15),
    ),
    nears=(Near("ghost", tuple(_GHOSTS), "Ms. Pac-Man", 4, 28),),
    extra=_extra,
    nouns={
        "M": ("player", ("Ms. Pac-Man", "the heroine")),
        "H": ("ghost", ("the ghosts",)),
        "A": ("ghost", ("a ghost",)),
        "F": ("fruit", ("a fruit", "some fruit")),
    },
    describing=(
        ("{M} is <place Ms. Pac-Man>",),
        ("{M} is <place Ms. Pac-Man>, (moving|running) <motion Ms. Pac-Man>",),
        ("{M} is (moving|running) <motion Ms. Pac-Man> and is now <place Ms. Pac-Man>",),
        ("{M} <moves Ms. Pac-Man>",),
        ("{M} is (moving|running) <xmotion Ms. Pac-Man>",),
        ("{M} is (moving|running) <ymotion Ms. Pac-Man>",),
        ("{M} is <place Ms. Pac-Man> and <moves Ms. Pac-Man>",),
        ("{M} is <place Ms. Pac-Man>, (moving|running) <xmotion Ms. Pac-Man>",),
        ("{M} is <place Ms. Pac-Man>, (moving|running) <ymotion Ms. Pac-Man>",),
        ("{H} are blue", ("ghosts", "are", "blue")),
        *SCORE,
        *RESERVE,
    ),
    commenting=(
        *LIFE_LOST,
        (
            8,
            "tense",
            "{A} is very close to {M}",
            ("ghost", "distance to Ms. Pac-Man", "close"),
            ("ghosts", "are", "dangerous"),
        ),
        (
            8,
            "good",
            "{A} that can be eaten is very close to {M}",
            ("ghost", "distance to Ms. Pac-Man", "close"),
            ("ghosts", "are", "blue"),
        ),
        (7, "tense", "{M} has {A} right beside her", ("ghost", "distance to Ms. Pac-Man", "close")),
        (7, "good", "{H} are blue and can be eaten", ("ghosts", "are", "blue")),
        (6, "good", "{F} appears", ("fruit", "appears", "now")),
        (5, "", "{M} is running <motion Ms. Pac-Man>"),
        (5, "good", "{M} eats her way <motion Ms. Pac-Man> for <gain score>"),
        (
            4,
            "",
            "{M} is standing still",
            ("Ms. Pac-Man", "x motion", "none"),
            ("Ms. Pac-Man", "y motion", "none"),
        ),
        (3, "", "{F} is waiting in the maze", ("fruit", "is", "there")),
        (3, "", "no ghost is near {M}", ("ghost", "distance to Ms. Pac-Man", "far")),
        (2, "", "{M} is <place Ms. Pac-Man> with <unit score> on the board"),
        (1, "", "the score is <digits score> with <count lives> in reserve"),
    ),
)
