"""Pretrain the arcade backbone: screens of all games, played on the fly, and photographs.

    python scripts/benchmarks/arcade_pretrain.py --photo-data cifar10:DIR --photo-data DIR
    python scripts/benchmarks/arcade_pretrain.py --resume RUN [--hours H] [--updates N]
    python scripts/benchmarks/arcade_pretrain.py --ship RUN --probe FILE.json --terms "SET, terms"

One CPU thread unless --threads says otherwise. `--updates` is the schedule's length (its last part
lowers the learning rate to nothing) and may be changed on resume. `--ship` copies the run's newest
weights into playground/zoo with their card, which names the command, the data and the figures that
scripts/benchmarks/arcade_probe.py wrote.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.arcade import ArcadeSource
from playground import data
from playground.backbone import create
from playground.config import add_arguments, apply_arguments, from_json, to_json
from playground.errors import UserError
from playground.gallery import write_page
from playground.pretrain import Pretrain, PretrainConfig
from playground.run import Run, atomic_path, read_json, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything
from playground.weights import ZOO
from scripts.benchmarks.cards import evaluations, flags

TRAINER = TrainerConfig(
    device="cpu", threads=1, precision="fp32", ema=0.998, clip_norm=5.0, evaluate_every=500
)
README = """# The backbones that ship

`playground.backbone.create(NAME, weights=NAME)` loads one, without a network. Each has a card
beside it, `NAME.json`: settings, commit, data and their terms, learning curve, probes. Positions:
mean R² over games of linear probes on frozen features of held-out seeds, for this network and for
others that see the same screens; photographs: accuracy of linear probes on the test split
(protocol: `scripts/benchmarks/arcade_probe.py`).

This file is written by `scripts/benchmarks/arcade_pretrain.py --ship`.

| name | parameters | bytes | screens | positions, R² | photographs | trained by |
| --- | --- | --- | --- | --- | --- | --- |
"""
HELD_OUT_SEED = 1_000_003  # more than a training's seed


def main() -> int:
    """Train, go on, or ship."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--photo-data", action="append", default=[], metavar="SPEC", help="a set of photographs")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs")
    add("--name", help="of the run")
    add("--resume", type=Path, metavar="RUN", help="go on from its newest checkpoint")
    add("--ship", type=Path, metavar="RUN", help="put its newest weights into the zoo")
    add("--terms", action="append", default=[], help="a photo set and its terms, for the card")
    add("--probe", type=Path, metavar="FILE", help="figures of arcade_probe.py, for the card")
    add_arguments(parser, PretrainConfig)
    add_arguments(parser, TrainerConfig)
    args = parser.parse_args()
    try:
        if args.ship:
            ship(Run.open(args.ship), args.probe, args.terms)
        else:
            train(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def train(args: argparse.Namespace) -> None:
    """A new run, or an old one further."""
    if args.resume:
        run = Run.open(args.resume)
        for name in ("learning_rate", "weight_decay"):  # the optimizer goes on with its own
            if name in args:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"A resumed run keeps its settings: leave out {flag}.")
        config = apply_arguments(from_json(PretrainConfig, run.settings["config"]), args)
        settings = from_json(TrainerConfig, run.settings["trainer"])
        settings = apply_arguments(replace(settings, hours=None, steps=None), args)
        specs = args.photo_data or run.settings["photo_data"]
    else:
        config = apply_arguments(PretrainConfig(), args)
        settings = apply_arguments(TRAINER, args)
        specs = args.photo_data
    if settings.device == "auto":  # so older runs have it
        settings = replace(settings, device="cpu")
    if settings.device != "cpu":
        raise UserError("The arcade backbone is pretrained on the CPU, as its games are played.")
    if settings.steps is None:
        settings = replace(settings, steps=config.updates)
    seed_everything(settings.seed)
    task = build(config, specs, settings.seed)
    if not args.resume:
        run = Run.create(
            args.runs, "arcade", args.name, to_json(config), trainer=to_json(settings),
            photo_data=specs, unit="updates", games=list(task.source.games),
        )  # fmt: skip
    trainer = Trainer(settings, task, run, on_progress=report)
    if args.resume:
        trainer.resume()
        run.update(trainer=to_json(settings), config=to_json(config), photo_data=specs)
    outcome = trainer.fit()
    print(f"Stopped at {outcome.progress:,} updates ({outcome.reason}), score {outcome.score}.")
    write_page([run.path], run.gallery / "index.html", title=run.name)


