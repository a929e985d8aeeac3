"""Frames live in a window, with keys. pygame lives here, lazily; a sink like any other.

The window itself pauses, steps and changes speed; every other key is reported by `poll()`, and
what it means is the caller's affair. One window per process, used from the main thread (macOS).
"""

import os
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from playground.errors import UserError
from playground.frames import Frame
from playground.media import PANEL, draw_text, text_width

# Key -> command; what `pygame.key.name` calls the key.
COMMANDS = {
    "space": "pause",
    "p": "pause",
    "n": "step",
    ".": "step",
    "+": "faster",
    "=": "faster",  # where + is shift and =
    "[+]": "faster",
    "-": "slower",
    "[-]": "slower",
    "o": "overlay",
    "r": "record",
    "h": "takeover",
    "tab": "next",
    "escape": "quit",
    "q": "quit",
}
HELP = {
    "space": "pause",
    "n": "step",
    "+/-": "speed",
    "o": "overlay",
    "r": "record",
    "h": "play yourself",
    "tab": "next game",
    "esc": "quit",
}
HELP_HUMAN = {"arrows": "move", "space": "fire", "p": "pause", "h": "agent plays"}
JOYSTICK = {"up": "up", "down": "down", "left": "left", "right": "right"}
JOYSTICK |= {"left ctrl": "fire", "right ctrl": "fire"}
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LETTERS_PX = 14
MIN_WIDTH_PX = 480  # of a new window, so that the help takes two lines at most
NOWHERE = ("dummy", "offscreen")  # SDL's drivers that show nothing


@dataclass(frozen=True)
class Commands:
    """Keys since the last poll: `pressed` holds commands, `held` joystick directions and fire.

    Commands: pause, step, faster, slower, overlay, record, takeover, next, quit, and the caller's
    own. Held: up, down, left, right, fire; a tap between two polls counts as held once.
    """

    pressed: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


def available() -> bool:
    """Whether the user has a display. Opens nothing; a display that is not theirs may still fail
    later, as UserError, when the window opens.
    """
    if os.environ.get("SDL_VIDEODRIVER", "") in NOWHERE:
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def layout(frame: tuple[int, int], room: tuple[int, int]) -> tuple[int, int, bool]:
    """The (width, height) at which a frame of (width, height) fills `room`, aspect kept.

    Whole multiples are preferred, since they keep pixels square; where one would leave more than a
    quarter of the room's length empty, any size is taken. The bool: whether it is a whole multiple.
    """
    factor = min(room[0] / frame[0], room[1] / frame[1])
    whole = int(factor)
    if whole >= 0.75 * factor:  # never for whole == 0
        return frame[0] * whole, frame[1] * whole, True
    return max(1, round(frame[0] * factor)), max(1, round(frame[1] * factor)), False


