"""The Q-network: pictures in; values of actions, or distributions of their returns, out.

Observations are ``(N, 4, 84, 84)`` uint8 (oldest frame first), Q-values ``(N, A)`` float32.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.heads import FractionEmbedding, NoisyLinear, atom_returns, midpoints
from playground.backbone import autocast_dtype, create, full_precision, to_unit
from playground.errors import UserError

POOLED = 6  # parts a side of a max-pooled map (Clark et al. 2024)
DISTRIBUTIONS = ("none", "qr", "iqn", "c51")


def _pictures(observation: Tensor) -> Tensor:
    """uint8 -> floats in [0, 1], of the type that autocast would make of them, where it is on.

    Equal to what comes of float32 then, for backbones that do not normalise pictures, as those of
    Atari, and less memory to move.
    """
    return to_unit(observation, autocast_dtype(observation) or torch.float32)


class QNetwork(nn.Module):
    """Backbone, one hidden layer, and a value for each action, or its quantiles or atoms.

    Args:
        actions: A, the game's minimal actions.
        backbone: a family of ``playground.backbone``.
        width: channels of the backbone, as a factor.
        hidden: units of the hidden layer.
        dueling: Q = V + (advantage - its mean), both read from the hidden layer (Wang et al. 2016,
            who give each stream a hidden layer of its own).
        layer_norm: LayerNorm between the hidden layer and its ReLU.
        trunk_norm: the backbone's option ``norm``, "none" for a backbone without.
        max_pool: the largest of each of 6 x 6 parts of the backbone's last map (Clark et al. 2024).
        noise: sigma_0 of noisy linear layers after the backbone (Fortunato et al. 2018), 0 for
            plain ones.
        distribution: "none"; "qr", each action has ``quantiles`` fixed ones (Dabney et al. 2018a);
            "iqn", it has any that are asked for (Dabney et al. 2018b); "c51", each action gives
            fixed returns, its atoms, probabilities (Bellemare et al. 2017). Q-values are the means.
        quantiles: K, of "qr", and those of which "iqn" takes the mean.
        atoms: K of "c51", at equal distances.
        v_min: the return of its first atom.
        v_max: that of its last; what lies beyond counts as these.
    """

    def __init__(
        self,
        actions: int,
        backbone: str = "nature",
        width: float = 1.0,
        hidden: int = 512,
        dueling: bool = False,
        layer_norm: bool = False,
        trunk_norm: str = "none",
        max_pool: bool = False,
        noise: float = 0.0,
        distribution: str = "none",
        quantiles: int = 32,
        atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
    ) -> None:
        super().__init__()
        if distribution not in DISTRIBUTIONS:
            raise UserError(f"A distribution is one of {', '.join(DISTRIBUTIONS)} here.")
        if not 0 <= noise < math.inf:
            raise UserError(f"The noise of a layer starts at 0, not {noise}.")
        if distribution == "c51" and not (atoms > 1 and -math.inf < v_min < v_max < math.inf):
            raise UserError(
                f"A c51 has 2 atoms or more, from v_min up to v_max: not {atoms} from {v_min} to "
                f"{v_max}."
            )
        self.settings: dict[str, Any] = {
            "actions": actions, "backbone": backbone, "width": width, "hidden": hidden,
            "dueling": dueling, "layer_norm": layer_norm,
        }  # fmt: skip
        if trunk_norm != "none":
            self.settings["trunk_norm"] = trunk_norm
        if max_pool:
            self.settings["max_pool"] = max_pool
        if noise:
            self.settings["noise"] = noise
        if distribution == "c51":
            self.settings |= {
                "distribution": distribution, "atoms": atoms, "v_min": v_min, "v_max": v_max
            }  # fmt: skip
        elif distribution != "none":
            self.settings |= {"distribution": distribution, "quantiles": quantiles}
        self.actions, self.distribution, self.quantile_count = actions, distribution, quantiles
        self.support = (v_min, v_max, atoms)
        options: dict[str, Any] = {} if trunk_norm == "none" else {"norm": trunk_norm}
        self.backbone = create(backbone, in_channels=4, width=width, **options)
        height, width_px = self.backbone.out_size(84, 84)
        self.pool = nn.AdaptiveMaxPool2d(POOLED) if max_pool else nn.Identity()
        area = POOLED**2 if max_pool else height * width_px
        features = self.backbone.out_channels * area
        linear: Any = partial(NoisyLinear, sigma=noise) if noise else nn.Linear
        outputs = {"qr": quantiles, "c51": atoms}.get(distribution, 1)  # for each action
        self.embedding = FractionEmbedding(features) if distribution == "iqn" else None
        self.hidden = linear(features, hidden)
        self.norm = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.head = linear(hidden, actions * outputs)
        self.value = linear(hidden, outputs) if dueling else None

    def forward(self, observation: Tensor, whole: bool = False) -> Any:
        """(N, 4, 84, 84) uint8 -> (N, A) float32; the mean of a distribution.

        With ``whole`` the distribution itself, as ``quantiles`` or ``atoms`` give it: by this door,
        as torch.compile takes nothing but a module's call.
        """
        if not whole:
            return self.answer(_pictures(observation))
        ask = self.atoms if self.distribution == "c51" else self.quantiles
        return ask(observation)

    def answer(self, pictures: Tensor) -> Tensor:
        """The same from float (N, 4, 84, 84) in [0, 1], for gradients down to the pixels."""
        x = self._features(pictures)
        if self.distribution == "none":
            return self._values(x).squeeze(2)
        if self.distribution == "c51":
            return (self._values(x).softmax(2) * atom_returns(*self.support, x.device)).sum(2)
        return self._quantiles(x, midpoints(self.quantile_count, x.device)).mean(2)

    def quantiles(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 4, 84, 84) uint8 -> quantiles (N, A, K), and which ones: fractions (N, K) or (K,).

        Random ones of "iqn", to learn from; those that "qr" has.
        """
        x = self._features(_pictures(observation))
        if self.embedding is None:
            fractions = midpoints(self.quantile_count, x.device)
        else:
            fractions = torch.rand(len(x), self.quantile_count, device=x.device)
        return self._quantiles(x, fractions), fractions

    def atoms(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 4, 84, 84) uint8 -> logits (N, A, K) of "c51", and its atoms' returns (K,)."""
        x = self._features(_pictures(observation))
        return self._values(x), atom_returns(*self.support, x.device)

    def _features(self, pictures: Tensor) -> Tensor:
        return self.pool(self.backbone(pictures)).flatten(1)  # (N, F)

    def _quantiles(self, x: Tensor, fractions: Tensor) -> Tensor:
        """(N, F) and (N, K) or (K,) -> (N, A, K)."""
        if self.embedding is None:
            return self._values(x)
        each = x[:, None] * self.embedding(fractions)  # (N, K, F)
        values = self._values(each.flatten(0, 1)).squeeze(2)  # (N * K, A)
        return values.unflatten(0, (len(x), -1)).transpose(1, 2)

    def _values(self, x: Tensor) -> Tensor:
        """(M, F) -> (M, A, outputs) float32."""
        x = F.relu(self.norm(self.hidden(x)))
        # The last layer's numbers are the values: rounded to half precision, actions would tie.
        with full_precision(x):
            x = x.to(next(self.head.parameters()).dtype)
            q = self.head(x).float().unflatten(1, (self.actions, -1))
            if self.value is not None:
                q = self.value(x).float()[:, None] + q - q.mean(1, keepdim=True)
        return q
