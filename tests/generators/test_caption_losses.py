"""Rewards, log probabilities of drawn captions, and where to look."""

import math

import numpy as np
import torch

from generators.caption_losses import (
    FLOOR,
    CiderCritic,
    advantages,
    grounding,
    sequence_log_probability,
)
from generators.caption_metrics import cider_d
from generators.caption_nets import Attend, Transformer
from generators.captioner import Masked
from generators.decoding import say
from generators.words import BEGIN, END, Vocabulary


def test_grounding_is_the_share_that_looks_there():
    attention = torch.tensor([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]], requires_grad=True)
    cells = torch.tensor([[True, True, False], [True, False, False]])
    loss, share = grounding(attention, cells)
    assert math.isclose(loss.item(), -(math.log(0.75) + math.log(FLOOR)) / 2, rel_tol=1e-4)
    assert share.item() == 0.375 and not share.requires_grad
    loss.backward()
    assert (attention.grad[0, :2] < 0).all() and attention.grad[0, 2] == 0
    assert attention.grad[1, 0] < attention.grad[0, 0]  # what looks elsewhere is told the most


def test_rewards_are_cider_with_the_end_as_a_token():
    references = [["A dog runs.", "The dog is running."], ["Two cats sleep."], ["A red car."]]
    words = Vocabulary.build([t for own in references for t in own], 1)
    critic = CiderCritic(references, words)
    whole = words.encode(["a dog runs."])[:, 1:]
    cut = whole[:, :2]  # never ended
    ended = [[["a", "dog", "runs", "<end>"]], [["a", "dog"]]]
    tokens = [[["a", "dog", "runs", "<end>"], ["the", "dog", "is", "running", "<end>"]],
              [["two", "cats", "sleep", "<end>"]], [["a", "red", "car", "<end>"]]]  # fmt: skip
    for said, (hypothesis,) in zip((whole, cut), ended, strict=True):
        others = [["x"], ["x"]]
        wanted = cider_d([hypothesis, *others], tokens).pictures[0]
        assert np.isclose(critic(said, torch.tensor([0])).item(), wanted, rtol=1e-5)
    assert critic(whole, torch.tensor([0])) > critic(cut, torch.tensor([0]))


def test_captions_are_compared_with_others_of_their_picture():
    rewards = torch.tensor([[1.0, 0.0, 5.0], [2.0, 2.0, 2.0]])
    wanted = torch.tensor([[1 - 2.5, 0 - 3.0, 5 - 0.5], [0.0, 0.0, 0.0]])
    assert torch.allclose(advantages(rewards), wanted)


def test_log_probabilities_in_one_pass_equal_those_of_drawing():
    torch.manual_seed(0)
    for kind in (Transformer, Attend):
        decoder = kind(6, 11, 8).eval()
        memory = torch.randn(2, 5, 6)
        never = [0, 1, 3]
        drawn = say(Masked(decoder, never), memory, BEGIN, END, 9, 1.0, copies=3)
        sums, lengths = sequence_log_probability(decoder, memory, drawn.words, BEGIN, END, never)
        assert torch.allclose(sums, drawn.scores, atol=1e-4)
        for row, length in zip(drawn.words.tolist(), lengths.tolist(), strict=True):
            assert length == (row.index(END) + 1 if END in row else len(row))
        assert not set(drawn.words.flatten().tolist()) & set(never)
