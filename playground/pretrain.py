"""Pretraining the arcade backbone: game screens and photographs, one trunk, heads thrown away.

On screens: where is each object that the memory's addresses tell, what are the bytes of the memory
(each game's, standardised), which game is it. On photographs: which class. Screens come from a
`Source`, which is passed in: this room knows no game.

Where an object is, a head reads from one map as a hill over it: 20 high and 12 pixels wide (sigma)
from `relu3_2`, 24 from `relu4_2`. It is linear, of its own for each game and object, and its
weights have length 1, so that it cannot amplify, while all activity of these maps has a price: the
trunk itself must make objects' positions the largest differences between screens. There anything
linear finds them from few examples, and from the wide hills it learns of a place from its
neighbours.

Exact resume: weights, optimizer, averages, schedule, statistics, generators and the photographs'
order go on exactly. The source does not: its emulators begin anew, with other screens from the same
games (their stream is reproducible from its seed and its start only).
"""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from playground.backbone import to_unit
from playground.backbones.arcade import Arcade
from playground.config import setting
from playground.errors import UserError
from playground.frames import Box, Frame
from playground.run import atomic_path

SCREEN = (210, 160)  # pixels; taller screens are cut at the bottom
SLOTS = 6  # single moving objects of a game
RAM = 128  # bytes
WIDTHS = {"relu3_2": 12.0, "relu4_2": 24.0}  # layers that tell where objects are: sigma in pixels
SHARP, LAST = WIDTHS
HEIGHT = 20.0  # of the hills; the mean of a layer is about 1


@dataclass(frozen=True)
class Scenes:
    """B screens and what is known of them.

    pixels: (B, 3, 210, 160) uint8. game: (B,) int64 labels. ram: (B, 128) uint8. places:
    (B, SLOTS, 2) float32, x and y in pixels of each single moving object, NaN while absent. known:
    (B, SLOTS) bool, whether the game has such an object. boxes: all objects' boxes.
    """

    pixels: Tensor
    game: Tensor
    ram: Tensor
    places: Tensor
    known: Tensor
    boxes: list[tuple[Box, ...]]


class Source(Protocol):
    """Where screens come from."""

    games: tuple[str, ...]

    def draw(self, count: int) -> Scenes:
        """The next batch, games mixed."""


class Photos(Protocol):
    """A labelled set of pictures of one size (`playground.data.Pictures` is one)."""

    labels: Tensor
    classes: tuple[str, ...]

    def read(self, indices: Tensor) -> Tensor:
        """(B, 3, H, W) uint8."""


@dataclass
class PretrainConfig:
    """What to learn, and how fast."""

    updates: int = setting(8_000, "length of the schedule", "updates")
    screens: int = setting(32, "game screens in an update", "screens")
    photos: tuple[int, ...] = setting((96, 24), "of each photo set in an update", "pictures")
    learning_rate: float = setting(1e-3, "AdamW's, at its highest")
    weight_decay: float = setting(0.02, "AdamW's")
    warmup: int = setting(200, "linear warm-up", "updates")
    decay: float = setting(0.3, "share of the schedule with a linear fall to zero, at its end")
    where_weight: float = setting(1.0, "of the squared error of the objects' maps")
    energy_weight: float = setting(0.02, "of the maps' squares, in hills, on screens")
    ram_weight: float = setting(0.5, "of the memory's bytes")
    game_weight: float = setting(0.1, "of the game's cross-entropy")
    photo_weight: float = setting(0.3, "of the photographs' cross-entropy")
    held_out: int = setting(1024, "screens that an evaluation looks at", "screens")

    def check(self) -> None:
        """UserError for a number out of its range."""
        for name in ("updates", "screens", "held_out", "learning_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0.")
        if not 0 <= self.decay <= 1:
            raise UserError(f"--decay is a share from 0 to 1, not {self.decay}.")


