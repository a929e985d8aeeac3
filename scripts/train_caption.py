"""`train caption`: what is its own beside `training`: where its captions come from, examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from agents.atari import resolve_all
from agents.commentary import FAR_APART, store
from generators import caption, caption_data
from generators.caption import CaptionConfig, Captioning, for_clips
from generators.caption_files import Split
from generators.caption_judges import PHOTOS, Judge
from generators.caption_pairs import Pairs, Photos
from generators.caption_views import attention_sheet, last_picture
from generators.captioner import Caption, load_own
from playground import data, ranks
from playground.data import to_stderr
from playground.errors import UserError
from playground.exports import LAST
from playground.folders import Say
from playground.gallery import CAPTIONS
from playground.media import write_image
from playground.run import Run, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.game_captions import GAMES, REGISTERS, GamePairs
from scripts.training import PLAY, Door, longer, quoted

CLIPS = 2000  # of each game
EVENTFUL = 0.3  # of the clips
STILLS = 1 / 4  # as many single pictures as clips
HELD_OUT = 50  # of each game, for evaluations
HELD_OUT_SEED = 2_000_003  # more than a training's
KEPT = "clips.npz"  # of games, in the run
EVALUATIONS = 10  # of a training, where --evaluate-every does not say
SPLITS: tuple[Split, Split] = ("train", "val")
EXAMPLES = 4  # best and worst, in the run's gallery


def _settings(preset: str, args: argparse.Namespace) -> tuple[CaptionConfig, TrainerConfig]:
    config = caption.PRESETS[preset]
    spec = getattr(args, "data", "")
    if spec and data.parse(spec)[0] == "atari":
        config = for_clips(config)
    return config, TrainerConfig(**caption.TRAINER)


def _check_named(spec: str) -> None:
    if not spec:
        raise UserError(
            "Name what to learn from: --data flickr8k:DIR, coco:DIR, a folder of pictures with a "
            "caption file, or atari:pong,breakout."
        )


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"of each game of --data atari:GAMES (default {CLIPS:,})"
    parser.add_argument("--clips", type=int, metavar="N", default=argparse.SUPPRESS, help=text)
    text = f"share of these that wait for points, lost lives and the like (default {EVENTFUL})"
    parser.add_argument("--eventful", type=float, metavar="P", default=argparse.SUPPRESS, help=text)


def _build(args: argparse.Namespace, config: CaptionConfig, settings: TrainerConfig) -> Captioning:
    config.check()
    say = to_stderr if ranks.rank() == 0 else lambda text: None  # once, not once a process
    words = load_own(args.resume / LAST).vocabulary if args.resume else None
    kind, rest = data.parse(config.data)
    if kind != "atari":
        if config.size[0] != config.size[1] or config.frames > 1:
            raise UserError(
                "Photos are read as squares, one by one: set --size 224,224 and no --frames."
            )
        learned, held_out = (_photos(config, split, say) for split in SPLITS)
        return Captioning(config, learned, held_out, PHOTOS, settings.steps, settings.seed, words)
    count, eventful = getattr(args, "clips", CLIPS), getattr(args, "eventful", EVENTFUL)
    if not 0 <= eventful <= 1:
        raise UserError(f"--eventful is a share, from 0 to 1, not {eventful:g}.")
    games, seed = resolve_all(rest.split(",")), settings.seed
    config = replace(config, data=f"{kind}:{','.join(games)}")  # as frames of theirs call them
    if args.resume:
        clips = store.read(Path(args.resume) / KEPT, "learned", "held_out")
    else:
        caption.rehearse(config, REGISTERS, settings.steps)  # or it is said minutes later
        clips = ranks.by_first(  # played once, not once a process
            lambda: [
                store.gather(games, count, seed, say, eventful=eventful),
                store.gather(
                    games,
                    HELD_OUT,
                    seed + HELD_OUT_SEED,
                    say,
                    apart=FAR_APART,
                    eventful=eventful,
                ),
            ]
        )
    if clips[0].shape != (config.frames, *config.size):
        frames, height, width = clips[0].shape
        raise UserError(
            f"Clips of these games have {frames} frames of {height}x{width} pixels: set --frames "
            f"{frames} and --size {height},{width}."
        )
    pairs, others = GamePairs(clips[0], STILLS), GamePairs(clips[1])
    task = Captioning(config, pairs, others, GAMES, settings.steps, settings.seed, words)
    task.keep = lambda run: store.save(run / KEPT, learned=clips[0], held_out=clips[1])
    return task


def _photos(config: CaptionConfig, split: Split, say: Say) -> Photos:
    """A split's photos, those left out that cannot be read."""
    return Photos(caption_data.load(config.data, split, config.size[0], say).checked(say))


