"""What a critic and a generator minimise: pure functions of logits, higher being more real.

    bce           -log sigmoid(real), -log(1 - sigmoid(fake)); the generator's is the paper's
                  non-saturating -log sigmoid(fake) (Goodfellow et al. 2014, Radford et al. 2016)
    hinge         max(0, 1 - real) + max(0, 1 + fake); -fake (Lim & Ye 2017, Miyato et al. 2018)
    relativistic  -log sigmoid(real - fake) for pairs; the generator's the other way round
                  (Jolicoeur-Martineau 2019; as paired in Huang et al. 2024, R3GAN)

The critic's is the sum over real and fake, as PyTorch's example reports it.

`difference` says whether dreams are all alike, which is punished as in Mao et al. 2019, "Mode
Seeking Generative Adversarial Networks for Diverse Image Synthesis". Departs from the paper: dreams
are driven apart only while they lie less far apart than real pictures of their kind, in the mean.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOSSES = ("bce", "hinge", "relativistic")


def critic_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """Logits (N, K) of as many real and generated pictures -> a scalar."""
    if kind == "bce":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(fake - real).mean()


def generator_loss(kind: str, real: Tensor | None, fake: Tensor) -> Tensor:
    """As above; `real` logits (without gradient) are needed by "relativistic" alone."""
    if kind == "bce":
        return F.softplus(-fake).mean()
    if kind == "hinge":
        return -fake.mean()
    assert real is not None
    return F.softplus(real - fake).mean()


def difference(dreams: Tensor, apart: Tensor) -> Tensor:
    """By how much dreams of a kind differ, as a share of how much real pictures of it do: a scalar.

    dreams (2 N, C, S, S): the n-th and the (N + n)-th are a pair, of latent vectors drawn apart.
    apart (N,): by how much two real pictures of its kind differ, as `gan_kinds.apart` has it; pairs
    where that is 0 are left out. 1 where none is left.
    """
    one, other = dreams.float().chunk(2)
    known = apart > 0
    shares = (one - other).abs().mean((1, 2, 3)) / apart.where(known, torch.ones_like(apart))
    found = shares.where(known, torch.zeros_like(shares)).sum() / known.sum().clamp_min(1)
    return torch.where(known.any(), found, torch.ones_like(found))


def gradient_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """Half the mean squared norm of a critic's gradient at these pictures.

    On real ones this is R1, on generated ones R2 (Mescheder et al. 2018). `pictures` (N, C, S, S)
    must require gradients and lead to `logits` (N, K).
    """
    (gradient,) = torch.autograd.grad(logits.float().mean(1).sum(), pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / 2
