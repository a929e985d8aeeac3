"""Captions: nothing false is said, nothing main is missing, and all of it is understood again.

Scenes are drawn at random (objects anywhere, any figures) or played; both go the whole way from
boxes and facts through sentences and back.
"""

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import numpy as np
import pytest

from agents import ram as ram_facts
from agents.commentary import (
    GAMES,
    SPACING,
    TABLES,
    Example,
    comment,
    describe,
    examples,
    judge,
    mentions,
    parse,
    statements,
    tokens,
    vocabulary,
)
from agents.commentary.facts import BORDER_PX
from agents.commentary.grammar import clause
from agents.commentary.slots import NUMBERS
from agents.commentary.speech import answers_in, description, remark, words_of
from agents.commentary.table import Moment, Statement, Table, Truth, Value
from playground.errors import UserError
from playground.frames import Box

SCENES = 120  # of each game and kind; thousands of sentences in all
MOVING = re.compile(
    r"\b(mov|fly(?!ing saucer)|flies|head|step|runn(?!ing low)|slid|turning|just|goes|going|"
    r"rising|diving|cruis|racing|fall|coming|walk|hurry|backing|gliding|"
    r"lands|scores|appears|sends|stays where|stands still)"
)
# number of boxes: what the games have at once
CROWDS = {"invader": 36, "fish": 12, "submarine": 4, "diver": 4, "demon": 3, "bomb": 2, "tree": 3}
ONE = ("player", "enemy", "ball", "missile", "saucer", "shot", "torpedo", "patrol", "fruit")
GHOSTS = ("blinky", "pinky", "inky", "sue")
SIZES = {"pong": {"player": (4, 16), "enemy": (4, 16), "ball": (2, 4)}}


def drawn_moments(table: Table, count: int, rng: random.Random) -> list[Moment]:
    """`count` moments with every object anywhere in the field, moving or not, some of them gone."""
    names = {told.box for told in (*table.things, *table.crowds)}
    names |= {box for near in table.nears for box in near.boxes}
    left, top, right, bottom = table.area
    paths = []
    for name in sorted(names):
        for _ in range(rng.randint(0, CROWDS[name]) if name in CROWDS else 1):
            width, height = SIZES.get(table.game, {}).get(name, (8, 8))
            start = rng.randint(left, right - width), rng.randint(top, bottom - height)
            speed = rng.choice((-9, -2, -1, 0, 0, 1, 3, 8)), rng.choice((-9, -2, 0, 0, 1, 4, 9))
            here = [rng.random() > 0.1 or name == "player"] * count
            if rng.random() < 0.1 and name != "player":
                here[rng.randrange(count)] ^= True
            seen = [rng.random() > 0.3 for _ in range(count)]
            paths.append((name, width, height, start, speed, here, seen))
    facts = ram_facts.facts(table.game, np.zeros(128, np.uint8))
    base = {name: rng.choice((0, 1, 2, 3, rng.randint(0, 36))) for name in facts}
    moments = []
    for t in range(count):
        boxes, hidden = [], set()
        for name, width, height, (x, y), (dx, dy), here, seen in paths:
            if here[t]:
                at = min(max(x + t * dx, 0), 159 - width), min(max(y + t * dy, 0), 200 - height)
                boxes.append(Box(name, *at, width, height))
                colours = {told.box for told in (*table.things, *table.crowds) if told.colours}
                if name in colours and not seen[t]:
                    hidden.add(boxes[-1])
        if table.derive is not None:
            boxes = [box for box in boxes if box.name not in ("fleet", "gate")]
            boxes += list(table.derive(boxes))
        if t and rng.random() < 0.15:
            for name in base:
                base[name] = max(base[name] + rng.choice((0, 0, 1, -1)), 0)
        moments.append(Moment(dict(base), tuple(boxes), frozenset(hidden)))
    return moments


def truths(game: str) -> Iterator[Truth]:
    rng = random.Random(game)
    for _ in range(SCENES):
        for count in (1, 4):
            yield statements(TABLES[game], drawn_moments(TABLES[game], count, rng))


