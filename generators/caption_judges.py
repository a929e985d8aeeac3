"""Who says how good captions are: figures of a whole set, and a mark for each caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from generators.caption_metrics import cider_d, evaluate
from generators.caption_pairs import Pairs
from generators.captioner import Caption
from generators.words import metric_tokens


class Judge(NamedTuple):
    """A judge of captions of pairs.

    figures: (pairs, indices, captions by register) -> figures, among them "score", higher is
    better. marks: (pairs, indices, captions) -> a number for each, higher is better.
    """

    figures: Callable[
        [Pairs, Sequence[int], Mapping[str | None, Sequence[Caption]]], dict[str, float]
    ]
    marks: Callable[[Pairs, Sequence[int], Sequence[Caption]], Sequence[float]]


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


PHOTOS = Judge(photo_figures, photo_marks)
