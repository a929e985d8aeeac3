"""`paint`: a photo in the style of paintings, by optimisation; shown while it becomes.

With --fast a trained painter does it in one go (`fast_painting`).
"""

from __future__ import annotations

import argparse
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from generators import style
from generators.style import Painting, StyleConfig
from generators.style_easel import fitting, resized, scales
from playground import window
from playground.config import add_arguments, apply_arguments, to_json
from playground.errors import UserError
from playground.frames import Frame
from playground.media import (
    VideoWriter,
    check_suffix,
    free,
    read_image,
    recording,
    to_pixels,
    write_image,
)
from playground.run import Run
from playground.window import Window
from scripts.fast_painting import run_fast
from scripts.outputs import check_outputs, claimed
from scripts.progress import Line, figure

FILM_FPS, FILM_SECONDS, FILM_STILL_SECONDS = 30, 10, 1.5
FILM_PX = 1080  # longer side of a film, at most
WINDOW_PX = 720  # and of the window's pictures
PREVIEW_PX = 1600  # of a preview file's
PREVIEW_SECONDS = 5.0  # between two of its pictures
TRAINING = ("device", "threads", "precision")  # of the trainer's settings, those that painting has


def run_paint(args: argparse.Namespace) -> None:
    """Paint, and write the picture; what is done so far where the user ends it."""
    if args.fast or args.painter:
        _only_slow(args)
        run_fast(args)
        return
    if args.sheet or args.strip or args.beside:
        raise UserError("--sheet, --strip and --beside belong to --fast.")
    if not args.style:
        raise UserError("Name the picture of a painting: --style PAINTING.")
    config = apply_arguments(style.PRESETS[args.preset], args)
    given = {name: getattr(args, name) for name in TRAINING if getattr(args, name) is not None}
    files, weights = zip(*map(weighted, args.style), strict=True)
    for file in files:
        if not file.suffix and not file.exists():
            raise UserError(
                f"There is no picture {file}. A painting is a file; a painter's style needs --fast."
            )
    stem = f"{Path(args.content).stem}-{'-'.join(f.stem for f in files)}"
    out = args.out or recording(stem, ".png")
    check_suffix(out, args.bits)
    outs = {"--out": out, "--film": args.film, "--preview": args.preview}
    check_outputs(outs, [args.content, *files, *(args.mask or ())])
    content = read_image(args.content)  # before the weights, which may have to be fetched
    height, width = content.shape[:2]
    size = fitting(height, width, config.size or max(height, width))
    run = None
    if args.runs:
        run = Run.create(
            args.runs, "paint", None, to_json(config), label=out.stem, unit="iterations"
        )
    with ExitStack() as stack:
        line = stack.enter_context(Line())
        views = _views(args, config, size, out, stack)
        painted = style.paint(
            content, list(files), args.mask, weights, config, replace(style.TRAINER, **given),
            run, lambda task: all([view(task) is not False for view in views]),
            lambda report: line.show(_told(report)),
        )  # fmt: skip
        line.end()
        out = args.out or free(out)  # others may have taken it meanwhile
        write_image(out, to_pixels(painted.picture, args.bits))
        for view in views:
            view.finish(painted)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in painted.figures.items())
    print(f"{painted.reason.capitalize()} after {painted.iterations} iterations with "
          f"{painted.backbone}: {figures}.")  # fmt: skip
    print(out)


def _only_slow(args: argparse.Namespace) -> None:
    """UserError where a flag was given that only painting by optimisation knows."""
    given = {name for name in vars(args) if name in to_json(style.BEST)} - {"size", "keep_colors"}
    others = ("mask", "film", "preview", "runs", "precision", "window")
    given |= {name for name in others if getattr(args, name)}
    given |= {"preset"} if args.preset != "best" else set()
    if given:
        flag = "--" + min(given).replace("_", "-")
        raise UserError(f"--fast knows no {flag}: leave one of them out.")


def weighted(text: str) -> tuple[Path, float]:
    """FILE or FILE:WEIGHT."""
    name, _, number = text.rpartition(":")
    if name and not Path(text).exists():
        try:
            return Path(name), float(number)
        except ValueError:
            pass  # a name with a colon, such as C:\\photo.jpg
    return Path(text), 1.0


# ---------------------------------------------------------------- what shows the painting


class _Preview:
    """A picture file that is renewed while the painting becomes.

    One that the user did not name takes a name that is free, and is deleted in the end.
    """

    def __init__(self, path: Path, named: bool) -> None:
        check_suffix(path)
        self.path, self.named = path, named
        self._due: float | None = None  # before the first picture

    def __call__(self, painting: Painting) -> None:
        if self._due is None:
            self.path = self.path if self.named else claimed(self.path)
            print(f"Preview  {self.path}", flush=True)
        elif time.monotonic() < self._due:
            return
        write_image(self.path, painting.frame(PREVIEW_PX).pixels)
        self._due = time.monotonic() + PREVIEW_SECONDS

    def finish(self, painted: style.Painted) -> None:
        """It has served, unless it was asked for by name."""
        if self.named:
            write_image(self.path, to_pixels(painted.picture))
        elif self._due is not None:
            self.path.unlink(missing_ok=True)