def check(truth: Truth, rng: random.Random) -> None:
    """A description and a comment are true, complete, and understood exactly."""
    for say in (description, remark):
        text, stated, _ = spoken = say(truth, rng)
        parsed = parse(text)
        assert parsed.unparsed == "", text
        assert parsed.statements == stated, text
        assert stated <= truth.said, text
        judged = judge(text, truth)
        assert not judged.false and judged.true == stated
        assert set(tokens(text)) <= vocabulary()
        for start, end, _ in answers_in(spoken, truth.game):
            assert 0 <= start < end <= len(text)
        assert "  " not in text and text[0].isupper() and text[-1] in ".!"
        sentences = len(re.findall(r"[.!](?= |$)", text.replace("Ms.", "Ms")))
        if say is description:
            assert judged.mentioned == truth.main == judged.main, text
            assert 1 <= sentences <= 3, text
        else:
            assert sentences == 1, text


@pytest.mark.parametrize("game", GAMES)
def test_what_is_said_of_random_scenes_is_true_complete_and_understood(game: str) -> None:
    rng = random.Random(1)
    for truth in truths(game):
        check(truth, rng)


@pytest.mark.parametrize("game", GAMES)
def test_single_frames_never_speak_of_motion(game: str) -> None:
    rng = random.Random(2)
    for truth in itertools.islice(truths(game), 0, None, 2):
        relations = {statement.relation for statement in truth.tolerated}
        assert not relations & {"x motion", "y motion", "rises by", "falls by", "appears"}
        for text in (describe(truth, rng), comment(truth, rng)):
            assert not MOVING.search(text), text


def displayed(clips: Sequence[Example]) -> dict[tuple[str, Value], np.ndarray]:
    """Of each value of a figure that is told, the pixels where the screen shows it."""
    found = {}
    for one in clips:
        answers = one.truth.answers()
        for name, x, y, width, height in map(astuple, TABLES[one.game].displays):
            if (name, "is") in answers:
                pixels = one.frames[-1][y : y + height, x : x + width]
                found[name, answers[name, "is"]] = pixels
    return found


def test_signs_are_digits_from_the_left_or_the_whole_display() -> None:
    skiing, boxing = TABLES["skiing"], TABLES["boxing"]
    signs = list(skiing.signs({("clock", "is"): 83, ("gates", "is"): 7}))
    assert [(part, answer) for part, answer, _ in signs] == [
        ("gates digit 0", "0"), ("gates digit 1", "7"),
        ("clock digit 0", "1"), ("clock digit 1", "2"), ("clock digit 2", "3"),
    ]  # fmt: skip
    assert [box.x for _, _, box in signs] == [66, 74, 58, 66, 74]
    assert not list(boxing.signs({("gates", "is"): 7}))
    ((part, answer, box),) = TABLES["seaquest"].signs({("oxygen", "is"): "low"})
    assert (part, answer, box.width) == ("oxygen is", "low", 66)


@pytest.mark.parametrize("game", ["pong", "boxing", "seaquest", "space_invaders"])
def test_what_is_said_of_play_is_true_and_repeats_by_seed(game: str) -> None:
    first = list(itertools.islice(examples(game, 3), 24))
    again = list(itertools.islice(examples(game, 3), 24))
    other = next(examples(game, 4))
    rng = random.Random(5)
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.frames, same.frames) and one.truth == same.truth
        assert one.frames.shape == (4, 210, 160, 3) and one.frames.dtype == np.uint8
        still = one.still()
        assert np.array_equal(still.frames[0], one.frames[-1]) and len(still.frames) == 1
        for example in (one, still):
            assert example.game == game
            check(example.truth, rng)
    shown = displayed(first)
    assert {name for name, _ in shown} == {box.name for box in TABLES[game].displays}
    for (name, value), pixels in shown.items():
        others = [p for (n, v), p in shown.items() if n == name and v != value]
        assert not any(np.array_equal(pixels, p) for p in others), (name, value)
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for one in first:
        for part, sign, box in TABLES[game].signs(one.truth.answers()):
            pixels = one.frames[-1][box.y : box.y + box.height, box.x : box.x + box.width]
            for before, known in drawn.setdefault(part, {}).items():
                assert before == sign or not np.array_equal(known, pixels), (part, sign, before)
            drawn[part][sign] = pixels
    assert not np.array_equal(first[0].frames, other.frames)
    assert describe(first[0].truth, random.Random(0)) == describe(first[0].truth, random.Random(0))
    with pytest.raises(UserError, match="No captions are known for tetris"):
        next(examples("tetris", 0))


