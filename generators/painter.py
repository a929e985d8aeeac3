"""A trained painter: pictures and frames painted in its styles, one forward each; its file.

    from generators.style import load
    paintings = load()(photos, "starry_night")              # (N, 3, H, W), float in [0, 1]
    blended = load("runs/style/NAME")(photos, {"starry_night": 0.6, "great_wave": 0.4})

The file carries all that is needed in its metadata, and who painted the pictures that its styles
were learned from, when, and under which terms they are used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from generators.painter_net import Held, PainterNet, Plan, fixed_grain
from playground import device, exports
from playground.backbone import to_unit
from playground.errors import UserError, listed, nearest
from playground.frames import Filter
from playground.inputs import to_batch
from playground.media import composed, read_image

KEY, FORMAT = "playground_painter", 1  # of the metadata
TASK = "style"  # of the runs that train painters
ZOO = Path(__file__).with_name("zoo")
SHIPPED = "painter"  # its name there
LEAST_PX = 16  # of a picture's sides
BYTES_A_PIXEL = 420  # at most, of a picture while it is painted; measured
GPU_BATCH = 16  # pictures together; on a CPU one is as fast as several
HELD_SHARE = 0.02  # of a film's new frame in the statistics that are held, which are renewed
HELD_EVERY = 8  # every so many frames: it costs a pass over all maps
SETTLING = 0.05  # of what paint lacks is shown with each frame, where nothing moves
STILL, MOVED = 4, 16  # of 255: a pixel that differs no more stands still; as much, it moves
FLICKER, STROKE = 16, 40  # so little of what its paint lacks settles; as much is shown at once
CUT = 20.0  # of 255: frames that differ more on average are of different scenes;
CUT_EVERY = 4  # every so many rows and columns are looked at
MEMORY_SHARE = 0.8  # of what is free

Style = str | Mapping[str, float] | Sequence[str] | None


@dataclass(frozen=True)
class Credit:
    """Where a style comes from: a painting."""

    name: str
    title: str = ""
    painter: str = ""
    year: str = ""
    terms: str = ""

    @property
    def told(self) -> str:
        """All but the name."""
        return ", ".join(filter(None, (self.title, self.painter, self.year, self.terms)))

    def __str__(self) -> str:
        return f"{self.name:24} {self.told}".rstrip()


class Painter:
    """A network with the names of its styles. `card` is what its file says of its training."""

    def __init__(self, network: PainterNet, plan: Plan, card: dict[str, Any]) -> None:
        self.network, self.plan, self.card = network.eval(), plan, card
        self.styles = plan.styles
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._canvas = functools.lru_cache(maxsize=4)(self._grain)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.out.weight.device

    @property
    def batch(self) -> int:
        """How many pictures are best painted together there, if they fit."""
        return 1 if self.device.type == "cpu" else GPU_BATCH

    def at_once(self, height: int, width: int) -> int:
        """How many pictures of that size, from 1 to `batch`, its memory has room for."""
        if self.batch == 1:
            return 1
        room = self._free() / (height * width * BYTES_A_PIXEL)
        return int(min(max(1.0, room), self.batch))

    def to(self, where: torch.device | str) -> Painter:
        """Let it compute there; itself."""
        self.network.to(where)
        self._canvas.cache_clear()
        return self

    @property
    def credits(self) -> list[Credit]:
        """Of each style."""
        known = {composed(name): told for name, told in self.card.get("styles", {}).items()}
        return [replace(Credit(name), **known.get(name, {})) for name in self.styles]

    def __call__(self, images: Any, style: Style = None) -> Any:
        """Paintings of pictures: float (N, 3, H, W) in [0, 1], on the CPU.

        Args:
            images: uint8 arrays (H, W, C) or (N, H, W, C), float (N, C, H, W) in [0, 1], a
                picture's path, or a list of these; C is 1 or 3.
            style: a name; several names, blended equally; or name -> weight, of which only the
                ratios count. None is the first style.

        A list of pictures of different sizes gives a list of (3, H, W). UserError for a style that
        it does not know, what is no picture, and pictures too small or too large to be painted.
        """
        mixture = self.mixture(style)
        if not isinstance(images, list | tuple):
            return self._each(self._read(images), mixture)
        if not images:
            raise UserError("There is no picture to paint.")
        found = [self._each(self._read(image), mixture) for image in images]
        if len({paintings.shape[1:] for paintings in found}) == 1:
            return torch.cat(found)
        return [painting for paintings in found for painting in paintings]

    def paint(self, pixels: np.ndarray, mixture: Tensor, held: Held | None = None) -> np.ndarray:
        """Pictures (H, W, 3) or (N, H, W, 3) uint8 -> the same, painted together.

        `mixture` is what `mixture()` makes of styles; `held` as in `painted`.
        """
        if not pixels.flags.writeable or min(pixels.strides) < 0:  # torch cannot share these
            pixels = pixels.copy()
        several = torch.from_numpy(pixels if pixels.ndim == 4 else pixels[None])
        pictures = to_unit(several.to(self.device).permute(0, 3, 1, 2))
        painted = self.painted(pictures, mixture, held).permute(0, 2, 3, 1)
        found = painted.mul(255).round_().to(torch.uint8).cpu().contiguous().numpy()
        return found if pixels.ndim == 4 else found[0]

    def filter(self, style: Style = None) -> Filter:
        """A filter of the frames of a game or a film, in their order, that paints them."""
        film = Film(self, self.mixture(style))
        return lambda frame: replace(frame, pixels=film.paint(frame.pixels))

    def mixture(self, style: Style) -> Tensor:
        """(1, styles): the share of each style. UserError for unknown names and bad weights."""
        if style is None:
            style = self.styles[:1]
        if isinstance(style, str):
            style = [style]
        given = style if isinstance(style, Mapping) else dict.fromkeys(style, 1.0)
        weights = {composed(name): weight for name, weight in given.items()}
        if not weights:
            raise UserError(f"Name a style to paint in: {listed(self.styles)}.")
        for name, weight in weights.items():
            if name not in self.styles:
                raise UserError(
                    f"This painter has no style '{name}'.{nearest(name, self.styles)} "
                    f"It has {', '.join(self.styles)}."
                )
            if not 0 < weight < math.inf:
                raise UserError(f"The weight of '{name}' must be above 0, not {weight:g}.")
        total = sum(weights.values())
        shares = [weights.get(name, 0.0) / total for name in self.styles]
        return torch.tensor([shares], device=self.device)

    def save(self, path: Path) -> None:
        """Write fp16 weights and all that `load` needs."""
        about = {"format": FORMAT, "plan": asdict(self.plan), "card": self.card}
        exports.write(path, self.network, KEY, about, half=True)

    def _read(self, image: Any) -> Tensor:
        """(N, 3, H, W) float of what people have."""
        if isinstance(image, str | Path):
            image = read_image(image)
        found = to_batch(image)
        return found.expand(-1, 3, -1, -1)

    def _each(self, pictures: Tensor, mixture: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same, painted, on the CPU; as many at once as is good."""
        parts = pictures.split(self.at_once(*pictures.shape[2:]))
        return torch.cat([self.painted(some.to(self.device), mixture).cpu() for some in parts])

    @torch.no_grad()
    def painted(self, pictures: Tensor, mixture: Tensor, held: Held | None = None) -> Tensor:
        """Float (N, 3, H, W) in [0, 1] -> the same, painted together, all on its device.

        With held statistics they are the next frames of a film. UserError where they are too small
        to be painted, or too large for the memory.
        """
        count, _, height, width = pictures.shape
        if min(height, width) < LEAST_PX:
            raise UserError(
                f"A picture of {width}x{height} pixels is too small to be painted; each side "
                f"needs {LEAST_PX} at least."
            )
        self.check_memory(count, height, width)
        inside = pictures.contiguous(memory_format=torch.channels_last)
        rows = mixture if held is not None else mixture.expand(count, -1)
        return self.network(inside, rows, self._canvas(height, width), held)

    def _grain(self, height: int, width: int) -> Tensor:
        grain = fixed_grain(height, width).to(self.device)
        return grain.contiguous(memory_format=torch.channels_last)

    def check_memory(self, count: int, height: int, width: int) -> None:
        """UserError where so many pictures of this size take more memory than is free."""
        needed = count * height * width * BYTES_A_PIXEL
        if needed < 2**28:  # always there; frames shall not ask
            return
        free = self._free()
        if needed > free:
            longer = int(max(height, width) * math.sqrt(free / needed)) // 10 * 10
            raise UserError(
                f"A painting of {width}x{height} pixels takes {needed / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free: try --size {longer}."
            )

    def _free(self) -> float:
        """Bytes that may be taken where it computes."""
        return (device.available_memory(self.device) or math.inf) * MEMORY_SHARE


