"""What a captioner learns from: pictures or clips with sentences, and batches of them as tensors.

A source of pairs has the methods of `Pairs`; `Photos` makes one of captioned photos. Words are
numbers of a `Vocabulary`, and every row begins with the word of its register.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from generators.caption_data import CaptionedPictures
from generators.captioner import word_of
from generators.words import BEGIN, PAD, SPECIAL, Vocabulary

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in shares of a picture


class Named(NamedTuple):
    """A part of a sentence, from `start` to before `end` in characters, that is about what is seen.

    `boxes`: where that is; of several things of one name, all of them; of nothing with a place ().
    answers: it states a fact, where other words could have been put otherwise.
    """

    start: int
    end: int
    boxes: Sequence[Rectangle]
    answers: bool = False


class Told(NamedTuple):
    """A sentence that is right of a picture, with what it is about, where that is known."""

    text: str
    named: Sequence[Named] = ()


class Shown(NamedTuple):
    """What is known of a thing that is seen: an answer to a question, and where the thing is."""

    question: str
    answer: str
    box: Rectangle


class Pairs(Protocol):
    """N pictures or clips with sentences. `registers`: ways of speaking; () for one only."""

    registers: tuple[str, ...]

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> Tensor:
        """Those at `indices` (B,): uint8 (B, 3, H, W), or clips (B, T, 3, H, W)."""

    def told(self, index: int, register: str | None, rng: random.Random) -> Told:
        """One of the sentences that are right."""

    def shown(self, index: int) -> Sequence[Shown]:
        """What is known of things that are seen; () where nothing is."""

    def references(self, index: int) -> Sequence[str]:
        """All that captions are compared with; () where they are judged otherwise."""

    def corpus(self) -> Iterable[str]:
        """Text with every word that is worth knowing, as often as it is said."""


class Photos:
    """Captioned photos as pairs."""

    registers: tuple[str, ...] = ()

    def __init__(self, pictures: CaptionedPictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, indices: Tensor) -> Tensor:
        return self.pictures.read(indices)

    def told(self, index: int, register: str | None, rng: random.Random) -> Told:
        return Told(rng.choice(self.pictures.captions[index]))

    def shown(self, index: int) -> Sequence[Shown]:
        return ()

    def references(self, index: int) -> Sequence[str]:
        return self.pictures.captions[index]

    def corpus(self) -> Iterable[str]:
        return (text for captions in self.pictures.captions for text in captions)


class Batch(NamedTuple):
    """B pictures, each with K sentences: row b * K + k is sentence k of picture b.

    indices: (B,). words: (B K, S) int64. rows: (R,) the words that are about something seen, as
    numbers of the flattened targets words[:, 1:], (B K (S - 1),). boxes: (G, 4) in shares of the
    picture, and owners: (G,) of which of the R words each is one. answers: (A,) the words that
    state a fact, numbered as `rows`.
    """

    indices: Tensor
    words: Tensor
    rows: Tensor
    boxes: Tensor
    owners: Tensor
    answers: Tensor


def batch(
    pairs: Pairs,
    indices: Tensor,
    vocabulary: Vocabulary,
    sentences: int,
    longest: int,
    rng: random.Random,
) -> Batch:
    """Sentences for the pictures at `indices`; with registers, these in turn.

    Tokens beyond the first `longest` are cut off.
    """
    lines: list[Tensor] = []
    named: list[tuple[int, int, Named]] = []  # row, number of the target, what it names
    for index in indices.tolist():
        for k in range(sentences):
            registers = pairs.registers or (None,)
            register = registers[k % len(registers)]
            told = pairs.told(index, register, rng)
            begin = BEGIN if register is None else vocabulary.index[word_of(register)]
            line = vocabulary.encode([told.text], longest)[0]
            line[0] = begin
            for one in told.named:
                first, last = tokens_of(told.text, one, vocabulary)
                spots = range(first, min(last, len(line) - 2))
                named += [(len(lines), spot, one) for spot in spots]
            lines.append(line)
    words = pad_sequence(lines, batch_first=True, padding_value=PAD)
    width = words.shape[1] - 1
    stating = [row * width + spot for row, spot, one in named if one.answers]
    answers = torch.tensor(stating, dtype=torch.int64)
    named = [each for each in named if each[2].boxes]
    rows = torch.tensor([row * width + spot for row, spot, _ in named], dtype=torch.int64)
    owned = [(number, box) for number, (_, _, one) in enumerate(named) for box in one.boxes]
    boxes = torch.tensor([box for _, box in owned]).view(-1, 4)
    owners = torch.tensor([number for number, _ in owned], dtype=torch.int64)
    return Batch(indices, words, rows, boxes, owners, answers)


def tokens_of(text: str, named: Named, vocabulary: Vocabulary) -> tuple[int, int]:
    """From which token to before which one a part of a text reaches."""
    before = len(vocabulary.pieces(text[: named.start]))
    return before, before + len(vocabulary.pieces(text[named.start : named.end]))


def cells_of(boxes: Tensor, rows: int, columns: int, margin: float = 0.0) -> Tensor:
    """Boxes (G, 4) in shares of a picture -> (G, rows * columns) bool: cells that they touch.

    `margin`: cells to all sides that count as well. A box outside of the picture has the nearest.
    """
    size = boxes.new_tensor([columns, rows, columns, rows])
    low, high = (boxes * size).view(-1, 2, 2).unbind(1)
    last = size[:2] - 1
    low = (low.floor() - margin).clamp(torch.zeros(2, device=boxes.device), last)
    high = ((high.ceil() - 1) + margin).clamp(torch.zeros(2, device=boxes.device), last)
    high = torch.maximum(high, low)
    x = torch.arange(columns, device=boxes.device)
    y = torch.arange(rows, device=boxes.device)
    across = (x >= low[:, :1]) & (x <= high[:, :1])  # (G, columns)
    along = (y >= low[:, 1:]) & (y <= high[:, 1:])
    return (along[:, :, None] & across[:, None]).flatten(1)


def union_of(cells: Tensor, owners: Tensor, count: int) -> Tensor:
    """Cells (G, L) bool of boxes, and of which of `count` words each is -> (count, L) bool."""
    found = torch.zeros(count, cells.shape[1], device=cells.device)
    return found.index_add_(0, owners, cells.float()) > 0


def vocabulary_of(pairs: Pairs, min_count: int, spell_numbers: bool) -> Vocabulary:
    """The words of all its sentences, and one for each register."""
    found = Vocabulary.build(pairs.corpus(), min_count, spell_numbers)
    registers = [word_of(name) for name in pairs.registers]
    return Vocabulary([*registers, *found.words[len(SPECIAL) :]], spell_numbers)
