"""What half precision and memory layout gain: forward and backward of each family.

    python scripts/benchmarks/precision.py --json precision.json
    python scripts/benchmarks/precision.py --device cuda --batch 256

Each family learns from noise of the size that it is made for, in fp32 and in bf16 (autocast, with
weights in fp32, as the trainer has it), contiguous and channels_last: logits, cross-entropy,
gradients; no optimizer. The four take turns, so that all meet the same disturbances; a cell is the
median time of one turn in ms. "gain" is fp32 contiguous over the fastest.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.backbone import create, families
from playground.device import median_seconds, prepare_process
from playground.errors import UserError, nearest
from scripts.benchmarks import measuring

# Channels, height and width that a family is made for; photographs for all others.
SHAPES = {
    "nature": (4, 84, 84),
    "impala": (4, 84, 84),
    "deepconv": (1, 28, 28),
    "arcade": (3, 210, 160),
}
PHOTO = (3, 224, 224)
CLASSES = 10
CELLS = [
    (precision, layout)
    for precision in ("fp32", "bf16")
    for layout in ("contiguous", "channels_last")
]
NAMES = [" ".join(cell) for cell in CELLS]


def rehearsal(
    family: str, shape: tuple[int, int, int], batch: int, device: torch.device, cell: Sequence[str]
) -> Callable[[], None]:
    """A function that runs one forward and backward."""
    precision, layout = cell
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    backbone = create(family, shape[0], num_classes=CLASSES)
    backbone.to(device=device, memory_format=memory)  # type: ignore[call-overload]
    pictures = torch.rand(batch, *shape, device=device).contiguous(memory_format=memory)
    classes = torch.arange(batch, device=device) % CLASSES

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(backbone.classify(pictures), classes)
        loss.backward()
        backbone.zero_grad()

    return run


def measure(
    family: str, shape: tuple[int, int, int], batch: int, device: torch.device, seconds: float
) -> measuring.Row:
    """The median time of each cell in ms, measured for so many seconds."""
    runs = [rehearsal(family, shape, batch, device, cell) for cell in CELLS]
    found = median_seconds(runs, device, seconds)
    ms = {name: round(1e3 * each, 2) for name, each in zip(NAMES, found, strict=True)}
    best = min(ms, key=lambda name: ms[name])
    gain = round(ms["fp32 contiguous"] / ms[best], 2)
    return {"family": family, "shape": shape, "batch": batch, **ms, "best": best, "gain": gain}


def measured(args: argparse.Namespace) -> Iterator[measuring.Row]:
    """The families one by one."""
    for family in args.families or families():
        shape = SHAPES.get(family, PHOTO)
        if args.size:
            shape = (shape[0], args.size, args.size)
        yield measure(family, shape, args.batch, torch.device(args.device), args.seconds)


def cells(row: measuring.Row) -> list[str]:
    """A family's line of the table."""
    times = [f"**{row[name]}**" if name == row["best"] else str(row[name]) for name in NAMES]
    return [row["family"], "×".join(map(str, row["shape"])), *times, str(row["gain"])]


def main() -> int:
    """Measure, and print the table."""
    parser = measuring.flags(__doc__, batch=16)
    parser.add_argument("--families", nargs="+", metavar="NAME", help="(all)")
    parser.add_argument("--size", type=int, help="height and width in pixels (as made for)")
    parser.add_argument("--seconds", type=float, default=10, help="for each family (10)")
    args = parser.parse_args()
    prepare_process()  # as scripts/play.py does
    known = families()
    for name in args.families or ():
        if name not in known:
            raise UserError(f"No backbone '{name}'.{nearest(name, known)}")
    columns = ("family", "pictures", *NAMES, "gain")
    measuring.report(args, "precision", "ms", measured(args), columns, cells)
    return 0


if __name__ == "__main__":
    measuring.run(main)
