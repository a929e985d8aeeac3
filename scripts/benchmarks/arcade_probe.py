"""Linear probes: can where things are in a game be read linearly from a frozen network's features?

    python scripts/benchmarks/arcade_probe.py --squeezenet FILE --photo-data cifar10:DIR --json OUT

Four networks: the arcade backbone, the same with random weights, the ImageNet SqueezeNet (all three
see the screen in colours, 210x160), and the trunk of the zoo's Pong agent on its own observations
(84x84 grey, the last four agent steps).

Protocol, the same for all. Screens of each game that agents.ram knows, from seeds that no training
draws, other ones for training, validation and testing the probe; half of the emulators are played
by the game's zoo agent if it has one, the others at random. Targets: x and y of each single moving
object while it is there, after the frame that the network sees last. Coordinates with a standard
deviation under 2 pixels are left out, and objects that are there in under 5 % of the screens.
Features: a layer's map, averaged over the finest grid with at most 8,192 numbers (rows and columns
in the map's proportion), centred. Probe: ridge regression; its strength and the layer (the last of
each stride are tried) are chosen by the validation's R², for each network and game. A game's figure
is the mean test R² of its coordinates.

For photographs: the same features and probes on class indicators; accuracy on the test split.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import ram as ram_facts
from agents.agent import load
from agents.arcade import movers, play
from agents.atari import episode_seed
from agents.players import seats, zoo_agents
from playground import data
from playground.backbone import Backbone, create, to_unit
from playground.errors import UserError
from playground.run import write_json

CAP = 8192  # features of a probe, at most
STRENGTHS = (
    1e-4,
    1e-3,
    1e-2,
    1e-1,
    1.0,
    10.0,
)  # of ridge, times the mean squared length of the features
SCREENS = {"train": 3000, "validate": 400, "test": 800}
PHOTOS = {"train": 20_000, "validate": 5_000, "test": 10_000}
SEEDS = {"train": 3_000_017, "validate": 4_000_037, "test": 5_000_011}
PLAYERS = 4  # emulators for each game and split
LEAST_STD = 2.0  # pixels
LEAST_SHARE = 0.05  # of the screens


@dataclass
class Net:
    """A frozen network and what it sees of a screen."""

    name: str
    backbone: Backbone
    sees: str  # "pixels" or "observation"

    @property
    def layers(self) -> list[str]:
        """The last layer of each stride."""
        return list({stride: name for name, stride in self.backbone.strides.items()}.values())


def main() -> int:
    """Probe, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--arcade", default="arcade", help="weights of the arcade backbone (default: what ships)")
    add("--squeezenet", default="imagenet", help="weights (default: downloaded)")
    add("--nets", default="arcade,random,squeezenet,pong", help="which networks")
    add("--games", default=",".join(ram_facts.GAMES), help="which games (default: all known)")
    add("--photo-data", action="append", default=[], metavar="SPEC", help="photographs to classify")
    add("--scale", type=float, default=1.0, help="share of the usual number of pictures")
    add("--json", type=Path, metavar="OUT", help="write the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        nets = [network(name, args) for name in args.nets.split(",")]
        figures = run(nets, [g for g in args.games.split(",") if g], args.photo_data, args.scale)
        if args.json:
            write_json(args.json, figures)
        print(table(figures))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def network(name: str, args: argparse.Namespace) -> Net:
    """One of the four, in evaluation mode."""
    torch.manual_seed(0)
    if name == "pong":
        return Net(name, load("zoo:pong").network.backbone.eval(), "observation")  # type: ignore
    weights = {"arcade": args.arcade, "random": None, "squeezenet": args.squeezenet}
    if name not in weights:
        raise UserError(f"There is no network {name!r}; there are {', '.join(weights)}, pong.")
    family = "squeezenet" if name == "squeezenet" else "arcade"
    return Net(name, create(family, weights=weights[name]).eval(), "pixels")


def run(nets: list[Net], games: list[str], specs: list[str], scale: float) -> dict[str, Any]:
    """All figures, as they are written to --json."""
    figures: dict[str, Any] = {"protocol": " ".join(__doc__.split()), "scale": scale}
    figures["games"], figures["photos"] = {}, {}
    agents = zoo_agents()
    for game in games:
        began = time.monotonic()
        screens = {s: collect(game, s, round(n * scale), agents) for s, n in SCREENS.items()}
        figures["games"][game] = {net.name: probe_game(net, screens) for net in nets}
        scores = {name: found["r2"] for name, found in figures["games"][game].items()}
        print(game, json.dumps(scores), f"{time.monotonic() - began:.0f} s", flush=True)
    for spec in specs:
        figures["photos"][spec.split(":")[0]] = {
            net.name: probe_photos(net, spec, scale) for net in nets if net.sees == "pixels"
        }
        print(spec, json.dumps(figures["photos"][spec.split(":")[0]]), flush=True)
    figures["mean_r2"] = {
        net.name: float(np.mean([found[net.name]["r2"] for found in figures["games"].values()]))
        for net in nets
        if games
    }
    return figures


# Screens -----------------------------------------------------------------------------------------


def collect(game: str, split: str, count: int, agents: dict[str, Any]) -> dict[str, Any]:
    """Pictures as both kinds of network see them, each with its own targets (N, coordinates)."""
    sources = [
        play(game, episode_seed(SEEDS[split], number, 0), seat.agent, seat.epsilon)
        for number, seat in enumerate(seats(0, 0, PLAYERS, agents.get(game)))
    ]
    frames = [next(sources[i % PLAYERS]) for i in range(count)]
    names = [f"{name}_{axis}" for name in movers(game) for axis in "xy"]

    def places(facts: list[dict[str, Any]], prefix: str) -> np.ndarray:
        rows = [[fact[prefix + name] for name in names] for fact in facts]
        return np.array([[np.nan if v is None else v for v in row] for row in rows], float)

    after = [ram_facts.facts(game, frame.facts["observation_ram"]) for frame in frames]
    return {
        "names": names,
        "pixels": np.stack([frame.pixels for frame in frames]),
        "observation": np.stack([frame.facts["observation"] for frame in frames]),
        "pixels_places": places([frame.facts for frame in frames], "ram_"),
        "observation_places": places(after, ""),
    }


def probe_game(net: Net, screens: dict[str, Any]) -> dict[str, Any]:
    """{"r2", "layer", "coordinates": {name: r2}} of the layer that validates best."""
    truth = {split: found[f"{net.sees}_places"] for split, found in screens.items()}
    features = {split: maps(net, pictures(found, net.sees)) for split, found in screens.items()}
    names = screens["train"]["names"]
    best: dict[str, Any] = {"validation": -np.inf}
    for layer in net.layers:
        ridge = Ridge({split: found[layer] for split, found in features.items()})
        scores = {}
        for column, name in enumerate(names):
            y = {split: values[:, column] for split, values in truth.items()}
            there = {split: ~np.isnan(values) for split, values in y.items()}
            rare = any(rows.mean() < LEAST_SHARE for rows in there.values())
            if rare or np.std(y["train"][there["train"]]) < LEAST_STD:
                continue
            scores[name] = ridge.fit_one(y, there)
        if not scores:
            raise UserError("No coordinate of this game moves enough to be probed.")
        validation, test = np.mean(list(scores.values()), 0)
        if validation > best["validation"]:
            coordinates = {name: round(float(score[1]), 4) for name, score in scores.items()}
            best = {"r2": round(float(test), 4), "layer": layer, "validation": float(validation)}
            best |= {"features": ridge.width, "coordinates": coordinates}
    return best


def pictures(found: dict[str, Any], sees: str) -> Callable[[slice], Tensor]:
    """Rows as float (B, C, H, W) in [0, 1]."""
    array = found[sees]

    def take(rows: slice) -> Tensor:
        x = torch.from_numpy(array[rows])
        return to_unit(x.permute(0, 3, 1, 2) if sees == "pixels" else x)

    take.count = len(array)  # type: ignore[attr-defined]
    return take


@torch.inference_mode()
def maps(net: Net, take: Callable[[slice], Tensor], batch: int = 50) -> dict[str, Tensor]:
    """Layer -> (N, D) float, D <= CAP; see the module's protocol."""
    count = take.count  # type: ignore[attr-defined]
    found: dict[str, list[Tensor]] = {layer: [] for layer in net.layers}
    for start in range(0, count, batch):
        layers = net.backbone.features(take(slice(start, start + batch)), net.layers)
        for layer, map_ in layers.items():
            found[layer].append(F.adaptive_avg_pool2d(map_, grid(map_.shape)).flatten(1))
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def grid(shape: torch.Size) -> tuple[int, int]:
    """Rows and columns of the finest grid of at most CAP numbers for a map (B, C, h, w)."""
    _, channels, height, width = shape
    share = min(1.0, (CAP / (channels * height * width)) ** 0.5)
    return max(1, int(height * share)), max(1, int(width * share))


# Ridge -------------------------------------------------------------------------------------------


class Ridge:
    """Ridge regression on one layer's features by split, each (N, D), in its dual form."""

    def __init__(self, features: dict[str, Tensor]) -> None:
        mean = features["train"].mean(0)
        x = {split: found - mean for split, found in features.items()}
        self.width = len(mean)
        self.kernel = {split: (found @ x["train"].T).double() for split, found in x.items()}

    def fit_one(
        self, y: dict[str, np.ndarray], there: dict[str, np.ndarray]
    ) -> tuple[float, float]:
        """(validation's R², test's R²) of one target on the rows where it is there."""
        rows = {split: torch.from_numpy(np.flatnonzero(mask)) for split, mask in there.items()}
        known = {split: torch.from_numpy(values)[rows[split]] for split, values in y.items()}
        kernel = {split: self.kernel[split][rows[split]][:, rows["train"]] for split in rows}
        # centring of features within these rows, in the kernel
        column, every = kernel["train"].mean(0), kernel["train"].mean()
        kernel = {s: k - k.mean(1, keepdim=True) - column + every for s, k in kernel.items()}
        mean = known["train"].mean()
        best = (-np.inf, -np.inf)
        for strength in STRENGTHS:
            size = kernel["train"].diagonal().mean() * strength
            system = kernel["train"] + size * torch.eye(len(column), dtype=torch.double)
            dual = torch.cholesky_solve(
                (known["train"] - mean)[:, None], torch.linalg.cholesky(system)
            )
            guess = {s: (kernel[s] @ dual)[:, 0] + mean for s in ("validate", "test")}
            validation, test = (r_squared(known[s], guess[s]) for s in ("validate", "test"))
            best = max(best, (validation, test))
        return best


def r_squared(truth: Tensor, guess: Tensor) -> float:
    """1 - squared error / variance, of at least LEAST_STD²."""
    variance = truth.var(unbiased=False).clamp(min=LEAST_STD**2)
    return float(1 - (truth - guess).square().mean() / variance)


# Photographs -------------------------------------------------------------------------------------


def probe_photos(net: Net, spec: str, scale: float) -> dict[str, Any]:
    """{"accuracy", "layer"}: of the layer and strength that validate best."""
    parts = {"train": data.load(spec, "train"), "test": data.load(spec, "test")}
    order = data.permutation(len(parts["train"]), 0, 0)
    chosen = {"train": order[: round(PHOTOS["train"] * scale)]}
    first = min(len(chosen["train"]), len(order) * 4 // 5)
    chosen["train"] = order[:first]
    chosen["validate"] = order[first : first + round(PHOTOS["validate"] * scale)]
    chosen["test"] = data.permutation(len(parts["test"]), 0, 0)[: round(PHOTOS["test"] * scale)]
    features, labels = {}, {}
    for split, rows in chosen.items():
        photos = parts["test" if split == "test" else "train"]

        def take(part: slice, photos: Any = photos, rows: Tensor = rows) -> Tensor:
            return to_unit(photos.read(rows[part]))

        take.count = len(rows)  # type: ignore[attr-defined]
        features[split], labels[split] = maps(net, take, 200), photos.labels[rows]
    best: dict[str, Any] = {"validation": 0.0}
    for layer in net.layers:
        mean = features["train"][layer].mean(0)
        x = {split: found[layer] - mean for split, found in features.items()}
        y = F.one_hot(labels["train"]).float()
        y = y - y.mean(0)
        gram, moment = x["train"].T @ x["train"], x["train"].T @ y
        for strength in STRENGTHS:
            size = gram.diagonal().mean() * strength
            factor = torch.linalg.cholesky(gram + size * torch.eye(len(gram)))
            weights = torch.cholesky_solve(moment, factor)
            right = {
                s: float(((x[s] @ weights + y.mean(0)).argmax(1) == labels[s]).float().mean())
                for s in ("validate", "test")
            }
            if right["validate"] > best["validation"]:
                best = {"accuracy": round(100 * right["test"], 2), "layer": layer}
                best |= {"validation": right["validate"], "features": len(mean)}
    return best


def table(figures: dict[str, Any]) -> str:
    """Markdown, a row for each game."""
    nets = list(figures.get("mean_r2", {}))
    lines = [f"| game | {' | '.join(nets)} |", "|" + " --- |" * (len(nets) + 1)]
    rows = {game: [found[net]["r2"] for net in nets] for game, found in figures["games"].items()}
    for name, scores in (rows | {"mean": [figures["mean_r2"][net] for net in nets]}).items():
        lines.append(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |")
    return "\n".join(lines) if rows else ""


if __name__ == "__main__":
    sys.exit(main())
