"""What is known of things is read off the cells that they touch."""

import math

import torch

from generators.caption_pairs import Shown
from generators.caption_reader import Reader

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


class Known:
    """Pictures of which that is known, and nothing else."""

    def __init__(self, *shown):
        self.each = shown

    def __len__(self):
        return len(self.each)

    def shown(self, index):
        return self.each[index]


def reader():
    torch.manual_seed(0)
    pairs = Known(
        [Shown("ball flies", "up", LEFT), Shown("wall is", "whole", LEFT)],
        [Shown("ball flies", "down", RIGHT), Shown("boat is", "near", LEFT)],
        [Shown("boat is", "far", RIGHT), Shown("boat is", "gone", RIGHT)],
    )
    return Reader(4, pairs), pairs


def test_questions_have_more_than_one_answer():
    made, pairs = reader()
    assert made.answers == (
        ("ball flies", "down"), ("ball flies", "up"),
        ("boat is", "far"), ("boat is", "gone"), ("boat is", "near"),
    )  # fmt: skip
    asked = made.asked([pairs.shown(0), pairs.shown(1)])
    assert asked.owners.tolist() == [0, 1, 1] and asked.answers.tolist() == [1, 0, 4]
    assert torch.equal(asked.boxes, torch.tensor([LEFT, RIGHT, LEFT]))
    assert len(made.asked([[], []]).owners) == 0


def test_answers_compete_with_those_to_the_same_question():
    made, pairs = reader()
    torch.nn.init.zeros_(made.read[1].weight)
    torch.nn.init.zeros_(made.read[1].bias)
    memory = torch.randn(2, 8, 4)
    loss, right = made(memory, made.asked([pairs.shown(0), pairs.shown(1)]), (2, 4))
    assert math.isclose(loss.item(), (2 * math.log(2) + math.log(3)) / 3, rel_tol=1e-6)
    with torch.no_grad():
        made.read[1].bias += torch.tensor([0.0, 1.0, 0.0, 0.0, 5.0])
    _, right = made(memory, made.asked([pairs.shown(0), pairs.shown(1)]), (2, 4))
    assert math.isclose(right.item(), 2 / 3, rel_tol=1e-6)  # up, up for down, near


def test_only_touched_cells_are_read_each_thing_by_itself():
    made, pairs = reader()
    memory = torch.randn(2, 8, 4, requires_grad=True)
    asked = made.asked([pairs.shown(0), []])
    loss, _ = made(memory, asked, (2, 4))
    loss.backward()
    touched = memory.grad.abs().sum(2).view(2, 2, 4) > 0
    assert touched[0, :, :2].all() and not touched[0, :, 2:].any() and not touched[1].any()
    both = made.asked([pairs.shown(0), pairs.shown(1)])
    each = [made(memory, made.asked(known), (2, 4))[0] for known in (
        [pairs.shown(0), []], [[], pairs.shown(1)],
    )]  # fmt: skip
    whole = made(memory, both, (2, 4))[0]
    assert torch.allclose(whole, (each[0] + 2 * each[1]) / 3)
