"""What is true of a screen, or of a clip of screens, as atomic statements.

A `Statement` is (subject, relation, value): ("ball", "row", "top"), ("score", "is", 120). A game's
`Table` says which objects and figures are told; everything here works from the table alone, so that
a further game is one more table.

Relations of single frames: `is` (figures, the game's name, "absent"), `row` (top, middle, bottom),
`column` (left, center, right), `count`, `row from <other>` (above, level, below), `column from
<other>` (left, level, right), `distance to <other>` (close, far). Of clips only: `x motion` (left,
right, none), `y motion` (up, down, none), `rises by`, `falls by`, `appears`, and a game's own.

Borders. Near the border of two values both are true, or a picture one pixel apart would be judged
otherwise: `Truth.said` holds the nearest value, the one that a caption made here says, and
`Truth.tolerated` what counts as true when somebody else says it. Where motion is too slow to be
told from rest, where a thing has just turned back, or an object's number cannot be seen, nothing is
said and either is tolerated. What was gone in between is another thing when it comes back: its
motion is known from then on.

Blinking. Consoles draw some objects by turns. Where a table knows an object's colours and pixels
are given, an object that is not drawn is not seen: a single frame does not speak of it, and a clip
knows it from its last frame that shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from agents import ram as ram_facts
from agents.commentary.table import (
    CHANGES,
    SLOW_PX,
    Crowd,
    Figure,
    Moment,
    Near,
    Pair,
    Question,
    Scene,
    Spot,
    Statement,
    Table,
    Thing,
    Truth,
)
from playground.frames import Box

BORDER_PX = 6  # to either side of the border of two places, both are true
TURNED_PX = 1.5  # that a thing must have come back for its way to be doubtful
SLIVER_PX = 24  # square; an object of which the field's edge leaves no more may be overlooked


def boxes_of(table: Table, ram: np.ndarray) -> tuple[Box, ...]:
    """Of what (128,) uint8 memory knows, with those that the table derives."""
    boxes = ram_facts.boxes(table.game, ram)
    return boxes if table.derive is None else (*boxes, *table.derive(boxes))


def moment(table: Table, ram: np.ndarray, pixels: np.ndarray | None = None) -> Moment:
    """What (128,) uint8 memory says; with (H, W, 3) uint8 pixels without what they do not show."""
    boxes = boxes_of(table, ram)
    drawn: tuple[Thing | Crowd, ...] = (*table.things, *table.crowds)
    colours = {told.box: told.colours for told in drawn if told.colours}
    apart = {thing.box: thing.apart for thing in table.things if thing.apart}
    hidden = set()
    for box in boxes:
        if any(_gap(box, other) == 0 for other in boxes if other.name == apart.get(box.name)):
            hidden.add(box)
        if pixels is not None and box.name in colours:
            part = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
            if not any((part == colour).all(-1).any() for colour in colours[box.name]):
                hidden.add(box)
    facts = dict(ram_facts.facts(table.game, ram))
    for figure in table.figures:
        if pixels is not None and figure.while_drawn and _is_blank(pixels, *figure.while_drawn):
            facts[figure.fact] = None
    return Moment(facts, boxes, frozenset(hidden))


def _is_blank(pixels: np.ndarray, x: int, y: int, width: int, height: int) -> bool:
    part = pixels[y : y + height, x : x + width]
    return bool((part == part[0, 0]).all())


def statements(
    table: Table,
    moments: Sequence[Moment],
    spacing: int = 5,
    between: Sequence[Sequence[Box]] = (),
) -> Truth:
    """What is true of a clip of moments, `spacing` emulator frames apart; of one, only what is.

    between: `boxes_of` every emulator frame from the first moment to the last, where known.
    """
    if between and len(between) != (len(moments) - 1) * spacing + 1:
        raise ValueError(f"{len(between)} frames are not those of {len(moments)} moments")
    said: set[Statement] = {Statement("game", "is", table.game)}
    also: set[Statement] = set()
    main: set[Question] = {("game", "is")}
    now = moments[-1]
    scene = Scene(moments, spacing, {}, {}, {})
    for thing in table.things:
        known = _box(now.boxes, thing.box)
        spots = [
            (i, box)
            for i, at in enumerate(moments)
            if (box := _box(at.boxes, thing.box)) is not None and box not in at.hidden
        ]
        if known is None:
            if thing.absent:
                said.add(Statement(thing.subject, "is", "absent"))
                if thing.main:
                    main.add((thing.subject, "is"))
            continue
        if not spots or spots[-1][0] < len(moments) - thing.turns:  # the eye does not know it
            also.add(Statement(thing.subject, "is", "absent"))
            also |= set(_places(table, thing, known)[1])
            continue
        seen = spots[-1][1]
        scene.seen[thing.subject] = seen
        scene.paths[thing.subject] = path = [_at(boxes, thing.box) for boxes in between]
        track = [(i, *_centre(box)) for i, box in spots]
        scene.tracks[thing.subject] = _unbroken(track, path, thing.reach, spacing)
        said.add(Statement(thing.subject, "is", "there"))
        told, tolerated = _places(table, thing, seen)
        said |= set(told)
        also |= {*tolerated, *_places(table, thing, known)[1]}
        if thing.main:
            main |= {statement.question for statement in told}
            if not thing.axes:
                main.add((thing.subject, "is"))
        if len(moments) > 1:
            told, tolerated = _motions(thing, scene)
            said |= set(told)
            also |= set(tolerated)
            if thing.main_motion:
                main |= {statement.question for statement in told}
        first = _box(moments[0].boxes, thing.box)
        if thing.appears and first is None:
            said.add(Statement(thing.subject, "appears", "now"))
    for crowd in table.crowds:
        told, tolerated = _count(crowd, moments, table.area)
        said |= set(told)
        also |= set(tolerated)
        if crowd.main:  # nobody lists what is not there
            main |= {statement.question for statement in told if statement.value}
    for figure in table.figures:
        told, tolerated = _figure(figure, moments)
        said |= set(told)
        also |= set(tolerated)
        if figure.main:
            main |= {s.question for s in told if s.value or figure.none}
    for pair in table.pairs:
        if pair.one in scene.seen and pair.other in scene.seen:
            told, tolerated = _pair(pair, scene.seen[pair.one], scene.seen[pair.other])
            said |= set(told)
            also |= set(tolerated)
    for near in table.nears:
        if near.other in scene.seen:
            told, tolerated = _near(near, now, scene.seen[near.other])
            said |= set(told)
            also |= set(tolerated)
    if table.extra is not None:
        told, tolerated = table.extra(scene)
        said |= set(told)
        also |= set(tolerated)
    return Truth(table.game, frozenset(said), frozenset(said | also), frozenset(main))


def _box(boxes: Iterable[Box], name: str) -> Box | None:
    return next((box for box in boxes if box.name == name), None)


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.width / 2, box.y + box.height / 2


def _at(boxes: Iterable[Box], name: str) -> tuple[float, float] | None:
    box = _box(boxes, name)
    return None if box is None else _centre(box)


def _unbroken(
    track: list[Spot], path: Sequence[tuple[float, float] | None], reach: float, spacing: int
) -> list[Spot]:
    """The end of a track, from where its thing was last set to another place, or was gone."""
    start = 0
    for number, (one, other) in enumerate(pairwise(track)):
        most = reach * spacing * (other[0] - one[0]) + 2
        far = any(abs(other[axis] - one[axis]) > most for axis in (1, 2))
        if far or None in path[one[0] * spacing : other[0] * spacing]:
            start = number + 1
    return track[start:]


def _gap(one: Box, other: Box) -> float:
    """Pixels between two boxes along the axis on which they are further apart; 0 if they touch."""
    across = max(one.x - other.x - other.width, other.x - one.x - one.width, 0)
    along = max(one.y - other.y - other.height, other.y - one.y - one.height, 0)
    return max(across, along)


def _places(table: Table, thing: Thing, box: Box) -> tuple[list[Statement], list[Statement]]:
    left, top, right, bottom = table.area
    x, y = _centre(box)
    said, also = [], []
    for axis, relation, names, low, high, place in (
        ("x", "column", ("left", "center", "right"), left, right, x),
        ("y", "row", ("top", "middle", "bottom"), top, bottom, y),
    ):
        if axis not in thing.axes:
            continue
        third = (high - low) / 3
        nearest = min(max(int((place - low) // third), 0), 2)
        said.append(Statement(thing.subject, relation, names[nearest]))
        for i, name in enumerate(names):
            if low + i * third - BORDER_PX <= place <= low + (i + 1) * third + BORDER_PX:
                also.append(Statement(thing.subject, relation, name))
    return said, also


def _motions(thing: Thing, scene: Scene) -> tuple[list[Statement], list[Statement]]:
    """Along all its axes. At rest along one of two says nothing while the other is doubtful."""
    said: list[Statement] = []
    also: list[Statement] = []
    for axis in thing.motion:
        told, tolerated = _motion(thing, axis, scene)
        said += told
        also += tolerated
    if len(said) < len(thing.motion) and all(statement.value == "none" for statement in said):
        return [], said + also
    return said, also


def _motion(thing: Thing, axis: str, scene: Scene) -> tuple[list[Statement], list[Statement]]:
    relation, at = f"{axis} motion", 1 if axis == "x" else 2
    names = ("left", "right") if axis == "x" else ("up", "down")
    track = scene.tracks[thing.subject]
    steps = [after[at] - before[at] for before, after in pairwise(track)]

    def told(step: float) -> Statement:
        return Statement(thing.subject, relation, names[step > 0])

    still = Statement(thing.subject, relation, "none")
    path = scene.latest(thing.subject, at)
    if not steps:  # it came after the frame before: only the frames between show where it goes
        ways = {told(step) for step in (path[-1] - path[0],) if abs(step) > 0.5} if path else set()
        return [], [still, *ways] if path else []
    last, total = steps[-1], sum(steps)
    if all(abs(step) <= 0.5 for step in steps):
        return [still], []
    if path and _turned(path, last):  # its way over the interval is no longer the one that it goes
        return [], [told(-1), told(1), *([still] if abs(last) <= SLOW_PX else [])]
    if abs(last) > SLOW_PX or (abs(last) >= 2 and last * total > 0 and abs(total) > SLOW_PX):
        return [told(last)], []
    doubtful = {told(step) for step in (last, total) if abs(step) > 0.5}
    return [], [still, *doubtful]


def _turned(path: Sequence[float], step: float) -> bool:
    """Whether it came back, at the end of a path that led `step` further."""
    beyond, below = max(path) - path[-1], path[-1] - min(path)
    return (step >= 0 and beyond > TURNED_PX) or (step <= 0 and below > TURNED_PX)


def _count(
    crowd: Crowd, moments: Sequence[Moment], area: tuple[int, int, int, int]
) -> tuple[list[Statement], list[Statement]]:
    """Their number, if the last two frames show all that the memory knows.

    With one that only just sticks out of the field's edge, or that has no shape yet, nothing is
    said, and both numbers count.
    """
    left, top, right, bottom = area
    known, shown, plain = [], [], []
    for at in moments[-2:]:
        boxes = [box for box in at.boxes if box.name == crowd.box]
        inside = [
            box
            for box in boxes
            if box.width * box.height > SLIVER_PX
            or (
                (left < box.x and box.x + box.width < right)
                and (top < box.y and box.y + box.height < bottom)
            )
        ]
        known.append(len(boxes))
        shown.append(sum(box not in at.hidden for box in boxes))
        plain.append(sum(box not in at.hidden for box in inside))
    if not crowd.colours:  # drawn in each frame
        known, shown, plain = known[-1:], shown[-1:], plain[-1:]
    unsure = sum(box.name == crowd.unsure for box in moments[-1].boxes)
    low, high = min(*shown, *plain, known[-1]), max(*shown, known[-1]) + unsure
    also = [Statement(crowd.subject, "count", n) for n in range(low, high + 1)]
    exact = max(plain) == max(shown) == known[-1] and not unsure
    return ([Statement(crowd.subject, "count", known[-1])] if exact else []), also


def _figure(figure: Figure, moments: Sequence[Moment]) -> tuple[list[Statement], list[Statement]]:
    value, before = (at.facts.get(figure.fact) for at in (moments[-1], moments[0]))
    if value is None:
        return [], []
    said, also = [], []
    if figure.names:
        bounds = [-1, *(bound for _, bound in figure.names)]
        for i, (name, bound) in enumerate(figure.names):
            if bounds[i] - figure.near < value <= bound + figure.near:
                also.append(Statement(figure.subject, "is", name))
            if bounds[i] < value <= bound:
                said.append(Statement(figure.subject, "is", name))
    else:
        said.append(Statement(figure.subject, "is", value // figure.per))
        for other in range(max(value - figure.near, 0), value + figure.near + 1):
            also.append(Statement(figure.subject, "is", other // figure.per))
    relation = "" if before is None or value == before else CHANGES[value > before]
    if before is not None and relation in figure.events:
        said.append(Statement(figure.subject, relation, abs(value - before)))
    return said, also


def _near(near: Near, now: Moment, other: Box) -> tuple[list[Statement], list[Statement]]:
    gaps = [(_gap(box, other), box in now.hidden) for box in now.boxes if box.name in near.boxes]
    close, far = (
        Statement(near.subject, f"distance to {near.other}", value) for value in ("close", "far")
    )
    if not gaps:
        return [far] if near.none else [], []
    gap, hidden = min(gaps)
    if gap >= near.far:
        return [far], []
    if gap <= near.close and not hidden:
        return [close], []
    return [], [close, far]


def _pair(pair: Pair, one: Box, other: Box) -> tuple[list[Statement], list[Statement]]:
    axis = "xy".index(pair.axis)
    away = _centre(one)[axis] - _centre(other)[axis]
    kind = ("column", "row")[axis]
    before, after = (("left", "right"), ("above", "below"))[axis]
    nearest = before if away < -pair.reach else after if away > pair.reach else "level"
    relation = f"{kind} from {pair.other}"
    said = [Statement(pair.one, relation, nearest)]
    also = []
    if away < -pair.reach + BORDER_PX and away < 0:
        also.append(Statement(pair.one, relation, before))
    if away > pair.reach - BORDER_PX and away > 0:
        also.append(Statement(pair.one, relation, after))
    if abs(away) <= pair.reach + BORDER_PX:
        also.append(Statement(pair.one, relation, "level"))
    return said, also
