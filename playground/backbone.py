"""The one CNN contract: named layers, logits, freezing, layer groups, and how weights get in.

Tensors in: float NCHW in [0, 1] (a normalisation that published weights expect lives inside the
backbone); `to_unit` makes them from uint8. Tensors out: `forward` the last map (B, C, h, w),
`features` the named layers, `logits` and `classify` (B, num_classes).

A family is a module whose children are its layers in running order, and last its head. Stopping
early, channels, strides, sizes, freezing and layer groups all follow from that, so that no task
needs a special case. The families live in `playground.backbones`, each with its source:

    nature impala                                       atari
    deepconv alexnet vgg16 vgg19 vgg19_slim16           plain
    googlenet                                           googlenet
    resnet18 resnet34 resnet50                          resnet
    squeezenet mobilenet_v2                             mobile
    arcade                                              arcade
    dcgan                                               dcgan

`state_dict` has torchvision's keys where torchvision has the family. Where torchvision numbers the
layers of one sequence ("features.10.weight"), parameters keep the layer's name ("conv3_1.weight")
and only the keys of the state are translated; it is loaded under either.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from playground.errors import UserError, nearest
from playground.weights import find, load_weights

Stage = nn.Module


def to_unit(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (B, C, H, W) in 0..255 -> `dtype` in [0, 1], same shape, channels_last."""
    if x.dtype != torch.uint8:
        raise TypeError(f"to_unit takes uint8 pictures, not {x.dtype}.")
    # Interleaving while the pixels are still bytes moves a quarter of the memory: twice as fast on
    # a CPU core as `x.to(dtype, memory_format=torch.channels_last)`. The stack is (B, H, W, C);
    # seen as (B, C, H, W) it is channels_last already.
    interleaved = torch.stack(x.unbind(1), dim=-1).permute(0, 3, 1, 2)
    return interleaved.to(dtype).div_(255)


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What autocast would make of these floats; None where it is off."""
    kind = x.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def full_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A block without autocast on a tensor's device, where it is on."""
    if autocast_dtype(x) is None:  # the meta device has none
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def he_initialise(module: nn.Module) -> None:
    """Convolutions and linear layers: N(0, 2 / fan_in) and zero biases (He et al. 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def above_0(option: str, value: Any) -> None:
    """UserError unless the option's value is a finite number above 0."""
    if not is_number(value) or not 0 < value < math.inf:
        raise UserError(f"A backbone's {option} must be above 0, not {value}.")


def whole(option: str, value: Any) -> int:
    """The option's value; UserError unless it is a whole number from 1."""
    above_0(option, value)
    if value != int(value):
        raise UserError(f"A backbone's {option} is a whole number from 1, not {value}.")
    return int(value)


def is_number(value: Any) -> bool:
    """Whether an option's value is one; "true" on a command line is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, at least 1; UserError unless `width` is above 0."""
    above_0("width", width)
    return max(1, round(channels * width))


def one_of(option: str, value: str | None, *allowed: str | None) -> None:
    """UserError unless the option's value is one of those."""
    if value not in allowed:
        names = " or ".join("none" if name is None else f"'{name}'" for name in allowed)
        raise UserError(f"A backbone's {option} is {names} here, not '{value}'.")


def is_small(stem: str) -> bool:
    """Whether a family's stem is the "small" one, for pictures of 28 to 64 pixels.

    UserError unless it is that or "imagenet".
    """
    one_of("stem", stem, "imagenet", "small")
    return stem == "small"


