"""Words one after another from a decoder: the likeliest, drawn at random, or a search with a beam.

All work on batches: memory (B, L, D) in, int64 (B, S) out, padded with `end` after the end.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from generators.caption_nets import State, repeated


class Speaker(Protocol):
    """What says one word after another; see `caption_nets`."""

    def start(self, memory: Tensor) -> State: ...

    def step(self, state: State, word: Tensor) -> tuple[Tensor, Tensor, State]: ...


class Said(NamedTuple):
    """Captions as numbers of words.

    words: (B, S) int64, without the beginning, `end` at the end and beyond. scores: (B,) sum of
    the words' log probabilities (of a beam: its length-normalised score). attention: (B, S, L).
    """

    words: Tensor
    scores: Tensor
    attention: Tensor


def say(
    decoder: Speaker,
    memory: Tensor,
    begin: int,
    end: int,
    length: int,
    temperature: float | None = None,
    copies: int = 1,
    generator: torch.Generator | None = None,
) -> Said:
    """Each word the likeliest, or drawn at a temperature; at most `length` words.

    `copies` captions of each picture, one after another, which is looked at once: B is `copies`
    times memory's rows. With gradients where they are enabled: `scores` then serve policy
    gradients.
    """
    count = copies * len(memory)
    state = repeated(decoder.start(memory), copies)
    word = torch.full((count,), begin, device=memory.device)
    done = torch.zeros_like(word, dtype=torch.bool)
    total = torch.zeros(count, device=memory.device)
    words, looked = [], []
    for _ in range(length):
        logits, attention, state = decoder.step(state, word)
        chances = logits.float().log_softmax(1)
        if temperature is None:
            word = chances.argmax(1)
        else:
            drawn = torch.multinomial((chances / temperature).softmax(1), 1, generator=generator)
            word = drawn[:, 0]
        word = torch.where(done, end, word)
        gained = chances.gather(1, word[:, None])[:, 0]
        total = total + torch.where(done, torch.zeros_like(gained), gained)
        words.append(word)
        looked.append(attention)
        done = done | (word == end)
        if bool(done.all()):
            break
    return Said(torch.stack(words, 1), total, torch.stack(looked, 1))


@torch.no_grad()
def search(
    decoder: Speaker,
    memory: Tensor,
    begin: int,
    end: int,
    length: int,
    beam: int = 3,
    penalty: float = 0.7,
) -> Said:
    """The best caption that a beam of `beam` finds; scores are divided by length ** penalty.

    Wu et al. 2016 normalise alike. A beam of 1 is `say`. Finished captions stay in the beam and
    compete by their normalised scores; it ends when all in it are finished. The best one is kept,
    too, should others drive it out that get worse later. What has not ended within `length`
    competes as it is.
    """
    batch = len(memory)
    state = repeated(decoder.start(memory), beam)
    device = memory.device
    words = torch.full((batch * beam, 1), begin, device=device)
    total = torch.full((batch, beam), -torch.inf, device=device)
    total[:, 0] = 0.0  # all beams begin alike: only one of them counts
    done = torch.zeros(batch, beam, dtype=torch.bool, device=device)
    lengths = torch.zeros(batch, beam, device=device)
    looked: Tensor | None = None
    kept = torch.full((batch, length), end, device=device)  # the best finished ones
    kept_looked = torch.zeros(batch, length, memory.shape[1], device=device)
    kept_score = torch.full((batch,), -torch.inf, device=device)
    for step in range(1, length + 1):
        logits, attention, state = decoder.step(state, words[:, -1])
        chances = logits.float().log_softmax(1).view(batch, beam, -1)
        count = chances.shape[2]
        # A finished caption goes on in one way only, at no cost.
        frozen = torch.full_like(chances, -torch.inf)
        frozen[..., end] = 0.0
        chances = torch.where(done[..., None], frozen, chances)
        longer = lengths + (~done).float()
        sums = total[..., None] + chances
        ranked = sums / longer.clamp_min(1)[..., None] ** penalty
        best = ranked.flatten(1).topk(beam, 1).indices
        parent, word = best // count, best % count
        total = sums.flatten(1).gather(1, best)
        lengths = longer.gather(1, parent)
        done = done.gather(1, parent) | (word == end)
        rows = (torch.arange(batch, device=device)[:, None] * beam + parent).flatten()
        state = _rows(state, rows)
        words = torch.cat([words[rows], word.view(-1, 1)], 1)
        now = attention[rows, None]
        looked = now if looked is None else torch.cat([looked[rows], now], 1)
        scores = total / lengths.clamp_min(1) ** penalty
        finished, which = scores.masked_fill(~done, -torch.inf).max(1)
        better = finished > kept_score
        if bool(better.any()):
            row = torch.arange(batch, device=device)[better] * beam + which[better]
            kept[better, :step] = words[row, 1:]
            kept_looked[better, :step] = looked[row].to(kept_looked)
            kept_score = torch.where(better, finished, kept_score)
        if bool(done.all()):
            break
    assert looked is not None
    last = scores.amax(1) >= kept_score  # what is in the beam at the end
    first = torch.arange(batch, device=device) * beam + scores.argmax(1)
    return Said(
        torch.where(last[:, None], words[first, 1:], kept[:, :step]),
        torch.maximum(scores.amax(1), kept_score),
        torch.where(last[:, None, None], looked[first].to(kept_looked), kept_looked[:, :step]),
    )


def _rows(state: State, rows: Tensor) -> State:
    return tuple(tensor[rows.to(tensor.device)] for tensor in state)
