"""What it costs to keep a training resumable: the pause of a save, disk, throughput.

    python scripts/benchmarks/checkpoint_cost.py [--capacity 1000000] [--dir DIR] [--json OUT]
    python scripts/benchmarks/checkpoint_cost.py --quick          50,000 transitions, a minute

The agent is the preset "laptop" with another replay capacity, driven by `playground.trainer`.

Saving: the replay is filled, and then written over in part, from a stream of random frames in the
emulators' place (which takes minutes instead of an hour), with an update now and then, so that the
optimizer has its moments. The trainer saves whenever the task asks for it, as in every training.
Measured for each save: how long it kept the training waiting (task state, rows not yet on disk,
checkpoint, last.safetensors), and the blocks taken by replay/ and checkpoints/ right after it,
before old rows are dropped, as a multiple of `replay.nbytes`: the most there ever is.

Throughput: real Pong, learning from that full replay, in blocks of equal length with and without
the files following, order reversed from pair to pair. Each block with files writes --segments
segments. The loss is that of the median pair, plus the median pause per interval of two saves; the
same is told for CPU time, which other work on the machine disturbs less.

Aims: pause <= 2 s, disk <= 1.3, loss <= 3 %. Exit status 1 where one is missed (not with --quick,
whose replay is too small for the aims to mean anything).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.atari import Step, VectorAtari
from agents.dqn import DQN, PRESETS
from playground.config import to_json
from playground.device import prepare_process
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything

AIMS = {"pause_s": 2.0, "disk": 1.3, "loss": 0.03}
EPISODE_STEPS = 500  # of the stream: long enough for SPARE, short enough for many final rows


class Stream:
    """Environments that give random frames at once."""

    num_actions = 6

    def __init__(self, num_envs: int) -> None:
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 256, (64, num_envs, 4, 84, 84), np.uint8)
        self.none = np.zeros(num_envs, bool)
        self.t = 0

    def reset(self) -> np.ndarray:
        """The first observations."""
        return self.frames[0]

    def send(self, actions: np.ndarray) -> None:
        """Nothing depends on actions."""

    def recv(self) -> Step:
        """The next frames; all episodes end together."""
        self.t += 1
        ended = self.none | (self.t % EPISODE_STEPS == EPISODE_STEPS - 1)
        return Step(
            obs=self.frames[self.t % len(self.frames)], reward=self.none.astype(np.float32),
            terminated=ended, truncated=self.none, life_lost=self.none,
            lives=self.none.astype(np.int32), reset=self.none | (self.t % EPISODE_STEPS == 0),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """As long as the emulators' record of actions."""
        return {"actions": [np.zeros(8192, np.uint8) for _ in self.none]}

    def close(self) -> None:
        """Nothing to free."""


class Saves(Trainer):
    """A trainer that measures its saves."""

    found: list[dict[str, float]]

    def save(self, last: bool = False) -> Path | None:
        """Save, and note the pause and what lies on disk."""
        began = time.perf_counter()
        path = super().save(last)
        pause = time.perf_counter() - began
        folder, replay = self.run.path, self.task.replay
        disk = used(folder / "replay") + used(folder / "checkpoints")
        figures = {
            "pause_s": pause,
            "disk": disk / replay.nbytes,
            "full": replay.written / replay.steps,
        }
        self.found.append({key: round(value, 4) for key, value in figures.items()})
        print(f"save at {replay.written * replay.num_envs:>9,} rows: {pause:5.2f} s, disk "
              f"{disk / 2**30:5.2f} GiB", flush=True)  # fmt: skip
        return path


