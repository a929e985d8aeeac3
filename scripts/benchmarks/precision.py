"""What half precision and memory layout gain: forward and backward of each family.

    python scripts/benchmarks/precision.py --json precision.json
    python scripts/benchmarks/precision.py --device cuda --batch 256

Each family learns from noise of the size that it is made for, in fp32 and in bf16 (autocast, with
weights in fp32, as the trainer has it), contiguous and channels_last: logits, cross-entropy,
gradients; no optimizer. The four take turns, so that all meet the same disturbances; a cell is the
median time of one turn in ms. "gain" is fp32 contiguous over the fastest.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from playground.backbone import create, families
from playground.errors import UserError, nearest
from playground.run import device_name, write_json

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


def rehearsal(
    family: str, shape: tuple[int, int, int], batch: int, device: torch.device, cell: Sequence[str]
) -> Callable[[], None]:
    """A function that runs one forward and backward, and waits for its end."""
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
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def measure(
    family: str, shape: tuple[int, int, int], batch: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    """The median time of each cell in ms: two turns to warm up, at least three in `seconds`."""
    runs = [rehearsal(family, shape, batch, device, cell) for cell in CELLS]
    times: list[list[float]] = [[] for _ in CELLS]
    deadline = float("inf")
    while len(times[0]) < 5 or time.monotonic() < deadline:
        for run, found in zip(runs, times, strict=True):
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
        if len(times[0]) == 2:
            deadline = time.monotonic() + seconds
    ms = {
        f"{precision} {layout}": round(1e3 * median(found[2:]), 2)
        for (precision, layout), found in zip(CELLS, times, strict=True)
    }
    best = min(ms, key=lambda name: ms[name])
    gain = round(ms["fp32 contiguous"] / ms[best], 2)
    return {"family": family, "shape": shape, "batch": batch, **ms, "best": best, "gain": gain}


def main() -> int:
    """Measure the families one by one; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", metavar="NAME", help="(all)")
    parser.add_argument("--batch", type=int, default=16, help="pictures (16)")
    parser.add_argument("--size", type=int, help="height and width in pixels (as made for)")
    parser.add_argument("--seconds", type=float, default=10, help="for each family (10)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (cpu)")
    parser.add_argument("--threads", type=int, help="PyTorch's (its own choice)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for all figures")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # as scripts/play.py does
    known = families()
    for name in args.families or ():
        if name not in known:
            raise UserError(f"No backbone '{name}'.{nearest(name, known)}")
    rows = []
    for family in args.families or known:
        shape = SHAPES.get(family, PHOTO)
        if args.size:
            shape = (shape[0], args.size, args.size)
        device = torch.device(args.device)
        rows.append(measure(family, shape, args.batch, device, args.seconds))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    machine = device_name(args.device)
    print(f"\n{machine}, {torch.get_num_threads()} threads, batches of {args.batch}, ms\n")
    names = [f"{precision} {layout}" for precision, layout in CELLS]
    print(f"| family | pictures | {' | '.join(names)} | gain |")
    print("| --- " * (len(names) + 3) + "|")
    for row in rows:
        cells = [f"**{row[n]}**" if n == row["best"] else str(row[n]) for n in names]
        size = "×".join(map(str, row["shape"]))
        print(f"| {row['family']} | {size} | {' | '.join(cells)} | {row['gain']} |")
    if args.json:
        write_json(args.json, {"benchmark": "precision", "machine": machine, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
