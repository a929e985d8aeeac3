"""What transfer is worth: from scratch and fine-tuned, at 1 %, 10 % and 100 % of the labels.

    python scripts/benchmarks/transfer.py --data DIR --weights DIR --runs DIR [--threads 1]
    python scripts/benchmarks/transfer.py --data cifar10:DIR --runs DIR --nets resnet18

DIR of --data holds class folders (Tiny-ImageNet-100 for the figures of RESULTS.md), --weights the
files mobilenet_v2*.safetensors and squeezenet*.safetensors, learned from ImageNet. Each cell is one
`play.py train classify`, its command is printed, and an interrupted one goes on where it was saved;
cells that are done are not trained again. Lengths were set beforehand, by what a laptop does in
minutes: a network from scratch gets more epochs than a fine-tuned one.

The accuracy is that of the last weights (averaged ones, as exported) on all test pictures, not the
best on the way. In the end a table, `transfer.json` and `transfer.html`, the page with all curves,
in --runs.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.data import parse
from playground.errors import UserError
from playground.gallery import write_page
from playground.run import Run, write_json

PLAY = Path(__file__).parents[1] / "play.py"
SCRATCH = {0.01: 100, 0.1: 40, 1.0: 10}  # share of the labels -> epochs
TUNED = {0.01: 40, 0.1: 10, 1.0: 3}
NETS: dict[str, tuple[dict[float, int], str, str]] = {  # epochs, weights, flags
    "resnet18": (SCRATCH, "", "--preset photos --batch-size 64"),
    "mobilenet_v2": (SCRATCH, "", "--preset photos --backbone mobilenet_v2 --batch-size 64"),
    "mobilenet_v2 tuned": (TUNED, "mobilenet_v2*.safetensors", "--preset finetune --size 96"),
    "squeezenet tuned": (
        TUNED,
        "squeezenet*.safetensors",
        "--preset finetune --size 96 --backbone squeezenet --learning-rate 5e-4",
    ),
}
RESNET = {"cifar10": "stem=small,width=0.25", "folder": "stem=imagenet,width=0.5"}  # options


def main() -> int:
    """Train what is missing, then tell all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, metavar="SPEC", help="cifar10:DIR or a folder of class folders")
    add("--weights", type=Path, metavar="DIR", help="of the ImageNet weights")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--nets", default=",".join(NETS), help="which networks (default: all)")
    add("--labels", default="0.01,0.1,1", help="shares of the labels (default 0.01,0.1,1)")
    add("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    args = parser.parse_args()
    cells = [
        (net, float(share)) for share in args.labels.split(",") for net in args.nets.split(",")
    ]
    for net, share in cells:
        if (net not in NETS) or share not in SCRATCH:
            print(f"There is no cell {net} at {share:g} of the labels.", file=sys.stderr)
            return 2
        try:
            command = command_of(net, share, args)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        if command:
            print(" ".join(command), flush=True)
            subprocess.run(command, check=True)
    report(cells, args)
    return 0


def folder_of(net: str, share: float, args: argparse.Namespace) -> Path:
    """The run of a cell."""
    kind, rest = parse(args.data)
    data = Path(rest).resolve().name if kind == "folder" else kind
    return args.runs / "classify" / f"{data}-{net.replace(' ', '-')}-{100 * share:g}"


def command_of(net: str, share: float, args: argparse.Namespace) -> list[str]:
    """What trains a cell, or goes on with it; nothing where it is done."""
    folder = folder_of(net, share, args)
    start = [sys.executable, str(PLAY), "train", "classify"]
    if (folder / "config.json").exists():
        run = Run.open(folder)
        done = max((line["step"] for line in run.metrics()), default=0)
        more = ["--resume", str(folder), "--threads", str(args.threads or 1)]
        return [] if done >= run.settings["trainer"]["steps"] else start + more
    epochs, weights, flags = NETS[net]
    words = [*flags.split(), "--data", args.data, "--labels", f"{share:g}"]
    words += ["--epochs", str(epochs[share]), "--runs", str(args.runs), "--name", folder.name]
    if net == "resnet18":
        words += ["--options", RESNET[parse(args.data)[0]]]
    if weights:
        found = sorted(args.weights.glob(weights)) if args.weights else []
        if not found:
            raise UserError(f"There is no {weights} in {args.weights}; say where with --weights.")
        words += ["--weights", str(found[0])]
    if args.threads:
        words += ["--threads", str(args.threads)]
    return start + words


def report(cells: list[tuple[str, float]], args: argparse.Namespace) -> None:
    """The table, the figures and the page."""
    runs = {cell: Run.open(folder_of(*cell, args)) for cell in cells}
    found: list[dict[str, Any]] = []
    for (net, share), run in runs.items():
        lines = run.metrics()
        curve = [(x["step"], x["evaluate/score"]) for x in lines if "evaluate/score" in x]
        minutes = sum(
            min(after["time"] - before["time"], 120)  # a longer one is a break
            for before, after in itertools.pairwise(lines)
        )
        found.append({
            "net": net, "labels": share, "accuracy": curve[-1][1], "curve": curve,
            "minutes": round(minutes / 60, 1), "updates": curve[-1][0],
        })  # fmt: skip
    shares = sorted({share for _, share in cells})
    print(f"| network | {' | '.join(f'{100 * share:g} % of labels' for share in shares)} |")
    print("| --- |" + " --- |" * len(shares))
    for net in dict.fromkeys(net for net, _ in cells):
        row = {one["labels"]: one for one in found if one["net"] == net}
        texts = [f"{row[s]['accuracy']:.1f} ({row[s]['minutes']:.0f} min)" for s in shares]
        print(f"| {net} | {' | '.join(texts)} |")
    write_json(args.runs / "transfer.json", {"data": args.data, "cells": found})
    write_page([run.path for run in runs.values()], args.runs / "transfer.html", title="Transfer")


if __name__ == "__main__":
    sys.exit(main())