def pong(*moments: Sequence[Box], ours: int = 3, theirs: int = 5) -> Truth:
    facts = {"player_score": ours, "enemy_score": theirs}
    return statements(TABLES["pong"], [Moment(dict(facts), tuple(boxes)) for boxes in moments])


def ball(x: int, y: int) -> Box:
    return Box("ball", x - 1, y - 2, 2, 4)


def test_near_a_border_both_places_are_true_and_the_nearer_is_said() -> None:
    border = 160 / 3  # of left and center
    for x, said, tolerated in (
        (30, "left", {"left"}),
        (round(border - BORDER_PX + 1), "left", {"left", "center"}),
        (round(border + BORDER_PX - 1), "center", {"left", "center"}),
        (round(border + BORDER_PX + 2), "center", {"center"}),
        (80, "center", {"center"}),
        (130, "right", {"right"}),
    ):
        truth = pong([ball(x, 60)])
        assert truth.answers()["ball", "column"] == said
        allowed = {s.value for s in truth.tolerated if s.question == ("ball", "column")}
        assert allowed == tolerated
    near = pong([ball(round(border - 2), 60)])
    judged = judge("The ball is at the top center.", near)
    assert not judged.false and ("ball", "column") in judged.mentioned
    assert (
        Statement("ball", "column", "right") in judge("The ball is at the top right.", near).false
    )


def test_motion_is_that_of_the_end_and_a_turn_is_a_bounce() -> None:
    paddle = Box("player", 140, 90, 4, 16)
    clip = [[ball(x, y), paddle] for x, y in ((120, 80), (132, 90), (130, 100), (118, 110))]
    truth = pong(*clip)
    answers = truth.answers()
    assert answers["ball", "x motion"] == "left" and answers["ball", "y motion"] == "down"
    assert answers["green paddle", "y motion"] == "none"
    # the middle step is too short to tell: a bounce off green, seen on both sides of it
    assert Statement("ball", "bounces off", "green paddle") in truth.said
    wall = pong(*([ball(x, y)] for x, y in ((60, 60), (70, 45), (80, 45), (90, 60))))
    assert Statement("ball", "bounces off", "wall") in wall.said
    slow = pong(*([ball(60, y)] for y in (60, 60, 61, 61)))
    assert ("ball", "y motion") not in slow.answers()
    doubtful = {s.value for s in slow.tolerated if s.question == ("ball", "y motion")}
    assert doubtful == {"none", "down"}
    jump = pong([ball(20, 60)], [ball(150, 60)])
    assert not any(s.relation == "x motion" for s in jump.tolerated)


def falling(*heights: int | None) -> Truth:
    """Breakout with a ball at these heights, None where it is gone, at each emulator frame."""
    facts = {"score": 0, "lives": 3, "bricks": 108}
    between = [() if y is None else (ball(60 + t, y),) for t, y in enumerate(heights)]
    moments = [Moment(dict(facts), boxes) for boxes in between[::5]]
    return statements(TABLES["breakout"], moments, 5, between)


def up_or_down(truth: Truth) -> tuple[set[str | int], set[str | int]]:
    """What is said of the ball's way, and what is tolerated."""
    asked = ("ball", "y motion")
    said, tolerated = (
        {s.value for s in found if s.question == asked} for found in (truth.said, truth.tolerated)
    )
    return said, tolerated


def test_what_has_just_turned_back_goes_either_way() -> None:
    flies = list(range(100, 148, 3))
    assert up_or_down(falling(*flies)) == ({"down"}, {"down"})
    assert up_or_down(falling(*flies[:-1], flies[-3])) == (set(), {"up", "down"})
    assert up_or_down(falling(*flies[:-2], *flies[-4:-2][::-1])) == (set(), {"up", "down"})
    assert up_or_down(falling(*flies[:-5], *flies[-10:-5][::-1])) == ({"up"}, {"up"})
    turned = [*range(130, 136), *range(134, 124, -1)]  # in the middle of the clip
    assert up_or_down(falling(*turned)) == ({"up"}, {"up"})


