"""Take a run's captioner into the zoo, with the figures of its benchmark, and write its card.

    python scripts/benchmarks/caption_games.py RUN --speed --out games.json
    python scripts/benchmarks/zoo_captioner.py RUN games --scores games.json
    python scripts/benchmarks/caption_photos.py RUN --data flickr8k:DIR --out photos.json
    python scripts/benchmarks/zoo_captioner.py RUN photos --scores photos.json
        --published imagenet --encoder FILE --data "Flickr8k (...): research only"

Writes into generators/zoo/: NAME.safetensors (fp16) and NAME.json (the card: how it was trained, on
what, how long, its learning curve, its scores); of a captioner of games also NAME.png, what it says
of a moment, not picked by hand, of up to six games. With --published the file names its encoder's
weights instead of holding them, after a look whether they are those.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from agents.commentary import FAR_APART, examples
from agents.players import zoo_agents
from generators import caption
from generators.caption_views import captioned
from generators.captioner import ZOO, Captioner, Parts, load
from playground.errors import UserError
from playground.gallery import contact_sheet
from playground.media import write_image
from playground.run import Run, atomic_path, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.cards import COURSE, content_of, file_of, plain, trained
from scripts.benchmarks.measuring import run as run_benchmark

GAMES = (
    "Clips of Atari 2600 games, made with ale-py by random play, wanderers, the zoo's agents and "
    "changes of the console's memory; captions from that memory."
)

SHOWN = ("breakout", "enduro", "ms_pacman", "pong", "seaquest", "space_invaders")  # on the sheet
COLUMNS, ENLARGED = 3, 2
MOMENT = 8  # the number of the clip of each game
SHEET_SEED = 6_000_011  # neither a training's nor its benchmark's


def sheet(captioner: Captioner) -> np.ndarray:
    """Comments on a moment of each game that is shown and that it knows: (H, W, 3) uint8."""
    pictures, agents = [], zoo_agents()
    for game in (game for game in SHOWN if game in captioner.games):
        roster = [("agent", 0.02, False)]
        played = examples(game, SHEET_SEED, agents=agents, roster=roster, apart=FAR_APART)
        frames = next(islice(played, MOMENT, None)).frames
        (text,) = captioner.caption(frames, "comment")
        large = frames[-1].repeat(ENLARGED, 0).repeat(ENLARGED, 1)
        pictures.append(captioned(large, text, 2))
    return contact_sheet(pictures, COLUMNS)


def named(captioner: Captioner, published: str, file: Path | None) -> Captioner:
    """The same with its encoder's weights by name; UserError where a file of these has others."""
    if file is None:
        raise UserError("--published goes with --encoder FILE, by which it is checked.")
    plan = replace(captioner.plan, published=published)
    encoder = plan.encoder(file)
    own = captioner.parts.encoder.state_dict()
    for key, value in encoder.state_dict().items():
        if not torch.allclose(own[key].float(), value.half().float(), atol=1e-6):
            raise UserError(f"The encoder has another {key} than {file}: it holds its own weights.")
    parts = Parts(plan, encoder, len(captioner.vocabulary))
    parts.decoder = captioner.parts.decoder
    return Captioner(parts, captioner.vocabulary, plan, captioner.card)


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
    add("--published", metavar="NAME", help="of the encoder's weights: they are not kept")
    add("--encoder", type=Path, metavar="FILE",
        help="a file of the weights that --published, or the run, names")  # fmt: skip
    add("--data", default=GAMES, help="what it learned from, and under which terms")
    args = parser.parse_args()
    run = Run.open(args.run)
    file = file_of(run, "caption", args.which)
    captioner = load(file, args.encoder)
    if args.published:
        captioner = named(captioner, args.published, args.encoder)
    captioner.card = plain(captioner.card)
    with tempfile.TemporaryDirectory() as folder:
        captioner.save(Path(folder, args.name))
        content = content_of(Path(folder, args.name))
    scores = read_json(args.scores)
    # A benchmark that was given a run's folder looked at its best.
    judged = {file.resolve()} | ({args.run.resolve()} if args.which == "best" else set())
    own = next((scores[key] for key in scores if Path(key).resolve() in judged), None)
    if own is None:
        raise UserError(f"{args.scores} has no figures of {file}.")
    own.pop("card", None)
    preset = caption.PRESETS[run.settings["preset"]]
    games = captioner.games
    usual = caption.for_clips(preset) if games else preset, TrainerConfig(**caption.TRAINER)
    card = {
        **trained(run, captioner.card["updates"], usual, ("score",), args.extra, args.course),
        **({"games": list(games)} if games else {}),
        "data": args.data,
        "parameters": sum(p.numel() for p in captioner.parts.parameters()),
        "bytes": len(content),
        "scores": own,
        "timed_on": scores["device"],
    }
    shown = sheet(captioner) if {*SHOWN} & {*games} else None
    with atomic_path(ZOO / f"{args.name}.safetensors") as aside:
        aside.write_bytes(content)
    write_json(ZOO / f"{args.name}.json", card)
    if shown is not None:
        write_image(ZOO / f"{args.name}.png", shown)
    print(f"{args.name}: {len(content):,} bytes, {card['updates']:,} updates")
    return 0


if __name__ == "__main__":
    run_benchmark(main)
