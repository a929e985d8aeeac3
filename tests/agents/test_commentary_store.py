"""Clips gathered and kept; stirred figures are drawn as they are told; chasers chase,
and wanderers wander."""

import itertools
import multiprocessing
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

from agents import ram as ram_facts
from agents.atari import action_names
from agents.commentary import GAMES, STRANGERS, USUAL, describe, examples, steering, store
from agents.commentary.games import TABLES
from agents.commentary.steering import CHASES, chaser, wanderer
from agents.commentary.stirring import STIRRINGS, stir
from agents.commentary.table import CHANGES
from agents.screen import Screen
from playground.errors import UserError

ROSTER = (("random", 1.0, False), ("random", 1.0, True))


@pytest.fixture(scope="module")
def clips():
    return store.gather(["pong", "breakout"], 4, 3, roster=ROSTER, processes=1)


def test_what_is_kept_is_what_was_played(clips):
    assert len(clips) == 8 and clips.shape == (4, 210, 160)
    assert clips.games == ("pong", "breakout") * 4
    own = list(itertools.islice(examples("breakout", 3, roster=ROSTER), 4))
    for place, example in enumerate(own):
        index = 2 * place + 1
        assert np.array_equal(clips.frames(index), example.frames)
        known = clips.known(index)
        assert known.truth == example.truth
        assert set(known.boxes) == set(example.moments[-1].boxes) - example.moments[-1].hidden
        assert clips.known(index, still=True).truth == example.still().truth
        assert describe(known.truth, random.Random(1)) == describe(example.truth, random.Random(1))


def test_several_processes_gather_what_one_does(clips):
    found = store.gather(["pong", "breakout"], 4, 3, roster=ROSTER, processes=2)
    assert len(found) == len(clips) and found.games == clips.games
    for index in range(len(clips)):
        assert np.array_equal(found.frames(index), clips.frames(index))
        assert found.known(index) == clips.known(index)


