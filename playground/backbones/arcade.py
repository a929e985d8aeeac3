"""arcade: a small network of our own for game screens and small photographs.

    relu1_1  4x4 stride 2   16        relu3_1  3x3   96      stride 8
    relu1_2  3x3            32        relu3_2  3x3   96
    pool1 (max 2x2)                   pool3
    relu2_1  3x3            64        relu4_1  3x3  160      stride 16
    pool2                             relu4_2  3x3  160

Plain convolutions, ReLUs and max-pools, as in VGG, so that its layers serve where VGG's do: for
style and content losses, as discriminator's features, as maps to look at. No normalisation layers:
nothing depends on the batch, and nothing is left to fold. 531,312 parameters, 0.20 billion
multiplications for a screen of 210x160.

The first convolution halves the picture: on a CPU a layer of full size costs as much as all others
together, and its 16 filters of 4x4x3 still see every pixel from two sides and lose none of its 12
numbers. 4 is a multiple of the stride, so that gradients reach all pixels alike (no checkerboard in
optimised pictures; Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"). Layers to
relu3_2 keep a ball of 2x4 pixels within a cell of 8.

`weights="arcade"` are those of `playground/zoo`, learned by `playground.pretrain` from the screens
of all Atari games and from photographs, and scaled so that the mean of each ReLU is 1 on such
pictures (as Gatys et al. 2015 scaled VGG): layers weigh alike in losses without further tuning.
"""

import torch
from torch import Tensor, nn

from playground.backbone import Backbone, above_0, he_initialise

_CHANNELS = ((16, 32), (64,), (96, 96), (160, 160))  # of each block's convolutions


class Arcade(Backbone):
    """Seven convolutions at strides 2, 4, 8 and 16; `width` multiplies the channels."""

    def __init__(self, in_channels: int = 3, num_classes: int = 0, width: float = 1.0) -> None:
        super().__init__(in_channels, num_classes)
        above_0("width", width)
        before = in_channels
        for block, outs in enumerate(_CHANNELS, start=1):
            if block > 1:
                self.add_module(f"pool{block - 1}", nn.MaxPool2d(2))
            for number, base in enumerate(outs, start=1):
                out = max(1, round(base * width))
                first = block == number == 1
                conv = nn.Conv2d(before, out, 4 if first else 3, 2 if first else 1, padding=1)
                self.add_module(f"conv{block}_{number}", conv)
                self.add_module(f"relu{block}_{number}", nn.ReLU())
                before = out
        he_initialise(self)
        self._finish()

    @torch.no_grad()
    def balance(self, *batches: Tensor) -> None:
        """Scale each convolution so that its ReLU's mean is 1, on average over the batches.

        Exact but for rounding: each layer's scale is taken back in the next one (ReLU and max-pool
        let positive factors pass), and only the last map changes, by one factor.

        Args:
            batches: float (B, in_channels, H, W) in [0, 1]; each counts alike, whatever its size.
        """
        means = dict.fromkeys((n for n in self.channels if n.startswith("relu")), 0.0)
        for batch in batches:
            for name, map_ in self.features(batch, means).items():
                means[name] += float(map_.mean()) / len(batches)
        before = 1.0
        for name, mean in means.items():
            conv = self.get_submodule(name.replace("relu", "conv"))
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            mean = mean or 1.0  # a layer that is silent stays as it is
            conv.weight.mul_(before / mean)
            conv.bias.div_(mean)
            before = mean
