import math
import random
from collections import Counter

import numpy as np
import pytest

from generators.caption_metrics import (
    CiderD,
    Frequencies,
    bleu,
    cider_d,
    common_lengths,
    document_frequencies,
    evaluate,
    ngrams,
    rouge_l,
)

WORDS = [f"w{i}" for i in range(30)]


def corpus(pictures, seed, references=5):
    """Hypotheses, some empty, of one word or with repeated words, and references, some alike."""
    rng = random.Random(seed)

    def caption(longest):
        return [rng.choice(WORDS[: rng.choice((3, 30))]) for _ in range(rng.randint(0, longest))]

    own = [
        [caption(14) or ["w0"] for _ in range(rng.randint(1, references))] for _ in range(pictures)
    ]
    found = [rng.choice((caption(16), list(rng.choice(refs)))) for refs in own]
    found[:3] = [[], ["w1"], ["w0"] * 12]
    return found, own


def words(*captions):
    return [caption.split() for caption in captions]


# BLEU


def test_bleu_by_hand():
    found = bleu(words("the the the the"), [words("the cat the dog", "a the b the c")])
    # Clipped: "the" counts twice, "the the" never.
    assert found.corpus[0] == pytest.approx(2 / 4)
    assert found.corpus[1] == pytest.approx(0, abs=1e-6)
    found = bleu(words("a b c d e"), [words("a b c d f")])
    shares = [4 / 5, 3 / 4, 2 / 3, 1 / 2]
    expected = [math.prod(shares[:n]) ** (1 / n) for n in range(1, 5)]
    np.testing.assert_allclose(found.corpus, expected, rtol=1e-6)
    np.testing.assert_allclose(found.pictures, [expected], rtol=1e-6)


def test_bleu_is_penalised_against_the_closest_reference():
    short = bleu(words("a b"), [words("a b c d e f g h", "a b c")])
    assert short.corpus[0] == pytest.approx(math.exp(1 - 3 / 2))
    # As close: the shorter one, so there is no penalty.
    assert bleu(words("a b c"), [words("a b c d", "a b")]).corpus[0] == pytest.approx(1)


def test_bleu_of_a_corpus_is_no_mean_of_its_pictures():
    found = bleu(words("a b", "c d e f g h"), [words("a b"), words("x")])
    assert found.corpus[0] == pytest.approx(2 / 8)
    np.testing.assert_allclose(found.pictures[:, 0], [1, 0], atol=1e-6)


# ROUGE-L


def test_rouge_by_hand():
    # The subsequence "police the gunman", as Lin (2004) has it.
    found = rouge_l(words("police killed the gunman"), [words("police kill the gunman")])
    assert found.corpus == pytest.approx(3 / 4)
    # The best precision is the second reference's, the best recall the first's.
    found = rouge_l(words("a b c d"), [words("a b", "a x c x x x d x")])
    precision, recall = 3 / 4, 1.0
    assert found.corpus == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))
    assert rouge_l(words("a", "b"), [words("a"), words("x")]).corpus == pytest.approx(0.5)