def build(config: PretrainConfig, specs: list[str], seed: int) -> Pretrain:
    """The task with its emulators and photographs."""
    return Pretrain(
        config,
        create("arcade"),  # type: ignore[arg-type]
        ArcadeSource(seed=seed),
        ArcadeSource(seed=seed + HELD_OUT_SEED, pool=config.held_out, reuse=1e9, known_players=2),
        photos=[data.load(spec, "train") for spec in specs],
        photo_tests=[data.load(spec, "test") for spec in specs],
    )


def report(figures: dict[str, Any]) -> None:
    """One line a log."""
    shown = {k: v for k, v in figures.items() if isinstance(v, int | float)}
    print("  ".join(f"{k} {v:.4g}" for k, v in shown.items()), flush=True)


def ship(run: Run, probe: Path | None, terms: list[str]) -> None:
    """Copy the newest weights, write the card and the table of cards."""
    source = run.path / "last.safetensors"
    if run.task != "arcade" or not source.exists():
        raise UserError(f"{run.path} is no run of arcade_pretrain.py with weights in it.")
    backbone = create("arcade", weights=source)  # raises for a damaged file, before any writing
    with safe_open(source, "pt") as file:
        updates = int(file.metadata()["progress"])
    config, settings = run.settings["config"], run.settings["trainer"]
    minutes, curve = learning_curve(run)
    card = {
        "backbone": "arcade",
        "command": command(run),
        "commit": run.settings["commit"],
        "settings": config,
        "trainer": settings,
        "games": run.settings["games"],
        "photographs": terms,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "bytes": source.stat().st_size,
        "updates": updates,
        "screens": updates * config["screens"],
        "minutes": minutes,
        "hardware": f"{run.settings['precision']['device']}, {settings['threads']} thread(s)",
        "versions": run.settings["versions"],
        "curve": curve,
        "probe": read_json(probe) if probe else None,
    }
    with atomic_path(ZOO / "arcade.safetensors") as aside:
        shutil.copyfile(source, aside)
    write_json(ZOO / "arcade.json", card)
    write_table()


def command(run: Run) -> str:
    """The command line that trains it again; DIR stands for folders."""
    words = ["python scripts/benchmarks/arcade_pretrain.py"]
    for spec in run.settings["photo_data"]:
        kind, _ = data.parse(spec)
        words.append(f"--photo-data {'DIR' if kind == 'folder' else f'{kind}:DIR'}")
    usual = to_json(PretrainConfig()) | to_json(TRAINER)
    given = run.settings["config"] | run.settings["trainer"]
    return " ".join([*words, *flags(given, usual, without=("steps", "hours"))])


def learning_curve(run: Run) -> tuple[float, list[list[float]]]:
    """Minutes trained, without pauses, and [[updates, minutes, score], ...]."""
    total, found = evaluations(run)
    return total, [
        [line["step"], minutes, round(line["evaluate/score"], 4)] for minutes, line in found
    ]


def write_table() -> None:
    """README.md: a row for each card."""
    rows = []
    for path in sorted(ZOO.glob("*.json")):
        card = read_json(path)
        probe = card["probe"] or {"mean_r2": {}, "games": {}, "photos": {}}
        places = ", ".join(f"{name} {score:.3f}" for name, score in probe["mean_r2"].items())
        photos = "; ".join(
            f"{name}: "
            + ", ".join(f"{net} {found['accuracy']:.1f} %" for net, found in nets.items())
            for name, nets in probe["photos"].items()
        )
        cells = (
            *(path.stem, f"{card['parameters']:,}", f"{card['bytes']:,}", f"{card['screens']:,}"),
            *(f"{places} ({len(probe['games'])} games)", photos, f"`{card['command']}`"),
        )
        rows.append("| " + " | ".join(cells) + " |\n")
    with atomic_path(ZOO / "README.md") as aside:
        aside.write_text(README + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
