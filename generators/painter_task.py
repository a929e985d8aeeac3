"""The training task of the feed-forward painter: one network learns many styles.

Pairs of pictures come as `painter_data.Pairs`, paintings as files. One update paints the first
pictures of a batch, each in a style drawn by chance, and compares the paintings with the pictures
(content) and with the style's statistics, as `style_losses` measures them through a frozen
backbone; and with paintings of the second pictures, made as a film's next frame is, wherever the
pictures are the same (flicker).
What is saved, shown and scored is the average of the network's weights, where the trainer keeps
one.

Sources: Dumoulin, Shlens and Kudlur 2017, "A Learned Representation for Artistic Style" (one
network, many styles, and how one is added); for the flicker, the frame-difference loss, "Real-time
Neural Style Transfer for Videos" and its successors (arXiv 2102.05822 measures that it does as well
as one of optical flow).

Departs from the papers: the network (see `painter_net`); light and shade shall follow the picture's
(tone), or the little that there is in a flat background gets dark halos, which bring a style's
contrasts into the painting and dominate the normalisations; content is held at a shallow layer,
too; statistics are those of the preset `best`
of `style`, not Gram matrices (--statistics gram); the paintings of the second pictures are made
without gradients, which costs half as much; clips' two pictures are drawn in either order, so that
of theirs about half of the expected gradient is left, and no side of it is missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from generators.painter import TASK, Credit, Painter, copied, load
from generators.painter_data import Pairs, followers, painting_of, pictures_first, split_clips
from generators.painter_losses import StyleTargets, checkerboard, flicker, tone, unchanged
from generators.painter_net import Held, Plan, StyledNorm, fixed_grain, grain, one_hot
from generators.style_easel import LEAST_PX, find_backbone
from generators.style_losses import (
    POOLINGS,
    STATISTICS,
    StyleNetwork,
    content_loss,
    default_layers,
    total_variation,
)  # fmt: skip
from playground.backbone import Backbone, to_unit
from playground.classify import rate_at
from playground.config import setting
from playground.data import Pictures, to_stderr
from playground.errors import UserError, listed
from playground.frames import Frame
from playground.media import to_pixels
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import upload

__all__ = ["PRESETS", "TASK", "TRAINERS", "PainterConfig", "PainterTask"]

SHOWN = 2  # pictures that the panels show, in all styles
JUDGED = 8  # held-out pictures of each source that an evaluation looks at
CONTENT_STRIDES = (2, 8)  # of the layers for content
WARMUP = 50  # updates in which the learning rate rises
CALIBRATED = 8  # pictures of each source from which the backbone's scales are measured


@dataclass(frozen=True)
class PainterConfig:
    """Everything that decides what is learned. Defaults are the preset ``small``."""

    styles: str = setting("", "paintings: a folder of pictures, or one picture")
    data: str = setting("", "pictures to paint: a folder, atari:GAMES, or both with + between")
    terms: str = setting("", "what these pictures are, and under which terms, for the card")
    add: str | None = setting(
        None, "a trained painter that the styles are added to, nothing else in it changing"
    )
    size: int = setting(160, "side of the photos; games keep theirs", "px")
    style_size: int = setting(400, "longer side of the paintings", "px")
    backbone: str | None = setting(None, "whose features count (none: VGG-19, or what is here)")
    weights: str | None = setting(None, "its weights: imagenet, what ships, or a file")
    style_layers: tuple[str, ...] = setting((), "layers for style (none given: by family)")
    content_layers: tuple[str, ...] = setting(
        (), "layers for content (none given: at strides 2 and 8)"
    )
    pixels: bool = setting(True, "patches of the picture are a layer for style, too")
    pooling: str = setting("average", "of the backbone", choices=POOLINGS)
    statistics: str = setting("wasserstein", "what style is", choices=tuple(STATISTICS))
    content_weight: float = setting(0.25, "of the content, the style's being 1")
    flicker_weight: float = setting(1.0, "of differences between paintings of the same")
    tone_weight: float = setting(0.2, "of light and shade that are not the picture's")
    grid_weight: float = setting(0.3, "of checkerboards")
    variation_weight: float = setting(0.5, "of differences between neighbouring pixels")
    width: int = setting(48, "channels at stride 4")
    narrow: int = setting(16, "channels at stride 2")
    blocks: int = setting(4, "residual blocks")
    batch_size: int = setting(4, "pairs of an update", "pairs")
    updates: int = setting(8000, "length of the training, where --steps does not say", "updates")
    learning_rate: float = setting(3e-3, "Adam's, falling as a cosine")

    def check(self) -> None:
        """UserError for what no training can use."""
        for name in ("size", "style_size"):
            if getattr(self, name) < LEAST_PX:
                raise UserError(f"--{name.replace('_', '-')} starts at {LEAST_PX} px.")
        for name in ("width", "narrow", "batch_size", "updates", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0.")
        for name in (
            "content_weight",
            "flicker_weight",
            "tone_weight",
            "grid_weight",
            "variation_weight",
            "blocks",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative.")


SMALL = PainterConfig()
PRESETS = {"small": SMALL}
TRAINERS: dict[str, dict[str, Any]] = {"small": {"ema": 0.998}}  # what a preset asks of the trainer


def content_layers(backbone: Backbone) -> tuple[str, ...]:
    """The layers for style at strides 2 and 8; () for a family without both.

    VGG-19's relu2_1 and relu4_1: the shallow one keeps what is small, a ball for instance.
    """
    style, _ = default_layers(backbone)
    found = tuple(name for name in style if backbone.strides[name] in CONTENT_STRIDES)
    return found if len(found) == len(CONTENT_STRIDES) else ()


class PainterTask(nn.Module):
    """The training task.

    Args:
        config: of the training.
        paintings: of the styles, with their credits; see `painter_data.paintings`.
        sources: pictures or pairs to learn from, drawn from in turn; see `Pairs`.
        held_out: others of the same kinds, never learned from.
        steps: how many updates there will be, if not the config's.
        seed: of the first weights' and the pictures' order.
        say: a sentence for the user.
    """

    unit = "updates"
    averaged = ("network",)

    def __init__(
        self,
        config: PainterConfig,
        paintings: Sequence[tuple[Credit, Path]],
        sources: Sequence[Pictures],
        held_out: Sequence[Pictures],
        steps: int | None = None,
        seed: int = 0,
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        super().__init__()
        config.check()
        self.config, self.seed, self.horizon = config, seed, steps or config.updates
        self.name, backbone = find_backbone(config.backbone, config.weights, say)
        content = config.content_layers or content_layers(backbone)
        self._seen = StyleNetwork(
            backbone, config.style_layers, content, config.pooling, config.pixels
        )  # no child: it is frozen, and in no checkpoint
        self._styles = [painting_of(path, config.style_size) for _, path in paintings]
        self.credits = [credit for credit, _ in paintings]
        self.first = 0  # the number of the first style that learns
        self.plan = Plan(
            tuple(credit.name for credit in self.credits), config.width, config.narrow,
            config.blocks,
        )  # fmt: skip
        if config.add is None:
            self.network = self.plan.build()
        else:
            self._grow(load(config.add))
        self.pairs = Pairs(sources, config.batch_size, seed)
        self.held_out = [pictures_first(source, JUDGED) for source in held_out]
        self._targets: StyleTargets | None = None  # made where it computes
        learned = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizers = {"network": torch.optim.Adam(learned, config.learning_rate, fused=True)}
        self.schedules = {"network": LambdaLR(self.optimizers["network"], self._rate)}
        self.progress = 0
        self.figures: dict[str, float] = {}  # of the newest evaluation
        self.keep: Callable[[Path], None] = lambda folder: None  # files of its own in the run

    def _grow(self, painter: Painter) -> None:
        """A network of a trained painter's styles and these, in which only the latter learn."""
        for name in self.plan.styles:
            if name in painter.styles:
                raise UserError(f"The painter has a style '{name}' already: rename the file.")
        self.first = len(painter.styles)
        self.plan = replace(painter.plan, styles=(*painter.styles, *self.plan.styles))
        self.credits = [*painter.credits, *self.credits]
        self.network = self.plan.build()
        known = painter.network.state_dict()
        for name, tensor in self.network.state_dict().items():
            if tensor.shape == known[name].shape:
                tensor.copy_(known[name])
            else:  # begin with the mean of the styles that are there
                tensor[: self.first] = known[name]
                tensor[self.first :] = known[name].mean(0)
        self.network.requires_grad_(False)
        for module in self.network.modules():
            if isinstance(module, StyledNorm):
                # Rows of styles that are not drawn have no gradient at all, so Adam leaves them.
                module.requires_grad_(True)

    # One update.

    def _rate(self, update: int) -> float:
        return rate_at(update, WARMUP, self.horizon, "cosine")

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """One update on a batch of one source."""
        pixels = upload(self.pairs.get(self.progress), trainer.device)
        learned = len(self.plan.styles) - self.first
        styles = self.first + torch.randint(learned, (len(pixels),))
        seen: dict[str, Any] = {}

        def loss() -> Tensor:
            losses = self._losses(pixels, styles, seeded=False)
            seen.update({name: value.detach() for name, value in losses.items()})
            return self._total(losses)

        seen["loss"] = trainer.minimize(loss, self.optimizers["network"])
        self.schedules["network"].step()
        self.progress += 1
        return seen

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        c = self.config
        return (
            losses["style"] + c.content_weight * losses["content"]
            + c.flicker_weight * losses["flicker"] + c.tone_weight * losses["tone"]
            + c.grid_weight * losses["grid"] + c.variation_weight * losses["variation"]
        )  # fmt: skip

    def _losses(self, pixels: Tensor, styles: Tensor, seeded: bool) -> dict[str, Tensor]:
        """Each loss, unweighted, of pairs (B, 3 or 6, H, W) uint8 painted in styles (B,)."""
        first, second, same = self._pair(to_unit(pixels, self.network.out.weight.dtype))
        height, width = first.shape[2:]
        mixture = one_hot(styles, len(self.plan.styles)).to(first)
        if seeded:
            canvas = fixed_grain(height, width).to(first)
        else:
            canvas = grain(height, width, len(first), device=first.device).to(first)
        held = Held()
        painted = self.network(first, mixture, canvas, held)
        with torch.no_grad():
            other = self.network(second, mixture, canvas, held)
        targets = self.targets(first.device)
        maps = self._seen.features(painted)
        with torch.no_grad():
            wanted = self._seen.features(first, self._seen.content)
        content = [content_loss(maps[name], wanted[name]) for name in self._seen.content]
        return {
            "style": targets(maps, [int(style) - self.first for style in styles]),
            "content": torch.stack(content).mean(),
            "flicker": flicker(painted, other, same),
            "tone": tone(painted, first),
            "grid": checkerboard(painted),
            "variation": total_variation(painted),
        }

    def _pair(self, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(the first pictures, the second ones, where they are the same)."""
        if unit.shape[1] == 3:
            return (unit, *followers(unit))
        first, second = split_clips(unit)
        return first, second, unchanged(first, second)

    def targets(self, where: torch.device) -> StyleTargets:
        """The styles' statistics; the backbone is calibrated before them, once."""
        if self._targets is None:
            self._seen.backbone.to(where)
            styles = [style.to(where) for style in self._styles]
            some = [pictures_first(source, CALIBRATED) for source in self.pairs.sources]
            photos = [to_unit(part[:, :3]).to(where) for part in some]
            gram = self.config.statistics == "gram"
            self._seen.calibrate(*photos, *styles, power=1 if gram else 2)
            self._targets = StyleTargets(self._seen, styles, self.config.statistics)
        return self._targets

    def rehearsal(self) -> Any:
        """For --precision auto: an update's loss."""
        where = next(self.network.parameters()).device
        pixels = self.pairs.get(0).to(where)
        styles = torch.full((len(pixels),), self.first)
        return lambda: self._total(self._losses(pixels, styles, seeded=False))

    # Looking, saving, going on.

    @torch.no_grad()
    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """The losses on held-out pictures, styles in turn; the score is their sum, negative.

        `flicker` is in steps of 255: how far, on average, a painting moves where nothing did.
        """
        found: dict[str, list[Tensor]] = {}
        learned = len(self.plan.styles) - self.first
        torch.manual_seed(self.seed)  # the same changes of photos each time
        for pixels in self.held_out:
            for begin in range(0, len(pixels), self.config.batch_size):
                if trainer.stopping:
                    return {}
                some = pixels[begin : begin + self.config.batch_size].to(trainer.device)
                styles = self.first + (begin + torch.arange(len(some))) % learned
                for name, value in self._losses(some, styles, seeded=True).items():
                    found.setdefault(name, []).append(value)
        losses = {name: torch.stack(values).mean() for name, values in found.items()}
        figures = {name: float(value) for name, value in losses.items()}
        score = -float(self._total(losses))
        self.figures = {**figures, "flicker": 255 * figures["flicker"]}
        return {"score": score, **self.figures}

    def painter(self) -> Painter:
        """The painter as it is now."""
        styles = {
            credit.name: {k: v for k, v in asdict(credit).items() if k != "name"}
            for credit in self.credits
        }
        card = {
            "styles": styles, "updates": self.progress, "data": self.config.data,
            "terms": self.config.terms, "backbone": self.name, "figures": dict(self.figures),
        }  # fmt: skip
        return Painter(copied(self.plan, self.network), self.plan, card)

    def frames(self) -> Iterator[Frame]:
        """Held-out pictures in each of the styles that learn."""
        painter, pictures = self.painter(), self.shown(SHOWN)
        for name in self.plan.styles[self.first :]:
            mixture = painter.mixture(name)
            for pixels in pictures:
                yield Frame(painter.paint(pixels, mixture), name)

    def shown(self, count: int) -> list[np.ndarray]:
        """So many held-out pictures at most, (H, W, 3) uint8, of each source in turn."""
        most = max(map(len, self.held_out), default=0)
        found = [source[i, :3] for i in range(most) for source in self.held_out if i < len(source)]
        return [to_pixels(picture) for picture in found[:count]]

    def export(self, path: Path) -> None:
        """Write the painter's file, which `load` reads."""
        self.painter().save(path)

    def attach(self, run: Run) -> None:
        """UserError when the run was begun with other paintings; a new run remembers these."""
        begun = run.settings.get("styles", ())
        refusal = (
            f"{self.config.styles} does not hold the paintings that {run.path} was begun with: "
            f"{listed(begun)}."
        )
        run.belongs("styles", list(self.plan.styles), refusal, self.keep)

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module."""
        return {
            "horizon": self.horizon, "updates": self.config.updates, "order": self.pairs.order,
            "figures": self.figures,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`; another number of updates than it was saved with is a new horizon.

        Older checkpoints have neither.
        """
        same = state.get("updates", self.config.updates) == self.config.updates
        self.horizon = state.get("horizon", self.horizon) if same else self.config.updates
        self.figures = state["figures"]
        self.pairs.reorder(state["order"])

    def reseed(self, number: int) -> None:
        """Another order of the pictures, after a divergence."""
        self.pairs.reorder(self.seed + 7919 * number)

    def close(self) -> None:
        """End the reading thread."""
        self.pairs.close()
