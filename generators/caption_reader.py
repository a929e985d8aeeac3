"""What is known of things, read off the memory where they stand: a help for encoders that learn.

A sentence says little of what is seen, and late: that a ball flies up is one word of thirty. Where
places and properties of things are known, linear layers read them off the memory's cells that a
thing touches, so that the encoder is told directly what each place has to tell ("auxiliary tasks",
Caruana 1997, "Multitask Learning"). Captioners do without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.caption_pairs import Pairs, Shown, cells_of

Answer = tuple[str, str]  # question, answer


class Asked(NamedTuple):
    """A answers: of which picture of the batch, where the thing is, which answer is right."""

    owners: Tensor  # (A,)
    boxes: Tensor  # (A, 4) in shares of the picture
    answers: Tensor  # (A,)

    def to(self, device: torch.device | str) -> Asked:
        return Asked(*(tensor.to(device) for tensor in self))


class Reader(nn.Module):
    """Linear layers from a thing's memory to the answers of all questions that `pairs` know of.

    Questions that have one answer throughout are not asked.
    """

    questions: Tensor

    def __init__(self, features: int, pairs: Pairs) -> None:
        super().__init__()
        found = {(s.question, s.answer) for i in range(len(pairs)) for s in pairs.shown(i)}
        each = Counter(question for question, _ in found)
        self.answers: tuple[Answer, ...] = tuple(sorted(a for a in found if each[a[0]] > 1))
        self._number = {answer: number for number, answer in enumerate(self.answers)}
        names = sorted({question for question, _ in self.answers})
        numbers = torch.tensor([names.index(question) for question, _ in self.answers])
        self.register_buffer("questions", numbers.long(), persistent=False)
        self.read = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, len(self.answers)))

    def asked(self, shown: Sequence[Sequence[Shown]]) -> Asked:
        """What is known of each picture of a batch."""
        rows = [
            (owner, one.box, self._number[one.question, one.answer])
            for owner, known in enumerate(shown)
            for one in known
            if (one.question, one.answer) in self._number
        ]
        return Asked(
            torch.tensor([owner for owner, _, _ in rows], dtype=torch.int64),
            torch.tensor([box for _, box, _ in rows]).view(-1, 4),
            torch.tensor([number for _, _, number in rows], dtype=torch.int64),
        )

    def forward(self, memory: Tensor, asked: Asked, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Memory (B, L, D) -> cross-entropy of the right answers, and the share that is likeliest.

        An answer competes with those to the same question alone.
        """
        cells = cells_of(asked.boxes, *grid)
        thing, cell = cells.nonzero(as_tuple=True)
        touched = memory[asked.owners[thing], cell]
        seen = memory.new_zeros(len(cells), memory.shape[2]).index_add(0, thing, touched)
        logits = self.read(seen / cells.sum(1, keepdim=True)).float()
        other = self.questions[None] != self.questions[asked.answers][:, None]
        logits = logits.masked_fill(other, -torch.inf)
        right = (logits.detach().argmax(1) == asked.answers).float().mean()
        return F.cross_entropy(logits, asked.answers), right
