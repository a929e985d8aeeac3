"""Clauses: patterns that are both said and understood, so that parsing inverts saying.

A pattern is text with choices `(sits|waits)`, options `[ now]`, nouns `{B}` (the ways that the
game's table gives) and slots `<place ball>` (`agents.commentary.slots`). A clause may also state
fixed facts, as "heads for the paddle" states that the ball moves right.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agents.commentary.slots import Slot, slot
from agents.commentary.table import Question, Statement, Table, Value


@dataclass(frozen=True)
class Noun:
    """A noun phrase; the style of a text picks one of its ways, the same throughout."""

    ways: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Clause:
    """A pattern with its slots. `parts`: strings, choices (tuples of parts), nouns and slots.

    fixed: what it states beside its slots. urgency: of comments, the more, the sooner it is said.
    """

    pattern: str
    parts: tuple[str | tuple | Noun | Slot, ...]
    fixed: tuple[Statement, ...]
    urgency: int = 0
    mood: str = ""

    def states(self, answers: Mapping[Question, Value]) -> frozenset[Statement] | None:
        """What it would state where these answers are true; None where it does not apply."""
        stated = set(self.fixed)
        if any(answers.get(fact.question) != fact.value for fact in self.fixed):
            return None
        for part in self.parts:
            if isinstance(part, Slot):
                if any(question not in answers for question in part.questions):
                    return None
                key = tuple(answers[question] for question in part.questions)
                if not part.phrases(key):
                    return None
                stated |= {
                    Statement(*q, value) for q, value in zip(part.questions, key, strict=True)
                }
        return frozenset(stated)

    def say(self, answers: Mapping[Question, Value], rng: random.Random, style: int = 0) -> Said:
        """One of the ways to say it; it must apply. style: which way of each noun."""
        marks: list[Mark] = []
        return Said(self, _say(self.parts, answers, rng, style, marks), tuple(marks))

    @property
    def questions(self) -> frozenset[Question]:
        """All that it speaks of."""
        slots = {q for part in self.parts if isinstance(part, Slot) for q in part.questions}
        return frozenset(slots | {fact.question for fact in self.fixed})

    @property
    def literals(self) -> tuple[str, ...]:
        """All text that it may be made of, numbers in digits left out."""
        return tuple(_literals(self.parts))

    @property
    def regex(self) -> str:
        """What matches all ways to say it, lower case; the group `s<i>` is its slot i."""
        return _regex(self.parts, iter(range(99))) + r"(?![\w-]|:\d)"

    def understood(self, match: re.Match[str]) -> frozenset[Statement]:
        """What a match of `regex` states."""
        slots = [part for part in self.parts if isinstance(part, Slot)]
        stated = set(self.fixed)
        for i, part in enumerate(slots):
            for question, value in zip(part.questions, part.answers(match[f"s{i}"]), strict=True):
                stated.add(Statement(*question, value))
        return frozenset(stated)


class Mark(NamedTuple):
    """A noun or slot of a clause that was said, from `start` to before `end` in characters."""

    start: int
    end: int
    part: Noun | Slot


class Said(NamedTuple):
    """A clause, as it was said."""

    clause: Clause
    text: str
    marks: tuple[Mark, ...]


def _say(
    parts: tuple,
    answers: Mapping[Question, Value],
    rng: random.Random,
    style: int,
    marks: list[Mark],
    at: int = 0,
) -> str:
    text = ""
    for part in parts:
        start = at + len(text)
        if isinstance(part, str):
            text += part
        elif isinstance(part, Noun):
            text += part.ways[style % len(part.ways)]
        elif isinstance(part, Slot):
            text += rng.choice(part.phrases(tuple(answers[q] for q in part.questions)))
        else:
            text += _say(rng.choice(part), answers, rng, style, marks, start)
        if isinstance(part, Noun | Slot):
            marks.append(Mark(start, at + len(text), part))
    return text


def _regex(parts: tuple, number: Iterator[int]) -> str:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += re.escape(part.lower())
        elif isinstance(part, Noun):
            ways = sorted({re.escape(way.lower()) for way in part.ways}, key=len, reverse=True)
            text += f"(?:{'|'.join(ways)})"
        elif isinstance(part, Slot):
            text += f"(?P<s{next(number)}>{part.regex})"
        else:
            ways = sorted((_regex(way, number) for way in part), key=len, reverse=True)
            text += f"(?:{'|'.join(ways)})"
    return text


def _literals(parts: tuple) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Noun):
            yield from part.ways
        elif isinstance(part, Slot):
            yield from part.lexicon
        else:
            for way in part:
                yield from _literals(way)


def _parse_pattern(pattern: str, table: Table) -> tuple:
    """`pattern` -> parts; ValueError if a choice holds a slot or is not closed."""
    tokens = re.findall(r"<[^>]+>|\{\w+\}|[()\[\]|]|[^<{()\[\]|]+", pattern)

    def sequence(end: str) -> tuple[list, str]:
        ways: list[tuple] = []
        parts: list = []
        while tokens:
            token = tokens.pop(0)
            if token in ("(", "["):
                close = ")" if token == "(" else "]"
                inner, _ = sequence(close)
                parts.append(tuple(inner) if token == "(" else ((), *inner))
            elif token == "|":
                ways.append(tuple(parts))
                parts = []
            elif token == end:
                return [*ways, tuple(parts)], token
            elif token.startswith("{"):
                parts.append(Noun(table.nouns[token[1:-1]][1]))
            elif token.startswith("<"):
                if end:
                    raise ValueError(f"a slot within a choice: {pattern}")
                parts.append(slot(token[1:-1], table))
            else:
                parts.append(token)
        if end:
            raise ValueError(f"a choice that does not end: {pattern}")
        return [tuple(parts)], ""

    return tuple(sequence("")[0][0])


def clause(
    table: Table,
    pattern: str,
    *fixed: tuple[str, str, Value],
    urgency: int = 0,
    mood: str = "",
) -> Clause:
    """A clause of a table."""
    parts = _parse_pattern(pattern, table)
    return Clause(pattern, parts, tuple(Statement(*fact) for fact in fixed), urgency, mood)
