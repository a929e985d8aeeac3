"""`dream`: what a trained generator sees with its eyes closed: sheets, films, a window."""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

from agents import pictures as game_pictures
from generators import dreams
from generators.dcgan import features_to_score
from generators.dreamer import Dreamer, load
from playground import data, window
from playground.data import Pictures
from playground.device import find
from playground.errors import UserError
from playground.media import RECORDINGS, VideoWriter, check_film, check_suffix, free, write_image
from playground.run import Run
from scripts.train_dcgan import KEPT

SHIPPED = "zoo:dreams"  # of the games of Atari
FPS = 30
LONGEST_S = 3600  # of a walk
SECONDS_A_STOP = 2.0  # of a walk, from one dream to the next
MOST = 4096  # dreams on a sheet
PAIRS = 32  # dreams beside their nearest real pictures


def run_dream(args: argparse.Namespace) -> None:
    """Write a sheet, and what else was asked for; show a walk where there is a display."""
    if not 0 < args.seconds <= LONGEST_S:
        raise UserError(f"--seconds lies above 0 and up to {LONGEST_S}, not {args.seconds:g}.")
    if not 1 <= args.count <= MOST:
        raise UserError(f"--count lies from 1 to {MOST:,}, not {args.count}.")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed is a whole number from 0 to below 2^63, not {args.seed}.")
    if args.window and not window.available():
        raise UserError("--window needs a display; leave it out: sheets and --walk FILE need none.")
    if args.out:
        check_suffix(args.out)
    if args.walk:
        check_film(args.walk)
    dreamer = load(args.source)
    dreamer.network.to(find(args.device))
    out = Run.open(args.source).gallery if Path(args.source).is_dir() else RECORDINGS
    name = f"{args.label}-{args.seed}" if args.label else f"{args.seed}"
    sheet = args.out or free(out / f"dreams-{name}.png")
    if args.label is None and dreamer.classes and args.out is None:
        by_class = free(out / f"classes-{args.seed}.png")
        write_image(by_class, dreams.class_sheet(dreamer, args.seed, args.truncation))
        print(by_class)
    write_image(sheet, dreams.sheet(dreamer, args.count, args.seed, args.label, args.truncation))
    print(sheet)
    if args.neighbours:
        some = dreamer.sample(PAIRS, args.seed, args.label, args.truncation)
        pairs = dreams.neighbour_sheet(some, _real(args, dreamer), features_to_score())
        beside = free(out / f"neighbours-{name}.png")
        write_image(beside, pairs)
        print(beside)
    if args.walk:
        stops = max(2, round(args.seconds / SECONDS_A_STOP))
        steps = max(1, round(args.seconds * FPS / stops))
        with VideoWriter(args.walk, FPS) as film:
            for frame in dreams.walk(dreamer, steps, stops, args.seed, args.label, args.truncation):
                film.write(frame)
        print(args.walk)
    if args.window or (window.available() and not args.walk):
        _show(dreamer, args)


def _show(dreamer: Dreamer, args: argparse.Namespace) -> None:
    """Walk from dream to dream until the user quits."""
    with window.Window("playground: dreams", fps=FPS, shown=("space", "+/-", "esc")) as screen:
        for seed in count(args.seed):
            steps = round(SECONDS_A_STOP * FPS)
            for frame in dreams.walk(dreamer, steps, 8, seed, args.label, args.truncation):
                if not screen.write(frame):
                    return
                screen.poll()


def _real(args: argparse.Namespace, dreamer: Dreamer) -> Pictures:
    """The pictures that it learned from, or others of the same kind."""
    kept = Path(args.source) / KEPT
    if not args.data and kept.exists():
        return game_pictures.read(kept)[0]
    kind, rest = data.parse(spec := args.data or dreamer.card["data"])
    if not args.data and kind != "atari" and not Path(rest).exists():
        raise UserError("--neighbours needs the pictures that it learned from: add --data.")
    size = dreamer.plan.size
    if kind == "atari":
        return game_pictures.game_pictures(rest.split(","), size, 1000, args.seed)[0]
    found = data.load_folder(rest, size) if kind == "folder" else data.load(spec, "train", size)
    if len(found) < 2:
        raise UserError(f"{spec} has one picture: --neighbours compares with two or more.")
    return found


def add_dream(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add = verb.add_argument
    add("source", nargs="?", default=SHIPPED, metavar="SOURCE",
        help=f"a run of train dcgan, or a generator's file (default {SHIPPED})")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="of the sheet, .png (default: in the run's "
        "gallery, or recordings/)")  # fmt: skip
    add("--count", type=int, default=64, help="dreams on the sheet (default 64)")
    add("--seed", type=int, default=0, help="of the dreams (default 0)")
    add("--label", metavar="NAME", help="dream of this class alone, such as a game")
    text = "latent numbers beyond ± this do not occur: smaller is more typical, less various"
    add("--truncation", type=float, metavar="T", help=text)
    add("--walk", type=Path, metavar="FILE", help="a film from dream to dream, .mp4 or .gif; loops")
    add("--seconds", type=float, default=12.0, help="of that film (default 12)")
    add("--neighbours", action="store_true", help="a sheet with the nearest real picture beside "
        "each dream: learned by heart, or imagined?")  # fmt: skip
    add("--data", metavar="SPEC", help="those real pictures, where the run does not say")
    add("--window", action="store_true", help="a window or nothing: an error without a display")
    text = "where to compute (default auto: CUDA, MPS or CPU)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=text)