class Film:
    """Paints a film's frames in their order, so that what stays the same in them stays painted so.

    Statistics are held from frame to frame (see `painter_net.Held`). Strokes reach further than
    what moves: where nothing does, paint that differs by little follows by `SETTLING` a frame only,
    as in recursive filters against noise. What differs by much is a stroke that goes with what
    moves; it is shown at once, or it would leave a trail. Both begin anew at a cut.

    Args:
        painter: who paints.
        mixture: of its styles, as `Painter.mixture` gives it.
        settling: 1 shows each frame as the network paints it.
    """

    def __init__(self, painter: Painter, mixture: Tensor, settling: float = SETTLING) -> None:
        self.painter, self.mixture, self.settling = painter, mixture, settling
        self._held = Held()
        self._since = 0  # frames whose own statistics have not entered
        self._last: np.ndarray | None = None
        self._shown = torch.empty(0)  # (H, W, 3) float: the last frame's paint

    def paint(self, pixels: np.ndarray) -> np.ndarray:
        """The next frame (H, W, 3) uint8, or some (N, H, W, 3) -> the same, painted."""
        some = pixels if pixels.ndim == 4 else pixels[None]
        cuts = [i for i in range(1, len(some)) if _cut(some[i - 1], some[i])]
        painted = []
        for scene in np.split(some, cuts):
            if _cut(self._last, scene[0]):
                self._held, self._shown = Held(), torch.empty(0)
            count = self.painter.at_once(*scene.shape[1:3])
            parts = range(0, len(scene), count)
            painted += [self._together(scene[i : i + count]) for i in parts]
        whole = np.concatenate(painted)
        return whole if pixels.ndim == 4 else whole[0]

    def _together(self, some: np.ndarray) -> np.ndarray:
        """The next frames (N, H, W, 3) of a scene."""
        self._since += len(some)
        due = self._since >= HELD_EVERY
        self._held.share = 1 - (1 - HELD_SHARE) ** self._since if due else 0.0
        self._since = 0 if due else self._since
        painted = self.painter.paint(some, self.mixture, self._held)
        for frame, paint in zip(some, painted, strict=True):
            self._settle(frame, paint)
            self._last = frame
        return painted

    def _settle(self, frame: np.ndarray, paint: np.ndarray) -> None:
        """Turn a frame's paint (H, W, 3) into what is shown of it."""
        whole = torch.from_numpy(paint)
        if not len(self._shown):
            self._shown = whole.float()
            return
        assert self._last is not None
        apart = np.maximum(frame, self._last) - np.minimum(frame, self._last)
        most = np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])
        moves = (torch.from_numpy(most).float() - STILL) / (MOVED - STILL)
        lacks = (whole - self._shown).abs().amax(2)
        share = torch.maximum(moves, (lacks - FLICKER) / (STROKE - FLICKER))
        self._shown.lerp_(whole.float(), share.clamp(self.settling, 1)[..., None])
        whole.copy_(self._shown.round())


