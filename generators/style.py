"""Pictures painted in the style of others, by optimising the picture itself.

    from generators.style import stylize
    picture = stylize("photo.jpg", "starry_night.jpg", size=512)    # (3, H, W), float in [0, 1]

`load` gives a trained painter, which needs one forward instead (see `painter`).

A picture is a task of the shared trainer like any other, its only parameter the pixels; each scale
of a painting is one training, and all of them write into one run.

Source of the preset `gatys2015`: Gatys, Ecker and Bethge 2015, "A Neural Algorithm of Artistic
Style", arXiv 1508.06576: VGG-19's relu1_1 ... relu5_1 for style and relu4_2 for content, average
pooling ("slightly more appealing results"), from white noise; and for what it leaves open, their
paper of 2016, "Image Style Transfer Using Convolutional Neural Networks", and the code that they
published with it (github.com/leongatys/PytorchNeuralStyleTransfer): L-BFGS, 500 iterations, a
network scaled to a mean activation of 1, and the weights 1 for content and 1000 / N^2 for style.

Departs from the paper: its weights (alpha / beta of 1e-3 or 1e-4) belong to Caffe's activations and
to a content loss that grows with the picture, so that those of the later code are used, on means
over positions; layers, not filters, are scaled to a mean of 1, over the pictures at hand; borders
are padded by the nearest pixels instead of zeros, which leave a frame.

The preset `best` paints from coarse to fine by Adam, each scale from the average of the last one's
iterates, its moments and the content's finer detail, and matches means and covariances instead of
Gram matrices (ideas of crowsonkb's style-transfer-pytorch, except for the detail and for patches of
pixels as a layer). What was measured, on four pairs at 256 px, 20 s each on one busy core, judged
by a network that was not optimised: at equal content about half of the style loss of the above from
the photo. L-BFGS in Adam's place was as good, but needs the memory of many pictures; averaging of
iterates, longer memories and a falling learning rate changed nothing that could be told from noise;
average pooling changed no figure, but faces, edges and speckles for the better.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from generators import style_easel as easel
from generators.painter import load
from generators.style_easel import LEAST_PX, Easel, find_backbone, scales, several
from generators.style_losses import POOLINGS, STATISTICS, StyleNetwork
from generators.style_painting import Painting, brightness
from playground import device, signals
from playground.checkpoint import rng_state, set_rng_state
from playground.config import setting, to_json, validate
from playground.errors import UserError, nearest
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

__all__ = ["PRESETS", "TRAINER", "Painted", "Painting", "StyleConfig", "load", "paint", "stylize"]


@dataclass(frozen=True)
class StyleConfig:
    """Everything that decides how a picture is painted. Defaults are the preset ``best``."""

    size: int | None = setting(512, "longer side of the painting (none: the content's)", "px")
    backbone: str | None = setting(None, "whose features count (none: VGG-19, or what is here)")
    weights: str | None = setting(None, "its weights: imagenet, what ships, or a file")
    style_layers: tuple[str, ...] = setting((), "layers for style (none given: by family)")
    content_layers: tuple[str, ...] = setting((), "layers for content (none given: by family)")
    pixels: bool = setting(True, "patches of the picture are a layer for style, too")
    pooling: str = setting("average", "of the backbone", choices=POOLINGS)
    statistics: str = setting("wasserstein", "what style is", choices=tuple(STATISTICS))
    optimizer: str = setting("adam", "how the picture changes", choices=("adam", "lbfgs"))
    iterations: int = setting(250, "at the coarsest scale", "iterations")
    shrink: float = setting(0.75, "iterations at a scale, of those at the next coarser one")
    learning_rate: float = setting(0.05, "Adam's, in units of the whole range of a pixel")
    average: float | None = setting(0.99, "decay of the iterates' average (none: the last one)")
    coarsest: int | None = setting(128, "longer side at first, growing by √2 (none: one scale)",
                                   "px")  # fmt: skip
    content_weight: float = setting(0.05, "of the content, the style's being 1")
    variation_weight: float = setting(0.0, "of differences between neighbouring pixels")
    style_scale: float = setting(1.0, "longer side of the style pictures, times the painting's")
    start: str = setting("content", "the first picture", choices=("content", "noise"))
    keep_colors: bool = setting(False, "the content's colours, the style's brightness")
    tile: int | None = setting(None, "paint in tiles of this side (none: where memory asks for it)",
                               "px")  # fmt: skip
    seconds: float | None = setting(None, "paint for so long instead of so many iterations",
                                    "seconds")  # fmt: skip
    seed: int = setting(0, "of the noise")

    def check(self) -> None:
        """UserError for what no painting can use."""
        for name in ("size", "coarsest", "tile"):
            value = getattr(self, name)
            if value is not None and value < LEAST_PX:
                raise UserError(f"--{name} starts at {LEAST_PX} px, not {value}.")
        for name in ("iterations", "shrink", "learning_rate", "style_scale", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0, not {value}.")
        for name in ("content_weight", "variation_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative.")
        if self.average is not None and not 0 <= self.average < 1:
            raise UserError(f"--average is a decay from 0 to below 1, not {self.average}.")


BEST = StyleConfig()
GATYS2015 = replace(
    BEST, pixels=False, statistics="gram", optimizer="lbfgs", iterations=500,
    average=None, coarsest=None, content_weight=1.0, start="noise",
)  # fmt: skip
PRESETS = {"best": BEST, "gatys2015": GATYS2015}
# Pictures are no networks: fp32 is measured to nothing, and nothing is saved on the way.
TRAINER = TrainerConfig(precision="fp32", checkpoint_minutes=None, log_seconds=2.0, keep=1)


# ---------------------------------------------------------------- painting


@dataclass(frozen=True)
class Painted:
    """What came of it: the picture (3, H, W), float in [0, 1] on the CPU; its losses."""

    picture: Tensor
    figures: dict[str, float]
    iterations: int
    reason: str  # why it ended: "done", "interrupted" or "stopped"
    backbone: str


def stylize(
    content: Any,
    style: Any,
    masks: Any = None,
    style_weights: Sequence[float] | None = None,
    preset: str = "best",
    **settings: Any,
) -> Tensor:
    """`content` painted in the style of `style`: (3, H, W), float in [0, 1].

    Args:
        content: a picture file's path, a uint8 array (H, W, C) or a float tensor (1, C, H, W) or
            (C, H, W) in [0, 1]; grey ones too.
        style: one such picture, or a list of them, which are blended.
        masks: a picture for each style, of any size: white where that style shall be.
        style_weights: a number for each style; equal ones by default.
        preset: of PRESETS, to start from.
        settings: fields of StyleConfig, and of TrainerConfig (device, threads, precision).

    Raises UserError for pictures that cannot be read or are too small, settings out of range, an
    unknown backbone or layer, and too little memory.
    """
    if preset not in PRESETS:
        raise UserError(f"No preset '{preset}'.{nearest(preset, PRESETS)}")
    own = to_json(BEST)
    config = replace(PRESETS[preset], **{k: v for k, v in settings.items() if k in own})
    others = {k: v for k, v in settings.items() if k not in own}
    known = to_json(TRAINER)
    for name in others.keys() - known.keys():
        raise UserError(f"There is no setting '{name}'.{nearest(name, [*own, *known])}")
    trainer = replace(TRAINER, **others)
    return paint(content, style, masks, style_weights, config, trainer).picture


def paint(
    content: Any,
    style: Any,
    masks: Any = None,
    style_weights: Sequence[float] | None = None,
    config: StyleConfig = BEST,
    trainer: TrainerConfig = TRAINER,
    run: Run | None = None,
    watch: Callable[[Painting], bool | None] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Painted:
    """As `stylize`, with what a command line wants beside the picture.

    Args:
        run: where losses and the last scale's state are kept; by default nowhere.
        watch: gets the `Painting` after each iteration; False ends the painting.
        report: gets each progress line of the trainer, with "scale", "scales", "width", "height".
        say: a sentence for the user.

    Ctrl-C ends the painting with the picture so far.
    """
    validate(config)
    validate(trainer)
    if trainer.precision == "fp16":  # a pixel's slope is more than it holds
        raise UserError("A painting's slopes overflow fp16: use --precision bf16 or fp32.")
    rng = rng_state()
    where = device.find(trainer.device)
    photo = easel.picture(content, "The content").to(where)
    styles = [easel.picture(each, "A style").to(where) for each in several(style)]
    weights, maps = _weights(len(styles), style_weights), _masks(masks, len(styles))
    name, backbone = find_backbone(config.backbone, config.weights, say)
    network = StyleNetwork(
        backbone.to(where),
        config.style_layers,
        config.content_layers,
        config.pooling,
        config.pixels,
    )
    sizes = scales(photo.shape[2], photo.shape[3], config.size, config.coarsest)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.callback(set_rng_state, rng)
        seed_everything(config.seed)
        stack.enter_context(_memory_said(sizes[-1]))
        maps = [each.to(where) for each in maps]
        ready = Easel(network, photo, styles, weights, maps, config)
        _check_memory(ready, sizes[-1])
        kept = run or Run.unkept("paint")
        painting, reason = _paint(ready, sizes, began, trainer, kept, watch, report)
        painting.optimizers.clear()  # moments, as large as the picture that is now made of it
        figures = {key: float(value) for key, value in painting.figures.items()}
        return Painted(painting.shown().cpu(), figures, painting.progress, reason, name)


def _paint(
    ready: Easel,
    sizes: Sequence[tuple[int, int]],
    began: float,
    trainer: TrainerConfig,
    run: Run,
    watch: Callable[[Painting], bool | None] | None,
    report: Callable[[dict[str, Any]], None] | None,
) -> tuple[Painting, str]:
    """Each scale's training in turn: (the last one's task, why it ended)."""
    config = ready.config
    counts = [max(1, round(config.iterations * config.shrink**i)) for i in range(len(sizes))]
    work = [n * height * width for n, (height, width) in zip(counts, sizes, strict=True)]
    painting: Painting | None = None
    asked = False

    def ask() -> str:
        nonlocal asked
        asked = True
        return "Interrupted: ending with the picture so far; once more breaks off."

    with signals.caught(ask):  # the trainer does so only while it trains
        for number, size in enumerate(sizes):
            painting = ready.task(size, painting, watch)
            settings = replace(
                trainer, steps=painting.progress + counts[number], ema=config.average
            )
            if config.seconds is not None:
                left = max(0.001, config.seconds - (time.monotonic() - began))
                hours = left * work[number] / sum(work[number:]) / 3600
                settings = replace(settings, steps=None, hours=hours)
            about = {"scale": number + 1, "scales": len(sizes), "size": size}
            reason = _train(painting, settings, run, report, about)
            if asked or reason != "done":
                break
    assert painting is not None
    return painting, "interrupted" if asked else reason


def _train(
    painting: Painting,
    settings: TrainerConfig,
    run: Run,
    report: Callable[[dict[str, Any]], None] | None,
    about: dict[str, Any],
) -> str:
    """One scale; its picture is then the average. Why it ended."""

    def tell(line: dict[str, Any]) -> None:
        if report and "score" not in line:
            report({**line, **about})

    training = Trainer(settings, painting, run, tell)
    outcome = training.fit()
    with training.updates.averaged():
        average = painting.picture.detach().clone()
    painting.picture.data = average
    return "done" if outcome.reason in ("steps", "hours") else outcome.reason


def _weights(count: int, given: Sequence[float] | None) -> list[float]:
    """A number for each style."""
    weights = [1.0] * count if given is None else [float(weight) for weight in given]
    if not count:
        raise UserError("There is no style to paint in.")
    if len(weights) != count:
        raise UserError(f"There are {count} styles, but {len(weights)} weights.")
    if not all(0 < weight < math.inf for weight in weights):
        raise UserError("A style's weight must be above 0; leave the others out.")
    return weights


def _masks(given: Any, count: int) -> list[Tensor]:
    """(1, 1, h, w) for each style, or none."""
    masks = [] if given is None else [easel.picture(mask, "A mask") for mask in several(given)]
    if masks and len(masks) != count:
        raise UserError(f"There are {count} styles, but {len(masks)} masks: each style needs one.")
    return [brightness(mask.expand(-1, 3, -1, -1)) for mask in masks]


@contextlib.contextmanager
def _memory_said(size: tuple[int, int]) -> Iterator[None]:
    """Running out of memory in one sentence (UserError) that says what to try."""
    try:
        with device.limits_said():
            yield
    except UserError as error:
        if not str(error).startswith("Out of memory"):
            raise
        height, width = size
        raise UserError(
            f"Out of memory at {width}x{height} pixels: try --size {max(size) // 2}, or smaller "
            "tiles, such as --tile 256."
        ) from error


def _check_memory(ready: Easel, size: tuple[int, int]) -> None:
    """UserError, before anything is begun, for a size that cannot fit even in tiles."""
    free, (fixed, each) = device.available_memory(ready.content.device), ready.needed()
    pixels = size[0] * size[1]
    if free is not None and fixed + pixels * each > free:
        factor = math.sqrt(max(0.0, free - fixed) / (pixels * each))
        longer = int(max(size) * factor) // 10 * 10
        raise UserError(
            f"A painting of {size[1]}x{size[0]} pixels takes {(fixed + pixels * each) / 1e9:.1f} "
            f"GB even in tiles, and {free / 1e9:.1f} GB are free: try --size "
            f"{max(longer, LEAST_PX)}."
        )
