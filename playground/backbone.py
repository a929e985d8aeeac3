"""The one CNN contract, its families, and how weights get in.

Tensors in: float NCHW in [0, 1] (a normalisation that published weights expect lives inside the
backbone); `to_unit` makes them from uint8. Tensors out: `forward` the last map (B, C, h, w),
`features` the named layers, `classify` logits (B, num_classes).

A family is a sequence of named stages run in order; stopping early, channels, strides, sizes and
the classifier all follow from it, so that no task needs a special case.

Families, their layers and their sources:
    nature  conv1 relu1 conv2 relu2 conv3 relu3
            Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods.
    impala  conv1 pool1 block1_1 block1_2 conv2 pool2 ... block3_2 relu
            Espeholt et al. 2018, "IMPALA", figure 3 (right); norm="spectral" as in
            Clark et al. 2024, "Beyond the Rainbow".

Departs from the papers: PyTorch's default initialisation (uniform by fan-in) in both; in impala
`width` multiplies the channels 16, 32, 32, and norm="layer" is an option of our own.
"""

import copy
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from playground.errors import UserError, nearest

Stage = Callable[[Tensor], Tensor]


def to_unit(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (B, C, H, W) in 0..255 -> `dtype` in [0, 1], same shape, channels_last."""
    if x.dtype != torch.uint8:
        raise TypeError(f"to_unit takes uint8 pictures, not {x.dtype}.")
    # Interleaving while the pixels are still bytes moves a quarter of the memory: twice as fast on
    # a CPU core as `x.to(dtype, memory_format=torch.channels_last)`. The stack is (B, H, W, C);
    # seen as (B, C, H, W) it is channels_last already.
    interleaved = torch.stack(x.unbind(1), dim=-1).permute(0, 3, 1, 2)
    return interleaved.to(dtype).div_(255)


class Backbone(nn.Module):
    """Named stages run in order. A family defines `stages` and calls `_finish` once built.

    `channels` and `strides` map each layer's name to its channel count and to the input pixels
    between two of its neighbours; `out_channels` belongs to the last layer.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        if in_channels < 1 or num_classes < 0:
            raise UserError("A backbone needs in_channels >= 1 and num_classes >= 0.")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}

    def stages(self) -> Iterable[tuple[str, Stage]]:
        """(layer name, function of the layer before) in the order in which they run."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, in_channels, H, W) in [0, 1] -> the last map (B, out_channels, h, w)."""
        for _, stage in self.stages():
            x = stage(x)
        return x

    def features(self, x: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The named layers (all by default) in running order; nothing deeper is computed."""
        wanted = set(self.channels if names is None else names)
        for name in wanted - self.channels.keys():
            raise UserError(f"No layer '{name}' here.{nearest(name, self.channels)}")
        found: dict[str, Tensor] = {}
        for name, stage in self.stages():
            if len(found) == len(wanted):
                break
            x = stage(x)
            if name in wanted:
                found[name] = x
        return found

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes): global average pool of the last map, then one linear layer."""
        if not self.num_classes:
            raise UserError("This backbone has no classifier; create it with num_classes > 0.")
        return self.fc(self(x).mean((2, 3)))  # (B, C, h, w) -> (B, C) -> (B, num_classes)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the last map for an input of (height, width) pixels."""
        *_, last = self._shapes(height, width).values()
        return last[2], last[3]

    def _finish(self) -> None:
        """Add the classifier and measure the layers' channels and strides."""
        near, far = self._shapes(1024, 1024), self._shapes(2048, 2048)
        self.channels = {name: shape[1] for name, shape in near.items()}
        self.strides = {name: 1024 // (far[name][2] - near[name][2]) for name in near}
        self.out_channels = list(self.channels.values())[-1]
        if self.num_classes:
            self.fc = nn.Linear(self.out_channels, self.num_classes)

    @torch.no_grad()
    def _shapes(self, height: int, width: int) -> dict[str, torch.Size]:
        """Each layer's output shape, from a run without numbers (PyTorch's meta device)."""
        tensors = [*self.parameters(), *self.buffers()]
        ghost = copy.deepcopy(self, {id(t): t.detach().to("meta") for t in tensors}).eval()
        x = torch.empty(1, self.in_channels, height, width, device="meta")
        shapes: dict[str, torch.Size] = {}
        try:
            for name, stage in ghost.stages():
                x = stage(x)
                shapes[name] = x.shape
        except RuntimeError as error:
            raise UserError(f"{height}x{width} pixels are too few for this backbone.") from error
        return shapes


class Nature(Backbone):
    """Three plain convolutions (Mnih et al. 2015); 84x84 in gives 64x7x7 out at width 1."""

    def __init__(self, in_channels: int = 3, num_classes: int = 0, width: float = 1.0) -> None:
        super().__init__(in_channels, num_classes)
        if width <= 0:
            raise UserError(f"width multiplies the channels and must be above 0, not {width}.")
        narrow, wide = max(1, round(32 * width)), max(1, round(64 * width))
        self.conv1 = nn.Conv2d(in_channels, narrow, 8, 4)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(narrow, wide, 4, 2)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(wide, wide, 3)
        self.relu3 = nn.ReLU()
        self._finish()

    def stages(self) -> Iterable[tuple[str, Stage]]:
        """See Backbone.stages."""
        return (
            ("conv1", self.conv1),
            ("relu1", self.relu1),
            ("conv2", self.conv2),
            ("relu2", self.relu2),
            ("conv3", self.conv3),
            ("relu3", self.relu3),
        )


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), (B, C, h, w) -> the same shape (Espeholt et al. 2018)."""

    def __init__(self, channels: int, norm: str | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # One group is a LayerNorm over (C, h, w) that does not depend on the picture's size.
        self.norm1 = nn.GroupNorm(1, channels) if norm == "layer" else nn.Identity()
        self.norm2 = nn.GroupNorm(1, channels) if norm == "layer" else nn.Identity()
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
        if width < 1 or width != int(width):
            raise UserError(f"impala's width is a whole number from 1, not {width}.")
        if norm not in (None, "layer", "spectral"):
            raise UserError(f"impala's norm is none, 'layer' or 'spectral', not '{norm}'.")
        before = in_channels
        for section, base in enumerate((16, 32, 32), start=1):
            channels = base * int(width)
            self.add_module(f"conv{section}", nn.Conv2d(before, channels, 3, padding=1))
            self.add_module(f"pool{section}", nn.MaxPool2d(3, 2, padding=1))
            self.add_module(f"block{section}_1", ResidualBlock(channels, norm))
            self.add_module(f"block{section}_2", ResidualBlock(channels, norm))
            before = channels
        self.relu = nn.ReLU()
        self._finish()

    def stages(self) -> Iterable[tuple[str, Stage]]:
        """See Backbone.stages."""
        return [(name, child) for name, child in self.named_children() if name != "fc"]


FAMILIES: dict[str, type[Backbone]] = {"nature": Nature, "impala": Impala}


def create(
    name: str,
    in_channels: int = 3,
    num_classes: int = 0,
    weights: str | Path | None = None,
    **options: Any,
) -> Backbone:
    """A backbone by family name; `weights` is a local .safetensors file. See the module's top.

    Raises UserError for an unknown family or option and for weights of another architecture.
    """
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"No backbone '{name}'.{nearest(name, FAMILIES)} There are: {known}.")
    family = FAMILIES[name]
    for option in options.keys() - inspect.signature(family).parameters.keys():
        raise UserError(f"The backbone '{name}' has no option '{option}'.")
    backbone = family(in_channels, num_classes, **options)
    if weights is not None:
        load_weights(backbone, Path(weights))
    return backbone


def load_weights(module: nn.Module, path: Path) -> None:
    """Copy a safetensors file into `module`, or raise a UserError and leave it untouched.

    Keys and shapes must match, save for the classifier `fc`: a file made without one fits.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read weights from {path}: {error}.") from error
    own = module.state_dict()
    missing = [key for key in own if key not in found and not key.startswith("fc.")]
    unexpected = [key for key in found if key not in own and not key.startswith("fc.")]
    reshaped = [
        f"{key} is {tuple(found[key].shape)} in the file, {tuple(own[key].shape)} here"
        for key in own
        if key in found and found[key].shape != own[key].shape
    ]
    wrong = [
        f"{what}: {', '.join(keys[:4])}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("shapes", reshaped))
        if keys
    ]
    if wrong:
        raise UserError(f"{path} holds weights of another architecture ({'; '.join(wrong)}).")
    module.load_state_dict(found | {key: own[key] for key in own if key not in found}, strict=False)
