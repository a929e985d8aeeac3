"""Every game of `agents/ram_games` held against pixels in both directions.

A pixel of an object's colour lies in one of its boxes, a box holds its object's colour, and no box
is larger than what it ever holds. Random play sees little of a game, so some scenes write memory
(lives, levels) to come further. The five games of `test_ram.py` are tested there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import ale_py
import numpy as np
import pytest
from scipy import ndimage

from agents import ram
from agents.atari import rom_path
from playground.frames import Box

Nudge = Callable[[ale_py.ALEInterface, int], str | None]
EVERY = 7  # frames from one that is looked at to the next: odd, as much is drawn in turns


@dataclass(frozen=True)
class Thing:
    """Objects of the same colours: what part of their pixels and boxes must agree, and where."""

    names: tuple[str, ...]
    colours: tuple[int, ...]  # the console's codes: hue in the upper four bits, then brightness
    field: tuple[int, int, int, int]  # left, top, right, bottom
    covered: float = 0.99  # share of the colours' pixels that lie in the boxes
    filled: float = 0.99  # share of the boxes with at least `least` of these pixels
    least: int = 1
    margin: int = 0  # pixels by which a moving object may be off
    slack: int = 1  # pixels by which a box may be larger than what it ever holds


@dataclass(frozen=True)
class Scene:
    """A game played at random; `nudge` may write memory each frame, or say what to do."""

    game: str
    frames: int
    things: tuple[Thing, ...]
    nudge: Nudge | None = None
    skip: int = 0  # frames before the first that is looked at
    # frames to look at, by the picture (H, 160) and the memory (128,)
    when: Callable[[np.ndarray, np.ndarray], bool] | None = None


@dataclass
class Tally:
    """Pixels and boxes of a thing so far."""

    pixels: int = 0
    covered: int = 0
    boxes: int = 0
    filled: int = 0
    slack: np.ndarray = field(default_factory=lambda: np.full(4, 255))  # the least on each side

    def add(self, thing: Thing, picture: np.ndarray, boxes: Iterable[Box]) -> None:
        left, top, right, bottom = thing.field
        wanted, seen = np.zeros(256, bool), np.zeros(picture.shape, bool)
        wanted[list(thing.colours)] = True
        seen[top:bottom, left:right] = wanted[picture[top:bottom, left:right]]
        outside = seen.copy()
        for box in boxes:
            if box.name not in thing.names:
                continue
            y, x, more = box.y, box.x, thing.margin
            lines = slice(max(y - more, 0), y + box.height + more)
            inside = seen[lines, max(x - more, 0) : x + box.width + more]
            outside[lines, max(x - more, 0) : x + box.width + more] = False
            self.boxes += 1
            self.filled += int(inside.sum() >= thing.least)
            if inside.any():
                rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                free = (rows[0], inside.shape[0] - 1 - rows[-1])
                free += (columns[0], inside.shape[1] - 1 - columns[-1])
                self.slack = np.minimum(self.slack, free)
        self.pixels += int(seen.sum())
        self.covered += int(seen.sum() - outside.sum())


def play(scene: Scene, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, float, int]]:
    """Of every `EVERY`th frame: colour codes (H, 160), memory (128,), score so far, lives."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.25)
    ale.setInt("random_seed", seed)
    ale.loadROM(rom_path(scene.game))
    rng = np.random.default_rng(seed)
    actions = ale.getMinimalActionSet()
    action, score = actions[0], 0.0
    for frame in range(scene.skip + scene.frames):
        if frame % 4 == 0 and rng.random() < 0.3:
            action = actions[int(rng.integers(len(actions)))]
        wanted = scene.nudge(ale, frame) if scene.nudge else None
        score += ale.act(getattr(ale_py.Action, wanted) if wanted else action)
        if frame >= scene.skip and frame % EVERY == 0:
            yield ale.getScreen(), ale.getRAM(), score, ale.lives()
        if ale.game_over():
            ale.reset_game()
            score = 0.0


