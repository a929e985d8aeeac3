"""What captioners learn from beside the next word: where to look, and rewards for whole captions.

grounding                   Liu et al. 2017, "Attention Correctness in Neural Image Captioning"
CiderCritic                 CIDEr-D as a reward, Rennie et al. 2017, "Self-Critical Sequence
                            Training for Image Captioning"
advantages                  rewards less their baseline, Luo 2020, "A Better Variant of
                            Self-Critical Sequence Training"
sequence_log_probability    of captions that were drawn, in one pass
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from generators.caption_metrics import CiderD
from generators.caption_nets import Decoder
from generators.words import END, SPECIAL, Vocabulary, metric_tokens

FLOOR = 1e-4  # is added to shares of attention, so that their logarithm has an end


def grounding(attention: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Attention (G, L) of words that name something, cells (G, L) bool where it is.

    -> the mean of -log(share that looks there + FLOOR), and the mean of that share, detached.
    """
    share = (attention * cells).sum(1)
    return -(share + FLOOR).log().mean(), share.detach().mean()


class CiderCritic:
    """CIDEr-D of captions against all references of their pictures.

    The end is a token in both, as Rennie et al. have it: else captions learn to break off.
    """

    def __init__(self, references: Sequence[Sequence[str]], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        end = SPECIAL[END]
        self._scorer = CiderD([[[*metric_tokens(r), end] for r in own] for own in references])

    def __call__(self, words: Tensor, pictures: Tensor, register: str | None = None) -> Tensor:
        """(B, S) captions as numbers, `pictures` (B,) their indices -> float (B,)."""
        texts = self._vocabulary.decode(words)
        ended = (words == END).any(1).tolist()
        tokens = [
            [*metric_tokens(text), *([SPECIAL[END]] if over else [])]
            for text, over in zip(texts, ended, strict=True)
        ]
        return torch.from_numpy(self._scorer(tokens, pictures.tolist())).float()


def advantages(rewards: Tensor) -> Tensor:
    """Rewards (B, K) of K captions of each picture, each less the mean of the K - 1 others."""
    count = rewards.shape[1]
    return (rewards - rewards.mean(1, keepdim=True)) * count / (count - 1)


def sequence_log_probability(
    decoder: Decoder, memory: Tensor, words: Tensor, begin: int, end: int, never: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Log probabilities (B,) of captions `words` (B, S), to their ends, and their lengths (B,).

    B may be a multiple of memory's rows; see `caption_nets`. `never` are words that are not said.
    """
    first = words.new_full((len(words), 1), begin)
    logits, _ = decoder(memory, torch.cat([first, words[:, :-1]], 1))
    logits = logits.float()
    logits[..., list(never)] = -torch.inf
    chances = logits.log_softmax(2).gather(2, words[..., None])[..., 0]
    ended = (words == end).cumsum(1) - (words == end).long() > 0  # beyond the first end
    lengths = (~ended).sum(1)
    return chances.masked_fill(ended, 0).sum(1), lengths
