"""googlenet (Szegedy et al. 2015, "Going Deeper with Convolutions").

Layers: conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3 inception4a ...
inception4e maxpool4 inception5a inception5b, as torchvision names them.

Departs from the paper: as in torchvision, batch normalisation after each convolution in the place
of response normalisation; a 3x3 convolution where the paper has 5x5 (a slip that the published
weights inherit); dropout 0.2. No auxiliary classifiers: batch normalisation trains without them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playground.backbone import Backbone, he_initialise


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; the size stays but for the stride."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, before, h, w) -> (B, after, h / stride, w / stride)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches on the same map, their channels side by side.

    `plain` channels of 1x1; `reduce3` -> `wide3` of 1x1, 3x3; `reduce5` -> `wide5` of 1x1, 3x3;
    `pooled` of max-pool 3/1, 1x1.
    """

    def __init__(
        self,
        before: int,
        plain: int,
        reduce3: int,
        wide3: int,
        reduce5: int,
        wide5: int,
        pooled: int,
    ) -> None:
        super().__init__()
        self.branch1 = ConvNormReLU(before, plain, 1)
        self.branch2 = nn.Sequential(
            ConvNormReLU(before, reduce3, 1), ConvNormReLU(reduce3, wide3, 3)
        )
        self.branch3 = nn.Sequential(
            ConvNormReLU(before, reduce5, 1), ConvNormReLU(reduce5, wide5, 3)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), ConvNormReLU(before, pooled, 1))
        self.out_channels = plain + wide3 + wide5 + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, before, h, w) -> (B, plain + wide3 + wide5 + pooled, h, w)."""
        return torch.cat([branch(x) for branch in self.children()], 1)


# Table 1 of the paper: channels of each block's branches, in the order of Inception's arguments;
# a number alone is the kernel of a max-pool of stride 2.
_PLAN: dict[str, tuple[int, ...] | int] = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "maxpool3": 3,
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "maxpool4": 2,
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(Backbone):
    """Nine inception blocks, 1024 channels out at stride 32."""

    # The published weights are older than torchvision's habit of ImageNet's mean, and torchvision
    # turns its normalised pictures back into this for them.
    MEAN = STD = (0.5, 0.5, 0.5)

    def __init__(self, in_channels: int = 3, num_classes: int = 0) -> None:
        super().__init__(in_channels, num_classes)
        self.conv1 = ConvNormReLU(in_channels, 64, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNormReLU(64, 64, 1)
        self.conv3 = ConvNormReLU(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        before = 192
        for name, numbers in _PLAN.items():
            if isinstance(numbers, int):
                self.add_module(name, nn.MaxPool2d(numbers, 2, ceil_mode=True))
            else:
                block = Inception(before, *numbers)
                self.add_module(name, block)
                before = block.out_channels
        he_initialise(self)
        self._finish()

    def translate(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights without their auxiliary classifiers."""
        return {
            key: value for key, value in found.items() if not key.startswith(("aux1.", "aux2."))
        }

    def _head(self, last: Tensor) -> Tensor:
        return self.fc(F.dropout(last.mean((2, 3)), 0.2, self.training))
