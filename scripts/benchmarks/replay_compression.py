"""What a compressed replay saves and costs: bytes a transition, and time, on real play.

    python scripts/benchmarks/replay_compression.py [--json OUT]
    python scripts/benchmarks/replay_compression.py --games pong --steps 4000 --blocks 1   a minute

For each game (Pong, Breakout, Seaquest) the preset "laptop" plays under its protocol by the zoo's
agent where there is one, at random otherwise, one action in ten at random in any case, and fills
two replays with the same rows: one plain, one compressed (`agents.frame_store`). Measured,
alternating between the two, in CPU time of one thread, which other work on the machine disturbs
less than the clock:

- bytes of main memory a transition: everything that grows, Python's objects included;
- microseconds to add one, and milliseconds to draw a batch of 64 with 3-step returns;
- the round of the training that they belong to: so many agent steps by one update, emulators,
  acting and learning included, with the plain replay; and what the compressed one adds to it.

Every batch drawn from both is compared, byte by byte. Aims: at most 2,000 bytes a transition and
10 % of the round. Exit status 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import agents
from agents.atari import resolve
from agents.dqn import DQN, PRESETS
from agents.replay import Batch, Replay
from playground.device import prepare_process
from playground.errors import UserError
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything

AIMS = {"bytes": 2_000, "share": 0.10}
KINDS = ("plain", "compressed")
RANDOM = 0.1  # part of random actions, of the zoo's agents
SEED = 5


def main() -> int:
    """Measure each game and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--games", default="pong,breakout,seaquest", help="(default pong,breakout,seaquest)")
    add("--steps", type=int, default=20_000, help="agent steps kept of each game (default 20000)")
    add("--blocks", type=int, default=5, help="alternated blocks of draws (default 5)")
    add("--draws", type=int, default=40, help="batches drawn in a block (default 40)")
    add("--json", type=Path, metavar="OUT", help="file for all figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    prepare_process()  # as scripts/play.py does
    try:
        games = [resolve(game) for game in args.games.split(",")]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows = []
    for game in games:
        rows.append(measured(game, args))
        print(json.dumps(rows[-1]), flush=True)
    columns = ("game", "play", "bytes", "for_1M_gb", "add_us", "draw_ms", "round_ms", "share")
    print(f"\n{device_name()}, one thread, {args.steps:,} agent steps of each game\n")
    cells = [[told(row[column]) for column in columns] for row in rows]
    for line in (columns, ["---"] * len(columns), *cells):
        print(f"| {' | '.join(line)} |")
    if args.json:
        machine = {"benchmark": "replay_compression", "machine": device_name()}
        write_json(args.json, {**machine, "steps": args.steps, "rows": rows})
    missed = [
        f"{name} in {row['game']}" for row in rows for name, aim in AIMS.items()
        if (row["bytes"]["compressed"] if name == "bytes" else row["share"]) > aim
    ]  # fmt: skip
    if missed:
        print(f"Missed: {', '.join(missed)}; the aims are {AIMS}.", file=sys.stderr)
    return 1 if missed else 0


def told(value: Any) -> str:
    """A cell: "plain / compressed" where there are two."""
    return " / ".join(f"{v:,}" for v in value.values()) if isinstance(value, dict) else f"{value}"


def measured(game: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one game."""
    config = replace(PRESETS["laptop"], game=game, replay_capacity=args.steps)
    seed_everything(SEED)
    task = DQN(config, SEED)
    pair = {
        kind: Replay(
            args.steps, config.envs, n_step=config.n_step, priority_exponent=config.priority,
            seed=SEED, compressed=kind == "compressed",
        )
        for kind in KINDS
    }  # fmt: skip
    adding, play = fill(task, pair, args.steps)
    drawing: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(args.blocks):
        drawn: dict[str, list[Batch]] = {kind: [] for kind in KINDS}
        for kind, replay in pair.items():
            began = time.process_time()
            for _ in range(args.draws):
                drawn[kind].append(replay.sample(config.batch_size, config.priority_beta))
            drawing[kind].append((time.process_time() - began) / args.draws)
        for one, other in zip(*drawn.values(), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    draw = {kind: median(seconds) for kind, seconds in drawing.items()}
    step = {kind: seconds / args.steps for kind, seconds in adding.items()}
    steps = config.train_every  # agent steps of a round, which has one update
    whole = round_seconds(task, args.blocks)
    added = steps * (step["compressed"] - step["plain"]) + draw["compressed"] - draw["plain"]
    size = {kind: round(replay.nbytes / args.steps) for kind, replay in pair.items()}
    return {
        "game": game,
        "play": play,
        "bytes": size,
        "for_1M_gb": {kind: round(of / 1e3, 2) for kind, of in size.items()},
        "add_us": {kind: round(1e6 * of, 1) for kind, of in step.items()},
        "draw_ms": {kind: round(1e3 * of, 2) for kind, of in draw.items()},
        "round_ms": round(1e3 * whole, 1),
        "share": round(added / whole, 3),
    }


def fill(task: DQN, pair: dict[str, Replay], steps: int) -> tuple[dict[str, float], str]:
    """Play so many agent steps into both; CPU seconds of adding them, and who played."""
    agent = agents.load(f"zoo:{task.game}") if task.game in agents.zoo() else None
    rng, n = np.random.default_rng(SEED), task.config.envs
    seconds = dict.fromkeys(pair, 0.0)
    for _ in range(-(-steps // n)):
        action = rng.integers(0, task.envs.num_actions, n)
        if agent is not None:
            action = np.where(rng.random(n) < RANDOM, action, agent.predict(task.observation)[0])
        task.envs.send(action)
        result = task.envs.recv()
        row = (task.observation[:, -1], task.starts, action, result.reward)
        for kind, replay in pair.items():
            began = time.process_time()
            replay.add(*row, task._terminal(result), task.ended)
            seconds[kind] += time.process_time() - began
        task._received(result)
    return seconds, "random" if agent is None else f"zoo:{task.game}"


def round_seconds(task: DQN, blocks: int) -> float:
    """CPU seconds of a round of the training with the plain replay: the median of blocks of 10."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "dqn", "round", {})
        settings = TrainerConfig(precision="fp32", threads=1, device="cpu")
        trainer = Trainer(settings, task, run)
        task.learn_from = 0
        task.progress = task.config.epsilon_steps  # it acts by the network
        rounds = max(1, task.config.train_every // task.config.envs)
        found = []
        while task.updates < 5:
            task.step(trainer)
        for _ in range(blocks):
            began, updates = time.process_time(), task.updates
            for _ in range(10 * rounds):
                task.step(trainer)
            found.append((time.process_time() - began) / max(1, task.updates - updates))
        run.close()
        run.unlock()
        task.close()
    return median(found)


if __name__ == "__main__":
    sys.exit(main())
