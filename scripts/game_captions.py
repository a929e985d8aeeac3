"""Clips of games as pairs for a captioner, and the judge of what is said of them.

Here `agents.commentary`, which knows what is true, meets `generators.caption`, which does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.commentary import comment, describe, judge, mentions, parse
from agents.commentary.games import TABLES
from agents.commentary.merits import MERITS
from agents.commentary.speech import (
    MOODS,
    Spoken,
    answers_in,
    description,
    remark,
    words_of,
)
from agents.commentary.store import Clips, Known
from agents.commentary.table import CHANGES, Statement, to_another
from generators.caption_judges import Critic, Judge
from generators.caption_pairs import Named, Pairs, Rectangle, Shown, Told, cells_of
from generators.captioner import Caption, Captioner
from generators.words import Vocabulary
from playground.data import permutation
from playground.frames import Box

REGISTERS = ("describe", "comment")
TELLERS: dict[str, Callable[..., Spoken]] = {"describe": description, "comment": remark}


class GamePairs:
    """Clips as pairs; see `generators.caption_pairs.Pairs`.

    After the N clips come the last frames of some of them as single pictures, of which only what
    stands in them is said; before such a picture all is black.
    """

    registers: tuple[str, ...] = REGISTERS

    def __init__(self, clips: Clips, stills: float = 0.0) -> None:
        self.clips = clips
        # Drawn: clips are in the order of games and emulators, of which a stride would miss some.
        self.stills = permutation(len(clips), 0, 0)[: round(stills * len(clips))].tolist()

    def __len__(self) -> int:
        return len(self.clips) + len(self.stills)

    def read(self, indices: Tensor) -> Tensor:
        frames = []
        for index in indices.tolist():
            place, still = self._place(index)
            clip = self.clips.frames(place)
            if still:
                clip[:-1] = 0
            frames.append(clip)
        return torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3)

    def known(self, index: int) -> Known:
        """What is true of it, and where things are."""
        return self.clips.known(*self._place(index))

    def _place(self, index: int) -> tuple[int, bool]:
        """Which clip it is of, and whether it is that one's last frame alone."""
        if index < len(self.clips):
            return index, False
        return self.stills[index - len(self.clips)], True

    def told(self, index: int, register: str | None, rng: random.Random) -> Told:
        known = self.known(index)
        spoken, game = TELLERS[register or REGISTERS[0]](known.truth, rng), known.truth.game
        found = []
        for start, end, name in mentions(spoken.text, game):
            boxes = self.shares(known.boxes, name)
            if boxes:
                found.append(Named(start, end, boxes))
        where = (*known.boxes, *TABLES[game].displays)
        for start, end, name in answers_in(spoken, game):
            found.append(Named(start, end, self.shares(where, name), answers=True))
        return Told(spoken.text, found)

    def shown(self, index: int) -> Sequence[Shown]:
        """What single things do: neither where they are nor how they stand to others; what the
        screen shows of figures, digit by digit; and of clips, how these change.
        """
        known, still = self.known(index), self._place(index)[1]
        game, answers = known.truth.game, known.truth.answers()
        signs = [*TABLES[game].signs(answers), *([] if still else TABLES[game].changes(answers))]
        boxes = {
            thing.subject: self.shares(known.boxes, thing.box) for thing in TABLES[game].things
        }
        return [
            Shown(f"{game} {s.subject} {s.relation}", str(s.value), boxes[s.subject][0])
            for s in sorted(known.truth.said, key=str)
            if len(boxes.get(s.subject, ())) == 1
            and s.relation not in ("is", "row", "column")
            and not to_another(s.relation)
        ] + [
            Shown(f"{game} {part}", answer, self.shares([box], box.name)[0])
            for part, answer, box in signs
        ]

    def references(self, index: int) -> Sequence[str]:
        return ()

    def corpus(self) -> Iterable[str]:
        """Every word of the games' grammars, and sentences about every clip."""
        rng = random.Random(0)
        yield from (way for ways in MOODS.values() for way in ways)
        for game in sorted(set(self.clips.games)):
            for clause in words_of(game).all:
                yield from clause.literals
        for index in range(len(self)):
            truth = self.known(index).truth
            yield describe(truth, rng)
            yield comment(truth, rng)

    def shares(self, boxes: Sequence[Box], name: str) -> list[Rectangle]:
        """The boxes of that name in shares of the screen."""
        _, height, width = self.clips.shape
        return [
            (
                box.x / width,
                box.y / height,
                (box.x + box.width) / width,
                (box.y + box.height) / height,
            )
            for box in boxes
            if box.name == name
        ]


class Tally:
    """Counts of what captions state, and how much of it is true."""

    def __init__(self) -> None:
        self.captions = self.true = self.false = self.main = self.mentioned = 0
        self.named = self.rightly = self.strange = self.places = self.found = 0
        self.news = self.told = 0  # those of clips in which a figure changes, and that tell it
        self.wrong: list[tuple[Statement, ...]] = []  # of each caption

    @property
    def stated(self) -> int:
        return self.true + self.false

    @property
    def unnamed(self) -> int:
        """Of what is stated, all but the game's name, which is easy."""
        return self.stated - self.named

    @property
    def unnamed_true(self) -> int:
        return self.true - self.rightly

    def figures(self, prefix: str) -> dict[str, float]:
        """In percent, of what there is: see `judge_games`."""
        shares = {
            "true": (self.true, self.stated),
            "mentioned": (self.mentioned, self.main),
            "game": (self.rightly, self.named),
            "looked": (self.found, self.places),
            "strange": (self.strange, self.captions),
            "told": (self.told, self.news),
        }
        return {f"{prefix}{key}": 100 * a / b for key, (a, b) in shares.items() if b}


