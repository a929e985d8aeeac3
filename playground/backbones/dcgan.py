"""dcgan: the strided convolutions of a DCGAN's discriminator, without its last one.

    conv1 relu1          4x4 stride 2    64
    conv2 norm2 relu2    4x4 stride 2   128
    conv3 norm3 relu3    4x4 stride 2   256
    conv4 norm4 relu4    4x4 stride 2   512, ... as many as `depth` says

Radford, Metz & Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", section 3: strides instead of pooling, LeakyReLU of slope 0.2,
batch normalisation in all layers but the first, no biases, all weights from N(0, 0.02). Pictures
of 64x64 come out as 4x4; `depth` 3 makes 4x4 of 32x32, 5 of 128x128. Pictures are brought to
[-1, 1] inside. Kernels are 4x4, as in PyTorch's example, or with kernel=5 the paper's 5x5.

norm="spectral" (Miyato et al. 2018) divides each convolution's weights by their largest singular
value, one power iteration at each forward in training mode, and needs no other normalisation; these
weights begin at He's variance, as their size is normalised away.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from playground.backbone import Backbone, he_initialise, one_of, scaled
from playground.errors import UserError
from playground.weights import of_channels

SLOPE = 0.2  # of the leaky ReLUs
STD = 0.02  # of the first weights


@torch.no_grad()
def normal_initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), gains of batch norms N(1, 0.02), biases 0 (as PyTorch's example)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, STD)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, STD)
        if (bias := getattr(layer, "bias", None)) is not None:
            nn.init.zeros_(bias)


class DCGAN(Backbone):
    """`depth` convolutions of stride 2, `kernel` 4 or 5; `width` multiplies the channels."""

    MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # [0, 1] -> [-1, 1]

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        depth: int = 4,
        norm: str | None = "batch",
        kernel: int = 4,
    ) -> None:
        super().__init__(in_channels, num_classes)
        one_of("norm", norm, None, "batch", "spectral")
        if not (isinstance(depth, int) and 1 <= depth <= 8):
            raise UserError(f"dcgan's depth is a whole number from 1 to 8, not {depth}.")
        if kernel not in (4, 5):
            raise UserError(f"dcgan's kernel is 4 or 5, not {kernel}.")
        before = in_channels
        for number in range(1, depth + 1):
            out = scaled(64 * 2 ** (number - 1), width)
            conv = nn.Conv2d(before, out, kernel, 2, (kernel - 1) // 2, bias=norm != "batch")
            self.add_module(f"conv{number}", conv)
            if norm == "batch" and number > 1:
                self.add_module(f"norm{number}", nn.BatchNorm2d(out))
            self.add_module(f"relu{number}", nn.LeakyReLU(SLOPE))
            before = out
        if norm == "spectral":
            he_initialise(self)
            for layer in self.children():
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)
        else:
            normal_initialise(self)
        self._finish()

    def translate(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first layer's singular vector for other channels, as long as keeps what it gives."""
        layer = "conv1.parametrizations.weight."
        names = [layer + name for name in ("original", "0._u", "0._v")]
        if self.in_channels != 3 and all(name in found for name in names):
            weight, u, v = (found[name].float() for name in names)
            if weight.dim() == 4 and weight.shape[1] == 3:
                other = of_channels(weight, self.in_channels).flatten(1)
                towards = F.normalize(u @ other, dim=0)
                scale = (u @ weight.flatten(1) @ v) / (u @ other @ towards)
                found = {**found, names[2]: scale * towards}
        return found
