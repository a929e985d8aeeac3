"""Decoders: teacher forcing equals one word after another; attention; gradients."""

import pytest
import torch

from generators.caption_nets import DECODERS, Transformer, doubly_stochastic
from playground.errors import UserError


@pytest.fixture(params=DECODERS)
def decoder(request):
    torch.manual_seed(0)
    return DECODERS[request.param](features=6, words=11, hidden=8).eval()


def test_forcing_equals_one_word_after_another(decoder):
    memory, words = torch.randn(3, 5, 6), torch.randint(0, 11, (3, 7))
    logits, attention = decoder(memory, words)
    assert logits.shape == (3, 7, 11) and attention.shape == (3, 7, 5)
    assert torch.allclose(attention.sum(2), torch.ones(3, 7), atol=1e-6)
    state = decoder.start(memory)
    for s in range(7):
        one, where, state = decoder.step(state, words[:, s])
        assert torch.allclose(one, logits[:, s], atol=1e-5)
        assert torch.allclose(where, attention[:, s], atol=1e-5)


def test_no_word_knows_a_later_one(decoder):
    memory, words = torch.randn(1, 5, 6), torch.randint(0, 11, (1, 7))
    other = words.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 11
    before, after = decoder(memory, words)[0], decoder(memory, other)[0]
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_states_are_rows_of_their_pictures(decoder):
    memory, words = torch.randn(3, 5, 6), torch.randint(0, 11, (3, 2))
    _, _, state = decoder.step(decoder.start(memory), words[:, 0])
    whole = decoder.step(state, words[:, 1])[0]
    mixed = tuple(tensor[[2, 0]] for tensor in state)
    assert torch.allclose(decoder.step(mixed, words[[2, 0], 1])[0], whole[[2, 0]], atol=1e-6)


def test_everything_learns(decoder):
    logits, attention = decoder(torch.randn(3, 5, 6), torch.randint(0, 11, (3, 4)))
    (logits.square().mean() + attention.square().mean()).backward()
    without = [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_the_pictures_order_matters_only_where_places_differ(decoder):
    memory, words = torch.randn(2, 5, 6), torch.randint(0, 11, (2, 4))
    turned = memory.flip(1)
    assert torch.allclose(decoder(memory, words)[0], decoder(turned, words)[0], atol=1e-5)


def test_a_transformer_s_width_is_shared_by_its_heads():
    with pytest.raises(UserError, match="multiple of 4"):
        Transformer(6, 11, hidden=10)


def test_doubly_stochastic_by_hand():
    attention = torch.tensor([[[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])  # the third word does not count
    assert doubly_stochastic(attention, mask) == pytest.approx((0.25**2 + 0.25**2) / 2)