def judge_games(
    pairs: Pairs, indices: Sequence[int], said: Mapping[str | None, Sequence[Caption]]
) -> dict[str, float]:
    """Figures in percent of captions of clips, by register.

    <register>_true: of the stated facts. describe_mentioned: of the main facts. describe_game: of
    the captions that name a game, those that name the right one. <register>_looked: of the words
    that name a thing on the screen, those that looked most at one of the map's cells that it
    touches, or next to it. <register>_strange: captions with words that state nothing.
    comment_told: of the clips in which a figure changes, those whose comment tells so. score: the
    mean of all true, mentioned and told.
    """
    figures: dict[str, float] = {}
    for register, captions in said.items():
        tally = count(pairs, indices, captions)
        found = tally.figures(f"{register}_")
        # A comment need not say all, and a description says all at once.
        others = ("_told",) if register == "describe" else ("_mentioned", "_game")
        figures |= {k: v for k, v in found.items() if not k.endswith(others)}
    marks = [figures.get(f"{register}_true", 0.0) for register in said]  # who states nothing: 0
    if "describe" in said:
        marks.append(figures.get("describe_mentioned", 0.0))
    if "comment_told" in figures:
        marks.append(figures["comment_told"])
    return {"score": sum(marks) / len(marks) if marks else 0.0, **figures}


def game_marks(pairs: Any, indices: Sequence[int], captions: Sequence[Caption]) -> Sequence[float]:
    """For each caption 100, less what it states falsely and what main facts it lacks, in shares."""
    marks = []
    for index, caption in zip(indices, captions, strict=True):
        found = judge(caption.text, pairs.known(index).truth)
        stated = len(found.true) + len(found.false)
        wrong = len(found.false) / stated if stated else 1.0
        lacking = 1 - len(found.mentioned) / len(found.main) if found.main else 0.0
        marks.append(100 * (1 - wrong) - lacking)  # falsehood first
    return marks


def game_critic(pairs: Any, vocabulary: Vocabulary) -> Critic:
    """What captions are worth by the facts that they state: see `agents.commentary.merits`."""

    def rewards(words: Tensor, indices: Tensor, register: str | None) -> Tensor:
        merit = MERITS[register or REGISTERS[0]]
        texts = vocabulary.decode(words)
        truths = [pairs.known(index).truth for index in indices.tolist()]
        return torch.tensor([merit(*each) for each in zip(texts, truths, strict=True)])

    return rewards


GAMES = Judge(judge_games, game_marks, game_critic)


def count(pairs: Any, indices: Sequence[int], captions: Sequence[Caption]) -> Tally:
    """Judge captions of the clips of `GamePairs` at those indices."""
    tally = Tally()
    for index, caption in zip(indices, captions, strict=True):
        known = pairs.known(index)
        found = judge(caption.text, known.truth)
        tally.captions += 1
        tally.true += len(found.true)
        tally.false += len(found.false)
        tally.mentioned += len(found.mentioned)
        tally.main += len(found.main)
        tally.strange += bool(found.unparsed)
        named = {s.value for s in found.true | found.false if s.question == ("game", "is")}
        tally.named += bool(named)
        tally.rightly += named == {known.truth.game}
        tally.news += changes(known.truth.said)
        tally.told += changes(found.true)
        tally.wrong.append(tuple(sorted(found.false, key=str)))
        for start, end, name in mentions(caption.text, known.truth.game):
            boxes = pairs.shares(known.boxes, name)
            if boxes:
                tally.places += 1
                tally.found += looked_at(caption, start, end, boxes)
    return tally


def changes(statements: Iterable[Statement]) -> bool:
    """Whether one of them is that a figure changes."""
    return any(statement.relation in CHANGES for statement in statements)


def news_of(captioner: Captioner) -> Callable[[str], bool] | None:
    """Whether a captioner's sentence states that a figure changes; None for one of photos."""
    return (lambda text: changes(parse(text).statements)) if captioner.games else None


def looked_at(caption: Caption, start: int, end: int, boxes: Sequence[Rectangle]) -> bool:
    """Whether the words of text[start:end] looked most at a box's cells, or next to them."""
    spans = spans_of(caption)
    spoken = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
    looked = caption.attention[spoken].sum(0)
    cells = cells_of(torch.tensor(boxes), looked.shape[0], looked.shape[1], margin=1).any(0)
    return bool(cells[int(looked.argmax())])


def spans_of(caption: Caption) -> list[tuple[int, int]]:
    """Where each token of a caption stands in its text, in characters."""
    text, at, spans = caption.text.lower(), 0, []
    for word in caption.words:
        plain = word.removeprefix("##").lower()
        found = text.find(plain, at)
        start = at if found < 0 else found  # a quote is printed in another shape
        spans.append((start, start + len(plain)))
        at = spans[-1][1]
    return spans
