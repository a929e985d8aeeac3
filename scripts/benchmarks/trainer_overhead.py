"""What the trainer adds to an update: the same learning by it and by a bare PyTorch loop.

    python scripts/benchmarks/trainer_overhead.py [--blocks 20] [--json OUT]
    python scripts/benchmarks/trainer_overhead.py --quick         half a minute, tells little

A network learns made pictures of MNIST's shape (28x28, grey, 10 classes), uint8 in memory, by Adam
(fused) and cross-entropy in fp32, channels_last. Ours is a task in `playground.trainer` with all of
its defaults (autocast's context, NaN guard, clocks, signals, figures logged every 10 seconds to
metrics.jsonl and TensorBoard), without evaluations and checkpoints, which a bare loop lacks too.
The bare loop is what one would write: fetch, forward, backward, step, sum of losses.

Both have networks and optimizers of their own and take turns in one process, in blocks of equal
length; the trainer's clock stands while the bare loop runs. The overhead is the ratio of the median
blocks less one; the same is told for CPU time, which other work on the machine disturbs less.

Aim: <= 2 % for each network. Exit status 1 where it is missed (not with --quick).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.backbone import create, to_unit
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything

AIM = 0.02
NETWORKS: dict[str, dict[str, Any]] = {
    "deepconv": {},  # the book's
    "deepconv, 4 times as wide": {"width": 4.0},
}
PICTURES = 4096
WARM_BLOCKS = 2  # of each kind, not counted

Seconds = tuple[float, float]  # of the wall's clock, of the CPU


def clocks() -> Seconds:
    """Now, by both."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """How long ago that was, by both."""
    now = clocks()
    return now[0] - began[0], now[1] - began[1]


class Data:
    """Made pictures (N, 1, 28, 28) uint8 and labels (N,)."""

    def __init__(self, batch_size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (PICTURES, 1, 28, 28)
        self.pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(0, 10, (PICTURES,), generator=generator)
        self.batch_size = batch_size

    def batch(self, update: int) -> tuple[Tensor, Tensor]:
        """Float (B, 1, 28, 28) in [0, 1] and labels (B,)."""
        start = update * self.batch_size % (PICTURES - self.batch_size)
        chosen = slice(start, start + self.batch_size)
        return to_unit(self.pictures[chosen]), self.labels[chosen]


class Bare:
    """The loop that one would write."""

    def __init__(self, options: dict[str, Any], data: Data) -> None:
        self.data = data
        self.net = create("deepconv", 1, 10, **options)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3, fused=True)
        self.updates = 0

    def run(self, updates: int) -> Seconds:
        """So many updates; how long they took."""
        began = clocks()
        total = torch.zeros(())
        for _ in range(updates):
            x, truth = self.data.batch(self.updates)
            loss = F.cross_entropy(self.net.classify(x), truth)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            self.updates += 1
        float(total)
        return since(began)


class Ours(nn.Module):
    """The same as a task; between two of its blocks it lets the bare loop run one."""

    unit = "updates"

    def __init__(self, options: dict[str, Any], data: Data, block: int) -> None:
        super().__init__()
        self.bare, self.data, self.block = Bare(options, data), data, block
        self.net = create("deepconv", 1, 10, **options)
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), 1e-3, fused=True)}
        self.progress = 0
        self.blocks: dict[str, list[Seconds]] = {"bare": [], "ours": []}
        self.began = clocks()

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """One update."""
        if self.progress % self.block == 0:
            if self.progress:
                self.blocks["ours"].append(since(self.began))
            self.blocks["bare"].append(self.bare.run(self.block))
            self.began = clocks()
        x, truth = self.data.batch(self.progress)
        loss = trainer.minimize(
            lambda: F.cross_entropy(self.net.classify(x), truth), self.optimizers["net"]
        )
        self.progress += 1
        return {"loss": loss}

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """Not what is measured."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `state`."""

    def export(self, path: Path) -> None:
        """An empty file."""
        path.touch()

    def frames(self) -> Iterator[Any]:
        """None."""
        return iter(())


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One network's figures."""
    seed_everything(0)
    data = Data(args.batch_size)
    task = Ours(NETWORKS[name], data, block=10**9)
    pilot = task.bare.run(3)[0] / 3  # seconds an update, the first one among them
    task.block = max(3, round(args.block_seconds / pilot))
    settings = TrainerConfig(
        steps=task.block * (args.blocks + WARM_BLOCKS) + 1, device="cpu", precision="fp32",
        threads=args.threads, checkpoint_minutes=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Trainer(settings, task, Run.create(Path(folder), "overhead", "run", {})).fit()
    blocks = {kind: found[WARM_BLOCKS:][: args.blocks] for kind, found in task.blocks.items()}
    overheads = [
        median(b[clock] for b in blocks["ours"]) / median(b[clock] for b in blocks["bare"]) - 1
        for clock in (0, 1)
    ]
    update_ms = {
        kind: 1e3 * median(b[0] for b in found) / task.block for kind, found in blocks.items()
    }
    print(f"{name:<28}{update_ms['bare']:>9.2f}{update_ms['ours']:>9.2f}{overheads[0]:>10.1%}"
          f"{overheads[1]:>10.1%}", flush=True)  # fmt: skip
    return {
        "network": name, "updates_a_block": task.block, "update_ms": update_ms,
        "overhead": overheads[0], "overhead_cpu_time": overheads[1], "blocks": blocks,
    }  # fmt: skip


def main() -> int:
    """Measure each network; see the module's top."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--blocks", type=int, default=20, help="of each kind (default 20)")
    add("--block-seconds", type=float, default=4.0, help="about (default 4)")
    add("--batch-size", type=int, default=100, help="pictures (default 100)")
    add("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    add("--quick", action="store_true", help="four short blocks of each kind")
    add("--json", type=Path, metavar="OUT", help="write all figures there")
    args = parser.parse_args()
    if args.quick:
        args.blocks, args.block_seconds = 4, 1.0
    print(f"{'ms an update':<28}{'bare':>9}{'ours':>9}{'more':>10}{'CPU time':>10}")
    found = [measure(name, args) for name in NETWORKS]
    report = {
        "benchmark": "trainer_overhead",
        "machine": f"{device_name()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "settings": {k: v for k, v in vars(args).items() if k != "json"},
        "networks": found,
    }
    if args.json:
        write_json(args.json, report)
    missed = [one["network"] for one in found if one["overhead"] > AIM]
    print(json.dumps({one["network"]: round(one["overhead"], 4) for one in found}))
    if missed and not args.quick:
        print(f"More than {AIM:.0%}: {', '.join(missed)}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