def test_what_comes_anew_is_another_one() -> None:
    lost, served = [180, 183, 186, 189, 192, None], list(range(120, 150, 3))
    truth = falling(*lost, *served)
    assert up_or_down(truth) == ({"down"}, {"down"})
    assert not any(s.relation == "bounces off" for s in truth.tolerated)
    late = [150, *range(153, 192, 3), None, 120]  # only the last frame shows it
    assert up_or_down(falling(*late)) == (set(), {"none"})
    assert up_or_down(falling(*late[2:], 122, 125)) == (set(), {"none", "down"})
    # Set elsewhere along one axis, of which the other knows nothing.
    facts = {"score": 0, "lives": 3, "bricks": 108}
    spots = [ball(100, 100), ball(20, 110)]
    jump = statements(TABLES["breakout"], [Moment(dict(facts), (spot,)) for spot in spots])
    assert up_or_down(jump) == (set(), set())
    with pytest.raises(ValueError, match="3 frames are not those of 2 moments"):
        statements(TABLES["breakout"], [Moment(facts, ())] * 2, 5, [()] * 3)


def test_scores_by_hand() -> None:
    before = Moment({"player_score": 3, "enemy_score": 5}, (ball(150, 60),))
    after = Moment({"player_score": 4, "enemy_score": 5}, ())
    truth = statements(TABLES["pong"], [before, after])
    assert truth.said == {
        Statement("game", "is", "pong"),
        Statement("ball", "is", "absent"),
        Statement("green points", "is", 4),
        Statement("green points", "rises by", 1),
        Statement("orange points", "is", 5),
        Statement("lead", "is", "orange paddle"),
    }


def test_a_foreign_caption_is_judged_fact_by_fact() -> None:
    truth = pong([ball(30, 60), Box("player", 140, 150, 4, 16), Box("enemy", 16, 50, 4, 16)])
    text = "in pong , the ball is at the top left and Orange leads 5 to 4 , said my grandmother"
    judged = judge(text, truth)
    assert judged.true == {
        Statement("game", "is", "pong"),
        Statement("ball", "row", "top"),
        Statement("ball", "column", "left"),
        Statement("lead", "is", "orange paddle"),
        Statement("orange points", "is", 5),
    }
    assert judged.false == {Statement("green points", "is", 4)}
    assert judged.unparsed == "said my grandmother"
    assert ("green points", "is") in judged.main - judged.mentioned
    # another game's things are not there
    assert judge("The chicken is at the top.", truth).false


def test_what_blinks_is_told_while_it_is_seen() -> None:
    table = TABLES["space_invaders"]
    cannon, bomb = Box("player", 70, 185, 7, 10), Box("bomb", 73, 150, 1, 8)
    facts = {"score": 30, "lives": 3, "invaders": 0}
    shown = Moment(facts, (cannon, bomb))
    unseen = Moment(facts, (cannon, bomb), frozenset({bomb}))
    above = Statement("bombs", "column from cannon", "level")
    assert above in statements(table, [shown]).said
    still = statements(table, [unseen])
    assert ("bombs", "count") not in still.answers() and ("bombs", "count") not in still.main
    assert {Statement("bombs", "count", n) for n in (0, 1)} <= still.tolerated
    assert above in still.tolerated - still.said
    clip = statements(table, [unseen, shown, shown, unseen])
    assert clip.answers()["bombs", "count"] == 1


def test_a_skier_without_rising_slope_has_stopped() -> None:
    skier, facts = Box("player", 40, 39, 8, 20), {"gates": 20, "centiseconds": 533}
    for step, said in ((0, "no"), (5, "yes"), (1, None)):
        trees = [Box("tree", 100, 120 - step * t, 16, 30) for t in range(4)]
        clip = [Moment(dict(facts), (skier, tree)) for tree in trees]
        truth = statements(TABLES["skiing"], clip)
        assert truth.answers().get(("skier", "downhill")) == said
        assert truth.answers()["skier", "x motion"] == "none"
        assert truth.answers()["clock", "is"] == 5


def test_what_barely_enters_the_field_may_be_counted_or_not() -> None:
    skier, facts = Box("player", 40, 39, 8, 20), {"gates": 20, "centiseconds": 533}
    whole, slim = Box("tree", 100, 90, 16, 30), Box("tree", 149, 172, 3, 6)
    truth = statements(TABLES["skiing"], [Moment(dict(facts), (skier, whole, slim))])
    assert ("trees", "count") not in truth.answers() and ("trees", "count") not in truth.main
    counts = {s.value for s in truth.tolerated if s.question == ("trees", "count")}
    assert counts == {1, 2}


