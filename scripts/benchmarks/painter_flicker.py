"""What the temporal loss does: how much paintings of games flicker where nothing moved.

    python scripts/play.py train style --name calm ...                      both alike, but for
    python scripts/play.py train style --name plain --flicker-weight 0 ...  the weight
    python scripts/benchmarks/painter_flicker.py --painter runs/style/calm
        --without runs/style/plain --styles FOLDER --backbone vgg19_slim16 --weights FILE

Pairs of frames, 1 to 3 emulator frames apart, of emulators that no training has seen (another seed
than its own held-out ones), and of --unseen games that it has not seen at all. Flicker is the mean
absolute difference of two paintings, in steps of 255, over the pixels that are the same in both
frames. Both painters paint the two frames each by itself, and as the first frames of a film, with
held statistics (see `painter.Film`), as `watch` and `paint --fast` do. Style loss is what `train
style` minimises, of the paintings of the first frames, through the backbone named here, whose
layers are scaled by the paintings alone. Both painters get the same pairs, and are judged in each
of the styles that they have in common.

Aim: as a film by the painter with the temporal loss, flicker at least 10 times lower than frame by
frame by the one without, style loss at most 1.05 times. Exit status 1 where either is missed, over
all games.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

# So that this checkout's rooms are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import frame_pairs
from agents.atari import resolve
from generators.painter import Film, Painter, load
from generators.painter_data import painting_of, paintings
from generators.painter_losses import StyleTargets, flicker, unchanged
from generators.painter_task import PainterConfig
from generators.style_easel import find_backbone
from generators.style_losses import STATISTICS, StyleNetwork
from playground.backbone import to_unit
from playground.data import to_stderr
from playground.errors import UserError
from scripts.benchmarks.measuring import Row, flags, report, run

AIM_FLICKER, AIM_STYLE = 10.0, 1.05
SEED = 5_000_011  # of the emulators
GAMES = "pong,breakout,seaquest,space_invaders,ms_pacman"
UNSEEN = "freeway,qbert"
DEFAULT = PainterConfig()


@torch.no_grad()
def judge(
    painter: Painter, styles: list[str], pixels: Tensor, targets: StyleTargets
) -> tuple[float, float, float]:
    """(flicker frame by frame, as a film, in steps of 255; style loss), the mean of all styles.

    `pixels`: pairs (N, 6, H, W) uint8.
    """
    moved, steady, lost = [], [], []
    for number, name in enumerate(styles):
        mixture = painter.mixture(name)
        for pair in pixels.split(1):
            first, second = to_unit(pair.to(painter.device)).chunk(2, 1)
            same = unchanged(first, second)
            one, two = (painter.painted(frame, mixture) for frame in (first, second))
            moved.append(255 * float(flicker(one, two, same)))
            lost.append(float(targets(targets.network.features(one), [number])))
            film = Film(painter, mixture)
            frames = (part[0].permute(1, 2, 0).numpy() for part in pair.chunk(2, 1))
            shown = (torch.from_numpy(film.paint(np.ascontiguousarray(each))) for each in frames)
            one, two = (each.permute(2, 0, 1)[None].float() for each in shown)
            steady.append(float(flicker(one, two, same.cpu())))
    return mean(moved), mean(steady), mean(lost)


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
        pairs = frame_pairs.gather([game], args.pairs, SEED)
        pixels = pairs.read(torch.arange(len(pairs)))
        with_loss, without = (judge(each, styles, pixels, targets) for each in (calm, plain))
        row = {
            "game": game, "seen": game not in unseen,
            "flicker_without": without[0], "film_without": without[1],
            "flicker": with_loss[0], "film": with_loss[1],
            "style": with_loss[2], "style_without": without[2],
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
    times = row["flicker_without"] / row["film"] if row["film"] else math.inf
    return [
        row["game"] + ("" if row["seen"] else " (not seen)"),
        f"{row['flicker_without']:.3f}", f"{row['film_without']:.3f}",
        f"{row['flicker']:.3f}", f"{row['film']:.3f}",
        f"{times:.1f}",
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
    add("--pairs", type=int, default=32, help="of each game (default 32)")
    args = parser.parse_args()
    rows = report(
        args, "painter_flicker", "steps of 255", measure(args),
        ["game", "flicker without", "without, as a film", "with", "with, as a film", "times less",
         "style loss without", "style loss with", "ratio"],
        cells,
    )  # fmt: skip
    last = rows[-1]
    calm = AIM_FLICKER * last["film"] <= last["flicker_without"]
    return int(not calm or last["style"] > AIM_STYLE * last["style_without"])


if __name__ == "__main__":
    run(main)
