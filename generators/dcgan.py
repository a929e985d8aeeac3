"""DCGAN: a generator and a critic that learn from pictures against each other.

Pictures come as `playground.data.Pictures`, uint8 (N, C, S, S); `sample` gives floats in [0, 1].
One update is `critic_steps` steps of the critic and one of the generator. What is saved, shown and
scored is always the average of the generator's weights (EMA), where the trainer keeps one.

Source of the preset `dcgan2015`: Radford, Metz & Chintala 2016, "Unsupervised Representation
Learning with Deep Convolutional Generative Adversarial Networks", section 3; its losses are the
binary cross-entropies of Goodfellow et al. 2014.

Departs from the paper: it leaves open how wide the discriminator is, whether there are biases, and
how batch norms begin. Here the discriminator has 128 to 1,024 channels, there are no biases, and
gains begin at N(1, 0.02), all as in the authors' code, and as there the generator's loss is the
non-saturating one. Pictures come and go in [0, 1] instead of [-1, 1] (the networks themselves map).

The preset `example` is what PyTorch's example makes of it: 4x4 kernels, half as many channels,
normal latent numbers, batches of 64.

The preset `modern` halves the layers once more and adds what keeps a GAN alive: a penalty on the
critic's gradients (R1), another on dreams of a kind that differ less than real pictures do (after
Mao et al. 2019), DiffAugment, an averaged generator, self-modulation, and, for screens of games,
grounds: pictures are sorted into kinds (see `gan_kinds`), each dream is drawn on the median picture
of its kind, and the critic sees only how a picture differs from that. The preset `projected` has a
critic on features that do not learn; a critic with spectral norm is --norm spectral, and two
time scales (TTUR) are --critic-rate. Measured beside one another in scripts/benchmarks/RESULTS.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generators import diffaugment, gan_kinds, gan_losses, gan_nets
from generators.dreamer import Dreamer, Plan, as_often, copied, draw, load
from generators.gan_scores import LEAST, Features, Scorer
from playground import ranks
from playground.ahead import Ahead
from playground.backbone import create, to_unit
from playground.config import setting
from playground.data import Pictures, batch_indices, parse
from playground.errors import UserError, listed
from playground.frames import Frame
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import upload

__all__ = ["DCGAN", "PRESETS", "TRAINERS", "DCGANConfig", "load"]

PANEL = 36  # pictures of a panel
WARN_SHARE = 0.5  # of the best coverage or recall: below, kinds of pictures are being forgotten
STANDING_BATCHES = 16  # of 64 dreams, from which the batch norms' statistics are measured
SPREAD = 0.5  # weight, of games' dreams
SLOWLY = 0.98  # of the spread before, in the next one
NOISE_SEED = 20  # of what the panels show, always
# Where --kinds does not say: kinds of a class at most, and of all classes together, with so many
# pictures each in the mean at least.
KINDS, ALL_KINDS, OF_KIND = 64, 100, 50


@dataclass(frozen=True)
class DCGANConfig:
    """Everything that decides what is learned. Defaults are the preset ``modern``."""

    data: str = setting("", "pictures: atari:GAMES, mnist:DIR, cifar10:DIR or a folder")
    size: int = setting(64, "side of the pictures: 32, 64 or 128", "px")
    classes: bool = setting(False, "conditioned on the class: the game, or the folder")
    kinds: int | None = setting(
        None, "that the pictures of each class are sorted into (none: up to 64 of games, else 1)"
    )
    grounds: bool | None = setting(
        None, "classes and kinds, if any, are drawn on their median pictures (none: of games)"
    )
    latent: int = setting(100, "length of the vector that a picture is made from")
    width: int = setting(32, "channels of the generator's last layer but one")
    kernel: int = setting(4, "side of the strided convolutions: 4, or 5 as in the paper")
    noise: str = setting("normal", "how that vector is drawn", choices=("normal", "uniform"))
    modulated: bool = setting(True, "the generator's batch norms depend on that vector")
    spread: float | None = setting(
        None,
        "weight of dreams of a kind differing as real pictures do (none: 0.5 of games, else 0)",
    )
    critic: str = setting("classic", "what judges", choices=("classic", "projected"))
    critic_width: float = setting(0.5, "channels of a classic critic, times 64, 128, ...")
    norm: str | None = setting("batch", "of a classic critic: batch, spectral or none")
    loss: str = setting("bce", "what both minimise", choices=gan_losses.LOSSES)
    r1: float = setting(0.03, "weight of the gradient penalty at real pictures, as varied")
    r2: float = setting(0.0, "weight of the gradient penalty at generated ones, as varied")
    penalty_every: int = setting(8, "updates between two penalties, which weigh as much more")
    augment: tuple[str, ...] = setting(
        ("translation",), "DiffAugment of real and generated pictures"
    )
    batch_size: int = setting(32, "pictures of an update", "pictures")
    learning_rate: float = setting(4e-4, "Adam's, of the generator")
    critic_rate: float = setting(4e-4, "Adam's, of the critic")
    beta1: float = setting(0.0, "Adam's first")
    beta2: float = setting(0.99, "Adam's second")
    critic_steps: int = setting(1, "steps of the critic for one of the generator")
    samples: int = setting(2000, "dreams of an evaluation", "pictures")
    patience: int | None = setting(None, "evaluations without a better one before it ends")

    def check(self) -> None:
        """UserError for what no training can use."""
        gan_nets.doublings(self.size)
        diffaugment.check(self.augment)
        whole = ("latent", "width", "penalty_every", "batch_size", "critic_steps")
        for name in (*whole, "critic_width", "learning_rate", "critic_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0, and finite.")
        if self.kinds is not None and self.kinds < 1:
            raise UserError("--kinds starts at 1.")
        if (self.kinds or 1) > 1 and not self.modulated:
            raise UserError("The paper's generator knows no kinds: --kinds needs --modulated.")
        if self.norm not in (None, "batch", "spectral"):
            raise UserError(f"--norm is batch, spectral or none, not '{self.norm}'.")
        if self.samples < LEAST:
            raise UserError(f"--samples starts at {LEAST}: fewer give no figures.")
        if self.patience is not None and self.patience < 1:
            raise UserError("--patience starts at 1.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} lies from 0 to below 1.")
        for name in ("spread", "r1", "r2"):
            if not 0 <= (getattr(self, name) or 0.0) < math.inf:
                raise UserError(f"--{name} must not be negative.")


MODERN = DCGANConfig()
DCGAN2015 = replace(
    MODERN, kinds=1, grounds=False, width=128, kernel=5, noise="uniform", modulated=False,
    spread=0.0, critic_width=2.0, r1=0.0, augment=(), batch_size=128, learning_rate=2e-4,
    critic_rate=2e-4, beta1=0.5, beta2=0.999,
)  # fmt: skip
EXAMPLE = replace(
    DCGAN2015, width=64, kernel=4, noise="normal", critic_width=1.0, batch_size=64
)  # fmt: skip
PROJECTED = replace(
    MODERN, kinds=1, grounds=False, spread=0.0, critic="projected", loss="hinge", r1=0.0
)  # fmt: skip
PRESETS = {"modern": MODERN, "projected": PROJECTED, "dcgan2015": DCGAN2015, "example": EXAMPLE}
TRAINERS: dict[str, dict[str, Any]] = {  # what a preset asks of the trainer
    "modern": {"ema": 0.998},
    "projected": {"ema": 0.998},
    "dcgan2015": {},
    "example": {},
}


class DCGAN(nn.Module):
    """The training task. `held_out` are real pictures to be scored against, never learned from."""

    apart: Tensor  # (labels,) by how much real pictures of each differ from one another
    spread: Tensor  # by how much dreams do, as a share of that, in the last updates
    unit = "updates"
    averaged = ("generator",)

    def __init__(
        self, config: DCGANConfig, pictures: Pictures, held_out: Pictures, seed: int = 0
    ) -> None:
        super().__init__()
        config.check()
        if len(held_out) < LEAST:
            raise UserError(
                f"{config.data} has only {len(held_out)} of the {LEAST} pictures that dreams are "
                "scored against at least: add some."
            )
        if len(pictures) < config.batch_size:
            raise UserError(
                f"{config.data} has only {len(pictures):,} of the {config.batch_size:,} pictures "
                "that a batch takes: add some, or lower --batch-size."
            )
        for found in (pictures, held_out):
            if found.size != (config.size, config.size):
                raise ValueError(f"pictures of {found.size} pixels, but --size {config.size}")
        self.config, self.seed = config, seed
        self.pictures, self.held_out = pictures, held_out
        classes = pictures.classes if config.classes else ()
        if config.classes and len(classes) < 2:
            raise UserError("--classes needs pictures of two or more classes.")
        channels = pictures.channels
        labels = pictures.labels if classes else torch.zeros_like(pictures.labels)
        # Screens of games have grounds, what moves over them is little, and is soon always at the
        # same places. Other pictures of a kind have no common ground, and kinds, as few as they
        # are, are all that is learned of them in the end (RESULTS 13, Stacked-MNIST).
        games = parse(config.data)[0] == "atari"
        self.kinds = self._kinds(max(1, len(classes)), games)
        grounds = games if config.grounds is None else config.grounds
        spread = config.spread
        if spread is None:
            spread = SPREAD if games else 0.0
        # As a run is to remember it.
        self.config = config = replace(config, kinds=self.kinds, grounds=grounds, spread=spread)
        if self.kinds > 1:
            count = max(1, len(classes))
            if self.kinds * count > len(pictures):
                raise UserError(
                    f"{config.data} has only {len(pictures):,} pictures for {self.kinds * count:,} "
                    "kinds: lower --kinds."
                )
            labels = ranks.by_first(
                lambda: gan_kinds.sorted_into(pictures, labels, count, self.kinds, seed)
            )
        self.labels = labels
        shares = self._shares(classes)
        self.plan = Plan(
            config.size, channels, config.latent, config.width, classes, config.modulated,
            config.kernel, config.noise, grounds and bool(classes or shares), shares,
        )  # fmt: skip
        self.generator = self.plan.build()
        if self.plan.grounds:
            self.generator.draw_on(gan_kinds.medians(pictures, labels, self.plan.labels))
        self.critic = gan_nets.critic(
            config.critic, config.size, channels, config.critic_width, config.norm,
            self.plan.labels, config.kernel,
        )  # fmt: skip
        self.register_buffer("apart", self._apart(), persistent=False)
        self.register_buffer("spread", torch.ones(()))
        self.optimizers = {
            "generator": self._adam(self.generator, config.learning_rate),
            "critic": self._adam(self.critic, config.critic_rate),
        }
        self.progress = 0
        self.order = seed
        self.figures: dict[str, float] = {}  # of the newest evaluation, made after so many updates:
        self.scored_at = 0
        self.best: dict[str, float] = {}  # the best of each figure so far
        self.stale = 0  # evaluations since the best score
        self._ahead = Ahead(self._read)
        self.keep: Callable[[Path], None] = lambda folder: None  # files of its own in the run
        self._scorer: Scorer | None = None
        self._dreamer: Dreamer | None = None  # of the newest evaluation

    def _kinds(self, classes: int, games: bool) -> int:
        """How many kinds the pictures of each class are sorted into."""
        if self.config.kinds is not None or not self.config.modulated or not games:
            return self.config.kinds or 1
        found = len(self.pictures) // (OF_KIND * classes)
        return max(1, min(KINDS, ALL_KINDS // classes, found))

    def _shares(self, classes: tuple[str, ...]) -> tuple[float, ...]:
        """Of the kinds of each class, as they are sorted now."""
        if self.kinds == 1:
            return ()
        return gan_kinds.shares_of(self.labels, max(1, len(classes)), self.kinds)

    def _apart(self) -> Tensor:
        count = max(1, self.plan.labels)
        if not self.config.spread:  # nobody asks
            return torch.zeros(count)
        return gan_kinds.apart(self.pictures, self.labels, count)

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Optimizer:
        learned = [p for p in network.parameters() if p.requires_grad]
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(learned, rate, betas, fused=True)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Older checkpoints do not know the spread."""
        if f"{prefix}generator.first.weight" in state:  # it is one, and not statistics alone
            state.setdefault(prefix + "spread", torch.ones_like(self.spread))
        super()._load_from_state_dict(state, prefix, *rest)

    # One update.

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """The critic's steps, then the generator's."""
        figures: dict[str, Any] = {}
        for i in range(self.config.critic_steps):
            pixels, labels = self._ahead.get(self.progress * self.config.critic_steps + i)
            pixels, labels = (upload(part, trainer.device) for part in (pixels, labels))
            figures |= self._criticise(trainer, to_unit(pixels), labels)
        figures |= self._generate(trainer, to_unit(pixels), labels)
        self.progress += 1
        return figures

    def _criticise(self, trainer: Trainer, real: Tensor, labels: Tensor) -> dict[str, Any]:
        c = self.config
        punish = (c.r1 or c.r2) and self.progress % c.penalty_every == 0
        seen: dict[str, Any] = {}

        def loss() -> Tensor:
            with torch.no_grad():  # here, so that the batch norms forget it with a bad update
                fake = self.generator(self._noise(real), labels)
            a, b = self._shown(real, labels), self._shown(fake, labels)
            if punish:
                a, b = a.detach().requires_grad_(c.r1 > 0), b.detach().requires_grad_(c.r2 > 0)
            on_real, on_fake = self._judge(a, b, labels, bool(punish))
            total = gan_losses.critic_loss(c.loss, on_real.float(), on_fake.float())
            seen.update(
                critic_loss=total.detach(),
                critic_right=50 * ((on_real > 0).float().mean() + (on_fake < 0).float().mean()),
            )
            for weight, logits, x in ((c.r1, on_real, a), (c.r2, on_fake, b)):
                if punish and weight:
                    penalty = gan_losses.gradient_penalty(logits, x)
                    total = total + weight * c.penalty_every * penalty
            return total

        trainer.minimize(loss, self.optimizers["critic"])
        return seen

    def _judge(
        self, real: Tensor, fake: Tensor, labels: Tensor, punish: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits of both: together, save where a batch norm is to see each kind alone."""
        # Compiled code has no second derivatives, which a penalty on gradients needs.
        judge = self.critic.forward if punish else self.critic
        if self.config.critic == "classic" and self.config.norm == "batch":
            return judge(real, labels), judge(fake, labels)
        both = judge(torch.cat([real, fake]), torch.cat([labels, labels]))
        on_real, on_fake = both.chunk(2)
        return on_real, on_fake

    def _generate(self, trainer: Trainer, real: Tensor, labels: Tensor) -> dict[str, Any]:
        c = self.config
        figures: dict[str, Any] = {}
        weight = c.spread or 0.0
        half = len(labels) // 2 if weight else 0
        wanted = labels[:half].repeat(2) if half else labels  # in pairs
        real, labels = real[: len(wanted)], labels[: len(wanted)]

        def loss() -> Tensor:
            dreams = self.generator(self._noise(real), wanted)
            on_real = None
            if c.loss == "relativistic":
                with torch.no_grad():
                    on_real = self.critic(self._shown(real, labels), labels)
            on_fake = self.critic(self._shown(dreams, wanted), wanted)
            total = gan_losses.generator_loss(
                c.loss, None if on_real is None else on_real.float(), on_fake.float()
            )
            if half:
                figures["spread"] = found = gan_losses.difference(dreams, self.apart[wanted[:half]])
                total = total + weight * (1 - self.spread).relu() * (1 - found)
            return total

        figures["generator_loss"] = found = trainer.minimize(loss, self.optimizers["generator"])
        if half:  # and not of an update that was skipped
            now = trainer.mean(figures["spread"].detach() + 0 * found)
            self.spread.lerp_(now.where(now.isfinite(), self.spread), 1 - SLOWLY)
        return figures

    def _shown(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """What the critic sees of pictures (N, C, S, S): varied, and without their grounds.

        Beside the differences between grounds it would not notice what moves over them.
        """
        if self.plan.grounds and self.config.critic == "classic":
            pictures = pictures - self.generator.ground_of(labels) + diffaugment.GREY
        return diffaugment.vary(pictures, self.config.augment)

    def _noise(self, like: Tensor) -> Tensor:
        shape = (len(like), self.config.latent)
        return draw(shape, self.config.noise, device=like.device)

    def _read(self, number: int) -> tuple[Tensor, Tensor]:
        """This process's pictures (B, C, S, S) uint8 and labels (B,) for a step of the critic."""
        chosen = batch_indices(
            len(self.pictures), self.config.batch_size, self.order, number, ranks.rank(),
            ranks.world(),
        )  # fmt: skip
        return self.pictures.read(chosen), self.labels[chosen]

    def rehearsal(self) -> Callable[[], Tensor]:
        """The work of an update on noise, by which the trainer times precisions."""
        c, device = self.config, next(self.generator.parameters()).device
        shape = (c.batch_size, self.plan.channels, c.size, c.size)
        real = to_unit(torch.randint(0, 256, shape, dtype=torch.uint8, device=device))
        labels = torch.zeros(len(real), dtype=torch.int64, device=device)

        def loss() -> Tensor:
            fake = self.generator(self._noise(real), labels)
            on_real, on_fake = self._judge(real, fake, labels, False)
            return gan_losses.critic_loss(c.loss, on_real.float(), on_fake.float())

        return loss

    # Looking, saving, going on.

    def dreamer(self) -> Dreamer:
        """The generator as it is now, its batch norms' statistics measured for these weights."""
        card = {
            "updates": self.progress, "data": self.config.data, "figures": dict(self.figures),
            "scored_at": self.scored_at,
        }  # fmt: skip
        dreamer = Dreamer(copied(self.plan, self.generator), self.plan, card)
        shares = self.pictures.labels if self.plan.classes else None
        dreamer.measure(STANDING_BATCHES, shares=shares)
        return dreamer

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """fid, kid, precision, recall and coverage (see `gan_scores`); the score is -fid.

        Of dreams whose classes are as often as among the held-out pictures.
        They compare within a run. A projected critic looks through the same frozen network, which
        flatters them: what is to be held against others needs features that neither has used.
        """
        if self._scorer is None:
            self._features = features_to_score()
            self._features.backbone.to(trainer.device)
            self._scorer = Scorer(self._features.of(self.held_out, self.config.samples))
        self._dreamer, count = self.dreamer(), self.config.samples
        classes = as_often(self.held_out.labels, count) if self.plan.classes else None
        found = []
        for dreams in self._dreamer.stream(count, NOISE_SEED + 1, classes):
            if trainer.stopping:
                return {}
            found.append(self._features(dreams))
        figures = self._scorer.score(torch.cat(found))
        self.figures, self.scored_at = figures, self.progress
        self._watch(trainer, figures)
        return {"score": -figures["fid"], **figures}

    def _watch(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """Warn where diversity falls; end where nothing gets better."""
        for name in ("coverage", "recall"):
            best = self.best.get(name, 0.0)
            if figures[name] < WARN_SHARE * best:
                trainer.say(
                    f"{name.capitalize()} fell to {figures[name]:.2f} from {best:.2f}: the "
                    "generator is forgetting kinds of pictures. best.safetensors keeps the better "
                    "one; --r1 or a lower --critic-rate may help."
                )
            self.best[name] = max(best, figures[name])
        better = figures["fid"] < self.best.get("fid", math.inf)
        self.best["fid"] = min(self.best.get("fid", math.inf), figures["fid"])
        self.stale = 0 if better else self.stale + 1
        if self.config.patience is not None and self.stale >= self.config.patience:
            trainer.say(f"No better score in {self.stale} evaluations: ending.")
            trainer.stop()

    def frames(self) -> Iterator[Frame]:
        """Dreams from the same noise each time, classes in turn."""
        dreamer = self._dreamer or self.dreamer()
        labels = dreamer.labels_in_turn(PANEL)
        pixels = dreamer.sample(PANEL, NOISE_SEED, labels)
        for i, picture in enumerate((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()):
            text = "" if labels is None else dreamer.classes[int(labels[i])]
            yield Frame(picture.repeat(3, 2) if picture.shape[2] == 1 else picture, text)

    def export(self, path: Path) -> None:
        """Write the dreamer's file, which `load` reads."""
        self.dreamer().save(path)

    def attach(self, run: Run) -> None:
        """UserError when the run was begun with other pictures; a new run remembers these."""
        refusal = (
            f"{self.config.data} does not hold the pictures that {run.path} was trained on, but "
            f"{len(self.pictures):,} others of {listed(self.pictures.classes)}."
        )
        run.belongs("pictures", self.pictures.fingerprint(), refusal, self.keep)

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module."""
        return {
            "order": self.order, "figures": self.figures, "scored_at": self.scored_at,
            "best": self.best, "stale": self.stale,
            # As k-means need not come out the same again.
            **({"labels": self.labels.int()} if self.kinds > 1 else {}),
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self.order, self.best, self.stale = state["order"], state["best"], state["stale"]
        self.figures, self.scored_at = state["figures"], state["scored_at"]
        if self.kinds > 1:
            self.labels = state["labels"].long()
        self.plan = replace(self.plan, shares=self._shares(self.plan.classes))
        self.apart.copy_(self._apart())
        self._ahead.forget()

    def reseed(self, number: int) -> None:
        """Another order of the pictures, after a divergence."""
        self.order = self.seed + 7919 * number
        self._ahead.forget()

    def close(self) -> None:
        """End the reading thread."""
        self._ahead.close()


def features_to_score() -> Features:
    """The frozen network of the task's own evaluations: the arcade backbone, which ships."""
    return Features(create("arcade", weights="arcade"), ("relu3_2", "relu4_2"))
