"""What the benchmarks of backbones share: flags, rows told as they come, their table and file."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from playground.errors import UserError
from playground.run import device_name, write_json

Row = dict[str, Any]


def flags(doc: str, batch: int) -> argparse.ArgumentParser:
    """Flags that all of them have; `doc` is the module's docstring, `batch` the default size."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--batch", type=int, default=batch, help=f"pictures at once ({batch})")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (cpu)")
    parser.add_argument("--threads", type=int, help="PyTorch's (its own choice)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for all figures")
    return parser


def report(
    args: argparse.Namespace,
    benchmark: str,
    about: str,
    measured: Iterable[Row],
    columns: Sequence[str],
    cells: Callable[[Row], Sequence[str]],
) -> list[Row]:
    """Measure the rows one by one, print their table, write them where --json says; the rows."""
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = []
    for row in measured:
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    machine, threads = device_name(args.device), torch.get_num_threads()
    print(f"\n{machine}, {threads} threads, batches of {args.batch}, {about}\n")
    for line in (columns, ["---"] * len(columns), *map(cells, rows)):
        print(f"| {' | '.join(line)} |")
    if args.json:
        write_json(args.json, {"benchmark": benchmark, "machine": machine, "rows": rows})
    return rows


def run(benchmark: Callable[[], int]) -> NoReturn:
    """Exit with the benchmark's status; a mistake of the user's is a sentence and status 2."""
    try:
        sys.exit(benchmark())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
