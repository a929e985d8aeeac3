"""Turn a zip of class sheets into plain class folders of PNG files, for the folder reader to meet.

    python scripts/benchmarks/unpack_tiles.py DIR OUT [--tile 64]

DIR holds one .zip with classes.json (a list of [identifier, names]), and train/IDENTIFIER.jpg and
val/IDENTIFIER.jpg: tiles of --tile pixels in rows. OUT gets train/NAME/0000.png, … and val/NAME/…,
NAME being the first of the names; with Tiny-ImageNet-100, 35,000 and 5,000 files. Copies of data
under a licence of its own stay out of the project.

Then reads both splits as `play.py train classify --data OUT` would, and reports seconds, memory and
what a batch takes, in memory and decoded on demand.
"""

import argparse
import json
import re
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from statistics import median

import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground import folders
from playground.data import batch_indices, load
from playground.errors import UserError
from playground.media import encode_image, read_image

BATCH, BATCHES = 128, 20


def unpack(archive: Path, out: Path, tile: int) -> int:
    """Write all tiles; returns their number."""
    written = 0
    with zipfile.ZipFile(archive) as sheets, tempfile.TemporaryDirectory() as work:
        classes = json.loads(sheets.read("classes.json"))
        names = [re.sub(r"[^\w-]+", "_", words.split(",")[0]) for _, words in classes]
        shared = {name for name, count in Counter(names).items() if count > 1}
        for (identifier, _), name in zip(classes, names, strict=True):
            for split in ("train", "val"):
                sheet = read_image(sheets.extract(f"{split}/{identifier}.jpg", work))
                folder = out / split / (f"{name}_{identifier}" if name in shared else name)
                folder.mkdir(parents=True)
                rows, columns = (side // tile for side in sheet.shape[:2])
                for i in range(rows * columns):
                    top, left = i // columns * tile, i % columns * tile
                    picture = sheet[top : top + tile, left : left + tile]
                    (folder / f"{i:04d}.png").write_bytes(encode_image(picture))
                written += rows * columns
    return written


def peak_mib() -> float:
    """The most memory that the process has held so far; nan where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(out: Path, size: int) -> None:
    """Print what reading takes."""
    for kept, share in (("in memory", folders.MEMORY_SHARE), ("on demand", 0.0)):
        folders.MEMORY_SHARE = share
        for split in ("test", "train"):
            before, start = peak_mib(), time.perf_counter()
            pictures = load(str(out), "train" if split == "train" else "test", size)
            took = time.perf_counter() - start
            seconds = []
            for step in range(BATCHES):
                indices = batch_indices(len(pictures), BATCH, 0, step)
                start = time.perf_counter()
                pictures.read(indices)
                seconds.append(time.perf_counter() - start)
            print(
                f"{kept}, {split}: {len(pictures):,} pictures of {len(pictures.classes)} classes, "
                f"opened in {took:.1f} s, peak memory +{peak_mib() - before:.0f} MiB, a batch of "
                f"{BATCH} in {1000 * median(seconds):.1f} ms"
            )
            del pictures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path, help="folder with the zip of class sheets")
    parser.add_argument("out", type=Path, help="folder to make; where it is there, only measure")
    parser.add_argument("--tile", type=int, default=64, help="side of a tile in pixels")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if not settings.out.exists():
            archives = sorted(settings.dir.glob("*.zip"))
            if not archives:
                raise UserError(f"There is no .zip of class sheets in {settings.dir}.")
            start = time.perf_counter()
            count = unpack(archives[0], settings.out, settings.tile)
            print(f"{count:,} files written in {time.perf_counter() - start:.0f} s")
        measure(settings.out, settings.tile)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
