"""Telling pictures apart: settings, pure schedules, and the task that proves the backbones.

Pictures come from `data` as uint8 (B, C, H, W) with labels (B,) int64; a backbone with a classifier
gives logits (B, classes). One update is one batch, and the batch of update n is a pure function of
(seed, n): the data's position is the count of updates.

Source of the preset ``book``: Saitoh, "Deep Learning from Scratch", chapter 8: its deep 3×3
network on MNIST, Adam at 1e-3, batches of 100, 20 epochs, no augmentation.

Departs from the book: each epoch draws every picture once, in a new order; the book draws batches
with replacement.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from playground import classifier, ranks
from playground.ahead import Ahead
from playground.augment import Augment
from playground.backbone import Backbone, create, to_unit
from playground.classifier import Classifier, Design, Result, load, weights_file
from playground.config import setting
from playground.data import batch_indices, parse, stratified, to_stderr
from playground.data import load as load_pictures
from playground.errors import UserError, listed
from playground.frames import Frame
from playground.insight import wrong_frames
from playground.norms import is_batch_norm
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import upload

__all__ = ["PRESETS", "TRAINERS", "Classify", "ClassifyConfig", "load", "rate_at", "rate_factors"]

END_RATE = 0.01  # where the cosine ends, as a part of the learning rate
PANEL = 16  # pictures in `frames`
EVALUATION_SHARE = 0.2  # of the time, at most, where evaluations are due by themselves


@dataclass(frozen=True)
class ClassifyConfig:
    """Everything that decides what is learned. Defaults are the preset ``book``."""

    data: str = setting("", "pictures: mnist:DIR, cifar10:DIR or a folder of class folders")
    size: int | None = setting(None, "side to which pictures are resized (none: as they are)", "px")
    labels: float = setting(1.0, "share of the training pictures used, the same of every class")
    backbone: str = setting("deepconv", "the network, any of playground.backbone")
    options: tuple[str, ...] = setting((), "the backbone's own, such as width=2,norm=batch")
    weights: str | None = setting(
        None, "to start from: imagenet or arcade (published), a weights file, or a run"
    )
    freeze: str | None = setting(None, "layer up to which nothing is trained")
    keep_statistics: bool = setting(
        False, "batch normalisation keeps the statistics that it came with"
    )
    layer_decay: float = setting(1.0, "learning rate of a group of layers over that of the next")
    augment: str = setting(
        "none", "how training pictures are varied", choices=("none", "digits", "photos")
    )
    batch_size: int = setting(100, "pictures of an update, times --accumulate", "pictures")
    epochs: float = setting(20.0, "length of the training, where --steps does not say", "epochs")
    optimizer: str = setting("adam", "optimizer", choices=("sgd", "adam", "adamw"))
    learning_rate: float = setting(1e-3, "step size of the optimizer, at its height")
    weight_decay: float = setting(0.0, "of weights; biases and gains have none")
    schedule: str = setting(
        "constant", "of the learning rate after the warm-up", choices=("constant", "cosine")
    )
    warmup: float = setting(0.0, "linear rise of the learning rate", "epochs")
    label_smoothing: float = setting(0.0, "share of each label given to all classes alike")

    def check(self) -> None:
        """UserError for what no training can use."""
        if not self.data:
            raise UserError(
                "Say what to learn from: --data mnist:DIR, cifar10:DIR or a folder of class folders"
                "."
            )
        parse(self.data)
        for name in ("size", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1.")
        for name in ("epochs", "learning_rate", "labels", "layer_decay"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0.")
        for name in ("labels", "layer_decay"):
            if getattr(self, name) > 1:
                raise UserError(f"--{name.replace('_', '-')} must be at most 1.")
        for name in ("weight_decay", "warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative.")
        if self.label_smoothing >= 1:
            raise UserError("--label-smoothing must be below 1.")
        backbone_options(self.options)


BOOK = ClassifyConfig()
DIGITS = replace(
    BOOK, options=("width=1.5", "norm=batch", "dropout=0"), augment="digits", epochs=30.0,
    optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, schedule="cosine", warmup=1.0,
    label_smoothing=0.05,
)  # fmt: skip
PHOTOS = ClassifyConfig(
    backbone="resnet18", options=("stem=small",), augment="photos", batch_size=128, epochs=30.0,
    optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, schedule="cosine", warmup=2.0,
    label_smoothing=0.1,
)  # fmt: skip
FINETUNE = ClassifyConfig(
    backbone="mobilenet_v2", weights="imagenet", size=128, augment="photos", batch_size=64,
    epochs=10.0, optimizer="adamw", learning_rate=1e-3, layer_decay=0.85, keep_statistics=True,
    weight_decay=0.05, schedule="cosine", warmup=0.5, label_smoothing=0.1,
)  # fmt: skip
PRESETS = {"book": BOOK, "digits": DIGITS, "photos": PHOTOS, "finetune": FINETUNE}
TRAINERS: dict[str, dict[str, Any]] = {  # what a preset asks of the trainer
    "book": {},
    "digits": {"ema": 0.999},
    "photos": {"ema": 0.999},
    "finetune": {"ema": 0.99, "clip_norm": 5.0},
}


def rate_at(update: int, warmup: int, horizon: int, schedule: str) -> float:
    """The learning rate of an update (from 0), as a part of its height: in (0, 1].

    A linear rise over `warmup` updates; then 1, or a cosine from 1 to END_RATE at `horizon`, where
    it stays (Loshchilov & Hutter 2017, without restarts).
    """
    if update < warmup:
        return (update + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    part = min((update - warmup) / max(1, horizon - warmup), 1.0)
    return END_RATE + (1 - END_RATE) * (1 + math.cos(math.pi * part)) / 2


def rate_factors(groups: int, decay: float) -> list[float]:
    """Factors of the learning rate by group of layers, shallow to deep: the deepest has 1.

    Each group learns `decay` times as fast as the next deeper one (Howard & Ruder 2018).
    """
    return [decay ** (groups - 1 - i) for i in range(groups)]


def merged(options: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Options as name=value pairs, with others in the places of those of the same name."""
    names = {pair.partition("=")[0] for pair in others}
    return (*(pair for pair in options if pair.partition("=")[0] not in names), *others)


