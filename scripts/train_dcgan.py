"""`train dcgan`: what is its own beside `training`: where its pictures come from, and a film."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agents import pictures as game_pictures
from generators import dcgan
from generators.dcgan import DCGAN, DCGANConfig
from generators.gan_scores import LEAST
from playground import data, ranks
from playground.data import Pictures, to_stderr
from playground.frames import Frame
from playground.media import VideoWriter, read_image
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts.training import PLAY, Door, longer, quoted

FRAMES = 4000  # of each game
KEPT = "pictures.npz"  # of games, in the run
HELD_OUT = 1 / 5  # of a folder, for scoring
FILM_FPS = 4  # panels a second
EVALUATE_EVERY = 1000  # updates, where --evaluate-every does not say


def _settings(preset: str, args: argparse.Namespace) -> tuple[DCGANConfig, TrainerConfig]:
    return dcgan.PRESETS[preset], TrainerConfig(**dcgan.TRAINERS[preset])


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"of each game of --data atari:GAMES (default {FRAMES:,})"
    parser.add_argument("--frames", type=int, metavar="N", default=argparse.SUPPRESS, help=text)


def _build(args: argparse.Namespace, config: DCGANConfig, settings: TrainerConfig) -> DCGAN:
    config.check()
    games = data.parse(config.data)[0] == "atari"
    if games and args.resume:
        learned, held_out = game_pictures.read(Path(args.resume) / KEPT)
    else:
        say = to_stderr if ranks.rank() == 0 else lambda text: None  # once, not once a process
        frames = getattr(args, "frames", FRAMES)
        learned, held_out = pictures_of(config.data, config.size, frames, settings.seed, say)
    task = DCGAN(config, learned, held_out, settings.seed)
    if games:
        task.keep = lambda run: game_pictures.save(run / KEPT, [learned, held_out])
    return task


def _limits(task: DCGAN, settings: TrainerConfig) -> TrainerConfig:
    """Without evaluations nobody would notice that the generator forgets."""
    if settings.evaluate_every is None:
        settings = replace(settings, evaluate_every=EVALUATE_EVERY)
    return settings


def pictures_of(
    spec: str, size: int, frames: int, seed: int, say: Callable[[str], None] = to_stderr
) -> tuple[Pictures, Pictures]:
    """Pictures to learn from, and others to score against; `frames` of each game."""
    kind, rest = data.parse(spec)
    if kind == "atari":
        return game_pictures.game_pictures(rest.split(","), size, frames, seed, say)
    if kind != "folder":
        return data.load(spec, "train", size), data.load(spec, "test", size)
    whole = data.load_folder(rest, size, say)
    order = data.permutation(len(whole), 0, 0)
    count = round(HELD_OUT * len(whole))
    if count < LEAST:
        if len(whole) >= LEAST:  # or nothing will be learned
            say(
                f"{rest} has {len(whole):,} pictures: too few to keep some apart, so dreams are "
                "scored against those that they were learned from."
            )
        return whole, whole
    return whole.take(order[count:]), whole.take(order[:count])


def _label(config: DCGANConfig) -> str:
    kind, rest = data.parse(config.data)
    if kind == "folder":
        return f"dreams-{Path(rest).resolve().name}"
    return f"dreams-{rest.split(',')[0].strip()}" if kind == "atari" else f"dreams-{kind}"


def _commands(run: Run) -> list[tuple[str, str]]:
    folder, steps = quoted(run.path), longer(run)
    more = "" if steps is None else f" --steps {steps}"
    return [
        ("Dream", f"{PLAY} dream {folder}"),
        ("Go on", f"{PLAY} train dcgan --resume {folder}{more}"),
    ]


def _finish(task: DCGAN, run: Run) -> list[str]:
    """The film of the panels: the same noise, ever better dreamed."""
    panels = sorted(run.gallery.glob("panel-*.png"))
    if len(panels) > 1:
        with VideoWriter(run.videos / "learning.mp4", fps=FILM_FPS) as film:
            for panel in panels:
                film.write(Frame(read_image(panel)))
    found = [line for line in run.metrics() if line.get("evaluate/fid") is not None]
    if not found:
        return []
    best = min(found, key=lambda line: line["evaluate/fid"])
    return [
        f"Best fid {best['evaluate/fid']:.1f} (coverage {best['evaluate/coverage']:.2f}) at "
        f"{best['step']:,} updates, {_parameters(task):,} parameters."
    ]


def _parameters(task: DCGAN) -> int:
    return sum(p.numel() for p in task.generator.parameters())


DREAMS = Door(
    name="dcgan",
    help="Learn to dream pictures: a generator and a critic against each other.",
    config_class=DCGANConfig,
    unit=DCGAN.unit,
    preset="modern",
    presets={
        "modern": "small, steady, quick",
        "projected": "a critic on the arcade backbone's features",
        "dcgan2015": "Radford et al. 2016",
        "example": "as PyTorch's example has it",
    },
    settings=_settings,
    label=_label,
    build=_build,
    figures=("critic_loss", "generator_loss", "critic_right"),
    commands=_commands,
    limits=_limits,
    arguments=_arguments,
    gathering=("frames",),
    movable=("data",),
    about={"score": "-fid"},
    finish=_finish,
)
