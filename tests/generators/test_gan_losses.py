"""The losses of critics and generators, by hand."""

import math

import pytest
import torch

from generators.gan_losses import (
    LOSSES,
    critic_loss,
    difference,
    generator_loss,
    gradient_penalty,
)

REAL, FAKE = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-3.0]])


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def test_bce():
    real = -(log_sigmoid(0) + log_sigmoid(2)) / 2
    fake = -(log_sigmoid(-1) + log_sigmoid(3)) / 2  # 1 - sigmoid(x) = sigmoid(-x)
    assert float(critic_loss("bce", REAL, FAKE)) == pytest.approx(real + fake)
    wants = -(log_sigmoid(1) + log_sigmoid(-3)) / 2
    assert float(generator_loss("bce", None, FAKE)) == pytest.approx(wants)


def test_bce_is_pytorch_s_own():
    ones, zeros = torch.ones(2, 1), torch.zeros(2, 1)
    bce = torch.nn.functional.binary_cross_entropy
    own = bce(REAL.sigmoid(), ones) + bce(FAKE.sigmoid(), zeros)
    torch.testing.assert_close(critic_loss("bce", REAL, FAKE), own)
    torch.testing.assert_close(generator_loss("bce", None, FAKE), bce(FAKE.sigmoid(), ones))


def test_hinge():
    # real: 1 - 0 and 0 (2 is beyond 1); fake: 1 + 1 and 0 (-3 is beyond -1)
    assert float(critic_loss("hinge", REAL, FAKE)) == pytest.approx(0.5 + 1.0)
    assert float(generator_loss("hinge", None, FAKE)) == pytest.approx((-1 + 3) / 2)


def test_relativistic_compares_pairs():
    critic = -(log_sigmoid(0 - 1) + log_sigmoid(2 + 3)) / 2
    assert float(critic_loss("relativistic", REAL, FAKE)) == pytest.approx(critic)
    generator = -(log_sigmoid(1 - 0) + log_sigmoid(-3 - 2)) / 2
    assert float(generator_loss("relativistic", REAL, FAKE)) == pytest.approx(generator)


def test_by_how_much_dreams_of_a_kind_differ():
    dreams = torch.zeros(6, 3, 2, 2)
    dreams[3], dreams[4, 0] = 0.1, 0.6  # pairs (0, 3), (1, 4), (2, 5) differ by 0.1, 0.2, 0
    dreams.requires_grad_()
    share = difference(dreams, torch.tensor([0.2, 0.4, 0.8]))
    assert share.item() == pytest.approx((0.1 / 0.2 + 0.2 / 0.4 + 0) / 3)
    share.backward()
    assert (dreams.grad[0] < 0).all() and (dreams.grad[3] > 0).all()  # ascending, they part
    share = difference(dreams, torch.tensor([0.2, 0.0, 0.0]))  # of some nothing is known
    assert share.item() == pytest.approx(0.5)
    nothing = difference(dreams, torch.zeros(3))
    assert nothing.item() == 1
    (gradient,) = torch.autograd.grad(nothing, dreams)
    assert not gradient.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_both_pull_the_way_they_should(kind):
    real, fake = (torch.zeros(3, 2, requires_grad=True) for _ in range(2))
    critic_loss(kind, real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()  # descending, real ones rise
    fake.grad = None
    generator_loss(kind, real.detach(), fake).backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_certain_critics_give_finite_losses(kind):
    far = torch.full((4, 1), 1e4, requires_grad=True)
    for found in (critic_loss(kind, -far, far), generator_loss(kind, far, -far)):
        (gradient,) = torch.autograd.grad(found, far)
        assert found.isfinite() and gradient.isfinite().all()


def test_gradient_penalty():
    """Of logits a |x|²/2 the gradient is a x: half its mean squared norm is a² mean|x|²/2."""
    a = torch.tensor(3.0, requires_grad=True)
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    half_norms = x.square().sum((1, 2, 3)) / 2
    penalty = gradient_penalty(a * half_norms[:, None], x)
    expected = a * a * half_norms.mean()
    torch.testing.assert_close(penalty, expected)
    (found,) = torch.autograd.grad(penalty, a)  # what the critic learns from it
    torch.testing.assert_close(found, 2 * a.detach() * half_norms.mean().detach())


def test_gradient_penalty_of_many_opinions_is_that_of_their_mean():
    x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = torch.stack([x.sum((1, 2, 3)), 3 * x.sum((1, 2, 3))], 1)  # gradients 1 and 3: mean 2
    assert float(gradient_penalty(logits, x).detach()) == pytest.approx(2**2 * 4 / 2)
