"""Paintings after equal time: the preset `best` against Gatys et al., judged by a third network.

    python scripts/benchmarks/style_vs_gatys.py --photos DIR --paintings DIR --weights FILE \
        --judge-weights FILE
    ... --pairs 2 --seconds 20 --size 192                                       a rehearsal

The baseline is written here anew from what the authors publish (PytorchNeuralStyleTransfer,
NeuralStyleTransfer.ipynb): Gram matrices of relu1_1 ... relu5_1 weighing 1000 / N^2, content of
relu4_2, in a network whose layers have a mean activation of 1, L-BFGS in PyTorch's defaults, from
the photo (from which it gets much further than from the paper's white noise), with max pooling,
both pictures at the painting's size. The authors' weight of content, 1, leaves the photo nearly as
it is in a network of fewer channels than VGG-19's; so it has 0.01 here, unless told by
--baseline-content-weight, and ours a weight that gives about as much content (--content-weight).

Both optimise through the same backbone (--backbone, --weights), each alone for --seconds, in turn,
ours first in every other pair. Loading of networks and files does not count, all else does. Both
are judged, at full size, in the features of a network that neither has seen (--judge):

    style    mean over its style layers of |G - A|^2 / |A|^2, G and A being Gram matrices
    content  |F - P|^2 / |P|^2 of its content layer's maps

Pairs are photo i with painting i in the order of names, so that all figures can be had again.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators import style
from generators.style_easel import find_backbone, fitting, picture, resized
from generators.style_losses import StyleNetwork
from playground.backbone import create
from playground.device import prepare_process
from playground.errors import UserError
from playground.gallery import contact_sheet
from playground.media import write_image
from playground.run import device_name, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks.measuring import run

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
STYLE = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}
CONTENT = "relu4_2"
Row = dict[str, Any]


class TimeUp(Exception):
    """Ends the baseline within an L-BFGS step."""


def gram(maps: Tensor) -> Tensor:
    """(1, C, h, w) -> (C, C), divided by the positions."""
    flat = maps[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


class Gatys:
    """The baseline; its layers with VGG-19's channels, by which the authors weigh them."""

    def __init__(self, backbone: Any, content_weight: float) -> None:
        self.backbone = backbone.eval().requires_grad_(False)
        self.content_weight = content_weight
        self.scale: dict[str, float] = {}

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        found = self.backbone.features(x, [*STYLE, CONTENT])
        return {name: map_ * self.scale.get(name, 1.0) for name, map_ in found.items()}

    def paint(self, photo: Tensor, painting: Tensor, seconds: float) -> tuple[Tensor, int]:
        """(painting, evaluations) after so long."""
        deadline = time.monotonic() + seconds
        with torch.no_grad():
            self.scale = {}
            both = self.maps(photo), self.maps(painting)
            self.scale = {n: 2 / float(both[0][n].mean() + both[1][n].mean()) for n in both[0]}
            content = self.maps(photo)[CONTENT]
            grams = {name: gram(self.maps(painting)[name]) for name in STYLE}
        x = photo.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([x])
        evaluations, last = 0, photo.clone()

        def closure() -> Tensor:
            nonlocal evaluations
            if time.monotonic() > deadline:
                raise TimeUp
            optimizer.zero_grad()
            maps = self.maps(x)
            loss = self.content_weight * F.mse_loss(maps[CONTENT], content)
            for name, channels in STYLE.items():
                loss = loss + 1000 / channels**2 * F.mse_loss(gram(maps[name]), grams[name])
            loss.backward()
            evaluations += 1
            last.copy_(x.detach())
            return loss

        try:
            while True:
                optimizer.step(closure)
        except TimeUp:
            return last.clamp(0, 1), evaluations


class Judge:
    """A network that neither side has optimised."""

    def __init__(self, network: StyleNetwork) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, result: Tensor, photo: Tensor, painting: Tensor) -> dict[str, float]:
        found, wanted, source = (self.network.features(x) for x in (result, photo, painting))
        styles = [
            float(
                (gram(found[n]) - gram(source[n])).square().sum() / gram(source[n]).square().sum()
            )
            for n in self.network.style
        ]
        name = self.network.content[0]
        apart = (found[name] - wanted[name]).square().sum() / wanted[name].square().sum()
        return {"style": mean(styles), "content": float(apart)}


def files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"There is no picture in {folder}.")
    return found


def sized(file: Path, size: int) -> Tensor:
    """A picture (1, 3, H, W) whose longer side is `size`."""
    whole = picture(file, "").expand(-1, 3, -1, -1)
    return resized(whole, fitting(whole.shape[2], whole.shape[3], size))