class Backbone(nn.Module):
    """Named layers run in order. A family adds its layers, then its head, and calls `_finish`.

    `channels` and `strides` map each layer's name to its channel count and to the input pixels
    between two of its neighbours; `out_channels` belongs to the last layer.
    """

    HEAD = "fc"  # the child that makes logits; absent where num_classes is 0
    MEAN: tuple[float, ...] | None = None  # of RGB in [0, 1], taken off pictures inside; then they
    STD: tuple[float, ...] = (1.0, 1.0, 1.0)  # are divided by these. For other channels: averages
    PUBLISHED: str | None = None  # the sequence that holds the layers in torchvision's state dict

    mean: Tensor | None
    std: Tensor

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        if in_channels < 1 or num_classes < 0:
            raise UserError("A backbone needs in_channels >= 1 and num_classes >= 0.")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        self.frozen: str | None = None  # the deepest layer that does not train
        for name, values in (("mean", self.MEAN), ("std", self.STD)):
            tensor = None if self.MEAN is None else torch.tensor(values).view(1, -1, 1, 1)
            if tensor is not None and in_channels != 3:
                tensor = tensor.mean(1, keepdim=True)
            self.register_buffer(name, tensor, persistent=False)

    def stages(self) -> Iterable[tuple[str, Stage]]:
        """(layer name, function of the layer before) in the order in which they run."""
        return [(name, child) for name, child in self.named_children() if name != self.HEAD]

    def check_layer(self, name: str) -> None:
        """UserError for a name that no layer has."""
        if name not in self.channels:
            raise UserError(
                f"No layer '{name}' here.{nearest(name, self.channels)} "
                f"There are {', '.join(self.channels)}."
            )

    def forward(self, x: Tensor) -> Tensor:
        """Float (B, in_channels, H, W) in [0, 1] -> the last map (B, out_channels, h, w).

        Pictures of another float type than the weights' are normalised as they come, then cast.
        """
        x = self._normalised(x)
        for _, stage in self.stages():
            x = stage(x)
        return x

    def features(self, x: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The named layers (all by default) in running order; nothing deeper is computed."""
        wanted = set(self.channels if names is None else names)
        for name in wanted:
            self.check_layer(name)
        found: dict[str, Tensor] = {}
        x = self._normalised(x)
        for name, stage in self.stages():
            if len(found) == len(wanted):
                break
            x = stage(x)
            if name in wanted:
                found[name] = x
        return found

    def classify(self, x: Tensor) -> Tensor:
        """Float (B, in_channels, H, W) in [0, 1] -> logits (B, num_classes)."""
        return self.logits(self(x))

    def logits(self, last: Tensor) -> Tensor:
        """The last map (B, out_channels, h, w) -> logits (B, num_classes); UserError without head.

        A family's own where it has one, else a global average pool and one linear layer.
        """
        if not self.num_classes:
            raise UserError("This backbone has no classifier; create it with num_classes > 0.")
        return self._head(last)

    def _head(self, last: Tensor) -> Tensor:
        return self.fc(last.mean((2, 3)))  # (B, C, h, w) -> (B, C) -> (B, num_classes)

    def head_parameters(self) -> list[nn.Parameter]:
        """The classifier's; none without one."""
        return list(getattr(self, self.HEAD).parameters()) if self.num_classes else []

    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """(layer name, parameters) from shallow to deep, last the head: each parameter once.

        For learning rates by layer. Normalisations belong to the layer that they follow.
        """
        groups: list[tuple[str, list[nn.Parameter]]] = []
        for name, stage in self.stages():
            parameters = list(stage.parameters())
            if isinstance(stage, nn.BatchNorm2d | nn.GroupNorm) and groups:
                groups[-1][1].extend(parameters)
            elif parameters:
                groups.append((name, parameters))
        if self.num_classes:
            groups.append((self.HEAD, self.head_parameters()))
        return groups

    def freeze(self, upto: str | None) -> None:
        """Stop training the layer `upto` and all before it; None lets all layers train.

        Frozen layers also stay in evaluation mode, whatever `train()` says: batch normalisation
        uses and keeps the statistics that it came with.
        """
        if upto is not None:
            self.check_layer(upto)
        self.frozen = upto
        for _, stage in self.stages():
            stage.requires_grad_()
        for stage in self._frozen():
            stage.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode for what is not frozen; see `freeze`."""
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        return self

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the last map for an input of (height, width) pixels."""
        *_, last = self._shapes(height, width).values()
        return last[2], last[3]

    def translate(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """A published state in this family's keys and shapes; what is known already stays."""
        return found

    def _finish(self) -> None:
        """Measure the layers' channels and strides; add the linear classifier if there is none."""
        side = 2**14  # so large that what borders take is nothing beside it
        shapes = self._shapes(side, side)
        self.channels = {name: shape[1] for name, shape in shapes.items()}
        self.strides = {name: round(side / shape[2]) for name, shape in shapes.items()}
        self.out_channels = list(self.channels.values())[-1]
        if self.num_classes and not hasattr(self, self.HEAD):
            self.fc = nn.Linear(self.out_channels, self.num_classes)
        if self.PUBLISHED:
            self.register_state_dict_post_hook(_publish)
            self.register_load_state_dict_pre_hook(_unpublish)

    def _normalised(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise TypeError(f"Backbones take floats in [0, 1]; make them of {x.dtype} by to_unit.")
        if self.mean is not None:
            x = (x - self.mean) / self.std
        if x.dtype == autocast_dtype(x):
            return x  # what the first layer would make of it anyway
        return x.to(next(self.parameters()).dtype)

    def _frozen(self) -> Iterator[Stage]:
        if self.frozen is not None:
            for name, stage in self.stages():
                yield stage
                if name == self.frozen:
                    break

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


class ImageNetBackbone(Backbone):
    """A family whose published weights want RGB normalised by ImageNet's mean and deviation."""

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's


def _published(backbone: Backbone, prefix: str) -> dict[str, str]:
    """{"<prefix>conv1_1": "<prefix>features.0", ...}: names here and in torchvision's state."""
    return {
        prefix + name: f"{prefix}{backbone.PUBLISHED}.{index}"
        for index, (name, _) in enumerate(backbone.stages())
    }


def _rename(state: dict[str, Any], names: dict[str, str]) -> None:
    """Replace, in place and in order, the keys' beginnings that are in `names` (whole parts)."""
    for key in list(state):
        layer = next((name for name in names if key.startswith(name + ".")), None)
        new = key if layer is None else names[layer] + key[len(layer) :]
        state[new] = state.pop(key)


def _publish(backbone: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    _rename(state, _published(backbone, prefix))


def _unpublish(backbone: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    names = _published(backbone, prefix)
    _rename(state, {theirs: ours for ours, theirs in names.items()})


def families() -> dict[str, Callable[..., Backbone]]:
    """Each family's class by name."""
    # Imported here, for the families are built on this module.
    from playground.backbones import arcade, atari, dcgan, googlenet, mobile, plain, resnet

    return {
        "nature": atari.Nature,
        "impala": atari.Impala,
        "deepconv": plain.DeepConv,
        "alexnet": plain.AlexNet,
        "vgg16": plain.VGG16,
        "vgg19": plain.VGG19,
        "vgg19_slim16": plain.VGG19Slim16,
        "googlenet": googlenet.GoogLeNet,
        "resnet18": resnet.ResNet18,
        "resnet34": resnet.ResNet34,
        "resnet50": resnet.ResNet50,
        "squeezenet": mobile.SqueezeNet,
        "mobilenet_v2": mobile.MobileNetV2,
        "arcade": arcade.Arcade,
        "dcgan": dcgan.DCGAN,
    }


def create(
    name: str,
    in_channels: int = 3,
    num_classes: int = 0,
    weights: str | Path | None = None,
    **options: Any,
) -> Backbone:
    """A backbone by family name, in training mode.

    Args:
        name: a family; see the module's top. Its class tells its options.
        in_channels: of the pictures. Weights for RGB are adapted to other numbers.
        num_classes: of the classifier; 0 for none.
        weights: "imagenet" (downloaded once; see `playground.weights`), a name of what ships in
            playground/zoo, or a local file (.safetensors, .pth); None initialises at random. A
            classifier of another size than theirs starts at random, as a line on stderr says.
        options: the family's own.

    Raises UserError for an unknown family or option, and for weights that are damaged or of
    another architecture.
    """
    known = families()
    if name not in known:
        raise UserError(
            f"No backbone '{name}'.{nearest(name, known)} There are: {', '.join(known)}."
        )
    family = known[name]
    for option in options.keys() - inspect.signature(family).parameters.keys():
        raise UserError(f"The backbone '{name}' has no option '{option}'.")
    backbone = family(in_channels, num_classes, **options)
    if weights is not None:
        load_weights(backbone, find(name, weights))
    return backbone