def dive(ale: ale_py.ALEInterface, frame: int) -> None:
    """Seaquest with lives and oxygen: five divers on board at every surfacing bring later waves."""
    memory = ale.getRAM()
    ale.setRAM(59, 3)
    if frame % 4 == 0 and memory[97] > 40:
        ale.setRAM(62, 5)
        if 0 < memory[102] < 20:
            ale.setRAM(102, 60)


def surface(ale: ale_py.ALEInterface, frame: int) -> str | None:
    """Seaquest with six divers on board, up and down: the patrol comes."""
    memory = ale.getRAM()
    ale.setRAM(59, 3)
    if memory[62] < 6 and memory[97] > 60:
        ale.setRAM(62, 6)
    return "UP" if memory[62] == 6 else "DOWN" if frame % 16 < 8 else None


def climb(ale: ale_py.ALEInterface, frame: int) -> None:
    """Q*bert with lives."""
    if frame % 4 == 0:
        ale.setRAM(8, 2)


def fight(ale: ale_py.ALEInterface, frame: int) -> None:
    """Demon Attack in its later waves."""
    if frame % 160 == 0:
        ale.setRAM(114, 3)
    if frame % 600 == 20:
        ale.setRAM(62, min(11, frame // 600 + 4))


def drive(ale: ale_py.ALEInterface, frame: int) -> str:
    """Enduro: always on the throttle."""
    return ("FIRE", "RIGHTFIRE", "FIRE", "LEFTFIRE")[frame // 12 % 4]


def fly(ale: ale_py.ALEInterface, frame: int) -> None:
    """Beam Rider in its sixth sector, with lives."""
    if frame == 120:
        ale.setRAM(0, 6)
    if frame % 200 == 0 and frame > 200 and ale.getRAM()[5] < 3:
        ale.setRAM(5, 2)


def build(ale: ale_py.ALEInterface, frame: int) -> str | None:
    """Frostbite: an igloo that is ready, and into it, on to the later levels."""
    memory = ale.getRAM()
    ale.setRAM(76, 3)
    if memory[77] < 14 and frame % 700 == 240:
        ale.setRAM(77, 15)
    if 15 <= memory[77] < 128 and memory[100] < 60 and memory[75] < 3:
        return "RIGHT" if memory[102] < 122 else "LEFT" if memory[102] > 126 else "UP"
    return None


SEA, MAZE, ALLEY, SKY = (8, 42, 160, 155), (0, 2, 160, 171), (0, 105, 160, 170), (0, 20, 160, 174)
DEMONS = tuple({*range(2, 256, 2)} - {86, 110})  # all colours but the cannon's and the shot's
SLOPE, ICE, ROAD, BEAMS = (8, 32, 152, 178), (8, 46, 160, 182), (8, 53, 160, 155), (8, 47, 160, 159)
PYRAMID = (20, 12, 140, 180)  # between the discs, which take every colour
GHOSTS = ("blinky", "pinky", "inky", "sue")
UNDER_WATER = (
    # flashing black when it is hit
    Thing(("player", "torpedo", "submarine", "patrol"), (8, 14, 24), SEA, filled=0.94),
    Thing(("fish",), (54, 88, 184, 198, 200, 216, 232), SEA),
    Thing(("diver", "shot"), (134,), SEA),
)
NOT_CARS = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 192, 208, 224}  # sky, land, road, player
ON_THE_ROAD = (
    # a car at one place across cannot be told from an empty slot
    Thing(("car",), tuple({*range(256)} - NOT_CARS), ROAD, 0.97),
    Thing(("player",), (10,), ROAD, covered=0, least=60),  # the road's edge has its colour
)

SCENES = {
    "seaquest": Scene("seaquest", 1800, UNDER_WATER),
    "seaquest, later waves": Scene("seaquest", 3600, UNDER_WATER, dive),
    "seaquest, patrol": Scene(
        "seaquest", 2400, (Thing(("patrol",), (8,), (8, 42, 160, 54)),), surface, skip=600
    ),
    "qbert": Scene(
        "qbert",
        4000,
        (
            # behind the cubes as he falls
            Thing(("player",), (52,), PYRAMID, 0.95, 0.85, margin=1),
            Thing(("ball", "sam", "coily"), (102, 196), PYRAMID, 0.97, 0.95, margin=1),
            # balls are purple or green, too
            Thing(("coily",), (102,), PYRAMID, covered=0, margin=1),
            Thing(("sam",), (196,), PYRAMID, covered=0, margin=1),
        ),
        climb,
        skip=5200,
    ),
    "ms_pacman": Scene(
        "ms_pacman",
        2000,
        (
            Thing(("player",), (42,), MAZE, margin=2),
            Thing(GHOSTS, (12, 38, 70, 88, 150, 184), MAZE, filled=0.7, margin=2),  # by turns
        ),
    ),
    "bowling": Scene(
        "bowling",
        2400,
        (
            Thing(("player",), (0, 88, 134, 136), (0, 105, 60, 170), 0.98, least=30),
            Thing(("ball", "pin"), (132,), ALLEY, 0.98, least=4),
            Thing(("pin",), (132,), (118, 105, 160, 170), 0.85, least=4),  # the ball is there, too
        ),
    ),
    "skiing": Scene(
        "skiing",
        2000,
        (
            Thing(("player",), (72,), SLOPE, least=10),
            Thing(("flag",), (64, 66, 68, 70, 134), SLOPE, margin=1),
            Thing(("tree",), (198, 212, 214, 218), SLOPE, 0.97, 0.95),
            Thing(("mogul",), (10, 12), SLOPE, margin=1),
        ),
    ),
    "demon_attack": Scene(
        "demon_attack",
        2400,
        (
            Thing(("player",), (86,), (0, 20, 160, 186)),
            Thing(("shot",), (110,), (0, 20, 160, 170), filled=0.95),
            Thing(("demon", "bomb"), DEMONS, SKY, 0.93, 0.9),
        ),
        # none that comes together or bursts
        when=lambda _, m: bool((m[63] >= 4) & ((m[29:36] == 0) | (m[29:36] > 3)).all()),
    ),
    "demon_attack, all demons": Scene(
        "demon_attack",
        2400,
        (Thing(("demon", "shapeless demon", "bomb"), DEMONS, SKY, 0.9, 0.9),),
        when=lambda _, m: bool(m[63] >= 4),
    ),
    "frostbite": Scene(
        "frostbite",
        5600,
        (
            Thing(("player",), (22, 36, 54), ICE),
            Thing(("floe",), (12, 152), (8, 90, 160, 182)),
            Thing(("goose",), (142,), ICE, filled=0.9, slack=2),
            Thing(("fish",), (202,), ICE, filled=0.9),
            Thing(("crab",), (56,), (8, 80, 160, 182), filled=0.9),
            Thing(("clam",), (26,), (8, 80, 160, 182), filled=0.9),
            Thing(("bear",), (4,), (8, 56, 160, 76), 0.97, slack=2),
        ),
        build,
        when=lambda _, m: not m[107],  # he does not sink
    ),
    "enduro": Scene("enduro", 1600, ON_THE_ROAD, drive, skip=200),
    "enduro, night": Scene("enduro", 1000, ON_THE_ROAD, drive, skip=7400),
    "beam_rider": Scene(
        "beam_rider",
        2400,
        (
            Thing(("player",), (26, 66), (8, 160, 160, 182), 0.9, slack=4),
            Thing(("enemy",), (8, 14, 20, 26, 216, 218), BEAMS, 0.97, 0.9, margin=3),
            Thing(("shot", "bolt"), (54, 86, 104), BEAMS, 0.85, 0.85, margin=3, slack=4),
        ),
        fly,
        skip=100,
        when=lambda picture, _: picture[150, 12] == 0,  # no flash
    ),
}


def check(scene: Scene, seed: int) -> None:
    tallies = [Tally() for _ in scene.things]
    for picture, memory, _, _ in play(scene, seed):
        if scene.when is None or scene.when(picture, memory):
            boxes = ram.boxes(scene.game, memory)
            for thing, tally in zip(scene.things, tallies, strict=True):
                tally.add(thing, picture, boxes)
    for thing, tally in zip(scene.things, tallies, strict=True):
        covered, filled = tally.covered / max(tally.pixels, 1), tally.filled / max(tally.boxes, 1)
        slack = int(tally.slack.max())
        print(
            f"{scene.game} {'/'.join(thing.names)}: {covered:.2%} of {tally.pixels} pixels boxed,"
            f" {filled:.2%} of {tally.boxes} boxes filled, slack {slack}"
        )
        assert tally.pixels > 500, thing.names
        assert covered >= thing.covered, thing.names
        assert filled >= thing.filled, thing.names
        assert slack <= thing.slack + 2 * thing.margin, (thing.names, tally.slack)


@pytest.mark.parametrize("name", SCENES)
def test_boxes_and_pixels_agree(name: str) -> None:
    check(SCENES[name], seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", SCENES)
def test_boxes_and_pixels_agree_for_long(name: str, seed: int) -> None:
    check(replace(SCENES[name], frames=4 * SCENES[name].frames), seed)


def test_tennis() -> None:
    """Bodies rather than pixels: the court's lines have the players' colours."""
    colours = {"player": 76, "enemy": 140, "ball": 14, "shadow": 2}
    seen, explained, boxed, confirmed = (dict.fromkeys(colours, 0) for _ in range(4))
    ends = set()
    for picture, memory, _, _ in play(Scene("tennis", 2400, ()), seed=1):
        boxes = {box.name: box for box in ram.boxes("tennis", memory)}
        ends.add(boxes["player"].y < boxes["enemy"].y)
        for name, colour in colours.items():
            labels, _ = ndimage.label(picture == colour, np.ones((3, 3)))
            parts = [
                part
                for part in ndimage.find_objects(labels)
                if part[0].start >= 12 and part[0].stop <= 192
                if name in ("ball", "shadow") or 16 <= part[0].stop - part[0].start < 30
            ]
            box = boxes.get(name)
            inside = [
                box is not None
                and box.y <= y.start
                and y.stop <= box.y + box.height
                and box.x <= x.start
                and x.stop <= box.x + box.width
                for y, x in parts
            ]
            seen[name] += len(parts)
            explained[name] += sum(inside)
            boxed[name] += box is not None
            confirmed[name] += any(inside)
    assert ends == {True, False}  # they change
    for name in colours:
        assert seen[name] > 100, name
        assert explained[name] / seen[name] > 0.99, name
        # a body may touch a line; the ball goes behind the net and the players
        assert confirmed[name] / boxed[name] > (0.8 if name in ("ball", "shadow") else 0.9), name


def test_tennis_points_and_games() -> None:
    points = {0: 0, 1: 0}
    known = {}
    for _, memory, score, _ in play(Scene("tennis", 3000, ()), seed=1):
        known = ram.facts("tennis", memory)
        won = known["player_points"] - known["enemy_points"]
        if not known["player_games"] + known["enemy_games"]:
            assert won == score
            points[0] = min(points[0], won)
    assert points[0] == -3
    assert known["enemy_games"] > 0


@pytest.mark.parametrize(
    "game", ["beam_rider", "demon_attack", "frostbite", "ms_pacman", "qbert", "seaquest"]
)
def test_score_and_lives(game: str) -> None:
    """The emulator counts the life in play as well; memory may be a moment ahead of it."""
    scores, in_reserve = set(), []
    for _, memory, score, lives in play(Scene(game, 3000, ()), seed=1):
        known = ram.facts(game, memory)
        assert known["score"] == score
        scores.add(score)
        in_reserve.append((lives, known["lives"]))
    assert len(scores) > 2
    assert np.mean([known == lives - 1 for lives, known in in_reserve]) > 0.95
    assert len({lives for lives, _ in in_reserve}) > 1


def test_bowling_score_frames_and_pins() -> None:
    scores, frames = set(), []
    for _, memory, score, _ in play(Scene("bowling", 3600, ()), seed=1):
        known = ram.facts("bowling", memory)
        pins = [box for box in ram.boxes("bowling", memory) if box.name == "pin"]
        assert known["pins"] == len(pins)
        assert known["score"] == score
        scores.add(score)
        frames.append(known["frame"])
    assert len(scores) > 2
    assert sorted(set(frames)) == list(range(1, max(frames) + 1))
    assert frames == sorted(frames)


def test_seaquest_oxygen_and_divers() -> None:
    """The bar's bright part is one pixel a unit, and each diver on board has 15 pixels below it."""
    oxygen, divers = set(), set()
    for picture, memory, _, _ in play(SCENES["seaquest, later waves"], seed=1):
        known = ram.facts("seaquest", memory)
        assert abs((picture[172] == 12).sum() - known["oxygen"]) <= 1
        assert (picture[180:190] == 130).sum() in (0, 15 * known["divers"])  # they blink when full
        oxygen.add(known["oxygen"])
        divers.add(known["divers"])
    assert {0, 64} < oxygen
    assert len(divers) > 3


def test_qbert_cubes() -> None:
    """The tops of the cubes, in the first round's colour."""
    counts = set()
    for picture, memory, _, _ in play(SCENES["qbert"], seed=1):
        half = [(row, 5 - row + 2 * column) for row in range(6) for column in range(row + 1)]
        tops = [picture[35 + 29 * row, 18 + 12 * x + 4 * (x > 5)] for row, x in half]
        known = ram.facts("qbert", memory)
        assert known["round"] == 1
        assert abs(known["cubes"] - sum(top == 26 for top in tops)) <= 1  # someone may stand on one
        counts.add(known["cubes"])
    assert len(counts) > 5


def test_ms_pacman_dots_and_edible_ghosts() -> None:
    dots, edible = set(), set()
    for picture, memory, score, _ in play(Scene("ms_pacman", 6000, ()), seed=3):
        known = ram.facts("ms_pacman", memory)
        if score < 200:
            assert score - 10 * known["dots"] in (0, 40)  # a power pill is worth 50
        blue = np.isin(picture[2:171], (150,)).sum() > 40
        assert not blue or known["edible"]
        dots.add(known["dots"])
        edible.add(known["edible"])
    assert len(dots) > 20
    assert {0, 4} <= edible


def test_enduro_cars_to_pass() -> None:
    passed = set()
    for _, memory, score, _ in play(SCENES["enduro"], seed=1):
        known = ram.facts("enduro", memory)
        assert known["cars"] == 200 - score
        assert known["day"] == 1
        assert (known["night"], known["fog"]) == (0, 0)
        passed.add(score)
    assert len(passed) > 3
    for _, memory, _, _ in play(SCENES["enduro, night"], seed=1):
        assert ram.facts("enduro", memory)["night"] == 1


def test_skiing_clock_and_gates() -> None:
    """Sixty frames a second; the game is lost by one point a hundredth."""
    first, gates = None, set()
    for number, (_, memory, _, _) in enumerate(play(SCENES["skiing"], seed=1)):
        known = ram.facts("skiing", memory)
        gates.add(known["gates"])
        if first is None:
            first = known["centiseconds"]
        assert abs(known["centiseconds"] - first - number * EVERY * 100 / 60) < 10
    assert max(gates) == 20


def test_frostbite_degrees_blocks_and_levels() -> None:
    levels, blocks, degrees = set(), set(), []
    for _, memory, _, _ in play(SCENES["frostbite"], seed=1):
        known = ram.facts("frostbite", memory)
        degrees.append(known["degrees"])
        levels.add(known["level"])
        blocks.add(known["blocks"])
    falls = -np.diff(degrees)
    assert max(degrees) == 45
    assert np.isin(falls, (0, 1)).mean() > 0.9  # faster where a level's end counts it down
    assert levels == {1, 2, 3, 4}
    assert blocks <= set(range(17))
    assert {0, 1, 2, 16} <= blocks
