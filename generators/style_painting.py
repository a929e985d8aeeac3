"""A picture as the trainer's task: its pixels are the parameter, its losses what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from generators.style_tiles import Objective
from playground.frames import Frame
from playground.inputs import LUMA, averaged
from playground.media import to_pixels
from playground.trainer import Trainer

if TYPE_CHECKING:
    from generators.style import StyleConfig

# Slopes of the loss below this, in a pixel's values, are rounding and not to be followed: at the
# start they measure about 100. Adam alone would step as far for them.
SMALL_SLOPE = 2.0
HISTORY = 100  # updates that L-BFGS remembers: PyTorch's default, and so the authors'
ROWS = 256  # converted at once
PANEL_PX = 1024  # longer side of what a run keeps to look at


def brightness(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W): the luma of ITU-R BT.601, the Y of YIQ."""
    weights = torch.tensor(LUMA, device=pictures.device)[:, None, None]
    return (pictures * weights).sum(1, keepdim=True)


def recolored(grey: Tensor, colors: Tensor) -> Tensor:
    """The brightness of `grey` (B, 1, H, W) with the hues of `colors` (B, 3, H, W).

    The same amount is added to red, green and blue, which leaves I and Q of YIQ as they are
    (Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer", section 3.2).
    """
    return colors + (grey - brightness(colors))


class Painting(nn.Module):
    """The picture as the trainer's task: one scale of a painting.

    Args:
        picture: (1, 1 or 3, H, W) to start from; it is taken over, not copied.
        objective: its losses.
        config: of the painting.
        progress: iterations done at coarser scales.
        colors: the content (1, 3, H, W) whose colours a grey picture is shown in.
        watch: called after each iteration; where it answers False the painting ends.
    """

    unit = "iterations"

    def __init__(
        self,
        picture: Tensor,
        objective: Objective,
        config: StyleConfig,
        progress: int = 0,
        colors: Tensor | None = None,
        watch: Callable[[Painting], bool | None] | None = None,
    ) -> None:
        super().__init__()
        self.picture = nn.Parameter(picture)
        self.objective, self.config, self.progress, self.watch = objective, config, progress, watch
        self.colors = colors
        self.figures: dict[str, Tensor] = {}  # the last iteration's losses
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        if config.optimizer == "lbfgs":
            # One evaluation a call; its memory goes on from call to call. It never ends by itself.
            self.optimizers["picture"] = torch.optim.LBFGS(
                [self.picture], max_iter=1, history_size=HISTORY,
                tolerance_grad=0, tolerance_change=0,
            )  # fmt: skip
        else:
            self.optimizers["picture"] = torch.optim.Adam(
                [self.picture], config.learning_rate, eps=SMALL_SLOPE,
                fused=picture.device.type != "mps",
            )  # fmt: skip

    def warm_up(self, coarser: Painting) -> None:
        """Take over Adam's moments from the scale before, enlarged."""
        state = coarser.optimizers["picture"].state.get(coarser.picture)
        if self.config.optimizer != "adam" or not state:
            return
        first, second = state["exp_avg"], state["exp_avg_sq"]
        self.optimizers["picture"].state[self.picture] = {
            "step": state["step"].clone(),
            "exp_avg": F.interpolate(first, self.picture.shape[2:], mode="bilinear"),
            "exp_avg_sq": F.interpolate(second, self.picture.shape[2:], mode="bilinear"),
        }

    def step(self, trainer: Trainer) -> dict[str, Tensor]:
        """One iteration.

        Losses are means over positions. For Adam they are multiplied by the number of values, so
        that a pixel's slope, and what Adam remembers of it, is of one size at all scales.
        """
        adam = self.config.optimizer == "adam"

        def loss() -> Tensor:
            self.figures = self.objective(self.picture, self.progress % self.objective.sights)
            return self.figures["loss"] * (self.picture.numel() if adam else 1)

        trainer.minimize(loss, self.optimizers["picture"])
        self.figures["loss"] = self.figures["loss"].detach()
        if adam:  # L-BFGS's memory knows of no borders
            with torch.no_grad():
                self.picture.clamp_(0, 1)
        self.progress += 1
        if self.watch and self.watch(self) is False:
            trainer.stop()
        return self.figures

    @torch.no_grad()
    def evaluate(self, trainer: Trainer) -> dict[str, float]:
        """The losses; the score is the loss, negative."""
        self.figures = self.objective(self.picture)
        figures = {name: float(value) for name, value in self.figures.items()}
        return {**figures, "score": -figures["loss"]}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        return None

    def export(self, path: Path) -> None:
        """The picture as it is shown, (3, H, W) uint16 of 0 to 65535, as safetensors."""
        shown = self.shown()
        whole = torch.empty(shown.shape, dtype=torch.uint16)
        for rows, part in zip(whole.split(ROWS, 1), shown.split(ROWS, 1), strict=True):
            rows.copy_((part * 65535).round())  # the whole of it in floats would be one copy more
        save_file({"picture": whole}, path)

    @torch.no_grad()
    def shown(self) -> Tensor:
        """(3, H, W), float in [0, 1]."""
        picture = self.picture.detach()
        if self.colors is not None:
            picture = recolored(picture, self.colors)
        return picture[0].expand(3, -1, -1).clamp(0, 1)

    def frames(self) -> Iterator[Frame]:
        """The picture as it is, no larger than a panel needs it."""
        yield self.frame(PANEL_PX)

    def frame(self, longer: int) -> Frame:
        """The picture as it is, its longer side at most so many pixels."""
        shown = self.shown()[None]
        factor = longer / max(shown.shape[2:])
        if factor < 1:
            height, width = (max(1, round(side * factor)) for side in shown.shape[2:])
            shown = averaged(shown, (height, width))
        return Frame(to_pixels(shown[0]))
