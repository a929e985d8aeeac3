"""What a game's captions are made from: statements, moments of play, and the table of a game.

A `Table` names the objects and figures of a game and gives its clauses; a further game is one more
table (`agents/commentary/games`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agents.ram_games.common import Facts
from playground.frames import Box

Value = str | int
Question = tuple[str, str]  # subject, relation
Colours = tuple[tuple[int, int, int], ...]


SLOW_PX = 3  # between two frames of a clip; what moves less cannot be told from rest


CHANGES = ("falls by", "rises by")  # relations of what happens to figures


def to_another(relation: str) -> bool:
    """Whether a relation tells how its subject stands to another thing."""
    return " from " in relation or relation.startswith("distance to")


@dataclass(frozen=True)
class Statement:
    """One atomic fact."""

    subject: str
    relation: str
    value: Value

    @property
    def question(self) -> Question:
        """What it answers: in one frame or clip, each question has one nearest answer."""
        return self.subject, self.relation


@dataclass(frozen=True)
class Truth:
    """What is true of a frame or clip.

    Attributes:
        game: short name.
        said: the nearest answer to each question.
        tolerated: everything that counts as true; contains `said`.
        main: the questions that a full description answers.
    """

    game: str
    said: frozenset[Statement]
    tolerated: frozenset[Statement]
    main: frozenset[Question]

    def answers(self) -> dict[Question, Value]:
        """The nearest answer by question."""
        return {statement.question: statement.value for statement in self.said}


@dataclass(frozen=True)
class Moment:
    """What the console knows at one emulator frame: facts, boxes, and which boxes are not drawn."""

    facts: Facts
    boxes: tuple[Box, ...]
    hidden: frozenset[Box] = frozenset()


@dataclass(frozen=True)
class Thing:
    """One object at a time, told by its place.

    subject: its name in statements. box: its name in `agents.ram`, or in the table's `derive`.
    axes: along which its place is told, "x", "y", "xy" or none. motion: along which its motion is.
    main, main_motion: whether a full description has them. absent: whether its absence is told.
    colours: RGB; where given, it is seen only while a pixel in its box has one of them.
    turns: it is drawn in one of so many frames of a clip. apart: a box in which it cannot be seen.
    reach: pixels that it moves within an emulator frame at most; more, and it was set elsewhere.
    """

    subject: str
    box: str
    axes: str = "xy"
    motion: str = "xy"
    main: bool = True
    main_motion: bool = False
    absent: bool = False
    appears: bool = False
    colours: Colours = ()
    turns: int = 2
    apart: str = ""
    reach: float = 6.0


@dataclass(frozen=True)
class Crowd:
    """Objects of one kind, told by their number; fields as in `Thing`. `nouns`: one, several.

    unsure: name of boxes of which nobody could say whether they count: what comes together, say.
    """

    subject: str
    box: str
    nouns: tuple[str, str]
    main: bool = True
    colours: Colours = ()
    unsure: str = ""


@dataclass(frozen=True)
class Figure:
    """A number on the screen. `fact` is its name in `agents.ram`, `nouns` the unit (one, several).

    per: what is shown is the fact divided by this, rounded down. near: facts within this distance
    are true as well. names: instead of the number, the first name whose bound is not exceeded.
    none: whether a full description has it while it is 0. events: which of its changes are told.
    display: left, top, width and height in pixels of where the screen shows it; () is not known.
    while_drawn: the same of what is of one colour as long as the screen does not show it.
    digits: left edge of the first digit in `display`, from one to the next, how many; () is none.
    minutes: the digits are minutes and seconds, of which the number is all seconds.
    """

    subject: str
    fact: str
    nouns: tuple[str, str] = ("", "")
    main: bool = True
    near: int = 0
    per: int = 1
    names: tuple[tuple[str, int], ...] = ()
    none: bool = True
    events: tuple[str, ...] = ("rises by",)
    display: tuple[int, ...] = ()
    while_drawn: tuple[int, ...] = ()
    digits: tuple[int, ...] = ()
    minutes: bool = False

    def signs(self, value: Value) -> Iterator[tuple[str, str, Box]]:
        """Of what the screen shows for a value: what is asked of a part, the answer, and where.

        Each digit is a part, zero where the number is shorter; other displays are one.
        """
        if not self.digits:
            yield "is", str(value), Box(self.subject, *self.display)
            return
        left, pitch, count = self.digits
        number = int(value) // 60 * 100 + int(value) % 60 if self.minutes else value
        for place, digit in enumerate(str(number).zfill(count)[-count:]):
            at = left + place * pitch
            yield (
                f"digit {place}",
                digit,
                Box(self.subject, at, self.display[1], pitch, self.display[3]),
            )


@dataclass(frozen=True)
class Pair:
    """Where `one` is from `other` along an axis; "level" within `reach` pixels of its centre."""

    one: str
    other: str
    axis: str
    reach: int


@dataclass(frozen=True)
class Near:
    """How far the nearest of the boxes is from `other`, in pixels between them: close, far.

    none: whether that is far, too, of which there is none: where "no ball is near" says so.
    """

    subject: str
    boxes: tuple[str, ...]
    other: str
    close: int
    far: int
    none: bool = False


Extra = tuple[list[Statement], list[Statement]]  # said, tolerated beside that


@dataclass(frozen=True)
class Table:
    """What is told of a game, and in which words (`agents.commentary.grammar`).

    area: left, top, right, bottom of the playing field in pixels, the ground of all places.
    derive: boxes made from those of the memory. extra: the game's own statements of a `Scene`.
    nouns: name in braces -> the ways to say it. describing, commenting: clauses, see `clause`.
    """

    game: str
    titles: tuple[str, ...]
    area: tuple[int, int, int, int]
    things: tuple[Thing, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    figures: tuple[Figure, ...] = ()
    pairs: tuple[Pair, ...] = ()
    nears: tuple[Near, ...] = ()
    derive: Callable[[Sequence[Box]], Iterable[Box]] | None = None
    extra: Callable[[Scene], Extra] | None = None
    nouns: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    describing: tuple[tuple, ...] = ()
    commenting: tuple[tuple, ...] = ()

    @property
    def displays(self) -> tuple[Box, ...]:
        """Where the screen shows its figures, each by the name of its subject."""
        return tuple(Box(each.subject, *each.display) for each in self.figures if each.display)

    def signs(self, answers: Mapping[Question, Value]) -> Iterator[tuple[str, str, Box]]:
        """Of what the screen shows of its figures where these are the answers: see `Figure`."""
        for each in self.figures:
            if each.display and (each.subject, "is") in answers:
                for part, answer, box in each.signs(answers[each.subject, "is"]):
                    yield f"{each.subject} {part}", answer, box

    def changes(self, answers: Mapping[Question, Value]) -> Iterator[tuple[str, str, Box]]:
        """As `signs`: how what the screen shows of its figures has changed in a clip."""
        for each in self.figures:
            if each.display and each.events and (each.subject, "is") in answers:
                ways = [way for way in CHANGES if (each.subject, way) in answers]
                told = f"{ways[0]} {answers[each.subject, ways[0]]}" if ways else "stands"
                yield f"{each.subject} changes", told, Box(each.subject, *each.display)


Spot = tuple[int, float, float]  # frame of the clip, centre x, centre y


@dataclass
class Scene:
    """A clip as `Table.extra` sees it: its moments, and by subject where its things were seen.

    tracks: since the thing was set to another place, or was gone, last. seen: where it was seen
    last. paths: the centre at each emulator frame from the first moment to the last, None where it
    was gone; [] where that is not known.
    """

    moments: Sequence[Moment]
    spacing: int
    tracks: dict[str, list[Spot]]
    seen: dict[str, Box]
    paths: dict[str, list[tuple[float, float] | None]]

    def change(self, fact: str) -> int:
        """By how much a figure grew over the clip; 0 in a single frame."""
        first, last = self.moments[0].facts.get(fact), self.moments[-1].facts.get(fact)
        return 0 if first is None or last is None else last - first

    def latest(self, subject: str, axis: int) -> list[float]:
        """Where a thing was along an axis (1: x, 2: y) at the emulator frames of its last step.

        Up to the frame that last saw it; [] where that is not known.
        """
        end = self.tracks[subject][-1][0] * self.spacing
        found: list[float] = []
        for place in reversed(self.paths[subject][max(end - self.spacing, 0) : end + 1]):
            if place is None:
                break
            found.insert(0, place[axis - 1])
        return found

    def turn(self, subject: str, axis: int) -> tuple[int, bool] | None:
        """The direction (-1, 1) in which a thing moved before it turned back, and how sure that is.

        axis: 1 for x, 2 for y. None if it did not turn.
        """
        track = self.tracks.get(subject, [])
        steps = [float(b[axis]) - float(a[axis]) for a, b in pairwise(track)]
        turns = [
            (min(abs(before), abs(after)), 1 if before > 0 else -1)
            for i, before in enumerate(steps)
            for after in steps[i + 1 :]
            if before * after < 0
        ]
        if not turns:
            return None
        seen, way = max(turns)
        return way, seen > SLOW_PX
