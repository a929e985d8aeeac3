"""resnet18, resnet34, resnet50 (He et al. 2016, "Deep Residual Learning for Image Recognition").

Layers: conv1 bn1 relu maxpool layer1 layer2 layer3 layer4, as torchvision names them.

Departs from the paper: as in torchvision, resnet50 halves in the 3x3 convolution of a block, not in
its first 1x1 (called v1.5). stem="small" is for pictures of 28 to 64 pixels: a first convolution of
3x3 that keeps the size, and no max-pool, as the paper itself has it on CIFAR-10.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from playground.backbone import ImageNetBackbone, he_initialise, is_small, scaled


def convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Without bias, for batch normalisation follows; the size stays but for the stride."""
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)


class Residual(nn.Module):
    """relu(x + branch(x)), (B, before, h, w) -> (B, after, h / stride, w / stride).

    The branch is 3x3, 3x3; or, as a bottleneck, 1x1, 3x3, 1x1 with a quarter of the channels.
    """

    def __init__(self, before: int, after: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        inner = after // 4 if bottleneck else after
        self.conv1 = convolution(before, inner, 1 if bottleneck else 3, 1 if bottleneck else stride)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = convolution(inner, inner, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(inner)
        if bottleneck:
            self.conv3 = convolution(inner, after, 1)
            self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                convolution(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, before, h, w) -> (B, after, h / stride, w / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y, inplace=True)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class _ResNet(ImageNetBackbone):
    """`width` multiplies the channels; `stem` is "imagenet" (stride 32) or "small" (stride 8)."""

    BLOCKS: tuple[int, ...]  # residual blocks in each of the four layers
    BOTTLENECK = False

    def __init__(
        self, in_channels: int = 3, num_classes: int = 0, width: float = 1.0, stem: str = "imagenet"
    ) -> None:
        super().__init__(in_channels, num_classes)
        before = base = scaled(64, width)
        small = is_small(stem)
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = convolution(in_channels, before, kernel, stride)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        if not small:
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for layer, blocks in enumerate(self.BLOCKS):
            after = base * 2**layer * (4 if self.BOTTLENECK else 1)
            section = nn.Sequential()
            for block in range(blocks):
                stride = 2 if layer and not block else 1
                section.append(Residual(before, after, stride, self.BOTTLENECK))
                before = after
            self.add_module(f"layer{layer + 1}", section)
        he_initialise(self)
        self._finish()


class ResNet18(_ResNet):
    """Two blocks of two convolutions in each layer."""

    BLOCKS = (2, 2, 2, 2)


class ResNet34(_ResNet):
    """Three to six blocks of two convolutions in each layer."""

    BLOCKS = (3, 4, 6, 3)


class ResNet50(_ResNet):
    """Three to six bottlenecks in each layer."""

    BLOCKS = (3, 4, 6, 3)
    BOTTLENECK = True
