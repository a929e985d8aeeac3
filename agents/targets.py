"""What Q-networks learn towards: targets and losses as pure functions of tensors.

B is the batch, A the actions, K and J numbers of quantiles or K that of atoms, T and N steps and
environments of a rollout. A function that takes ``(B, A, ...)`` has a scalar for each action, or
its quantiles, or its atoms' probabilities.

Sources: Mnih et al. 2015 (DQN), van Hasselt et al. 2016 (Double), Bellemare et al. 2017 (C51),
Dabney et al. 2018a (QR-DQN) and 2018b (IQN), Vieillard et al. 2020 (Munchausen), Daley & Amato 2019
and Gallici et al. 2024 (PQN) for lambda-returns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.03  # of Munchausen's policy (Vieillard et al. 2020, table 2, tau)
LEAST_LOG_POLICY = -1.0  # of its scaled log-policy (ibid., l_0)


def epsilon_at(step: int, start: float, end: float, decay_steps: int) -> float:
    """Exploration rate after ``step`` agent steps: linear from start to end, then constant."""
    fraction = min(max(step, 0) / decay_steps, 1.0) if decay_steps > 0 else 1.0
    return start + fraction * (end - start)


def td_target(
    reward: Tensor, discount: Tensor, next_q: Tensor, next_q_online: Tensor | None = None
) -> Tensor:
    """Bootstrapped return ``r + discount * Q(s', a*)``, (B,).

    Args:
        reward: (B,) n-step return.
        discount: (B,) gamma**n, 0 where nothing follows.
        next_q: (B, A) of the target network.
        next_q_online: (B, A) of the online network; where given it chooses a* (Double DQN).
    """
    if next_q_online is None:
        best = next_q.amax(1)
    else:
        best = next_q.gather(1, next_q_online.argmax(1, keepdim=True)).squeeze(1)
    return reward + discount * best


def of_action(values: Tensor, action: Tensor) -> Tensor:
    """(B, A, ...) and (B,) int64 -> (B, ...): what belongs to each row's action."""
    index = action.view(-1, *[1] * (values.dim() - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)


def log_policy(q: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """``temperature * log softmax(q / temperature)``, (B, A), all at most 0."""
    return temperature * F.log_softmax(q / temperature, dim=1)


def munchausen_bonus(q: Tensor, action: Tensor, weight: float) -> Tensor:
    """What is added to the reward of the action taken, (B,) in [-weight, 0].

    ``weight * clip(temperature * log pi(a|s), l_0, 0)``: little for the actions that the policy
    prefers, and a penalty for the others.

    Args:
        q: (B, A) of the state in which it was taken.
        action: (B,) int64.
        weight: alpha of the paper, 0.9 there.
    """
    return weight * of_action(log_policy(q), action).clamp(min=LEAST_LOG_POLICY, max=0.0)


def soft_value(values: Tensor, q: Tensor) -> Tensor:
    """``sum_a pi(a|s') (values(s', a) - temperature * log pi(a|s'))``, (B, ...).

    Args:
        values: (B, A) or (B, A, J) of the target network.
        q: (B, A), their means, of which pi is the softmax at ``TEMPERATURE``.
    """
    scaled = log_policy(q)
    policy = torch.exp(scaled / TEMPERATURE)
    while policy.dim() < values.dim():
        policy, scaled = policy[..., None], scaled[..., None]
    return (policy * (values - scaled)).sum(1)


def distribution_target(reward: Tensor, discount: Tensor, following: Tensor) -> Tensor:
    """Quantiles of the return, (B, J): ``r + discount * z'`` of (B,), (B,) and (B, J)."""
    return reward[:, None] + discount[:, None] * following


def quantile_huber(
    predicted: Tensor, fractions: Tensor, target: Tensor, kappa: float = 1.0
) -> Tensor:
    """The quantile regression loss of each row, (B,): summed over K, the mean over J.

    ``rho_tau(d) = |tau - 1{d < 0}| * L(d)`` of all differences ``d = target_j - predicted_k``; L is
    Huber's loss divided by kappa (Dabney et al. 2018a, equation 10).

    Args:
        predicted: (B, K) quantiles of the action taken.
        fractions: (B, K) or (K,) in (0, 1), of which quantiles they are.
        target: (B, J), without gradient.
        kappa: where Huber's loss turns linear.
    """
    difference = target[:, None, :] - predicted[:, :, None]  # (B, K, J)
    size = difference.abs()
    each = torch.where(size <= kappa, 0.5 * size.square() / kappa, size - 0.5 * kappa)
    asymmetry = (fractions[..., None] - (difference.detach() < 0).to(each.dtype)).abs()
    return (asymmetry * each).mean(2).sum(1)


def projected(reward: Tensor, discount: Tensor, following: Tensor, atoms: Tensor) -> Tensor:
    """Probabilities of the return on the same atoms, (B, K): Bellemare et al. 2017, algorithm 1.

    Each atom z of what follows moves to ``r + discount * z``, clipped to the first and the last,
    and the two atoms beside that place share its probability, the nearer having more. Where it
    lies on an atom, that one has all, which the algorithm as printed loses.

    Args:
        reward: (B,) n-step return.
        discount: (B,) gamma**n, 0 where nothing follows.
        following: (B, K) probabilities, of the action that follows.
        atoms: (K,) returns at equal distances, rising.
    """
    last = len(atoms) - 1
    low, spacing = atoms[0], (atoms[-1] - atoms[0]) / last
    moved = distribution_target(reward, discount, atoms[None])  # (B, K)
    place = ((moved - low) / spacing).clamp(0, last)  # in atoms from the first
    numbers = torch.arange(last + 1, device=atoms.device)
    share = (1 - (place[:, None, :] - numbers[:, None]).abs()).clamp(min=0)  # (B, to K, from K)
    return (share * following[:, None, :]).sum(2)


def cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, and the Kullback-Leibler divergence, each (B,).

    They differ by the target's entropy, which no learning changes: the first is the loss of
    Bellemare et al. 2017, the second (0 where the prediction is right) Rainbow's priority (Hessel
    et al. 2018).

    Args:
        logits: (B, K) of the action taken.
        target: (B, K) probabilities, without gradient.
    """
    loss = F.cross_entropy(logits, target, reduction="none")
    divergence = loss.detach() - torch.special.entr(target).sum(1)
    return loss, divergence.clamp(min=0)


def lambda_returns(
    reward: Tensor, terminal: Tensor, final: Tensor, value: Tensor, gamma: float, trace: float
) -> Tensor:
    """Returns that mix all n-step returns of a rollout, (T, N); Q(lambda) as PQN has it.

    ``G_t = r_t + gamma * (trace * G_{t+1} + (1 - trace) * v_{t+1})``, from the last step back, and
    r_t alone after a terminal step. An episode that was cut bootstraps from its last observation:
    that row is *final*, no action was taken on it, and its own return is its value.

    Args:
        reward: (T, N).
        terminal: (T, N) bool, nothing is to be bootstrapped after this step.
        final: (T, N) bool, the observation is an episode's last; the row is not to be learned.
        value: (T + 1, N), the largest Q-value of each observation, the one after the rollout last.
        gamma: discount a step.
        trace: lambda, in [0, 1]: 0 gives one-step targets, 1 Monte Carlo returns.
    """
    found = torch.empty_like(reward)
    following = value[-1]
    for t in range(len(reward) - 1, -1, -1):
        mixed = trace * following + (1 - trace) * value[t + 1]
        backed = torch.where(terminal[t], reward[t], reward[t] + gamma * mixed)
        following = found[t] = torch.where(final[t], value[t], backed)
    return found
