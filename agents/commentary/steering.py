"""Players who read the memory and steer, by rules of a few lines.

A chaser goes for what its game rewards. No captioner is trained on one: they show what it makes of
players that it never saw. A wanderer goes for places drawn at random, fixed ones or beside a thing
of which is told how it stands to others, and so comes to where neither random actions nor an agent
would, and to where left and right, close and far are hard to tell: captioners learn from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agents import ram as ram_facts
from agents.commentary.facts import boxes_of
from agents.commentary.games import TABLES
from agents.commentary.table import Table
from agents.players import Player
from playground.frames import Box


@dataclass(frozen=True)
class Chase:
    """What a chaser goes for.

    targets: boxes; the nearest along `axes` is followed. flee: it keeps away instead. fire: whether
    the button is pressed while it has a target, and else if there is none. low: a fact that sends
    it upwards once it falls below the number. turned: up and down are RIGHT and LEFT.
    """

    targets: tuple[str, ...] = ()
    axes: str = "x"
    flee: bool = False
    fire: bool = True
    low: tuple[str, int] | None = None
    turned: bool = False


CHASES = {
    "beam_rider": Chase(("enemy",), "x"),
    "boxing": Chase(("enemy",), "xy"),
    "breakout": Chase(("ball",), "x", fire=False),
    "demon_attack": Chase(("demon",), "x"),
    "enduro": Chase(("car",), "x", flee=True),
    "freeway": Chase(),
    "ms_pacman": Chase(("blinky", "pinky", "inky", "sue"), "xy", flee=True, fire=False),
    "pong": Chase(("ball",), "y", fire=False, turned=True),
    "qbert": Chase(("coily", "ball"), "xy", flee=True, fire=False),
    "seaquest": Chase(("fish", "submarine", "diver"), "xy", low=("oxygen", 20)),
    "skiing": Chase(("gate",), "x", fire=False),
    "space_invaders": Chase(("invader",), "x"),
}
NEAR_PX = 3  # closer than this a player stays on an axis
WANDER_STEPS = 25  # agent steps that a wanderer holds a place, on average
BESIDE = 2 / 3  # of a wanderer's places: those beside a thing, where one is there
BESIDE_PX = 12  # how far from it these are along each axis: standard deviation


def chaser(game: str, names: Sequence[str]) -> Player:
    """A chaser of a game, whose action names are given."""
    chase, table, steer = CHASES[game], TABLES[game], _steering(game, names)

    def play(obs: np.ndarray, ram: np.ndarray) -> int:
        facts = ram_facts.facts(game, ram)
        x, y, fire = _wish(chase, boxes_of(table, ram))
        if chase.low is not None and (facts[chase.low[0]] or 0) < chase.low[1]:
            y = -1
        return steer(x, y, fire)

    return play


def wanderer(game: str, names: Sequence[str], random: np.random.Generator) -> Player:
    """A wanderer of a game: it holds a place for a while, and fires on every second way."""
    table, steer = TABLES[game], _steering(game, names)
    left, top, right, bottom = table.area
    things = _related(table)
    thing, place, fire, steps = "", np.zeros(2), False, 0

    def play(obs: np.ndarray, ram: np.ndarray) -> int:
        nonlocal thing, place, fire, steps
        boxes = boxes_of(table, ram)
        own = _own(boxes)
        if own is None:
            return steer(0, 0, True)  # which serves, where a game waits for it
        there = sorted({box.name for box in boxes if box.name in things})
        if steps == 0 or (thing and thing not in there):
            if there and random.random() < BESIDE:
                thing = there[int(random.integers(len(there)))]
                place = random.normal(0, BESIDE_PX, 2)
            else:
                thing, place = "", random.uniform((left, top), (right, bottom))
            fire, steps = bool(random.random() < 0.5), int(random.geometric(1 / WANDER_STEPS))
        steps -= 1
        if thing:
            way = _way([box for box in boxes if box.name == thing], own, "xy") + place
        else:
            way = place - (_centre(own, 0), _centre(own, 1))
        x, y = (int(np.sign(part)) if abs(part) > NEAR_PX else 0 for part in way)
        return steer(x, y, fire)

    return play


def _related(table: Table) -> frozenset[str]:
    """The boxes, but for the player's, of things of which is told how they stand to others."""
    boxes = {thing.subject: thing.box for thing in table.things}
    found = [boxes[subject] for pair in table.pairs for subject in (pair.one, pair.other)]
    found += [name for near in table.nears for name in (*near.boxes, boxes[near.other])]
    return frozenset(found) - {"player"}


def _steering(game: str, names: Sequence[str]) -> Callable[[int, int, bool], int]:
    """From (-1, 0, 1 to the right, the same downwards, whether to fire) to an action's index: that
    which does most of it.
    """

    def steer(x: int, y: int, fire: bool) -> int:
        if CHASES[game].turned:
            x, y = -y, 0
        vertical, horizontal = ("", "DOWN", "UP")[y], ("", "RIGHT", "LEFT")[x]
        pressed = "FIRE" if fire else ""
        moves = (vertical + horizontal, horizontal, vertical)
        for name in (*(move + pressed for move in moves), *moves, pressed, "NOOP"):
            if name and name in names:
                return names.index(name)
        return 0

    return steer


def _wish(chase: Chase, boxes: Sequence[Box]) -> tuple[int, int, bool]:
    """(-1, 0, 1 to the right, the same downwards, whether to fire)."""
    if not chase.targets:
        return 0, -1, False  # straight up
    own = _own(boxes)
    targets = [box for box in boxes if box.name in chase.targets]
    if own is None or not targets:
        return 0, 0, True  # which serves, where a game waits for it
    way = _way(targets, own, chase.axes)
    wish = [0, 0]
    for axis in map("xy".index, chase.axes):
        if abs(way[axis]) > NEAR_PX or chase.flee:
            wish[axis] = 1 if (way[axis] > 0) != chase.flee else -1
    return wish[0], wish[1], chase.fire


def _way(boxes: Sequence[Box], own: Box, axes: str) -> np.ndarray:
    """(x, y) to the one of the boxes that is the nearest along the axes, in pixels."""
    ways = [np.array([_centre(box, axis) - _centre(own, axis) for axis in (0, 1)]) for box in boxes]
    return min(ways, key=lambda way: sum(abs(way["xy".index(axis)]) for axis in axes))


def _own(boxes: Sequence[Box]) -> Box | None:
    return next((box for box in boxes if box.name == "player"), None)


def _centre(box: Box, axis: int) -> float:
    return box.x + box.width / 2 if axis == 0 else box.y + box.height / 2
