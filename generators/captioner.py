"""A trained captioner: pictures or clips in, sentences out; its file.

`load(source)` takes a run directory, an exported .safetensors file or "zoo:NAME". The file carries
all that is needed: the plan, the vocabulary, and the encoder's weights, unless these are published
ones that never changed: then it names them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.caption_nets import DECODERS, LENGTH, Decoder, State
from generators.decoding import Said, Speaker, say, search
from generators.words import BEGIN, END, PAD, UNKNOWN, Vocabulary
from playground import exports
from playground.backbone import Backbone, create, to_unit
from playground.errors import UserError
from playground.inputs import averaged, centre, check_unit, covering
from playground.media import read_image

KEY, FORMAT = "playground_captioner", 1  # of the metadata
ZOO = Path(__file__).with_name("zoo")
DEFAULT, PHOTOS = "games", "photos"  # of the zoo
BATCH = 16  # pictures captioned together
WIDEST = 100  # beam: decoders are held once for each of its captions
WAVES = 6  # frequencies of the places' coordinates
COORDINATES = 4 * WAVES  # the last features of the memory
TAKEN = {  # by a captioner of clips, and by one of pictures
    True: "clips, uint8 (T, H, W, 3) or float (N, T, 3, H, W), and pictures, uint8 (H, W, 3)",
    False: "pictures, uint8 (H, W, 3) or float (N, 3, H, W)",
}


@dataclass(frozen=True)
class Plan:
    """What a captioner is made of; all of it is plain JSON."""

    backbone: str
    layer: str | None  # whose map is described; None: the last
    grid: tuple[int, int] | None  # rows and columns to which the map is averaged; None: as it is
    size: tuple[int, int]  # height and width at which pictures are read
    frames: int  # of a clip; 1 for pictures
    decoder: str
    hidden: int
    dropout: float
    registers: tuple[str, ...]  # ways of speaking, each with a word of its own to begin with
    published: str | None  # the encoder's weights by name, where they never changed
    differences: bool = False  # earlier frames of a clip are seen as what differs from the last

    def encoder(self, weights: str | Path | None = None) -> Encoder:
        """With those weights, or at random."""
        backbone = create(self.backbone, 3 * self.frames, weights=weights)
        if weights is not None and self.frames > 1:
            _see_last(backbone, self.frames)
        layer = self.layer or list(backbone.channels)[-1]
        return Encoder(backbone, layer, self.grid, self.frames, self.differences)

    def make_decoder(self, features: int, words: int) -> Decoder:
        """At its first weights."""
        kind = DECODERS[self.decoder]
        return kind(features, words, self.hidden, self.dropout)


class Encoder(nn.Module):
    """Pictures or clips as memory: a map's places with what is there, and where they are.

    Float (B, 3, H, W), or clips (B, T, 3, H, W), in [0, 1] -> (B, L, `features`), L rows times
    columns. A clip is seen as one picture of 3 T channels: what moves by a pixel or blinks is told
    apart by the first layer, as in the DQN's stack of frames, and T frames cost little more than
    one. With `differences` the last frame is subtracted from those before it: a linear layer can
    tell the same from that, but frames are nearly equal, and as gradients are of what moves, not of
    what stands still, motion is learned sooner.
    """

    def __init__(
        self,
        backbone: Backbone,
        layer: str,
        grid: tuple[int, int] | None,
        frames: int,
        differences: bool = False,
    ) -> None:
        super().__init__()
        backbone.check_layer(layer)
        self.backbone, self.layer, self.grid, self.frames = backbone, layer, grid, frames
        self.differences = differences and frames > 1
        self.features = backbone.channels[layer] + COORDINATES

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).flatten(2).mT

    def maps(self, x: Tensor) -> Tensor:
        """The same as (B, `features`, rows, columns)."""
        if x.dim() == 5 and x.shape[1] == 1:
            x = x[:, 0]
        if (x.shape[1] if x.dim() == 5 else 1) != self.frames:
            raise ValueError(f"{tuple(x.shape)} is no batch of clips of {self.frames} frame(s)")
        if self.differences:
            x = torch.cat([x[:, :-1] - x[:, -1:], x[:, -1:]], 1)
        x = x.flatten(1, -3).contiguous(memory_format=torch.channels_last)
        maps = self.backbone.features(x, [self.layer])[self.layer]
        if self.grid is not None:
            maps = averaged(maps, self.grid)
        places = waves(*maps.shape[2:]).to(maps).mT.unflatten(1, maps.shape[2:])
        return torch.cat([maps, places.expand(len(maps), -1, -1, -1)], 1)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the places in pictures of (height, width) pixels; UserError where
        these are too few.
        """
        if self.grid is not None:
            return self.grid
        ghost = copy.deepcopy(self.backbone).to("meta")
        x = torch.empty(1, 3 * self.frames, height, width, device="meta")
        try:
            maps = ghost.features(x, [self.layer])[self.layer]
        except RuntimeError as error:
            raise UserError(f"{height}x{width} pixels are too few for this encoder.") from error
        return maps.shape[2], maps.shape[3]

    @torch.no_grad()
    def learn_on(self, other: Encoder) -> None:
        """Take another's weights; what was learned without differences is put in their terms.

        Then maps are equal, but where the backbone subtracts a mean from what it is shown.
        """
        self.load_state_dict(other.state_dict())
        if self.differences and not other.differences:
            weight = _first(self.backbone).weight
            weight[:, -3:] = weight.unflatten(1, (self.frames, 3)).sum(1)