def test_longest_common_subsequence_against_the_table():
    rng = random.Random(3)
    for _ in range(200):
        a, b = ([rng.choice("abcd") for _ in range(rng.randint(0, 40))] for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, left in enumerate(a):
            for j, right in enumerate(b):
                longer = max(table[i, j + 1], table[i + 1, j])
                table[i + 1, j + 1] = table[i, j] + 1 if left == right else longer
        assert common_lengths(a, [b]) == [table[-1, -1]]


# CIDEr-D


def test_cider_by_hand():
    # Of two pictures every n-gram is in one: idf log 2 throughout, which cancels in the cosines.
    own = [words("a b c d"), words("e f g h")]
    assert cider_d(words("a b c d", "e f g h"), own).corpus == pytest.approx(10)
    found = cider_d(words("a b", "x"), own).pictures
    # Cosines: 2 of 4 words, 1 of 3 pairs, no more; 2 bigrams too short.
    cosines = [2 / math.sqrt(2 * 4), 1 / math.sqrt(1 * 3), 0, 0]
    assert found[0] == pytest.approx(10 * sum(cosines) / 4 * math.exp(-(2**2) / 72))
    assert found[1] == 0


def test_cider_clips_repeated_words():
    own = [words("a b"), words("c d")]
    thrice = cider_d(words("a a a", "c d"), own).pictures[0]
    # min(3, 1) of "a", against the norms 3 and sqrt(2); two bigrams against one.
    assert thrice == pytest.approx(10 / 4 * (1 / (3 * math.sqrt(2))) * math.exp(-1 / 72))


def slow_cider_d(found, own, frequencies=None, sigma=6.0):
    """As the formula of Vedantam et al. (2015), section 6, says it, over explicit vectors."""
    df = Counter(g for refs in own for g in {g for r in refs for g in grams(r)})
    pictures = len(own)
    if frequencies:
        df, pictures = Counter(frequencies.counts), frequencies.pictures
    scores = []
    for hypothesis, refs in zip(found, own, strict=True):
        total = 0.0
        for n in range(1, 5):
            for reference in refs:
                names = sorted(
                    {g for t in (hypothesis, reference) for g in grams(t) if len(g) == n}
                )
                idf = np.array([math.log(pictures / max(1, df[g])) for g in names])
                h, r = (
                    np.array([grams(t)[g] for g in names]) * idf for t in (hypothesis, reference)
                )
                norm = np.linalg.norm(h) * np.linalg.norm(r)
                apart = max(0, len(hypothesis) - 1) - max(0, len(reference) - 1)
                if norm:
                    total += math.exp(-(apart**2) / (2 * sigma**2)) * (np.minimum(h, r) @ r) / norm
        scores.append(10 * total / 4 / len(refs))
    return scores


def grams(tokens):
    spans = [(i, i + n) for n in range(1, 5) for i in range(len(tokens) - n + 1)]
    return Counter(tuple(tokens[i:j]) for i, j in spans)


def test_cider_against_a_slow_one():
    found, own = corpus(40, seed=1)
    np.testing.assert_allclose(cider_d(found, own).pictures, slow_cider_d(found, own), atol=1e-9)
    other = document_frequencies(corpus(70, seed=2)[1])
    prepared = cider_d(found, own, other).pictures
    np.testing.assert_allclose(prepared, slow_cider_d(found, own, other), atol=1e-9)
    assert np.abs(prepared - cider_d(found, own).pictures).max() > 0.01


def test_one_picture_has_no_cider_of_its_own():
    own = [words("a man rides a horse", "a man on a horse")]
    assert cider_d(words("a man rides a horse"), own).corpus == 0
    large = Frequencies({("a",): 900, ("man",): 400, ("horse",): 20}, 1000)
    assert cider_d(words("a man rides a horse"), own, large).corpus > 5


def test_prepared_references_score_any_batch():
    found, own = corpus(60, seed=4)
    scorer = CiderD(own)
    assert len(scorer) == 60
    whole = cider_d(found, own)
    picked = [7, 3, 7, 59]
    scores = scorer([found[i] for i in picked], picked)
    np.testing.assert_array_equal(scores, whole.pictures[picked])
    assert scores.dtype == np.float64
    assert scorer([], []).shape == (0,)
    with pytest.raises(ValueError):
        scorer(found[:2], [1])


def test_document_frequencies_count_pictures():
    found = document_frequencies([words("a a b", "a"), words("a c")])
    assert found.pictures == 2
    assert found.counts[("a",)] == 2
    assert found.counts[("a", "a", "b")] == 1
    with pytest.raises(ValueError):
        document_frequencies([])


# All


def test_empty_captions_have_nothing():
    found, own = [[], ["a", "b"]], [words("a b"), words("a c")]
    assert bleu(found, own).pictures[0].tolist() == [0, 0, 0, 0]
    assert rouge_l(found, own).pictures[0] == 0
    assert cider_d(found, own).pictures[0] == 0
    figures = evaluate([[], []], own)
    assert list(figures) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d"]
    assert not any(figures.values())


def test_tokens_may_be_numbers():
    found, own = corpus(20, seed=5)
    numbers = [[WORDS.index(w) for w in caption] for caption in found]
    as_numbers = [[[WORDS.index(w) for w in r] for r in refs] for refs in own]
    assert evaluate(numbers, as_numbers) == pytest.approx(evaluate(found, own), abs=1e-12)


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d])
def test_what_does_not_fit_together_is_refused(metric):
    with pytest.raises(ValueError, match="1 captions and references of 2 pictures"):
        metric(words("a"), [words("a"), words("b")])
    with pytest.raises(ValueError, match="at least one reference"):
        metric(words("a", "b"), [words("a"), []])
    with pytest.raises(ValueError):
        metric([], [])


def test_ngrams():
    assert ngrams(["a", "b", "a", "b"]) == {
        **{("a",): 2, ("b",): 2, ("a", "b"): 2, ("b", "a"): 1},
        **{("a", "b", "a"): 1, ("b", "a", "b"): 1, ("a", "b", "a", "b"): 1},
    }
    assert not ngrams([])


@pytest.mark.parametrize(("pictures", "seed"), [(200, 6), (5, 7), (3, 8)])
def test_equal_to_pycocoevalcap(pictures, seed):
    package = "pycocoevalcap"
    modules = {
        name: pytest.importorskip(f"{package}.{name}.{name}", reason=f"{package} is not installed")
        for name in ("bleu", "rouge", "cider")
    }
    found, own = corpus(pictures, seed)
    if pictures > 100:
        own[4] = [[], ["w0"]]  # an empty reference, beside another and alone
        found[5], own[5] = [], [[]]
    answers = {i: [" ".join(tokens)] for i, tokens in enumerate(found)}
    truths = {i: [" ".join(tokens) for tokens in refs] for i, refs in enumerate(own)}

    total, each = modules["bleu"].Bleu(4).compute_score(truths, answers, verbose=0)
    np.testing.assert_allclose(bleu(found, own).corpus, total, rtol=0, atol=1e-9)
    np.testing.assert_allclose(bleu(found, own).pictures.T, each, rtol=0, atol=1e-9)
    for metric, judge in (
        (rouge_l, modules["rouge"].Rouge()),
        (cider_d, modules["cider"].Cider()),
    ):
        total, each = judge.compute_score(truths, answers)
        assert metric(found, own).corpus == pytest.approx(total, rel=0, abs=1e-9)
        np.testing.assert_allclose(metric(found, own).pictures, each, rtol=0, atol=1e-9)
