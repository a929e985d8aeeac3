"""Did a GAN collapse? What the evaluations of finished trainings say.

    python scripts/play.py train dcgan --data atari:GAME --frames 500 --size 32 --steps 20000 ...
    python scripts/benchmarks/dcgan_collapse.py RUN [RUN ...]

Reads each run's own evaluations (FID, recall and coverage in the features of the arcade backbone).
A run has collapsed where recall or coverage ends under half of the best that it had, or where it
never had any; it has strayed where its last FID is more than 1.1 times its best.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators.dcgan import WARN_SHARE
from playground.errors import UserError
from playground.run import Run, write_json
from scripts.benchmarks.measuring import run as run_benchmark

STRAYED = 1.1  # times the best FID


def verdict(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a run's evaluations in order, each with evaluate/fid, .../recall and .../coverage.

    `kept` are the last recall and coverage as shares of the best ones, None where that was 0.
    """
    fid = [line["evaluate/fid"] for line in lines]
    kept: dict[str, float | None] = {}
    for name in ("recall", "coverage"):
        each = [line[f"evaluate/{name}"] for line in lines]
        kept[name] = each[-1] / max(each) if max(each) > 0 else None
    ratio = fid[-1] / min(fid)
    return {
        "updates": lines[-1]["step"],
        "best_fid": min(fid),
        "last_fid": fid[-1],
        "ratio": ratio,
        "best_at": lines[fid.index(min(fid))]["step"],
        "coverage": lines[-1]["evaluate/coverage"],
        "recall": lines[-1]["evaluate/recall"],
        "kept": kept,
        "collapsed": any(share is None or share < WARN_SHARE for share in kept.values()),
        "strayed": ratio > STRAYED,
    }


def main() -> int:
    """See the module's top."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs of `train dcgan`")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    args = parser.parse_args()
    found = {}
    for path in args.runs:
        lines = [line for line in Run.open(path).metrics() if line.get("evaluate/fid") is not None]
        if not lines:
            raise UserError(f"{path} has no evaluations with an FID: is it a run of dcgan?")
        found[path] = one = verdict(lines)
        kept = ", ".join(
            f"{name} kept {'none' if share is None else format(share, '.2f')}"
            for name, share in one["kept"].items()
        )
        print(
            f"{Path(path).name}: fid {one['last_fid']:.1f} after {one['updates']:,} updates, best "
            f"{one['best_fid']:.1f} at {one['best_at']:,} ({one['ratio']:.2f} times), {kept}: "
            f"{'COLLAPSED' if one['collapsed'] else 'no collapse'}"
        )
    collapsed = sum(one["collapsed"] for one in found.values())
    strayed = sum(one["strayed"] for one in found.values())
    print(
        f"{collapsed} of {len(found)} collapsed, {strayed} ended above {STRAYED} times their best"
    )
    if args.json:
        write_json(args.json, found)
    return 0


if __name__ == "__main__":
    run_benchmark(main)
