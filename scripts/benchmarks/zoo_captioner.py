"""Take a run's captioner into the zoo, with the figures of its benchmark, and write its card.

    python scripts/benchmarks/caption_games.py RUN --speed --out games.json
    python scripts/benchmarks/zoo_captioner.py RUN games --scores games.json

Writes into generators/zoo/: NAME.safetensors (fp16) and NAME.json (the card: how it was trained, on
what, how long, its learning curve, its scores).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators import caption
from generators.captioner import ZOO, load
from playground.data import parse
from playground.errors import UserError
from playground.run import Run, atomic_path, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.cards import COURSE, content_of, trained
from scripts.benchmarks.measuring import run as run_benchmark

GAMES = (
    "Clips of Atari 2600 games, made with ale-py by random play, wanderers, the zoo's agents and "
    "changes of the console's memory; captions from that memory."
)


def main() -> int:
    """Add one captioner."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("run", type=Path, help="run directory of a training of captions")
    add("name", help="of the captioner, for example games")
    add("--scores", type=Path, required=True, metavar="FILE", help="what its benchmark wrote")
    add("--which", choices=("best", "last"), default="best",
        help="of the best evaluation, or the newest (default best)")  # fmt: skip
    add("--extra", default="", help="flags of the training that are no settings: '--clips 2000'")
    add("--course", metavar="TEXT", help=COURSE)
    add("--data", default=GAMES, help="what it learned from, and under which terms")
    args = parser.parse_args()
    run = Run.open(args.run)
    content = content_of(run, "caption", args.which)
    captioner = load(args.run / f"{args.which}.safetensors")
    scores = read_json(args.scores)
    own = next((scores[key] for key in scores if Path(key).resolve() == args.run.resolve()), None)
    if own is None:
        raise UserError(f"{args.scores} has no figures of {args.run}.")
    own.pop("card", None)
    usual = (caption.for_clips(caption.PRESETS[run.settings["preset"]]),
             TrainerConfig(**caption.TRAINER))  # fmt: skip
    card = {
        **trained(run, captioner.card["updates"], usual, ("score",), args.extra, args.course),
        "games": [game.strip() for game in parse(run.settings["config"]["data"])[1].split(",")],
        "data": args.data,
        "parameters": sum(p.numel() for p in captioner.parts.parameters()),
        "bytes": len(content),
        "scores": own,
        "timed_on": scores["device"],
    }
    with atomic_path(ZOO / f"{args.name}.safetensors") as aside:
        aside.write_bytes(content)
    write_json(ZOO / f"{args.name}.json", card)
    print(f"{args.name}: {len(content):,} bytes, {card['updates']:,} updates")
    return 0


if __name__ == "__main__":
    run_benchmark(main)
