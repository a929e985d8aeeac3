"""What the temporal loss does: how much paintings of games flicker where nothing moved.

    python scripts/play.py train style --name calm ...                      both alike, but for
    python scripts/play.py train style --name plain --flicker-weight 0 ...  the weight
    python scripts/benchmarks/painter_flicker.py --painter runs/style/calm
        --without runs/style/plain --styles FOLDER --backbone vgg19_slim16 --weights FILE

Films of 40 frames, 60 a second, of emulators that no training has seen (another seed than its own
held-out ones), and of --unseen games that it has not seen at all. Flicker is the mean absolute
difference of two paintings that follow each other, in steps of 255, over the pixels that are the
same in both frames; the first 8 frames do not count. Both painters paint the frames each by itself,
and as a film (see `painter.Film`), as `watch` and `paint --fast` do: with held statistics alone,
and with paint that settles where nothing moves. "Far away" counts only pixels that are 16 from all
that moves. Style loss is what `train style` minimises, of every eighth painting by itself, through
the backbone named here, whose layers are scaled by the paintings alone. Both painters get the same
films, and are judged in each of the styles that they have in common.

Aim: as a film by the painter with the temporal loss, flicker at least 10 times lower than frame by
frame by the one without, style loss at most 1.05 times. Exit status 1 where either is missed, over
all games.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch.nn import functional as F

# So that this checkout's rooms are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import frame_pairs
from agents.atari import resolve
from agents.players import seats, zoo_agents
from generators.painter import Film, Painter, load
from generators.painter_data import painting_of, paintings
from generators.painter_losses import StyleTargets
from generators.painter_task import PainterConfig
from generators.style_easel import find_backbone
from generators.style_losses import STATISTICS, StyleNetwork
from playground.backbone import to_unit
from playground.data import to_stderr
from playground.errors import UserError
from scripts.benchmarks.measuring import Row, flags, report, run

AIM_FLICKER, AIM_STYLE = 10.0, 1.05
SEED = 5_000_011  # of the emulators
FRAMES, WARM = 40, 8  # of a film; those at its beginning that do not count
TRIES = 50  # moments looked at for each film
APART = 7  # moments by which the beginnings of a game's films differ, at least
FAR_PX = 16  # from all that moves
GAMES = "pong,breakout,seaquest,space_invaders,ms_pacman"
UNSEEN = "freeway,qbert"
DEFAULT = PainterConfig()


def films(game: str, count: int) -> list[list[np.ndarray]]:
    """Films of FRAMES frames (210, 160, 3) uint8, of emulators of their own, in which things move.

    UserError for a game in which nothing does.
    """
    agent = zoo_agents().get(game)
    found = []
    for number, seat in enumerate(seats(SEED, 0, count, agent), 1):
        clips = islice(frame_pairs.clips(game, *seat, length=FRAMES), number * APART, None)
        for _, clip in zip(range(TRIES), clips, strict=False):
            frames = [frame_pairs.fitted(frame) for frame in clip]
            if all((a != b).any() for a, b in zip(frames[::8], frames[8::8], strict=False)):
                found.append(frames)
                break
    if not found:
        raise UserError(f"Nothing moves in {game}: name another game.")
    return found


def flicker(frames: list[np.ndarray], painted: list[np.ndarray], far: int = 0) -> float:
    """Of the paintings (H, W, 3) uint8 of a film's frames, in steps of 255.

    far: only pixels that are further than so many from all that changes.
    """
    found = []
    for i in range(WARM, len(frames)):
        changed = torch.from_numpy((frames[i] != frames[i - 1]).any(2)).float()
        same = F.max_pool2d(changed[None, None], 2 * far + 1, 1, far)[0, 0].numpy() == 0
        apart = np.abs(painted[i].astype(np.int16) - painted[i - 1]).mean(2)
        found.append(float(apart[same].mean()) if same.any() else 0.0)
    return mean(found)


def judge(
    painter: Painter, styles: list[str], shown: list[list[np.ndarray]], targets: StyleTargets
) -> tuple[dict[str, float], float]:
    """(flicker frame by frame, with held statistics, as a film, and far away; style loss)."""
    kinds = ("alone", "held", "film", "far", "film_far")
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    lost = []
    for number, name in enumerate(styles):
        mixture = painter.mixture(name)
        for frames in shown:
            alone = [painter.paint(frame, mixture) for frame in frames]
            held, film = Film(painter, mixture, settling=1.0), Film(painter, mixture)
            found["alone"].append(flicker(frames, alone))
            found["held"].append(flicker(frames, [held.paint(frame) for frame in frames]))
            settled = [film.paint(frame) for frame in frames]
            found["film"].append(flicker(frames, settled))
            found["far"].append(flicker(frames, alone, FAR_PX))
            found["film_far"].append(flicker(frames, settled, FAR_PX))
            for paint in alone[::8]:
                picture = to_unit(torch.from_numpy(paint).permute(2, 0, 1)[None])
                features = targets.network.features(picture.to(painter.device))
                lost.append(float(targets(features, [number])))
    return {kind: mean(values) for kind, values in found.items()}, mean(lost)


@torch.no_grad()
def measure(args: argparse.Namespace) -> Iterator[Row]:
    """A row a game; the last one is the mean over those that were learned from."""
    calm, plain = load(args.painter).to(args.device), load(args.without).to(args.device)
    found = {credit.name: path for credit, path in paintings(args.styles)}
    styles = [name for name in found if name in calm.styles and name in plain.styles]
    if not styles:
        raise UserError(f"The two painters have no style of {args.styles} in common.")
    _, backbone = find_backbone(args.backbone, args.weights, to_stderr)
    network = StyleNetwork(backbone.to(args.device), pooling=DEFAULT.pooling, pixels=DEFAULT.pixels)
    pictures = [painting_of(found[name], DEFAULT.style_size).to(args.device) for name in styles]
    network.calibrate(*pictures, power=1 if args.statistics == "gram" else 2)
    targets = StyleTargets(network, pictures, args.statistics)
    rows: list[Row] = []
    unseen = [resolve(name) for name in args.unseen.split(",") if name]
    learned = [resolve(name) for name in args.games.split(",")]
    for game in [*unseen, *learned]:
        shown = films(game, args.films)
        (mine, style), (others, style_without) = (
            judge(each, styles, shown, targets) for each in (calm, plain)
        )
        row = {
            "game": game, "seen": game not in unseen,
            **{f"{kind}_without": value for kind, value in others.items()}, **mine,
            "style_without": style_without, "style": style,
        }  # fmt: skip
        rows.append(row)
        yield row
    seen = [row for row in rows if row["seen"]]
    yield {
        "game": "all that were learned from", "seen": True,
        **{name: mean(row[name] for row in seen) for name in list(row)[2:]},
    }  # fmt: skip


def cells(row: Row) -> list[str]:
    """A row of the table."""
    times, far = (
        row[before] / row[after] if row[after] else math.inf
        for before, after in (("alone_without", "film"), ("far_without", "film_far"))
    )
    kinds = [f"{kind}{end}" for end in ("_without", "") for kind in ("alone", "held", "film")]
    return [
        row["game"] + ("" if row["seen"] else " (not seen)"),
        *(f"{row[kind]:.3f}" for kind in kinds),
        f"{times:.1f}", f"{far:.1f}",
        f"{row['style_without']:.4f}", f"{row['style']:.4f}",
        f"{row['style'] / row['style_without']:.3f}",
    ]  # fmt: skip


def main() -> int:
    """The command line."""
    parser = flags(__doc__ or "", 1)
    add = parser.add_argument
    add("--painter", required=True, metavar="SOURCE", help="trained with the temporal loss")
    add("--without", required=True, metavar="SOURCE", help="trained without it")
    add("--styles", required=True, metavar="FOLDER", help="the paintings")
    add("--backbone", help="whose features count (none: VGG-19, or what is here)")
    add("--weights", help="its weights")
    add("--statistics", choices=tuple(STATISTICS), default=DEFAULT.statistics, help="of style")
    add("--games", default=GAMES, help=f"learned from (default {GAMES})")
    add("--unseen", default=UNSEEN, help=f"others (default {UNSEEN})")
    add("--films", type=int, default=4, help="of each game (default 4)")
    args = parser.parse_args()
    rows = report(
        args, "painter_flicker", "steps of 255", measure(args),
        ["game", "without", "held", "film", "with", "held", "film", "times less", "far away",
         "style loss without", "with", "ratio"],
        cells,
    )  # fmt: skip
    last = rows[-1]
    calm = AIM_FLICKER * last["film"] <= last["alone_without"]
    return int(not calm or last["style"] > AIM_STYLE * last["style_without"])


if __name__ == "__main__":
    run(main)
