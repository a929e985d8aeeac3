"""The networks of `dcgan`: the generator, and two critics on the shared backbone.

A generator takes (N, latent) floats and, where it knows classes, (N,) labels, and gives floats
(N, C, S, S) in [0, 1]. A critic takes such pictures and labels, and gives logits (N, K): one number
where K is 1, or the opinions of K places. Higher is more real.

Sources: Radford et al. 2016 (the layers of both); Chen et al. 2019, "On Self Modulation for
Generative Adversarial Networks" (`modulated`); Miyato & Koyama 2018, "cGANs with Projection
Discriminator" (labels in critics); Sauer et al. 2021, "Projected GANs Converge Faster"
(`ProjectedCritic`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from playground.backbone import Backbone, create, he_initialise, to_unit
from playground.backbones.dcgan import SLOPE, normal_initialise
from playground.errors import UserError

SIZES = (32, 64, 128)  # pixels
LABEL = 32  # numbers that tell the class
LEEWAY = 0.9  # of a tanh's range is for pictures with grounds
HIDDEN = 64  # channels of a projected critic's opinions
PROJECTED = ("relu1_2", "relu2_1", "relu3_2", "relu4_2")  # of the arcade backbone: strides 2 to 16


def doublings(size: int) -> int:
    """How often 4 is doubled to give `size`; UserError for a size that is none of SIZES."""
    if size not in SIZES:
        allowed = ", ".join(map(str, SIZES[:-1]))
        raise UserError(f"--size is {allowed} or {SIZES[-1]} pixels here, not {size}.")
    return int(math.log2(size // 4))


class Modulated(nn.Module):
    """Batch normalisation whose gains and shifts are a function of the latent vector and class."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(condition, channels)
        self.shift = nn.Linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, C, h, w), (N, condition) -> (N, C, h, w)."""
        scale = 1 + self.scale(condition)[..., None, None]
        return torch.addcmul(self.shift(condition)[..., None, None], self.norm(x), scale)


def doubled(before: int, after: int, kernel: int, bias: bool = False) -> nn.ConvTranspose2d:
    """The transposed convolution that doubles a map's sides."""
    padding = (kernel - 1) // 2
    return nn.ConvTranspose2d(before, after, kernel, 2, padding, kernel - 4, bias=bias)


