"""Decoding against searching through all captions; ends, padding, drawing at random."""

import itertools

import pytest
import torch

from generators.caption_nets import DECODERS
from generators.decoding import say, search

BEGIN, END, WORDS = 0, 1, 5


@pytest.fixture(params=DECODERS)
def decoder(request):
    torch.manual_seed(3)
    made = DECODERS[request.param](features=6, words=WORDS, hidden=8).eval()
    for parameter in made.parameters():
        parameter.data *= 3  # sure of itself, so that captions differ in likelihood
    return made


def likelihood(decoder, memory, words):
    """Sum of log probabilities of a caption, up to its end."""
    given = torch.tensor([[BEGIN, *words]])
    chances = decoder(memory, given)[0].log_softmax(2)[0]
    total = 0.0
    for s, word in enumerate(words):
        total += float(chances[s, word])
        if word == END:
            break
    return total


def all_captions(length):
    for words in itertools.product(range(WORDS), repeat=length):
        if END in words:
            first = words.index(END)
            if any(word != END for word in words[first:]):
                continue
        yield words


def test_the_likeliest_word_each_time(decoder):
    memory = torch.randn(4, 3, 6)
    said = say(decoder, memory, BEGIN, END, 6)
    for row, (words, score) in enumerate(zip(said.words.tolist(), said.scores, strict=True)):
        assert float(score.detach()) == pytest.approx(
            likelihood(decoder, memory[row : row + 1], words), abs=1e-4
        )
        given = [BEGIN]
        for word in words:
            logits = decoder(memory[row : row + 1], torch.tensor([given]))[0][0, -1]
            assert int(logits.argmax()) == word
            given.append(word)
            if word == END:
                break
    assert said.attention.shape == (4, said.words.shape[1], 3)


def test_a_wide_beam_finds_the_best_of_all(decoder):
    memory = torch.randn(3, 3, 6)
    found = search(decoder, memory, BEGIN, END, 4, beam=WORDS**4, penalty=0.0)
    for row in range(3):
        one = memory[row : row + 1]
        best = max(all_captions(4), key=lambda words, one=one: likelihood(decoder, one, words))
        wanted = list(best)[: best.index(END) + 1] if END in best else list(best)
        assert found.words[row].tolist()[: len(wanted)] == wanted
        assert float(found.scores[row]) == pytest.approx(likelihood(decoder, one, best), abs=1e-4)


class Written:
    """Says by a table: the logits of each place, whatever was said before."""

    def __init__(self, *logits):
        self.logits = torch.tensor(logits)

    def start(self, memory):
        return (torch.zeros(len(memory), dtype=torch.long),)

    def step(self, state, word):
        place = state[0]
        return self.logits[place], torch.ones(len(word), 1), (place + 1,)


def test_a_finished_caption_is_not_lost_to_others_that_get_worse():
    """At the second place two that go on are likelier than it, at the third nothing is."""
    low = -9.0
    first, second = [low, 1.0, 1.1, low, low], [low, low, low, 5.0, 4.9]
    written = Written(first, second, [0.0] * 5, [0.0] * 5)
    found = search(written, torch.zeros(2, 1, 6), BEGIN, END, 4, beam=2, penalty=0.0)
    assert found.words[:, 0].tolist() == [END, END]
    wanted = torch.tensor(first).log_softmax(0)[END]
    assert torch.allclose(found.scores, wanted.expand(2))


def test_one_without_an_end_is_given_where_none_has_one():
    written = Written(*[[-99.0, -99.0, 2.0, 1.0, 0.0]] * 3)
    found = search(written, torch.zeros(1, 1, 6), BEGIN, END, 3, beam=2)
    assert found.words.tolist() == [[2, 2, 2]]
    assert found.attention.tolist() == [[[1.0]] * 3]


def test_a_beam_of_one_is_the_likeliest_word_each_time(decoder):
    memory = torch.randn(5, 3, 6)
    greedy, narrow = say(decoder, memory, BEGIN, END, 6), search(decoder, memory, BEGIN, END, 6, 1)
    assert greedy.words.tolist() == narrow.words.tolist()
    assert torch.allclose(greedy.attention, narrow.attention, atol=1e-5)


def test_pictures_do_not_disturb_one_another(decoder):
    memory = torch.randn(4, 3, 6)
    whole = search(decoder, memory, BEGIN, END, 5, beam=3)
    for row in range(4):
        alone = search(decoder, memory[row : row + 1], BEGIN, END, 5, beam=3)
        count = alone.words.shape[1]
        assert alone.words[0].tolist() == whole.words[row].tolist()[:count]
        assert all(word == END for word in whole.words[row].tolist()[count:])


def test_a_penalty_prefers_longer_captions(decoder):
    memory = torch.randn(16, 3, 6)
    lengths = []
    for penalty in (0.0, 2.0):
        words = search(decoder, memory, BEGIN, END, 8, beam=5, penalty=penalty).words
        lengths.append(int((words != END).sum()))
    assert lengths[1] > lengths[0]


def test_after_the_end_there_is_nothing(decoder):
    said = say(decoder, torch.randn(64, 3, 6), BEGIN, END, 12, temperature=2.0)
    ended = (said.words == END).cumsum(1) > 0
    assert (said.words[ended] == END).all()


def test_drawing_follows_the_temperature(decoder):
    memory = torch.randn(1, 3, 6).expand(4000, -1, -1)
    torch.manual_seed(0)
    drawn = say(decoder, memory, BEGIN, END, 1, temperature=1.5).words[:, 0]
    wanted = (decoder(memory[:1], torch.tensor([[BEGIN]]))[0][0, 0] / 1.5).softmax(0)
    found = drawn.bincount(minlength=WORDS) / len(drawn)
    assert torch.allclose(found, wanted, atol=0.03)


def test_scores_have_gradients_for_policy_gradients(decoder):
    said = say(decoder, torch.randn(3, 3, 6), BEGIN, END, 4, temperature=1.0)
    said.scores.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in decoder.parameters())
