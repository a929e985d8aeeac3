"""Frames a second of the feed-forward painter, in turn with the PyTorch example's network.

    python scripts/benchmarks/painter_speed.py --threads 2
    python scripts/benchmarks/painter_speed.py --device cuda --batch 32 --size 1080x1920

Ours goes the whole way of a live frame, from uint8 (H, W, 3) in memory to uint8 (H, W, 3) in
memory; its speed does not depend on its weights, so they are drawn unless --painter names some. The
example's network (pytorch/examples, fast_neural_style/neural_style/transformer_net.py: 1.68 million
parameters, 32 to 128 channels, 9x9 convolutions at both ends, five residual blocks) is written here
anew, and goes the same way, in PyTorch's default layout and in channels_last.

They take turns, so that other work on the machine disturbs all of them alike; figures are medians.
Aim: 30 frames a second of 160x210 pixels on two cores, one frame at a time; 1,000 on a GPU, 32 at
a time. Exit status 1 where that is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# So that this checkout's rooms are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators.painter import Painter, load
from generators.painter_net import Plan
from generators.painter_task import SMALL
from playground import device
from playground.backbone import to_unit
from playground.errors import UserError
from scripts.benchmarks.measuring import Row, flags, report, run

AIM_CPU, AIM_GPU = 30.0, 1000.0  # frames a second
STYLES = 10  # of the painter whose weights are drawn


def layer(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """The example's ConvLayer."""
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(before, after, kernel, stride))


class Residual(nn.Module):
    """The example's ResidualBlock."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            layer(width, width, 3), nn.InstanceNorm2d(width, affine=True), nn.ReLU(),
            layer(width, width, 3), nn.InstanceNorm2d(width, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        return x + self.inner(x)


def example() -> nn.Sequential:
    """The example's TransformerNet: pictures in 0 to 255."""
    parts: list[nn.Module] = []
    for before, after, kernel, stride in ((3, 32, 9, 1), (32, 64, 3, 2), (64, 128, 3, 2)):
        parts += [layer(before, after, kernel, stride), nn.InstanceNorm2d(after, affine=True)]
        parts += [nn.ReLU()]
    parts += [Residual(128) for _ in range(5)]
    for before, after in ((128, 64), (64, 32)):
        parts += [nn.Upsample(scale_factor=2, mode="nearest"), layer(before, after, 3)]
        parts += [nn.InstanceNorm2d(after, affine=True), nn.ReLU()]
    return nn.Sequential(*parts, layer(32, 3, 9)).eval()


def through_example(network: nn.Module, pixels: np.ndarray, where: torch.device) -> np.ndarray:
    """Frames (B, H, W, 3) uint8 -> the same, painted by it."""
    with torch.no_grad():
        several = torch.from_numpy(pixels).to(where).permute(0, 3, 1, 2)
        painted = network(to_unit(several) * 255).clamp(0, 255)
        return painted.permute(0, 2, 3, 1).to(torch.uint8).cpu().contiguous().numpy()


class Clock:
    """Does something, and keeps the CPU seconds that it took, which other work disturbs less."""

    def __init__(self, once: Callable[[], Any]) -> None:
        self.once, self.found = once, list[float]()

    def __call__(self) -> None:
        """Once."""
        began = time.process_time()
        self.once()
        self.found.append(time.process_time() - began)


def measure(args: argparse.Namespace) -> Iterator[Row]:
    """A row a network."""
    where = device.find(args.device)
    height, width = sides(args.size)
    if args.painter:
        ours = load(args.painter)
    else:
        plan = Plan(tuple(map(str, range(STYLES))), SMALL.width, SMALL.narrow, SMALL.blocks)
        ours = Painter(plan.build(), plan, {})
    ours.to(where)
    mixture = ours.mixture(None)
    shape = (args.batch, height, width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    plain, last = example().to(where), example().to(where)
    last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    networks: dict[str, tuple[nn.Module, Callable[[], Any]]] = {
        "ours": (ours.network, lambda: ours.paint(frames, mixture)),
        "example": (plain, lambda: through_example(plain, frames, where)),
        "example, channels_last": (last, lambda: through_example(last, frames, where)),
    }
    clocks = {name: Clock(once) for name, (_, once) in networks.items()}
    seconds = device.median_seconds(list(clocks.values()), where, args.seconds)
    for (name, (network, _)), found in zip(networks.items(), seconds, strict=True):
        yield {
            "network": name, "size": f"{width}x{height}", "batch": args.batch,
            "parameters": sum(p.numel() for p in network.parameters()),
            "ms": round(1e3 * found, 3), "cpu_ms": round(1e3 * median(clocks[name].found), 3),
            "frames_per_second": round(args.batch / found, 2),
        }  # fmt: skip


def sides(text: str) -> tuple[int, int]:
    """HxW -> (height, width)."""
    try:
        height, width = (int(side) for side in text.split("x"))
    except ValueError:
        raise UserError(f"--size is HEIGHTxWIDTH in pixels, such as 210x160, not {text}.") from None
    return height, width


def main() -> int:
    """The command line."""
    parser = flags(__doc__ or "", 1)
    add = parser.add_argument
    add("--painter", metavar="SOURCE", help="a run or a file (default: drawn weights)")
    add("--size", default="210x160", help="of the frames, HEIGHTxWIDTH (default 210x160)")
    add("--seconds", type=float, default=60.0, help="of measuring, in all (default 60)")
    args = parser.parse_args()
    rows = report(
        args, "painter_speed", "medians of turns", measure(args),
        ["network", "pixels", "parameters", "ms", "CPU ms", "frames/s"],
        lambda row: [row["network"], row["size"], f"{row['parameters']:,}", f"{row['ms']:.1f}",
                     f"{row['cpu_ms']:.1f}", f"{row['frames_per_second']:,.1f}"],
    )  # fmt: skip
    aim = AIM_CPU if args.device == "cpu" else AIM_GPU
    return int(args.size == "210x160" and rows[0]["frames_per_second"] < aim)


if __name__ == "__main__":
    run(main)
