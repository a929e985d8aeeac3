"""A trained classifier: pictures in, probabilities by class name out; its file; ensembles.

`load(source)` takes a run directory or an exported .safetensors file, which carries all that is
needed (backbone, its options, classes, size, channels) in its metadata; several sources make an
ensemble, which averages their probabilities.

Pictures come in any form that `inputs` takes, and are made fit as in training: the shorter side is
resized, the centre kept.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from playground import exports
from playground.augment import Augment
from playground.backbone import Backbone, create
from playground.data import Pictures
from playground.errors import UserError, listed
from playground.inputs import fitted
from playground.run import Run

KEY, FORMAT = "playground_classifier", 1  # of the metadata
BATCH = 128  # pictures looked at together; more are slower on a CPU, whose cache they leave


@dataclass(frozen=True)
class Design:
    """What a classifier is made of; all of it is plain JSON."""

    backbone: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    channels: int  # 1 or 3
    size: tuple[int, int]  # (height, width) in pixels
    augment: str  # the recipe it was trained with, from which further views are drawn

    def build(self) -> Backbone:
        """The network, without its weights; the random generators stay as they are."""
        with torch.random.fork_rng(devices=[]):
            return create(self.backbone, self.channels, len(self.classes), **self.options)


class Classifier:
    """One network with its classes. `card` is what its file says of its training."""

    def __init__(self, network: Backbone, design: Design, card: dict[str, Any]) -> None:
        self.network, self.design, self.card = network, design, card
        self.classes = design.classes

    @torch.inference_mode()
    def probabilities(self, images: Any, views: int = 1) -> Tensor:
        """(N, classes) float32. More `views` average over the picture and augmented copies of it.

        The copies are drawn as in training, from a generator of their own: the same at each call.
        """
        device = next(self.network.parameters()).device
        design = self.design
        augment = Augment(design.augment)
        found = []
        drawing = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with drawing, evaluating(self.network):
            torch.manual_seed(0)
            for unit in fitted(images, design.channels, design.size).split(BATCH):
                unit = unit.to(device)
                copies = (augment(unit) for _ in range(views - 1))
                each = [self.network.classify(x).float().softmax(1) for x in (unit, *copies)]
                found.append(torch.stack(each).mean(0).cpu())
        return torch.cat(found)

    def predict(self, images: Any, views: int = 1) -> list[dict[str, float]]:
        """For each picture the probability of every class, the likeliest first."""
        return named(self.classes, self.probabilities(images, views))

    def save(self, path: Path) -> None:
        """Write weights and all that `load` needs; the keys are the backbone's own."""
        about = {"format": FORMAT, "design": vars(self.design), "card": self.card}
        exports.write(path, self.network, KEY, about, half=False)


