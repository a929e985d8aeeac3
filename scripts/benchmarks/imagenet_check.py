"""Are published weights loaded rightly? Top-1 and top-5 on 1,000 labelled photos, by precision.

    python scripts/benchmarks/imagenet_check.py --data DIR

DIR holds the development data: `imagenet_sample1000/imagenet_sample1000_224_webp.zip`, one photo of
224x224 a class, named by the class's number, and the weights in `weights/`. The photos are probably
training pictures: the figures tell whether weights are loaded as they were published, not how good
a network is. The figures expected stand in the data's manifest; exit status 1 where fp32's top-1
is more than a point away from them. Photos a second are of the forward pass alone, uint8 in main
memory to logits, by the median batch.
"""

import argparse
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.backbone import Backbone, create, to_unit
from playground.device import timed
from playground.errors import UserError
from playground.media import read_image
from scripts.benchmarks import measuring

ARCHIVE = "imagenet_sample1000/imagenet_sample1000_224_webp.zip"
# Family -> (weights, top-1 in percent that the manifest tells for these photos).
EXPECTED = {
    "squeezenet": ("weights/squeezenet1_1_fp16.safetensors", 63.6),
    "mobilenet_v2": ("weights/mobilenet_v2_fp16.safetensors", 82.0),
}
TOLERANCE = 1.0  # percent
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def photos(data: Path, classes: Sequence[int]) -> Tensor:
    """The photos of these classes, uint8 (len(classes), 3, 224, 224)."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(data / ARCHIVE) as archive:
        names = [f"{number:04d}.webp" for number in classes]
        archive.extractall(folder, names)
        pixels = [torch.from_numpy(read_image(Path(folder) / name)) for name in names]
    return torch.stack(pixels).permute(0, 3, 1, 2)


@torch.inference_mode()
def check(
    backbone: Backbone, pictures: Tensor, classes: Tensor, batch: int = 50
) -> dict[str, float]:
    """{"top1", "top5": percent, "photos_per_s"} on the device and in the precision of the backbone.

    Args:
        backbone: with a classifier.
        pictures: uint8 (N, 3, H, W).
        classes: int64 (N,), the right ones.
        batch: pictures at once.
    """
    backbone.eval()
    device = next(backbone.parameters()).device
    best, seconds = [], []

    def look(part: Tensor) -> Tensor:
        # As floats of 32 bits: 16 are for what follows the normalisation, inside.
        return backbone.classify(to_unit(part.to(device))).topk(5).indices.cpu()

    for part in pictures[:batch], *pictures.split(batch):  # the first batch once more: to warm up
        found, took = timed(partial(look, part), device)
        best.append(found)
        seconds.append(took / len(part))  # for a photo
    hits = torch.cat(best[1:]) == classes[:, None]
    return {
        "top1": 100 * hits[:, 0].double().mean().item(),
        "top5": 100 * hits.any(1).double().mean().item(),
        "photos_per_s": 1 / median(seconds[1:]),
    }


def measured(args: argparse.Namespace) -> Iterator[measuring.Row]:
    """Each family in each precision."""
    pictures, classes = photos(args.data, range(args.photos)), torch.arange(args.photos)
    for family, (weights, expected) in EXPECTED.items():
        for precision, dtype in PRECISIONS.items():
            backbone = create(family, num_classes=1000, weights=args.data / weights)
            backbone.to(args.device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            found = check(backbone, pictures, classes, args.batch)
            yield {"family": family, "precision": precision, "expected": expected, **found}


def main() -> int:
    """Measure, and judge fp32."""
    parser = measuring.flags(__doc__, batch=50)
    default = os.environ.get("PLAYGROUND_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="($PLAYGROUND_DATA)")
    parser.add_argument("--photos", type=int, default=1000, help="the first so many (1000)")
    args = parser.parse_args()
    if not (args.data / ARCHIVE).is_file():
        raise UserError(f"There is no {args.data / ARCHIVE}; name the data's folder.")
    rows = measuring.report(
        args, "imagenet_check", "channels_last", measured(args),
        ("family", "precision", "top-1", "top-5", "photos/s"),
        lambda row: (
            row["family"], row["precision"],
            *(f"{row[key]:.1f}" for key in ("top1", "top5", "photos_per_s")),
        ),
    )  # fmt: skip
    missed = [
        row["family"]
        for row in rows
        if row["precision"] == "fp32" and abs(row["top1"] - row["expected"]) > TOLERANCE
    ]
    if missed and args.photos == 1000:
        print(f"Missed: {', '.join(missed)}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    measuring.run(main)
