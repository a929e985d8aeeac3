"""Plain chains of convolutions, ReLUs and max-pools: deepconv, alexnet and the VGGs.

Layers and sources:
    deepconv     conv1_1 relu1_1 conv1_2 relu1_2 pool1 ... pool3 (norm1_1 after conv1_1, if any)
                 Saito, "Deep Learning from Scratch", chapter 8: the deep net for MNIST.
    alexnet      conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5
                 Krizhevsky 2014, "One weird trick ...": one tower, no response normalisation.
    vgg16 vgg19  conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 ... relu5_3 or relu5_4, pool5
                 Simonyan and Zisserman 2014, "Very Deep Convolutional Networks ...", D and E.
    vgg19_slim16 the same up to relu5_1, a quarter to an eighth as wide, padded by reflection
                 Wang et al. 2020, "Collaborative Distillation for Ultra-Resolution Universal
                 Style Transfer": a VGG-19 with 16 times fewer parameters, distilled.

Departs from the papers: as in torchvision, VGG and AlexNet pool the last map to 7x7 or 6x6 before
the classifier, so that any size goes in, and AlexNet has dropout before its linear layers; weights
start as He et al. 2015 have it. deepconv pools to 4x4, which does nothing at the book's 28x28.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from playground.backbone import (
    Backbone,
    ImageNetBackbone,
    he_initialise,
    is_number,
    one_of,
    scaled,
    whole,
)
from playground.errors import UserError


def sections(
    widths: Sequence[Sequence[int]],
    before: int,
    norm: str | None = None,
    reflect: bool = False,
    paddings: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, nn.Module]]:
    """(name, layer) of 3x3 convolutions, a ReLU after each, a max-pool 2/2 after each section.

    `widths` are the convolutions' channels, a list a section; "batch" for `norm` normalises before
    each ReLU. Convolutions pad by 1, or as `paddings` says by name: zeros, or reflected borders.
    """
    for section, channels in enumerate(widths, start=1):
        for index, after in enumerate(channels, start=1):
            name = f"conv{section}_{index}"
            padding = (paddings or {}).get(name, 1)
            mode: Literal["reflect", "zeros"] = "reflect" if reflect else "zeros"
            conv = nn.Conv2d(before, after, 3, 1, padding, bias=not norm, padding_mode=mode)
            yield name, conv
            if norm:
                yield f"norm{section}_{index}", nn.BatchNorm2d(after)
            yield f"relu{section}_{index}", nn.ReLU()
            before = after
        yield f"pool{section}", nn.MaxPool2d(2)


class Dropout(nn.Module):
    """Dropout as the book and Srivastava et al. 2014 have it: evaluation scales, training does not.

    PyTorch's enlarges what it keeps while training, which makes the first weights of what follows
    count for more.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not is_number(share) or not 0 <= share < 1:
            raise UserError(f"dropout is a share from 0 to below 1, not {share}.")
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; in training mode each number is 0 with probability `share`."""
        kept = 1 - self.share
        return nn.functional.dropout(x, self.share) * kept if self.training else x * kept


class DeepConv(Backbone):
    """The book's deep net: six convolutions, a hidden layer of 50; made for 28x28, takes any size.

    `width` multiplies all channels and the hidden layer; `norm="batch"` adds batch normalisation;
    `dropout` applies after the hidden layer and, as in the book, to the logits.
    """

    HEAD = "classifier"

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        norm: str | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(in_channels, num_classes)
        one_of("norm", norm, None, "batch")
        drop = Dropout(dropout)
        a, b, c, hidden = (scaled(base, width) for base in (16, 32, 64, 50))
        paddings = {"conv2_2": 2}  # 14x14 becomes 16x16, which two more pools can halve
        for name, layer in sections(((a, a), (b, b), (c, c)), in_channels, norm, False, paddings):
            self.add_module(name, layer)
        if num_classes:
            self.classifier = nn.Sequential(
                nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * c, hidden), nn.ReLU(),
                drop, nn.Linear(hidden, num_classes), drop,
            )  # fmt: skip
        he_initialise(self)
        self._finish()

    def _head(self, last: Tensor) -> Tensor:
        return self.classifier(last)


class _Dense(ImageNetBackbone, ABC):
    """What AlexNet and VGG share: torchvision's keys, and a classifier of linear layers.

    `hidden` is the size of the two hidden ones: with 4096 most of a network's parameters are there,
    far too many for a few classes. With another size than theirs, published ones are left out.
    """

    HEAD, PUBLISHED = "classifier", "features"
    GRID: int  # the side to which the last map is pooled before the classifier

    def __init__(self, in_channels: int = 3, num_classes: int = 0, hidden: int = 4096) -> None:
        super().__init__(in_channels, num_classes)
        hidden = whole("hidden", hidden)
        for name, layer in self._layers():
            self.add_module(name, layer)
        if num_classes:
            self.classifier = nn.Sequential(*self._linear(hidden))
        he_initialise(self)
        self._finish()

    @abstractmethod
    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Named layers before the head."""

    @abstractmethod
    def _linear(self, hidden: int) -> tuple[nn.Module, ...]:
        """The head after pooling."""

    def _head(self, last: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(last, self.GRID)
        return self.classifier(pooled.flatten(1))


class AlexNet(_Dense):
    """Five convolutions (Krizhevsky 2014); pictures from 63x63 on."""

    GRID = 6

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        before = self.in_channels
        # (channels, kernel, stride, padding, whether a max-pool 3/2 follows)
        plan = ((64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False),
                (256, 3, 1, 1, False), (256, 3, 1, 1, True))  # fmt: skip
        for index, (after, kernel, stride, padding, pool) in enumerate(plan, start=1):
            yield f"conv{index}", nn.Conv2d(before, after, kernel, stride, padding)
            yield f"relu{index}", nn.ReLU()
            if pool:
                yield f"pool{index}", nn.MaxPool2d(3, 2)
            before = after

    def _linear(self, hidden: int) -> tuple[nn.Module, ...]:
        return (
            *(nn.Dropout(), nn.Linear(256 * 6 * 6, hidden), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, self.num_classes),
        )


class _VGG(_Dense):
    """VGG by the number of convolutions in each section (Simonyan and Zisserman 2014)."""

    GRID = 7
    DEPTHS: tuple[int, ...]

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        widths = zip((64, 128, 256, 512, 512), self.DEPTHS, strict=True)
        yield from sections([[width] * depth for width, depth in widths], self.in_channels)

    def _linear(self, hidden: int) -> tuple[nn.Module, ...]:
        return (
            *(nn.Linear(512 * 7 * 7, hidden), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
            nn.Linear(hidden, self.num_classes),
        )

    def translate(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The timm library holds the linear layers as convolutions under names of its own."""
        theirs = {"pre_logits.fc1": "0", "pre_logits.fc2": "3", "head.fc": "6"}
        state = {}
        for key, tensor in found.items():
            layer, _, kind = key.rpartition(".")
            if layer in theirs:
                key = f"classifier.{theirs[layer]}.{kind}"
                tensor = tensor.flatten(1) if tensor.dim() > 1 else tensor
            state[key] = tensor
        return state


class VGG16(_VGG):
    """Thirteen convolutions and three linear layers."""

    DEPTHS = (2, 2, 3, 3, 3)


class VGG19(_VGG):
    """Sixteen convolutions and three linear layers; the usual one for style transfer."""

    DEPTHS = (2, 2, 4, 4, 4)


class VGG19Slim16(Backbone):
    """VGG-19 up to relu5_1 with 16 times fewer parameters (Wang et al. 2020).

    Published are five encoders e1 ... e5, each distilled to give one of relu1_1 ... relu5_1. The
    layers here are those of e5: it alone has all of them in one chain, and VGG-19 taught it at each
    of the five depths. What its relu1_1 ... relu4_1 tell of VGG-19's maps (by the linear maps that
    come with them) correlates by 0.98, 0.95, 0.91 and 0.88 with what e1 ... e4 tell (11 photos).
    """

    # Their teacher saw BGR in 0..255 less its mean. Here RGB in [0, 1], as everywhere; the first
    # convolution takes the exchange of red and blue.
    MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
    STD = (1 / 255, 1 / 255, 1 / 255)

    def __init__(self, in_channels: int = 3, num_classes: int = 0) -> None:
        super().__init__(in_channels, num_classes)
        widths = [[16] * 2, [32] * 2, [64] * 4, [128] * 4, [128]]
        *layers, _ = sections(widths, in_channels, reflect=True)  # the last pool is not theirs
        for name, layer in layers:
            self.add_module(name, layer)
        he_initialise(self)
        self._finish()

    def translate(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """e5 of the published encoders: its 1x1 convolution of colours merged into the first."""
        if "e5.conv0.weight" not in found:
            return found
        state = {
            f"conv{key[7]}_{key[8:]}": tensor.float()  # "e5.conv12.bias" -> "conv1_2.bias"
            for key, tensor in found.items()
            if key.startswith("e5.conv") and "_aux" not in key and "conv0" not in key
        }
        # They give z = C x + c, which with x = mean + std n is z = (C std) n + (C mean + c).
        # Padding by reflection after it or before it is the same, so that the merger is exact.
        mean, std = torch.tensor(self.MEAN), torch.tensor(self.STD)
        colours = found["e5.conv0.weight"].float().flatten(1)  # (3, 3)
        weight = state["conv1_1.weight"]  # (16, 3, 3, 3)
        constant = colours @ mean + found["e5.conv0.bias"].float()
        state["conv1_1.bias"] = state["conv1_1.bias"] + weight.sum((2, 3)) @ constant
        state["conv1_1.weight"] = torch.einsum("ozhw,zx->oxhw", weight, colours * std)
        return state
