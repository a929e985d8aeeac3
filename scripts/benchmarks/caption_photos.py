"""Flickr8k's test split: BLEU-1..4 and CIDEr-D of photo captioners, with beam search.

    python scripts/benchmarks/caption_photos.py runs/caption/photos runs/caption/photos-critical
        --data flickr8k:DIR --encoder mobilenet_v2.safetensors --out photos.json

Name the runs of cross-entropy alone and with self-critical updates, in this order, to have them
compared. Published, with other encoders: Xu et al. 2015 soft attention BLEU-4 19.5, hard 21.3
(VGG-19); Vinyals et al. 2015 BLEU-1 63 (GoogLeNet). Tokens are `generators.words.metric_tokens`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators import caption_data
from generators.caption_judges import PHOTOS
from generators.caption_memory import to_memory_input
from generators.caption_pairs import Photos
from generators.captioner import Caption, Captioner, load
from playground.errors import UserError
from playground.run import device_name, write_json
from scripts.train_caption import draw_examples

BATCH = 50


def measured(
    captioner: Captioner, pairs: Photos, beams: list[int]
) -> dict[int, tuple[dict[str, float], list[Caption]]]:
    """Figures and captions for each width of the search; each picture is looked at once."""
    said: dict[int, list[Caption]] = {beam: [] for beam in beams}
    for part in torch.arange(len(pairs)).split(BATCH):
        maps = captioner.encode(to_memory_input(pairs.read(part)))
        for beam in beams:
            said[beam] += captioner.tell(maps, None, beam)
    indices = range(len(pairs))
    return {
        beam: (PHOTOS.figures(pairs, indices, {None: captions}), captions)
        for beam, captions in said.items()
    }


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("captioners", nargs="+", metavar="SOURCE", help="runs, files or zoo:NAME")
    add("--data", required=True, metavar="SPEC", help="flickr8k:DIR or coco:DIR")
    add("--split", choices=("val", "test"), default="test", help="(test)")
    add(
        "--encoder", type=Path, metavar="FILE", help="weights, where captioners name published ones"
    )
    add("--beams", type=int, nargs="+", default=[1, 3, 5], help="widths of the search (1 3 5)")
    add("--limit", type=int, help="only the first so many pictures")
    add("--examples", type=Path, metavar="DIR", help="the best and worst captions, as sheets")
    add("--threads", type=int, help="PyTorch's (its own choice)")
    add("--out", type=Path, metavar="FILE", help="all figures, as JSON")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"device": device_name(), "data": args.data, "split": args.split}
    first = None
    for source in args.captioners:
        captioner = load(source, args.encoder)
        photos = caption_data.load(args.data, args.split, captioner.plan.size[0]).checked()
        pairs = Photos(photos.take(torch.arange(len(photos))[: args.limit]))
        found = measured(captioner, pairs, args.beams)
        results[source] = {str(beam): figures for beam, (figures, _) in found.items()}
        for beam, (figures, _) in found.items():
            cells = "  ".join(f"{k} {v:.1f}" for k, v in figures.items() if k != "score")
            print(f"{source:28} beam {beam}  {cells}", flush=True)
        best = max(figures["cider_d"] for figures, _ in found.values())
        if first is not None:
            print(f"{source:28} CIDEr-D {100 * (best / first - 1):+.1f} % against the first")
        first = first or best
        if args.examples:
            _, captions = found[args.beams[-1]]
            folder = args.examples / Path(source).name
            folder.mkdir(parents=True, exist_ok=True)
            draw_examples(pairs, range(len(pairs)), captions, PHOTOS, folder)
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
