"""`caption`: what is in pictures and films: in words, as JSON, with where each word looked."""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from generators.caption import load
from generators.caption_views import attention_film, attention_sheet
from generators.captioner import PHOTOS, Caption, Captioner, ships
from generators.commentator import Commentator, draw
from playground import subtitles
from playground.device import find
from playground.errors import UserError
from playground.frames import Frame, pump
from playground.media import (
    FILMS,
    VideoWriter,
    check_apart,
    check_film,
    check_suffix,
    is_film,
    read_image,
    read_video,
    recording,
    same_file,
    write_image,
)
from scripts.game_captions import news_of
from scripts.progress import counted
from scripts.scoring import dumps

SCREEN = (210, 160)  # height and width of the console's pictures, which are often enlarged
FILM_FPS = 30  # of attention films
WORD_S = 0.4  # that a word stays there


def run_caption(args: argparse.Namespace) -> None:
    """A line for each picture; a film gets its captions burnt in, and a subtitle file."""
    first = args.pictures[0]
    alone = len(args.pictures) == 1 and not os.path.isdir(first)
    films = [path for path in args.pictures if is_film(path) and not os.path.isdir(path)]
    if films and (not alone or args.attention):
        raise UserError("One film at a time, and --attention is for a picture.")
    if args.attention and not alone:
        raise UserError("--attention shows one picture; name one.")
    if args.out and not films:
        raise UserError("--out is for a film; pictures' captions are printed.")
    if args.attention:
        check_apart(args.attention, first, flag="--attention")
        if args.attention.suffix.lower() not in FILMS:
            check_suffix(args.attention)

    @functools.cache
    def loaded(source: str | None) -> Captioner:
        found = load(source, args.encoder)
        found.parts.to(find(args.device))
        return found

    if films:
        _caption_film(args, loaded(args.captioner), first)
        return
    rows = []
    for path, picture in _pictures(args.pictures):
        captioner = loaded(args.captioner or _usual(picture, args.register))
        (found,) = captioner.look(picture, args.register, args.beam)
        if args.attention:
            _draw_attention(args.attention, captioner.seen(picture), found)
        if args.json:
            rows.append(_plain(path, found))
        else:
            print(found.text if alone else f"{path}: {found.text}", flush=True)
    if args.json:
        print(dumps(rows))
    elif args.attention:
        print(args.attention)


