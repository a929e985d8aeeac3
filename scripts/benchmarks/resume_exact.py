"""A training killed at random moments and resumed, against one that was left alone: bit for bit.

    python scripts/benchmarks/resume_exact.py [--kills 20] [--seed 0] [--dir DIR]
    python scripts/benchmarks/resume_exact.py --task classify [--data mnist:DIR]

Both are `play.py train` in deterministic mode on one thread, in processes of their own:

    dqn         Breakout (lives), protocol machado (sticky actions), 8 environments, 3-step returns,
                prioritised replay, a replay that wraps several times
    classify    the book's network with batch norm and dropout, augmentation, warm-up and cosine,
                EMA, two accumulated calls an update; on made pictures, unless --data is given

The networks are small, so that the time goes into what is tested. The second training is ended with
SIGKILL at moments drawn from --seed:

    training    at a random step and up to a second later
    writing     after a random step, within 50 ms of a checkpoint's, a replay segment's or another
                file's being begun
    restoring   a random time after the process was started, while it imports or restores

and goes on from its last checkpoint by `--resume`; after the last kill, to the end. Then the two
are compared: the last checkpoint (weights, optimizer, averages, schedule, all random generators,
counters, emulator state, priorities), every row of a replay, last.safetensors and best.safetensors,
the panels of the evaluations, and metrics.jsonl without the fields that measure time. With
--devices N each training is one of N processes, of which the first is killed and the others follow.
Exit status 0: all equal; 1: the first difference is told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.dqn import DQNConfig
from agents.replay import Replay
from agents.replay_files import ReplayFiles
from playground import checkpoint
from playground.config import from_json
from playground.run import Run, device_name

PLAY = Path(__file__).resolve().parents[1] / "play.py"
KINDS = ("training", "writing", "restoring")
SHARES = (12, 6, 2)  # of 20 kills
TIMES = ("time", "per_second")  # fields of metrics.jsonl that measure time


def main() -> int:
    """Train, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="(default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills and the training")
    parser.add_argument("--task", choices=tuple(COMMANDS), default="dqn", help="(default dqn)")
    parser.add_argument("--steps", type=int,
        help="agent steps or updates (default 40000 for dqn, 1600 for classify)")  # fmt: skip
    parser.add_argument("--every", type=int,
        help="steps a checkpoint (default 1000 for dqn, 40 for classify)")  # fmt: skip
    parser.add_argument("--replay", type=int, default=8_000, help="dqn: capacity (8000)")
    parser.add_argument("--width", type=float, default=0.25, help="of the backbone (0.25)")
    parser.add_argument("--hidden", type=int, default=32, help="dqn: units (32)")
    parser.add_argument("--data", help="classify: pictures (default: made ones of MNIST's shape)")
    parser.add_argument("--devices", type=int, default=1, help="processes of a training (1)")
    parser.add_argument("--dir", type=Path, help="keep both runs there")
    args = parser.parse_args()
    args.steps = args.steps or {"dqn": 40_000, "classify": 1_600}[args.task]
    args.every = args.every or {"dqn": 1_000, "classify": 40}[args.task]
    with tempfile.TemporaryDirectory() as folder:
        runs = args.dir or Path(folder)
        if args.task == "classify" and not args.data:
            args.data = made_digits(runs / "made")
        began = time.monotonic()
        reference = train_alone(args, runs)
        alone = time.monotonic() - began
        print(f"reference: {alone:.0f} s", flush=True)
        began = time.monotonic()
        killed, deaths = train_under_fire(args, runs)
        figures = {"kills": sum(deaths.values()), **deaths}
        print(f"killed {figures['kills']} times: {time.monotonic() - began:.0f} s")
        difference = compare(Run.open(reference), Run.open(killed))
    print(json.dumps({
        "benchmark": "resume_exact",
        "machine": f"{device_name()}, {os.cpu_count()} cores",
        "settings": {k: v for k, v in vars(args).items() if k != "dir"},
        **figures,
        "equal": difference is None,
    }))  # fmt: skip
    if difference is not None:
        print(f"NOT EQUAL: {difference}", file=sys.stderr)
        return 1
    if figures["kills"] < args.kills:
        print(f"Equal, but it ended after {figures['kills']} kills: raise --steps.",
              file=sys.stderr)  # fmt: skip
        return 1
    return 0


# The two trainings.


