"""Slots: the gaps of a clause's pattern, whose phrases follow from facts, and facts from phrases.

<row S> <column S> <place S>            at the top; on the left; at the top left
<both A,B> <bothplace A,B>              at the top; at the top left (both of them)
<motion S> <xmotion S> <ymotion S>      up and to the left; to the left; up
<moves S> <xmoves S> <ymoves S>         moves up and to the left; moves up; does not move
<digits S> <unit S>                     120; 120 points (the figure's nouns)
<gain S> <loss S>                       10 points, of what it rises or falls by
<count S>  <count S:is|are>  <there S>  two fish; two fish are; there are two fish
<some S>                                two fish; nothing where there are none
<versus A,B> <tie A,B>                  5 to 3; 4 (only if both have as many)
<clock S>                               0:23 (seconds)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.commentary.table import Question, Table, Value

ROW = {
    "top": ("at the top", "near the top"),
    "middle": ("halfway up", "in the middle"),
    "bottom": ("at the bottom", "near the bottom"),
}
COLUMN = {
    "left": ("on the left", "on the left side"),
    "center": ("in the middle", "in the center"),
    "right": ("on the right", "on the right side"),
}
PLACE = {
    ("top", "left"): ("at the top left", "in the upper left"),
    ("top", "center"): ("at the top center", "at the top in the middle"),
    ("top", "right"): ("at the top right", "in the upper right"),
    ("middle", "left"): ("at the middle left", "halfway up on the left"),
    ("middle", "center"): ("in the center of the screen", "in the middle of the screen"),
    ("middle", "right"): ("at the middle right", "halfway up on the right"),
    ("bottom", "left"): ("at the bottom left", "in the lower left"),
    ("bottom", "center"): ("at the bottom center", "at the bottom in the middle"),
    ("bottom", "right"): ("at the bottom right", "in the lower right"),
}
_WAYS = {"left": ("to the left",), "right": ("to the right",), "up": ("up",), "down": ("down",)}
_STILL = ("stays where it is", "does not move", "stands still")
_VERBS = ("moves", "is moving", "goes")
_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
NUMBERS = ["no", *_UNITS, "ten", "eleven", "twelve", *_TEENS]
for _ten in ("twenty", "thirty"):
    NUMBERS += [_ten, *(f"{_ten}-{unit}" for unit in _UNITS)]


@dataclass(frozen=True, eq=False)
class Slot:
    """A gap in a pattern.

    phrases: ways to say the answers to `questions`, () if there are none. regex: all phrases.
    answers: the answers that a phrase gives. lexicon: the phrases, numbers in digits left out.
    """

    questions: tuple[Question, ...]
    phrases: Callable[[tuple[Value, ...]], tuple[str, ...]]
    regex: str
    answers: Callable[[str], tuple[Value, ...]]
    lexicon: tuple[str, ...] = ()


def _words(questions: tuple[Question, ...], lexicon: Mapping[Any, tuple[str, ...]]) -> Slot:
    by_answers = {key if isinstance(key, tuple) else (key,): ways for key, ways in lexicon.items()}
    by_phrase = {way: key for key, ways in by_answers.items() for way in ways}
    regex = "|".join(re.escape(way) for way in sorted(by_phrase, key=len, reverse=True))
    return Slot(
        questions, lambda key: by_answers.get(key, ()), regex, by_phrase.__getitem__, (*by_phrase,)
    )


def _number(word: str) -> int:
    return NUMBERS.index(word) if word in NUMBERS else int(word)


def spelled(number: int) -> str:
    """Counts below forty in words, 0 as "no"; others in digits."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def _counted(
    questions: tuple[Question, ...], nouns: tuple[str, str], frame: str, none: bool = True
) -> Slot:
    """`none`: whether it is said of 0. `frame`: text around "@", the verb for one and several."""
    forms = re.search(r"\w+\|\w+", frame)
    one, several = forms[0].split("|") if forms else ("", "")

    def say(number: int, digits: str) -> str:
        verb = frame.replace(forms[0], one if number == 1 else several) if forms else frame
        return verb.replace("@", f"{digits} {nouns[number != 1]}")

    parts = [re.escape(say(n, "@@")).replace("@@", "%s") for n in (1, 2)]
    words = sorted((NUMBERS[0], *NUMBERS[2:]), key=len, reverse=True)
    many = rf"(?:{'|'.join(words)}|\d+)"
    regex = f"{parts[0] % 'one'}|{parts[1] % many}"
    any_number = "|".join(sorted(NUMBERS, key=len, reverse=True))
    return Slot(
        questions,
        lambda key: (say(int(key[0]), spelled(int(key[0]))),) if key[0] or none else (),
        regex,
        lambda text: (_number(re.search(rf"\b(?:{any_number}|\d+)\b", text)[0]),),  # type: ignore[index]
        (*NUMBERS, say(1, ""), say(2, "")),
    )