class _Film:
    """The picture's becoming as a film, its pictures at equal distances of time or iterations."""

    def __init__(self, film: VideoWriter, size: tuple[int, int], config: StyleConfig) -> None:
        self.film, self.seconds = film, config.seconds
        self.longer = min(FILM_PX, max(size))
        self.size = fitting(*size, self.longer)
        wanted = FILM_FPS * FILM_SECONDS
        steps = range(len(scales(*size, None, config.coarsest)))
        total = sum(config.iterations * config.shrink**step for step in steps)
        self.every = config.seconds / wanted if config.seconds else math.ceil(total / wanted)
        self._due = 0.0

    def __call__(self, painting: Painting) -> None:
        now = time.monotonic() if self.seconds else painting.progress
        if now >= self._due:
            self.film.write(self._frame(painting.shown()))
            self._due = now + self.every

    def finish(self, painted: style.Painted) -> None:
        """The finished picture for a while."""
        for _ in range(round(FILM_STILL_SECONDS * FILM_FPS)):
            self.film.write(self._frame(painted.picture))

    def _frame(self, picture: Any) -> Frame:
        return Frame(to_pixels(resized(picture[None], self.size)[0]))


class _Live:
    """The window; closing it ends the painting as Ctrl-C does."""

    def __init__(self, screen: Window) -> None:
        self.screen = screen

    def __call__(self, painting: Painting) -> bool:
        shown = self.screen.write(painting.frame(WINDOW_PX))
        self.screen.poll()
        return shown

    def finish(self, painted: style.Painted) -> None:
        """Nothing more to show."""


View = _Preview | _Film | _Live


def _views(
    args: argparse.Namespace,
    config: StyleConfig,
    size: tuple[int, int],
    out: Path,
    stack: ExitStack,
) -> list[View]:
    """What was asked for; without a window a preview file beside the picture."""
    views: list[View] = []
    if args.film:
        views.append(_Film(stack.enter_context(VideoWriter(args.film, FILM_FPS)), size, config))
    live = args.window or (window.available() and args.preview is None)
    if live:
        try:
            screen = Window(f"playground: {out.stem}", shown=("space", "esc"))
        except UserError:
            raise UserError(
                "--window needs a display; leave it out: a preview file is renewed instead."
            ) from None
        views.append(_Live(stack.enter_context(screen)))
    if args.preview is not None or not live:
        preview = args.preview or out.with_name(f"{out.stem}-preview.jpg")
        views.append(_Preview(preview, named=args.preview is not None))
    return views


def _told(report: dict[str, Any]) -> list[str]:
    """A report in the parts of a line."""
    height, width = report["size"]
    parts = [
        f"{report['progress']:>6,} iterations",
        f"{report['scale']}/{report['scales']} {width}x{height}",
        f"{figure(report['per_second'])}/s",
    ]
    if report["eta_seconds"] is not None:
        parts.append(f"{report['eta_seconds']:.0f} s to the next")
    return parts + [f"{name} {report[name]:.4g}" for name in ("style", "content", "variation")]


# ---------------------------------------------------------------- flags


def add_paint(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add = verb.add_argument
    text = "the picture to paint; with --fast a folder or a film, too"
    add("--content", required=True, metavar="PHOTO", help=text)
    text = (
        "in whose style; several times for several, FILE:0.6 to weigh them; with --fast a name "
        "(default: its first, of --sheet and --strip all)"
    )
    add("--style", action="append", metavar="PAINTING", help=text)
    add("--fast", action="store_true", help="by a trained painter, in one of its styles")
    text = "which painter, with --fast: a run of train style, or a file (default: what ships)"
    add("--painter", metavar="SOURCE", help=text)
    text = "with --fast: the pictures in each style, .png, or .html with a border to be dragged"
    add("--sheet", type=Path, metavar="FILE", help=text)
    text = "with --fast: the pictures from style to style, .png or .jpg"
    add("--strip", type=Path, metavar="FILE", help=text)
    add("--beside", action="store_true", help="with --fast: a film shows the original, too")
    text = "where the style of the same place in the line shall be: a picture, white there"
    add("--mask", action="append", metavar="FILE", help=text)
    text = "settings to start from: best (default), gatys2015 (as in the paper)"
    add("--preset", choices=tuple(style.PRESETS), default="best", help=text)
    text = "the painting, .png or .jpg (default recordings/PHOTO-PAINTING.png)"
    add("--out", type=Path, metavar="FILE", help=text)
    text = "of each colour in the file, 8 or 16 (.png only; default 8)"
    add("--bits", type=int, choices=(8, 16), default=8, help=text)
    add("--film", type=Path, metavar="FILE", help="how it became, .mp4 or .gif")
    add("--window", action="store_true", help="a window or nothing: an error without a display")
    text = f"renewed every {PREVIEW_SECONDS:g} s (default without a display: beside the painting)"
    add("--preview", type=Path, metavar="FILE", help=text)
    add("--runs", type=Path, metavar="DIR", help="keep losses and pictures as a run in there")
    text = "where to compute (default auto: CUDA, MPS or CPU)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help=text)
    add("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    add("--precision", choices=("fp32", "bf16"), help="of the network (default fp32)")
    add_arguments(verb, StyleConfig)
