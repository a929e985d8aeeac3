"""Take a run's painter into the zoo, time it, and write its card.

    python scripts/benchmarks/zoo_painter.py RUN painter [--terms TEXT] [--flicker FILE]

Writes into generators/zoo/: NAME.safetensors (fp16) and NAME.json (the card: its styles with the
paintings that they were learned from, how it was trained, on what, how long, its learning curve,
its speed). --flicker takes what painter_flicker.py wrote with --json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators.painter import TASK, ZOO, Film, load
from generators.painter_task import PRESETS, TRAINERS
from playground.device import median_seconds
from playground.run import Run, device_name, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.cards import COURSE, content_of, file_of, trained
from scripts.benchmarks.measuring import run as run_benchmark
from scripts.train_style import EVALUATE_EVERY

FRAME = (210, 160)  # rows and columns of what is timed
THREADS = 2  # with which


def main() -> int:
    """Add one painter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("run", type=Path, help="run directory of a training of styles")
    add("name", help="of the painter, for example painter")
    add("--which", choices=("best", "last"), default="best",
        help="of the best evaluation, or the newest (default best)")  # fmt: skip
    add("--extra", default="", help="flags of the training that are no settings: '--frames 300'")
    add("--terms", help="of its data, instead of those that the training was told")
    add("--course", metavar="TEXT", help=COURSE)
    add("--flicker", type=Path, metavar="FILE", help="figures of painter_flicker.py")
    args = parser.parse_args()
    run = Run.open(args.run)
    content = content_of(file_of(run, TASK, args.which))
    painter = load(args.run / f"{args.which}.safetensors")
    painter.card["terms"] = args.terms or painter.card["terms"]
    preset = run.settings["preset"]
    usual = (PRESETS[preset], TrainerConfig(**TRAINERS[preset], evaluate_every=EVALUATE_EVERY))
    curve = ("style", "content", "flicker")
    torch.set_num_threads(THREADS)
    film = Film(painter, painter.mixture(None))
    pixels = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    (seconds,) = median_seconds([lambda: film.paint(pixels)], torch.device("cpu"), 3.0)
    card = {
        **painter.card,
        **trained(run, painter.card["updates"], usual, curve, args.extra, args.course),
        "parameters": sum(p.numel() for p in painter.network.parameters()),
        "bytes": len(content),
        "frames_a_second": round(1 / seconds, 1),
        "timed_on": f"{device_name()}, {THREADS} threads, {FRAME[1]}x{FRAME[0]} pixels",
    }
    if args.flicker:
        card["flicker"] = read_json(args.flicker)["rows"]
    painter.save(ZOO / f"{args.name}.safetensors")
    write_json(ZOO / f"{args.name}.json", card)
    print(f"{args.name}: {card['frames_a_second']} frames/s, {card['bytes']:,} bytes")
    return 0


if __name__ == "__main__":
    run_benchmark(main)
