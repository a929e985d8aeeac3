"""Dreams after equal time: ours against PyTorch's DCGAN example, on the same pictures and cores.

    python scripts/benchmarks/dcgan_vs_example.py --data cifar10:DIR --size 32 --weights FILE
    python scripts/benchmarks/dcgan_vs_example.py --data atari:pong,breakout,... --weights FILE
    python scripts/benchmarks/dcgan_vs_example.py --speed --data ... --weights FILE

The example is written here anew from its own settings (pytorch/examples, dcgan/main.py): 64
filters, 100 latent numbers, batches of 64, Adam at 2e-4 and beta1 0.5, binary cross-entropy, the
critic's two backward passes, two worker processes, all in PyTorch's defaults. At 32 pixels the
widest layer falls away in both of its networks, which makes it faster and better there.

Each training has --minutes of its own, alone, ours and the example's in turn, for each seed; by the
clock, or with --cpu of its process's time on the processor, on one thread, which is fair on a
machine that does other things meanwhile (the example's two workers, who only read, are not
counted). Then each draws --samples pictures, which are held against real ones that neither has
seen, in the last features of the ImageNet MobileNetV2, which neither has used. Ours is the preset
`modern` without classes; its weights are those it ends with (--best: those that its own evaluations
chose). Other flags are settings of ours, as of `train dcgan`: `--norm spectral --seeds 1` measures
an idea.

--speed trains ours at the example's architecture and settings (preset `example`) for some blocks of
updates, in turn with the example, and compares pictures a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents import pictures as game_pictures
from generators import dcgan
from generators.gan_scores import Features, Scorer
from playground.backbone import create
from playground.config import add_arguments, apply_arguments, to_json
from playground.data import Pictures
from playground.device import prepare_process
from playground.run import Run, device_name, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything
from scripts.train_dcgan import pictures_of

FILTERS, LATENT, BATCH, RATE, BETA1, WORKERS = 64, 100, 64, 2e-4, 0.5, 2
EXTRACTOR_PX = 96  # to which pictures are enlarged for the MobileNetV2


class Shown(Dataset):
    """Pictures in [-1, 1], one at a time, as the example's ImageFolder gives them."""

    def __init__(self, pictures: Pictures) -> None:
        self.pixels = pictures.read(torch.arange(len(pictures)))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index].float().div(255).sub(0.5).div(0.5)


