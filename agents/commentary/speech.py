"""Sentences from statements, and statements from sentences.

`describe` and `comment` say only what `Truth.said` holds; `parse` is their inverse, for sentences
of all games at once, in any letter case and with or without blanks before punctuation; `judge`
holds a sentence against the truth. All are pure: the same generator state gives the same sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from agents.commentary.games import TABLES
from agents.commentary.grammar import Clause, Mark, Noun, Said, clause
from agents.commentary.slots import Slot
from agents.commentary.table import (
    Crowd,
    Question,
    Statement,
    Table,
    Thing,
    Truth,
    to_another,
)

MOODS = {
    "good": ("nice", "well done", "yes"),
    "bad": ("oh no", "ouch", "too bad"),
    "tense": ("careful", "look out", "watch out"),
    "": (),
}
_LEADS = ("in %s", "in this game of %s")
_TITLES = ("this is %s", "we are watching %s")
_JOINTS = {", and ": 3, "; ": 2, ", while ": 1}
STYLES = 6  # ways to name things in a text, see `grammar.Noun`
_SKIP = re.compile(
    r"(?:[\s.,;:!]+|(?:and|while)\b|(?:"
    + "|".join(way for ways in MOODS.values() for way in ways)
    + r")(?=[,!]))+"
)
MOST_CLAUSES = 3  # in a sentence


@dataclass(frozen=True)
class Words:
    """A table's clauses, ready to be said."""

    leads: tuple[Clause, ...]  # "in Pong", before a clause
    titles: tuple[Clause, ...]  # "this is Pong"
    describing: tuple[Clause, ...]
    commenting: tuple[Clause, ...]

    @property
    def all(self) -> tuple[Clause, ...]:
        return self.leads + self.titles + self.describing + self.commenting


@cache
def words_of(game: str) -> Words:
    """The clauses of a game's table."""
    table = TABLES[game]

    def named(patterns: tuple[str, ...]) -> tuple[Clause, ...]:
        fixed = ("game", "is", game)
        return tuple(clause(table, p % title, fixed) for p in patterns for title in table.titles)

    return Words(
        named(_LEADS),
        named(_TITLES),
        tuple(clause(table, pattern, *fixed) for pattern, *fixed in table.describing),
        tuple(
            clause(table, pattern, *fixed, urgency=urgency, mood=mood)
            for urgency, mood, pattern, *fixed in table.commenting
        ),
    )


class Spoken(NamedTuple):
    """A text, what it states, and the clauses in it that state it, but for the game's name."""

    text: str
    stated: frozenset[Statement]
    clauses: tuple[Said, ...]


def describe(truth: Truth, rng: random.Random) -> str:
    """All main facts in one to three sentences."""
    return description(truth, rng).text


def comment(truth: Truth, rng: random.Random) -> str:
    """One sentence on what matters now."""
    return remark(truth, rng).text


def description(truth: Truth, rng: random.Random) -> Spoken:
    """`describe`, with what it states."""
    words, answers = words_of(truth.game), truth.answers()
    open_questions = set(truth.main) - {("game", "is")}
    usable = {c: states for c in words.describing if (states := c.states(answers)) is not None}
    chosen: list[Clause] = []
    told: set[Question] = set()
    while open_questions:
        news = {c: len(c.questions & open_questions) for c in usable if c not in chosen}
        news = {c: n for c, n in news.items() if n}
        fresh = {c: n for c, n in news.items() if not c.questions & told}
        if not news:
            raise ValueError(f"{truth.game} has no clause for {sorted(open_questions)}")
        pool = fresh or news
        picked = rng.choices([*pool], [n**8 for n in pool.values()])[0]
        chosen.append(picked)
        told |= picked.questions
        open_questions -= picked.questions
    rng.shuffle(chosen)
    style = rng.randrange(STYLES)
    clauses = [picked.say(answers, rng, style) for picked in chosen]
    stated = frozenset().union(*(usable[picked] for picked in chosen))
    lead = rng.choice(words.leads + words.titles)
    opening = lead.say(answers, rng).text
    sentences = _sentences([each.text for each in clauses], rng)
    if lead in words.leads:
        sentences[0] = f"{opening}, {sentences[0]}"
    elif len(sentences) < 3:
        sentences.insert(0, opening)
    else:
        sentences[0] = f"{opening}: {sentences[0]}"
    text = " ".join(f"{_capital(sentence)}." for sentence in sentences)
    return Spoken(text, stated | set(lead.fixed), tuple(clauses))


