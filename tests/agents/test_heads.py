"""Noisy layers, quantiles, atoms: their numbers by hand, and what a Q-network makes of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agents.agent import Agent
from agents.heads import FractionEmbedding, NoisyLinear, atom_returns, midpoints, settled
from agents.qnetwork import QNetwork
from playground.errors import UserError


def pictures(n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 4, 84, 84), dtype=torch.uint8, generator=generator)


def a_network(**settings: Any) -> QNetwork:
    torch.manual_seed(0)
    return QNetwork(**{"actions": 4, "width": 0.125, "hidden": 16, **settings})


def test_a_noisy_layer_starts_as_the_paper_says_and_settles_to_its_means() -> None:
    torch.manual_seed(0)
    layer = NoisyLinear(16, 3, sigma=0.5)
    assert layer.weight.abs().max() <= 0.25 and layer.bias.abs().max() <= 0.25  # 1 / sqrt(16)
    assert (layer.weight_sigma == 0.125).all() and (layer.bias_sigma == 0.125).all()
    x = torch.randn(5, 16)
    assert not torch.equal(layer(x), layer(x))
    with settled(layer):
        torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)
    assert layer.training


def test_its_noise_is_factorised_and_has_the_papers_variance() -> None:
    """E f(e)^2 = E|e| = sqrt(2/pi), so a weight's variance is sigma^2 * 2/pi."""
    torch.manual_seed(0)
    layer = NoisyLinear(4, 3, sigma=0.5)
    identity = torch.cat([torch.zeros(1, 4), torch.eye(4)])
    draws = []
    for _ in range(4000):
        out = layer(identity).detach()  # (5, 3): the bias, then each input's weights added
        noise = torch.cat([out[:1] - layer.bias, out[1:] - out[:1] - layer.weight.T])
        draws.append(noise)
    weights = torch.stack(draws)[:, 1:]  # (4000, 4, 3)
    singular = torch.linalg.svdvals(weights[0])
    assert singular[0] > 1e-3 and singular[1] < 1e-5  # of rank one
    expected = 0.25**2 * 2 / math.pi
    torch.testing.assert_close(weights.var(0), torch.full((4, 3), expected), rtol=0.12, atol=0)
    bias = torch.stack(draws)[:, 0].var(0)
    torch.testing.assert_close(
        bias, torch.full((3,), 0.25**2 * math.sqrt(2 / math.pi)), rtol=0.12, atol=0
    )


@pytest.mark.parametrize("settings", [{}, {"dueling": True}, {"distribution": "iqn"}])
def test_values_are_not_rounded_to_half_precision(settings: dict[str, Any]) -> None:
    """Near 8 half precision has steps of 0.06: actions would tie, and the first one would win."""
    network = a_network(**settings)
    layer = network.value if network.value is not None else network.head
    with torch.no_grad():
        layer.bias += 8
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        q = network(pictures())
    assert 6 < q.mean() < 10 and q.dtype == torch.float32
    assert all(len(row.unique()) == 4 for row in q)
    assert not torch.equal(q, q.bfloat16().float())


