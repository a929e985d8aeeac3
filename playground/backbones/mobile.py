"""Small networks for small machines: squeezenet and mobilenet_v2.

Layers and sources:
    squeezenet    conv1 relu1 pool1 fire2 fire3 pool3 fire4 fire5 pool5 fire6 fire7 fire8 fire9
                  Iandola et al. 2016, "SqueezeNet", version 1.1 of its authors' repository: 2.4
                  times less work than the paper's 1.0.
    mobilenet_v2  stem block1_1 block2_1 block2_2 block3_1 ... block7_1 last
                  Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks";
                  block4_2 is the second inverted residual of the table's fourth row.

Departs from the papers: weights start as He et al. 2015 have it. mobilenet_v2's stem="small", for
pictures of 28 to 64 pixels, leaves out the first two of its five halvings: the weights' shapes, and
so what published weights fit, stay the same.
"""

import torch
from torch import Tensor, nn

from playground.backbone import ImageNetBackbone, above_0, he_initialise, is_small


class Fire(nn.Module):
    """1x1 to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, before: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, before, h, w) -> (B, 2 wide, h, w)."""
        x = self.squeeze(x).relu_()
        return torch.cat((self.expand1x1(x), self.expand3x3(x)), 1).relu_()


class SqueezeNet(ImageNetBackbone):
    """Eight fire modules, 512 channels out at stride 16; its classifier is a 1x1 convolution."""

    HEAD, PUBLISHED = "classifier", "features"

    def __init__(self, in_channels: int = 3, num_classes: int = 0) -> None:
        super().__init__(in_channels, num_classes)
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        before = 64
        narrow_wide = [(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2
        for index, (narrow, wide) in enumerate(narrow_wide, start=2):
            self.add_module(f"fire{index}", Fire(before, narrow, wide))
            if index in (3, 5):
                self.add_module(f"pool{index}", nn.MaxPool2d(3, 2, ceil_mode=True))
            before = 2 * wide
        if num_classes:
            last = nn.Conv2d(before, num_classes, 1)
            self.classifier = nn.Sequential(
                nn.Dropout(), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
        he_initialise(self)
        if num_classes:
            nn.init.normal_(last.weight, std=0.01)  # as published: larger scores die in the ReLU
        self._finish()

    def _head(self, last: Tensor) -> Tensor:
        return self.classifier(last)


def conv_norm(
    before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU6."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 to `expand` times the channels, 3x3 by channel, 1x1 without ReLU; x added if it fits."""

    def __init__(self, before: int, after: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = before * expand
        self.conv = nn.Sequential(
            *([conv_norm(before, inner)] if expand > 1 else []),
            conv_norm(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, before, h, w) -> (B, after, h / stride, w / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


# Table 2 of the paper: (expand, channels, blocks, stride of the first block) of each row.
_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
         (6, 320, 1, 1))  # fmt: skip


class MobileNetV2(ImageNetBackbone):
    """Seventeen inverted residuals, 1280 channels out at stride 32, or 8 with stem="small".

    `width` multiplies the channels, rounded to multiples of 8; the last layer's only if above 1.
    """

    HEAD, PUBLISHED = "classifier", "features"

    def __init__(
        self, in_channels: int = 3, num_classes: int = 0, width: float = 1.0, stem: str = "imagenet"
    ) -> None:
        super().__init__(in_channels, num_classes)
        before = multiple_of_8(32, width)
        small = is_small(stem)
        self.stem = conv_norm(in_channels, before, 3, stride=1 if small else 2)
        for row, (expand, base, blocks, first_stride) in enumerate(_ROWS, start=1):
            after = multiple_of_8(base, width)
            for block in range(1, blocks + 1):
                keep = block > 1 or (small and row == 2)
                stride = 1 if keep else first_stride
                name = f"block{row}_{block}"
                self.add_module(name, InvertedResidual(before, after, stride, expand))
                before = after
        after = multiple_of_8(1280, max(1.0, width))
        self.last = conv_norm(before, after)
        he_initialise(self)
        if num_classes:
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(after, num_classes))
        self._finish()

    def _head(self, last: Tensor) -> Tensor:
        return self.classifier(last.mean((2, 3)))


def multiple_of_8(channels: int, width: float) -> int:
    """The multiple of 8 nearest to `channels` times `width`, and not below 90 % of it."""
    above_0("width", width)
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest
