"""The playground's command line: watch agents play, train them and classifiers, score them.

    python scripts/play.py                              watch the agent that ships play Pong
    python scripts/play.py train dqn --game breakout --hours 8
    python scripts/play.py watch --agent runs/dqn/NAME --follow
    python scripts/play.py train classify --data mnist:DIR --preset digits
    python scripts/play.py evaluate zoo:pong --episodes 30 --json

The only place that names every task. A user's mistake ends in one sentence and exit status 2.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

# While all of it is imported Ctrl-C just ends it, unless who started it does not want it heard.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# So that this checkout's rooms are found, with `python scripts/play.py` from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import agents
from agents.atari import PROTOCOLS
from generators import cards
from playground import gallery, signals
from playground.device import prepare_process
from playground.errors import UserError, nearest
from scripts.captioning import add_caption, run_caption
from scripts.dreaming import add_dream, run_dream
from scripts.filters import add_filters
from scripts.painting import add_paint, run_paint
from scripts.progress import counted
from scripts.reporting import add_report, run_report
from scripts.scoring import dumps, run_evaluate
from scripts.train_caption import CAPTION
from scripts.train_classify import CLASSIFY
from scripts.train_dcgan import DREAMS
from scripts.train_dqn import DQN, run_train_dqn
from scripts.train_style import STYLE
from scripts.training import add_training
from scripts.watching import run_watch


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    prepare_process()
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show spoils nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "watch")
    try:
        args = _parser().parse_args(words)
        args.words = words
        args.run(args)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop if stop.args else "Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# ---------------------------------------------------------------- gallery, zoo


def run_gallery(args: argparse.Namespace) -> None:
    """One self-contained page of runs."""
    paths = args.run_paths or sorted(p.parent for p in args.runs.glob("*/*/config.json"))
    if not paths:
        raise UserError(f"There is no run in {args.runs}; name the runs to show.")
    gallery.write_page(paths, args.out)
    print(args.out)


def run_zoo(args: argparse.Namespace) -> None:
    """The agents and the generators that ship."""
    known, made = agents.cards(), cards.cards()
    if args.json:
        print(dumps({**known, **made}))
        return
    for name, card in known.items():
        print(f"zoo:{name}")
        for rules, result in card["scores"].items():
            low, high = result["interval"]
            games = counted(len(result["returns"]), "game")
            print(f"  {rules:8} {result['mean']:8.1f}  ({low:.1f} to {high:.1f}, {games}, "
                  f"epsilon {result['epsilon']:g})")  # fmt: skip
        print(f"  trained  {card['frames']:,} frames, {card['minutes']:.0f} minutes "
              f"on {card['hardware']}")  # fmt: skip
        print(f"  by       {card['command']}")
    for name, card in made.items():
        first, *others = cards.told(card)
        print(f"zoo:{name}  {first}")
        for line in others:
            print(f"  {line}")
        print(f"  trained  {card['updates']:,} updates, {card['minutes']:.0f} minutes "
              f"on {card['hardware']}")  # fmt: skip
        print(f"  by       {card['command']}")


# ---------------------------------------------------------------- the command line


class _Parser(argparse.ArgumentParser):
    """Its errors are sentences like all others, without the usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        """Argparse's. A verb's parser is asked first, which knows its flags: it refuses others."""
        found, unknown = super().parse_known_args(*given, **named)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            meant = nearest(unknown[0].split("=")[0], flags, 1)
            raise UserError(f"Unknown argument {unknown[0]} (see {self.prog} --help).{meant}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    """A parser of whole numbers or numbers within bounds, for argparse."""
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {low:,} to {high:,}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="play.py",
        description="Watch, train and score agents that play Atari from pixels. Without a verb: "
        "watch the agent that ships play Pong.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], None], help: str) -> Any:
        made = verbs.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    def rules(made: argparse.ArgumentParser, default: str | None, which: str) -> None:
        add = made.add_argument
        add("--protocol", choices=tuple(PROTOCOLS), default=default,
            help=f"rules of play (default {which})")  # fmt: skip
        add("--epsilon", type=_number(float, 0, 1),
            help="part of random actions, 0 to 1 (default the agent's own: that of its training's "
            "evaluations, 0.01 for the zoo's agents; 0 for those of other projects)")  # fmt: skip
        add("--seed", type=_number(int, 0, 2**31 - 1), default=0,
            help="of emulators and exploration (default 0)")  # fmt: skip

    watching = verb(
        "watch",
        run_watch,
        "Watch an agent play in a window, or on film where there is no display.",
    )
    add = watching.add_argument
    add("game", nargs="?", help="a game of the zoo (default pong), or the game of --agent FILE")
    add("--agent", help="zoo:NAME, a run directory, or an agent's file")
    add("--game", dest="named_game", metavar="GAME", help="for files that do not name their game")
    add("--follow", action="store_true", help="with --agent RUN: always a training's newest agent")
    rules(watching, None, "those it was trained under")
    add("--record", metavar="FILE", help="a film, .mp4 or .gif, instead of the window")
    add("--window", action="store_true", help="a window or nothing: no film without a display")
    add("--episodes", type=_number(int, 1, 10**6),
        help="games to play (default: a film has one, a window goes on)")  # fmt: skip
    add("--seconds", type=_number(float, 0.1, 86400), help="end after so many seconds of play")
    add("--scale", type=_number(int, 1, 16),
        help="enlargement (default: a window's as fits, an .mp4's 2, a .gif's 1)")  # fmt: skip
    add("--overlay", action=argparse.BooleanOptionalAction, default=True,
        help="Q-values, return and epsilon beside the game (default on)")  # fmt: skip
    add_filters(watching)

    training = verbs.add_parser("train", help="Train.", description="Train, or go on training.")
    tasks = training.add_subparsers(metavar="TASK", required=True)
    add_training(tasks, DQN, run_train_dqn)
    add_training(tasks, CLASSIFY)
    add_training(tasks, DREAMS)
    add_training(tasks, STYLE)
    add_training(tasks, CAPTION)

    scoring = verb(
        "evaluate",
        run_evaluate,
        "Score an agent over whole games, or classifiers on test pictures.",
    )
    add = scoring.add_argument
    text = "zoo:NAME, a run directory, or a file; several classifiers are an ensemble"
    add("sources", nargs="+", metavar="SOURCE", help=text)
    add("--data", metavar="SPEC", help="classifiers: the pictures (default: those of the run)")
    text = "classifiers: all pictures of a folder, not only the fifth that trainings leave out"
    add("--all", action="store_true", help=text)
    text = "classifiers: looks at each picture, all but one at augmented copies (default 1)"
    add("--views", type=_number(int, 1, 1000), default=1, help=text)
    add("--game", help="for files that do not name their game")
    add("--episodes", type=_number(int, 1, 10**6), default=30, help="games (default 30)")
    add("--json", action="store_true", help="one JSON object")
    rules(scoring, "machado", "machado")
    text = "where to compute (default auto: CUDA, MPS or CPU)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=text)
    of_games = ("game", "episodes", "protocol", "epsilon", "seed")
    scoring.set_defaults(of_games={name: scoring.get_default(name) for name in of_games})

    add_dream(verb("dream", run_dream, "Dream pictures with a trained generator."))

    add_paint(verb("paint", run_paint, "Paint a photo in the style of paintings."))

    add_caption(verb("caption", run_caption, "Say what is in pictures and films."))

    add_report(verb("report", run_report, "What DQN runs reached: curves, scores, intervals."))

    page = verb("gallery", run_gallery, "One self-contained HTML page of runs.")
    add = page.add_argument
    add("run_paths", nargs="*", type=Path, metavar="RUN", help="run directories (default: all)")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="of all runs (default runs)")
    add("--out", type=Path, default=Path("gallery.html"), metavar="FILE",
        help="the page (default gallery.html)")  # fmt: skip

    listing = verb("zoo", run_zoo, "List the agents and generators that ship.")
    listing.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _end(number: int, frame: Any) -> NoReturn:
    """What else than Ctrl-C ends a command: a terminal that closes, too, whose shell may send its
    signal once more while the film is finished.
    """
    signals.forget_readers()
    if number == signals.HANGUP:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signals.NUMBERS:  # as Ctrl-C: films are finished
        if number != signal.SIGINT and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    sys.exit(main())
