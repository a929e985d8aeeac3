"""BLEU-1..4, ROUGE-L and CIDEr-D of captions, on tokens, without Java.

    bleu     shares of matching n-grams, with a penalty for shortness (Papineni et al. 2002)
    rouge_l  F-measure of the longest common subsequence (Lin 2004), beta 1.2
    cider_d  likeness of tf-idf-weighted n-grams to the references (Vedantam et al. 2015)

On identical tokens all equal the package pycocoevalcap to 1e-6, and so the figures of papers, with
its conventions: BLEU takes the reference length closest to the caption's (the shorter of two as
close) and its constants against division by zero; ROUGE-L the best precision and the best recall of
all references, which may be those of two; CIDEr-D clips counts, weighs by the difference in length
with sigma 6, and measures length in bigrams.

Which CIDEr? The package's `Cider` says "CIDEr", yet clips and weighs by length as the paper defines
CIDEr-D: that is `cider_d` here. The paper's first CIDEr, without both and with stemming, is in no
COCO server's table and not here.

A caption is a list of tokens, strings or integers; each picture has one caption to be judged
("hypothesis") and one or more references.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

Tokens = Sequence[Hashable]
Ngram = tuple[Hashable, ...]

N = 4  # n-grams of 1 to N tokens
BETA = 1.2  # of ROUGE-L's F-measure, as pycocoevalcap has it: recall counts more than precision
SIGMA = 6.0  # of CIDEr-D's length penalty, in tokens (Vedantam et al. 2015, section 6)
SMALL, TINY = 1e-9, 1e-15  # of pycocoevalcap's BLEU: added to what is divided by, and to what is


class Score(NamedTuple):
    """A metric of a whole corpus, and of each of its P pictures.

    ROUGE-L and CIDEr-D: `corpus` a float, the mean of `pictures` (P,). BLEU-1..4: `corpus` (4,) and
    `pictures` (P, 4); a corpus' BLEU is computed of all counts together and is no mean.
    """

    corpus: float | np.ndarray
    pictures: np.ndarray


class Frequencies(NamedTuple):
    """In how many of `pictures` pictures each n-gram stands in at least one reference."""

    counts: dict[Ngram, int]
    pictures: int


def evaluate(
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    frequencies: Frequencies | None = None,
) -> dict[str, float]:
    """All metrics of a corpus: bleu1 to bleu4 and rouge_l in [0, 1], cider_d in [0, 10].

    `frequencies` as in `cider_d`. Papers print them times 100.
    """
    of_bleu = bleu(hypotheses, references).corpus
    figures = {f"bleu{n}": float(value) for n, value in enumerate(np.asarray(of_bleu), 1)}
    figures["rouge_l"] = float(rouge_l(hypotheses, references).corpus)
    figures["cider_d"] = float(cider_d(hypotheses, references, frequencies).corpus)
    return figures


def bleu(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Score:
    """BLEU-1..4 in [0, 1]: see `Score`. An empty caption has 0.

    A picture's BLEU-4 is near 0 without a common 4-gram, as nothing is smoothed: compare corpora.
    ValueError where the two are not of the same pictures, or a picture has no reference.
    """
    _check(hypotheses, references)
    correct = np.zeros((len(hypotheses), N))
    lengths = np.zeros((len(hypotheses), 2))  # of the hypothesis, of the closest reference
    for row, (hypothesis, own) in enumerate(zip(hypotheses, references, strict=True)):
        length = len(hypothesis)
        lengths[row] = length, min((abs(len(r) - length), len(r)) for r in own)[1]
        most: Counter[Ngram] = Counter()
        for reference in own:
            most |= ngrams(reference)
        for ngram, count in ngrams(hypothesis).items():
            correct[row, len(ngram) - 1] += min(count, most[ngram])
    guessed = np.maximum(0, lengths[:, :1] - np.arange(N))  # (P, N): n-grams of the hypothesis
    corpus = _bleu(
        correct.sum(0, keepdims=True), guessed.sum(0, keepdims=True), lengths.sum(0)[None]
    )
    return Score(corpus[0], _bleu(correct, guessed, lengths))


def _bleu(correct: np.ndarray, guessed: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Counts (P, N) of n-grams and lengths (P, 2) -> BLEU-1..N (P, N)."""
    precision = np.cumprod((correct + TINY) / (guessed + SMALL), axis=1)
    ratio = (lengths[:, :1] + TINY) / (lengths[:, 1:] + SMALL)
    with np.errstate(under="ignore"):
        brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    return precision ** (1 / np.arange(1, N + 1)) * brevity


def rouge_l(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Score:
    """ROUGE-L in [0, 1]: see `Score`.

    An empty caption has 0, but 1 beside an empty reference, which pycocoevalcap's splitting at
    spaces takes for one token "". ValueError as in `bleu`.
    """
    _check(hypotheses, references)
    scores = np.zeros(len(hypotheses))
    for row, (hypothesis, own) in enumerate(zip(hypotheses, references, strict=True)):
        tokens = hypothesis or ("",)
        common = common_lengths(tokens, [reference or ("",) for reference in own])
        precision = max(common) / len(tokens)
        recall = max(n / max(1, len(r)) for n, r in zip(common, own, strict=True))
        if precision and recall:
            scores[row] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return Score(float(scores.mean()), scores)


def common_lengths(tokens: Tokens, others: Iterable[Tokens]) -> list[int]:
    """Length of the longest common subsequence of `tokens` with each of the others.

    The table's row is one integer of len(tokens) bits, updated by an addition for each token of the
    other (Crochemore et al. 2001): a zero is a place where the length grows.
    """
    places: dict[Hashable, int] = {}
    for place, token in enumerate(tokens):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(tokens)) - 1
    lengths = []
    for other in others:
        row = full
        for token in other:
            matching = row & places.get(token, 0)
            row = (row + matching) | (row - matching)
        lengths.append(len(tokens) - (row & full).bit_count())
    return lengths