def _first(backbone: Backbone) -> nn.Conv2d:
    return next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))


@torch.no_grad()
def _see_last(backbone: Backbone, frames: int) -> None:
    """Weights for pictures, which `create` spread over all frames, on the last frame alone.

    So a clip is first seen as its last picture, sharply, and the others are learned from 0.
    """
    first = _first(backbone)
    first.weight[:, -3:].mul_(frames)
    first.weight[:, :-3].zero_()


def waves(rows: int, columns: int) -> Tensor:
    """(rows * columns, COORDINATES): sines and cosines of each place's coordinates in [0, 1]."""
    y, x = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    turns = torch.stack([x, y], -1).view(-1, 2, 1) * math.pi * 2.0 ** torch.arange(WAVES)
    return torch.cat([turns.sin(), turns.cos()], 2).flatten(1)


class Caption(NamedTuple):
    """What was said of one picture."""

    text: str
    score: float  # sum of its words' log probabilities; a beam's as `decoding.search` divides it
    words: list[str]
    attention: np.ndarray  # (words, rows, columns) over `Captioner.seen`, each word's sums to 1


class Parts(nn.Module):
    """Encoder and decoder; a published encoder's weights are not part of the state."""

    def __init__(self, plan: Plan, encoder: Encoder, words: int) -> None:
        super().__init__()
        self.decoder = plan.make_decoder(encoder.features, words)
        self._own = plan.published is None
        self.put(encoder)

    def put(self, encoder: Encoder) -> None:
        """Use this one."""
        if self._own:
            self.encoder = encoder
        else:
            object.__setattr__(self, "encoder", encoder)  # no child: neither saved nor moved


