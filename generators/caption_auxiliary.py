"""An auxiliary loss for encoders: what things do, classified from the memory where they stand.

A sentence says little of what is seen, and late: that a ball flies up is one word of thirty. Where
a thing's box and properties are known, a linear layer classifies them from the memory's cells that
the box touches, and the encoder is told directly what these have to tell (Caruana 1997, "Multitask
Learning"). The memory's own coordinates are left out, as they would tell places by themselves.
Captioners do without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.caption_pairs import Pairs, Shown, cells_of
from playground.backbone import full_precision
from playground.transfer import upload


class Targets(NamedTuple):
    """T questions about things in a batch of pictures, whose boxes touch M cells together."""

    pictures: Tensor  # (M,) of which picture of the batch each cell is
    cells: Tensor  # (M,) its number in the memory
    owners: Tensor  # (M,) of which of the T things it is
    shares: Tensor  # (M,) 1 / number of cells of that thing
    answers: Tensor  # (T,) the right ones, as numbers of `AuxiliaryHead.answers`

    def to(self, device: torch.device) -> Targets:
        """All of them there."""
        return Targets(*(upload(tensor, device) for tensor in self))


class AuxiliaryHead(nn.Module):
    """LayerNorm and a linear layer, from a thing's mean memory to the answers to all questions.

    Those to one question are classes of one softmax. Questions that have a single answer throughout
    are left out. `answers`: (question, answer) of each output; () where nothing is known.

    features: of the memory that are read, the first ones.
    """

    questions: Tensor  # (outputs,) number of the question that each answers

    def __init__(self, features: int, pairs: Pairs) -> None:
        super().__init__()
        found = {(s.question, s.answer) for i in range(len(pairs)) for s in pairs.shown(i)}
        count = Counter(question for question, _ in found)
        self.answers = tuple(sorted(pair for pair in found if count[pair[0]] > 1))
        self._number = {pair: number for number, pair in enumerate(self.answers)}
        names = sorted({question for question, _ in self.answers})
        numbers = [names.index(question) for question, _ in self.answers]
        self.register_buffer("questions", torch.tensor(numbers).long(), persistent=False)
        self.features = features
        self.norm = nn.LayerNorm(features)
        self.out = nn.Linear(features, max(1, len(self.answers)))

    def targets(self, shown: Sequence[Sequence[Shown]], grid: tuple[int, int]) -> Targets:
        """What is known of each picture of a batch; grid: rows and columns of the memory."""
        known = [
            (picture, one.box, self._number[one.question, one.answer])
            for picture, each in enumerate(shown)
            for one in each
            if (one.question, one.answer) in self._number
        ]
        touched = cells_of(torch.tensor([box for _, box, _ in known]).view(-1, 4), *grid)
        owners, cells = touched.nonzero(as_tuple=True)
        pictures = torch.tensor([picture for picture, _, _ in known], dtype=torch.int64)
        shares = 1 / touched.sum(1).float()
        answers = torch.tensor([number for _, _, number in known], dtype=torch.int64)
        return Targets(pictures[owners], cells, owners, shares[owners], answers)

    def forward(self, memory: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Memory (B, L, D) -> cross-entropy, and the share of answers that are likeliest.

        Both are means over the questions that are asked of each one's mean over its targets, of
        which there is one at least: what is asked of many games counts no more than what is asked
        of one. Computed in fp32.
        """
        with full_precision(memory):
            logits = self._logits(memory, targets)
            own = self.questions[targets.answers]
            shares = 1 / (own[:, None] == own).sum(1).float()  # of each target in its question
            shares = shares / shares.sum()
            right = (logits.detach().argmax(1) == targets.answers).float()
            losses = F.cross_entropy(logits, targets.answers, reduction="none")
            return (losses * shares).sum(), (right * shares).sum()

    @torch.no_grad()
    def marks(self, memory: Tensor, targets: Targets) -> list[tuple[int, bool]]:
        """Of each target the number of its question, and whether the likeliest answer is right."""
        right = self._logits(memory, targets).argmax(1) == targets.answers
        asked = self.questions[targets.answers].tolist()
        return list(zip(asked, right.tolist(), strict=True))

    def _logits(self, memory: Tensor, targets: Targets) -> Tensor:
        """(T, outputs), of answers to other questions -inf."""
        touched = memory[targets.pictures, targets.cells, : self.features].float()
        things = touched.new_zeros(len(targets.answers), self.features)
        things = things.index_add(0, targets.owners, touched * targets.shares[:, None])
        own = self.questions[targets.answers]
        logits = self.out(self.norm(things))
        return logits.masked_fill(self.questions[None] != own[:, None], -torch.inf)
