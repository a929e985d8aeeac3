"""Settings and presets of `caption`.

Sources of the presets: `nic` Vinyals et al. 2015, `attend` Xu et al. 2015, `best` of our making.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from generators.caption_nets import DECODERS, LENGTH
from playground.config import setting
from playground.errors import UserError


@dataclass(frozen=True)
class CaptionConfig:
    """Everything that decides what is learned. Defaults are the preset ``best`` for photos."""

    data: str = setting("", "captioned pictures: flickr8k:DIR, coco:DIR, a folder or atari:GAMES")
    backbone: str = setting("mobilenet_v2", "the encoder's family")
    weights: str | None = setting("imagenet", "the encoder's first weights: a name or a file")
    start: str | None = setting(
        None, "a trained captioner that learns on, with its words: a run, a file or zoo:NAME"
    )
    layer: str | None = setting(None, "of the encoder, whose map is described (none: the last)")
    grid: tuple[int, ...] | None = setting(None, "rows and columns to average it to (none: as is)")
    size: tuple[int, ...] = setting((224, 224), "height and width of pictures", "px")
    frames: int = setting(1, "of a clip; 1: pictures")
    differences: bool = setting(
        False, "earlier frames of a clip are seen as what differs from the last"
    )
    decoder: str = setting("transformer", "what speaks", choices=tuple(DECODERS))
    hidden: int = setting(256, "width of the decoder")
    dropout: float = setting(0.2, "of the decoder")
    min_count: int = setting(5, "how often a word stands in the captions at least, to be known")
    digits: bool = setting(False, "numbers are said digit by digit")
    longest: int = setting(40, "words of a sentence that are learned from")
    batch_size: int = setting(32, "pictures of an update")
    sentences: int = setting(5, "of each picture of an update")
    updates: int = setting(3000, "length of the training, where --steps does not say", "updates")
    warmup: int = setting(200, "linear rise of the learning rates", "updates")
    learning_rate: float = setting(5e-4, "of the decoder, falling as a cosine")
    weight_decay: float = setting(0.05, "AdamW's")
    encoder_rate: float = setting(0.0, "of the encoder; 0: it stays frozen")
    frozen: int = setting(0, "the encoder begins to learn after so many", "updates")
    mirrored: bool = setting(True, "half of the pictures are mirrored")
    smoothing: float = setting(0.1, "label smoothing")
    doubly: float = setting(0.0, "weight of looking once at each place (Xu et al., eq. 14)")
    grounding: float = setting(0.0, "weight of looking at what is spoken of, where that is known")
    auxiliary: float = setting(
        0.0, "weight of telling what things do from where they stand, where that is known"
    )
    auxiliary_first: float = setting(
        0.0, "part of the updates that learn that alone, at the beginning"
    )
    stress: float = setting(
        1.0, "weight of words that state facts, beside others, where that is known"
    )
    critical: int = setting(0, "updates at the end that are self-critical", "updates")
    critical_rate: float = setting(5e-5, "learning rate of these")
    imitation: float = setting(0.0, "weight in these of the loss of the updates before")
    samples: int = setting(1000, "held-out pictures of an evaluation", "pictures")
    beam: int = setting(1, "of an evaluation's search")

    def check(self) -> None:
        """UserError for what no training can use."""
        for name in (
            *("frames", "hidden", "min_count", "batch_size", "sentences", "updates", "samples"),
            *("learning_rate", "critical_rate", "beam", "stress"),
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0, and finite.")
        for name in (
            *("warmup", "encoder_rate", "frozen", "weight_decay", "doubly", "grounding"),
            *("auxiliary", "imitation"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative.")
        for name in ("dropout", "smoothing", "auxiliary_first"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} lies from 0 to below 1.")
        for name in ("size", "grid"):
            sides = getattr(self, name)
            if sides is not None and (len(sides) != 2 or min(sides) < 1):
                raise UserError(f"--{name} is a height and a width, as in 210,160.")
        if not 1 <= self.longest <= LENGTH - 2:
            raise UserError(f"--longest lies from 1 to {LENGTH - 2}, not {self.longest}.")
        if self.critical < 0 or self.critical >= self.updates:
            raise UserError("--critical is a part of --updates, from 0 to below them.")
        if self.critical and self.sentences < 2:
            raise UserError("--critical compares captions of a picture: --sentences from 2 up.")
        if self.auxiliary and (not self.encoder_rate or self.mirrored):
            raise UserError(
                "--auxiliary is for an encoder that learns, of pictures as they are: set "
                "--encoder-rate and --no-mirrored."
            )
        if self.frames > 1 and (not self.encoder_rate or self.frozen or self.mirrored):
            raise UserError(
                "No published weights know clips, and mirrored ones would be told wrongly: with "
                "--frames above 1 set --encoder-rate, --frozen 0 and --no-mirrored."
            )
        if self.differences and self.frames == 1:
            raise UserError("--differences are between the frames of clips: set --frames above 1.")
        if self.auxiliary_first and self.frozen:
            raise UserError(
                "--auxiliary-first is for encoders that learn from the beginning: set no --frozen."
            )
        if self.decoder == "nic" and (self.doubly or self.grounding):
            raise UserError("--doubly and --grounding are for decoders that look: not for nic.")

    def horizon(self, steps: int | None) -> int:
        """Updates of a training of so many steps (None: `updates`); UserError for too few."""
        if self.critical >= (horizon := steps or self.updates):
            raise UserError(
                f"--critical {self.critical} leaves nothing of {horizon} updates to learn "
                "captions by: lower it, or raise --steps."
            )
        return horizon


BEST = CaptionConfig()
NIC = replace(BEST, decoder="nic", hidden=512, weight_decay=0.0, smoothing=0.0, learning_rate=4e-4)
ATTEND = replace(NIC, decoder="attend", doubly=1.0)
PRESETS = {"best": BEST, "nic": NIC, "attend": ATTEND}
TRAINER: dict[str, Any] = {"clip_norm": 1.0, "ema": 0.999}


def for_clips(config: CaptionConfig) -> CaptionConfig:
    """A preset's settings for clips of games: all digits, small things, few words, much to see."""
    looks = config.decoder == "transformer"
    return replace(
        config, backbone="arcade", weights="arcade", layer="relu4_2", size=(210, 160), frames=4,
        hidden=160 if looks else 256, dropout=0.05, min_count=1, digits=True, longest=LENGTH - 2,
        batch_size=16, sentences=4, updates=8000, learning_rate=1e-3, weight_decay=0.01,
        encoder_rate=1e-3, mirrored=False, smoothing=0.0, grounding=0.2 if looks else 0.0,
        samples=450, differences=True, auxiliary=0.5, auxiliary_first=0.25,
    )  # fmt: skip