def _pictures(paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    """Those that are named, and those of folders.

    That the named ones can all be read is seen before the first is given; none is kept.
    """
    named = [path for path in paths if not os.path.isdir(path)]
    if len(named) > 1:
        for path in named:
            read_image(path)
    for path in paths:
        if os.path.isdir(path):
            yield from _of_folder(path)
        else:
            yield path, read_image(path)


def _of_folder(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Its pictures, by name; in the end a line says how many files are none."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    shown = [file for file in files if not file.name.startswith(".")]  # what systems leave behind
    left: list[UserError] = []
    for file in shown:
        try:
            picture = read_image(file)
        except UserError as error:
            left.append(error)
        else:
            yield file, picture
    if len(left) == len(shown):
        raise UserError(f"There is no picture in {folder} that can be read.")
    if left:
        count = counted(len(shown), "file")
        print(f"Left out {len(left):,} of {count} in {folder}: {left[0]}", file=sys.stderr)


def _usual(picture: np.ndarray, register: str | None) -> str | None:
    """The captioner for a picture where none is named: None, that of games, or that of photos."""
    times = picture.shape[0] // SCREEN[0]
    of_game = picture.shape[:2] == (times * SCREEN[0], times * SCREEN[1]) or register is not None
    return None if of_game or not ships(PHOTOS) else f"zoo:{PHOTOS}"


def _plain(path: Path, found: Caption) -> dict[str, Any]:
    return {
        "picture": str(path),
        "caption": found.text,
        "score": found.score,
        "words": found.words,
        "attention": np.round(found.attention.astype(float), 4).tolist(),
    }


def _draw_attention(path: Path, picture: np.ndarray, found: Caption) -> None:
    """As a sheet, or as a film by the file's suffix."""
    if path.suffix.lower() not in FILMS:
        write_image(path, attention_sheet(picture, found))
        return
    with VideoWriter(path, FILM_FPS, 1) as film:
        for frame in attention_film(picture, found, round(WORD_S * FILM_FPS)):
            film.write(frame)


def _game(pixels: np.ndarray) -> np.ndarray:
    """A film's picture (H, W, 3) without the panel that `watch --record` sets beside the game."""
    height, width = pixels.shape[:2]
    game = height * SCREEN[1] // SCREEN[0]
    return pixels[:, :game] if height % SCREEN[0] == 0 and width > game else pixels


def _check_subtitles(out: Path, source: Path) -> None:
    """UserError where the subtitles of `out` would take the place of the source's own.

    What was made here before may be made again: then they are younger than their film.
    """
    text = subtitles.beside(out)
    if not text.exists() or not same_file(text, subtitles.beside(source)):
        return
    if not out.exists() or text.stat().st_mtime < out.stat().st_mtime:
        raise UserError(f"{text} stands for the subtitles of {source}; name another with --out.")


def _caption_film(args: argparse.Namespace, captioner: Captioner, path: Path) -> None:
    """The film with its captions and its sound, and beside it a subtitle file."""
    out = args.out or recording(f"{path.stem}-captions", ".mp4")
    check_film(out)
    check_apart(out, path)
    _check_subtitles(out, path)
    pictures, fps = read_video(path)
    sound = path if out.suffix.lower() == ".mp4" else None
    with closing(pictures):  # type: ignore[type-var]
        comment = Commentator(captioner, args.register, args.beam, fps, news=news_of(captioner))
        games = tuple(captioner.plan.size) == SCREEN

        def look(frame: Frame) -> Frame:
            pixels = _game(frame.pixels) if games else frame.pixels
            return draw(replace(frame, facts=comment.see(replace(frame, pixels=pixels)).facts))

        with VideoWriter(out, fps, 1, sound, fresh=args.out is None) as film:
            try:
                pump(map(Frame, pictures), [look], [film])
            except KeyboardInterrupt:
                if not film.frames:
                    raise
                done = f"{out} has the first {film.frames / fps:.1f} s"
                raise KeyboardInterrupt(f"Interrupted: {done}.") from None
            comment.close()
            film.lines = comment.lines  # where no clip was seen, one that no frame shows
    out = film.path
    text = subtitles.beside(out) if film.lines else None
    if args.json:
        lines = [
            {"start": line.start / fps, "end": line.end / fps, "caption": line.text}
            for line in comment.lines
        ]
        print(dumps({"film": str(out), "subtitles": text and str(text), "lines": lines}))
        return
    for line in comment.lines:
        minutes, seconds = divmod(math.floor(line.start / fps), 60)
        print(f"{minutes}:{seconds:02}  {line.text}")
    print(*filter(None, (out, text)), sep="\n")


def add_caption(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add = verb.add_argument
    text = "picture files, folders of them, or one film (.mp4, .gif, .mov, .mkv, .webm, ...)"
    add("pictures", nargs="+", type=Path, metavar="PICTURE", help=text)
    text = (
        "a run of train caption, a captioner's file, or zoo:NAME (default: zoo:games for films, "
        "for pictures of 160x210 or a whole multiple of it, and with --register; for others "
        "zoo:photos, where it ships)"
    )
    add("--captioner", metavar="SOURCE", help=text)
    text = "the encoder's weights, for a captioner that names published ones (default: fetched)"
    add("--encoder", type=Path, metavar="FILE", help=text)
    add("--register", metavar="NAME", help="its way of speaking, such as describe or comment")
    add("--beam", type=int, default=3, help="width of the search for words (default 3)")
    text = "where each word looked: a sheet (.png, .jpg) or a film (.mp4, .gif)"
    add("--attention", type=Path, metavar="OUT", help=text)
    text = "a film with its captions burnt in; its subtitles lie beside it (default recordings/)"
    add("--out", type=Path, metavar="FILE", help=text)
    add("--json", action="store_true", help="JSON, with scores and attention")
    text = "where to compute (default auto: CUDA, MPS or CPU)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=text)