def test_the_embedding_of_fractions_is_relu_of_cosines() -> None:
    embedding = FractionEmbedding(2)
    with torch.no_grad():
        embedding.linear.weight.zero_()
        embedding.linear.weight[0, 1] = 1.0  # cos(pi tau)
        embedding.linear.weight[1, 0] = 2.0  # cos(0)
        embedding.linear.bias.zero_()
    found = embedding(torch.tensor([[0.0, 0.5, 1.0]]))
    expected = torch.tensor([[[1.0, 2.0], [0.0, 2.0], [0.0, 2.0]]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_midpoints() -> None:
    assert midpoints(4).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_atom_returns() -> None:
    assert atom_returns(-1, 3, 5).tolist() == [-1, 0, 1, 2, 3]
    default = atom_returns(-10, 10, 51)
    assert default[0] == -10 and default[25].abs() < 1e-6 and default[-1] == 10


def test_quantile_regression_has_its_own_outputs_and_q_is_their_mean() -> None:
    network = a_network(distribution="qr", quantiles=5, dueling=True)
    values, fractions = network.quantiles(pictures())
    assert values.shape == (3, 4, 5)
    torch.testing.assert_close(fractions, midpoints(5))
    torch.testing.assert_close(network(pictures()), values.mean(2))
    # Dueling in each quantile: the advantages' mean over actions is the value's.
    x = torch.relu(network.hidden(network.backbone(pictures() / 255).flatten(1)))
    torch.testing.assert_close(values.mean(1), network.value(x), atol=1e-5, rtol=1e-4)


def test_implicit_quantiles_are_random_to_learn_from_and_fixed_to_act() -> None:
    network = a_network(distribution="iqn", quantiles=6)
    one, fractions = network.quantiles(pictures())
    other, _ = network.quantiles(pictures())
    assert one.shape == (3, 4, 6) and fractions.shape == (3, 6)
    assert not torch.equal(one, other)
    assert torch.equal(network(pictures()), network(pictures()))
    features = network.backbone(pictures() / 255).flatten(1)
    for k in range(6):  # each quantile by itself, from its own fraction
        embedded = network.embedding(fractions[:, k : k + 1])[:, 0]
        alone = network.head(torch.relu(network.hidden(features * embedded)))
        torch.testing.assert_close(one[:, :, k], alone, atol=1e-5, rtol=1e-4)


def test_a_c51_gives_atoms_probabilities_and_q_is_their_mean() -> None:
    network = a_network(distribution="c51", atoms=7, v_min=-3.0, v_max=3.0, dueling=True)
    logits, atoms = network.atoms(pictures())
    assert logits.shape == (3, 4, 7) and atoms.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    odds = logits.exp()
    expected = sum(atoms[k] * odds[:, :, k] for k in range(7)) / odds.sum(2)
    torch.testing.assert_close(network(pictures()), expected)
    assert network(pictures()).dtype == torch.float32
    # Dueling in each atom's logit: the advantages' mean over actions is the value's.
    x = torch.relu(network.hidden(network.backbone(pictures() / 255).flatten(1)))
    torch.testing.assert_close(logits.mean(1), network.value(x), atol=1e-5, rtol=1e-4)
    with torch.no_grad():  # all on the last atom
        network.head.weight.zero_()
        network.value.weight.zero_()
        network.value.bias.copy_(torch.tensor([0.0] * 6 + [100.0]))
    torch.testing.assert_close(network(pictures()), torch.full((3, 4), 3.0), atol=1e-3, rtol=0)


def test_a_c51_is_its_own_among_the_files_settings() -> None:
    assert a_network().settings.keys() == a_network(atoms=5).settings.keys()
    assert "quantiles" not in a_network(distribution="c51").settings
    assert a_network(distribution="c51").settings["v_min"] == -10.0


def test_max_pool_makes_six_by_six() -> None:
    network = a_network(backbone="impala", width=1, max_pool=True)
    assert network.hidden.in_features == 32 * 36
    x = network.backbone(pictures() / 255)
    assert x.shape[2:] == (11, 11)
    assert network.pool(x)[0, 0, 0, 0] == x[0, 0, :2, :2].max()  # 11 / 6: the first part has two


def test_a_spectral_trunk_is_bounded() -> None:
    network = a_network(backbone="impala", width=1, trunk_norm="spectral")
    convolution = network.backbone.block1_1.conv1
    for _ in range(20):
        network(pictures(1))
    largest = torch.linalg.svdvals(convolution.weight.detach().flatten(1))[0]
    assert largest.item() == pytest.approx(1, abs=0.05)


def test_an_agents_answers_are_the_same_each_time_and_leave_no_trace() -> None:
    network = a_network(
        backbone="impala", width=1, trunk_norm="spectral", noise=0.5, distribution="iqn",
        quantiles=4, max_pool=True, dueling=True, layer_norm=True,
    )  # fmt: skip
    agent, before = Agent(network, "pong"), {k: v.clone() for k, v in network.state_dict().items()}
    first = agent.q_values(pictures().numpy())
    assert (first == agent.q_values(pictures().numpy())).all()
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"distribution": "fqf"}, "none, qr, iqn, c51"), ({"noise": -1.0}, "starts at 0"),
     ({"trunk_norm": "spectral"}, "norm"),  # nature has none
     ({"distribution": "c51", "atoms": 1}, "2 atoms or more"),
     ({"distribution": "c51", "v_min": 10.0}, "from v_min up to v_max"),
     ({"distribution": "c51", "v_max": math.inf}, "51 from -10.0 to inf")],
)  # fmt: skip
def test_what_no_network_has_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        a_network(**wrong)


@pytest.mark.parametrize("backbone", ["nature", "impala"])
def test_autocast_takes_pictures_as_they_are_and_gives_what_it_gave_of_floats(
    backbone: str,
) -> None:
    network = a_network(backbone=backbone, width=1)
    x, types = pictures(), []
    network.backbone.register_forward_pre_hook(lambda _, given: types.append(given[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        given, floats = network(x), network.answer(x.float().div(255))
    torch.testing.assert_close(given, floats, rtol=0, atol=1e-3)  # sums in another order
    network(x)
    assert types == [torch.bfloat16, torch.float32, torch.float32]