def compare(args: argparse.Namespace) -> tuple[list[Row], list[Any]]:
    """A row for each pair and side; their pictures."""
    photos, paintings = files(args.photos), files(args.paintings)
    judge = Judge(StyleNetwork(create(args.judge, weights=args.judge_weights)))
    _, backbone = find_backbone(args.backbone, str(args.weights), print)
    gatys = Gatys(backbone, args.baseline_content_weight)
    config = replace(
        style.PRESETS[args.preset], backbone=args.backbone, weights=str(args.weights),
        size=args.size, seconds=args.seconds,
        content_weight=args.content_weight,
    )  # fmt: skip
    trainer = replace(style.TRAINER, device="cpu", log_seconds=3600.0)  # as Gatys et al. here
    rows, pictures = [], []
    for number in range(args.pairs):
        files_ = photos[number % len(photos)], paintings[number % len(paintings)]
        photo, painting = (sized(file, args.size) for file in files_)
        results = {}
        for who in ("ours", "gatys") if number % 2 == 0 else ("gatys", "ours"):
            began = time.monotonic()
            if who == "ours":
                made, count = ours(photo, painting, config, trainer)
            else:
                made, count = gatys.paint(photo, painting, args.seconds)
            seconds = time.monotonic() - began
            results[who] = made
            row = {"pair": f"{files_[0].stem} x {files_[1].stem}", "who": who, "seconds": seconds,
                   "iterations": count, **judge(made, photo, painting)}  # fmt: skip
            rows.append(row)
            print(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                           for k, v in row.items()), flush=True)  # fmt: skip
        pictures += [photo[0], painting[0], results["ours"][0], results["gatys"][0]]
    return rows, pictures


def ours(
    photo: Tensor, painting: Tensor, config: style.StyleConfig, trainer: TrainerConfig
) -> tuple[Tensor, int]:
    """(painting, iterations)."""
    painted = style.paint(photo, painting, config=config, trainer=trainer)
    return painted.picture[None], painted.iterations


def summary(rows: list[Row]) -> Row:
    """Means of both sides, and in how many pairs ours is at or below the baseline in both."""
    by = {who: [row for row in rows if row["who"] == who] for who in ("ours", "gatys")}
    pairs = {row["pair"]: row for row in by["gatys"]}
    won = {
        what: sum(row[what] <= pairs[row["pair"]][what] for row in by["ours"])
        for what in ("style", "content")
    }
    both = sum(
        all(row[what] <= pairs[row["pair"]][what] for what in ("style", "content"))
        for row in by["ours"]
    )
    means = {
        f"{who}_{what}": mean(row[what] for row in found)
        for who, found in by.items()
        for what in ("style", "content")
    }
    return {**means, "pairs": len(pairs), "won_style": won["style"], "won_content": won["content"],
            "won_both": both}  # fmt: skip


def main() -> int:
    """See the module's top."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--photos", type=Path, required=True, metavar="DIR", help="contents")
    add("--paintings", type=Path, required=True, metavar="DIR", help="styles")
    add("--backbone", default="vgg19_slim16", help="VGG of both (default vgg19_slim16)")
    add("--weights", type=Path, required=True, metavar="FILE", help="its weights")
    add("--judge", default="squeezenet", help="family of the evaluator (default squeezenet)")
    add("--judge-weights", type=Path, required=True, metavar="FILE", help="its weights")
    add("--preset", default="best", choices=tuple(style.PRESETS), help="ours (default best)")
    add("--content-weight", type=float, default=1.5, help="ours (default 1.5)")
    add("--baseline-content-weight", type=float, default=0.01, help="default 0.01")
    add("--pairs", type=int, default=10, help="default 10")
    add("--seconds", type=float, default=120.0, help="for each painting (default 120)")
    add("--size", type=int, default=384, help="longer side, px (default 384)")
    add("--threads", type=int, help="PyTorch's (its own choice)")
    add("--json", type=Path, metavar="OUT", help="file for all figures")
    add("--sheet", type=Path, metavar="FILE", help="photo, painting, ours, baseline: .png")
    args = parser.parse_args()
    prepare_process()  # as scripts/play.py does; here for both
    if args.threads:
        torch.set_num_threads(args.threads)
    rows, pictures = compare(args)
    figures = summary(rows)
    machine, threads = device_name(), torch.get_num_threads()
    print(f"\n{machine}, {threads} threads, {args.seconds:g} s each, {args.size} px, judged by "
          f"{args.judge}")  # fmt: skip
    for key, value in figures.items():
        print(f"{key:16} {value:.4g}")
    if args.json:
        write_json(args.json, {"machine": machine, "threads": threads, "figures": figures,
                               "rows": rows, "command": sys.argv[1:]})  # fmt: skip
    if args.sheet:
        words = ["photo", "painting", "ours", "Gatys et al."] * args.pairs
        write_image(args.sheet, contact_sheet(pictures, 4, words))
    return 0


if __name__ == "__main__":
    run(main)
