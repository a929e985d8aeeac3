"""What style transfer minimises: pure losses, and the network in whose features they are measured.

Style is what a layer's maps have in common wherever one looks: their mean and second moments over
all positions, kept as plain sums (`Sums`), which add up over the tiles of a picture too large for
memory. Two ways to compare them:

    gram         mean squared difference of the second moments: Gram or style matrices divided by
                 the number of positions (Gatys, Ecker and Bethge 2015, "A Neural Algorithm of
                 Artistic Style", arXiv 1508.06576, equations 3 to 5)
    wasserstein  squared 2-Wasserstein distance between the Gaussians of these means and covariances
                 (Dowson and Landau 1982; for styles Mroueh 2019, "Wasserstein Style Transfer", and
                 crowsonkb's style-transfer-pytorch), divided by the number of channels

Content is the mean squared difference of the maps themselves, so that no weight depends on the
picture's size.

Shapes: maps (B, C, h, w); pictures float (B, 3, H, W) in [0, 1]; every loss is a mean over B. A
target of batch 1 serves pictures of any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playground.backbone import Backbone, full_precision
from playground.errors import UserError, nearest

POOLINGS = ("max", "average")
PIXELS = "pixels"  # a style layer beside the backbone's: patches of the picture itself
LARGEST_PATCH_PX = 7
COVARIANCE_FLOOR = 1e-4  # added to variances: square roots of zero have no slope. Maps' mean is 1
UNSEEN = ("conv", "norm", "bn", "pool", "maxpool")  # names of layers that styles leave out


# ---------------------------------------------------------------- statistics


@dataclass(frozen=True)
class Sums:
    """Sums over positions, each weighing what a mask gives it, or 1."""

    weight: Tensor  # (B,) of all positions
    first: Tensor  # (B, C) of the features
    second: Tensor  # (B, C, C) of the products of two features

    def __add__(self, other: Sums) -> Sums:
        """Of this part of a picture and of another one."""
        return Sums(
            self.weight + other.weight, self.first + other.first, self.second + other.second
        )

    @property
    def mean(self) -> Tensor:
        """(B, C)."""
        return self.first / self.weight[:, None]

    @property
    def gram(self) -> Tensor:
        """(B, C, C): the second moments."""
        return self.second / self.weight[:, None, None]

    @property
    def covariance(self) -> Tensor:
        """(B, C, C)."""
        return self.gram - self.mean[:, :, None] * self.mean[:, None, :]


def sums(maps: Tensor, mask: Tensor | None = None) -> Sums:
    """Of maps (B, C, h, w); `mask` (1 or B, 1, h, w), from 0, weighs the positions."""
    flat = maps.flatten(2).float()  # (B, C, n)
    weighted, weight = flat, flat.new_full((len(flat),), flat.shape[2])
    if mask is not None:
        each = mask.flatten(2).float().expand(len(flat), -1, -1)  # (B, 1, n)
        weighted, weight = flat * each, each.sum((1, 2))
    with full_precision(maps):
        return Sums(weight, weighted.sum(2), weighted @ flat.transpose(1, 2))


def blend(parts: Sequence[Sums], weights: Sequence[float]) -> Sums:
    """The statistics of a style that is each of these to its share; only `weights`' ratios count.

    Moments of mixtures are mixtures of moments, which is not so of covariances.
    """
    shares = [weight / sum(weights) for weight in weights]
    pairs = list(zip(parts, shares, strict=True))
    first = sum((share * part.mean for part, share in pairs), start=torch.zeros(()))
    second = sum((share * part.gram for part, share in pairs), start=torch.zeros(()))
    return Sums(torch.ones_like(parts[0].weight), first, second)


# ---------------------------------------------------------------- losses


class GramLoss:
    """Mean squared difference of the second moments from those of `target`."""

    def __init__(self, target: Sums) -> None:
        self.gram = target.gram

    def __call__(self, found: Sums) -> Tensor:
        """A scalar from 0."""
        return (found.gram - self.gram).square().mean()


class WassersteinLoss:
    """Squared 2-Wasserstein distance from `target` as Gaussians, divided by the channels.

    |m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2). The last trace is the sum of the square roots of
    eigenvalues, whose gradient needs no distances between eigenvalues and so is always finite.
    Always in fp32: near the target it is a small difference of large numbers.
    """

    def __init__(self, target: Sums) -> None:
        with full_precision(target.first):
            self.mean, self.covariance = target.mean.float(), self._raised(target.covariance)
            values, vectors = _solved(torch.linalg.eigh, self.covariance)
            roots = values.clamp_min(0).sqrt()
            root = vectors * roots[:, None, :] @ vectors.transpose(1, 2)
            self.root = root.to(self.covariance.device)

    def __call__(self, found: Sums) -> Tensor:
        """A scalar from 0, save for rounding; NaN where a covariance is not finite."""
        with full_precision(found.first):
            covariance = self._raised(found.covariance)
            between = self.root @ covariance @ self.root
            # A solver raises where the trainer's guard is to see the loss and skip the update.
            finite = between.isfinite().flatten(1).all(1)
            solvable = torch.where(finite[:, None, None], between, 0.0)
            values = _solved(torch.linalg.eigvalsh, (solvable + solvable.transpose(1, 2)) / 2)
            roots = values.to(between.device).clamp_min(COVARIANCE_FLOOR**2).sqrt()
            shared = torch.where(finite, roots.sum(1), torch.nan)
            own = (self.covariance + covariance).diagonal(dim1=1, dim2=2).sum(1)
            apart = (found.mean - self.mean).square().sum(1)
            return ((apart + own - 2 * shared) / found.first.shape[1]).mean()

    @staticmethod
    def _raised(covariance: Tensor) -> Tensor:
        """In fp32, with the floor added to the variances."""
        full = covariance.float()
        ones = torch.eye(full.shape[1], dtype=full.dtype, device=full.device)
        return full + COVARIANCE_FLOOR * ones


def _solved(solver: Callable[[Tensor], Any], matrices: Tensor) -> Any:
    """What a solver of PyTorch's gives; by the CPU where the device has none, as on MPS.

    And where a GPU's does not converge, as may be with many equal eigenvalues.
    """
    try:
        return solver(matrices)
    except (NotImplementedError, torch.linalg.LinAlgError):
        return solver(matrices.cpu())


STATISTICS: dict[str, Callable[[Sums], Callable[[Sums], Tensor]]] = {
    "gram": GramLoss,
    "wasserstein": WassersteinLoss,
}


def content_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of maps (B, C, h, w)."""
    return (maps - target).float().square().mean()