class Window:
    """A sink that shows frames at `fps`; `write` answers False once the user has quit.

    Args:
        title: of the window; may be assigned anew.
        fps: frames per second at speed 1.
        scale: enlargement of the first frame; None: as large as fits well on the screen, at most 4.
        shown: which keys of HELP the help line names; all work.
        keys: further keys to report, by `pygame.key.name`, and the command that each one is, which
            the help line shows too: {"d": "dream"}.

    `paused`, `speed` and `human` (takeover: space fires instead of pausing) may be read and set;
    `status` is a word or two to show beside the help, such as "recording".

    Raises UserError where no window can be opened.
    """

    def __init__(
        self,
        title: str,
        fps: float = 60,
        scale: int | None = None,
        keys: Mapping[str, str] | None = None,
        shown: Collection[str] = HELP.keys(),
    ) -> None:
        self.title, self.fps, self.scale = title, fps, scale
        self._shown = {key: what for key, what in HELP.items() if key in shown}
        self.keys = dict(keys or {})
        self.paused, self.human, self.status = False, False, ""
        self.speed = 1.0
        self._quit = False
        self._let_through = False  # while paused: a step, or a key that the caller acts on
        self._pressed: set[str] = set()
        self._tapped: set[str] = set()
        self._down: set[str] = set()
        self._due = self._drawn = 0.0  # seconds of time.perf_counter
        self._frame: Frame | None = None  # the newest
        self._help: tuple[Any, ...] = ()  # (what it was made for, surface)
        self._caption = ""
        self._pygame = self._open()

    def _open(self) -> Any:
        chosen = os.environ.get("SDL_VIDEODRIVER", "")
        advice = "Record a film instead: --record FILE.mp4."
        if not chosen and not available():
            raise UserError(f"There is no display to open a window on. {advice}")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        try:
            pygame.display.init()
        except pygame.error as error:
            raise UserError(
                f"No window can be opened on this display ({error}). {advice}"
            ) from None
        driver = pygame.display.get_driver()
        if driver in NOWHERE and driver != chosen:  # SDL's last resort
            pygame.display.quit()
            raise UserError(f"No window can be opened on this display. {advice}")
        return pygame

    def write(self, frame: Frame) -> bool:
        """Show a frame for its time. While paused, return only for a step or a key that the caller
        acts on; such a key lets one frame through, so that its effect is seen.
        """
        if self._quit:
            return False
        if self._frame is None:
            self._create(frame)
        self._frame = frame
        # Faster than real time, what the eye cannot follow is not drawn.
        if self.speed <= 1 or self.paused or time.perf_counter() - self._drawn >= 1 / self.fps:
            self._draw()
        self._let_through = False  # a key from before this frame has had its frame now
        self._handle()
        # Frames are due at fixed distances (a sleep of fixed length would run slow); what was lost
        # beyond a tenth of a second is not made up for.
        self._due = max(self._due, time.perf_counter() - 0.1) + 1 / (self.fps * self.speed)
        time.sleep(max(0.0, self._due - time.perf_counter()))
        while self.paused and not self._quit and not self._let_through:
            time.sleep(0.01)
            self._handle()
        return not self._quit

    def poll(self) -> Commands:
        """What was pressed since the last poll, and what is held."""
        self._handle()
        commands = Commands(frozenset(self._pressed), frozenset(self._held() | self._tapped))
        self._pressed.clear()
        self._tapped.clear()
        return commands

    def close(self) -> None:
        """Close the window. Called again, does nothing."""
        self._quit = True
        self._pygame.display.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _create(self, frame: Frame) -> None:
        pygame = self._pygame
        scale = self.scale
        if scale is None:
            width, height = pygame.display.get_desktop_sizes()[0]
            fits = min(0.9 * width / frame.width, 0.85 * height / frame.height)
            scale = max(1, min(4, int(fits)))
        width = max(MIN_WIDTH_PX, frame.width * scale)
        height = frame.height * scale + self._help_line(width).get_height()
        try:
            pygame.display.set_mode((width, height), pygame.RESIZABLE)
        except pygame.error as error:
            raise UserError(
                f"No window can be opened on this display ({error}). Record a film instead: "
                "--record FILE.mp4."
            ) from None

    def _draw(self) -> None:
        pygame, frame = self._pygame, self._frame
        if frame is None:
            return
        if self.title != self._caption:
            pygame.display.set_caption(self.title)
            self._caption = self.title
        surface = pygame.display.get_surface()
        width, height = surface.get_size()
        line = self._help_line(width)
        room = (width, max(1, height - line.get_height()))
        *size, whole = layout((frame.width, frame.height), room)
        enlarge = pygame.transform.scale if whole else pygame.transform.smoothscale
        surface.fill((0, 0, 0))
        place = ((room[0] - size[0]) // 2, (room[1] - size[1]) // 2)
        surface.blit(enlarge(self._surface(frame.pixels), size), place)
        surface.blit(line, (0, room[1]))
        pygame.display.flip()
        self._drawn = time.perf_counter()

    def _surface(self, pixels: np.ndarray) -> Any:
        return self._pygame.image.frombuffer(pixels.tobytes(), pixels.shape[1::-1], "RGB")

    def _help_line(self, width: int) -> Any:
        """The help as a surface of `width`, in as many lines as it takes."""
        state = ["paused"] if self.paused else []
        state += [f"speed {self.speed:g}"] if self.speed != 1 else []
        state += [self.status] if self.status else []
        keys = self._shown | self.keys
        if self.human:
            keys = HELP_HUMAN | {key: keys[key] for key in keys if key not in ("space", "h")}
        words = [", ".join(state).upper()] if state else []
        words += [f"[{key}] {what}" for key, what in keys.items()]
        if self._help and self._help[0] == (width, words):
            return self._help[1]
        lines = [""]
        for word in words:
            longer = f"{lines[-1]}   {word}" if lines[-1] else word
            if lines[-1] and text_width(longer, LETTERS_PX) > width - 16:
                lines.append(word)
            else:
                lines[-1] = longer
        empty = np.full((len(lines) * (LETTERS_PX + 2) + 10, width, 3), PANEL, np.uint8)
        surface = self._surface(draw_text(empty, lines, (8, 4), LETTERS_PX))
        self._help = ((width, words), surface)
        return surface

    def _handle(self) -> None:
        """Take in what happened since the last time."""
        pygame = self._pygame
        if not pygame.display.get_init():
            return
        before = (self.paused, self.speed, self.human)
        stale = False
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self._press("quit")
            elif event.type == pygame.KEYDOWN:
                name = pygame.key.name(event.key)
                self._down.add(name)
                self._tapped |= self._joystick(name)
                command = (COMMANDS | self.keys).get(name)
                if command and not (self.human and name == "space"):
                    self._press(command)
            elif event.type == pygame.KEYUP:
                self._down.discard(pygame.key.name(event.key))
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._down.clear()  # their releases go to another window
            elif event.type in (pygame.WINDOWEXPOSED, pygame.WINDOWSIZECHANGED):
                stale = True
        if stale or before != (self.paused, self.speed, self.human):
            self._draw()

    def _press(self, command: str) -> None:
        self._pressed.add(command)
        self._let_through |= command not in ("pause", "faster", "slower")
        if command == "pause":
            self.paused = not self.paused
        elif command == "step":
            self.paused = True
        elif command == "quit":
            self._quit = True
        elif command == "takeover":
            self.human = not self.human
        elif command in ("faster", "slower"):
            place = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
            place += 1 if command == "faster" else -1
            self.speed = SPEEDS[min(max(place, 0), len(SPEEDS) - 1)]

    def _joystick(self, key: str) -> set[str]:
        if key == "space" and self.human:
            return {"fire"}
        return {JOYSTICK[key]} if key in JOYSTICK else set()

    def _held(self) -> set[str]:
        return set().union(*(self._joystick(key) for key in self._down))
