"""Every address against pixels: the box that memory gives, and the one that the picture shows."""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from agents import ram
from agents.atari import games
from agents.ram_games import breakout
from agents.screen import Screen
from playground.frames import Box

PONG_PLAYER, PONG_ENEMY, PONG_BALL = (92, 186, 92), (213, 130, 74), (236, 236, 236)
BREAKOUT_RED = (200, 72, 72)  # paddle, ball, the top row of bricks
INVADER, CANNON, SHOT, SAUCER = (134, 134, 29), (50, 132, 50), (142, 142, 142), (151, 25, 122)
WHITE, BLACK, CHICKEN = (214, 214, 214), (0, 0, 0), (252, 252, 84)


def random_play(game: str, steps: int) -> Iterator[tuple[Screen, bool]]:
    """The screen after each agent step of random play that holds its actions; a game's last."""
    screen = Screen(game, "machado", seed=1)
    screen.reset()
    rng = np.random.default_rng(0)
    hold, action = 0, 0
    for _ in range(steps):
        if not hold:
            action, hold = int(rng.integers(screen.num_actions)), int(rng.integers(1, 8))
        hold -= 1
        _, _, terminated, truncated, _ = screen.step(action)
        yield screen, terminated or truncated
        if terminated or truncated:
            screen.reset()


