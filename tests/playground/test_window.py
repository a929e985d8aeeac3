import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from playground.errors import UserError
from playground.frames import Frame, pump
from playground.window import Commands, Window, available, layout

ORANGE = (213, 130, 74)


def picture(height=210, width=160):
    return Frame(np.full((height, width, 3), ORANGE, np.uint8))


@pytest.fixture
def dummy(monkeypatch):
    """SDL's driver without a screen: keys are posted as events."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    return pytest.importorskip("pygame")


def press(pygame, *names, release=True):
    for name in names:
        key = pygame.key.key_code(name)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        if release:
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))


# Without a display


def test_available_asks_the_environment_only(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not available()
    with pytest.raises(UserError, match="--record"):
        Window("none")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert available()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert not available()
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available()


@pytest.mark.skipif(sys.platform != "linux", reason="X11 displays")
def test_a_display_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4242")
    with pytest.raises(UserError, match="--record") as caught:
        Window("none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ((640, 840), (640, 840, True)),
        ((700, 1000), (640, 840, True)),
        ((1000, 850), (640, 840, True)),
        ((300, 390), (297, 390, False)),  # 1 would leave half of it empty
        ((80, 400), (80, 105, False)),
        ((1, 1), (1, 1, False)),
    ],
)
def test_layout_keeps_the_aspect(room, expected):
    assert layout((160, 210), room) == expected


# The keys, without a screen


def test_keys_become_commands(dummy):
    with Window("keys", fps=500, keys={"d": "dream"}) as window:
        assert window.write(picture())
        press(dummy, "o", "r", "h", "tab", "d", "x")
        assert window.poll().pressed == {"overlay", "record", "takeover", "next", "dream"}
        assert window.human and window.poll() == Commands()
        press(dummy, "escape")
        assert window.write(picture()) is False
        assert "quit" in window.poll().pressed
        assert window.write(picture()) is False
    window.close()


def test_joystick_is_held_and_taps_are_not_lost(dummy):
    with Window("joystick", fps=500) as window:
        window.write(picture())
        press(dummy, "up", "left ctrl", release=False)
        assert window.poll().held == {"up", "fire"}
        assert window.poll().held == {"up", "fire"}
        press(dummy, "up", "left")
        assert window.poll().held == {"up", "left", "fire"}
        assert window.poll().held == {"fire"}
        dummy.event.post(dummy.event.Event(dummy.WINDOWFOCUSLOST))
        assert window.poll().held == set()
        press(dummy, "space")
        assert window.poll() == Commands(frozenset({"pause"})) and window.paused
        press(dummy, "p", "h", "space")  # in takeover space fires
        assert window.poll().held == {"fire"} and not window.paused


def test_pause_step_and_keys_that_the_caller_acts_on(dummy):
    with Window("pause", fps=500) as window:
        window.write(picture())
        for key in ("n", ".", "o", "tab"):  # paused: each lets one frame through
            window.paused = True
            press(dummy, key)
            window.write(picture())
            assert window.paused
        press(dummy, "p")
        window.write(picture())
        assert not window.paused
        window.paused = True
        dummy.time.set_timer(dummy.event.Event(dummy.KEYDOWN, key=dummy.K_n), 150, loops=1)
        start = time.perf_counter()
        window.write(picture())
        assert time.perf_counter() - start > 0.1  # it waited for the key
        window.paused = True
        dummy.time.set_timer(dummy.event.Event(dummy.QUIT), 50, loops=1)
        assert window.write(picture()) is False


def test_speed_steps_and_limits(dummy):
    with Window("speed", fps=500) as window:
        window.write(picture())
        press(dummy, "+", "=")
        window.poll()
        assert window.speed == 4
        press(dummy, *["-"] * 9)
        window.poll()
        assert window.speed == 0.25
        press(dummy, *["+"] * 9)
        window.poll()
        assert window.speed == 16


def test_frames_come_at_the_stated_rate(dummy):
    with Window("rate", fps=60, scale=1) as window:
        window.write(picture())
        seconds = []
        while len(seconds) < 15 and not (seconds and seconds[-1] < 1.1):  # the machine may be busy
            start = time.perf_counter()
            assert pump([picture()] * 60, sinks=[window]) == 60
            seconds.append(time.perf_counter() - start)
        assert 0.9 <= min(seconds) < 1.1
        window.speed = 16
        start = time.perf_counter()
        pump([picture()] * 160, sinks=[window])
        assert time.perf_counter() - start < 2.4  # 0.17; 2.7 where speed were still 1


def test_games_of_another_size_fit_the_same_window(dummy):
    with Window("sizes", fps=500, scale=2) as window:
        window.write(picture())
        size = dummy.display.get_surface().get_size()
        assert size[0] >= 320 and size[1] > 420
        window.write(picture(250, 160))
        assert dummy.display.get_surface().get_size() == size
        assert tuple(dummy.display.get_surface().get_at((size[0] // 2, 100)))[:3] == ORANGE


# A real X server


@pytest.fixture
def screen(monkeypatch):
    """A display of its own, 1024x800, on a free number."""
    for tool in ("Xvfb", "xdotool"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    ours, theirs = os.pipe()
    command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1024x800x24", "-nolisten", "tcp"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, pass_fds=[theirs], stdout=quiet, stderr=quiet)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        number = answer.readline().strip()
    if not number:
        server.wait()
        pytest.skip("Xvfb does not start here")
    monkeypatch.setenv("DISPLAY", f":{number}")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    yield f":{number}"
    server.terminate()
    server.wait()


def xdotool(*words):
    subprocess.run(["xdotool", *words], check=True)


def grab(display):
    from PIL import ImageGrab, features

    if not features.check("xcb"):
        pytest.skip("this Pillow cannot take screenshots")
    return np.array(ImageGrab.grab(xdisplay=display).convert("RGB"))


def test_on_a_real_screen(screen):
    assert available()
    pixels = picture().pixels.copy()
    pixels[:10, :10] = (92, 186, 92)  # a green corner
    with Window("Pong", scale=3) as window:
        for _ in range(20):
            window.write(Frame(pixels))
        import pygame

        assert pygame.display.get_driver() == "x11"
        shown = grab(screen)
        orange, green = ((shown == colour).all(-1) for colour in (ORANGE, (92, 186, 92)))
        assert green.sum() == 30 * 30 and orange.sum() == 480 * 630 - 30 * 30
        y, x = (indices.min() for indices in np.nonzero(green))
        below = shown[y + 632 : y + 650, x : x + 480]
        assert (below.max(axis=-1) > 200).sum() > 100  # the help is written there
        xdotool("mousemove", str(x + 100), str(y + 100), "key", "plus", "keydown", "Left")
        pressed, held = set(), set()
        for _ in range(60):
            window.write(Frame(pixels))
            commands = window.poll()
            pressed |= commands.pressed
            held |= commands.held
        assert pressed == {"faster"} and window.speed == 2 and held == {"left"}
        xdotool("keyup", "Left", "key", "p")
        later = subprocess.Popen(["xdotool", "sleep", "0.3", "key", "n"])
        start = time.perf_counter()
        while not window.paused:
            window.write(Frame(pixels))
        later.wait()
        assert time.perf_counter() - start > 0.2  # it stood still until the step
        xdotool("key", "p", "key", "q")
        written = pump([Frame(pixels)] * 300, sinks=[window])
        assert written < 300
