"""Watching an agent: in a window with keys, or onto a film. The verb ``watch`` of ``play.py``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch

import agents
from agents.atari import FRAMES_PER_SECOND, action_names, resolve
from agents.overlay import overlay
from agents.screen import watch
from playground import signals, window
from playground.errors import UserError
from playground.frames import Filter, Frame, pump
from playground.media import VideoWriter, recording
from playground.run import Run
from scripts import following

FILM_SECONDS = 60.0  # of a film that nobody asked for

Stopped = Callable[[], bool]


def load_agent(source: str, game: str | None) -> agents.Agent:
    """The agent, its game known. `game` is for files that do not name theirs.

    UserError where it is not known, or is another one than the agent was trained on.
    """
    agent = agents.load(source)
    if agent.game is None and game is None:
        raise UserError(f"{source} does not say which game it plays: add --game NAME.")
    wanted = resolve(game or str(agent.game))
    if agent.game not in (None, wanted):
        raise UserError(f"{source} plays {agent.game}, not {wanted}.")
    if agent.actions != len(action_names(wanted)):
        raise UserError(
            f"{source} has {agent.actions} actions and {wanted} has {len(action_names(wanted))}: "
            "it was trained on another game."
        )
    agent.game = wanted
    return agent


def run_watch(args: argparse.Namespace) -> None:
    """Play in a window, or onto a film where one is asked for or there is no display."""
    if args.record and args.window:
        raise UserError("--record makes a film instead of the window: leave out --window.")
    torch.set_num_threads(1)  # for one observation at a time; a training beside it needs the others
    if args.follow:
        run = _followed(args)
        if run.task != "dqn":
            following.show(run, args.scale)
            return
    source, agent = _chosen(args)
    with args.make_filters(args) as args.filters:
        _play(args, agent, source)


def _play(args: argparse.Namespace, agent: agents.Agent, source: str) -> None:
    """On the film that is asked for, in a window, or else on a film."""
    if args.record:
        _record(args, agent, Path(args.record))
        return
    try:
        with _window(args, agent) as screen:
            if args.follow:
                following.lower_priority()
            _show(args, agent, source, screen)
    except _NoDisplay as error:
        if args.window or args.follow:  # a window or nothing
            raise UserError(str(error)) from None
        print("There is no display: recording a film instead (Ctrl-C ends it).", flush=True)
        args.seconds = args.seconds or (None if args.episodes else FILM_SECONDS)
        _record(args, agent, recording(f"{agent.game}", ".mp4"), fresh=True)


def _followed(args: argparse.Namespace) -> Run:
    """The run whose training --follow looks at."""
    if args.record or not os.path.isfile(Path(args.agent or "") / "config.json"):
        raise UserError("--follow is for a window, with --agent RUN of a training.")
    return Run.open(args.agent)


def _chosen(args: argparse.Namespace) -> tuple[str, agents.Agent]:
    """What to watch, by name, and as an agent."""
    game = args.named_game or args.game
    if args.named_game and args.game and resolve(args.named_game) != resolve(args.game):
        raise UserError(f"Two games are named, {args.game} and {args.named_game}; leave one out.")
    if args.follow:
        _wait_for(_newest(args.agent))
        return args.agent, load_agent(str(_newest(args.agent)), game)
    if args.agent is None and game is not None and resolve(game) not in agents.zoo():
        raise UserError(
            f"The zoo has no agent for {resolve(game)}. Train one (python scripts/play.py train "
            f"dqn --game {resolve(game)}), or watch zoo:{', zoo:'.join(agents.zoo())}."
        )
    source = args.agent or f"zoo:{resolve(game or 'pong')}"
    return source, load_agent(source, game)


def _newest(run: str) -> Path:
    return Path(run) / "last.safetensors"


def _wait_for(path: Path) -> None:
    if not path.exists():
        following.need_display("--follow needs a display.")  # before it waits, perhaps for long
        print(f"Waiting for the training's first agent, {path}.", flush=True)
    while not path.exists():
        Run.open(path.parent)  # UserError where somebody has removed it
        time.sleep(0.5)


def _frames(args: argparse.Namespace, agent: agents.Agent, **more: Any) -> Iterator[Frame]:
    options = {"protocol": args.protocol, "seed": args.seed, "epsilon": args.epsilon}
    return watch(agent, agent.game, **{**options, **more})


def _panel(agent: agents.Agent) -> Filter:
    assert agent.game is not None
    return overlay(agent.game, action_names(agent.game))


@contextlib.contextmanager
def _stopping(then: Callable[[], None] = lambda: None) -> Iterator[Stopped]:
    """Whether a signal came (see `signals.caught`): it lets the frame in hand be finished, a second
    one does not. Afterwards, KeyboardInterrupt where one came. `then` is called at once.
    """
    asked = threading.Event()

    def ask() -> str:
        asked.set()
        then()
        return ""

    with signals.caught(ask):
        yield asked.is_set
    if asked.is_set():
        raise KeyboardInterrupt


# Films.


def _record(args: argparse.Namespace, agent: agents.Agent, path: Path, fresh: bool = False) -> None:
    """One game, or as many --episodes or --seconds as asked for; then where the film is."""
    episodes = args.episodes or (None if args.seconds else 1)
    length = args.seconds and round(args.seconds * FRAMES_PER_SECOND)
    returns: dict[int, float] = {}
    back = "\r" if sys.stdout.isatty() else ""
    with _stopping() as stopped:
        with VideoWriter(path, FRAMES_PER_SECOND, args.scale, fresh=fresh) as film:

            def note(frame: Frame) -> Frame:
                returns[frame.facts["episode"]] = frame.facts["return"]
                if back and film.frames % FRAMES_PER_SECOND == 0:
                    print(f"{back}{film.frames // FRAMES_PER_SECOND} s ", end="", flush=True)
                return frame

            def going() -> Iterator[Frame]:
                for frame in _frames(args, agent, episodes=episodes):
                    if stopped() or film.frames == length:
                        return
                    yield frame

            panel = [_panel(agent)] if args.overlay else []
            pump(going(), [note, *args.filters, *panel], [film])
        if film.frames:
            scores = ", ".join(f"{score:g}" for score in returns.values())
            scores += " so far" if stopped() or film.frames == length else ""
            seconds = film.frames / FRAMES_PER_SECOND
            print(
                f"{back}{film.path}: {seconds:.1f} s of {agent.game}, return {scores}.", flush=True
            )


class Recorder:
    """A sink that records while it is on; a new film begins where the picture's size changes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say  # of the window's help line
        self.name = ""  # films are called after the game
        self._on = False
        self._film: VideoWriter | None = None
        self._shape: tuple[int, ...] = ()

    def toggle(self) -> None:
        """Begin to record, or end it."""
        self.close()
        self._on = not self._on
        self.say("recording" if self._on else "")

    def write(self, frame: Frame) -> None:
        if not self._on:
            return
        try:
            if self._film is None or frame.pixels.shape != self._shape:
                self.close()
                stem = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}"
                path = recording(stem, ".mp4")
                self._film = VideoWriter(path, FRAMES_PER_SECOND, fresh=True)
                self._shape = frame.pixels.shape
            self._film.write(frame)
        except UserError as error:  # the game need not end with it
            print(error, file=sys.stderr, flush=True)
            if self._film is not None:
                self._film.discard()
            self._film, self._on = None, False
            self.say("cannot record")

    def close(self) -> None:
        """Finish the film, if there is one, and say where it is."""
        film, self._film = self._film, None
        if film is not None:
            film.close()
            print(f"Recorded {film.path}.", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# The window.


class _NoDisplay(Exception):
    """No window could be opened; the message says why, for the user."""


@contextlib.contextmanager
def _window(args: argparse.Namespace, agent: agents.Agent) -> Iterator[window.Window]:
    """A window that has proved to work: some displays fail only when a picture is shown."""
    if not (args.window or args.follow or window.available()):
        raise _NoDisplay
    first = next(_frames(args, agent))
    try:
        screen = window.Window("playground", fps=FRAMES_PER_SECOND, scale=args.scale)
    except UserError as error:
        raise _NoDisplay(str(error)) from None
    with screen:
        # The window takes the size of what will be shown; filters see this frame twice.
        for change in [*args.filters, *([_panel(agent)] if args.overlay else [])]:
            first = change(first)
        try:
            screen.write(first)
        except UserError as error:
            raise _NoDisplay(str(error)) from None
        yield screen


def _show(
    args: argparse.Namespace, agent: agents.Agent, source: str, screen: window.Window
) -> None:
    """Games in the window until the user has seen enough, or --episodes or --seconds are over."""
    circle = [source, *(f"zoo:{name}" for name in agents.zoo() if f"zoo:{name}" != source)]
    player = Player(screen, args.overlay, args.seconds, args.filters)
    place, seed, own = 0, args.seed, agent

    def unpause() -> None:
        screen.paused = False

    with _stopping(unpause) as stopped, player.recorder:
        while True:
            follow = _newest(source) if args.follow and place == 0 else None
            stream = _frames(args, agent, seed=seed, episodes=args.episodes, control=player.control)
            if player.play(stream, agent, circle[place], stopped, follow) != "next":
                return
            place, seed = (place + 1) % len(circle), seed + 1
            agent = own if place == 0 else load_agent(circle[place], None)


class Player:
    """What the window's keys do to the game: panel, recording, human takeover, next, quit."""

    def __init__(
        self,
        screen: window.Window,
        show_panel: bool,
        seconds: float | None,
        filters: Sequence[Filter] = (),
    ) -> None:
        self.window, self.show_panel, self.filters = screen, show_panel, filters
        self.recorder = Recorder(self._say)
        self.frames_left = None if seconds is None else round(seconds * FRAMES_PER_SECOND)
        self.held: frozenset[str] = frozenset()  # since the agent's last step
        self.asked = ""  # "next" or "quit"
        self.names: tuple[str, ...] = ()
        self.panel: Filter = lambda frame: frame

    def play(
        self,
        stream: Iterator[Frame],
        agent: agents.Agent,
        source: str,
        stopped: Stopped,
        follow: Path | None,
    ) -> str:
        """Show a game to its end; why it ended: "next", "quit" or "over".

        `follow` is a weights file: whenever it is written anew, its network takes over.
        """
        assert agent.game is not None
        self.recorder.name, self.names = agent.game, action_names(agent.game)
        self.panel, self.asked = _panel(agent), ""
        self._entitle(agent, source)

        def going() -> Iterator[Frame]:
            seen = 0
            for number, frame in enumerate(stream):
                if self.asked or stopped() or self.frames_left == 0:
                    return
                if self.frames_left is not None:
                    self.frames_left -= 1
                if follow and number % FRAMES_PER_SECOND == 0 and follow.exists():
                    newest = follow.stat().st_mtime_ns
                    if newest != seen:
                        seen, loaded = newest, agents.load(follow)
                        agent.network, agent.card = loaded.network, loaded.card
                        self._entitle(agent, source)
                yield frame

        pump(going(), [self._filter], [self.recorder, self.window])
        self._read_keys()
        return self.asked or "over"

    def control(self) -> int | None:
        """The action of the human who has taken over, else None; asked once an agent step."""
        held, self.held = self.held, frozenset()
        return joystick(held, self.names) if self.window.human else None

    def _entitle(self, agent: agents.Agent, source: str) -> None:
        steps = agent.card.get("trained_agent_steps")
        trained = f" ({steps:,} agent steps)" if isinstance(steps, int) else ""
        self.window.title = f"{agent.game}: {source}{trained}"

    def _say(self, text: str) -> None:
        self.window.status = text

    def _filter(self, frame: Frame) -> Frame:
        self._read_keys()
        for change in self.filters:
            frame = change(frame)
        return self.panel(frame) if self.show_panel else frame

    def _read_keys(self) -> None:
        keys = self.window.poll()
        self.held |= keys.held
        if "overlay" in keys.pressed:
            self.show_panel = not self.show_panel
        if "record" in keys.pressed:
            self.recorder.toggle()
        for command in ("next", "quit"):
            if command in keys.pressed:
                self.asked = command


def joystick(held: frozenset[str], action_names: tuple[str, ...]) -> int:
    """The action nearest to the keys held (up, down, left, right, fire), by its index.

    Games without up and down take them for right and left: Pong's RIGHT moves its paddle up.
    """
    vertical = {(True, False): "UP", (False, True): "DOWN"}.get(("up" in held, "down" in held), "")
    sideways = ("right" in held, "left" in held)
    horizontal = {(True, False): "RIGHT", (False, True): "LEFT"}.get(sideways, "")
    if vertical and not {"UP", "DOWN"} & set(action_names):
        horizontal = horizontal or {"UP": "RIGHT", "DOWN": "LEFT"}[vertical]
        vertical = ""
    fire = "FIRE" if "fire" in held else ""
    moves = (vertical + horizontal, vertical, horizontal)
    for name in (*(move + fire for move in moves), *moves, "NOOP"):
        if name in action_names:
            return action_names.index(name)
    return 0
