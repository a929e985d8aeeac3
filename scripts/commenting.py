"""`watch --captions`: what happens, seen before painters change the picture, drawn behind them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from generators.caption import load
from generators.commentator import Commentator, draw
from playground import window
from playground.frames import Filter, Frame
from scripts.game_captions import news_of


def add_captions(parser: argparse.ArgumentParser) -> None:
    """The flag."""
    text = "say what happens, by the captioner that ships, or by the run or file named"
    parser.add_argument("--captions", nargs="?", const="", metavar="SOURCE", help=text)


def captions_filter(args: argparse.Namespace) -> Filter | None:
    """What sees the frames as the game drew them, and knows what to say."""
    if args.captions is None:
        return None
    live = not args.record and window.available()
    captioner = load(args.captions or None)
    return _Seeing(Commentator(captioner, live=live, news=news_of(captioner)))


@dataclass(frozen=True)
class _Seeing:
    """The commentator without its drawing: other filters come in between."""

    comment: Commentator

    def __call__(self, frame: Frame) -> Frame:
        return self.comment.see(frame)

    def close(self) -> None:
        """End its thread."""
        self.comment.close()


def captions_shown(args: argparse.Namespace) -> Filter | None:
    """What draws it."""
    return None if args.captions is None else draw