def test_what_has_no_shape_yet_may_be_counted_or_not() -> None:
    demons = Box("demon", 60, 60, 16, 8), Box("demon", 90, 80, 16, 8)
    forming, facts = Box("shapeless demon", 20, 40, 120, 8), {"score": 0, "lives": 3}
    table = TABLES["demon_attack"]
    truth = statements(table, [Moment(dict(facts), (*demons, forming))])
    assert ("demons", "count") not in truth.answers() and ("demons", "count") not in truth.main
    assert {s.value for s in truth.tolerated if s.question == ("demons", "count")} == {2, 3}
    sure = statements(table, [Moment(dict(facts), demons)])
    assert {s.value for s in sure.tolerated if s.question == ("demons", "count")} == {2}
    assert sure.answers()["demons", "count"] == 2


def test_mentions_are_the_boxes_of_what_is_named() -> None:
    text = "The green paddle has just scored, and the ball is out of play."
    found = [(text[a:b], name) for a, b, name in mentions(text, "pong")]
    assert found == [("The green paddle", "player"), ("the ball", "ball")]
    example = next(examples("pong", 2))
    assert {box.name for box in example.boxes("player")} <= {"player"}


def test_answers_are_found_in_what_is_said_and_belong_to_what_it_is_about() -> None:
    rng, slots, fixed = random.Random(0), set(), set()
    for truth in itertools.islice(truths("pong"), 60):
        spoken = description(truth, rng)
        slots |= {(spoken.text[a:b], box) for a, b, box in answers_in(spoken, "pong")}
        spoken = remark(truth, rng)
        fixed |= {(spoken.text[a:b].strip(), box) for a, b, box in answers_in(spoken, "pong")}
    assert ("straight down", "ball") in slots and ("at the bottom", "player") in slots
    assert any(text[0].isdigit() and box == "green points" for text, box in slots)
    assert {box.name for box in TABLES["pong"].displays} == {"green points", "orange points"}
    assert ("is heading for", "ball") in fixed  # the words around its nouns
    assert {box for text, box in fixed if "level" in text or "too low" in text} == {""}  # of two


@pytest.mark.parametrize("game", GAMES)
def test_every_noun_is_a_box_that_the_game_has(game: str) -> None:
    table = TABLES[game]
    known = {told.box for told in (*table.things, *table.crowds)}
    known |= {box for near in table.nears for box in near.boxes} | {"", "ghost"}
    assert {box for box, _ in table.nouns.values()} <= known


@pytest.mark.parametrize("game", GAMES)
def test_every_way_to_say_a_clause_is_understood_as_it(game: str) -> None:
    """With the answers of random scenes; ways that mean two things would be found here."""
    rng = random.Random(6)
    used = set()
    for truth in itertools.islice(truths(game), 80):
        answers = truth.answers()
        for each in words_of(game).all:
            states = each.states(answers)
            if states is None:
                continue
            used.add(each)
            for style in range(3):
                text = each.say(answers, rng, style).text
                assert parse(text).statements == states, text
    assert len(used) > 0.6 * len(words_of(game).all)


def test_the_vocabulary_is_small_and_closed() -> None:
    assert len(vocabulary()) < 400
    assert all(re.fullmatch(r"ms\.|[a-z]+(-[a-z]+)*|\d|[.,;:!]", word) for word in vocabulary())
    assert NUMBERS[12] == "twelve" and NUMBERS[36] == "thirty-six" and len(NUMBERS) == 40
    assert SPACING % 2 == 1  # or what is drawn by turns stays unseen


def test_patterns_that_cannot_be_inverted_are_refused() -> None:
    table = TABLES["pong"]
    for wrong in ("{B} is (<place ball>|away)", "{B} (is|was", "{B} is <colour ball>"):
        with pytest.raises((ValueError, StopIteration)):
            clause(table, wrong)


def test_no_rival_is_near_where_there_is_none() -> None:
    facts = ram_facts.facts("enduro", np.zeros(128, np.uint8))
    alone = Moment(facts, (Box("player", 70, 140, 16, 11),))
    truth = statements(TABLES["enduro"], [alone])
    assert not judge("No rival is near the race car.", truth).false
    beside = Moment(facts, (*alone.boxes, Box("car", 90, 140, 16, 11)))
    assert judge("No rival is near our car.", statements(TABLES["enduro"], [beside])).false