def _measured(questions: tuple[Question, ...], nouns: tuple[str, str]) -> Slot:
    """A number in digits with its unit."""
    one, several = nouns
    return Slot(
        questions,
        lambda key: (f"{key[0]} {one if key[0] == 1 else several}",),
        rf"1 {one}|(?:0|[2-9]|\d\d+) {several}",
        lambda text: (int(text.split()[0]),),
        nouns,
    )


def _motion(verbs: tuple[str, ...], still: tuple[str, ...]) -> dict[tuple, tuple[str, ...]]:
    """(x motion, y motion) -> phrases."""
    lexicon: dict[tuple, tuple[str, ...]] = {("none", "none"): still} if still else {}
    for x in ("left", "right", "none"):
        for y in ("up", "down", "none"):
            if x == "none" and y == "none":
                continue
            if y == "none":
                ways: tuple[str, ...] = (f"straight to the {x}",)
            elif x == "none":
                ways = (f"straight {y}",)
            else:
                ways = (f"{y} and to the {x}", f"{y} to the {x}")
            lexicon[x, y] = tuple(f"{verb} {way}".strip() for verb in verbs for way in ways)
    return lexicon


def _one_way(
    names: tuple[str, str], verbs: tuple[str, ...], still: tuple[str, ...]
) -> dict[Value | tuple, tuple[str, ...]]:
    lexicon: dict[Value | tuple, tuple[str, ...]] = {"none": still} if still else {}
    for name in names:
        lexicon[name] = tuple(f"{verb} {way}".strip() for verb in verbs for way in _WAYS[name])
    return lexicon


def slot(spec: str, table: Table) -> Slot:
    """The slot of a specification such as `place ball`; ValueError for an unknown kind."""
    kind, _, rest = spec.partition(" ")
    rest, _, forms = rest.partition(":")
    subjects = rest.split(",")
    subject = subjects[0]
    nouns = {figure.subject: figure.nouns for figure in table.figures}
    nouns |= {crowd.subject: crowd.nouns for crowd in table.crowds}
    counts = {crowd.subject for crowd in table.crowds}
    x, y = (subject, "x motion"), (subject, "y motion")
    number = tuple((name, "count" if name in counts else "is") for name in subjects)
    match kind:
        case "row":
            return _words(((subject, "row"),), ROW)
        case "column":
            return _words(((subject, "column"),), COLUMN)
        case "place":
            return _words(((subject, "row"), (subject, "column")), PLACE)
        case "both":
            return _words(
                tuple((name, "row") for name in subjects), {(key, key): ROW[key] for key in ROW}
            )
        case "bothplace":
            return _words(
                tuple((name, axis) for name in subjects for axis in ("row", "column")),
                {key + key: ways for key, ways in PLACE.items()},
            )
        case "motion":
            return _words((x, y), _motion(("",), ()))
        case "xmotion":
            return _words((x,), _one_way(("left", "right"), ("",), ()))
        case "ymotion":
            return _words((y,), _one_way(("up", "down"), ("",), ()))
        case "moves":
            return _words((x, y), _motion(_VERBS, _STILL))
        case "xmoves":
            return _words((x,), _one_way(("left", "right"), _VERBS, _STILL))
        case "ymoves":
            return _words((y,), _one_way(("up", "down"), _VERBS, _STILL))
        case "digits":
            return Slot(number, lambda key: (str(key[0]),), r"\d+", lambda text: (int(text),))
        case "count" | "some":
            return _counted(number, nouns[subject], f"@ {forms}" if forms else "@", kind == "count")
        case "unit":
            return _measured(number, nouns[subject])
        case "gain" | "loss":
            relation = "rises by" if kind == "gain" else "falls by"
            return _measured(((subject, relation),), nouns[subject])
        case "there":
            return _counted(number, nouns[subject], "there is|are @")
        case "versus":
            return Slot(
                number,
                lambda key: (f"{key[0]} to {key[1]}",),
                r"\d+ to \d+",
                lambda text: tuple(int(part) for part in text.split(" to ")),
                ("to",),
            )
        case "tie":
            return Slot(
                number,
                lambda key: (str(key[0]),) if key[0] == key[1] else (),
                r"\d+",
                lambda text: (int(text),) * 2,
            )
        case "clock":
            return Slot(
                number,
                lambda key: (f"{int(key[0]) // 60}:{int(key[0]) % 60:02d}",),
                r"\d+:\d\d",
                lambda text: (int(text.split(":")[0]) * 60 + int(text.split(":")[1]),),
            )
    raise ValueError(f"a slot of no known kind: {spec}")
