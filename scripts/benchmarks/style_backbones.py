"""One photo in the style of one painting, through several backbones, side by side.

    python scripts/benchmarks/style_backbones.py --photo FILE --painting FILE \
        --backbones vgg19_slim16=FILE squeezenet=FILE arcade --judge mobilenet_v2=FILE \
        --sheet OUT.png

Each backbone paints by the preset `best` for as many iterations, NAME=FILE naming its weights; a
NAME alone has those that `paint` finds (the arcade backbone's ship). All are judged in the features
of a network through which none has painted, as in `style_vs_gatys.py`; `photo` is the photo as it
is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

# So that this checkout's rooms are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from torch import Tensor

from generators import style
from generators.style_easel import find_backbone
from generators.style_losses import StyleNetwork
from playground.device import prepare_process
from playground.gallery import contact_sheet
from playground.media import write_image
from scripts.benchmarks.measuring import Row, flags, report, run
from scripts.benchmarks.style_vs_gatys import Judge, sized


def parted(source: str) -> tuple[str, str | None]:
    """NAME=FILE or NAME."""
    name, _, file = source.partition("=")
    return name, file or None


def measure(args: argparse.Namespace, pictures: dict[str, Tensor]) -> Iterator[Row]:
    """A row a backbone; its painting into `pictures`."""
    _, judging = find_backbone(*parted(args.judge), print)
    judge = Judge(StyleNetwork(judging))
    photo, painting = (sized(file, args.size) for file in (args.photo, args.painting))
    pictures |= {"photo": photo[0], "painting": painting[0]}
    yield {"backbone": "photo", "seconds": 0.0, **judge(photo, photo, painting)}
    for source in args.backbones:
        name, weights = parted(source)
        config = replace(
            style.PRESETS["best"], backbone=name, weights=weights, size=args.size,
            iterations=args.iterations,
        )  # fmt: skip
        trainer = replace(style.TRAINER, device=args.device)
        began = time.monotonic()
        painted = style.paint(photo, painting, config=config, trainer=trainer).picture
        pictures[name] = painted
        yield {
            "backbone": name, "seconds": time.monotonic() - began,
            **judge(painted[None], photo, painting),
        }  # fmt: skip


def main() -> int:
    """The command line."""
    parser = flags(__doc__ or "", 1)
    add = parser.add_argument
    add("--photo", type=Path, required=True, metavar="FILE", help="the content")
    add("--painting", type=Path, required=True, metavar="FILE", help="the style")
    add("--backbones", nargs="+", required=True, metavar="NAME[=FILE]", help="who paints")
    add("--judge", required=True, metavar="NAME[=FILE]", help="who judges")
    add("--size", type=int, default=384, help="longer side, px (default 384)")
    usual = style.PRESETS["best"].iterations
    add("--iterations", type=int, default=usual, help=f"at the coarsest scale (default {usual})")
    add("--sheet", type=Path, metavar="FILE", help="all paintings: .png or .jpg")
    args = parser.parse_args()
    prepare_process()  # as scripts/play.py does
    pictures: dict[str, Tensor] = {}
    report(
        args, "style_backbones", f"{args.size} px", measure(args, pictures),
        ["backbone", "seconds", "style", "content"],
        lambda row: [row["backbone"], f"{row['seconds']:.0f}", f"{row['style']:.3f}",
                     f"{row['content']:.3f}"],
    )  # fmt: skip
    if args.sheet:
        write_image(args.sheet, contact_sheet(list(pictures.values()), 3, list(pictures)))
    return 0


if __name__ == "__main__":
    run(main)