def _cut(last: np.ndarray | None, pixels: np.ndarray) -> bool:
    """Whether this is another scene than the frame before, or another size."""
    if last is None or last.shape != pixels.shape:
        return True
    few = slice(None, None, CUT_EVERY)
    apart = pixels[few, few].astype(np.int16) - last[few, few]
    return bool(np.abs(apart).mean() > CUT)


def copied(plan: Plan, network: nn.Module) -> PainterNet:
    """A copy of a network of this plan, in float32 on its device."""
    with torch.random.fork_rng(devices=[]):
        other = plan.build()
    other.load_state_dict(network.state_dict())
    return other.to(next(network.parameters()).device)


def load(source: str | Path | None = None) -> Painter:
    """The painter that ships (None), of the zoo ("zoo:NAME"), of a run (its best), or of a file.

    UserError for what is none.
    """
    if source is None:
        source = f"zoo:{SHIPPED}"
        if not (ZOO / f"{SHIPPED}.safetensors").exists():
            raise UserError(
                "No painter ships with this copy of the playground: train one (python "
                "scripts/play.py train style --styles FOLDER --data FOLDER) and name its run."
            )
    path = exports.find(source, TASK, "painter", ZOO)
    network, about = exports.read(path, KEY, FORMAT, "painter", lambda a: _plan(a).build())
    return Painter(network, _plan(about), about["card"])


def _plan(about: dict[str, Any]) -> Plan:
    names = (composed(str(name)) for name in about["plan"]["styles"])
    return Plan(**{**about["plan"], "styles": tuple(names)})
