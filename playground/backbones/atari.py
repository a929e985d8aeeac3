"""The trunks of deep reinforcement learning on Atari: nature and impala.

Layers and sources:
    nature  conv1 relu1 conv2 relu2 conv3 relu3; with norm="layer" normK before reluK
            Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods;
            norm="layer" as in Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning".
    impala  conv1 pool1 block1_1 block1_2 conv2 pool2 ... block3_2 relu
            Espeholt et al. 2018, "IMPALA", figure 3 (right); norm="spectral" as in
            Clark et al. 2024, "Beyond the Rainbow".

Departs from the papers: PyTorch's default initialisation (uniform by fan-in) in both; in impala
`width` multiplies the channels 16, 32, 32, and norm="layer" is an option of our own; in nature
norm="layer" takes channels and places together, as CleanRL's PQN does, where the code of Gallici et
al. normalises each place's channels.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from playground.backbone import Backbone, one_of, scaled, whole


def layer_norm(channels: int) -> nn.GroupNorm:
    """LayerNorm over (C, h, w) that does not depend on the picture's size: one group."""
    return nn.GroupNorm(1, channels)


class Nature(Backbone):
    """Three plain convolutions (Mnih et al. 2015); 84x84 in gives 64x7x7 out at width 1.

    `norm`: None, or "layer" between each convolution and its ReLU.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 0, width: float = 1.0,
        norm: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, num_classes)
        one_of("norm", norm, None, "layer")
        before = in_channels
        for k, (base, size, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1)), start=1):
            channels = scaled(base, width)
            self.add_module(f"conv{k}", nn.Conv2d(before, channels, size, stride))
            if norm == "layer":
                self.add_module(f"norm{k}", layer_norm(channels))
            self.add_module(f"relu{k}", nn.ReLU())
            before = channels
        self._finish()


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), (B, C, h, w) -> the same shape (Espeholt et al. 2018)."""

    def __init__(self, channels: int, norm: str | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = layer_norm(channels) if norm == "layer" else nn.Identity()
        self.norm2 = layer_norm(channels) if norm == "layer" else nn.Identity()
        if norm == "spectral":
            spectral_norm(self.conv1)
            spectral_norm(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, C, h, w) -> (B, C, h, w)."""
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class Impala(Backbone):
    """Three sections of conv, max-pool 3/2 and two residual blocks; 84x84 in gives 11x11 out.

    `norm`: None, "layer" (before each ReLU of the residual blocks) or "spectral" (on their
    convolutions: one power iteration at each forward in training mode, kept in buffers).
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 0, width: int = 1, norm: str | None = None
    ) -> None:
        super().__init__(in_channels, num_classes)
        width = whole("width", width)
        one_of("norm", norm, None, "layer", "spectral")
        before = in_channels
        for section, base in enumerate((16, 32, 32), start=1):
            channels = base * width
            self.add_module(f"conv{section}", nn.Conv2d(before, channels, 3, padding=1))
            self.add_module(f"pool{section}", nn.MaxPool2d(3, 2, padding=1))
            self.add_module(f"block{section}_1", ResidualBlock(channels, norm))
            self.add_module(f"block{section}_2", ResidualBlock(channels, norm))
            before = channels
        self.relu = nn.ReLU()
        self._finish()