def _sentences(said: list[str], rng: random.Random) -> list[str]:
    """Clauses joined into one to three sentences."""
    most = 2 if any(" and " in clause for clause in said) else MOST_CLAUSES
    fewest = min(3, -(-len(said) // most))
    count = rng.randint(fewest, max(fewest, min(3, -(-len(said) // 2))))
    groups: list[list[str]] = [said[i::count] for i in range(count)]
    sentences = []
    for group in groups:
        if len(group) < 3:
            plain = not any(" and " in clause or " just " in clause for clause in group)
            joints = _JOINTS if plain else {"; ": 1, ", and ": 1}
            sentences.append(rng.choices([*joints], [*joints.values()])[0].join(group))
        else:
            sentences.append(f"{', '.join(group[:-1])}, and {group[-1]}")
    return sentences


def remark(truth: Truth, rng: random.Random) -> Spoken:
    """`comment`, with what it states."""
    answers = truth.answers()
    usable = {}
    for possible in words_of(truth.game).commenting:
        states = possible.states(answers)
        if states is not None:
            usable[possible] = states
    if not usable:
        raise ValueError(f"{truth.game} has no comment on {sorted(truth.answers())}")
    picked = rng.choices([*usable], [2.0**possible.urgency for possible in usable])[0]
    said = picked.say(answers, rng, rng.randrange(STYLES))
    text = said.text
    if MOODS[picked.mood] and rng.random() < 0.5:
        text = f"{rng.choice(MOODS[picked.mood])}, {text}"
    end = "!" if picked.mood else "."
    return Spoken(f"{_capital(text)}{end}", usable[picked], (said,))


def answers_in(spoken: Spoken, game: str) -> tuple[tuple[int, int, str], ...]:
    """Where a text answers questions: (start, end in characters, name of the boxes it is about).

    Those are the slots of its clauses, and, where a clause states what has none, the words around
    its nouns. Boxes are those of `Moment.boxes` and of `Table.displays`; "" for what is about
    several things, or about none that has a place.
    """
    text, boxes = spoken.text.lower(), _boxes(game)

    def about(questions: Collection[Question]) -> str:
        subjects = {subject for subject, _ in questions}
        if len(subjects) > 1 or any(to_another(relation) for _, relation in questions):
            return ""
        return boxes.get(subjects.pop(), "")

    found = []
    for each, words, marks in spoken.clauses:
        at = text.find(words.lower())
        last, parts = 0, [*marks, Mark(len(words), len(words), Noun(()))]
        for start, end, part in parts:
            if each.fixed and start > last:
                found.append((at + last, at + start, about([fact.question for fact in each.fixed])))
            if isinstance(part, Slot):
                found.append((at + start, at + end, about(part.questions)))
            last = end
    return tuple(found)


@cache
def _boxes(game: str) -> dict[str, str]:
    """The name of the boxes of each subject that has some, its display's included."""
    seen: tuple[Thing | Crowd, ...] = (*TABLES[game].things, *TABLES[game].crowds)
    found = {each.subject: each.box for each in seen}
    return {box.name: box.name for box in TABLES[game].displays} | found


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Parsed:
    """What a sentence states, and the words that no clause of the grammar holds."""

    statements: frozenset[Statement]
    unparsed: str


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Clause], ...]:
    """The clauses of all games, each regex with the same fixed facts once."""
    clauses = [each for game in TABLES for each in words_of(game).all]
    known = {(each.regex, each.fixed): each for each in clauses}
    return tuple((re.compile(regex), each) for (regex, _), each in known.items())


def parse(sentence: str) -> Parsed:
    """What a sentence, or several, state; the longest clause wins, other words are kept apart."""
    text = re.sub(r"\s+([.,;:!])", r"\1", " ".join(sentence.lower().split()))
    statements: set[Statement] = set()
    unparsed = []
    at = 0
    while at < len(text):
        if skip := _SKIP.match(text, at):
            at = skip.end()
            continue
        matches = [(m, c) for regex, c in _patterns() if (m := regex.match(text, at))]
        if matches:
            match, each = max(matches, key=lambda found: found[0].end())
            statements |= each.understood(match)
            at = match.end()
        else:
            end = re.compile(r"\S+").match(text, at).end()  # type: ignore[union-attr]
            unparsed.append(text[at:end])
            at = end
    return Parsed(frozenset(statements), " ".join(unparsed))


@dataclass(frozen=True)
class Judgement:
    """A caption against the truth.

    Attributes:
        true, false: what it states.
        mentioned: main questions that it answers truly.
        main: all of them.
        unparsed: words that were not understood; they count neither way.
    """

    true: frozenset[Statement]
    false: frozenset[Statement]
    mentioned: frozenset[Question]
    main: frozenset[Question]
    unparsed: str


def judge(sentence: str, truth: Truth) -> Judgement:
    """Which statements of a sentence are true, and which main facts it has."""
    parsed = parse(sentence)
    true = parsed.statements & truth.tolerated
    answered = {statement.question for statement in true}
    return Judgement(
        true, parsed.statements - true, truth.main & answered, truth.main, parsed.unparsed
    )


def mentions(sentence: str, game: str) -> tuple[tuple[int, int, str], ...]:
    """Where a sentence names objects of a game: (start, end in characters, name of their boxes)."""
    table: Table = TABLES[game]
    found = []
    for box, ways in table.nouns.values():
        for way in ways:
            for match in re.finditer(rf"\b{re.escape(way.lower())}\b", sentence.lower()):
                found.append((match.start(), match.end(), box))
    whole = [a for a in found if not any(_within(a, b) for b in found)]
    return tuple(sorted(set(whole)))


def _within(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    inside = other[0] <= one[0] and one[1] <= other[1]
    return inside and other[1] - other[0] > one[1] - one[0]


def tokens(text: str) -> list[str]:
    """Words, single digits and punctuation, lower case."""
    return re.findall(r"\d|ms\.|[a-z]+(?:-[a-z]+)*|[.,;:!]", text.lower())


@cache
def vocabulary() -> frozenset[str]:
    """All `tokens` of all sentences."""
    found = {*".,;:!", *"0123456789", "and", "while"}
    found.update(*(tokens(way) for ways in MOODS.values() for way in ways))
    for game in TABLES:
        for each in words_of(game).all:
            found.update(*(tokens(text) for text in each.literals))
    return frozenset(found)
