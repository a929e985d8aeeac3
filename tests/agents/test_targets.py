"""Targets and losses against numbers worked out by hand, and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agents.heads import atom_returns
from agents.targets import (
    TEMPERATURE,
    cross_entropy,
    distribution_target,
    lambda_returns,
    log_policy,
    munchausen_bonus,
    of_action,
    projected,
    quantile_huber,
    soft_value,
)


def close(found: torch.Tensor, *expected: float) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_of_action_takes_each_rows_own_scalar_or_quantiles() -> None:
    q = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    close(of_action(q, torch.tensor([2, 0])), 3.0, 4.0)
    z = torch.stack([q, -q], dim=2)  # (2, 3, 2)
    assert of_action(z, torch.tensor([2, 0])).tolist() == [[3.0, -3.0], [4.0, -4.0]]


# Munchausen

THREE_TO_ONE = TEMPERATURE * math.log(3)  # by so much the better one is chosen 3 times in 4


def test_munchausen_bonus_by_hand() -> None:
    q = torch.tensor([[1.0, 1.0 - THREE_TO_ONE], [1.0, 1.0 - THREE_TO_ONE], [0.0, 10.0]])
    found = munchausen_bonus(q, torch.tensor([0, 1, 0]), 0.9)
    # 0.9 * 0.03 * ln(3/4), 0.9 * 0.03 * ln(1/4); ten worse: -10, clipped to -1
    close(found, -0.0077674, -0.0374300, -0.9)


def test_soft_value_is_the_temperatures_logsumexp() -> None:
    q = torch.tensor([[1.0, 1.0 - THREE_TO_ONE], [0.0, 10.0]])
    close(soft_value(q, q), 1 + 0.03 * math.log(4 / 3), 10.0)
    z = torch.tensor([[[0.0, 2.0], [10.0, -8.0]]])  # quantiles of means 1 and 1: a policy of halves
    half = 0.03 * math.log(2)
    torch.testing.assert_close(soft_value(z, z.mean(2)), torch.tensor([[5.0 + half, -3.0 + half]]))


def test_log_policy_stays_finite_where_values_are_far_apart() -> None:
    found = log_policy(torch.tensor([[0.0, 1e4, -1e4]]))
    close(found[0], -1e4, 0.0, -2e4)


# Quantiles


def test_quantile_huber_by_hand() -> None:
    predicted = torch.tensor([[0.0, 2.0]])
    target = torch.tensor([[1.0, -1.0]])
    # Differences 1, -1 of the first and -1, -3 of the second; Huber 0.5, 0.5 and 0.5, 2.5;
    # times 0.25, 0.75 and 0.25, 0.25; means 0.25 and 0.375
    fractions = torch.tensor([0.25, 0.75])
    close(quantile_huber(predicted, fractions, target), 0.625)
    close(quantile_huber(predicted, fractions[None], target), 0.625)
    # kappa 2: squares up to 2, divided by 4: 0.25, 0.25, 0.25 and 3 - 1 = 2
    close(quantile_huber(predicted, fractions, target, kappa=2.0), 0.125 + 0.28125)


def test_its_smallest_loss_is_at_the_quantiles() -> None:
    target = torch.arange(1000.0)[None] / 1000
    fractions = torch.tensor([0.1, 0.5, 0.8])
    predicted = torch.full((1, 3), 0.5, requires_grad=True)
    for _ in range(400):
        loss = quantile_huber(predicted, fractions, target, kappa=0.001).sum()
        (gradient,) = torch.autograd.grad(loss, predicted)
        predicted = (predicted - 0.02 * gradient).detach().requires_grad_(True)
    torch.testing.assert_close(predicted[0].detach(), fractions, atol=0.01, rtol=0)


def test_distribution_target_shifts_and_shrinks_each_quantile() -> None:
    found = distribution_target(
        torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), torch.tensor([[2.0, 4.0], [9.0, 9.0]])
    )
    assert found.tolist() == [[2.0, 3.0], [2.0, 2.0]]


# Atoms


def algorithm_1(
    reward: float, discount: float, following: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Bellemare et al. 2017, atom by atom, in double precision; where b is whole, that atom has
    all.
    """
    last = len(following) - 1
    spacing = (high - low) / last
    m = np.zeros(last + 1)
    for j, p in enumerate(following):
        moved = min(max(reward + discount * (low + j * spacing), low), high)
        b = round((moved - low) / spacing, 9)  # 3.0000000004 is on the atom
        lower, upper = math.floor(b), math.ceil(b)
        if lower == upper:
            m[lower] += p
        else:
            m[lower] += p * (upper - b)
            m[upper] += p * (b - lower)
    return m