def used(folder: Path) -> int:
    """Bytes of disk that a folder's files take; files removed meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def main() -> int:
    """Run both parts and judge them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capacity", type=int, default=1_000_000, help="transitions (1000000)")
    parser.add_argument("--quick", action="store_true", help="50,000 transitions, few blocks")
    parser.add_argument("--over", type=float, default=0.7, help="of the ring written twice (0.7)")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of blocks (default 8)")
    parser.add_argument("--segments", type=int, default=3, help="written in a block (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's (default 1)")
    parser.add_argument("--dir", type=Path, help="folder for the run, on the disk to be measured")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for all figures")
    args = parser.parse_args()
    if args.quick:
        args.capacity, args.pairs, args.segments = 50_000, 2, 1
    prepare_process()  # as scripts/play.py does
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        trainer = make(args, Path(folder))
        began = time.monotonic()
        saves = fill(trainer, args)
        print(f"filled in {time.monotonic() - began:.0f} s")
        speed = throughput(trainer, args)
        trainer.task.close()
    full = [save for save in saves if save["full"] >= 1]
    pause = median(save["pause_s"] for save in full)
    interval = trainer.task.files.span * trainer.task.config.envs  # transitions
    share = pause * speed["per_second_without"] / interval
    report: dict[str, Any] = {
        "benchmark": "checkpoint_cost",
        "machine": f"{device_name()}, {os.cpu_count()} cores",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "capacity": args.capacity,
        "replay_bytes": trainer.task.replay.nbytes,
        "pause_s": {"median": pause, "max": max(save["pause_s"] for save in full)},
        "disk": max(save["disk"] for save in saves),
        "save_every_transitions": interval,
        "throughput": {**speed, "pauses": round(share, 4)},
        "loss": round(speed["loss_following"] + share, 4),
        "loss_cpu": round(speed["loss_following_cpu"] + share, 4),
        "saves": saves,
    }
    print(json.dumps({k: v for k, v in report.items() if k != "saves"}, indent=1))
    if args.json:
        write_json(args.json, report)
    missed = [
        name for name, value in
        (("pause_s", report["pause_s"]["max"]), ("disk", report["disk"]), ("loss", report["loss"]))
        if value > AIMS[name]
    ]  # fmt: skip
    if missed and not args.quick:
        print(f"Missed: {', '.join(missed)}; the aims are {AIMS}.", file=sys.stderr)
        return 1
    return 0


def make(args: argparse.Namespace, runs: Path) -> Saves:
    """A training of the preset "laptop" on the stream."""
    config = replace(
        PRESETS["laptop"], replay_capacity=args.capacity, train_every=4000, eval_film=0.0
    )
    seed_everything(0)
    task = DQN(config, 0)
    task.envs.close()
    task.envs = Stream(config.envs)  # type: ignore[assignment]
    task.observation = task.envs.reset()
    task.evaluate = lambda trainer: {"score": 0.0}  # type: ignore[method-assign]
    settings = TrainerConfig(
        steps=round(args.capacity * (1 + args.over)), device="cpu", precision="fp32",
        threads=args.threads, checkpoint_minutes=None,
    )  # fmt: skip
    trainer = Saves(settings, task, Run.create(runs, "dqn", "cost", to_json(config)))
    trainer.found = []
    return trainer


def fill(trainer: Saves, args: argparse.Namespace) -> list[dict[str, float]]:
    """Train on the stream; the figures of each save that the task asked for."""
    if trainer.fit().reason != "steps":
        sys.exit(130)  # interrupted
    return trainer.found


def throughput(trainer: Saves, args: argparse.Namespace) -> dict[str, Any]:
    """Agent steps a second of real training with and without files, in alternated blocks."""
    task, files = trainer.task, trainer.task.files
    task.envs = VectorAtari(task.game, task.config.envs, task.rules, seed=1)
    task.config = replace(task.config, train_every=PRESETS["laptop"].train_every)
    task.observation, task.credit = task.envs.reset(), 0.0
    task.starts[:], task.ended[:] = True, False

    def block(follow: bool) -> tuple[float, float, int]:
        """(seconds, CPU seconds, agent steps)."""
        task.files = files if follow else None
        # So that the last of the block's segments is begun half a segment before its end.
        files.saved = files.flushed = task.replay.written - files.segment_steps // 2
        first, began, cpu = task.progress, time.perf_counter(), time.process_time()
        for _ in range(files.segment_steps * args.segments):
            task.step(trainer)
        found = time.perf_counter() - began, time.process_time() - cpu, task.progress - first
        files._join()
        task.files = files
        return found

    block(True)  # to warm up
    rates: dict[bool, list[float]] = {True: [], False: []}
    costs: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(args.pairs):
        for follow in (True, False) if pair % 2 else (False, True):
            seconds, cpu, steps = block(follow)
            rates[follow].append(steps / seconds)
            costs[follow].append(cpu / steps)
        print(f"pair {pair}: {rates[True][-1]:.1f} agent steps/s with files, "
              f"{rates[False][-1]:.1f} without", flush=True)  # fmt: skip
    pairs = [1 - a / b for a, b in zip(rates[True], rates[False], strict=True)]
    cpu_pairs = [a / b - 1 for a, b in zip(costs[True], costs[False], strict=True)]
    return {
        "per_second_with": round(median(rates[True]), 1),
        "per_second_without": round(median(rates[False]), 1),
        "loss_following": round(median(pairs), 4),
        "loss_following_of_pairs": [round(pair, 4) for pair in pairs],
        "loss_following_cpu": round(median(cpu_pairs), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