def total_variation(pictures: Tensor) -> Tensor:
    """Mean of the squared differences to the right and to below, (B, C, H, W) -> a scalar.

    Per channel value; beyond the border nothing changes (Mahendran and Vedaldi 2015, beta = 2).
    """
    return roughness(pictures, pictures.shape[2], pictures.shape[3]) / pictures.numel()


def roughness(pictures: Tensor, height: int, width: int) -> Tensor:
    """The sum of those squares that begin in the first `height` rows and `width` columns.

    Only there: what lies beyond, in a tile, is the neighbour's.
    """
    right = pictures[:, :, :height, : width + 1].diff(dim=3)
    below = pictures[:, :, : height + 1, :width].diff(dim=2)
    return right.float().square().sum() + below.float().square().sum()


# ---------------------------------------------------------------- layers and network


def default_layers(backbone: Backbone) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(style layers, content layers) of any family, by the rule that gives the paper's for VGG-19.

    Style: at each stride the first layer that is no convolution, pooling or normalisation. Content:
    the second such layer at stride 8, or what comes nearest.
    """
    by_stride: dict[int, list[str]] = {}
    for name, stride in backbone.strides.items():
        if not name.startswith(UNSEEN):
            by_stride.setdefault(stride, []).append(name)
    style = tuple(names[0] for names in by_stride.values())
    near = min(by_stride, key=lambda stride: abs(stride - 8))
    return style, (by_stride[near][:2][-1],)


def layer_weights(statistics: str, strides: Mapping[str, int]) -> dict[str, float]:
    """What each style layer weighs, by its stride.

    gram: 1000 / N^2 for N = 64, 128, 256, 512, 512 channels, as the authors publish it for VGG-19
    (github.com/leongatys/PytorchNeuralStyleTransfer); here N follows from the stride, so that other
    families' layers weigh as VGG's of their stride do.

    wasserstein: 1 / sqrt(stride), their sum being 1. Deep layers pull against the content: measured
    on pairs of photo and painting, equal weights gave more style for more loss of content, 1 /
    stride neither.
    """
    if statistics == "gram":
        return {name: 1000 / min(64 * stride, 512) ** 2 for name, stride in strides.items()}
    total = sum(stride**-0.5 for stride in strides.values())
    return {name: stride**-0.5 / total for name, stride in strides.items()}


class StyleNetwork:
    """A backbone as style transfer sees through it: frozen, its maps brought to one scale.

    Args:
        backbone: any that `create` knows. It is changed: frozen, its poolings replaced, borders of
            zeros by the nearest pixels, for zeros leave a frame around optimised pictures.
        style, content: names of layers; empty ones are `default_layers`.
        pixels: whether PIXELS are a style layer too: patches of the picture, as wide as the
            backbone's first layer needs to leave nothing unseen. Networks that begin by a stride
            let noise of single pixels grow, which no painting has.
        pooling: "max" as the backbone was trained, or "average" as in the paper.

    Each layer's maps are divided by their typical size (`calibrate`), so that the same weights
    serve all backbones and layers. UserError for a layer that it has not.
    """

    def __init__(
        self,
        backbone: Backbone,
        style: Iterable[str] = (),
        content: Iterable[str] = (),
        pooling: str = "max",
        pixels: bool = False,
    ) -> None:
        known = default_layers(backbone)
        self.style, self.content = tuple(style) or known[0], tuple(content) or known[1]
        if pixels and PIXELS not in self.style:
            self.style = (PIXELS, *self.style)
        first = min(backbone.strides.values())
        self.patch = min(LARGEST_PATCH_PX, max(3, 2 * first - 1))  # odd
        self.channels = {PIXELS: 3 * self.patch**2, **backbone.channels}
        for name in (*self.style, *self.content):
            if name not in self.channels:
                hint = nearest(name, self.channels)
                raise UserError(f"The backbone has no layer '{name}'.{hint}")
        self.backbone = backbone.eval().requires_grad_(False)
        strides = {PIXELS: 1, **backbone.strides}
        self.strides = {name: strides[name] for name in (*self.style, *self.content)}
        self.scales = dict.fromkeys(self.strides, 1.0)
        for module in [*backbone.modules()]:
            for name, child in [*module.named_children()]:
                if isinstance(child, nn.MaxPool2d) and pooling == "average":
                    size, stride = child.kernel_size, child.stride
                    average = nn.AvgPool2d(
                        size, stride, child.padding, child.ceil_mode, count_include_pad=False
                    )
                    setattr(module, name, average)
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
                module.padding_mode = "replicate"

    @property
    def deepest(self) -> str | None:
        """Of its layers the backbone's last; None where it sees nothing but pixels."""
        used = [name for name in self.backbone.channels if name in self.strides]
        return used[-1] if used else None

    @torch.no_grad()
    def calibrate(self, *pictures: Tensor, power: int = 2) -> None:
        """Let each layer's mean magnitude to that power be 1, on average over (B, C, H, W).

        1: the mean, as in Gatys et al. 2016, who scale each filter so, over ImageNet; here layers,
        for a filter that is silent in these pictures has nothing to be scaled by. 2: the mean
        square, so that distances of content and style lie between 0 and about 2 in any network.
        """
        self.scales = dict.fromkeys(self.strides, 1.0)
        means = dict.fromkeys(self.strides, 0.0)
        for picture in pictures:
            with full_precision(picture):
                found = self.features(picture)
            for name, maps in found.items():
                means[name] += float(maps.abs().pow(power).mean()) / len(pictures)
        self.scales = {n: mean ** (-1 / power) if mean else 1.0 for n, mean in means.items()}

    def features(self, pictures: Tensor, names: Iterable[str] = ()) -> dict[str, Tensor]:
        """Maps of all its layers, of float pictures (B, 1 or 3, H, W) in [0, 1], grey ones too.

        Of `names` alone, where some are given. UserError where the pictures are too small for the
        deepest of them.
        """
        pictures = pictures.expand(-1, self.backbone.in_channels, -1, -1)
        wanted = tuple(names) or tuple(self.strides)
        inner = [name for name in wanted if name != PIXELS]
        try:
            maps = self.backbone.features(pictures, inner)
        except RuntimeError as error:
            height, width = pictures.shape[2:]
            if "size" not in str(error) or min(height, width) > 64:  # such as out of memory
                raise
            raise UserError(f"{width}x{height} pixels are too few for this backbone.") from error
        if PIXELS in wanted:
            maps[PIXELS] = self._patches(pictures)
        return {name: found * self.scales[name] for name, found in maps.items()}

    def _patches(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3 patch^2, H, W): what lies around each pixel, less its mean.

        Without the mean, for it would outweigh what patches are here to tell: how rough, and how.
        """
        border, (height, width) = self.patch // 2, pictures.shape[2:]
        padded = F.pad(pictures, [border] * 4, mode="replicate")
        around = F.unfold(padded, self.patch).unflatten(1, (pictures.shape[1], -1))
        return (around - around.mean(2, keepdim=True)).flatten(1, 2).unflatten(2, (height, width))

    def style_sums(self, pictures: Tensor) -> dict[str, Sums]:
        """The statistics of each style layer, in fp32 also under autocast."""
        with full_precision(pictures):
            maps = self.features(pictures)
        return {name: sums(maps[name]) for name in self.style}