def test_an_interruption_ends_what_plays_in_other_processes():
    """Hours of play: without that this test would not end."""
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        store.gather(["pong", "breakout"], 10**7, 3, roster=ROSTER, processes=2)
    timer.join()
    deadline = time.monotonic() + 10  # the pool's own thread joins them at the same time
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_clips_come_back_from_their_file(clips, tmp_path):
    store.save(tmp_path / "c.npz", learned=clips, others=clips)
    learned, others = store.read(tmp_path / "c.npz", "learned", "others")
    for found in (learned, others):
        assert np.array_equal(found.frames(5), clips.frames(5)) and found.games == clips.games
        assert found.known(5) == clips.known(5)
    assert (tmp_path / "c.npz").stat().st_size < 2 * 8 * 12_000
    (tmp_path / "d.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:3000])
    for path in (tmp_path / "d.npz", tmp_path / "none.npz"):
        with pytest.raises(UserError, match="does not hold the clips"):
            store.read(path, "learned")
    with pytest.raises(UserError, match="does not hold the clips"):
        store.read(tmp_path / "c.npz", "nothing")


@pytest.mark.parametrize(
    ("names", "count", "part"),
    [
        (["pong", "pong"], 1, "each game once"),
        ([], 1, "each game once"),
        (["tetris"], 1, "No captions are known"),
        (["pong"], 0, "starts at 1"),
    ],
)
def test_what_cannot_be_gathered(names, count, part):
    with pytest.raises(UserError, match=part):
        store.gather(names, count, 0, processes=1)


def test_every_game_has_its_stirring_and_its_chase():
    assert set(STIRRINGS) == set(CHASES) == set(GAMES)
    assert {name for name, *_ in STRANGERS} == {"chaser"} and "chaser" not in {n for n, *_ in USUAL}


@pytest.mark.parametrize("game", GAMES)
def test_a_stirred_figure_is_drawn_as_it_is_told(game):
    """Two consoles in the same state: other figures, other pixels; equal figures, equal pixels."""
    screens = [Screen(game, "machado", 5) for _ in range(2)]
    for screen in screens:
        screen.reset()
        for _ in range(60 if game == "qbert" else 40):
            screen.step(0)
        for _ in range(30 if game == "qbert" else 0):  # it shows its figures with the first cube
            screen.step(screen.action_names.index("DOWN"))
    assert np.array_equal(screens[0].rgb(), screens[1].rgb())
    before = ram_facts.facts(game, screens[0].ram)
    rng = np.random.default_rng(2)
    stir(screens[0], rng)
    for screen in screens:
        screen.step(0)
    after = ram_facts.facts(game, screens[0].ram)
    moved = {name for name in after if after[name] != before[name]}
    figures = {"score", "lives", "player_score", "enemy_score", "gates", "invaders", "bricks",
               "cars"}  # fmt: skip
    assert moved & figures
    assert not np.array_equal(screens[0].rgb(), screens[1].rgb())


@pytest.mark.parametrize(("game", "least"), [("breakout", 6), ("freeway", 1)])
def test_chasers_play_better_than_chance(game, least):
    screen = Screen(game, "machado", 1)
    play, obs = chaser(game, action_names(game)), screen.reset()
    won = 0.0
    for _ in range(500):
        obs, reward, terminated, _, _ = screen.step(play(obs, screen.ram))
        won += max(reward, 0)
        if terminated:
            obs = screen.reset()
    assert won >= least


@pytest.mark.parametrize(("game", "axis"), [("breakout", 0), ("pong", 1), ("seaquest", 0)])
def test_wanderers_come_to_all_of_the_field(game, axis):
    """And alike from the same seed."""
    screen, rounds = Screen(game, "machado", 1), []
    for _ in range(2):
        play = wanderer(game, action_names(game), np.random.default_rng(3))
        obs, places = screen.reset(seed=1), []
        for _ in range(600):
            obs, _, terminated, truncated, _ = screen.step(play(obs, screen.ram))
            for own in ram_facts.boxes(game, screen.ram):
                if own.name == "player":
                    places.append((own.x, own.y)[axis])
            if terminated or truncated:
                obs = screen.reset()
        rounds.append(places)
    low, high = (TABLES[game].area[side] for side in (axis, axis + 2))
    shares = np.histogram(rounds[0], 4, (low, high))[0] / len(rounds[0])
    assert (shares[:3] > 0.05).all() and shares[3] > 0.02  # the last one holds half of its length
    assert rounds[0] == rounds[1]


def test_wanderers_come_to_where_left_and_right_are_hard_to_tell(monkeypatch):
    """The ball of Breakout is seldom above the paddle of who goes to fixed places alone."""
    question, shares = ("ball", "column from paddle"), []
    roster = tuple(("wanderer", 0.1, False) for _ in range(4))
    for beside in (0.0, steering.BESIDE):
        monkeypatch.setattr(steering, "BESIDE", beside)
        found = itertools.islice(examples("breakout", 5, roster=roster), 120)
        told = [example.truth.answers().get(question) for example in found]
        shares.append(told.count("level") / (len(told) - told.count(None)))
    assert shares[1] > 1.5 * shares[0]


def test_clips_further_apart_tell_of_more_than_beginnings():
    points = []
    for apart in (6, 60):
        *_, last = itertools.islice(examples("pong", 3, roster=ROSTER[:1], apart=apart), 8)
        answers = last.truth.answers()
        points.append(sum(answers[f"{side} points", "is"] for side in ("green", "orange")))
    assert points[1] > points[0]


def test_eventful_clips_wait_for_points():
    shares = []
    for eventful in (0.0, 0.5, 1.0):
        found = examples("pong", 3, roster=ROSTER[:1], eventful=eventful)
        truths = [example.truth for example in itertools.islice(found, 40)]
        shares.append(sum(any(s.relation in CHANGES for s in t.said) for t in truths) / 40)
    assert shares[0] < 0.2 < shares[1] < 0.8 < shares[2]
