"""What a batch of transitions costs a Q-network: one loss for each kind of value it gives.

All are functions of the settings, the online and the target network, and the tensors of a batch
from ``agents.replay``: observation and following (B, 4, 84, 84) uint8, action (B,) int64; reward
(the n-step return), discount (gamma**n, or 0 where nothing follows) and importance weight, each
(B,) float32. They give

- the loss: the weighted mean over the batch, with gradients of the online network alone;
- Q of the actions taken, (B,);
- errors for prioritised replay, (B,): their sizes count.

Targets are those of ``agents.targets``. Double takes the action that follows from the online
network (van Hasselt et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.presets import DQNConfig
from agents.qnetwork import QNetwork
from agents.targets import (
    cross_entropy,
    distribution_target,
    munchausen_bonus,
    of_action,
    projected,
    quantile_huber,
    soft_value,
    td_target,
)

Losses = tuple[Tensor, Tensor, Tensor]


def loss_of(config: DQNConfig, online: QNetwork, target: QNetwork, *batch: Tensor) -> Losses:
    """The loss that the settings ask for; see the module's top.

    Args:
        batch: observation, action, reward, following, discount, weight.
    """
    if config.distribution == "none":
        return scalar_loss(config, online, target, *batch)
    if config.distribution == "c51":
        return atoms_loss(config, online, target, *batch)
    return quantiles_loss(config, online, target, *batch)


def scalar_loss(
    config: DQNConfig, online: QNetwork, target: QNetwork, observation: Tensor, action: Tensor,
    reward: Tensor, following: Tensor, discount: Tensor, weight: Tensor,
) -> Losses:  # fmt: skip
    """Of the temporal difference, Huber's or squared; it is the error (Mnih et al. 2015)."""
    c = config
    # Before the following ones: autocast keeps weights that were cast without gradients.
    values = online(observation)  # (B, A)
    with torch.no_grad():
        chooser = online(following) if c.double else None
        next_q = target(following)
        if c.munchausen > 0:
            reward = reward + munchausen_bonus(values, action, c.munchausen)
            wanted = reward + discount * soft_value(next_q, next_q)
        else:
            wanted = td_target(reward, discount, next_q, chooser)
    q = of_action(values, action)
    each = F.smooth_l1_loss if c.loss == "huber" else F.mse_loss
    return (weight * each(q, wanted, reduction="none")).mean(), q, q - wanted


def quantiles_loss(
    config: DQNConfig, online: QNetwork, target: QNetwork, observation: Tensor, action: Tensor,
    reward: Tensor, following: Tensor, discount: Tensor, weight: Tensor,
) -> Losses:  # fmt: skip
    """Quantile regression (Dabney et al. 2018a, 2018b); the error is the differences' mean size."""
    c = config
    values, fractions = online(observation, whole=True)  # (B, A, K)
    with torch.no_grad():
        next_values, _ = target(following, whole=True)  # (B, A, J)
        next_q = next_values.mean(2)
        if c.munchausen > 0:
            reward = reward + munchausen_bonus(values.mean(2), action, c.munchausen)
            after = soft_value(next_values, next_q)
        else:
            # Another sample chooses, where there are samples: what chose by its own would flatter.
            fresh = target(following) if c.distribution == "iqn" else next_q
            chooser = online(following) if c.double else fresh
            after = of_action(next_values, chooser.argmax(1))
        wanted = distribution_target(reward, discount, after)  # (B, J)
    z = of_action(values, action)  # (B, K)
    loss = (weight * quantile_huber(z, fractions, wanted)).mean()
    error = (wanted[:, None, :] - z.detach()[:, :, None]).abs().mean((1, 2))
    return loss, z.mean(1), error


def atoms_loss(
    config: DQNConfig, online: QNetwork, target: QNetwork, observation: Tensor, action: Tensor,
    reward: Tensor, following: Tensor, discount: Tensor, weight: Tensor,
) -> Losses:  # fmt: skip
    """Cross-entropy with the projected target (Bellemare et al. 2017); the error is the divergence
    of the two (Hessel et al. 2018).
    """
    logits, atoms = online(observation, whole=True)  # (B, A, K), (K,)
    with torch.no_grad():
        next_logits, _ = target(following, whole=True)
        probabilities = next_logits.softmax(2)
        next_q = (probabilities * atoms).sum(2)
        chooser = online(following) if config.double else next_q
        after = of_action(probabilities, chooser.argmax(1))
        wanted = projected(reward, discount, after, atoms)  # (B, K)
    taken = of_action(logits, action)  # (B, K)
    each, divergence = cross_entropy(taken, wanted)
    q = (taken.detach().softmax(1) * atoms).sum(1)
    return (weight * each).mean(), q, divergence
