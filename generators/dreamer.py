"""A trained generator: `sample` dreams, `walk` through them; its file.

`load(source)` takes a run directory, an exported .safetensors file or "zoo:NAME". The file carries
all that is needed in its metadata.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from generators.gan_nets import Generator
from playground import exports
from playground.errors import UserError, listed, nearest

KEY, FORMAT = "playground_dreamer", 1  # of the metadata
ZOO = Path(__file__).with_name("zoo")
BATCH = 64  # pictures drawn together


@dataclass(frozen=True)
class Plan:
    """What a generator is made of; all of it is plain JSON."""

    size: int
    channels: int
    latent: int
    width: int
    classes: tuple[str, ...]
    modulated: bool
    kernel: int = 4
    noise: str = "normal"
    grounds: bool = False
    shares: tuple[float, ...] = ()  # of the kinds of each class, one class after another

    @property
    def labels(self) -> int:
        """How many labels the network knows: each kind of each class has its own."""
        return len(self.shares) or len(self.classes)

    def build(self) -> Generator:
        """The network, at its first weights."""
        return Generator(
            self.size, self.channels, self.latent, self.width, self.labels, self.modulated,
            self.kernel, self.grounds,
        )  # fmt: skip


def copied(plan: Plan, network: nn.Module) -> Generator:
    """A copy of a network of this plan, in evaluation mode and float32 on its device."""
    with torch.random.fork_rng(devices=[]):
        other = plan.build()
    other.load_state_dict(network.state_dict())
    return other.to(next(network.parameters()).device).eval()


class Dreamer:
    """One generator with its classes. `card` is what its file says of its training."""

    def __init__(self, network: Generator, plan: Plan, card: dict[str, Any]) -> None:
        self.network, self.plan, self.card = network, plan, card
        self.classes = plan.classes

    def sample(
        self,
        n: int,
        seed: int = 0,
        label: str | int | Tensor | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """n dreams: float (n, C, S, S) in [0, 1], always the same for the same arguments.

        Args:
            n: how many, from 1.
            seed: of the latent vectors and kinds (and of the classes, where none is named).
            label: a class by name or number, or (n,) numbers; None draws them.
            truncation: latent numbers beyond ± this are not drawn: the smaller, the more alike and
                the more typical the dreams (Brock et al. 2019). None draws from all.

        Raises UserError for a class that it does not know.
        """
        if n < 1:
            raise UserError(f"A number of dreams starts at 1, not {n}.")
        generator = torch.Generator().manual_seed(seed)
        noise = self._noise(n, generator, truncation)
        return self._draw(noise, self._labels(n, label, generator))

    @torch.no_grad()
    def _draw(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Latent vectors (n, latent), and the network's labels (n,) if it has any -> `sample`."""
        device = next(self.network.parameters()).device
        found = []
        for i in range(0, len(noise), BATCH):
            some = None if labels is None else labels[i : i + BATCH].to(device)
            found.append(self.network(noise[i : i + BATCH].to(device), some).cpu())
        return torch.cat(found)

    def stream(self, n: int, seed: int, classes: Tensor | None = None) -> Iterator[Tensor]:
        """n dreams in batches, of these classes (n,); else of all, as often as one another."""
        generator = torch.Generator().manual_seed(seed)
        classes = self.labels_in_turn(n) if classes is None else classes
        for i in range(0, n, BATCH):
            count = min(BATCH, n - i)
            noise = self._noise(count, generator)
            some = None if classes is None else classes[i : i + count]
            yield self._draw(noise, self._labels(count, some, generator))

    def labels_in_turn(self, n: int) -> Tensor | None:
        """(n,) labels 0, 1, 2, ..., 0, 1, ...; None where it knows no classes."""
        return torch.arange(n) % len(self.classes) if self.classes else None

    def walk(
        self,
        steps: int,
        stops: int,
        seed: int = 0,
        label: str | int | None = None,
        truncation: float | None = None,
    ) -> Iterator[Tensor]:
        """A loop through `stops` dreams, `steps` pictures from one to the next: each (C, S, S).

        Between two latent vectors it goes along the great circle (White 2016); with classes and no
        label each stop has its class, and in any case its kind, and the way leads through mixtures.
        """
        if steps < 1 or stops < 2:
            raise UserError("A walk has two stops at least, and a step between them.")
        generator = torch.Generator().manual_seed(seed)
        noise = self._noise(stops, generator, truncation)
        labels = self._labels(stops, label, generator)
        for i in range(stops):
            for t in torch.arange(steps) / steps:
                j = (i + 1) % stops
                z = slerp(noise[i : i + 1], noise[j : j + 1], float(t))
                if labels is None:
                    yield self._draw(z, None)[0]
                else:
                    yield self._between(z, labels[[i, j]], float(t))

    def _noise(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        return draw((n, self.plan.latent), self.plan.noise, generator, truncation)

    @torch.no_grad()
    def _between(self, noise: Tensor, labels: Tensor, t: float) -> Tensor:
        """One picture (C, S, S) whose label is a mixture of two."""
        device = next(self.network.parameters()).device
        shares = torch.tensor([[1 - t, t]], device=device)
        return self.network.blend(noise.to(device), labels.to(device), shares)[0].cpu()

    def _labels(
        self, n: int, label: str | int | Tensor | None, generator: torch.Generator
    ) -> Tensor | None:
        """The network's labels (n,) of dreams of a class, of (n,) classes, or of any."""
        classes = self._classes(n, label, generator)
        if not self.plan.shares:
            return classes
        shares = torch.tensor(self.plan.shares).view(max(1, len(self.classes)), -1)
        if classes is None:
            classes = torch.zeros(n, dtype=torch.int64)
        kinds = torch.multinomial(shares[classes], 1, generator=generator)[:, 0]
        return classes * shares.shape[1] + kinds

    def _classes(
        self, n: int, label: str | int | Tensor | None, generator: torch.Generator
    ) -> Tensor | None:
        if not self.classes:
            if label is not None:
                raise UserError("This generator knows no classes.")
            return None
        if isinstance(label, Tensor):
            return self._checked(label.cpu().long(), n)
        if label is None:
            return torch.randint(len(self.classes), (n,), generator=generator)
        if isinstance(label, str):
            if label not in self.classes:
                raise UserError(
                    f"It dreams no '{label}'.{nearest(label, self.classes)} "
                    f"It knows {listed(self.classes)}."
                )
            label = self.classes.index(label)
        if not 0 <= label < len(self.classes):
            raise UserError(f"Classes are numbered 0 to {len(self.classes) - 1}, not {label}.")
        return torch.full((n,), label)

    def _checked(self, labels: Tensor, n: int) -> Tensor:
        """UserError where they are not n numbers of classes."""
        known = labels.shape == (n,) and bool(((labels >= 0) & (labels < len(self.classes))).all())
        if not known:
            raise UserError(
                f"Labels of {n} dreams are {n} numbers from 0 to {len(self.classes) - 1}."
            )
        return labels

    @torch.no_grad()
    def measure(self, batches: int, seed: int = 1, shares: Tensor | None = None) -> None:
        """Set the batch norms' statistics to those of these weights ("standing statistics").

        Over dreams whose classes are as often as among the labels `shares` (see `as_often`), else
        of all alike.

        The running ones belong to the weights of the last updates, not to their average
        (Brock et al. 2019, appendix C).
        """
        norms = [m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        self.network.train()
        classes = None if shares is None else as_often(shares, batches * BATCH)
        for _ in self.stream(batches * BATCH, seed, classes):
            pass
        self.network.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def save(self, path: Path) -> None:
        """Write fp16 weights and all that `load` needs."""
        about = {"format": FORMAT, "plan": asdict(self.plan), "card": self.card}
        exports.write(path, self.network, KEY, about, half=True)


def as_often(labels: Tensor, n: int) -> Tensor:
    """(n,) labels, each as often as among these (N,), in a mixed order that is always the same."""
    places = ((torch.arange(n) + 0.5) * (len(labels) / n)).long()
    mixed = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return labels.sort().values[places[mixed]]


def draw(
    shape: tuple[int, ...],
    noise: str,
    generator: torch.Generator | None = None,
    truncation: float | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Latent numbers: standard "normal" ones, or "uniform" in ±1.

    Those beyond ± truncation do not occur; uniform ones lie within ±1 anyway.
    """
    if truncation is not None and not truncation > 0:
        raise UserError(f"--truncation must be above 0, not {truncation}.")
    if noise == "uniform":
        reach = min(truncation or 1.0, 1.0)
        return (torch.rand(shape, generator=generator, device=device) * 2 - 1) * reach
    if truncation is None:
        return torch.randn(shape, generator=generator, device=device)
    reach = math.erf(truncation / math.sqrt(2))  # of the distribution's mass
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return (torch.erfinv(uniform * reach) * math.sqrt(2)).float()


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation of (..., D) vectors: a at 0, b at 1, norms between theirs."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)
    angle = torch.arccos(cosine)[..., None]
    sine = torch.sin(angle)
    plain = torch.lerp(a, b, t)
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / sine
    return torch.where(sine.abs() < 1e-4, plain, arc)


def load(source: str | Path) -> Dreamer:
    """The generator of a run (its best), of a file, or of the zoo. UserError for what is none."""
    path = exports.find(source, "dcgan", "generator", ZOO)
    network, about = exports.read(path, KEY, FORMAT, "generator", lambda a: _plan(a).build())
    return Dreamer(network, _plan(about), about["card"])


def _plan(about: dict[str, Any]) -> Plan:
    plan = Plan(**about["plan"])
    plan = replace(plan, classes=tuple(map(str, plan.classes)), shares=tuple(plan.shares))
    if type(plan.grounds) is not bool:
        raise ValueError("grounds are there or not")
    if not all(type(share) is float for share in plan.shares):
        raise ValueError("shares are numbers")
    if plan.shares:
        shares = np.array(plan.shares, np.float64).reshape(max(1, len(plan.classes)), -1)
        if not ((shares >= 0).all() and np.allclose(shares.sum(1), 1, atol=1e-3)):
            raise ValueError("the shares of a class's kinds do not add up to one")
    return plan
