"""What things do is classified from the cells of the memory that they touch."""

import math

import torch

from generators.caption_auxiliary import AuxiliaryHead
from generators.caption_pairs import Shown

GRID = (2, 4)
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.75, 0.5, 1.0, 1.0)  # four cells, and one


class Known:
    """Pictures of which that is known, and nothing else."""

    def __init__(self, *shown):
        self.each = shown

    def __len__(self):
        return len(self.each)

    def shown(self, index):
        return self.each[index]


def made():
    torch.manual_seed(0)
    pairs = Known(
        [Shown("ball flies", "up", LEFT), Shown("wall is", "whole", LEFT)],
        [Shown("ball flies", "down", RIGHT), Shown("boat is", "near", LEFT)],
        [Shown("boat is", "far", RIGHT), Shown("boat is", "gone", RIGHT)],
    )
    return AuxiliaryHead(4, pairs), pairs


def test_questions_have_more_than_one_answer():
    head, pairs = made()
    assert head.answers == (
        ("ball flies", "down"), ("ball flies", "up"),
        ("boat is", "far"), ("boat is", "gone"), ("boat is", "near"),
    )  # fmt: skip
    targets = head.targets([pairs.shown(0), pairs.shown(1)], GRID)
    assert targets.answers.tolist() == [1, 0, 4]
    assert targets.pictures.tolist() == [0] * 4 + [1] * 5
    assert targets.cells.tolist() == [0, 1, 4, 5, 7, 0, 1, 4, 5]
    assert targets.owners.tolist() == [0] * 4 + [1] + [2] * 4
    assert targets.shares.tolist() == [0.25] * 4 + [1.0] + [0.25] * 4
    assert not any(len(tensor) for tensor in head.targets([[], []], GRID))
    assert AuxiliaryHead(4, Known([Shown("wall is", "whole", LEFT)], [])).answers == ()


def test_answers_compete_with_those_to_the_same_question():
    head, pairs = made()
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.zeros_(head.out.bias)
    memory, targets = torch.randn(2, 8, 6), head.targets([pairs.shown(0), pairs.shown(1)], GRID)
    loss, _ = head(memory, targets)
    assert math.isclose(loss.item(), (math.log(2) + math.log(3)) / 2, rel_tol=1e-6)
    with torch.no_grad():
        head.out.bias += torch.tensor([0.0, 1.0, 0.0, 0.0, 5.0])
    _, right = head(memory, targets)
    assert math.isclose(right.item(), 3 / 4, rel_tol=1e-6)  # up, up for down; near
    assert head.marks(memory, targets) == [(0, True), (0, False), (1, True)]
    assert head.marks(memory, head.targets([[], []], GRID)) == []


def test_the_mean_of_what_a_thing_touches_is_read_and_no_coordinates():
    head, pairs = made()
    memory = torch.randn(2, 8, 6, requires_grad=True)
    loss, _ = head(memory, head.targets([pairs.shown(0), []], GRID))
    loss.backward()
    read = memory.grad.abs() > 0
    assert read[0].any(1).nonzero().flatten().tolist() == [0, 1, 4, 5] and not read[1].any()
    assert read[0, :, :4].any() and not read[..., 4:].any()
    shuffled = memory.detach().clone()
    shuffled[0, [0, 1, 4, 5]] = memory.detach()[0, [5, 4, 1, 0]]
    again, _ = head(shuffled, head.targets([pairs.shown(0), []], GRID))
    assert torch.allclose(again, loss)


def test_half_precision_does_not_round_it():
    head, pairs = made()
    memory = torch.randn(2, 8, 6)
    targets = head.targets([pairs.shown(0), pairs.shown(1)], GRID)
    wanted, _ = head(memory, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = head(memory, targets)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)