class Ensemble:
    """Several classifiers of the same classes; the mean of their probabilities."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        self.members = tuple(members)
        self.classes = self.members[0].classes
        for member in self.members:
            if member.classes != self.classes:
                raise UserError(
                    "An ensemble's members tell the same classes apart; these do not: "
                    f"{listed(self.classes)} and {listed(member.classes)}."
                )

    def probabilities(self, images: Any, views: int = 1) -> Tensor:
        """As of a classifier."""
        each = [member.probabilities(images, views) for member in self.members]
        return torch.stack(each).mean(0)

    def predict(self, images: Any, views: int = 1) -> list[dict[str, float]]:
        """As of a classifier."""
        return named(self.classes, self.probabilities(images, views))


@dataclass(frozen=True)
class Result:
    """How a classifier did on N labelled pictures."""

    probabilities: Tensor  # (N, classes)
    labels: Tensor  # (N,)
    classes: tuple[str, ...]

    @property
    def wrong(self) -> Tensor:
        """Positions (M,) of the pictures that were taken for another class, in their order."""
        return (self.probabilities.argmax(1) != self.labels).nonzero().flatten()

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * (1 - len(self.wrong) / len(self.labels))

    def figures(self) -> dict[str, Any]:
        """score (accuracy in percent), loss (cross-entropy, nats), wrong, and top5 of many."""
        truth = self.probabilities.gather(1, self.labels[:, None]).clamp_min(1e-12)
        loss = float(-truth.log().mean())
        found = {"score": self.accuracy, "loss": loss, "wrong": len(self.wrong)}
        if len(self.classes) >= 20:
            top = self.probabilities.topk(5).indices == self.labels[:, None]
            found["top5"] = 100 * float(top.any(1).float().mean())
        return found

    def recall(self) -> dict[str, float]:
        """Of each class that there were pictures of, the percentage that was recognised."""
        matrix = self.confusion()
        found, there = matrix.diag().tolist(), matrix.sum(1).tolist()
        each = zip(self.classes, found, there, strict=True)
        return {name: 100 * right / count for name, right, count in each if count}

    def confusion(self) -> Tensor:
        """(classes, classes) int64: how many of each true class (row) were taken for which."""
        n = len(self.classes)
        pairs = self.labels * n + self.probabilities.argmax(1)
        return torch.bincount(pairs, minlength=n * n).view(n, n)


def evaluate(
    classifier: Classifier | Ensemble,
    pictures: Pictures,
    views: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Look at every picture; None when `stop` says so meanwhile.

    The pictures' classes are found by name and may be some of the classifier's, in any order.
    UserError for one that it does not know.
    """
    foreign = [name for name in pictures.classes if name not in classifier.classes]
    if foreign:
        raise UserError(
            f"It was trained to tell {listed(classifier.classes)} apart, and these pictures show "
            f"{listed(foreign)}."
        )
    places = torch.tensor([classifier.classes.index(name) for name in pictures.classes])
    parts = [torch.empty(0, len(classifier.classes))]
    for first in range(0, len(pictures), BATCH):
        if stop():
            return None
        indices = torch.arange(first, min(first + BATCH, len(pictures)))
        parts.append(classifier.probabilities(pictures.read(indices), views))
    return Result(torch.cat(parts), places[pictures.labels], classifier.classes)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode while it lasts; then each module's mode is as before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def named(classes: Sequence[str], probabilities: Tensor) -> list[dict[str, float]]:
    """Each row as {class: probability}, the likeliest first."""
    order = probabilities.sort(1, descending=True)
    return [
        {classes[i]: p for i, p in zip(indices, values, strict=True)}
        for indices, values in zip(order.indices.tolist(), order.values.tolist(), strict=True)
    ]


def load(source: str | Path, *more: str | Path) -> Classifier | Ensemble:
    """The classifier of a run (as it was when last saved) or of an exported file.

    With several sources, an ensemble. Not a run's best.safetensors unless named: that one was
    chosen by the very pictures that it is then scored on. UserError for what is none.
    """
    first = _load(Path(source))
    return Ensemble([first, *(_load(Path(other)) for other in more)]) if more else first


def weights_file(path: Path) -> Path:
    """The file itself, or a run's newest weights; UserError where there is none."""
    return exports.find(path, "classify", "classifier", files=(exports.LAST,))


def is_classifier(source: str) -> bool:
    """Whether a run's settings or a file's metadata say so; False for what cannot be read."""
    path = Path(source)
    try:
        if path.is_dir():
            return Run.open(path).task == "classify"
        with safe_open(path, "pt") as file:
            return KEY in (file.metadata() or {})
    except (UserError, SafetensorError, OSError):
        return False


def _load(source: Path) -> Classifier:
    network, about = exports.read(
        weights_file(source), KEY, FORMAT, "classifier",
        lambda about: _design(about["design"]).build(),
    )  # fmt: skip
    return Classifier(network, _design(about["design"]), about["card"])


def _design(values: dict[str, Any]) -> Design:
    """From JSON; KeyError, TypeError or ValueError for what is none."""
    height, width = (int(side) for side in values["size"])
    classes = tuple(str(name) for name in values["classes"])
    channels = int(values["channels"])
    if min(height, width) < 1 or len(classes) < 2 or channels not in (1, 3):
        raise ValueError("sizes, classes or channels are out of range")
    options = dict(values["options"])
    names = str(values["backbone"]), options, classes, channels, (height, width)
    return Design(*names, augment=str(values["augment"]))


def count_parameters(network: nn.Module) -> int:
    """All that is learned, frozen or not."""
    return sum(parameter.numel() for parameter in network.parameters())
