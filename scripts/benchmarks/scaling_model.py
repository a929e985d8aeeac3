"""The tables of playground/SCALING.md: what data parallelism gives on 1 to 100 devices, by a model.

    python scripts/benchmarks/scaling_model.py [--json OUT]

Nothing is measured here. Sizes and operations are counted on our own networks (PyTorch's meta
device), the rest follows from a few stated numbers of a cluster and from these formulas:

    compute     three forwards stand for forward and backward (Kaplan et al. 2020, section 2.1),
                at a part of the device's peak, and never faster than kernels can be launched
    all-reduce  a ring: each of n devices sends 2 (n - 1) / n of the gradients' bytes, in 2 (n - 1)
                steps that each cost a latency (Patarasu & Yuan 2009), for each bucket
    overlap     buckets are sent while backward, two thirds of the compute, makes the next ones;
                what is left when it ends keeps all devices waiting
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.dqn import PRESETS
from agents.qnetwork import QNetwork
from playground.backbone import create
from playground.gradients import BUCKET_BYTES
from playground.run import write_json

DEVICES = (1, 2, 4, 8, 16, 32, 64, 100)
BOOK = (100, 56.0)  # devices, times as fast as one (see playground/SCALING.md)


@dataclass(frozen=True)
class Workload:
    """What one device does for one update."""

    name: str
    parameters: int
    forward_flop: float  # of one example; a multiplication and an addition are two
    batch: int  # examples of an update, on each device
    forwards: float = (
        3.0  # that take as long as an example's forward, backward and what else it has
    )
    beside_s: float = 0.0  # what goes with an update on the CPU, one after the other

    @property
    def gradient_bytes(self) -> int:
        """In fp32."""
        return 4 * self.parameters


@dataclass(frozen=True)
class Cluster:
    """Devices and what connects them. Bandwidths are those of one direction."""

    name: str
    flop_s: float  # a device's peak for the numbers that it trains with
    used: float  # the part of it that convolutions reach
    floor_s: float  # of an update's compute: launching its kernels takes so long
    together: int  # devices of one machine
    inside_bytes_s: float  # between them
    between_bytes_s: float  # between two machines
    inside_s: float  # latency of a step of the ring, within a machine
    between_s: float  # and where some steps go from one to another


CLUSTERS = (
    # NVIDIA A100 (bf16 312e12 FLOP/s, NVLink 3: 300 GB/s each way), 8 x 200 Gbit/s a machine; of
    # the peak about what 2,500 images/s of ResNet-50 take.
    Cluster("8 A100 a machine, 8 x 200 Gbit/s", 312e12, 0.2, 3e-3, 8, 230e9, 190e9, 4e-6, 12e-6),
    # The same GPUs where one Ethernet line connects machines.
    Cluster("8 A100 a machine, 25 Gbit/s", 312e12, 0.2, 3e-3, 8, 230e9, 2.8e9, 4e-6, 30e-6),
    # Of the book's time: NVIDIA K40 (fp32 4.29e12 FLOP/s), one a machine, 10 Gbit/s Ethernet.
    Cluster("1 K40 a machine, 10 Gbit/s", 4.29e12, 0.4, 5e-3, 1, 6e9, 1.1e9, 10e-6, 50e-6),
    # Cores with AVX-512 of one machine (fp32, 150e9 FLOP/s each), through gloo: 0.2 ms for a few
    # numbers between two of them, and 1 ms more for a megabyte.
    Cluster("CPU cores of one machine, gloo", 150e9, 0.5, 0.2e-3, 100, 1.2e9, 1.2e9, 1e-4, 1e-4),
)


def ring_seconds(bytes_: float, devices: int, bytes_s: float, latency_s: float) -> float:
    """An all-reduce of so many bytes over a ring of so many devices."""
    if devices == 1:
        return 0.0
    steps = 2 * (devices - 1)
    return steps / devices * bytes_ / bytes_s + steps * latency_s


def exchange_seconds(load: Workload, cluster: Cluster, devices: int) -> float:
    """All buckets of an update, one after the other."""
    apart = devices > cluster.together
    bytes_s = cluster.inside_bytes_s
    if apart:
        bytes_s = min(bytes_s, cluster.between_bytes_s)
    latency = cluster.between_s if apart else cluster.inside_s
    count = buckets(load.gradient_bytes)
    return count * ring_seconds(load.gradient_bytes / count, devices, bytes_s, latency)


def buckets(bytes_: float) -> int:
    """In how many pieces gradients are sent."""
    return max(1, math.ceil(bytes_ / BUCKET_BYTES))


def compute_seconds(load: Workload, cluster: Cluster, examples: float) -> float:
    """Forward and backward of so many examples on one device."""
    flop = load.forwards * load.forward_flop * examples
    return max(flop / (cluster.flop_s * cluster.used), cluster.floor_s)


def waiting_seconds(exchange_s: float, compute_s: float, count: int) -> float:
    """What an exchange in `count` buckets adds to an update, as far as backward does not hide it.

    Buckets are ready at even distances; the first can go after 1 / count of backward, and the last
    is ready when it ends.
    """
    backward = 2 / 3 * compute_s
    return max(exchange_s / count, exchange_s - backward * (1 - 1 / count))


def update_seconds(load: Workload, cluster: Cluster, devices: int, batch: float) -> float:
    """One update with `batch` examples on each device."""
    compute = compute_seconds(load, cluster, batch)
    exchange = exchange_seconds(load, cluster, devices)
    return (
        load.beside_s + compute + waiting_seconds(exchange, compute, buckets(load.gradient_bytes))
    )


def speedup(load: Workload, cluster: Cluster, devices: int) -> float:
    """Examples a second over those of one device, each with the same batch as that one."""
    alone = update_seconds(load, cluster, 1, load.batch)
    return devices * alone / update_seconds(load, cluster, devices, load.batch)


def speedup_of_one_batch(load: Workload, cluster: Cluster, devices: int) -> float:
    """The same where all devices share the one batch of `load.batch`."""
    alone = update_seconds(load, cluster, 1, load.batch)
    return alone / update_seconds(load, cluster, devices, load.batch / devices)


def best_devices(load: Workload, cluster: Cluster, most: int = 1024) -> int:
    """How many devices make an update on one shared batch fastest."""
    return min(range(1, most + 1), key=lambda n: update_seconds(load, cluster, n, load.batch / n))


def efficient_devices(load: Workload, cluster: Cluster, most: int = 1024) -> int:
    """How many devices, each with a batch of its own, are still half as fast as one alone."""
    return max(n for n in range(1, most + 1) if speedup(load, cluster, n) >= n / 2)


def line_for(load: Workload, cluster: Cluster, devices: int, times: float) -> float:
    """Bytes a second that each device gets where `devices` are `times` as fast as one, if gradients
    go out and weights come back after backward, as with parameter servers: nothing is hidden.
    """
    compute = compute_seconds(load, cluster, load.batch)
    return 2 * load.gradient_bytes / (compute * (devices / times - 1))


def counted(name: str, model: nn.Module, example: Tensor, batch: int, **more: float) -> Workload:
    """A workload by running `model.classify`, or the model, on one example without numbers."""
    model = model.to("meta")
    call = getattr(model, "classify", model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(example.to("meta"))
    size = sum(p.numel() for p in model.parameters())
    return Workload(name, size, float(counter.get_total_flops()), batch, **more)


def workloads() -> list[Workload]:
    """Our tasks, and networks of the sizes that the literature scales."""
    laptop = PRESETS["laptop"]
    agent = QNetwork(
        6, laptop.backbone, laptop.width, laptop.hidden, laptop.dueling, laptop.layer_norm
    )
    screens = torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    return [
        # A fourth forward is the target network's. With each update go 8 agent steps, 1 ms each.
        counted("DQN, preset laptop", agent, screens, laptop.batch_size, forwards=4, beside_s=8e-3),
        *(
            counted(name, create(family, channels, classes, **options),
                    torch.zeros(1, channels, side, side), batch)
            for name, family, channels, classes, side, batch, options in (
                ("classify: the book's net, MNIST", "deepconv", 1, 10, 28, 100, {}),
                ("classify: ResNet-18, 32 px", "resnet18", 3, 10, 32, 128, {"stem": "small"}),
                ("AlexNet, 224 px", "alexnet", 3, 1000, 224, 128, {}),
                ("ResNet-50, 224 px", "resnet50", 3, 1000, 224, 64, {}),
            )
        ),
        # Not a family of ours: Szegedy et al. 2016, as torchvision has it, without its second head.
        Workload("Inception-v3, 299 px", 23_834_568, 11.4e9, 32),
    ]  # fmt: skip


def milliseconds(value: float) -> str:
    """Three digits of them."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def tables() -> tuple[str, dict[str, Any]]:
    """All tables as Markdown, and the same figures by name."""
    loads = workloads()
    lines = ["| update | parameters | gradients | operations | batch |", "|---|--:|--:|--:|--:|"]
    for load in loads:
        lines.append(
            f"| {load.name} | {load.parameters / 1e6:.2f} M | {load.gradient_bytes / 1e6:.1f} MB | "
            f"{load.forwards * load.forward_flop * load.batch / 1e9:,.1f} GFLOP | {load.batch} |"
        )
    figures: dict[str, Any] = {"workloads": [asdict(load) for load in loads], "clusters": {}}
    for cluster in CLUSTERS:
        heads = [f"{n}" for n in DEVICES[1:]]
        lines += [
            "",
            f"**{cluster.name}**",
            "",
            "| update | compute | all-reduce, 8 | 100 | times as fast on "
            + " | ".join(heads)
            + " | half used up to | one batch: best on |",
            "|---|" + "--:|" * (len(heads) + 5),
        ]
        figures["clusters"][cluster.name] = found = {}
        for load in loads:
            compute = 1e3 * compute_seconds(load, cluster, load.batch)
            exchange = [1e3 * exchange_seconds(load, cluster, n) for n in (8, 100)]
            times = [speedup(load, cluster, n) for n in DEVICES]
            most, best = efficient_devices(load, cluster), best_devices(load, cluster)
            gain = speedup_of_one_batch(load, cluster, best)
            found[load.name] = {
                "compute_ms": compute,
                "all_reduce_ms": dict(zip(("8", "100"), exchange, strict=True)),
                "times": dict(zip(map(str, DEVICES), times, strict=True)),
                "half_used_up_to": most,
                "one_batch": {"best": best, "times": gain},
            }
            cells = " | ".join(f"{value:.3g}" for value in times[1:])
            until = f"{most}" if most < 1024 else "> 1,000"
            lines.append(
                f"| {load.name} | {' | '.join(map(milliseconds, (compute, *exchange)))} | "
                f"{cells} | {until} | {best} ({gain:.3g}) |"
            )
    inception, old = loads[-1], CLUSTERS[2]
    line = line_for(inception, old, *BOOK)
    figures["book"] = {"devices": BOOK[0], "times": BOOK[1], "gbit_s": 8e-9 * line}
    lines += [
        "",
        f"{inception.name} on {BOOK[0]} K40: {speedup(inception, old, BOOK[0]):.0f} times by the "
        f"ring; {BOOK[1]:.0f} times where parameter servers give each {8e-9 * line:.1f} Gbit/s.",
    ]
    return "\n".join(lines), figures


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    args = parser.parse_args()
    text, figures = tables()
    print(text)
    if args.json:
        write_json(args.json, {"benchmark": "scaling_model", **figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