def document_frequencies(references: Sequence[Sequence[Tokens]]) -> Frequencies:
    """The document frequencies of a corpus, for `cider_d` and `CiderD`; ValueError where empty."""
    if not references:
        raise ValueError("document frequencies need the references of at least one picture")
    counts: Counter[Ngram] = Counter()
    for own in references:
        counts.update({ngram for reference in own for ngram in ngrams(reference)})
    return Frequencies(dict(counts), len(references))


def cider_d(
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    frequencies: Frequencies | None = None,
) -> Score:
    """CIDEr-D in [0, 10]: see `Score`. An empty caption has 0.

    `frequencies` come from these references where none are given, as papers' figures do. Then one
    picture alone has 0, whatever its caption: an n-gram that stands in every picture of the corpus
    weighs log(1) = 0. For few pictures give the frequencies of a large corpus; `CiderD` does for
    batches of one. ValueError as in `bleu`.
    """
    _check(hypotheses, references)
    scorer = CiderD(references, frequencies)
    scores = scorer(hypotheses, range(len(references)))
    return Score(float(scores.mean()), scores)


class CiderD:
    """CIDEr-D against references that are prepared once: the reward of self-critical training.

    A batch of 128 captions then takes some milliseconds. The reward of a caption that breaks off
    ("a man with a") is that of a whole one, and training finds this: append the same token for the
    end to every hypothesis and every reference, as Rennie et al. (2017) do.

    Args:
        references: of P pictures, one or more each.
        frequencies: of another corpus; by default those of these references.
    """

    def __init__(
        self, references: Sequence[Sequence[Tokens]], frequencies: Frequencies | None = None
    ) -> None:
        self.frequencies = frequencies or document_frequencies(references)
        self._log_pictures = math.log(self.frequencies.pictures)
        self._known = {ngram: ngram for ngram in self.frequencies.counts}  # one object for equals
        self._pictures = [self._prepare(own) for own in references]

    def __len__(self) -> int:
        return len(self._pictures)

    def __call__(self, hypotheses: Sequence[Tokens], pictures: Iterable[int]) -> np.ndarray:
        """CIDEr-D (B,) float64 of B captions, each of the picture at that index in 0..P-1."""
        pairs = zip(hypotheses, pictures, strict=True)
        return np.array([self._score(caption, self._pictures[i]) for caption, i in pairs])

    def _weight(self, ngram: Ngram) -> float:
        """Logarithm of the inverse document frequency; what no document has counts as in one."""
        return self._log_pictures - math.log(max(1, self.frequencies.counts.get(ngram, 0)))

    def _prepare(self, references: Sequence[Tokens]) -> "_Picture":
        if not references:
            raise ValueError("every picture needs at least one reference")
        counts: dict[Ngram, list[int]] = {}
        norms = np.zeros((N, len(references)))
        for column, reference in enumerate(references):
            for ngram, count in ngrams(reference).items():
                same = self._known.get(ngram, ngram)
                counts.setdefault(same, [0] * len(references))[column] = count
                norms[len(ngram) - 1, column] += (count * self._weight(ngram)) ** 2
        share = 10 / (N * len(references))  # the mean over n and references, times 10
        scales = np.divide(share, np.sqrt(norms), out=np.zeros_like(norms), where=norms > 0)
        lengths = [_bigrams(reference) for reference in references]
        return _Picture({ngram: tuple(row) for ngram, row in counts.items()}, scales, lengths)

    def _score(self, hypothesis: Tokens, picture: "_Picture") -> float:
        common = [[0.0] * len(picture.lengths) for _ in range(N)]
        norms = [0.0] * N
        for ngram, count in ngrams(hypothesis).items():
            n, square = len(ngram) - 1, self._weight(ngram) ** 2
            norms[n] += count * count * square
            for column, other in enumerate(picture.counts.get(ngram, ())):
                common[n][column] += min(count, other) * other * square
        inverse = [1 / math.sqrt(norm) if norm else 0.0 for norm in norms]
        cosines = (np.array(common) * picture.scales).T @ inverse  # (R,)
        length = _bigrams(hypothesis)
        apart = [math.exp(-((length - other) ** 2) / (2 * SIGMA**2)) for other in picture.lengths]
        return float(cosines @ apart)


class _Picture(NamedTuple):
    """The R references of a picture, as `CiderD` needs them."""

    counts: dict[Ngram, tuple[int, ...]]  # (R,) each
    scales: np.ndarray  # (N, R): what a common weight counts for in the score
    lengths: list[int]  # (R,), in bigrams


def ngrams(tokens: Tokens) -> Counter[Ngram]:
    """How often each sequence of 1 to N tokens stands in a caption."""
    counts: Counter[Ngram] = Counter()
    for n in range(1, N + 1):
        counts.update(zip(*(tokens[start:] for start in range(n)), strict=False))
    return counts


def _bigrams(tokens: Tokens) -> int:
    return max(0, len(tokens) - 1)


def _check(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"one caption for each picture is judged: there are {len(hypotheses)} captions and "
            f"references of {len(references)} pictures"
        )
    if not all(references):
        raise ValueError("every picture needs at least one reference")
