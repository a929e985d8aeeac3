"""What stands ready before a painting begins: pictures, masks, sizes, the network, its losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from generators.style_losses import STATISTICS, StyleNetwork, blend, layer_weights
from generators.style_painting import HISTORY, Painting, brightness
from generators.style_tiles import TILE_BYTES, Objective, Region, core_for
from playground import device
from playground.backbone import Backbone, create
from playground.errors import UserError
from playground.inputs import to_batch
from playground.media import read_image
from playground.weights import IMAGENET, ZOO

if TYPE_CHECKING:
    from generators.style import StyleConfig

LEAST_PX = 16  # of a picture's shorter side: with less there is nothing to see in it
SHORTEST_PX = 48  # of the coarsest scale's shorter side
CALIBRATION_PX = 512  # longer side of the pictures from which the network's scales are measured
CUDA_SHRINK = 40  # times, that CUDA's antialiasing can make a side smaller at once, and a bit
LOCAL = ("vgg16", "squeezenet")  # whose published weights may lie in the cache, the best first


def picture(image: Any, what: str) -> Tensor:
    """A picture in any form, or its file's path, as float (1, 1 or 3, H, W) in [0, 1].

    UserError, which names it as `what` where it is no file, for what is no single picture, or one
    with a side below LEAST_PX.
    """
    if isinstance(image, str | Path):
        what = f"The picture {image}"
        image = read_image(image)
    found = to_batch(image)
    if len(found) != 1:
        raise UserError(f"{what} must be one picture, not {len(found)}.")
    height, width = found.shape[2:]
    if min(height, width) < LEAST_PX:
        raise UserError(
            f"{what} has {width}x{height} pixels: too few to paint with; each side needs "
            f"{LEAST_PX} at least."
        )
    return found.contiguous()


def several(images: Any) -> list[Any]:
    """A list of pictures of one or many in any form."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
        return [images[number : number + 1] for number in range(len(images))]
    return [images]


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), bicubic, antialiased, in [0, 1]."""
    if pictures.shape[2:] == size:
        return pictures
    shrink = max(before / after for before, after in zip(pictures.shape[2:], size, strict=True))
    # A CUDA kernel's shared memory holds as many neighbours.
    where = pictures.cpu() if pictures.is_cuda and shrink > CUDA_SHRINK else pictures
    found = F.interpolate(where, size, mode="bicubic", antialias=True).clamp_(0, 1)
    return found.to(pictures.device)


def fitting(height: int, width: int, longer: int) -> tuple[int, int]:
    """(height, width) with `longer` as the longer side, aspect kept."""
    factor = longer / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def scales(
    height: int, width: int, longer: int | None, coarsest: int | None
) -> list[tuple[int, int]]:
    """(height, width) of each scale, the last with `longer` as its longer side.

    Each is √2 times as large as the one before; the first's longer side is not below `coarsest`
    (None: one scale), nor its shorter one below SHORTEST_PX.
    """
    end = longer or max(height, width)
    found = [fitting(height, width, end)]
    while coarsest is not None:
        size = fitting(height, width, round(end / math.sqrt(2) ** len(found)))
        if max(size) < coarsest or min(size) < SHORTEST_PX:
            break
        found.append(size)
    return found[::-1]


def find_backbone(
    name: str | None, weights: str | None, say: Callable[[str], None]
) -> tuple[str, Backbone]:
    """(name, backbone with weights). Without a name VGG-19 from the hub, or else what is here.

    `say` is told what took its place. UserError where nothing can be had.
    """
    if name is not None:
        if weights is None:
            weights = name if (ZOO / f"{name}.safetensors").exists() else "imagenet"
            if weights == "imagenet" and name not in IMAGENET:
                create(name)  # whose error names the families, if there is none of this name
                raise UserError(f"The backbone {name} needs --weights FILE: none are published.")
        return name, create(name, weights=weights)
    if weights is not None:
        raise UserError("--weights needs --backbone NAME, which says whose they are.")
    try:
        return "vgg19", create("vgg19", weights="imagenet")
    except UserError as error:
        why = str(error)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    here = [local for local in LOCAL if (cache / IMAGENET[local].file).exists()]
    here += ["arcade"] if (ZOO / "arcade.safetensors").exists() else []
    for local in here:
        say(
            f"{why} Painting with {local} instead, which sees less: --fast may paint better, and "
            "--backbone and --weights choose another."
        )
        return local, create(local, weights="arcade" if local == "arcade" else "imagenet")
    raise UserError(f"{why} Or paint with other weights: --backbone NAME --weights FILE.")


class Easel:
    """One painting's pictures and network, from which each scale's task is made.

    Args:
        network: calibrated here.
        content: (1, 1 or 3, H, W).
        styles: likewise, with a number each in `weights`.
        masks: (1, 1, h, w) for each style, or none: then the styles are blended everywhere.
        config: of the painting.

    UserError for a mask that leaves nothing.
    """

    def __init__(
        self,
        network: StyleNetwork,
        content: Tensor,
        styles: Sequence[Tensor],
        weights: Sequence[float],
        masks: Sequence[Tensor],
        config: StyleConfig,
    ) -> None:
        self.network, self.config = network, config
        self.content, self.colors = content, None
        self.weights, self.masks = weights, masks
        if config.keep_colors:
            self.colors = content.expand(-1, 3, -1, -1)
            self.content = brightness(self.colors)
            styles = [_like(brightness(each.expand(-1, 3, -1, -1)), self.content)
                      for each in styles]  # fmt: skip
        self.content = self.content if config.keep_colors else content.expand(-1, 3, -1, -1)
        self.styles = styles
        for number, mask in enumerate(masks, start=1):
            if not mask.max() > 0:
                raise UserError(f"Mask {number} is black: its style would be nowhere.")
        seen = [self._at(each, CALIBRATION_PX) for each in (self.content, *styles)]
        network.calibrate(*seen, power=1 if config.statistics == "gram" else 2)

    def task(
        self,
        size: tuple[int, int],
        coarser: Painting | None,
        watch: Callable[[Painting], bool | None] | None,
    ) -> Painting:
        """The painting at one scale, from where the `coarser` one ended."""
        config, network = self.config, self.network
        content = resized(self.content, size)
        strides = {name: network.strides[name] for name in network.style}
        objective = Objective(
            network, content, self._regions(size), layer_weights(config.statistics, strides),
            config.content_weight, config.variation_weight, self.core(size),
            shifted=config.optimizer == "adam",  # L-BFGS wants the same function each time
        )  # fmt: skip
        if coarser is not None:
            before = coarser.picture.detach()
            start = resized(before, size)
            if config.start == "content":  # with the detail that the coarser scale could not hold
                blurred = resized(resized(content, (before.shape[2], before.shape[3])), size)
                start = (start + content - blurred).clamp_(0, 1)
        elif config.start == "noise":
            start = torch.rand_like(content)
        else:
            start = content.clone()
        colors = None if self.colors is None else resized(self.colors, size)
        progress = coarser.progress if coarser else 0
        painting = Painting(start, objective, config, progress, colors, watch)
        if coarser is not None:
            painting.warm_up(coarser)
        return painting

    def core(self, size: tuple[int, int]) -> int | None:
        """The tiles' side at that size, or None."""
        free = device.available_memory(self.content.device)
        return self.config.tile or core_for(*size, self.network, free)

    def needed(self) -> tuple[int, float]:
        """(bytes, bytes a pixel) that a painting takes in tiles."""
        config, network = self.config, self.network
        targets = sum(
            2 * network.channels[name] / network.strides[name] ** 2 for name in network.content
        )
        sights = min(network.backbone.strides.values()) ** 2 if config.optimizer == "adam" else 1
        # Content, pixels, their average, slopes or what is shown, a copy in the trainer's hands;
        # two moments; L-BFGS: pairs of changes.
        copies = 6 + (2 * HISTORY if config.optimizer == "lbfgs" else 2)
        return TILE_BYTES, 4 * self.content.shape[1] * copies + sights * targets

    def _regions(self, size: tuple[int, int]) -> list[Region]:
        """The styles' statistics as seen at a scale."""
        longer = max(1, round(max(size) * self.config.style_scale))
        losses = STATISTICS[self.config.statistics]
        with torch.no_grad():
            sums = [self.network.style_sums(self._at(each, longer)) for each in self.styles]
        if not self.masks:
            mixed = {
                name: blend([each[name] for each in sums], self.weights)
                for name in self.network.style
            }
            return [Region({name: losses(target) for name, target in mixed.items()})]
        regions = []
        for each, weight, mask in zip(sums, self.weights, self.masks, strict=True):
            here = resized(mask, size)
            # By area, so that a style pulls as hard at its pixels whatever their number.
            share = weight / sum(self.weights) * len(self.weights) * float(here.mean())
            found = {name: losses(target) for name, target in each.items()}
            regions.append(Region(found, share, here))
        return regions

    def _at(self, each: Tensor, longer: int) -> Tensor:
        """No larger than it is, and no smaller than the network can see."""
        height, width = each.shape[2:]
        smaller = fitting(height, width, min(longer, max(height, width)))
        if min(smaller) < SHORTEST_PX:
            factor = SHORTEST_PX / min(height, width)
            smaller = (max(1, round(height * factor)), max(1, round(width * factor)))
        return resized(each, smaller)


def _like(grey: Tensor, other: Tensor) -> Tensor:
    """A grey style with the mean and deviation of another picture's brightness."""
    deviation = other.std() / grey.std().clamp_min(1e-6)
    return ((grey - grey.mean()) * deviation + other.mean()).clamp(0, 1)
