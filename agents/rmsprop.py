"""RMSprop as Mnih et al. 2015 ran it: centred, with its epsilon inside the root.

`torch.optim.RMSprop(centered=True)` adds epsilon outside of the root, so that a parameter whose
gradient hardly varies makes steps of lr * g / eps there and of lr * g / sqrt(eps) here: no value
of PyTorch's epsilon gives the paper's steps.

Source: DeepMind's Lua code, `NeuralQLearner:qLearnMinibatch`; Graves 2013, "Generating Sequences
With Recurrent Neural Networks", equations 38-41.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

# DeepMind's 0.01 belongs to gradients summed over a batch of 32; ours are of the mean. 32^2 smaller
# where gradients are 32 times smaller gives the same steps (about 1e-5, Dopamine's value).
EPSILON = 0.01 / 32**2


class CenteredRMSprop(torch.optim.Optimizer):
    """p -= lr * g / sqrt(mean(g^2) - mean(g)^2 + eps), running means of decay `alpha` from 0.

    Defaults are the paper's (Extended Data Table 1), `eps` for losses that are means over a batch.

    As PyTorch's fused optimizers do, it heeds the attribute `found_inf`, a tensor () on the
    parameters' device: where that is 1, `step` changes nothing, and nobody has to read it.
    """

    _step_supports_amp_scaling = True  # by which found_inf is known to be heeded

    def __init__(
        self, params: ParamsT, lr: float = 2.5e-4, alpha: float = 0.95, eps: float = EPSILON
    ) -> None:
        if lr < 0 or not 0 <= alpha < 1 or eps <= 0:
            raise ValueError(f"needs lr >= 0, 0 <= alpha < 1, eps > 0, got {lr}, {alpha}, {eps}")
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; the closure's loss, if any."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if getattr(self, "grad_scale", None) is not None:
            raise RuntimeError("CenteredRMSprop wants gradients that were unscaled before.")
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            lr, alpha, eps = group["lr"], group["alpha"], group["eps"]
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Tensor] = [p.grad for p in params]
            means, squares = self._means(params, "grad_mean"), self._means(params, "square_mean")
            weight: Any = 1 - alpha
            decay: Any = alpha
            if found_inf is not None:  # gradients of 0, and means that take nothing in
                bad, one = found_inf != 0, torch.ones_like(found_inf, dtype=params[0].dtype)
                grads = [grad.masked_fill(bad, 0.0) for grad in grads]
                weight = [(weight * one).masked_fill(bad, 0.0)] * len(params)
                decay = (decay * one).masked_fill(bad, 1.0)
            torch._foreach_lerp_(means, grads, weight)
            torch._foreach_mul_(squares, decay)
            torch._foreach_addcmul_(squares, grads, grads, 1 - alpha)
            scale = torch._foreach_addcmul(squares, means, means, -1.0)
            # a variance of 0 may be rounded to below -eps, whose root is NaN
            torch._foreach_clamp_min_(scale, 0.0)
            torch._foreach_add_(scale, eps)
            torch._foreach_sqrt_(scale)
            torch._foreach_addcdiv_(params, grads, scale, -lr)
        return loss

    def _means(self, params: list[Tensor], name: str) -> list[Tensor]:
        """The running mean of that name of each parameter, zeros at first."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in params]