def start(task: str, arguments: list[str]) -> subprocess.Popen[str]:
    """One `play.py train` whose output can be read line by line."""
    command = [sys.executable, "-u", str(PLAY), "train", task, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def first_command(args: argparse.Namespace, runs: Path, name: str) -> list[str]:
    """The options of a new training."""
    return [
        "--runs", str(runs), "--name", name, "--seed", str(args.seed), "--steps", str(args.steps),
        "--evaluate-every", str(args.steps // 2), "--deterministic", "--threads", "1",
        "--device", "cpu", "--devices", str(args.devices), "--checkpoint-every", str(args.every),
        "--checkpoint-minutes", "none", "--log-every", str(args.every // 2),
        *COMMANDS[args.task](args),
    ]  # fmt: skip


def dqn_command(args: argparse.Namespace) -> list[str]:
    """The task's own options."""
    return [
        "--game", "breakout", "--protocol", "machado", "--envs", "8", "--n-step", "3",
        "--priority", "0.5", "--replay-capacity", str(args.replay), "--warmup", "1000",
        "--epsilon-steps", str(args.steps // 2), "--width", str(args.width),
        "--hidden", str(args.hidden), "--batch-size", "16", "--target-every", "50",
        "--eval-episodes", "2", "--eval-film", "0",
    ]  # fmt: skip


def classify_command(args: argparse.Namespace) -> list[str]:
    """The task's own options."""
    return [
        "--data", args.data, "--backbone", "deepconv", "--batch-size", "16", "--accumulate", "2",
        "--options", f"width={args.width},norm=batch,dropout=0.5", "--augment", "digits",
        "--optimizer", "adamw", "--weight-decay", "0.05", "--schedule", "cosine", "--warmup", "1",
        "--ema", "0.99", "--clip-norm", "1", "--label-smoothing", "0.05",
    ]  # fmt: skip


COMMANDS = {"dqn": dqn_command, "classify": classify_command}


def made_digits(folder: Path) -> str:
    """Noise with a bright bar at the label's height, as MNIST's four files; for --data."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, count in (("train", 1000), ("t10k", 200)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        pictures = rng.integers(0, 128, (count, 28, 28)).astype(np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[4 + 2 * label : 6 + 2 * label, 6:22] = 255
        for kind, array in (("labels-idx1", labels), ("images-idx3", pictures)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return f"mnist:{folder}"


def train_alone(args: argparse.Namespace, runs: Path) -> Path:
    """The reference, uninterrupted; its run."""
    process = start(args.task, first_command(args, runs, "alone"))
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"The reference failed with status {process.returncode}:\n{output}")
    return runs / args.task / "alone"


class Attempt:
    """One process of the second training, watched from outside."""

    def __init__(self, task: str, arguments: list[str]) -> None:
        self.started = time.monotonic()
        self.process = start(task, arguments)
        self.begun = threading.Event()  # it acts, or it has ended
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(("Training ", "Going on ")):
                self.begun.set()
        self.begun.set()

    def wait_for_step(self, path: Path, step: float) -> None:
        """Return when it acts and has logged `step`, or has ended."""
        self.begun.wait()
        while self.process.poll() is None and logged(path) < step:
            time.sleep(0.02)

    def wait_for_writing(self, path: Path) -> None:
        """Return as soon as a file is being written aside, or the process has ended."""
        before = half_written(path)  # of processes killed before
        while self.process.poll() is None and half_written(path) <= before:
            time.sleep(0.0005)

    def kill(self) -> bool:
        """SIGKILL; False where it had already ended, which must be a success."""
        alive = self.process.poll() is None
        if alive:
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()
        self.reader.join()
        if status not in (0, -signal.SIGKILL):
            sys.exit(f"A training failed with status {status}:\n{''.join(self.lines)}")
        return status == -signal.SIGKILL


def train_under_fire(args: argparse.Namespace, runs: Path) -> tuple[Path, Counter[str]]:
    """The second training; its run, and how often it died of what."""
    rng = random.Random(args.seed)
    path = runs / args.task / "killed"
    attempt = Attempt(args.task, first_command(args, runs, "killed"))
    while not progress(path) and attempt.process.poll() is None:
        time.sleep(0.01)  # without a checkpoint there is nothing to resume
    startup = time.monotonic() - attempt.started
    deaths: Counter[str] = Counter()
    torn_before: set[str] = set()
    shares = [math.ceil(share * args.kills / sum(SHARES)) for share in SHARES]
    for kind in rng.sample(KINDS, args.kills, counts=shares):
        if kind == "restoring":
            time.sleep(rng.uniform(0, startup))
        else:
            left = args.steps - 2 * args.every - progress(path)
            distance = min(left, rng.uniform(0, 1.8 * args.steps / args.kills))
            attempt.wait_for_step(path, progress(path) + distance)
            if kind == "writing":
                attempt.wait_for_writing(path)
            time.sleep(rng.uniform(0, 0.05 if kind == "writing" else 1))
        if not attempt.kill():
            break
        deaths[kind] += 1
        torn, torn_before = half_written(path) - torn_before, half_written(path)
        line = (
            f"kill {deaths.total():2d} {kind:9} after {time.monotonic() - attempt.started:5.1f} s"
        )
        line += f", logged {logged(path)}, checkpoint {progress(path)}"
        print(line + "".join(f", half-written {name}" for name in sorted(torn)), flush=True)
        attempt = Attempt(args.task, ["--resume", str(path)])
    attempt.process.wait()
    attempt.kill()  # tells of an error
    return path, deaths


def progress(path: Path) -> int:
    """Steps of the newest checkpoint."""
    names = [p.name.removeprefix("step_") for p in path.glob("checkpoints/step_*")]
    return max((int(name) for name in names), default=0)


def logged(path: Path) -> int:
    """Steps of the last whole line of metrics.jsonl."""
    lines = (path / "metrics.jsonl").read_text("utf-8").rpartition("\n")[0].splitlines()
    return json.loads(lines[-1])["step"] if lines else 0


def half_written(path: Path) -> set[str]:
    """What is being written aside, or was when a process was killed."""
    folders = [path, *(path / name for name in ("checkpoints", "replay") if (path / name).is_dir())]
    return {name for folder in folders for name in os.listdir(folder) if name.startswith(".tmp-")}


# The comparison.


def compare(one: Run, other: Run) -> str | None:
    """The first difference between two runs, or None."""
    (step, a), (other_step, b) = (checkpoint.load(r.checkpoints) for r in (one, other))
    if step != other_step:
        return f"the last checkpoints are of {step} and {other_step} steps"
    if found := first_difference(a, b, "checkpoint"):
        return found
    rows = 0
    if one.task == "dqn":
        for rank, parts in enumerate(zip([a, *a["others"]], [b, *b["others"]], strict=True)):
            rings = [
                ring(run, part["state"]) for run, part in zip((one, other), parts, strict=True)
            ]
            rows += rings[0].steps * rings[0].num_envs
            if rings[0].written <= 2 * rings[0].steps:
                return "the replay wrapped less than twice: raise --steps or lower --replay"
            for name in ("frames", "actions", "rewards", "flags", "ages"):
                arrays = [np.asarray(getattr(r, name)) for r in rings]
                if found := first_difference(arrays[0], arrays[1], f"replay {rank}.{name}"):
                    return found
    for name in ("last.safetensors", "best.safetensors"):
        if found := first_difference(weights(one.path / name), weights(other.path / name), name):
            return found
    panels = [{p.name: p.read_bytes() for p in r.gallery.glob("panel-*")} for r in (one, other)]
    if found := first_difference(panels[0], panels[1], "gallery"):
        return found
    logs = [
        [{k: v for k, v in line.items() if k not in TIMES} for line in run.metrics()]
        for run in (one, other)
    ]
    found = first_difference(logs[0], logs[1], "metrics.jsonl")
    if found is None:
        replay = f"{rows} rows of a replay that wrapped at least twice, " if rows else ""
        print(f"equal: checkpoint of {step} steps, {replay}weights files, {len(panels[0])} panels, "
              f"{len(logs[0])} lines of metrics")  # fmt: skip
    return found


def ring(run: Run, state: dict[str, Any]) -> Replay:
    """A process's replay, filled from its files."""
    config = from_json(DQNConfig, run.settings["config"])
    replay = Replay(
        config.replay_capacity, config.envs, n_step=config.n_step,
        priority_exponent=config.priority,
    )  # fmt: skip
    replay.load_state(state["replay"])
    ReplayFiles(replay, run.path / state["rows"]).load(replay.written)
    return replay


def weights(path: Path) -> dict[str, Any]:
    """Tensors and metadata; the order of the metadata in the file is not kept by its writer."""
    with safe_open(path, "pt") as file:
        return {
            "metadata": dict(sorted(file.metadata().items())),
            **{key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118
        }


def first_difference(a: Any, b: Any, where: str) -> str | None:
    """Where two trees differ first, in type, shape or any bit; None where they are equal."""
    if type(a) is not type(b):
        return f"{where}: {type(a).__name__} and {type(b).__name__}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{where}: keys {list(a)} and {list(b)}"
        pairs = [(f"{where}.{key}", a[key], b[key]) for key in a]
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where}: {len(a)} and {len(b)} entries"
        pairs = [(f"{where}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    elif isinstance(a, bytes):
        return None if a == b else f"{where}: other contents"
    elif isinstance(a, torch.Tensor | np.ndarray):
        x, y = (np.ascontiguousarray(np.asarray(v)) for v in (a, b))
        if x.dtype != y.dtype or x.shape != y.shape:
            return f"{where}: {x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}"
        differing = (x.reshape(-1).view(np.uint8) != y.reshape(-1).view(np.uint8)).sum()
        return f"{where}: {differing} bytes differ" if differing else None
    else:
        same = a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))
        return None if same else f"{where}: {a!r} and {b!r}"
    for name, x, y in pairs:
        if found := first_difference(x, y, name):
            return found
    return None


if __name__ == "__main__":
    sys.exit(main())