class Captioner:
    """Encoder, decoder and vocabulary. `card` is what its file says of its training."""

    def __init__(
        self, parts: Parts, vocabulary: Vocabulary, plan: Plan, card: dict[str, Any]
    ) -> None:
        self.parts, self.vocabulary, self.plan, self.card = parts, vocabulary, plan, card

    @property
    def games(self) -> tuple[str, ...]:
        """Short names of those that it learned; () for one of photos."""
        kind, _, names = str(self.card.get("data", "")).partition(":")
        return tuple(filter(None, map(str.strip, names.split(",")))) if kind == "atari" else ()

    def caption(self, images: Any, register: str | None = None, beam: int = 3) -> list[str]:
        """A sentence for each picture or clip; see `look` for what is taken."""
        return [found.text for found in self.look(images, register, beam)]

    def look(self, images: Any, register: str | None = None, beam: int = 3) -> list[Caption]:
        """Captions with where each word looked.

        Args:
            images: for a captioner of pictures: a uint8 array (H, W, 3), or floats (N, 3, H, W) in
                [0, 1]; for one of clips: uint8 arrays (T, H, W, 3), or (H, W, 3) for a clip of one
                frame, or floats (N, T, 3, H, W). Or a picture's path, or a list of what is taken,
                of none too. Any size; of another shape the centre is seen. Of clips of any length
                as many frames as the plan has are seen, evenly spread; a single one as if all had
                been black before it.
            register: way of speaking, one of `plan.registers` (default: the first).
            beam: width of the search; 1 takes the likeliest word each time.
        """
        found: list[Caption] = []
        pictures = self.fitted(images)
        for first in range(0, len(pictures), BATCH):
            found += self.tell(self.encode(pictures[first : first + BATCH]), register, beam)
        return found

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """What `fitted` gives as maps (N, D, rows, columns), where the decoder is."""
        device = next(self.parts.decoder.parameters()).device
        return self.parts.encoder.to(device).maps(pictures.to(device))

    @torch.inference_mode()
    def tell(self, maps: Tensor, register: str | None = None, beam: int = 3) -> list[Caption]:
        """Captions of what `encode` gave; see `look`."""
        grid, memory = maps.shape[2:], maps.flatten(2).mT
        speaker = Masked(self.parts.decoder, never(self.plan, self.vocabulary))
        said = decode(speaker, memory, begin_of(self.plan, self.vocabulary, register), beam)
        captions = []
        texts = self.vocabulary.decode(said.words)
        for row, text in enumerate(texts):
            words = self.vocabulary.tokens(said.words[row].tolist())
            looked = said.attention[row, : len(words)].float().cpu().numpy()
            captions.append(
                Caption(text, float(said.scores[row]), words, looked.reshape(-1, *grid))
            )
        return captions

    @torch.inference_mode()
    def draw(self, maps: Tensor, register: str | None, count: int, seed: int) -> list[str]:
        """`count` captions drawn at random of each of what `encode` gave, all of the first first;
        the same with the same seed.
        """
        generator = torch.Generator(maps.device).manual_seed(seed)
        speaker = Masked(self.parts.decoder, never(self.plan, self.vocabulary))
        begin = begin_of(self.plan, self.vocabulary, register)
        memory = maps.flatten(2).mT
        said = say(speaker, memory, begin, END, LENGTH - 1, 1.0, count, generator)
        return self.vocabulary.decode(said.words)

    @torch.inference_mode()
    def belief(self, maps: Tensor, texts: Sequence[str], register: str | None = None) -> Tensor:
        """How likely each word of a text would be said, were all before it said.

        One text for each of what `encode` gave: (N, S) log probabilities, with the end of the text
        as its last word and 0 beyond.
        """
        words = self.vocabulary.encode(texts).to(maps.device)
        words[:, 0] = begin_of(self.plan, self.vocabulary, register)
        logits, _ = self.parts.decoder(maps.flatten(2).mT, words[:, :-1])
        chances = logits.float().log_softmax(2).gather(2, words[:, 1:, None])[..., 0]
        return chances.masked_fill(words[:, 1:] == PAD, 0.0)

    def fitted(self, images: Any) -> Tensor:
        """What `look` takes as floats (N, [T,] 3, H, W) at the plan's size, scaled to cover it.

        So are pictures in training: the centre is kept, and nothing stretched.
        """
        if isinstance(images, Tensor | np.ndarray | str | Path):
            return self._batch(images)
        parts = [self._batch(each) for each in images]
        frames = (self.plan.frames,) if self.plan.frames > 1 else ()
        return torch.cat(parts) if parts else torch.empty(0, *frames, 3, *self.plan.size)

    def _batch(self, images: Any) -> Tensor:
        """One array of what `look` takes as `fitted` gives it; of uint8, too, several in one."""
        clips = self.plan.frames > 1
        if isinstance(images, str | Path):
            images = read_image(images)
        x = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        shape, several = tuple(x.shape), 5 if clips else 4
        if x.dtype == torch.uint8 and x.dim() >= 3:
            x = x.movedim(-1, -3)
            x = x[None] if clips and x.dim() == 3 else x  # a picture is a clip's only frame
            x = x[None] if x.dim() == several - 1 else x
        elif x.dim() == 3 and not clips:
            x = x[None]
        known = x.dtype == torch.uint8 or x.is_floating_point()
        if not known or x.dim() != several or x.shape[-3] != 3 or 0 in x.shape:
            kind = str(x.dtype).removeprefix("torch.")
            raise UserError(f"This captioner takes {TAKEN[clips]}, not {kind} {shape}.")
        if x.is_floating_point():
            check_unit(x)
        alone = clips and x.shape[1] == 1
        if clips and not alone:
            places = np.linspace(0, x.shape[1] - 1, self.plan.frames).round().astype(int)
            x = x[:, places.tolist()]
        x = self._covering(x)
        before = self.plan.frames - 1 if alone else 0
        return F.pad(x, (0, 0) * 3 + (before, 0)) if before else x

    def _covering(self, x: Tensor) -> Tensor:
        """(..., 3, H, W), uint8 or float, as floats at the plan's size."""
        flat = x.flatten(0, -4)
        unit = to_unit(flat) if flat.dtype == torch.uint8 else flat.float()
        return covering(unit, self.plan.size).unflatten(0, x.shape[:-3])

    def seen(self, picture: np.ndarray) -> np.ndarray:
        """The part of a picture (H, W, 3) that `look` sees, and attention lies over."""
        rows, columns = centre(picture.shape[0], picture.shape[1], self.plan.size)
        return picture[rows, columns]

    def save(self, path: Path) -> None:
        """Write fp16 weights and all that `load` needs."""
        about = {
            "format": FORMAT, "plan": asdict(self.plan), "card": self.card,
            "vocabulary": self.vocabulary.to_json(),
        }  # fmt: skip
        exports.write(path, self.parts, KEY, about, half=True)


