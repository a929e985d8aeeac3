"""Losses over a whole picture, and their gradient, in tiles that fit into memory.

Statistics of style are sums over all positions. So a picture is seen twice: first tile by tile to
add up its sums, without keeping anything; then, with the losses' slopes in those sums known, tile
by tile for the gradient. The result is that of the whole picture, not of tiles: each tile is read
with as much around it as its features see (the halo), counts only its own share (the core), and so
there are no seams. Memory holds one tile's maps, and of the whole picture only what has its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, isqrt, lcm
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.style_losses import PIXELS, StyleNetwork, Sums, roughness, sums
from playground.backbone import Backbone, full_precision

TILE_BYTES = 2**30  # that the maps of one tile may take, where memory allows
NEEDED = 1.5  # times the maps' own bytes: gradients of a layer or two, padded copies


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels: it is read from `begin` to `end`, and counts its core."""

    begin: int
    core_begin: int
    core_end: int
    end: int
    last: bool  # whether the picture ends with its core

    def kept(self, stride: int) -> slice:
        """The core in a map of the tile."""
        begin = (self.core_begin - self.begin) // stride
        return slice(begin, None if self.last else (self.core_end - self.begin) // stride)


@dataclass(frozen=True)
class Tile:
    """A rectangle of the picture."""

    rows: Span
    columns: Span

    def read(self, whole: Tensor) -> Tensor:
        """Core and halo of (..., H, W), as a view."""
        rows, columns = self.rows, self.columns
        return whole[..., rows.begin : rows.end, columns.begin : columns.end]

    def keep(self, maps: Tensor, stride: int) -> Tensor:
        """The core's part of the tile's maps (..., h, w)."""
        return maps[..., self.rows.kept(stride), self.columns.kept(stride)]


def halo(backbone: Backbone, deepest: str | None) -> int:
    """How many pixels at most a feature of that layer sees to each side of its own, rounded up.

    Convolutions and poolings beside each other in one layer are counted as if in a row.
    """
    reach, before = 0, 1
    if deepest is None:
        return 0
    for name, stage in backbone.stages():
        stride = backbone.strides[name]
        for module in stage.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                side, border = _longest(module.kernel_size), _longest(module.padding)
                # Within a layer it is not known where the stride changes; the larger one is safe.
                reach += max(border, side - 1 - border) * max(before, stride)
        before = stride
        if name == deepest:
            return reach
    raise ValueError(f"no layer {deepest}")


def _longest(size: Any) -> int:
    """Of a kernel's or padding's two sides."""
    return size if isinstance(size, int) else max(size)


def spans(length: int, core: int, around: int) -> Iterator[Span]:
    """Cores of `core` pixels along `length`, with `around` pixels around them where there are."""
    for begin in range(0, length, core):
        # A narrow rest goes to its neighbour.
        end = length if length - begin < 1.5 * core else begin + core
        last = end == length
        yield Span(max(0, begin - around), begin, end, min(length, end + around), last)
        if last:
            return


def _grid(network: StyleNetwork) -> tuple[int, int]:
    """(multiple, halo): where tiles may begin so that all layers' grids agree; pixels around."""
    multiple = lcm(*network.strides.values())
    reach = max(network.patch, halo(network.backbone, network.deepest))
    return multiple, ceil(reach / multiple) * multiple


def tiles(height: int, width: int, core: int | None, network: StyleNetwork) -> list[Tile]:
    """One tile of the whole picture, or many with cores of about `core` pixels a side."""
    multiple, around = _grid(network)
    side = max(1, ceil((core or max(height, width)) / multiple)) * multiple
    columns = list(spans(width, side, around))
    return [Tile(row, column) for row in spans(height, side, around) for column in columns]


def bytes_per_pixel(network: StyleNetwork) -> int:
    """What the maps that lead to the losses take for each pixel that is seen at once."""
    total = 4.0 * network.channels[PIXELS] if PIXELS in network.strides else 0.0
    if network.deepest:
        for name, channels in network.backbone.channels.items():
            total += 4 * channels / network.backbone.strides[name] ** 2
            if name == network.deepest:
                break
    return ceil(NEEDED * total)


def core_for(height: int, width: int, network: StyleNetwork, free: int | None) -> int | None:
    """The cores' side that suits the free memory, in bytes (None: unknown); None for no tiles."""
    each = bytes_per_pixel(network)
    if height * width * each <= (TILE_BYTES if free is None else max(TILE_BYTES, free // 2)):
        return None
    room = TILE_BYTES if free is None else min(TILE_BYTES, free // 4)
    return max(128, isqrt(room // each) - 2 * _grid(network)[1])


# ---------------------------------------------------------------- the objective


@dataclass(frozen=True)
class Region:
    """Where a style shall be, and the losses that say how far it is from it, by layer."""

    losses: dict[str, Callable[[Sums], Tensor]]
    share: float = 1.0  # of the style's loss
    mask: Tensor | None = None  # (1, 1, H, W) from 0 to 1; None: everywhere


@dataclass(frozen=True)
class _Sight:
    """The picture without its first rows and columns, as the network sees it."""

    offset: tuple[int, int]
    tiles: list[Tile]
    targets: list[dict[str, Tensor]]  # the content's maps in each tile's core
    sizes: dict[str, int]  # of all of these together, by layer

    def of(self, whole: Tensor) -> Tensor:
        """(..., H, W) -> what is seen of it, as a view."""
        return whole[..., self.offset[0] :, self.offset[1] :]


class Objective:
    """The losses of a picture (1, 1 or 3, H, W) as a differentiable function of it.

    Args:
        network: in whose maps they are measured, calibrated.
        content: the picture (1, C, H, W) whose content is wanted.
        regions: of styles.
        weights: of each style layer, by name.
        content_weight, variation_weight: the style's own is 1.
        core: side of the tiles' cores in pixels; None: no tiles.
        shifted: whether a network whose first layer strides is to see the picture from each pixel
            of a stride in turn. Else it treats these unlike, and a grid comes up in the painting.

    `sights` tells how many there are. Calling it gives {"loss", "style", "content", "variation"};
    the last two unweighted, the style as it is weighed, all scalars; only "loss" leads back to the
    picture.
    """

    def __init__(
        self,
        network: StyleNetwork,
        content: Tensor,
        regions: list[Region],
        weights: dict[str, float],
        content_weight: float,
        variation_weight: float,
        core: int | None = None,
        shifted: bool = False,
    ) -> None:
        self.network, self.regions, self.weights = network, regions, weights
        self.content_weight, self.variation_weight = content_weight, variation_weight
        first = min(network.backbone.strides.values()) if shifted else 1
        offsets = product(range(first), range(first))
        self._sights = [self._sight(content, offset, core) for offset in offsets]
        self.sights = len(self._sights)

    @torch.no_grad()
    def _sight(self, content: Tensor, offset: tuple[int, int], core: int | None) -> _Sight:
        network = self.network
        height, width = content.shape[2] - offset[0], content.shape[3] - offset[1]
        seen = _Sight(offset, tiles(height, width, core, network), [], {})
        # Whole maps are kept as they are; of tiles, halved: their size is 1, so that 16 bits do.
        dtype = torch.float32 if len(seen.tiles) == 1 else torch.float16
        for tile in seen.tiles:
            with full_precision(content):
                maps = network.features(tile.read(seen.of(content)))
            kept = {n: tile.keep(maps[n], network.strides[n]).to(dtype) for n in network.content}
            seen.targets.append(kept)
            for name, found in kept.items():
                seen.sizes[name] = seen.sizes.get(name, 0) + found.numel()
        return seen

    def __call__(self, picture: Tensor, sight: int = 0) -> dict[str, Tensor]:
        """See the class; `sight` is one of those from 0 to `sights`."""
        seen = self._sights[sight]
        if len(seen.tiles) == 1:
            found, content, variation = self._parts(seen, seen.of(picture), seen.tiles[0])
            style = self._style(found)
            loss = style + self._weighed(content, variation)
        else:
            loss, style, content, variation = _InTiles.apply(picture, self, seen)
        parts = {"style": style, "content": content, "variation": variation}
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def in_tiles(
        self, picture: Tensor, seen: _Sight, sloped: bool
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """((loss, style, content, variation), gradient of the loss if `sloped`), tile by tile."""
        view = seen.of(picture)
        with torch.no_grad():
            totals, content, variation = self._parts(seen, seen.tiles[0].read(view), seen.tiles[0])
            for tile in seen.tiles[1:]:
                more, more_content, more_variation = self._parts(seen, tile.read(view), tile)
                totals = [
                    {name: part[name] + other[name] for name in part}
                    for part, other in zip(totals, more, strict=True)
                ]
                content, variation = content + more_content, variation + more_variation
        parts = [part for each in totals for part in each.values()]
        leaves = [leaf.requires_grad_() for part in parts for leaf in (part.first, part.second)]
        with torch.enable_grad():
            style = self._style(totals)
        loss = style.detach() + self._weighed(content, variation)
        losses = (loss, style.detach(), content, variation)
        if not sloped:
            return losses, None
        slopes = torch.autograd.grad(style, leaves, allow_unused=True, materialize_grads=True)
        gradient = torch.zeros_like(picture)
        for tile in seen.tiles:
            with torch.enable_grad():
                x = tile.read(view).detach().requires_grad_()
                found, own_content, own_variation = self._parts(seen, x, tile)
                parts = [part for each in found for part in each.values()]
                mine = [leaf for part in parts for leaf in (part.first, part.second)]
                share = self._weighed(own_content, own_variation)
                share = share + sum((a * b).sum() for a, b in zip(mine, slopes, strict=True))
            tile.read(seen.of(gradient)).add_(torch.autograd.grad(share, x)[0])
        return losses, gradient

    def _parts(
        self, seen: _Sight, x: Tensor, tile: Tile
    ) -> tuple[list[dict[str, Sums]], Tensor, Tensor]:
        """A tile's sums by region and layer, and its shares of content and variation.

        `x` is what is read of the tile.
        """
        strides = self.network.strides
        maps = {
            name: tile.keep(found, strides[name])
            for name, found in self.network.features(x).items()
        }
        found = [
            {
                name: sums(maps[name], self._mask(seen, region, tile, maps[name], strides[name]))
                for name in self.network.style
            }
            for region in self.regions
        ]
        content = torch.zeros((), device=x.device)
        for name, target in seen.targets[seen.tiles.index(tile)].items():
            apart = (maps[name] - target).float().square().sum()
            content = content + apart / seen.sizes[name]
        rows, columns = tile.rows, tile.columns
        core = x[:, :, rows.core_begin - rows.begin :, columns.core_begin - columns.begin :]
        height, width = rows.core_end - rows.core_begin, columns.core_end - columns.core_begin
        last = seen.tiles[-1]
        count = x.shape[1] * last.rows.core_end * last.columns.core_end  # the picture's values
        return found, content, roughness(core, height, width) / count

    @staticmethod
    def _mask(seen: _Sight, region: Region, tile: Tile, kept: Tensor, stride: int) -> Tensor | None:
        """The region's mask at the kept positions of a layer: the mean over each one's pixels."""
        if region.mask is None:
            return None
        pooled = F.avg_pool2d(tile.read(seen.of(region.mask)), stride, ceil_mode=True)
        fitting = tile.keep(pooled, stride)[..., : kept.shape[2], : kept.shape[3]]
        missing = (kept.shape[3] - fitting.shape[3], kept.shape[2] - fitting.shape[2])
        return F.pad(fitting, (0, missing[0], 0, missing[1]), mode="replicate")

    def _style(self, found: list[dict[str, Sums]]) -> Tensor:
        total = torch.zeros((), device=next(iter(found[0].values())).first.device)
        for region, parts in zip(self.regions, found, strict=True):
            for name, loss in region.losses.items():
                total = total + region.share * self.weights[name] * loss(parts[name])
        return total

    def _weighed(self, content: Tensor, variation: Tensor) -> Tensor:
        return self.content_weight * content + self.variation_weight * variation


class _InTiles(torch.autograd.Function):
    """The losses with a gradient that was found together with them."""

    @staticmethod
    def forward(
        ctx: Any, picture: Tensor, objective: Objective, seen: _Sight
    ) -> tuple[Tensor, ...]:
        losses, ctx.gradient = objective.in_tiles(picture, seen, ctx.needs_input_grad[0])
        ctx.mark_non_differentiable(*losses[1:])
        return losses

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None  # let go: it is as large as the picture
        return gradient.mul_(slopes[0]), None, None
