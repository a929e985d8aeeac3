"""How many of Stacked-MNIST's 1,000 modes a GAN finds: three digits in one picture's colours.

    python scripts/benchmarks/stacked_mnist.py --data mnist:DIR --classifier RUN

Each picture has a digit drawn at random in each of its channels (Metz et al. 2017, "Unrolled
Generative Adversarial Networks"), --pictures of them at 32 pixels. A generator without classes
learns them for --updates; a classifier of digits (a run of `train classify --data mnist:DIR`) reads
the channels of --samples dreams, in the end and at each multiple of --every. A mode is found when
one dream at least shows it; `kl` is the divergence of the modes' shares from equal ones, in nats.
The same is said of real digits stacked anew. Other flags are settings of `train dcgan`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators import dcgan
from playground import classifier, data
from playground.backbone import to_unit
from playground.config import add_arguments, apply_arguments, to_json
from playground.data import Pictures
from playground.errors import UserError
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything
from scripts.benchmarks.measuring import run as run_benchmark

SIZE = 32  # pixels
MODES = 1000
BATCH = 1000


def stacked(digits: Pictures, count: int, seed: int) -> Pictures:
    """`count` pictures of three digits each, one a channel, uint8 (count, 3, SIZE, SIZE)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(digits), (count, 3), generator=generator)
    pixels = digits.read(chosen.flatten()).view(count, 3, SIZE, SIZE)
    return Pictures(pixels, torch.zeros(count, dtype=torch.int64), ("stacked",))


def modes_of(pictures: Tensor, reader: Any) -> Tensor:
    """Floats (N, 3, SIZE, SIZE) in [0, 1] -> (N,) numbers below MODES, read by the classifier."""
    channels = reader.probabilities(pictures.reshape(-1, 1, SIZE, SIZE)).argmax(1).view(-1, 3)
    return (channels * torch.tensor([100, 10, 1])).sum(1)


def figures(modes: Tensor) -> dict[str, float]:
    """How many modes there are among (N,), and their shares' divergence from equal ones."""
    shares = torch.bincount(modes, minlength=MODES).double() / len(modes)
    present = shares[shares > 0]
    return {
        "modes": int((shares > 0).sum()),
        "kl": float((present * (present * MODES).log()).sum()),
    }


class Stacked(dcgan.DCGAN):
    """A training whose evaluations count the modes that a reader of digits finds in dreams."""

    def __init__(self, reader: Any, *args: Any) -> None:
        super().__init__(*args)
        self.reader = reader
        self.course: list[dict[str, float]] = []  # of all evaluations so far

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        dreams = self.dreamer().stream(self.config.samples, dcgan.NOISE_SEED + 1)
        found = figures(torch.cat([modes_of(part, self.reader) for part in dreams]))
        self.course.append({"updates": self.progress, **found})
        print(self.course[-1], flush=True)
        return {"score": found["modes"], **found}


def main() -> int:
    """See the module's top."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--data", required=True, metavar="mnist:DIR", help="digits")
    add("--classifier", required=True, metavar="RUN", help="that reads digits: a run, or a file")
    add("--preset", default="modern", choices=dcgan.PRESETS, help="(default modern)")
    add("--pictures", type=int, default=100_000, help="to learn from (default 100000)")
    add("--updates", type=int, default=20_000, help="of the training (default 20000)")
    add("--every", type=int, help="updates between two counts (default: one count, in the end)")
    add("--samples", type=int, default=26_000, help="dreams that are read (default 26000)")
    add("--seed", type=int, default=0, help="of the training (default 0)")
    add("--threads", type=int, help="PyTorch's (its own choice)")
    add("--device", default="cpu", help="of the training: cpu or cuda (default cpu)")
    add("--json", type=Path, metavar="OUT", help="write the figures there")
    args, others = parser.parse_known_args()
    own = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(own, dcgan.DCGANConfig)
    preset = replace(
        dcgan.PRESETS[args.preset], data=args.data, size=SIZE, samples=args.samples
    )  # fmt: skip
    config = apply_arguments(preset, own.parse_args(others))

    reader = classifier.load(args.classifier)
    if len(reader.classes) != 10:
        raise UserError(f"{args.classifier} reads {len(reader.classes)} classes, not ten digits.")
    learned = stacked(data.load(args.data, "train", SIZE), args.pictures, args.seed)
    held_out = stacked(data.load(args.data, "test", SIZE), args.samples, args.seed)
    real = torch.cat([
        modes_of(to_unit(held_out.read(part)), reader)
        for part in torch.arange(len(held_out)).split(BATCH)
    ])  # fmt: skip
    print(f"real digits: {figures(real)}", flush=True)

    seed_everything(args.seed)
    trainer = TrainerConfig(
        **dcgan.TRAINERS[args.preset], seed=args.seed, steps=args.updates, threads=args.threads,
        device=args.device, evaluate_every=args.every, checkpoint_minutes=None,
    )  # fmt: skip
    task = Stacked(reader, config, learned, held_out, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "dcgan", "stacked", to_json(config), unit="updates")
        Trainer(trainer, task, run).fit()
    task.close()
    found = {"real": figures(real), "course": task.course}
    if args.json:
        write_json(
            args.json, {"machine": device_name(args.device), "settings": to_json(config), **found}
        )
    return 0


if __name__ == "__main__":
    run_benchmark(main)