def every_frame(game: str, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Picture and memory of each emulator frame, as objects that blink need it."""
    for screen, _ in random_play(game, steps):
        yield from zip(screen.frames_of_last_step, screen.rams_of_last_step, strict=True)


@cache
def play(game: str, steps: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """After each agent step: frames (n, 210, 160, 3), memory (n, 128), scores (n)."""
    frames, rams, scores = [], [], []
    score = 0.0
    for screen, ended in random_play(game, steps):
        score += sum(screen.rewards_of_last_step)
        frames.append(screen.rgb())
        rams.append(screen.ram)
        scores.append(score)
        if ended:
            score = 0.0
    return np.array(frames), np.array(rams), scores


def seen(frame: np.ndarray, colour: tuple[int, int, int], top: int, bottom: int) -> list[Box]:
    """Connected components of a colour between two lines."""
    labels, _ = ndimage.label((frame[top:bottom] == colour).all(-1))
    return [
        Box("", x.start, y.start + top, x.stop - x.start, y.stop - y.start)
        for y, x in ndimage.find_objects(labels)
    ]


def near(a: Box, b: Box, tolerance: float) -> bool:
    """Whether the centres agree within that many pixels in x and in y."""
    return (
        abs(a.x + a.width / 2 - b.x - b.width / 2) <= tolerance
        and abs(a.y + a.height / 2 - b.y - b.height / 2) <= tolerance
    )


def agreement(
    game: str,
    name: str,
    look: Callable[[np.ndarray], list[Box]],
    tolerance: float,
    steps: int = 400,
) -> tuple[float, float, int]:
    """(share of seen objects with a box, share of boxes with an object, objects seen)."""
    explained = things = confirmed = predicted = 0
    for frame, memory in zip(*play(game, steps)[:2], strict=True):
        objects = look(frame)
        boxes = [box for box in ram.boxes(game, memory) if box.name == name]
        things += len(objects)
        predicted += len(boxes)
        explained += sum(any(near(o, b, tolerance) for b in boxes) for o in objects)
        confirmed += sum(any(near(o, b, tolerance) for o in objects) for b in boxes)
    return explained / max(things, 1), confirmed / max(predicted, 1), things


@pytest.mark.parametrize(
    ("name", "colour", "tolerance"),
    [("player", PONG_PLAYER, 0), ("enemy", PONG_ENEMY, 0), ("ball", PONG_BALL, 1)],
)
def test_pong(name: str, colour: tuple[int, int, int], tolerance: float) -> None:
    found, real, things = agreement("pong", name, lambda f: seen(f, colour, 34, 194), tolerance)
    assert things > 100
    assert found > 0.99
    assert real > 0.99  # among others, none of them is boxed while it is away


def test_pong_scores() -> None:
    _, memory, scores = play("pong", 400)
    for m, score in list(zip(memory, scores, strict=True))[::10]:
        known = ram.facts("pong", m)
        assert known["player_score"] - known["enemy_score"] == score
    assert min(scores) < -2
    absent = [ram.facts("pong", m)["ball_x"] is None for m in memory]
    assert 0.1 < np.mean(absent) < 0.9


def test_breakout_paddle() -> None:
    def paddle(frame: np.ndarray) -> list[Box]:
        inside = frame[:, 8:152]
        found = [Box("", b.x + 8, *_rest(b)) for b in seen(inside, BREAKOUT_RED, 189, 193)]
        return [box for box in found if box.width > 4]  # not the ball

    found, real, things = agreement("breakout", "player", paddle, 1)
    assert things > 300
    assert found > 0.99
    assert real > 0.99


def _rest(box: Box) -> tuple[int, int, int]:
    return box.y, box.width, box.height


def test_breakout_ball() -> None:
    def ball(frame: np.ndarray) -> list[Box]:
        inside = frame[:, 8:152]  # below the bricks, above the paddle
        return [Box("", b.x + 8, *_rest(b)) for b in seen(inside, BREAKOUT_RED, 93, 189)]

    frames, memory, _ = play("breakout", 400)
    things = explained = predicted = confirmed = 0
    for frame, m in zip(frames, memory, strict=True):
        boxes = [box for box in ram.boxes("breakout", m) if box.name == "ball"]
        objects = ball(frame)
        things += len(objects)
        explained += sum(any(near(o, b, 1.5) for b in boxes) for o in objects)
        inside = [box for box in boxes if box.y >= 93 and box.y + box.height <= 189]
        predicted += len(inside)
        confirmed += sum(any(near(o, b, 1.5) for o in objects) for b in inside)
        if not m[101]:
            assert objects == []
            assert ram.facts("breakout", m)["ball_x"] is None
    assert things > 50
    assert explained / things > 0.99
    assert confirmed / predicted > 0.99  # it never blinks


def test_breakout_score_lives_and_bricks() -> None:
    frames, memory, scores = play("breakout", 400)
    standing = set()
    for frame, m, score in list(zip(frames, memory, scores, strict=True))[::5]:
        known = ram.facts("breakout", m)
        assert known["score"] == score
        wall = frame[57:93, 8:152].reshape(6, 6, 18, 8, 3).any(-1).mean((1, 3)) > 0.7
        np.testing.assert_array_equal(breakout.bricks(m), wall)
        assert known["bricks"] == wall.sum()
        standing.add(known["bricks"])
    assert len(standing) > 3
    assert {ram.facts("breakout", m)["lives"] for m in memory} >= {1, 2, 3, 4, 5}


def test_breakout_paddle_shrinks_once_the_ball_met_the_top_wall() -> None:
    screen = Screen("breakout", "nature", seed=3)
    screen.reset()
    lifted = 0
    while screen.ram[108] == 8 and lifted < 20:
        memory = screen.ram.astype(int)
        aim = memory[99] + 1 - (memory[72] + 10)  # follow the ball
        _, _, terminated, _, _ = screen.step(
            1 if not memory[101] else 2 if aim > 2 else 3 if aim < -2 else 0
        )
        if terminated:
            screen.reset()
        elif 90 < screen.ram[101] < 150:
            screen._ale.setRAM(101, 40)  # lift the ball above the bricks
            lifted += 1
    (paddle,) = [box for box in ram.boxes("breakout", screen.ram) if box.name == "player"]
    assert paddle.width == 12
    drawn = (screen.rgb()[191, paddle.x - 2 : paddle.x + 14] == BREAKOUT_RED).all(-1)
    np.testing.assert_array_equal(drawn, [False] * 2 + [True] * 12 + [False] * 2)


def test_space_invaders_fleet() -> None:
    """Where memory has an invader there are its pixels, and there are none outside the grid."""
    frames, memory, _ = play("space_invaders", 400)
    counts, agreed = set(), []
    for frame, m in zip(frames, memory, strict=True):
        pixels = (frame[:195] == INVADER).all(-1)
        boxes = {box for box in ram.boxes("space_invaders", m) if box.name == "invader"}
        full = m.copy()
        full[18:24] = 63
        in_grid = 0
        for box in ram.boxes("space_invaders", full):
            if box.name == "invader":
                lit = pixels[box.y : box.y + box.height, box.x : box.x + box.width].sum()
                in_grid += lit
                agreed.append((lit > 6) == (box in boxes))
        assert in_grid == pixels.sum()
        assert ram.facts("space_invaders", m)["invaders"] == len(boxes)
        counts.add(len(boxes))
    assert np.mean(agreed) > 0.99  # one that has just been hit is drawn a few frames longer
    assert len(counts) > 3


def test_space_invaders_cannon() -> None:
    """Hit, it is debris for 2 seconds; then it blinks, 8 emulator frames on and 8 off."""
    things = explained = 0
    drawn = []
    for frame, m in every_frame("space_invaders", 400):
        whole = [box for box in seen(frame, CANNON, 180, 195) if (box.width, box.height) == (7, 10)]
        (box,) = [box for box in ram.boxes("space_invaders", m) if box.name == "player"]
        things += len(whole)
        explained += sum(near(cannon, box, 1) for cannon in whole)
        under = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        drawn.append((under == CANNON).all(-1).sum() > 20)  # of 70; debris has half of them
    assert things > 800
    assert explained / things > 0.99
    assert ndimage.maximum_filter1d(np.array(drawn), 2 * 8 + 1).all()  # at most 8 without it
    assert np.mean(drawn) > 0.8


@pytest.mark.slow
def test_space_invaders_saucer() -> None:
    """It comes about once in 1,000 agent steps, and never blinks."""
    things = explained = predicted = confirmed = 0
    for frame, m in every_frame("space_invaders", 4000):
        saucers = [box for box in seen(frame, SAUCER, 0, 30) if box.width == 7]
        boxes = [box for box in ram.boxes("space_invaders", m) if box.name == "saucer"]
        whole = [box for box in boxes if 4 <= box.x <= 149]  # not cut by an edge
        things += len(saucers)
        predicted += len(whole)
        explained += sum(any(near(o, b, 1.5) for b in boxes) for o in saucers)
        confirmed += sum(any(near(o, b, 1.5) for o in saucers) for b in whole)
    assert things > 100
    assert explained / things > 0.95
    assert confirmed / predicted > 0.95


def test_space_invaders_shots() -> None:
    """Each is drawn on every second emulator frame: the bombs on the one, the missile on the other.

    So the last frame of agent steps shows only the one kind.
    """
    explained = things = 0
    drawn: dict[str, list[bool]] = {"bomb": [], "missile": []}
    for frame, m in every_frame("space_invaders", 400):
        boxes = [box for box in ram.boxes("space_invaders", m) if box.name in drawn]
        shots = [shot for shot in seen(frame, SHOT, 30, 185) if shot.height > 4]  # not cut short
        things += len(shots)
        explained += sum(any(near(s, b, 2.5) for b in boxes) for s in shots)
        for box in boxes:
            if 132 <= box.y < 170:  # below the fleet, above the ground
                drawn[box.name].append(any(near(s, box, 2.5) for s in shots))
    assert things > 400
    assert explained / things > 0.95
    for name, shown in drawn.items():
        assert len(shown) > 100, name
        assert 0.45 < np.mean(shown) < 0.55, name


def test_space_invaders_score_and_lives() -> None:
    _, memory, scores = play("space_invaders", 400)
    for m, score in list(zip(memory, scores, strict=True))[::5]:
        assert ram.facts("space_invaders", m)["score"] == score
    assert {ram.facts("space_invaders", m)["lives"] for m in memory} >= {1, 2, 3}


def test_boxing() -> None:
    """Left edge of the white boxer and right edge of the black one: the backs, that never punch."""
    frames, memory, scores = play("boxing", 300)
    right = total = 0
    for frame, m, score in zip(frames, memory, scores, strict=True):
        player, enemy = ram.boxes("boxing", m)
        assert (player.name, enemy.name) == ("player", "enemy")
        known = ram.facts("boxing", m)
        assert known["player_score"] - known["enemy_score"] == score
        if player.x < enemy.x:  # facing each other as at the start
            total += 1
            white = np.argwhere((frame[36:178, 32:128] == WHITE).all(-1))
            black = np.argwhere((frame[36:178, 32:128] == BLACK).all(-1))
            right += (
                abs(white[:, 1].min() + 32 - player.x) <= 2
                and abs(black[:, 1].max() + 33 - enemy.x - enemy.width) <= 2
                and abs(white[:, 0].min() + 36 - player.y) <= 2
                and abs(black[:, 0].min() + 36 - enemy.y) <= 2
            )
    assert total > 100
    assert right / total > 0.95


def test_freeway() -> None:
    # each lane's car has its colour; wheels are black
    frames, memory, scores = play("freeway", 300)
    explained = things = 0
    for frame, m, score in zip(frames, memory, scores, strict=True):
        boxes = ram.boxes("freeway", m)
        player = boxes[0]
        assert ram.facts("freeway", m)["score"] == score
        chicken = np.argwhere((frame[:, 40:56] == CHICKEN).all(-1))
        chicken = chicken[(chicken[:, 0] < 101) | (chicken[:, 0] > 106)]  # not the median strip
        if len(chicken):
            things += 1
            explained += bool(abs(chicken[:, 0].min() - player.y) <= 6)
        for box in boxes[1:]:
            if box.width == 8:  # wholly on the road
                colours, counts = np.unique(
                    frame[box.y : box.y + 8, box.x : box.x + 8].reshape(-1, 3),
                    axis=0,
                    return_counts=True,
                )
                things += 1
                explained += bool(counts[colours.sum(-1) != 3 * 142].sum() >= 28)
    assert things > 1000
    assert explained / things > 0.97


def test_other_games_have_neither() -> None:
    memory = np.zeros(128, np.uint8)
    assert ram.boxes("video_chess", memory) == ()
    assert ram.facts("video_chess", memory) == {}
    assert set(ram.GAMES) <= set(games())


@pytest.mark.parametrize("game", ram.GAMES)
def test_any_memory_gives_boxes_inside_the_picture(game: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        memory = rng.integers(0, 256, 128, dtype=np.uint8)
        for fact in ram.facts(game, memory).values():
            assert fact is None or type(fact) is int  # as JSON wants it
        for box in ram.boxes(game, memory):
            assert box.width > 0 and box.height > 0
            assert box.x >= 0 and box.x + box.width <= 160
            assert box.y >= 0 and box.y + box.height <= 210