def begin_of(plan: Plan, vocabulary: Vocabulary, register: str | None) -> int:
    """The word that a caption of this register begins with."""
    if not plan.registers:
        if register is not None:
            raise UserError("This captioner knows one way of speaking only.")
        return BEGIN
    register = register or plan.registers[0]
    if register not in plan.registers:
        known = " or ".join(plan.registers)
        raise UserError(f"It speaks as {known}, not '{register}'.")
    return vocabulary.index[word_of(register)]


def word_of(register: str) -> str:
    """The vocabulary's word for a register; no text has it, for "<" is a word of its own."""
    return f"<{register}>"


def never(plan: Plan, vocabulary: Vocabulary) -> list[int]:
    """Numbers of words that no caption says."""
    return [PAD, BEGIN, UNKNOWN, *(vocabulary.index[word_of(name)] for name in plan.registers)]


def decode(speaker: Speaker, memory: Tensor, begin: int, beam: int, length: int = LENGTH) -> Said:
    """The likeliest captions, of fewer than `length` words; see `decoding`."""
    if not 1 <= beam <= WIDEST:
        raise UserError(f"A beam is 1 to {WIDEST} wide, not {beam}.")
    if beam == 1:
        return say(speaker, memory, begin, END, length - 1)
    return search(speaker, memory, begin, END, length - 1, beam)


class Masked:
    """A decoder that never says some words."""

    def __init__(self, decoder: Speaker, never: Sequence[int]) -> None:
        self._decoder, self._never = decoder, list(never)

    def start(self, memory: Tensor) -> State:
        return self._decoder.start(memory)

    def step(self, state: State, word: Tensor) -> tuple[Tensor, Tensor, State]:
        logits, attention, state = self._decoder.step(state, word)
        logits = logits.clone()
        logits[:, self._never] = -torch.inf
        return logits, attention, state


def load(source: str | Path | None = None, encoder: str | Path | None = None) -> Captioner:
    """The captioner of a run (its best), of a file, or of the zoo; None: the one that ships.

    encoder: weights for one that names published ones, instead of fetching these. UserError for
    what is no captioner.
    """
    if source is None:
        source = f"zoo:{DEFAULT}"
        if not ships(DEFAULT):
            raise UserError(
                "No captioner ships here yet: train one (python scripts/play.py train caption "
                "--data atari:pong,breakout) and name its run."
            )
    found = load_own(source)
    plan = found.plan
    if plan.published is not None:
        found.parts.put(plan.encoder(encoder or plan.published).eval())
    return found


def ships(name: str) -> bool:
    """Whether the zoo has a captioner of this name."""
    return (ZOO / f"{name}.safetensors").exists()


def load_own(source: str | Path) -> Captioner:
    """As `load`, of what is in the file alone: a published encoder is at random."""
    path = exports.find(source, "caption", "captioner", ZOO)

    def build(about: dict[str, Any]) -> Parts:
        plan = _plan(about)
        words = Vocabulary.from_json(about["vocabulary"], path)
        return Parts(plan, plan.encoder(), len(words))

    parts, about = exports.read(path, KEY, FORMAT, "captioner", build)
    words = Vocabulary.from_json(about["vocabulary"], path)
    return Captioner(parts, words, _plan(about), about["card"])


def _plan(about: dict[str, Any]) -> Plan:
    """From JSON; KeyError, TypeError or ValueError for what is none."""
    values = dict(about["plan"])
    height, width = (int(side) for side in values["size"])
    grid = values["grid"] and tuple(int(side) for side in values["grid"])
    sides = {"size": (height, width), "grid": grid}
    return Plan(**{**values, **sides, "registers": tuple(map(str, values["registers"]))})