def rate_at(update: int, config: PretrainConfig) -> float:
    """The learning rate's factor: linear warm-up, constant, linear fall to 0 at `updates`."""
    rise = (update + 1) / max(config.warmup, 1)
    fall = (config.updates - update) / max(config.decay * config.updates, 1)
    return max(0.0, min(1.0, rise, fall))


def hills(places: Tensor, height: int, width: int, stride: int, sigma: float) -> Tensor:
    """(B, S, 2) pixels x, y -> (B, S, height, width) float: Gaussians of height 1 at the places.

    A place that is NaN gives zeros. stride and sigma in pixels.
    """
    centre = (stride - 1) / 2
    x = torch.arange(width) * stride + centre - places[..., 0:1]  # (B, S, width)
    y = torch.arange(height) * stride + centre - places[..., 1:2]
    across, down = (torch.exp(-(d.square() / (2 * sigma**2))).nan_to_num(0) for d in (x, y))
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def cover(boxes: Sequence[tuple[Box, ...]], height: int, width: int, stride: int) -> Tensor:
    """(B, height, width) float: the share of each cell of stride x stride pixels under boxes."""
    rows, columns = np.arange(height) * stride, np.arange(width) * stride
    out = np.zeros((len(boxes), height, width), np.float32)
    for covered, objects in zip(out, boxes, strict=True):
        for box in objects:
            down = np.minimum(rows + stride, box.y + box.height) - np.maximum(rows, box.y)
            across = np.minimum(columns + stride, box.x + box.width) - np.maximum(columns, box.x)
            covered += np.outer(down.clip(0), across.clip(0)) / stride**2
    return torch.from_numpy(out).clamp_(max=1)


def peaks(maps: Tensor, stride: int) -> Tensor:
    """(B, S, h, w) -> (B, S, 2) pixels x, y: the centre of mass of 3x3 cells around the maximum."""
    height, width = maps.shape[2:]
    top = maps.flatten(2).argmax(2)
    rows, columns = top // width, top % width
    near_y = (torch.arange(height) - rows[..., None]).abs() <= 1
    near_x = (torch.arange(width) - columns[..., None]).abs() <= 1
    mass = maps.clamp(min=1e-6) * near_y[..., :, None] * near_x[..., None, :]
    total = mass.sum((2, 3))
    x = (mass.sum(2) * torch.arange(width)).sum(2) / total
    y = (mass.sum(3) * torch.arange(height)).sum(2) / total
    return torch.stack([x, y], -1) * stride + (stride - 1) / 2


def r_squared(truth: Tensor, guess: Tensor, floor: float = 1.0) -> float:
    """Coefficient of determination of (N,) values; a variance under `floor` counts as `floor`."""
    variance = truth.var(unbiased=False).clamp(min=floor)
    return float(1 - (truth - guess).square().mean() / variance)


def where_error(maps: Tensor, scenes: Scenes, stride: int, sigma: float) -> Tensor:
    """Mean squared error of the objects' maps (B, SLOTS + 1, h, w), in the squares of one hill."""
    if not scenes.known.any():
        return maps.sum() * 0
    known = torch.cat([scenes.known, scenes.known.any(1, True)], 1)
    size = maps.shape[2], maps.shape[3], stride
    covered = cover(scenes.boxes, *size).unsqueeze(1)
    wanted = torch.cat([hills(scenes.places, *size, sigma), covered], 1)
    errors = (maps - wanted).square().sum((2, 3))
    hill = math.pi * (sigma / stride) ** 2
    scale = torch.cat([torch.full_like(errors[:, :-1], hill), covered.sum((2, 3)).clamp(min=1)], 1)
    return (errors / scale)[known].mean()