class Generator(nn.Module):
    """Fractionally strided convolutions from 4x4 to `size`, ReLU between them, tanh at the end.

    Plain, it is the paper's (with kernel 5), without labels. `modulated`, each batch norm's gains
    and shifts come from the latent vector and the label. All weights begin small, at N(0, 0.02):
    batch norms make their size irrelevant, and small ones turn faster (at He's variance the first
    pictures were chequered, and stayed so for thousands of updates).

    With `grounds` each class has a picture of its own, which `draw_on` takes: it is added before
    the tanh and does not learn. The tanh reaches 1 / LEEWAY then, so that it passes gradients on
    where a ground is black or white. What leaves [0, 1] so is cut off, but not in training, where
    the critic is to see it.
    """

    grounds: Tensor

    def __init__(
        self,
        size: int = 64,
        channels: int = 3,
        latent: int = 100,
        width: int = 64,
        classes: int = 0,
        modulated: bool = False,
        kernel: int = 4,
        grounds: bool = False,
    ) -> None:
        super().__init__()
        if kernel not in (4, 5):
            raise UserError(f"--kernel is 4 or 5, not {kernel}.")
        if classes and not modulated:
            raise UserError("The paper's generator knows no classes; use --modulated.")
        steps = doublings(size)
        self.latent, self.classes, self.modulated = latent, classes, modulated
        condition = latent + (LABEL if classes else 0)
        if classes:
            self.labels = nn.Embedding(classes, LABEL)
        before = width * 2 ** (steps - 1)
        self.first = nn.ConvTranspose2d(condition, before, 4, 1, 0, bias=False)
        self.norms = nn.ModuleList([self._norm(before, condition)])
        self.convs = nn.ModuleList()
        for _ in range(steps - 1):
            self.convs.append(doubled(before, before // 2, kernel))
            before //= 2
            self.norms.append(self._norm(before, condition))
        self.last = doubled(before, channels, kernel, bias=modulated)
        normal_initialise(self)
        if grounds:
            shape = (classes, channels, size, size)
            self.register_buffer("grounds", torch.zeros(shape, dtype=torch.uint8))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Grounds were kept as floats before the tanh once: they are read, too."""
        found = state.get(prefix + "grounds")
        if found is not None and found.is_floating_point():
            unit = (torch.tanh(found.float()) / LEEWAY + 1) / 2
            state[prefix + "grounds"] = (255 * unit).round().byte()
        super()._load_from_state_dict(state, prefix, *rest)

    def draw_on(self, pictures: Tensor) -> None:
        """Take the grounds of all classes, (classes, C, S, S) uint8."""
        self.grounds.copy_(pictures)

    def ground_of(self, labels: Tensor) -> Tensor:
        """(N,) int64 -> (N, C, S, S) in [0, 1]: what dreams of these labels are drawn on."""
        return to_unit(self.grounds[labels])

    def _norm(self, channels: int, condition: int) -> nn.Module:
        return Modulated(channels, condition) if self.modulated else nn.BatchNorm2d(channels)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent) latent vectors, (N,) int64 or None -> (N, channels, size, size) in [0, 1].

        In training, on grounds, a little beyond.
        """
        if not self.classes:
            return self._drawn(noise, None)
        assert labels is not None
        return self._drawn(torch.cat([noise, self.labels(labels)], 1), self._before_tanh(labels))

    def blend(self, noise: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """As `forward`, of mixtures of some labels: (K,) int64 with (N, K) shares."""
        shares = shares.to(self.labels.weight)
        ground = self._before_tanh(labels)
        if ground is not None:
            ground = torch.einsum("nk,kchw->nchw", shares.to(ground), ground)
        return self._drawn(torch.cat([noise, shares @ self.labels(labels)], 1), ground)

    def _before_tanh(self, labels: Tensor) -> Tensor | None:
        """The grounds of (N,) labels, (N, C, S, S), if there are any."""
        if not hasattr(self, "grounds"):
            return None
        return torch.atanh((self.ground_of(labels) * 2 - 1) * LEEWAY)

    def _drawn(self, noise: Tensor, ground: Tensor | None) -> Tensor:
        """Latent vectors, joined with what tells the label, and a ground before the tanh."""
        noise = noise.to(self.last.weight.dtype)
        x = noise[..., None, None].contiguous(memory_format=torch.channels_last)
        for conv, norm in zip((self.first, *self.convs), self.norms, strict=True):
            x = conv(x)
            x = F.relu(norm(x, noise) if self.modulated else norm(x))
        x = self.last(x)
        # bf16, which autocast gives, would hold a picture in 256 steps of uneven height.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if ground is None:
            return (torch.tanh(x) + 1) / 2
        x = (torch.tanh(x + ground) / LEEWAY + 1) / 2
        return x if self.training else x.clamp(0, 1)


class Critic(nn.Module):
    """A backbone's last map of 4x4, one convolution to a logit; a label adds its own direction."""

    def __init__(self, backbone: Backbone, side: int = 4, classes: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.out_channels
        self.head = nn.Conv2d(channels, 1, side, bias=False)
        normal_initialise(self.head)
        if classes:
            directions = nn.Embedding(classes, channels)
            nn.init.zeros_(directions.weight)
            self.labels = directions

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Labels had no spectral norm once: theirs go on from what they have learned."""
        own = f"{prefix}labels.parametrizations.weight."
        learned = state.pop(f"{prefix}labels.weight", None) if self._is_bound() else None
        if learned is not None:
            state[f"{own}original"] = learned
            labels: Any = self.labels
            for name, vector in labels.parametrizations.weight[0].named_buffers():
                state[f"{own}0.{name}"] = vector
        super()._load_from_state_dict(state, prefix, *rest)

    def _is_bound(self) -> bool:
        """Whether its labels have a spectral norm."""
        return hasattr(self, "labels") and is_parametrized(self.labels, "weight")

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, C, S, S) in [0, 1] and labels or None -> logits (N, 1)."""
        last = self.backbone(x)
        logits = self.head(last).flatten(1)
        if labels is not None and hasattr(self, "labels"):
            logits = logits + (last.mean((2, 3)) * self.labels(labels)).sum(1, keepdim=True)
        return logits


class ProjectedCritic(nn.Module):
    """Opinions on frozen features at four scales, from 1x1 mixtures drawn at random and kept.

    Coarse features are mixed into finer ones (3x3, at random and kept: the paper's cross-scale
    mixing), so that each scale is judged in its surroundings. Only the small heads learn.
    """

    def __init__(self, backbone: Backbone, classes: int = 0) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.across, self.down = nn.ModuleList(), nn.ModuleList()
        self.bodies, self.heads = nn.ModuleList(), nn.ModuleList()
        self.labels = nn.ModuleList()
        for name in PROJECTED:
            self.across.append(nn.Conv2d(backbone.channels[name], HIDDEN, 1))
            self.down.append(nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1))
            convs = nn.Conv2d(HIDDEN, HIDDEN, 4, 2, 1), nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1)
            relu = nn.LeakyReLU(SLOPE)
            self.bodies.append(nn.Sequential(convs[0], relu, convs[1], relu))
            self.heads.append(nn.Conv2d(HIDDEN, 1, 1))
            if classes:
                directions = nn.Embedding(classes, HIDDEN)
                nn.init.zeros_(directions.weight)
                self.labels.append(directions)
        for mixture in (*self.across, *self.down):
            he_initialise(mixture)
            mixture.requires_grad_(False)
        for learned in (*self.bodies, *self.heads):
            he_initialise(learned)
            for layer in learned.modules():
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def train(self, mode: bool = True) -> ProjectedCritic:
        """The backbone stays as it is."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, C, S, S) in [0, 1] and labels or None -> logits (N, places of all scales)."""
        features = self.backbone.features(x, PROJECTED)
        opinions: list[Tensor] = []
        coarser: Tensor | None = None
        for i, name in reversed(list(enumerate(PROJECTED))):
            mixed = self.across[i](features[name])
            if coarser is not None:
                mixed = mixed + F.interpolate(coarser, size=mixed.shape[2:], mode="nearest")
            coarser = self.down[i](mixed)
            hidden = self.bodies[i](coarser)
            places = self.heads[i](hidden)
            if labels is not None and len(self.labels):
                direction = self.labels[i](labels)[..., None, None]
                places = places + (hidden * direction).sum(1, keepdim=True)
            opinions.append(places.flatten(1))
        return torch.cat(opinions, 1)


def critic(
    kind: str,
    size: int,
    channels: int,
    width: float,
    norm: str | None,
    classes: int,
    kernel: int = 4,
) -> Critic | ProjectedCritic:
    """The paper's layers ("classic"), or one on the arcade backbone that ships ("projected")."""
    if kind == "projected":
        return ProjectedCritic(create("arcade", channels, weights="arcade"), classes)
    depth = doublings(size)
    trunk = create("dcgan", channels, width=width, depth=depth, norm=norm, kernel=kernel)
    made = Critic(trunk, 4, classes)
    if norm == "spectral":
        spectral_norm(made.head)
        if classes:  # the labels' directions, too (Miyato and Koyama 2018)
            nn.init.normal_(made.labels.weight, std=0.02)  # of zeros there is no direction
            spectral_norm(made.labels)
    return made
