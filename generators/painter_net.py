"""The feed-forward painter's network: pictures and a mixture of styles in, paintings out.

All convolutions are shared by all styles; a style is nothing but the gains and shifts of the
normalisations between them, so that styles are blended by blending these numbers.

Sources: Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution" (residual blocks at stride 4); Dumoulin, Shlens and Kudlur 2017, "A Learned
Representation for Artistic Style" (conditional instance normalisation; enlarging before convolving
instead of transposed convolutions, which leave checkerboards; borders that mirror the inside).

Departs from these: 16 and 48 channels instead of 32 to 128, a stem of stride 2 instead of 9x9
convolutions on all pixels, and a way around the residual blocks at stride 2, which together make it
real-time on a CPU; bilinear enlarging of softened maps instead of nearest pixels, which show as
steps, and leave room for checkerboards, which styles' statistics take for strokes; and it paints on
a grained canvas. A network that sees nothing but the picture can put strokes on a flat
background only by what lies far away, a ball for instance, and then they move when the ball does.
Grain, noise that belongs to a place and never changes, is something that strokes can hold on to.

And it holds its normalisations' statistics from frame to frame (`Held`). With those of each frame
by itself, whatever moves changes the mean and the variance of the whole picture, and with them all
of its colours: a painting flickers most where nothing happens. Nearly constant statistics end that
by construction, and leave to the training what is near to what moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4  # of the residual blocks, in pixels
GRAIN = (2, 2, 4, 8)  # the canvas: how many such cells each channel's noise takes to change
GRAIN_SEED = 1888
EPSILON = 1e-5  # added to variances in normalisations


@dataclass(frozen=True)
class Plan:
    """What a painter's network is made of; all of it is plain JSON."""

    styles: tuple[str, ...]
    width: int  # channels at stride 4
    narrow: int  # channels at stride 2
    blocks: int

    def build(self) -> PainterNet:
        """The network, at its first weights."""
        return PainterNet(len(self.styles), self.width, self.narrow, self.blocks)


class Held:
    """Means and variances of a network's normalisations, held from one painting to the next.

    The first painting is as without; later ones are made with what was held, into which their own
    statistics enter with `share`, 0 to 1.
    """

    def __init__(self, share: float = 0.0) -> None:
        self.share = share
        self._known: dict[tuple[StyledNorm, int], tuple[Tensor, Tensor]] = {}

    def normalised(
        self, norm: StyledNorm, row: int, x: Tensor, gain: Tensor, shift: Tensor
    ) -> Tensor:
        """x (B, C, h, w), of which all pictures share the statistics number `row`."""
        if (norm, row) not in self._known:
            mean, variance = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
            found = F.batch_norm(x, mean, variance, gain, shift, True, 1.0, EPSILON)  # writes both
            count = x.numel() / x.shape[1]
            # It divides by the count, but what it writes was divided by one less.
            self._known[norm, row] = mean, variance * ((count - 1) / count)
            return found
        known = self._known[norm, row]
        if self.share:
            F.batch_norm(x, *known, None, None, True, self.share, EPSILON)
        return F.batch_norm(x, *known, gain, shift, False, 0.0, EPSILON)