class Statistics(nn.Module):
    """Running mean and spread of each game's bytes, (games, 128), as buffers."""

    def __init__(self, games: int) -> None:
        super().__init__()
        self.count: Tensor
        self.mean: Tensor
        self.squares: Tensor
        self.register_buffer("count", torch.zeros(games))
        self.register_buffer("mean", torch.zeros(games, RAM))
        self.register_buffer("squares", torch.zeros(games, RAM))  # sum of squared differences

    @torch.no_grad()
    def add(self, game: Tensor, ram: Tensor) -> None:
        """Welford's update with each of the screens."""
        for label, values in zip(game.tolist(), ram.float(), strict=True):
            self.count[label] += 1
            change = values - self.mean[label]
            self.mean[label] += change / self.count[label]
            self.squares[label] += change * (values - self.mean[label])

    def standardise(self, game: Tensor, ram: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 128) in standard deviations, at most 3, and (B, 128) bool: bytes that vary."""
        spread = (self.squares[game] / self.count[game, None].clamp(min=1)).sqrt()
        values = (ram.float() - self.mean[game]) / spread.clamp(min=1)
        return values.clamp(-3, 3), spread >= 1


class Heads(nn.Module):
    """What reads the trunk while it learns."""

    def __init__(self, backbone: Arcade, games: int, classes: Sequence[int]) -> None:
        super().__init__()
        last = backbone.out_channels
        # for each game the slots, and one for whatever has a box
        self.where = nn.ParameterDict(
            {name: torch.randn(games, SLOTS + 1, backbone.channels[name]) for name in WIDTHS}
        )
        self.base = nn.ParameterDict({name: torch.zeros(games, SLOTS + 1) for name in WIDTHS})
        self.pool = nn.AdaptiveAvgPool2d((7, 5))
        self.hidden = nn.Linear(last * 35, 128)
        self.bytes = nn.Parameter(torch.randn(games, 128, RAM) * 0.03)
        self.game = nn.Linear(last, games)
        self.photos = nn.ModuleList(nn.Linear(last, n) for n in classes)

    def maps(self, name: str, layer: Tensor, game: Tensor) -> Tensor:
        """A named layer (B, C, h, w) and labels (B,) -> (B, SLOTS + 1, h, w), hills of height 1."""
        weights = F.normalize(self.where[name][game], dim=-1)
        maps = torch.einsum("bchw,bsc->bshw", layer, weights) / HEIGHT
        return maps + self.base[name][game][..., None, None]

    def ram(self, last: Tensor, game: Tensor) -> Tensor:
        """The last map and (B,) labels -> (B, 128), standardised bytes."""
        hidden = F.relu(self.hidden(self.pool(last).flatten(1)))
        return torch.einsum("bh,bhr->br", hidden, self.bytes[game])


class Pretrain(nn.Module):
    """The task (see `playground.trainer`). `held_out` and `photo_tests` are for evaluating only."""

    unit = "updates"
    averaged = ("backbone", "heads")

    def __init__(
        self,
        config: PretrainConfig,
        backbone: Arcade,
        source: Source,
        held_out: Source,
        photos: Sequence[Photos] = (),
        photo_tests: Sequence[Photos] = (),
    ) -> None:
        super().__init__()
        if len(config.photos) != len(photos):
            raise UserError(f"--photos has {len(config.photos)} numbers for {len(photos)} sets.")
        self.config, self.progress = config, 0
        self.source, self.held_out = source, held_out
        self.photo_sets, self.photo_tests = list(photos), list(photo_tests)
        self.backbone = backbone
        classes = [len(p.classes) for p in photos]
        self.heads = Heads(backbone, len(source.games), classes)
        self.statistics = Statistics(len(source.games))
        self._panel: Scenes | None = None
        self.backbone.balance(*self._samples())
        optimizer = torch.optim.AdamW(
            [*self.backbone.parameters(), *self.heads.parameters()],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.optimizers = {"all": optimizer}
        self.schedules = {"all": LambdaLR(optimizer, lambda update: rate_at(update, config))}

    def step(self, trainer: Any) -> dict[str, Tensor]:
        """One update on screens and photographs."""
        scenes = self.source.draw(self.config.screens)
        self.statistics.add(scenes.game, scenes.ram)
        batches = [
            (vary(photos.read(chosen)), photos.labels[chosen])
            for photos, count in zip(self.photo_sets, self.config.photos, strict=True)
            for chosen in [torch.randint(len(photos.labels), (count,))]
        ]
        losses: dict[str, Tensor] = {}
        loss = trainer.minimize(lambda: self._loss(scenes, batches, losses), self.optimizers["all"])
        self.schedules["all"].step()
        self.progress += 1
        return {"loss": loss} | losses

    def _loss(
        self, scenes: Scenes, batches: list[tuple[Tensor, Tensor]], losses: dict[str, Tensor]
    ) -> Tensor:
        config, game = self.config, scenes.game
        features = self.backbone.features(to_unit(scenes.pixels), WIDTHS)
        last = features[LAST]
        total = torch.zeros(())
        for name, sigma in WIDTHS.items():
            maps = self.heads.maps(name, features[name], game)
            error = where_error(maps, scenes, self.backbone.strides[name], sigma)
            hill = HEIGHT**2 * math.pi * (sigma / self.backbone.strides[name]) ** 2
            energy = features[name].square().sum((1, 2, 3)).mean() / hill
            losses |= {f"where_{name}": error, f"energy_{name}": energy}
            total = total + config.where_weight * error + config.energy_weight * energy
        truth, varies = self.statistics.standardise(game, scenes.ram)
        errors = F.smooth_l1_loss(self.heads.ram(last, game), truth, reduction="none")
        losses["ram"] = (errors * varies).sum() / varies.sum().clamp(min=1)
        losses["game"] = F.cross_entropy(self.heads.game(last.mean((2, 3))), game)
        total = total + config.ram_weight * losses["ram"] + config.game_weight * losses["game"]
        for index, (pixels, labels) in enumerate(batches):
            logits = self.heads.photos[index](self.backbone(to_unit(pixels)).mean((2, 3)))
            losses[f"photos{index}"] = F.cross_entropy(logits, labels)
            total = total + config.photo_weight * losses[f"photos{index}"]
        for name, value in losses.items():
            losses[name] = value.detach()
        return total

    @torch.no_grad()
    def evaluate(self, trainer: Any) -> dict[str, Any]:
        """Held-out games: R² of positions (the score: mean of the games'), game, photo accuracy."""
        scenes = self.panel()
        guesses: dict[str, list[Tensor]] = {name: [] for name in WIDTHS}
        right = 0.0
        for part in torch.arange(len(scenes.game)).split(64):
            features = self.backbone.features(to_unit(scenes.pixels[part]), WIDTHS)
            for name in WIDTHS:
                maps = self.heads.maps(name, features[name], scenes.game[part])[:, :SLOTS]
                guesses[name].append(peaks(maps, self.backbone.strides[name]))
            logits = self.heads.game(features[LAST].mean((2, 3)))
            right += float((logits.argmax(1) == scenes.game[part]).sum())
        figures: dict[str, Any] = {"game_accuracy": right / len(scenes.game)}
        for name in WIDTHS:
            by_game = self._position_scores(scenes, torch.cat(guesses[name]))
            figures[f"r2_{name}"] = float(np.mean(list(by_game.values()))) if by_game else 0.0
            if name == SHARP:
                figures |= {f"r2/{game}": score for game, score in by_game.items()}
        for index, photos in enumerate(self.photo_tests):
            chosen = torch.arange(0, len(photos.labels), max(len(photos.labels) // 2000, 1))
            right = 0.0
            for part in chosen.split(250):
                last = self.backbone(to_unit(photos.read(part))).mean((2, 3))
                right += float(
                    (self.heads.photos[index](last).argmax(1) == photos.labels[part]).sum()
                )
            figures[f"photos{index}_accuracy"] = right / len(chosen)
        return {"score": figures[f"r2_{SHARP}"]} | figures

    def _position_scores(self, scenes: Scenes, guess: Tensor) -> dict[str, float]:
        """Game -> mean R² of its objects' x and y, of those seen at least ten times."""
        found = {}
        for label, name in enumerate(self.source.games):
            scores = []
            for slot in range(SLOTS):
                rows = (scenes.game == label) & ~scenes.places[:, slot].isnan().any(1)
                if rows.sum() < 10:
                    continue
                for axis in range(2):
                    truth = scenes.places[rows, slot, axis]
                    if truth.var() > 1:
                        scores.append(r_squared(truth, guess[rows, slot, axis]))
            if scores:
                found[name] = float(np.mean(scores))
        return found

    def state(self) -> dict[str, Any]:
        """Nothing: the source cannot be restored, and all else is tensors (see the module)."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `state`."""

    @torch.no_grad()
    def export(self, path: Path) -> None:
        """The trunk alone, balanced (see `Arcade.balance`), in fp16."""
        trunk = copy.deepcopy(self.backbone).eval()
        trunk.balance(*self._samples())
        tensors = {key: value.half().contiguous() for key, value in trunk.state_dict().items()}
        metadata = {
            "format": "playground-backbone-1",
            "backbone": "arcade",
            "progress": str(self.progress),
            "settings": json.dumps(asdict(self.config)),
        }
        with atomic_path(Path(path)) as aside:
            save_file(tensors, aside, metadata)

    @torch.no_grad()
    def frames(self) -> Iterator[Frame]:
        """Held-out screens of known games beside the maps of their objects and where they peak."""
        scenes = self.panel()
        shown: set[int] = set()
        for i, label in enumerate(scenes.game.tolist()):
            if label in shown or not scenes.known[i].any():
                continue
            shown.add(label)
            features = self.backbone.features(to_unit(scenes.pixels[i : i + 1]), [SHARP])
            maps = self.heads.maps(SHARP, features[SHARP], scenes.game[i : i + 1])[:, :SLOTS]
            maps = maps[:, scenes.known[i]]
            heat = F.interpolate(maps.amax(1, True), SCREEN, mode="bilinear")[0, 0].clamp(0, 1)
            screen = scenes.pixels[i].permute(1, 2, 0).numpy()
            drawn = (screen * 0.4).astype(np.uint8)
            drawn[..., 0] = np.maximum(drawn[..., 0], (heat * 255).byte().numpy())
            boxes = tuple(
                Box(str(slot), int(x) + SCREEN[1] - 3, int(y) - 3, 7, 7)
                for slot, (x, y) in enumerate(peaks(maps, self.backbone.strides[SHARP])[0].tolist())
            )
            name = self.source.games[label]
            yield Frame(np.concatenate([screen, drawn], 1), name, {"game": name}, boxes)

    def panel(self) -> Scenes:
        """The same held-out screens each time."""
        if self._panel is None:
            self._panel = self.held_out.draw(self.config.held_out)
        return self._panel

    def _samples(self) -> list[Tensor]:
        """Pictures of each kind, for balancing; held-out screens: drawing others would move the
        training's source.
        """
        chosen = [torch.arange(min(len(p.labels), 64)) for p in self.photo_sets]
        photos = [p.read(c) for p, c in zip(self.photo_sets, chosen, strict=True)]
        return [to_unit(x) for x in [self.panel().pixels[:64], *photos]]


def vary(pictures: Tensor) -> Tensor:
    """(B, C, H, W) uint8 -> the same: half of them mirrored, all shifted by up to an eighth."""
    height, width = pictures.shape[2:]
    flipped = torch.where(
        (torch.rand(len(pictures)) < 0.5)[:, None, None, None], pictures.flip(3), pictures
    )
    margins = [width // 8, width // 8, height // 8, height // 8]
    padded = F.pad(flipped.float(), margins, mode="reflect").to(torch.uint8)
    top = int(torch.randint(2 * (height // 8) + 1, ()))
    left = int(torch.randint(2 * (width // 8) + 1, ()))
    return padded[:, :, top : top + height, left : left + width]
