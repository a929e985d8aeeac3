"""Captions: an encoder and a decoder that learn to say what is in a picture or clip.

Pictures come as `caption_pairs.Pairs`, uint8 pixels with sentences; out come the sentences of a
`captioner.Captioner`, which `load` reads. Training is cross-entropy on the next word (teacher
forcing), and then, where asked for, self-critical: captions are drawn, and made likelier by how
much better the judge rewards them than others of the picture (Rennie et al. 2017; the baseline is
that of Luo 2020, "A Better Variant of Self-Critical Sequence Training"), while imitation may go on
beside (Paulus et al. 2018, "A Deep Reinforced Model for Abstractive Summarization"). The encoder is
frozen first, its features computed once, and then learns at a rate of its own. Scores always come
from captions that were decoded word by word, and a judge.

Sources of the presets: `nic` Vinyals et al. 2015, "Show and Tell"; `attend` Xu et al. 2015, "Show,
Attend and Tell" (soft attention, doubly stochastic); `best` a small transformer decoder (Vaswani et
al. 2017), whose attention also learns from where the named things are, if that is known (Liu et al.
2017, "Attention Correctness in Neural Image Captioning"), and its encoder from what they do
there (`caption_auxiliary`).

Departs from the papers: encoders are those of this playground, and memory holds the coordinates of
each place too; Adam with decoupled weight decay and a cosine; several sentences of a picture share
one look at it; no ensembles. Batch norms of encoders keep the statistics that they came with.
Imitation beside rewards is added to these with a weight, not traded against them.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from generators.caption_auxiliary import AuxiliaryHead, Targets
from generators.caption_judges import Judge
from generators.caption_losses import advantages, grounding, sequence_log_probability
from generators.caption_memory import Memories, fits, to_memory_input
from generators.caption_nets import doubly_stochastic
from generators.caption_pairs import Batch, Pairs, batch, cells_of, union_of, vocabulary_of
from generators.caption_settings import PRESETS, TRAINER, CaptionConfig, for_clips
from generators.caption_views import last_picture, peaks, wrapped
from generators.captioner import (
    COORDINATES,
    Caption,
    Captioner,
    Masked,
    Parts,
    Plan,
    begin_of,
    load,
    load_own,
    never,
)
from generators.decoding import say
from generators.words import END, PAD, Vocabulary
from playground import ranks
from playground.ahead import Ahead
from playground.classify import rate_at
from playground.data import batch_indices, permutation
from playground.errors import UserError
from playground.frames import Frame
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import upload
from playground.weights import is_name

__all__ = ["PRESETS", "TRAINER", "CaptionConfig", "Captioning", "for_clips", "load", "rehearse"]

PANEL = 16  # pictures of a panel
LINE = 30  # letters of a line below them
SLOWLY = 0.9  # of the size of advantages before, in the next one


class Captioning(nn.Module):
    """The training task. `held_out` are never learned from; `judge` scores what is said of them.

    steps: length of the training; None: the config's updates. words: of a training that goes on;
    its checkpoint holds all weights, so that `config.start` and `config.weights` are not read. Of
    `config.start` all weights are its own, but for an encoder's that it only names.
    UserError for settings or pictures that do not do.
    """

    unit = "updates"

    def __init__(
        self,
        config: CaptionConfig,
        pairs: Pairs,
        held_out: Pairs,
        judge: Judge,
        steps: int | None = None,
        seed: int = 0,
        words: Vocabulary | None = None,
    ) -> None:
        super().__init__()
        config.check()
        self.config, self.pairs, self.held_out, self.judge = config, pairs, held_out, judge
        self.seed = self.order = seed
        self.horizon = config.horizon(steps if words is None else None)  # or as it was saved
        first = _first(config) if config.start and words is None else None
        if first is not None:  # which knows what its words are; further ones come behind them
            spelled = first.vocabulary.spell_numbers
            words = first.vocabulary.extended(vocabulary_of(pairs, config.min_count, spelled))
        if words is not None and config.start:
            own = words  # not the captions' words: by these they are not told apart
        else:
            own = vocabulary_of(pairs, config.min_count, config.digits)
        self.vocabulary, self._told = words or own, own.fingerprint
        self.critic = judge.critic(pairs, self.vocabulary) if config.critical else None
        self.plan = plan_of(config, pairs.registers)
        encoder = self.plan.encoder(config.weights if words is None else None)
        encoder.requires_grad_(config.encoder_rate > 0)
        self.parts = Parts(self.plan, encoder, len(self.vocabulary))
        self.auxiliary = self._auxiliary_head(encoder.features - COORDINATES)
        # Updates at the beginning that learn what things do, and no sentences.
        self.silent = int(config.auxiliary_first * self._imitated) if self.auxiliary else 0
        # The published weights, by name, that the encoder has until it learns; None: others.
        self.published = first.plan.published if first else _named(config)
        if first is not None:
            self._learn_on(first)
        heads = [self.parts.decoder, *filter(None, [self.auxiliary])]
        groups = [
            {"params": [p for m in heads for p in m.parameters()], "lr": config.learning_rate}
        ]
        if config.encoder_rate:
            groups += [{"params": list(encoder.parameters()), "lr": config.encoder_rate}]
        self.optimizers = {
            "captioner": torch.optim.AdamW(
                groups, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
            )
        }
        rates: list[Any] = [self._decoder_rate, self._encoder_rate][: len(groups)]
        self.schedules = {"captioner": LambdaLR(self.optimizers["captioner"], rates)}
        # Mean square of self-critical advantages, by register ("" where there are none).
        self.sizes: dict[str, float] = {}
        self.progress = 0
        self.figures: dict[str, float] = {}  # of the newest evaluation, made after so many updates:
        self.scored_at = 0
        self.keep: Callable[[Path], None] = lambda folder: None  # files of its own in the run
        self._memories: dict[str, Memories] = {}
        self._does_fit: bool | None = None  # see `_fits`
        self.grid = encoder.grid_of(*self.plan.size)  # rows and columns of the memory
        # of the newest evaluation: held-out pairs, and what was said of them
        self.seen: tuple[Sequence[int], Mapping[str | None, Sequence[Caption]]] | None = None
        self._ahead = Ahead(self._read)
        self.train()

    def _auxiliary_head(self, features: int) -> AuxiliaryHead | None:
        """None where it is not asked for, or where too few pictures are there to ask anything."""
        if not self.config.auxiliary:
            return None
        made = AuxiliaryHead(features, self.pairs)
        if not made.answers and not any(self.pairs.shown(i) for i in range(len(self.pairs))):
            raise UserError(
                f"--auxiliary needs to know what things do, which nobody tells of "
                f"{self.config.data}."
            )
        return made if made.answers else None

    def _learn_on(self, first: Captioner) -> None:
        """Begin with the weights of another captioner; words that it has not stay at random."""
        check_start(self.config, first.plan, self.plan)
        own = self.parts.decoder.state_dict()
        for name, weights in first.parts.decoder.state_dict().items():
            own[name][: len(weights)] = weights
        self.parts.encoder.learn_on(first.parts.encoder)

    def train(self, mode: bool = True) -> Captioning:
        """Encoders stay in evaluation mode: their batch norms keep their statistics."""
        super().train(mode)
        self.parts.encoder.eval()
        return self

    # Rates.

    @property
    def _imitated(self) -> int:
        """Updates of cross-entropy."""
        return max(1, self.horizon - self.config.critical)

    def _decoder_rate(self, update: int) -> float:
        c = self.config
        if self._is_critical(update):
            return c.critical_rate / c.learning_rate
        first = 0 if self._is_silent(update) else self.silent  # then it begins to speak
        return rate_at(update - first, c.warmup, self._imitated - first, "cosine")

    def _encoder_rate(self, update: int) -> float:
        if self._is_frozen(update):
            return 0.0
        frozen = self.config.frozen
        return rate_at(update - frozen, self.config.warmup, self._imitated - frozen, "cosine")

    def _is_critical(self, update: int) -> bool:
        return self.config.critical > 0 and update >= self._imitated

    @property
    def mute(self) -> bool:
        """Whether nothing was learned from sentences yet."""
        return 0 < self.progress <= self.silent and not self.config.start

    def _is_silent(self, update: int) -> bool:
        """Whether the encoder learns by itself what things do."""
        return update < self.silent

    def _is_frozen(self, update: int) -> bool:
        """Whether the encoder does not learn: self-critical updates are the decoder's alone."""
        c = self.config
        return not c.encoder_rate or update < c.frozen or self._is_critical(update)

    # One update.

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """Imitate captions; at the end, where asked for, draw better ones."""
        read, pixels, mirrored, targets = self._ahead.get(self.progress)
        if pixels is not None:
            pixels, self._memories = upload(pixels, trainer.device), {}
        frozen = self._is_frozen(self.progress)

        def memory() -> Tensor:
            if pixels is None:
                kept = self._memory("pairs", self.pairs, trainer)
                return upload(kept.get(read.indices, mirrored), trainer.device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
                return self.parts.encoder(to_memory_input(pixels, mirrored))

        if self.progress == 0 < self.silent:
            trainer.say(f"The first {self.silent:,} updates learn what things do, not to tell it.")
        if not self._is_critical(self.progress):
            if 0 < self.silent == self.progress:  # or they would be of a decoder at random
                trainer.restart_averages(self.optimizers["captioner"])
            figures = self._imitate(trainer, read, memory, targets)
        else:
            if self.progress == self._imitated:  # or averages would be of imitation for long
                trainer.restart_averages(self.optimizers["captioner"])
            figures = self._criticise(trainer, read, memory)
        figures["rate"] = self.schedules["captioner"].get_last_lr()[0]
        self.schedules["captioner"].step()
        self.progress += 1
        return figures

    def _imitate(
        self,
        trainer: Trainer,
        read: Batch,
        memory: Callable[[], Tensor],
        targets: Targets | None,
    ) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        silent = self._is_silent(self.progress)
        imitation = None if silent else self._imitation(trainer, read, figures)
        targets = None if targets is None else targets.to(trainer.device)

        def loss() -> Tensor:
            seen = memory()
            total = seen.sum() * 0 if imitation is None else imitation(seen)
            if self.auxiliary is not None and targets is not None and len(targets.answers):
                auxiliary, figures["known"] = self.auxiliary(seen, targets)
                total = total + self.config.auxiliary * auxiliary
            return total

        trainer.minimize(loss, self.optimizers["captioner"])
        return figures

    def _imitation(
        self, trainer: Trainer, read: Batch, figures: dict[str, Any]
    ) -> Callable[[Tensor], Tensor]:
        """The loss, given memory, of the next words, and of where they look."""
        c = self.config
        words, rows = upload(read.words, trainer.device), upload(read.rows, trainer.device)
        cells = cells_of(read.boxes, *self.grid) if c.grounding else read.boxes
        cells = upload(union_of(cells, read.owners, len(rows)), trainer.device)
        weights = upload(self._weights(read), trainer.device)

        def loss(memory: Tensor) -> Tensor:
            logits, attention = self.parts.decoder(memory, words[:, :-1])
            target = words[:, 1:]
            losses = F.cross_entropy(
                logits.flatten(0, 1).float(), target.flatten(), ignore_index=PAD,
                label_smoothing=c.smoothing, reduction="none",
            )  # fmt: skip
            figures["loss"] = losses.detach().sum() / (target != PAD).sum()
            total = (losses * weights).sum()
            if c.doubly:
                total = total + c.doubly * doubly_stochastic(attention.float(), target != PAD)
            if c.grounding and len(rows):
                apart, looked = grounding(attention.flatten(0, 1)[rows].float(), cells)
                figures["looked"] = looked
                total = total + c.grounding * apart
            return total

        return loss

    def _weights(self, read: Batch) -> Tensor:
        """Of each target of a batch, flattened; they sum to 1."""
        weights = (read.words[:, 1:] != PAD).flatten().float()
        weights[read.answers] *= self.config.stress
        return weights / weights.sum()

    def _criticise(
        self, trainer: Trainer, read: Batch, memory: Callable[[], Tensor]
    ) -> dict[str, Any]:
        """Captions drawn become likelier by how much better they are than others of the picture.

        Rennie et al. 2017, equation 11, with the baseline of Luo 2020: the mean reward of the other
        captions drawn of the picture, which needs no caption of its own to be found. Advantages are
        divided by their usual size, so that all registers weigh alike, whatever they are paid in.
        """
        assert self.critic is not None
        c, decoder = self.config, self.parts.decoder
        registers = self.pairs.registers or (None,)
        register = registers[self.progress % len(registers)]
        decoder.eval()  # what is drawn and what is learned from are one distribution,
        begin = begin_of(self.plan, self.vocabulary, register)
        unsaid = never(self.plan, self.vocabulary)
        with torch.no_grad(), trainer.fabric.autocast():  # in one precision
            seen = memory().float()
            speaker = Masked(decoder, unsaid)
            drawn = say(speaker, seen, begin, END, c.longest, 1.0, copies=c.sentences)
        rewards = self.critic(drawn.words, read.indices.repeat_interleave(c.sentences), register)
        advantage = advantages(rewards.view(-1, c.sentences)).flatten().to(trainer.device)
        advantage = advantage / self._size(trainer.mean(advantage.square().mean()), register or "")
        name = f"reward_{register}" if register else "reward"
        figures: dict[str, Any] = {name: rewards.mean()}
        imitation = self._imitation(trainer, read, figures) if c.imitation else None

        def loss() -> Tensor:
            sums, lengths = sequence_log_probability(decoder, seen, drawn.words, begin, END, unsaid)
            total = -(advantage * sums).sum() / lengths.sum()
            decoder.train(self.training)  # imitation is as before
            return total if imitation is None else total + c.imitation * imitation(seen)

        trainer.minimize(loss, self.optimizers["captioner"])
        return figures

    def _size(self, square: Tensor, register: str) -> float:
        """The usual size of a register's advantages, given their mean square in this update."""
        before = self.sizes.get(register) or float(square)
        self.sizes[register] = SLOWLY * before + (1 - SLOWLY) * float(square)
        return math.sqrt(self.sizes[register]) or 1.0

    def _read(self, update: int) -> tuple[Batch, Tensor | None, Tensor, Targets | None]:
        """This process's share of an update.

        Sentences, pixels if need be, which pictures are mirrored, what to tell of things.
        """
        c, rank = self.config, ranks.rank()
        indices = batch_indices(
            len(self.pairs), c.batch_size, self.order, update, rank, ranks.world()
        )
        rng = random.Random(f"{self.order} {update} {rank}")
        read = batch(self.pairs, indices, self.vocabulary, c.sentences, c.longest, rng)
        mirrored = torch.tensor([c.mirrored and rng.random() < 0.5 for _ in indices])
        pixels = None if self._is_kept(update) else self.pairs.read(indices)
        if self.auxiliary is None or self._is_frozen(update):
            return read, pixels, mirrored, None
        shown = [self.pairs.shown(index) for index in indices.tolist()]
        return read, pixels, mirrored, self.auxiliary.targets(shown, self.grid)

    # Memory.

    @property
    def _views(self) -> int:
        """Pictures to learn from, mirrored ones too."""
        return len(self.pairs) * (2 if self.config.mirrored else 1)

    def _is_kept(self, update: int) -> bool:
        """Whether features of all pictures are computed once, which only many updates repay."""
        c = self.config
        if not self._is_frozen(update):
            return False
        if not c.encoder_rate:
            updates = self.horizon
        else:
            updates = c.critical if self._is_critical(update) else c.frozen
        return updates * c.batch_size * ranks.world() >= self._views and self._fits()

    def _fits(self) -> bool:
        """Whether a frozen encoder's features of all pictures can be kept; said where not."""
        if self._does_fit is None:
            views = self._views + len(self._judged())
            rows, columns = self.grid
            self._does_fit = fits(views * rows * columns * self.parts.encoder.features)
        return self._does_fit

    def _memory(self, name: str, pairs: Pairs, trainer: Trainer | None) -> Memories:
        """A frozen encoder's features of all pairs, or of the held-out ones that are judged,
        computed once.
        """
        if name not in self._memories:
            which = None if name == "pairs" else self._judged()
            count = len(pairs) if which is None else len(which)
            if trainer is not None and count >= 1000:
                trainer.say(f"Looking once at {count:,} pictures ...")
            mirrored = self.config.mirrored and name == "pairs"
            self._memories[name] = Memories(self.parts.encoder, pairs, mirrored, which)
        return self._memories[name]

    def _judged(self) -> Tensor:
        """Which held-out pairs an evaluation is of."""
        return permutation(len(self.held_out), 0, 0)[: self.config.samples]

    # Looking, saving, going on.

    def captioner(self) -> Captioner:
        """The captioner as it is now; it shares the weights."""
        c = self.config
        card = {
            "updates": self.progress, "data": c.data, "figures": dict(self.figures),
            "scored_at": self.scored_at,
        }  # fmt: skip
        tuned = c.encoder_rate > 0 and self.progress > c.frozen
        if tuned or self.published is None:
            return Captioner(self.parts, self.vocabulary, self.plan, card)
        plan = replace(self.plan, published=self.published)
        with torch.random.fork_rng(devices=[]):
            parts = Parts(plan, self.parts.encoder, len(self.vocabulary))
        parts.decoder = self.parts.decoder
        return Captioner(parts, self.vocabulary, plan, card)

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """The judge's figures of what is said of held-out pictures. {} when given up.

        With an auxiliary head also `known`: what percentage of its answers are right, as the mean
        over questions. What is known but told wrongly is the decoder's fault. Before anything was
        learned from sentences none is judged, and the score is 0.
        """
        indices = self._judged()
        count = len(indices)
        parts, marks = [], Counter[tuple[int, bool]]()
        for part in ranks.gather(self._say(trainer, indices[ranks.rank() :: ranks.world()])):
            if part is None:
                return {}
            parts.append(part[0])
            marks.update(part[1])
        said: dict[str | None, Sequence[Caption]] = {}
        for register in parts[0]:
            whole: list[Any] = [None] * count
            for rank, part in enumerate(parts):
                whole[rank :: len(parts)] = part[register]
            said[register] = [Caption(*each) for each in whole]
        figures: dict[str, Any] = {"score": 0.0}
        if said:
            figures = self.judge.figures(self.held_out, indices.tolist(), said)
            self.seen = indices.tolist(), said
        if marks:
            asked = {question for question, _ in marks}
            shares = [marks[q, True] / (marks[q, True] + marks[q, False]) for q in asked]
            figures = {**figures, "known": 100 * sum(shares) / len(shares)}
        self.figures, self.scored_at = figures, self.progress
        return figures

    def _say(self, trainer: Trainer, indices: Tensor) -> Any:
        """Of the held-out pairs at `indices` the captions, as plain tuples, by register, and marks.

        None when given up.
        """
        captioner = self.captioner()
        registers = self.held_out.registers or (None,)
        if self.mute:
            registers = ()
        said: dict[str | None, list[tuple[Any, ...]]] = {register: [] for register in registers}
        marks: list[tuple[int, bool]] = []
        keep = not self.config.encoder_rate and self._fits()
        for part in indices.split(self.config.batch_size) if len(indices) else ():
            if trainer.stopping:
                return None
            if keep:
                maps = self._memory("held out", self.held_out, trainer).maps(part)
                maps = maps.to(trainer.device)
            else:
                maps = captioner.encode(to_memory_input(self.held_out.read(part)))
            for register in registers:
                said[register] += map(tuple, captioner.tell(maps, register, self.config.beam))
            if self.auxiliary is not None:
                shown = [self.held_out.shown(index) for index in part.tolist()]
                targets = self.auxiliary.targets(shown, self.grid).to(maps.device)
                marks += self.auxiliary.marks(maps.flatten(2).mT, targets)
        return said, marks

    def frames(self) -> Iterator[Frame]:
        """Held-out pictures, the last of a clip, with what is said and where each word looked."""
        if self.seen is None:
            return
        indices, said = self.seen
        registers = list(said)
        for place, index in enumerate(indices[:PANEL]):
            picture = last_picture(self.held_out.read(torch.tensor([index]))[0])
            found = said[registers[place % len(registers)]][place]
            yield Frame(picture, wrapped(found.text, LINE), boxes=peaks(found, picture))

    def export(self, path: Path) -> None:
        """Write the captioner's file, which `load` reads."""
        self.captioner().save(path)

    def rehearsal(self) -> Callable[[], Tensor]:
        """A loss on noise of a batch's size, by which the trainer times precisions."""
        c, device = self.config, next(self.parameters()).device
        shape = (c.batch_size, *([c.frames] if c.frames > 1 else []), 3, *self.plan.size)
        noise = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        words = torch.zeros(c.batch_size * c.sentences, 24, dtype=torch.int64, device=device)
        frozen = self._is_frozen(0)
        with torch.no_grad():
            seen = self.parts.encoder(to_memory_input(noise))

        def loss() -> Tensor:
            memory = seen if frozen else self.parts.encoder(to_memory_input(noise))
            logits, _ = self.parts.decoder(memory, words[:, :-1])
            return F.cross_entropy(logits.flatten(0, 1).float(), words[:, 1:].flatten())

        return loss

    def attach(self, run: Run) -> None:
        """UserError when the run was begun with other pictures; a new run remembers these."""
        own = {"count": len(self.pairs), "words": self._told}
        refusal = (
            f"{self.config.data} does not hold the captions that {run.path} was trained on, but "
            f"{len(self.pairs):,} pictures, {len(self.vocabulary):,} words."
        )
        run.belongs("pictures", own, refusal, self.keep)

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module."""
        return {
            "horizon": self.horizon, "updates": self.config.updates, "order": self.order,
            "figures": self.figures, "scored_at": self.scored_at, "published": self.published,
            "sizes": dict(self.sizes), "silent": self.silent,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`; another number of updates than it was saved with is a new horizon."""
        same = state["updates"] == self.config.updates
        self.horizon = state["horizon"] if same else self.config.updates
        self.order = state["order"]
        self.figures, self.scored_at = state["figures"], state["scored_at"]
        self.published = state.get("published")  # older checkpoints do not say: kept in the file
        self.sizes = dict(state.get("sizes", {}))  # older checkpoints have none
        self.silent = state.get("silent", 0)
        self._memories = {}
        self._ahead.forget()

    def reseed(self, number: int) -> None:
        """Another order of the pictures, after a divergence."""
        self.order = self.seed + 7919 * number
        self._ahead.forget()

    def close(self) -> None:
        """End the reading thread."""
        self._ahead.close()


def plan_of(config: CaptionConfig, registers: Sequence[str]) -> Plan:
    """What a captioner with these settings is made of."""
    grid = None if config.grid is None else (config.grid[0], config.grid[1])
    return Plan(
        config.backbone, config.layer, grid, (config.size[0], config.size[1]), config.frames,
        config.decoder, config.hidden, config.dropout, tuple(registers), published=None,
        differences=config.differences,
    )  # fmt: skip


def check_start(config: CaptionConfig, made: Plan, wanted: Plan) -> None:
    """UserError where a captioner made as `made` cannot learn on as `wanted`."""
    made, wanted = (replace(plan, dropout=0.0, published=None) for plan in (made, wanted))
    made = replace(made, differences=made.differences or wanted.differences)  # see `learn_on`
    for name, value in vars(wanted).items():
        if vars(made)[name] != value:
            raise UserError(
                f"{config.start} has another {name} ({vars(made)[name]}) than this training "
                f"({value}): it cannot learn on with these settings and data."
            )


def rehearse(config: CaptionConfig, registers: Sequence[str], steps: int | None) -> None:
    """UserError for what no training of such pairs can begin with, before they are gathered."""
    config.horizon(steps)
    plan = plan_of(config, registers)
    if config.start:
        check_start(config, load_own(config.start).plan, plan)
    else:
        plan.make_decoder(plan.encoder(config.weights).features, 1)


def _first(config: CaptionConfig) -> Captioner:
    """The captioner to learn on from; a published encoder that it names may be --weights' file."""
    assert config.start is not None
    weights = config.weights
    return load(config.start, None if weights is None or is_name(weights) else weights)


def _named(config: CaptionConfig) -> str | None:
    """The encoder's first weights, if they have a name by which a captioner finds them anywhere."""
    weights = config.weights if config.frames == 1 else None  # no published ones know clips
    return weights if weights is not None and is_name(weights) else None