def _limits(task: Captioning, settings: TrainerConfig) -> TrainerConfig:
    """A cosine has an end, so --hours can only cut it short."""
    if settings.steps is None:
        settings = replace(settings, steps=task.horizon)
    if settings.evaluate_every is None:
        settings = replace(settings, evaluate_every=max(1, task.horizon // EVALUATIONS))
    return settings


def _label(config: CaptionConfig) -> str:
    kind, rest = data.parse(config.data)
    if kind == "folder":
        return f"captions-{Path(rest).resolve().name}"
    return f"captions-{rest.split(',')[0].strip()}" if kind == "atari" else f"captions-{kind}"


def _commands(run: Run) -> list[tuple[str, str]]:
    folder, steps = quoted(run.path), longer(run)
    more = "" if steps is None else f" --updates {steps} --steps {steps}"  # the schedule too
    return [
        ("Caption", f"{PLAY} caption PICTURE --captioner {folder}"),
        ("Go on", f"{PLAY} train caption --resume {folder}{more}"),
    ]


def _finish(task: Captioning, run: Run) -> list[str]:
    """The best and the worst captions with where they looked; the best score."""
    if task.seen is not None:
        indices, said = task.seen
        for register, captions in said.items():
            draw_examples(task.held_out, indices, captions, task.judge, run.gallery, register or "")
    found = [line for line in run.metrics() if line.get("evaluate/score") is not None]
    if not found:
        return []
    if task.mute:
        return [f"It has learned what things do, and no words yet: these begin at {task.silent:,}."]
    best = max(found, key=lambda line: line["evaluate/score"])
    shown = [
        f"{key.removeprefix('evaluate/')} {value:.1f}"
        for key, value in best.items()
        if key.startswith("evaluate/") and value is not None
    ]
    return [f"Best at {best['step']:,} updates: {', '.join(shown)}."]


def draw_examples(
    pairs: Pairs,
    indices: Sequence[int],
    captions: Sequence[Caption],
    judge: Judge,
    folder: Path,
    word: str = "",
) -> None:
    """The captions with the best and the worst marks, each as a sheet of where its words looked.

    Written as `<word>-best-1.png` and so on; what was said, and its mark, into the gallery's
    captions.
    """
    marks = judge.marks(pairs, indices, captions)
    order = sorted(range(len(marks)), key=marks.__getitem__)
    file = folder / CAPTIONS
    texts = read_json(file) if file.exists() else {}
    ends = [("worst", order[:EXAMPLES]), ("best", order[::-1][:EXAMPLES])]
    for kind, places in ends:
        for number, place in enumerate(places, 1):
            pixels = pairs.read(torch.tensor([indices[place]]))[0]
            name = "-".join(filter(None, (word, kind, str(number)))) + ".png"
            sheet = attention_sheet(last_picture(pixels), captions[place])
            write_image(folder / name, sheet)
            texts[name] = f"{captions[place].text} (mark {marks[place]:.0f})"
    write_json(file, texts)


CAPTION = Door(
    name="caption",
    help="Learn to say what is in pictures, or what happens in games.",
    config_class=CaptionConfig,
    unit=Captioning.unit,
    preset="best",
    presets={
        "best": "a small transformer",
        "attend": "Xu et al. 2015, soft attention",
        "nic": "Vinyals et al. 2015",
    },
    settings=_settings,
    label=_label,
    build=_build,
    check=lambda config, settings: _check_named(config.data),
    figures=("loss", "looked", "known", "reward", "reward_describe", "reward_comment"),
    commands=_commands,
    limits=_limits,
    arguments=_arguments,
    gathering=("clips", "eventful"),
    movable=("data", "updates", "critical", "critical_rate", "imitation"),
    finish=_finish,
)