class Example:
    """The example's two networks and its loop."""

    def __init__(self, size: int, channels: int, device: str = "cpu") -> None:
        steps = {32: 3, 64: 4}[size]
        self.device = device
        top = FILTERS * 2 ** (steps - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, top, 4, 1, 0, bias=False)]
        width = top
        for _ in range(steps - 1):
            layers += [nn.BatchNorm2d(width), nn.ReLU(True)]
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
            width //= 2
        layers += [nn.BatchNorm2d(width), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.generator = nn.Sequential(*layers)
        layers = [nn.Conv2d(channels, FILTERS, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        width = FILTERS
        for _ in range(steps - 1):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)]
            width *= 2
            layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(width, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
        self.critic = nn.Sequential(*layers)
        for network in (self.generator, self.critic):
            network.to(device)
            for layer in network:
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    nn.init.normal_(layer.weight, 0.0, 0.02)
                elif isinstance(layer, nn.BatchNorm2d):
                    nn.init.normal_(layer.weight, 1.0, 0.02)
        betas = (BETA1, 0.999)
        self.for_critic = torch.optim.Adam(self.critic.parameters(), RATE, betas)
        self.for_generator = torch.optim.Adam(self.generator.parameters(), RATE, betas)
        self.criterion = nn.BCELoss()

    def update(self, real: Tensor) -> None:
        """Critic on real, critic on fake, step; generator, step."""
        real = real.to(self.device)
        ones = torch.ones(len(real), device=self.device)
        zeros = torch.zeros_like(ones)
        self.critic.zero_grad()
        on_real = self.criterion(self.critic(real).view(-1), ones)
        on_real.backward()
        fake = self.generator(torch.randn(len(real), LATENT, 1, 1, device=self.device))
        on_fake = self.criterion(self.critic(fake.detach()).view(-1), zeros)
        on_fake.backward()
        self.for_critic.step()
        self.generator.zero_grad()
        loss = self.criterion(self.critic(fake).view(-1), ones)
        loss.backward()
        self.for_generator.step()
        on_real.item(), on_fake.item(), loss.item()  # it prints them at each update

    def batches(self, pictures: Pictures) -> Iterator[Tensor]:
        """Endless, in a new order each epoch."""
        loader = DataLoader(Shown(pictures), batch_size=BATCH, shuffle=True, num_workers=WORKERS)
        while True:
            yield from loader

    def sample(self, count: int) -> Iterator[Tensor]:
        """Pictures in [0, 1], in training mode as the example draws them."""
        for start in range(0, count, BATCH):
            shape = (min(BATCH, count - start), LATENT, 1, 1)
            with torch.no_grad():
                yield (self.generator(torch.randn(shape, device=self.device)) + 1) / 2


def train_example(pictures: Pictures, args: argparse.Namespace, seed: int) -> tuple[Any, int]:
    """(what draws pictures, how many were learned from) after the time is up."""
    torch.manual_seed(seed)
    example = Example(args.size, pictures.channels, args.device)
    batches = example.batches(pictures)
    example.update(next(batches))  # the workers have started
    clock = time.process_time if args.cpu else time.monotonic
    began, seen = clock(), 0
    while clock() - began < 60 * args.minutes:
        real = next(batches)
        example.update(real)
        seen += len(real)
    return example.sample, seen


def train_ours(
    pictures: Pictures, held_out: Pictures, args: argparse.Namespace, seed: int, folder: Path
) -> tuple[Any, int]:
    """As above, by the shared trainer."""
    seed_everything(seed)
    preset = replace(dcgan.PRESETS[args.preset], data=args.data, size=args.size)
    config = apply_arguments(preset, args.settings)
    settings = TrainerConfig(
        **dcgan.TRAINERS[args.preset], seed=seed, evaluate_every=args.evaluate_every,
        checkpoint_minutes=None, threads=1 if args.cpu else None, device=args.device,
    )  # fmt: skip
    clock = time.process_time if args.cpu else time.monotonic
    began: list[float] = []

    class Timed(dcgan.DCGAN):
        """Ends the training when its time is up; starting up is not counted."""

        def step(self, trainer: Trainer) -> dict[str, Any]:
            began[:] = began or [clock()]
            if clock() - began[0] >= 60 * args.minutes:
                trainer.stop()
            return super().step(trainer)

    task = Timed(config, pictures, held_out, seed)
    run = Run.create(folder, "dcgan", f"seed-{seed}", to_json(config), unit="updates")
    outcome = Trainer(settings, task, run).fit()
    task.close()
    file = "best.safetensors" if args.best else "last.safetensors"
    dreamer = dcgan.load(run.path / file)
    dreamer.network.to(args.device)
    return (lambda count: dreamer.stream(count, seed)), outcome.progress * config.batch_size


def one(args: argparse.Namespace) -> None:
    """One training in a process of its own; its features into a file."""
    who, seed = args.one.split(":")
    if who == "ours":
        prepare_process()  # as scripts/play.py does; the example does nothing like it
    pictures, held_out = game_pictures.read(args.pictures)
    neutral = create("mobilenet_v2", weights=args.weights).to(args.device)
    features = Features(neutral, size=EXTRACTOR_PX)
    with tempfile.TemporaryDirectory() as folder:
        if who == "ours":
            draw, seen = train_ours(pictures, held_out, args, int(seed), Path(folder))
        else:
            draw, seen = train_example(pictures, args, int(seed))
        found = torch.cat([features(part) for part in draw(args.samples)])
    np.savez(args.out, features=found.numpy(), seen=seen)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All trainings in turn, then their figures."""
    pictures, held_out = pictures_of(args.data, args.size, args.frames, 0, say=print)
    neutral = create("mobilenet_v2", weights=args.weights).to(args.device)
    features = Features(neutral, size=EXTRACTOR_PX)
    scorer = Scorer(features.of(held_out, args.samples))
    floor = scorer.score(features.of(pictures, args.samples))
    print(f"real pictures against each other: {json.dumps(floor)}", flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "pictures.npz"  # so that games are played once
        game_pictures.save(kept, [pictures, held_out])
        command = [sys.executable, __file__, *sys.argv[1:], "--pictures", str(kept)]
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            for who in ("ours", "example"):
                out = Path(folder) / f"{who}-{seed}.npz"
                child = [*command, "--one", f"{who}:{seed}", "--out", str(out)]
                subprocess.run(child, check=True)
                with np.load(out) as file:
                    figures = scorer.score(torch.from_numpy(file["features"]))
                    rows.append({"who": who, "seed": seed, "seen": int(file["seen"]), **figures})
                print(json.dumps(rows[-1]), flush=True)
    fid = {who: [r["fid"] for r in rows if r["who"] == who] for who in ("ours", "example")}
    ratio = mean(fid["ours"]) / mean(fid["example"])
    print(f"fid {mean(fid['ours']):.1f} against {mean(fid['example']):.1f}: {ratio:.3f} times")
    return {"floor": floor, "rows": rows, "ratio": ratio}


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second at equal architecture, in turn."""
    pictures, held_out = pictures_of(args.data, args.size, args.frames, 0, say=lambda text: None)
    example = Example(args.size, pictures.channels)
    batches = example.batches(pictures)
    config = replace(dcgan.PRESETS["example"], data=args.data, size=args.size)
    seconds: dict[str, list[float]] = {"ours": [], "example": []}

    class Timed(dcgan.DCGAN):
        """Lets the example run between two blocks of its own."""

        began = 0.0

        def step(self, trainer: Trainer) -> dict[str, Any]:
            if self.progress % args.block == 0:
                now = time.perf_counter()
                if self.progress:
                    seconds["ours"].append(now - self.began)
                torch.set_flush_denormal(False)
                for _ in range(args.block):
                    example.update(next(batches))
                torch.set_flush_denormal(True)
                seconds["example"].append(time.perf_counter() - now)
                self.began = time.perf_counter()
            return super().step(trainer)

    prepare_process()  # of which the example keeps what belongs to the process: its memory
    task = Timed(config, pictures, held_out)
    settings = TrainerConfig(
        steps=args.block * args.blocks + 1, checkpoint_minutes=None, device="cpu"
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Trainer(settings, task, Run.create(Path(folder), "dcgan", "speed", {})).fit()
    task.close()
    rates = {who: args.block * BATCH / median(found[1:]) for who, found in seconds.items()}
    print(f"pictures a second: ours {rates['ours']:.1f}, example {rates['example']:.1f}: "
          f"{rates['ours'] / rates['example']:.2f} times")  # fmt: skip
    return {"rates": rates, "seconds": seconds}


def main() -> int:
    """See the module's top."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--data", required=True, metavar="SPEC", help="as of `train dcgan`")
    add("--size", type=int, default=64, choices=(32, 64), help="of the pictures (default 64)")
    add("--weights", type=Path, required=True, help="ImageNet weights of MobileNetV2")
    add("--frames", type=int, default=4000, help="of each game (default 4000)")
    add("--preset", default="modern", help="of ours (default modern)")
    add("--minutes", type=float, default=20.0, help="of each training (default 20)")
    add("--cpu", action="store_true", help="minutes on the processor, one thread")
    add("--device", default="cpu", help="of both trainings: cpu or cuda (default cpu)")
    add("--seeds", type=int, default=3, help="how many (default 3)")
    add("--first-seed", type=int, default=0, help="of them (default 0)")
    add("--samples", type=int, default=10_000, help="pictures drawn by each (default 10000)")
    add("--evaluate-every", type=int, help="ours, updates (default: only at the end)")
    add("--best", action="store_true", help="ours: the weights that its evaluations chose")
    add("--speed", action="store_true", help="compare pictures a second instead")
    add("--block", type=int, default=10, help="updates of a block of --speed (default 10)")
    add("--blocks", type=int, default=12, help="of --speed (default 12)")
    add("--one", help=argparse.SUPPRESS)
    add("--pictures", type=Path, help=argparse.SUPPRESS)
    add("--out", type=Path, help=argparse.SUPPRESS)
    add("--json", type=Path, metavar="OUT", help="write the figures there")
    args, others = parser.parse_known_args()
    if args.device != "cpu" and (args.cpu or args.speed):
        parser.error("--cpu and --speed are for a CPU alone")
    own = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(own, dcgan.DCGANConfig)
    args.settings = own.parse_args(others)
    if args.cpu:
        torch.set_num_threads(1)  # also where pictures are played for
    if args.one:
        one(args)
        return 0
    found = speed(args) if args.speed else compare(args)
    about = {"machine": f"{device_name(args.device)}, {os.cpu_count()} cores", "data": args.data}
    if args.json:
        write_json(args.json, {**about, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
