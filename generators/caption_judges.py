"""Who says how good captions are: figures of a whole set, a mark for each caption, and rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from generators.caption_losses import CiderCritic
from generators.caption_metrics import cider_d, evaluate
from generators.caption_pairs import Pairs
from generators.captioner import Caption
from generators.words import Vocabulary, metric_tokens
from playground.errors import UserError

# Captions as numbers of words (B, S), indices of their pairs (B,), their register -> rewards (B,).
Critic = Callable[[Tensor, Tensor, str | None], Tensor]


class Judge(NamedTuple):
    """A judge of captions of pairs.

    figures: (pairs, indices, captions by register) -> figures, among them "score", higher is
    better. marks: (pairs, indices, captions) -> a number for each, higher is better.
    """

    figures: Callable[
        [Pairs, Sequence[int], Mapping[str | None, Sequence[Caption]]], dict[str, float]
    ]
    marks: Callable[[Pairs, Sequence[int], Sequence[Caption]], Sequence[float]]
    critic: Callable[[Pairs, Vocabulary], Critic]


def _tokens(
    pairs: Pairs, indices: Sequence[int], captions: Sequence[Caption]
) -> tuple[list[list[str]], list[list[list[str]]]]:
    said = [metric_tokens(caption.text) for caption in captions]
    return said, [[metric_tokens(text) for text in pairs.references(i)] for i in indices]


def photo_figures(
    pairs: Pairs, indices: Sequence[int], said: Mapping[str | None, Sequence[Caption]]
) -> dict[str, float]:
    """bleu1 to bleu4, rouge_l and cider_d times 100, as papers print them; score is cider_d."""
    (captions,) = said.values()
    figures = evaluate(*_tokens(pairs, indices, captions))
    return {"score": 100 * figures["cider_d"], **{k: 100 * v for k, v in figures.items()}}


def photo_marks(
    pairs: Pairs, indices: Sequence[int], captions: Sequence[Caption]
) -> Sequence[float]:
    """CIDEr-D of each, times 100."""
    return [100 * float(mark) for mark in cider_d(*_tokens(pairs, indices, captions)).pictures]


def photo_critic(pairs: Pairs, vocabulary: Vocabulary) -> Critic:
    """CIDEr-D against all captions of each picture."""
    references = [pairs.references(index) for index in range(len(pairs))]
    if not all(references):
        raise UserError("--critical needs captions to compare with, and some pictures have none.")
    return CiderCritic(references, vocabulary)


PHOTOS = Judge(photo_figures, photo_marks, photo_critic)
