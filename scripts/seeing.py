"""The flags by which `watch` shows what an agent sees: `--saliency`, `--value`, `--features`."""

from __future__ import annotations

import argparse

from agents.feature_maps import feature_maps
from agents.saliency import MEASURES, saliency, value_over_time
from playground.frames import Filter


def add_saliency(parser: argparse.ArgumentParser) -> None:
    """`--saliency [MEASURE]`."""
    parser.add_argument("--saliency", nargs="?", const="gradient", choices=tuple(MEASURES),
        help="glow where the agent looks: by gradient, live (what no name means), or by "
        "perturbation, slow and for films")  # fmt: skip


def saliency_filter(args: argparse.Namespace) -> Filter | None:
    """The filter of that flag, if it is given."""
    return saliency(args.saliency) if args.saliency else None


def add_value(parser: argparse.ArgumentParser) -> None:
    """`--value`."""
    parser.add_argument("--value", action="store_true",
        help="value and rewards of the last 8 seconds, in a strip below the game")  # fmt: skip


def value_filter(args: argparse.Namespace) -> Filter | None:
    """The filter of that flag, if it is given."""
    return value_over_time() if args.value else None


def add_features(parser: argparse.ArgumentParser) -> None:
    """`--features [LAYER ...]`."""
    parser.add_argument("--features", nargs="*", metavar="LAYER",
        help="the liveliest maps of the agent's network, beside the game: of the layers named, or "
        "else of the last of each size")  # fmt: skip


def features_filter(args: argparse.Namespace) -> Filter | None:
    """The filter of that flag, if it is given."""
    return None if args.features is None else feature_maps(args.features)
