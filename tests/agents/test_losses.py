"""Losses of each kind of Q-network, against loops over their papers' definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.losses import loss_of
from agents.presets import DQNConfig
from agents.qnetwork import QNetwork

ACTIONS = 3


def networks(**settings: Any) -> tuple[DQNConfig, QNetwork, QNetwork]:
    """Settings, an online network and another one as its target."""
    config = replace(DQNConfig(), **settings)
    torch.manual_seed(0)
    kind = {k: settings[k] for k in ("distribution", "quantiles", "atoms") if k in settings}
    online, target = (
        QNetwork(ACTIONS, width=0.25, hidden=16, dueling=True, layer_norm=True, **kind)
        for _ in range(2)
    )
    return config, online, target.requires_grad_(False)


def a_batch(n: int = 5) -> tuple[torch.Tensor, ...]:
    """(observation, action, reward, following, discount, weight); one row is terminal."""
    generator = torch.Generator().manual_seed(1)
    seen, following = torch.randint(0, 256, (2, n, 4, 84, 84), generator=generator).to(torch.uint8)
    action = torch.randint(0, ACTIONS, (n,), generator=generator)
    discount = torch.full((n,), 0.9)
    discount[2] = 0.0
    return seen, action, torch.linspace(-1, 1, n), following, discount, torch.linspace(0.2, 1, n)


@pytest.mark.parametrize("loss_kind", ["huber", "mse"])
@pytest.mark.parametrize("double", [False, True])
def test_the_plain_loss_is_of_the_temporal_difference(loss_kind: str, double: bool) -> None:
    config, online, target = networks(loss=loss_kind, double=double)
    seen, action, reward, following, discount, weight = a_batch()
    loss, q, error = loss_of(config, online, target, *a_batch())
    values = online(seen).detach().numpy()
    after, chooser = target(following).numpy(), (online if double else target)(following)
    total = 0.0
    for i, a in enumerate(action.tolist()):
        best = chooser[i].argmax()
        d = values[i, a] - (reward[i].item() + discount[i].item() * after[i, best])
        assert (q[i].item(), error[i].item()) == pytest.approx((values[i, a], d), abs=1e-5)
        huber = 0.5 * d**2 if abs(d) <= 1 else abs(d) - 0.5
        total += weight[i].item() * (huber if loss_kind == "huber" else d**2)
    assert loss.item() == pytest.approx(total / len(action), rel=1e-4)


@pytest.mark.parametrize("distribution", ["none", "c51", "iqn"])
def test_all_weights_learn_in_half_precision(distribution: str) -> None:
    """Autocast keeps weights that it casts: cast without gradients first, they would have none."""
    config, online, target = networks(double=True, distribution=distribution)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, _ = loss_of(config, online, target, *a_batch())
    loss.backward()
    dead = [name for name, p in online.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_munchausens_loss_is_the_papers() -> None:
    """Vieillard et al. 2020, equation 1, row by row in double precision."""
    config, online, target = networks(munchausen=0.9, loss="mse")
    seen, action, reward, following, discount, weight = a_batch()
    loss, q, error = loss_of(config, online, target, *a_batch())
    values = online(seen).detach().double().numpy()
    after = target(following).double().numpy()
    total = 0.0
    for i, a in enumerate(action.tolist()):
        policy = np.exp((values[i] - values[i].max()) / 0.03)
        bonus = 0.9 * np.clip(0.03 * np.log(policy[a] / policy.sum()), -1, 0)
        following_policy = np.exp((after[i] - after[i].max()) / 0.03)
        following_policy /= following_policy.sum()
        soft = (following_policy * (after[i] - 0.03 * np.log(following_policy))).sum()
        difference = values[i, a] - (reward[i].item() + bonus + discount[i].item() * soft)
        assert error[i].item() == pytest.approx(difference, abs=1e-4)
        total += weight[i].item() * difference**2
    assert loss.item() == pytest.approx(total / len(action), rel=1e-3)
    assert q[0].item() == pytest.approx(values[0, action[0]], abs=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_quantile_regressions_loss_is_the_papers(double: bool) -> None:
    """Dabney et al. 2018a, algorithm 1, by loops over rows and pairs of quantiles."""
    config, online, target = networks(distribution="qr", quantiles=3, double=double)
    with torch.no_grad():
        online.head.bias.copy_(torch.linspace(-2, 2, 9))
    seen, action, reward, following, discount, weight = a_batch()
    loss, _, error = loss_of(config, online, target, *a_batch())
    z = online.quantiles(seen)[0].detach().numpy()  # (5, 3, 3)
    after = target.quantiles(following)[0].numpy()
    chooser = (online if double else target)(following).detach().numpy()
    total = 0.0
    for i, a in enumerate(action.tolist()):
        best = chooser[i].argmax()
        sizes = []
        for k, fraction in enumerate((1 / 6, 1 / 2, 5 / 6)):
            for j in range(3):
                d = reward[i].item() + discount[i].item() * after[i, best, j] - z[i, a, k]
                huber = 0.5 * d**2 if abs(d) <= 1 else abs(d) - 0.5
                total += weight[i].item() * abs(fraction - (d < 0)) * huber / 3
                sizes.append(abs(d))
        assert error[i].item() == pytest.approx(np.mean(sizes), rel=1e-4)
    assert loss.item() == pytest.approx(total / len(action), rel=1e-4)


@pytest.mark.parametrize("munchausen", [0.0, 0.9])
def test_implicit_quantiles_loss_is_the_papers(munchausen: float) -> None:
    """Dabney et al. 2018b, equation 3, and M-IQN of Vieillard et al. 2020, by loops over rows and
    pairs of quantiles in double precision.
    """
    config, online, target = networks(distribution="iqn", quantiles=4, munchausen=munchausen)
    with torch.no_grad():  # or quantiles would hardly differ, nor actions
        for network in (online, target):
            network.embedding.linear.weight.mul_(20)
            network.head.weight.mul_(5)
    seen, action, reward, following, discount, weight = a_batch()
    torch.manual_seed(5)
    loss, q, error = loss_of(config, online, target, *a_batch())
    torch.manual_seed(5)  # the same fractions, in the same order
    values, fractions = online(seen, whole=True)
    z, tau = values.detach().double().numpy(), fractions.numpy()  # (5, 3, 4), (5, 4)
    after = target(following, whole=True)[0].double().numpy()
    chooser = target(following).numpy()
    assert np.ptp(z, axis=2).min() > 0.02 and np.ptp(after.mean(2), axis=1).min() > 0.02
    total = 0.0
    for i, a in enumerate(action.tolist()):
        r, g = reward[i].item(), discount[i].item()
        if munchausen:
            policy = np.exp((z[i].mean(1) - z[i].mean(1).max()) / 0.03)
            r += munchausen * np.clip(0.03 * np.log(policy[a] / policy.sum()), -1, 0)
            pi = np.exp((after[i].mean(1) - after[i].mean(1).max()) / 0.03)
            pi /= pi.sum()
            entropy = -0.03 * np.log(np.maximum(pi, 1e-300))
            wanted = [r + g * (pi * (after[i, :, j] + entropy)).sum() for j in range(4)]
        else:
            wanted = [r + g * after[i, chooser[i].argmax(), j] for j in range(4)]
        sizes = []
        for k in range(4):
            for w in wanted:
                d = w - z[i, a, k]
                huber = 0.5 * d**2 if abs(d) <= 1 else abs(d) - 0.5
                total += weight[i].item() * abs(tau[i, k] - (d < 0)) * huber / 4
                sizes.append(abs(d))
        assert error[i].item() == pytest.approx(np.mean(sizes), rel=1e-3)
        assert q[i].item() == pytest.approx(z[i, a].mean(), abs=1e-4)
    assert loss.item() == pytest.approx(total / len(action), rel=1e-3)


@pytest.mark.parametrize("double", [False, True])
def test_c51s_loss_is_the_papers(double: bool) -> None:
    """Bellemare et al. 2017, algorithm 1, by loops over rows and atoms in double precision; the
    error is Rainbow's divergence (Hessel et al. 2018).
    """
    config, online, target = networks(distribution="c51", double=double)
    with torch.no_grad():
        online.head.bias.copy_(torch.linspace(-2, 2, ACTIONS * 51))
    seen, action, reward, following, discount, weight = a_batch()
    loss, q, error = loss_of(config, online, target, *a_batch())
    atoms = np.linspace(-10, 10, 51)
    p = online.atoms(seen)[0].detach().double().softmax(2).numpy()  # (5, 3, 51)
    after = target.atoms(following)[0].double().softmax(2).numpy()
    chooser = (online if double else target)(following)
    chosen = chooser.argmax(1).tolist()
    if double:  # or the test would not tell the two apart
        assert chosen != target(following).argmax(1).tolist()
    total = 0.0
    for i, a in enumerate(action.tolist()):
        m = np.zeros(51)
        for j, z in enumerate(atoms):
            place = (np.clip(reward[i].item() + discount[i].item() * z, -10, 10) + 10) / 0.4
            lower = min(int(place), 49)
            m[lower] += after[i, chosen[i], j] * (lower + 1 - place)
            m[lower + 1] += after[i, chosen[i], j] * (place - lower)
        divergence = sum(m[k] * np.log(m[k] / p[i, a, k]) for k in range(51) if m[k] > 0)
        assert error[i].item() == pytest.approx(divergence, rel=1e-3, abs=1e-4)
        assert q[i].item() == pytest.approx((p[i, a] * atoms).sum(), abs=1e-4)
        total -= weight[i].item() * (m * np.log(p[i, a])).sum()
    assert loss.item() == pytest.approx(total / len(action), rel=1e-4)


@pytest.mark.parametrize("distribution", ["none", "qr", "iqn", "c51"])
@pytest.mark.parametrize("double", [False, True])
def test_only_the_online_network_learns(distribution: str, double: bool) -> None:
    config, online, target = networks(distribution=distribution, double=double)
    loss, q, error = loss_of(config, online, target, *a_batch())
    loss.backward()
    assert q.shape == error.shape == (5,)
    assert all(p.grad is None for p in target.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in online.parameters())


@pytest.mark.parametrize("distribution", ["none", "qr", "iqn", "c51"])
def test_what_is_learned_goes_through_the_networks_calls(distribution: str) -> None:
    """Which is all that torch.compile takes."""
    config, online, target = networks(distribution=distribution)
    calls: list[int] = []
    for network in (online, target):
        network.register_forward_hook(lambda *_: calls.append(0))
    loss_of(config, online, target, *a_batch())
    another = distribution == "iqn"  # sample chooses
    assert len(calls) == 2 + another
