"""Sentences as batches: registers in turn, which tokens name what, and which cells that touches."""

import random

import pytest
import torch

from generators import caption_memory
from generators.caption_memory import fits, to_memory_input
from generators.caption_pairs import (
    Named,
    Told,
    batch,
    cells_of,
    tokens_of,
    union_of,
    vocabulary_of,
)
from generators.captioner import word_of
from generators.words import END, PAD


class Two:
    """Two clips of 250 points, each with a ball; the second has two."""

    registers = ("describe", "comment")

    def __len__(self):
        return 2

    def told(self, index, register, rng):
        if register == "comment":
            return Told("Well done!")
        boxes = [(0.0, 0.0, 0.1, 0.1), (0.5, 0.5, 0.6, 0.6)][: index + 1]
        named = [
            Named(0, 3, [], answers=True),
            Named(16, 24, boxes),
            Named(24, 30, [], answers=True),
        ]
        return Told("250 points, and the ball flies.", named)

    def corpus(self):
        return ["250 points, and the ball flies.", "Well done!"]


@pytest.fixture
def vocabulary():
    return vocabulary_of(Two(), 1, True)


def test_registers_are_words_that_no_caption_has(vocabulary):
    assert [word_of(name) in vocabulary.index for name in Two.registers] == [True, True]
    assert len(vocabulary) == len(set(vocabulary.words)) and "ball" in vocabulary.index
    assert vocabulary.index[word_of("describe")] not in vocabulary.encode(["<describe>"])


def test_a_batch_has_each_register_in_turn_and_knows_what_names_what(vocabulary):
    found = batch(Two(), torch.tensor([1, 0]), vocabulary, 2, 20, random.Random(0))
    begins = [vocabulary.words[i] for i in found.words[:, 0].tolist()]
    assert begins == ["<describe>", "<comment>"] * 2
    assert vocabulary.decode(found.words[:, 1:])[:2] == [
        "250 points, and the ball flies.",
        "Well done!",
    ]
    targets = found.words[:, 1:].flatten()
    named = [vocabulary.words[i] for i in targets[found.rows].tolist()]
    assert named == ["the", "ball"] * 2
    assert found.owners.tolist() == [0, 0, 1, 1, 2, 3] and found.boxes.shape == (6, 4)
    answers = [vocabulary.words[i] for i in targets[found.answers].tolist()]
    assert [word.removeprefix("##") for word in answers] == ["2", "5", "0", "flies"] * 2
    assert (found.words[1] == PAD).any() and (found.words == END).sum() == 4


def test_what_is_cut_off_names_nothing(vocabulary):
    found = batch(Two(), torch.tensor([0]), vocabulary, 1, 3, random.Random(0))
    assert found.words.shape == (1, 5) and not len(found.rows)


def test_tokens_of_a_part(vocabulary):
    text = "250 points, and the ball flies."
    assert tokens_of(text, Named(20, 24, []), vocabulary) == (7, 8)  # 2 5 0 points , and the
    assert vocabulary.pieces(text)[7] == "ball"


def test_cells_that_a_box_touches():
    boxes = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.45, 0.2, 0.55, 0.3], [0.9, 0.9, 1.2, 1.2]])
    cells = cells_of(boxes, 5, 4).view(3, 5, 4)
    assert cells[0].nonzero().tolist() == [[0, 0]]
    assert cells[1].nonzero().tolist() == [[1, 1], [1, 2]]
    assert cells[2].nonzero().tolist() == [[4, 3]]
    wide = cells_of(boxes, 5, 4, margin=1).view(3, 5, 4)
    assert wide[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    outside = cells_of(torch.tensor([[1.5, -0.2, 1.6, -0.1]]), 5, 4).view(5, 4)
    assert outside.nonzero().tolist() == [[0, 3]]


def test_union_of_a_words_boxes():
    cells = torch.tensor([[True, False, False], [False, True, False], [False, False, True]])
    owners = torch.tensor([1, 1, 0])
    assert union_of(cells, owners, 2).tolist() == [[False, False, True], [True, True, False]]


def test_pixels_become_numbers_and_some_are_mirrored():
    pixels = torch.randint(0, 256, (3, 2, 3, 4, 6), dtype=torch.uint8)
    x = to_memory_input(pixels, torch.tensor([False, True, False]))
    plain = pixels.float() / 255
    assert torch.equal(x[0], plain[0]) and torch.equal(x[1], plain[1].flip(-1))
    assert torch.equal(to_memory_input(pixels[:, 0]), plain[:, 0])


def test_memories_fit_in_half_of_what_is_free(monkeypatch, capsys):
    monkeypatch.setattr(caption_memory, "available_memory", lambda: 4000)
    assert fits(1000) and not capsys.readouterr().err
    assert not fits(1001) and "more than half" in capsys.readouterr().err