@pytest.mark.parametrize(
    ("low", "high", "count"), [(-10.0, 10.0, 51), (-2.0, 2.0, 5), (0.0, 1.0, 2), (-1.0, 7.0, 21)]
)
def test_the_projection_is_algorithm_1(low: float, high: float, count: int) -> None:
    rng, spacing = np.random.default_rng(0), (high - low) / (count - 1)
    reward = np.concatenate([
        rng.normal(0, 3, 40), spacing * rng.integers(-3, 4, 20), [high, low, 2 * high, 3 * low]
    ])  # fmt: skip
    discount = rng.choice([0.0, 0.5, 0.99**3, 1.0], len(reward))  # 1 and 0.5 land on atoms
    following = rng.dirichlet(np.full(count, 0.3), len(reward))
    found = projected(
        torch.tensor(reward, dtype=torch.float32), torch.tensor(discount, dtype=torch.float32),
        torch.tensor(following, dtype=torch.float32), atom_returns(low, high, count),
    )  # fmt: skip
    expected = [
        algorithm_1(*row, low, high) for row in zip(reward, discount, following, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_projection_by_hand() -> None:
    atoms = atom_returns(-1, 1, 3)
    following = torch.tensor([[0.25, 0.25, 0.5]]).expand(5, 3)
    reward = torch.tensor([0.0, 1.0, 0.25, -5.0, 0.0])
    discount = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5])
    found = projected(reward, discount, following, atoms)
    expected = [
        [0.25, 0.25, 0.5],  # each onto itself
        [0.0, 0.0, 1.0],  # terminal, on an atom
        [0.0, 0.75, 0.25],  # terminal, a quarter of the way
        [1.0, 0.0, 0.0],  # all below the least
        [0.125, 0.125 + 0.25 + 0.25, 0.25],  # to -1/2, 0, 1/2
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_the_projection_keeps_the_mean_where_nothing_is_clipped() -> None:
    atoms = atom_returns(-10, 10, 51)
    torch.manual_seed(0)
    following = torch.randn(8, 51).softmax(1)
    reward, discount = torch.linspace(-0.9, 0.9, 8), torch.full((8,), 0.9)
    found = projected(reward, discount, following, atoms)
    expected = reward + discount * (following * atoms).sum(1)
    torch.testing.assert_close((found * atoms).sum(1), expected, atol=1e-4, rtol=1e-4)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]).log().requires_grad_(True)
    target = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    loss, divergence = cross_entropy(logits, target)
    close(loss.detach(), 1.5 * math.log(2), 2 * math.log(2))
    close(divergence, 0.0, 2 * math.log(2))  # a certain target has no entropy
    assert not divergence.requires_grad
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.0, 0.0], [0.5, -0.75, 0.25]]))


# Lambda-returns


def test_lambda_returns_by_hand() -> None:
    """Three games: one goes on, one was cut (its row 1 is final), one ends in row 1."""
    reward = torch.tensor([[1.0, 1.0, 1.0], [0.0, 5.0, 3.0], [2.0, 0.0, 7.0]])
    terminal = torch.tensor([[False] * 3, [False, False, True], [False] * 3])
    final = torch.tensor([[False] * 3, [False, True, False], [False, False, True]])
    value = torch.tensor([[9.0, 9, 9], [4.0, 10, 4], [6.0, 4, 5], [8.0, 2, 6]])
    found = lambda_returns(reward, terminal, final, value, gamma=0.5, trace=0.5)
    close(found[:, 0], 1 + 0.5 * (0.5 * 3 + 0.5 * 4), 0 + 0.5 * 6, 2 + 0.5 * 8)
    close(found[:, 1], 1 + 0.5 * 10, 10, 0 + 0.5 * 2)  # row 1 is worth its value, not its reward
    close(found[:, 2], 1 + 0.5 * (0.5 * 3 + 0.5 * 4), 3, 5)


@pytest.mark.parametrize("trace", [0.0, 0.65, 1.0])
def test_lambda_returns_mix_all_n_step_returns(trace: float) -> None:
    rng, gamma, steps = np.random.default_rng(0), 0.9, 6
    reward, value = rng.normal(size=steps), rng.normal(size=steps + 1)
    none = torch.zeros(steps, 1, dtype=torch.bool)
    found = lambda_returns(
        torch.tensor(reward)[:, None], none, none, torch.tensor(value)[:, None], gamma, trace
    )
    for t in range(steps):
        left = steps - t  # G^(1) .. G^(left); the last has all the weight that is left
        n_step = [
            sum(gamma**k * reward[t + k] for k in range(n)) + gamma**n * value[t + n]
            for n in range(1, left + 1)
        ]
        weights = [(1 - trace) * trace ** (n - 1) for n in range(1, left)] + [trace ** (left - 1)]
        assert found[t, 0].item() == pytest.approx(np.dot(weights, n_step))
