"""Two processes beside one, measured on this machine's cores: the row of SCALING.md that can be.

    python scripts/benchmarks/scaling_measured.py [--seconds 60] [--rounds 3] [--json OUT]

`play.py train` of the book's network on made pictures of MNIST's shape (100 pictures an update and
process) and of DQN, preset laptop, on Pong; each as one process with one thread, one process with
two threads, and two processes with one thread each, in turns. Speed is the median of what a
training logs every 5 seconds, after the first 10: pictures, or agent steps, a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.run import Run, device_name, write_json
from scripts.benchmarks.resume_exact import made_digits
from scripts.benchmarks.scaling_model import CLUSTERS, speedup, workloads

PLAY = Path(__file__).resolve().parents[1] / "play.py"
WAYS = {  # (processes, threads of each)
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 processes, 1 thread each": (2, 1),
}
LOG_SECONDS, WARM_LOGS = 5, 2


def options(task: str, folder: Path, processes: int) -> tuple[list[str], int]:
    """The task's own options, and what one of its steps counts for."""
    if task == "classify":
        batch = 100 * processes  # the processes share it
        return ["--data", made_digits(folder / "made"), "--batch-size", str(batch)], batch
    return ["--game", "pong", "--warmup", "1000", "--replay-capacity", "20000"], 1


def rate(task: str, processes: int, threads: int, seconds: float) -> float:
    """Pictures or agent steps a second of one training."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own, counts = options(task, folder, processes)
        command = [
            sys.executable, str(PLAY), "train", task, *own, "--runs", name, "--name", "run",
            "--hours", str(seconds / 3600), "--evaluate-every", "none", "--precision", "fp32",
            "--device", "cpu", "--devices", str(processes), "--threads", str(threads),
            "--log-seconds", str(LOG_SECONDS), "--checkpoint-minutes", "none",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = [line for line in Run.open(folder / task / "run").metrics() if "loss" in line]
    return counts * median(line["per_second"] for line in lines[WARM_LOGS:])


def main() -> int:
    """Measure, print, compare with the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each training (default 60)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    args = parser.parse_args()
    if args.seconds < LOG_SECONDS * (WARM_LOGS + 2):
        parser.error(f"--seconds starts at {LOG_SECONDS * (WARM_LOGS + 2)}")
    loads = workloads()
    found: dict[str, Any] = {}
    print(f"| task | {' | '.join(WAYS)} | times | model |\n|---|--:|--:|--:|--:|--:|")
    for task, unit, load in (
        ("classify", "pictures/s", loads[1]),
        ("dqn", "agent steps/s", loads[0]),
    ):
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way, (processes, threads) in WAYS.items():
                rates[way].append(rate(task, processes, threads, args.seconds))
        middle = {way: median(values) for way, values in rates.items()}
        one, _, two = middle.values()
        model = speedup(load, CLUSTERS[-1], 2)
        cells = " | ".join(f"{value:,.0f}" for value in middle.values())
        print(f"| {task}, {unit} | {cells} | {two / one:.2f} | {model:.2f} |", flush=True)
        found[task] = {"unit": unit, "rates": rates, "times": two / one, "model": model}
    if args.json:
        machine = f"{device_name()}, {os.cpu_count()} cores"
        write_json(args.json, {"benchmark": "scaling_measured", "machine": machine, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
