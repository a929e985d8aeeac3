"""`train style`: what is its own beside `training`: its photos and games, and sheets in the end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agents import frame_pairs
from agents import pictures as kept_pictures
from generators import painter_task
from generators.painter import load
from generators.painter_data import paintings
from generators.painter_task import PainterConfig, PainterTask
from playground import data, ranks
from playground.data import Pictures, to_stderr
from playground.errors import UserError
from playground.gallery import BEFORE, CAPTIONS
from playground.media import write_image
from playground.run import Run, write_json
from playground.trainer import TrainerConfig
from scripts.painted_sheets import sheet, strip
from scripts.training import PLAY, Door, longer, quoted

FRAMES = 500  # pairs of each game
KEPT = "clips.npz"  # of games, in the run
HELD_OUT = 1 / 10  # of a folder, for scoring,
MOST_HELD_OUT = 64  # but no more
SHOWN = 4  # held-out pictures on the gallery's sheets
STRIP = 4  # styles on its strip
EVALUATE_EVERY = 500  # updates, where --evaluate-every does not say


def _settings(preset: str, args: argparse.Namespace) -> tuple[PainterConfig, TrainerConfig]:
    return painter_task.PRESETS[preset], TrainerConfig(**painter_task.TRAINERS[preset])


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"pairs of frames of each game of --data atari:GAMES (default {FRAMES:,})"
    parser.add_argument("--frames", type=int, metavar="N", default=argparse.SUPPRESS, help=text)


def _build(args: argparse.Namespace, config: PainterConfig, settings: TrainerConfig) -> PainterTask:
    config.check()
    if not config.styles:
        raise UserError("Name the paintings to learn: --styles FOLDER, or --styles PICTURE.")
    found = paintings(config.styles)
    say = to_stderr if ranks.rank() == 0 else lambda text: None  # once, not once a process
    kept = Path(args.resume) / KEPT if args.resume else None
    frames = getattr(args, "frames", FRAMES)
    learned, held_out, played = sources_of(
        config.data, config.size, frames, settings.seed, kept, say
    )
    task = PainterTask(config, found, learned, held_out, settings.steps, settings.seed, say)
    if played:
        task.keep = lambda run: kept_pictures.save(run / KEPT, played)
    return task


def sources_of(
    spec: str,
    size: int,
    frames: int,
    seed: int,
    kept: Path | None = None,
    say: Callable[[str], None] = to_stderr,
) -> tuple[list[Pictures], list[Pictures], list[Pictures]]:
    """What `--data` names: sources to learn from, held-out ones, and pairs of games to be kept.

    Args:
        spec: a folder of photos, atari:GAMES, another kind of labelled pictures, or several of
            them with + between; each is a source.
        size: of the photos, in pixels.
        frames: pairs of each game.
        seed: of the games.
        kept: pairs of a run that goes on, instead of playing.
        say: a sentence for the user.

    UserError for what cannot be read, and two parts of games.
    """
    learned: list[Pictures] = []
    held_out: list[Pictures] = []
    played: list[Pictures] = []
    for part in parts_of(spec):
        kind, rest = data.parse(part)
        if kind == "atari":
            if played:
                raise UserError("Name all games together: --data FOLDER+atari:pong,breakout.")
            if kept is not None:
                played = kept_pictures.read(kept)
            else:
                played = list(frame_pairs.pairs(rest.split(","), frames, seed, say))
            learned.append(played[0])
            held_out.append(played[1])
        elif kind == "folder":
            whole = data.load_folder(rest, size, say)
            order = data.permutation(len(whole), 0, 0)
            count = min(MOST_HELD_OUT, round(HELD_OUT * len(whole)))
            if not count:
                say(f"{rest} has too few pictures to keep some apart for scoring.")
            learned.append(whole.take(order[count:]))
            held_out.append(whole.take(order[: count or None]))
        else:
            learned.append(data.load(part, "train", size))
            held_out.append(data.load(part, "test", size))
    return learned, held_out, played


def parts_of(spec: str) -> list[str]:
    """A spec's parts between its +; a folder whose name has one stays whole."""
    if Path(spec).expanduser().is_dir():
        return [spec]
    return [part.strip() for part in spec.split("+")]


def _limits(task: PainterTask, settings: TrainerConfig) -> TrainerConfig:
    """An end, panels and figures of its course, unless told otherwise."""
    if settings.steps is None:
        settings = replace(settings, steps=task.horizon)
    if settings.evaluate_every is None:
        settings = replace(settings, evaluate_every=EVALUATE_EVERY)
    return settings


def _label(config: PainterConfig) -> str:
    return f"painter-{Path(config.styles).expanduser().resolve().stem}"


def _commands(run: Run) -> list[tuple[str, str]]:
    folder, steps = quoted(run.path), longer(run)
    style = quoted(run.settings["styles"][-1])
    more = "" if steps is None else f" --updates {steps} --steps {steps}"  # the schedule too
    return [
        ("Paint", f"{PLAY} paint --fast --painter {folder} --style {style} --content PHOTO"),
        ("Watch", f"{PLAY} watch --painter {folder} --style {style}"),
        ("Go on", f"{PLAY} train style --resume {folder}{more}"),
    ]


def _finish(task: PainterTask, run: Run) -> list[str]:
    found = [line for line in run.metrics() if line.get("evaluate/score") is not None]
    if not found:
        return []
    _sheets(task, run)
    best = max(found, key=lambda line: line["evaluate/score"])
    size = (run.path / "best.safetensors").stat().st_size
    return [
        f"Best score {best['evaluate/score']:.4g} (style {best['evaluate/style']:.4g}, content "
        f"{best['evaluate/content']:.4g}, flicker {best['evaluate/flicker']:.2g} of 255) at "
        f"{best['step']:,} updates; {len(task.plan.styles)} styles in {size / 1e3:,.0f} kB."
    ]


def _sheets(task: PainterTask, run: Run) -> None:
    """For the run's gallery: held-out pictures by styles, from style to style, before and after."""
    painter = load(run.path / "best.safetensors")
    contents = [(f"picture {i}", each) for i, each in enumerate(task.shown(SHOWN), start=1)]
    captions = {"styles.png": "held-out pictures in every style"}
    write_image(run.gallery / "styles.png", sheet(painter, contents, painter.styles))
    if len(painter.styles) > 1:
        few = painter.styles[:STRIP]
        write_image(run.gallery / "blends.png", strip(painter, contents[:2], few))
        captions["blends.png"] = "from style to style"
    _, pixels = contents[0]
    for credit in painter.credits:
        file = run.gallery / f"in-{credit.name}.png"
        write_image(file, painter.paint(pixels, painter.mixture(credit.name)))
        write_image(file.with_name(f"{file.stem}{BEFORE}.png"), pixels)
        captions[file.name] = f"{credit.name}: {credit.told}"
    write_json(run.gallery / CAPTIONS, captions)


STYLE = Door(
    name=painter_task.TASK,
    help="Learn to paint in the style of paintings, in one go: for films and live games.",
    config_class=PainterConfig,
    unit=PainterTask.unit,
    preset="small",
    presets={"small": "real-time on a CPU"},
    settings=_settings,
    label=_label,
    build=_build,
    figures=("style", "content", "flicker"),
    commands=_commands,
    limits=_limits,
    arguments=_arguments,
    gathering=("frames",),
    movable=("data", "styles", "add", "weights", "updates"),
    about={"score": "-loss"},
    finish=_finish,
)
