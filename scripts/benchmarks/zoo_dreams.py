"""Take a run's generator into the zoo, score it, and write its card and its sheet of classes.

    python scripts/benchmarks/zoo_dreams.py RUN NAME --weights FILE [--which last]

Writes into generators/zoo/: NAME.safetensors (fp16), NAME.json (the card: how it was trained, on
what, how long, its learning curve, its scores) and NAME.png (a row of dreams for each class). The
scores hold --samples dreams against the run's held-out pictures in the last features of the
ImageNet MobileNetV2 (--weights), which no training here uses; `floor` does the same with pictures
that were learned from.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import pictures as game_pictures
from generators import dcgan, dreams
from generators.dreamer import ZOO, Dreamer
from generators.gan_scores import Features, Scorer
from playground.backbone import create
from playground.device import median_seconds
from playground.errors import UserError
from playground.media import write_image
from playground.run import Run, atomic_path, device_name, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.cards import COURSE, content_of, file_of, trained
from scripts.benchmarks.measuring import run as run_benchmark
from scripts.train_dcgan import EVALUATE_EVERY, KEPT

EXTRACTOR_PX = 96  # to which pictures are enlarged for the MobileNetV2
SEED = 1_000_000_007  # of the dreams that are scored
THREADS = 2  # with which sampling is timed


def main() -> int:
    """Add one generator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run", type=Path, help="run directory of a DCGAN training on atari:GAMES")
    add("name", help="of the generator, for example dreams")
    add("--weights", type=Path, required=True, help="ImageNet weights of MobileNetV2")
    add("--which", choices=("best", "last"), default="best",
        help="of the best evaluation, or the newest (default best)")  # fmt: skip
    add("--samples", type=int, default=10_000, help="dreams that are scored (default 10000)")
    add("--course", metavar="TEXT", help=COURSE)
    ship(parser.parse_args())
    return 0


def ship(args: argparse.Namespace) -> None:
    """Weights, card, sheet; nothing is written before all is known."""
    run = Run.open(args.run)
    content = content_of(file_of(run, "dcgan", args.which))
    if not (run.path / KEPT).exists():
        raise UserError(f"{run.path} was trained on no pictures of games.")
    dreamer = dcgan.load(run.path / f"{args.which}.safetensors")
    card = {
        **about(run, dreamer, args.course),
        "bytes": len(content),
        "scores": scores(run, dreamer, args),
    }
    torch.set_num_threads(THREADS)
    (seconds,) = median_seconds([lambda: dreamer.sample(64)], torch.device("cpu"), 3.0)
    card["seconds_for_64"] = round(seconds, 4)
    card["timed_on"] = f"{device_name()}, {THREADS} threads"
    with atomic_path(ZOO / f"{args.name}.safetensors") as aside:
        aside.write_bytes(content)
    write_image(ZOO / f"{args.name}.png", dreams.class_sheet(dreamer))
    write_json(ZOO / f"{args.name}.json", card)
    print(card["scores"], card["seconds_for_64"], "s for 64 dreams")


def about(run: Run, dreamer: Dreamer, course: str | None) -> dict[str, Any]:
    """How it came to be."""
    preset = run.settings["preset"]
    trainer = TrainerConfig(**dcgan.TRAINERS[preset], evaluate_every=EVALUATE_EVERY)
    usual = (dcgan.PRESETS[preset], trainer)
    return {
        "classes": list(dreamer.classes),
        **trained(run, dreamer.card["updates"], usual, ("fid", "coverage"), course=course),
        "pictures": run.settings["pictures"]["count"],
        "data": "Frames of Atari 2600 games, made with ale-py by random play and the zoo's agents.",
        "parameters": sum(p.numel() for p in dreamer.network.parameters()),
    }


def scores(run: Run, dreamer: Dreamer, args: argparse.Namespace) -> dict[str, Any]:
    """Its figures by a network that it never met."""
    learned, held_out = game_pictures.read(run.path / KEPT)
    features = Features(create("mobilenet_v2", weights=args.weights), size=EXTRACTOR_PX)
    scorer = Scorer(features.of(held_out, args.samples))
    found = scorer.score(features(part) for part in dreamer.stream(args.samples, SEED))
    floor = scorer.score(features.of(learned, args.samples))
    return {
        "extractor": "MobileNetV2, ImageNet",
        "dreams": args.samples,
        "held_out": min(args.samples, len(held_out)),
        **{name: round(value, 4) for name, value in found.items()},
        "floor": {name: round(value, 4) for name, value in floor.items()},
    }


if __name__ == "__main__":
    run_benchmark(main)
