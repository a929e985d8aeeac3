"""Batches and updates a second with the replay in main memory, on the device, and recorded.

    python scripts/benchmarks/replay_device.py --device cuda [--json OUT]
    python scripts/benchmarks/replay_device.py --presets laptop --capacity 5000 --block 4

The second command is for a CPU: a minute of one core.

For each preset the task is built in every way that the device knows: "host" gathers batches in main
memory and sends their pixels, "device" keeps the frames on the device as well and sends numbers of
rows (`--replay-device`), "graph" also replays each update as a CUDA graph (`--graph`, CUDA only).
Their replays are filled with the same made-up rows. Measured, the ways taking turns, in the median
of blocks of them, each until the device is done:

- rows that are added a second, the copy to the device included;
- batches a second, drawn and put together on the device, and compared once between the ways;
- updates a second, with all that a training does in one but playing; and the emulator's frames a
  second that so many updates are good for.

On a CPU "device" only rehearses: there is nothing to gain.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.dqn import DQN, PRESETS, TRAINERS
from playground.device import find, median_seconds, prepare_process, timed
from playground.errors import UserError
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything

FRAMES = 4  # of the emulator, an agent step
SEED = 5


def main() -> int:
    """Measure each preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--presets", default="nature2015,laptop,beyond", help="(nature2015,laptop,beyond)")
    add("--envs", type=int, default=32, help="games whose rows are added together (32)")
    add("--capacity", type=int, default=50_000, help="of each replay, agent steps (50000)")
    add("--seconds", type=float, default=10, help="seconds for each figure of each way (10)")
    add("--block", type=int, default=20, help="batches, updates or rounds timed together (20)")
    add("--device", default="auto", help="cpu or cuda (auto)")
    add("--precision", default="bf16", help="of the updates (bf16); fp16 cannot be recorded")
    add("--threads", type=int, help="PyTorch's (its own choice)")
    add("--json", type=Path, metavar="OUT", help="file for all figures")
    args = parser.parse_args()
    prepare_process()  # as scripts/play.py does
    rows: list[dict[str, Any]] = []
    try:
        device = find(args.device)
        for preset in args.presets.split(","):
            if preset not in PRESETS or PRESETS[preset].algorithm != "dqn":
                raise UserError(f"{preset!r} is no preset with a replay.")
            rows += measured(preset, device, args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    columns = ("preset", "way", "precision", "rows", "batches", "updates", "frames")
    print(f"\n{device_name(device.type)}, each figure a second\n")
    cells = [[f"{row[c]:,.0f}" if isinstance(row[c], float) else row[c] for c in columns]
             for row in rows]  # fmt: skip
    for line in (columns, ["---"] * len(columns), *cells):
        print(f"| {' | '.join(line)} |")
    if args.json:
        about = {"benchmark": "replay_device", "machine": device_name(device.type)}
        write_json(args.json, {**about, "capacity": args.capacity, "rows": rows})
    return 0


def measured(preset: str, device: torch.device, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way."""
    ways = ["host", "device"] + (["graph"] if device.type == "cuda" else [])
    with ExitStack() as stack:
        pairs = [stack.enter_context(built(preset, way, device, args)) for way in ways]
        tasks = [task for task, _ in pairs]
        source = [made_up(task) for task in tasks]
        for task, rows in zip(tasks, source, strict=True):
            for _ in range(task.replay.steps):
                added(task, rows)
        found = {
            "rows": [
                partial(repeated, args.block, added, *pair)
                for pair in zip(tasks, source, strict=True)
            ],
            "batches": [partial(repeated, args.block, batch, task, device) for task in tasks],
            "updates": [
                partial(repeated, args.block, task._update, trainer) for task, trainer in pairs
            ],
        }
        compare(tasks, device)
        config, seconds = tasks[0].config, {}
        for name, runs in found.items():
            seconds[name] = median_seconds(runs, device, args.seconds * len(runs))
        told = []
        for place, (way, (_, trainer)) in enumerate(zip(ways, pairs, strict=True)):
            rate = {name: args.block / each[place] for name, each in seconds.items()}
            rate["rows"] *= config.envs
            frames = rate["updates"] * config.train_every * FRAMES
            row = {"preset": preset, "way": way, "precision": trainer.precision, **rate}
            told.append({**row, "frames": frames})
            print(json.dumps(told[-1]), flush=True)
    return told


@contextmanager
def built(
    preset: str, way: str, device: torch.device, args: argparse.Namespace
) -> Iterator[tuple[DQN, Trainer]]:
    """A task that never plays, and its trainer."""
    config = replace(
        PRESETS[preset], envs=args.envs, replay_capacity=args.capacity, graph=way == "graph",
        replay_device="host" if way == "host" else "device",
    )  # fmt: skip
    seed_everything(SEED)
    task = DQN(config, SEED)
    settings = TrainerConfig(
        device=device.type, precision=args.precision, threads=args.threads, seed=SEED,
        clip_norm=TRAINERS[preset].get("clip_norm"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "dqn", way, {})
        try:
            yield task, Trainer(settings, task, run)
        finally:
            run.close()
            run.unlock()
            task.close()


def made_up(task: DQN) -> Iterator[tuple[np.ndarray, ...]]:
    """What `Replay.add` takes: noise in games of 200 agent steps, one after another."""
    rng, n = np.random.default_rng(SEED), task.config.envs
    pool = rng.integers(0, 256, (64, n, 84, 84), dtype=np.uint8)
    step = 0
    while True:
        age = (step + 7 * np.arange(n)) % 201  # the games end at different times
        action, reward = rng.integers(0, 6, n), rng.normal(size=n).astype(np.float32)
        yield pool[step % 64], age == 0, action, reward, age == 199, age == 200
        step += 1


def repeated(block: int, work: Callable[..., Any], *given: Any) -> None:
    """A block of it."""
    for _ in range(block):
        work(*given)


def added(task: DQN, rows: Iterator[tuple[np.ndarray, ...]]) -> None:
    """What one round of all games adds."""
    task.replay.add(*next(rows))


def batch(task: DQN, device: torch.device) -> list[torch.Tensor]:
    """One batch, on the device."""
    drawn = task.replay.sample(task.config.batch_size, task.config.priority_beta)
    return [tensor.to(device, non_blocking=True) for tensor in drawn[:6]]


def compare(tasks: list[DQN], device: torch.device) -> None:
    """The same draws give the same batches, byte by byte."""
    first, *others = (timed(partial(batch, task, device), device)[0] for task in tasks)
    for other in others:
        assert all(map(torch.equal, first, other))


if __name__ == "__main__":
    sys.exit(main())