CREATED = ("name", "in_channels", "num_classes", "weights")  # arguments of `backbone.create`


def backbone_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """("width=2", "norm=batch") as {"width": 2, "norm": "batch"}; UserError for what is no pair."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise UserError(f"--options takes name=value pairs, not '{pair}'.")
        if name in CREATED:
            raise UserError(f"--options are a backbone's own, and {name} is set otherwise.")
        try:
            found[name] = None if text.lower() == "none" else json.loads(text)
        except ValueError:
            found[name] = text
    return found


class Classify(nn.Module):
    """The training task: labelled pictures, one backbone with its classifier."""

    unit = "updates"

    def __init__(
        self, config: ClassifyConfig, seed: int = 0, steps: int | None = None, accumulate: int = 1
    ) -> None:
        super().__init__()
        config.check()
        if config.batch_size % ranks.world():
            raise UserError(
                f"A batch of {config.batch_size} cannot be shared equally by {ranks.world()} "
                f"processes: make --batch-size a multiple of {ranks.world()}."
            )
        self.config, self.seed = config, seed
        self.batch_size = config.batch_size * accumulate  # of an update
        say = _once()
        self.pictures = load_pictures(config.data, "train", config.size, say=say)
        self.test_pictures = load_pictures(config.data, "test", config.size, say=say)
        if config.labels < 1:
            self.pictures = self.pictures.take(
                stratified(self.pictures.labels, config.labels, seed)
            )
        self.updates_per_epoch = max(1, len(self.pictures) // self.batch_size)
        # The schedule's end stays where the training was begun for, until epochs change.
        self.horizon = steps or math.ceil(config.epochs * self.updates_per_epoch)
        self.design = Design(
            config.backbone, backbone_options(config.options), self.pictures.classes,
            self.pictures.channels, self.pictures.size, config.augment,
        )  # fmt: skip
        self.model = self._network()
        # Its call, not the module: it is no model of the task's, to be compiled or averaged.
        self.augment = Augment(config.augment).__call__
        self.optimizers = {"model": self._optimizer()}
        self.schedules = {"model": self._schedule()}
        self.progress = 0  # updates
        self.score: float | None = None  # of the newest evaluation, made after so many updates:
        self.scored_at = 0
        self.result: Result | None = None  # and what it saw
        self.order = seed  # of the pictures
        self._ahead = Ahead(self._read)
        self.train()

    def train(self, mode: bool = True) -> "Classify":
        """Training mode, save for what is frozen or keeps its statistics."""
        super().train(mode)
        if self.config.keep_statistics:
            for module in self.model.modules():
                if is_batch_norm(module):
                    module.eval()
        return self

    def _network(self) -> Backbone:
        """The backbone with its classifier: with what weights, and which of them are frozen."""
        c, d = self.config, self.design
        weights: Any = c.weights
        if weights not in (None, "imagenet", "arcade") and os.path.isdir(weights):  # names first
            weights = weights_file(Path(weights))
        model = create(c.backbone, d.channels, len(d.classes), weights=weights, **d.options)
        model.out_size(*d.size)  # UserError where the pictures are too small
        model.freeze(c.freeze)
        return model

    def _optimizer(self) -> torch.optim.Optimizer:
        """One parameter group for the weights and one for the vectors of each group of layers."""
        c, layers = self.config, self.model.layer_groups()
        groups = []
        for (_, parameters), factor in zip(
            layers, rate_factors(len(layers), c.layer_decay), strict=True
        ):
            learned = [p for p in parameters if p.requires_grad]
            for chosen, decay in (
                ([p for p in learned if p.dim() > 1], c.weight_decay),
                ([p for p in learned if p.dim() < 2], 0.0),
            ):
                if chosen:
                    rate = factor * c.learning_rate
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        if c.optimizer == "sgd":
            return torch.optim.SGD(groups, c.learning_rate, 0.9, nesterov=True, fused=True)
        kind = torch.optim.AdamW if c.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, c.learning_rate, fused=True)

    def _schedule(self) -> LambdaLR:
        warmup = round(self.config.warmup * self.updates_per_epoch)

        def rate(update: int) -> float:
            return rate_at(update, warmup, self.horizon, self.config.schedule)

        return LambdaLR(self.optimizers["model"], rate)

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """One update, from as many batches as the trainer accumulates."""
        pixels, labels = self._ahead.get(self.progress)
        parts = trainer.config.accumulate
        loss: Any = 0.0
        right: Any = 0.0
        for x, truth in zip(pixels.tensor_split(parts), labels.tensor_split(parts), strict=True):
            x, truth = upload(x, trainer.device), upload(truth, trainer.device)
            part_loss, part_right = self._learn(trainer, self.augment(to_unit(x)), truth)
            loss, right = loss + part_loss / parts, right + part_right / parts
        rate = self.schedules["model"].get_last_lr()[-1]
        self.schedules["model"].step()
        self.progress += 1
        return {"loss": loss, "accuracy": right, "rate": rate}

    def _read(self, update: int) -> tuple[Tensor, Tensor]:
        """This process's pictures (B, C, H, W) uint8 and labels (B,) for an update."""
        chosen = batch_indices(
            len(self.pictures), self.batch_size, self.order, update, ranks.rank(), ranks.world()
        )
        return self.pictures.read(chosen), self.pictures.labels[chosen]

    def _learn(self, trainer: Trainer, x: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, accuracy in percent) of one batch, both where they were computed."""
        right: list[Tensor] = []

        def loss() -> Tensor:
            logits = self.model.classify(x)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            right.append((logits.detach().argmax(1) == truth).float().mean() * 100)
            return F.cross_entropy(logits, truth, label_smoothing=self.config.label_smoothing)

        return trainer.minimize(loss, self.optimizers["model"]), right[-1]

    def rehearsal(self) -> Callable[[], Tensor]:
        """A loss on noise of a batch's size, by which the trainer times precisions."""
        device, d = next(self.parameters()).device, self.design
        shape = (self.config.batch_size, d.channels, *d.size)
        noise = to_unit(torch.randint(0, 256, shape, dtype=torch.uint8, device=device))
        truth = torch.zeros(len(noise), dtype=torch.int64, device=device)
        return lambda: F.cross_entropy(self.model.classify(noise).float(), truth)

    # Looking, saving, going on.

    def classifier(self) -> Classifier:
        """The classifier as it is now; shares the model's weights."""
        card = {
            "updates": self.progress, "score": self.score, "scored_at": self.scored_at,
            "data": parse(self.config.data)[0],
        }  # fmt: skip
        return Classifier(self.model, self.design, card)

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """Accuracy in percent on the test pictures, in fp32. {} when given up."""
        share = torch.arange(len(self.test_pictures))[ranks.rank() :: ranks.world()]
        mine = classifier.evaluate(
            self.classifier(), self.test_pictures.take(share), stop=lambda: trainer.stopping
        )
        parts = ranks.gather(None if mine is None else mine.probabilities)
        whole = torch.empty(len(self.test_pictures), len(self.design.classes))
        for rank, part in enumerate(parts):
            if part is None:
                return {}
            whole[rank :: len(parts)] = part
        result = Result(whole, self.test_pictures.labels, self.design.classes)
        self.result = result
        self.score, self.scored_at = result.accuracy, self.progress
        return result.figures()

    def frames(self) -> Iterator[Frame]:
        """The test pictures that it is most wrong about, with truth and guess."""
        result = self.result or classifier.evaluate(self.classifier(), self.test_pictures)
        assert result is not None
        yield from wrong_frames(self.test_pictures, result, PANEL)

    def export(self, path: Path) -> None:
        """Write the classifier's file, which `load` and `create(weights=...)` read."""
        self.classifier().save(path)

    def attach(self, run: Run) -> None:
        """UserError when the run was begun with other pictures; a new run remembers these."""
        refusal = (
            f"{self.config.data} does not hold the pictures that {run.path} was trained on, but "
            f"{len(self.pictures):,} others of {listed(self.pictures.classes)}."
        )
        run.belongs("pictures", self.pictures.fingerprint(), refusal)

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module."""
        return {
            "horizon": self.horizon, "epochs": self.config.epochs, "order": self.order,
            "score": self.score, "scored_at": self.scored_at,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`; another number of epochs than it was saved with is a new horizon.

        Older checkpoints have no epochs.
        """
        if state.get("epochs", self.config.epochs) == self.config.epochs:
            self.horizon = state["horizon"]
        self.order = state["order"]
        self._ahead.forget()
        self.score, self.scored_at = state["score"], state["scored_at"]

    def reseed(self, number: int) -> None:
        """Another order of the pictures, after a divergence."""
        self.order = self.seed + 7919 * number
        self._ahead.forget()

    def close(self) -> None:
        """End the reading thread."""
        self._ahead.close()


def _once() -> Callable[[str], None]:
    """To standard error, in the first process, what was not said already: both splits of a folder
    find the same broken files.
    """
    said: set[str] = set()

    def say(text: str) -> None:
        if text not in said and ranks.rank() == 0:
            to_stderr(text)
        said.add(text)

    return say


def evaluation_updates(task: Classify) -> int:
    """Every how many updates to evaluate: whole epochs, and at most EVALUATION_SHARE of the time.

    Looking at a picture costs about a third of learning from it.
    """
    looked_at = len(task.test_pictures) / 3 / task.batch_size  # in updates
    epochs = math.ceil(looked_at / EVALUATION_SHARE / task.updates_per_epoch)
    return max(1, epochs) * task.updates_per_epoch
