"""`paint --fast`: pictures, folders and films by a trained painter; and its filter of frames."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from generators.painter import LEAST_PX, Film, Painter
from generators.style import load
from generators.style_easel import fitting, resized
from generators.style_painting import brightness, recolored
from playground import device
from playground.errors import UserError
from playground.frames import Filter, Frame
from playground.inputs import to_batch
from playground.media import (
    FILMS,
    PICTURES,
    VideoWriter,
    check_suffix,
    composed,
    is_film,
    numbered,
    read_image,
    read_video,
    recording,
    to_pixels,
    write_image,
)
from scripts.outputs import check_outputs
from scripts.painted_sheets import CELL_PX, sheet, strip, write_sliders

PAGES = (".html", ".htm")
TOLD_SECONDS = 5.0  # between two lines on a film's progress


# ---------------------------------------------------------------- flags


def add_style(parser: argparse.ArgumentParser) -> None:
    """The flags of the filter."""
    add = parser.add_argument
    text = "paint the frames: a style of the painter; several times for a blend, NAME:0.6"
    add("--style", action="append", metavar="NAME", help=text)
    text = "a run of train style, or a painter's file (default: the painter that ships)"
    add("--painter", metavar="SOURCE", help=text)


def style_filter(args: argparse.Namespace) -> Filter | None:
    """What paints frames, where a style or a painter is named."""
    if args.style is None and args.painter is None:
        return None
    painter = load(args.painter)
    return painter.filter(blend_of(painter, args.style or ()))


def blend_of(painter: Painter, texts: Sequence[str]) -> dict[str, float] | None:
    """NAME or NAME:WEIGHT, each -> name -> weight; None (the painter's first) where none is given.

    UserError for a style that the painter does not have, and for a picture's file.
    """
    found: dict[str, float] = {}
    for text in map(composed, texts):
        name, colon, number = text.rpartition(":")
        weight = 1.0
        if colon and text not in painter.styles:
            try:
                weight = float(number)
            except ValueError:
                name = text
        else:
            name = text
        if name not in painter.styles and Path(name).is_file():
            raise UserError(
                f"{name} is a picture, and a painter paints only in the styles that it learned: "
                "leave out --fast to paint by optimisation, or teach it by train style --add."
            )
        found[name] = found.get(name, 0.0) + weight
    painter.mixture(found or None)  # whose errors say what is wrong with it
    return found or None


# ---------------------------------------------------------------- the verb


def run_fast(args: argparse.Namespace) -> None:
    """Paint a picture, all pictures of a folder, or a film."""
    if args.threads is not None:
        device.set_up("cpu", args.threads, False)
    painter = load(args.painter).to(device.find(args.device or "auto"))
    content = Path(args.content)
    if args.sheet or args.strip:
        _sheets(painter, content, args)
        return
    mixture = painter.mixture(blend_of(painter, args.style or ()))
    if args.beside and not is_film(content):
        raise UserError("--beside shows a film beside its original: name a film as --content.")
    if os.path.isdir(content):
        _folder(painter, mixture, content, args)
    elif is_film(content):
        _film(painter, mixture, content, args)
    else:
        _picture(painter, mixture, content, args.out or _named(content, args, ".png"), args)


def _named(content: Path, args: argparse.Namespace, suffix: str) -> Path:
    """Where a painting goes that nobody named."""
    style = "-".join(text.partition(":")[0] for text in args.style or ("painted",))
    return recording(f"{content.stem}-{style}", suffix)


def _picture(
    painter: Painter, mixture: Tensor, content: Path, out: Path, args: argparse.Namespace
) -> None:
    check_suffix(out, args.bits)
    check_outputs({"--out": out}, [content])
    picture = to_batch(_sized(read_image(content), painter, args)).to(painter.device)
    painted = _colored(painter.painted(picture, mixture), picture, args)
    write_image(out, to_pixels(painted[0], args.bits))
    print(out)


def _colored(painted: Tensor, pictures: Tensor, args: argparse.Namespace) -> Tensor:
    """Paintings (N, 3, H, W), with --keep-colors in the colours of the pictures."""
    if not getattr(args, "keep_colors", False):
        return painted
    return recolored(brightness(painted), pictures).clamp_(0, 1)


def _sheets(painter: Painter, content: Path, args: argparse.Namespace) -> None:
    """Contents by styles, and from style to style."""
    styles = list(blend_of(painter, args.style or ()) or painter.styles)
    if args.strip and len(styles) < 2:
        raise UserError("--strip goes from style to style: name two or more, or none for all.")
    as_page = args.sheet is not None and args.sheet.suffix.lower() in PAGES
    for out in (None if as_page else args.sheet, args.strip):
        if out:
            check_suffix(out)
    files = sorted(content.iterdir()) if content.is_dir() else [content]
    check_outputs({"--sheet": args.sheet, "--strip": args.strip}, files)
    contents = []
    for path in files:
        try:
            contents.append((path.stem, _sized(read_image(path), painter, args, CELL_PX)))
        except UserError as error:
            if not content.is_dir():
                raise
            print(f"Left out: {error}", file=sys.stderr)
    if not contents:
        raise UserError(f"There is no picture in {content} that can be painted.")
    if as_page:
        write_sliders(args.sheet, painter, contents, styles)
    elif args.sheet:
        write_image(args.sheet, sheet(painter, contents, styles))
    if args.strip:
        write_image(args.strip, strip(painter, contents, styles))
    print(*filter(None, (args.sheet, args.strip)), sep="\n")


def _sized(
    pixels: np.ndarray, painter: Painter, args: argparse.Namespace, usual: int | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 with --size as its longer side, or what is usual, where there is any.

    UserError for a size that the painter cannot paint.
    """
    size = getattr(args, "size", None) or usual
    if size is None:
        return pixels
    if size < LEAST_PX:
        raise UserError(f"--size starts at {LEAST_PX} px, not {size}.")
    height, width = fitting(pixels.shape[0], pixels.shape[1], size)
    painter.check_memory(1, height, width)
    return to_pixels(resized(to_batch(pixels), (height, width))[0])


def _folder(painter: Painter, mixture: Tensor, folder: Path, args: argparse.Namespace) -> None:
    """Every picture in it, into a folder of its own; what cannot be painted is said, and left."""
    out = args.out or _named(folder.resolve(), args, "")
    check_outputs({"--out": out}, [folder])
    if out.suffix:
        raise UserError(f"The paintings of a folder go into a folder: --out {out.with_suffix('')}.")
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    made: set[str] = set()  # in one case of letters, as file systems may know no other
    for path in files:
        suffix = path.suffix if path.suffix.lower() in PICTURES else ".png"
        names = numbered(out / f"{path.stem}{suffix}")
        painting = next(name for name in names if name.name.casefold() not in made)
        try:
            _picture(painter, mixture, path, painting, args)
            made.add(painting.name.casefold())
        except UserError as error:
            if "Cannot write" in str(error) or "disk is full" in str(error):
                raise
            print(f"Left out: {error}", file=sys.stderr)
    if not made:
        raise UserError(f"There is no picture in {folder} that can be painted.")


def _film(painter: Painter, mixture: Tensor, content: Path, args: argparse.Namespace) -> None:
    """Frame by frame; its rate and, in an .mp4, its sound stay."""
    if args.bits != 8:
        raise UserError("Films have 8 bits: leave out --bits.")
    out = args.out or _named(content, args, content.suffix if content.suffix in FILMS else ".mp4")
    check_outputs({"--out": out}, [content])
    frames, fps = read_video(content)
    stage = Film(painter, mixture)
    sound = content if out.suffix.lower() == ".mp4" else None
    began = told = time.monotonic()
    with VideoWriter(out, fps, scale=1, sound=sound, fresh=args.out is None) as film:
        for some in _several(frames, painter.batch):
            pixels = np.stack([_sized(each, painter, args) for each in some])
            for before, after in zip(pixels, stage.paint(pixels), strict=True):
                shown = to_pixels(_colored(to_batch(after), to_batch(before), args)[0])
                film.write(Frame(np.hstack([before, shown]) if args.beside else shown))
            if time.monotonic() - told >= TOLD_SECONDS:
                told = time.monotonic()
                rate = film.frames / (told - began)
                print(f"{film.frames:,} frames, {rate:.1f} frames/s", file=sys.stderr, flush=True)
    print(f"{film.path}: {film.frames:,} frames at {fps:g} frames/s.")


def _several(frames: Iterator[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
    """`count` at a time; where they are given up before their end, what reads them ends too."""
    try:
        while some := list(islice(frames, count)):
            yield some
    finally:
        frames.close()  # type: ignore[attr-defined]