class StyledNorm(nn.Module):
    """Instance normalisation whose gains and shifts are a mixture of the styles'."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.ones(styles, channels))
        self.shifts = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, mixture: Tensor, held: Held | None = None) -> Tensor:
        """(B, C, h, w), (B, styles) -> (B, C, h, w).

        With held statistics a mixture of a single row, (1, styles), is for all pictures together,
        which then share them.
        """
        gains, shifts = mixture @ self.gains, mixture @ self.shifts
        if held is not None:
            each = enumerate(x.chunk(len(mixture)))
            return torch.cat([held.normalised(self, i, x, gains[i], shifts[i]) for i, x in each])
        if x.device.type == "cpu":  # the same as below, in kernels that are several times faster
            each = enumerate(x.split(1))
            return torch.cat([
                F.batch_norm(one, None, None, gains[i], shifts[i], True, 0.0, EPSILON)
                for i, one in each
            ])  # fmt: skip
        x = F.instance_norm(x, eps=EPSILON)
        return torch.addcmul(shifts[..., None, None], x, gains[..., None, None])


def convolution(
    before: int,
    after: int,
    kernel: int,
    stride: int = 1,
    mode: Literal["reflect", "replicate"] = "reflect",
) -> nn.Conv2d:
    """Padded by what is inside, so that sides are divided by the stride; no bias."""
    padding = (kernel - stride) // 2
    return nn.Conv2d(before, after, kernel, stride, padding, padding_mode=mode, bias=False)


def doubled(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def softened(x: Tensor) -> Tensor:
    """Without what alternates from cell to cell, which enlarging would show as a grid.

    Binomial 3x3, whose response to it is 0 (Zhang 2019, "Making Convolutional Networks
    Shift-Invariant Again", blurs before it makes smaller for the same reason).
    """
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)


class Block(nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, width: int, styles: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(width, width, 3), StyledNorm(width, styles)
        self.conv2, self.norm2 = convolution(width, width, 3), StyledNorm(width, styles)

    def forward(self, x: Tensor, mixture: Tensor, held: Held | None = None) -> Tensor:
        """(B, C, h, w), (B, styles) -> (B, C, h, w)."""
        inner = F.relu(self.norm1(self.conv1(x), mixture, held))
        return x + self.norm2(self.conv2(inner), mixture, held)


class PainterNet(nn.Module):
    """See `Plan`. Pictures of any size from 16 pixels; paintings have the same."""

    def __init__(self, styles: int, width: int, narrow: int, blocks: int) -> None:
        super().__init__()
        self.stem, self.stem_norm = convolution(3, narrow, 6, 2), StyledNorm(narrow, styles)
        self.down, self.down_norm = convolution(narrow, width, 4, 2), StyledNorm(width, styles)
        self.canvas = convolution(len(GRAIN), width, 1)
        nn.init.zeros_(self.canvas.weight)  # else paintings begin, and end, without the picture
        self.blocks = nn.ModuleList(Block(width, styles) for _ in range(blocks))
        # Not mirrored: what lies at a border would have no slope across it, which shows as a line.
        self.up = convolution(width + narrow, narrow, 3, mode="replicate")
        self.up_norm = StyledNorm(narrow, styles)
        self.out = nn.Conv2d(narrow, 3, 3, padding=1, padding_mode="replicate")

    def forward(
        self, pictures: Tensor, mixture: Tensor, grain: Tensor, held: Held | None = None
    ) -> Tensor:
        """Float (B, 3, H, W) in [0, 1] -> the same, painted.

        Args:
            pictures: float (B, 3, H, W) in [0, 1].
            mixture: (B, styles), the share of each style; each row's sum is 1.
            grain: of the canvas, see `grain`: (B or 1, 4, ceil(H / 4), ceil(W / 4)).
            held: statistics of the frames before; see `StyledNorm`.
        """
        height, width = pictures.shape[2:]
        whole = F.pad(pictures, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        fine = F.relu(self.stem_norm(self.stem(whole * 2 - 1), mixture, held))  # stride 2
        coarse = self.down(fine) + self.canvas(grain)  # stride 4
        coarse = F.relu(self.down_norm(coarse, mixture, held))
        for block in self.blocks:
            coarse = block(coarse, mixture, held)
        both = torch.cat([doubled(softened(coarse)), fine], 1)
        fine = F.relu(self.up_norm(self.up(both), mixture, held))
        painted = torch.sigmoid(self.out(doubled(softened(fine))))
        return painted[:, :, :height, :width]


def grain(
    height: int,
    width: int,
    count: int = 1,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Canvases for pictures (count, 3, height, width): (count, channels, height / 4, width / 4).

    Normal numbers between which it is interpolated: as noise without neighbours it would show the
    cells of 4x4 pixels as a grid.
    """
    cells = -(-height // STRIDE), -(-width // STRIDE)
    channels = []
    for apart in GRAIN:
        shape = (count, 1, cells[0] // apart + 3, cells[1] // apart + 3)
        coarse = torch.randn(shape, generator=generator, device=device)
        fine = F.interpolate(coarse, scale_factor=float(apart), mode="bilinear")
        channels.append(fine[:, :, apart : apart + cells[0], apart : apart + cells[1]])
    return torch.cat(channels, 1)


def fixed_grain(height: int, width: int) -> Tensor:
    """The canvas (1, ...) that trained painters paint on: always the same for the same size."""
    return grain(height, width, 1, torch.Generator().manual_seed(GRAIN_SEED))


def one_hot(styles: Tensor, count: int) -> Tensor:
    """Numbers of styles (B,) int64 -> mixtures (B, count)."""
    return F.one_hot(styles, count).float()
