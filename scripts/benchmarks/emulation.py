"""Emulator frames a second without a learner: our vector environment beside ale-py's bare one.

    python scripts/benchmarks/emulation.py [--json OUT]                          two minutes
    python scripts/benchmarks/emulation.py --games pong --envs 8 --seconds 1    12 seconds

For each game and number of environments both play random actions under the same protocol on as many
threads, with the same observations, (N, 4, 84, 84) uint8. The bare one is `ale_py.AtariVectorEnv`,
which `gymnasium.make_vec("ALE/Pong-v5")` makes, too; what ours (`agents.atari.VectorAtari`) adds is
restoring: seeds, kept actions, life losses. They take turns in blocks of --seconds, so that both
meet the same disturbances; a figure is the median of the blocks, after one to warm up. A frame is
one of the emulator's, 4 an agent step; steps that begin a game anew count as others do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.atari import (
    FRAMES_PER_STEP,
    PROTOCOLS,
    Protocol,
    VectorAtari,
    native,
    protocol,
    resolve,
)
from playground.errors import UserError
from playground.run import device_name, write_json

SEED = 5
WAYS = ("ours", "ale-py")


def main() -> int:
    """Measure each game with each number of environments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--games", default="pong,breakout", help="(pong,breakout)")
    add("--envs", default="8,64", help="environments stepped together, one number or more (8,64)")
    add("--threads", type=int, default=0, help="of the emulators (0: ale-py's choice, one a core)")
    add("--protocol", default="machado", help=f"{', '.join(PROTOCOLS)} (machado)")
    add("--seconds", type=float, default=2, help="of a block (2)")
    add("--blocks", type=int, default=5, help="of each, alternated (5)")
    add("--json", type=Path, metavar="OUT", help="file for all figures")
    args = parser.parse_args()
    try:
        games, numbers = [resolve(game) for game in args.games.split(",")], counts(args.envs)
        rules = protocol(args.protocol)
        if args.blocks < 1 or args.threads < 0 or not args.seconds > 0:
            raise UserError("--blocks starts at 1, --threads at 0, and --seconds is above 0.")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows = []
    for game in games:
        for envs in numbers:
            rows.append({"game": game, "envs": envs, **measured(game, envs, rules, args)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    machine = {"machine": device_name(), "cores": os.cpu_count()}
    threads = f"{args.threads} threads" if args.threads else "a thread a core"
    print(f"\n{machine['machine']}, {machine['cores']} cores, {threads}, frames a second\n")
    columns = ("game", "environments", *WAYS, "ours / ale-py")
    cells = [
        [row["game"], f"{row['envs']}", *(f"{row[w]:,.0f}" for w in WAYS), f"{row['ratio']:.3f}"]
        for row in rows
    ]
    for line in (columns, ["---"] * len(columns), *cells):
        print(f"| {' | '.join(line)} |")
    if args.json:
        about = {"benchmark": "emulation", **machine, "threads": args.threads}
        write_json(args.json, {**about, "protocol": rules.name, "rows": rows})
    return 0


def counts(text: str) -> list[int]:
    """Numbers with commas between. UserError for what are none."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--envs takes numbers from 1 with commas between, not {text!r}.")
    return [int(word) for word in words]


def measured(game: str, envs: int, rules: Protocol, args: argparse.Namespace) -> dict[str, Any]:
    """Frames a second of both ways in the median, their ratio, and each block's."""
    ours = VectorAtari(game, envs, rules, SEED, args.threads)
    bare = native(game, envs, rules, args.threads)
    actions = np.random.default_rng(SEED).integers(0, ours.num_actions, (1009, envs))
    try:
        ours.reset()
        bare.reset(seed=SEED)
        steps = dict(zip(WAYS, (ours.step, bare.step), strict=True))
        blocks: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(args.blocks + 1):
            for way, step in steps.items():
                rate = frames_per_second(step, actions, args.seconds)
                if number:  # the first warms up
                    blocks[way].append(rate)
    finally:
        ours.close()
        bare.close()
    rates = {way: median(found) for way, found in blocks.items()}
    return {**rates, "ratio": rates["ours"] / rates["ale-py"], "blocks": blocks}


def frames_per_second(
    step: Callable[[np.ndarray], Any], actions: np.ndarray, seconds: float
) -> float:
    """Of stepping through actions (T, N), again and again, for so long."""
    began, taken = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds or not taken:
        step(actions[taken % len(actions)])
        taken += 1
    return taken * actions.shape[1] * FRAMES_PER_STEP / passed


if __name__ == "__main__":
    sys.exit(main())
