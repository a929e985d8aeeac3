"""Clips as pairs, and the judge of what is said of them."""

import random

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from agents.commentary import describe, store
from generators.caption_pairs import vocabulary_of
from generators.captioner import Caption
from generators.words import END
from scripts.game_captions import (
    GamePairs,
    count,
    game_critic,
    game_marks,
    judge_games,
    looked_at,
    spans_of,
)


@pytest.fixture(scope="module")
def pairs():
    roster = (("random", 1.0, True),)
    return GamePairs(store.gather(["pong"], 6, 1, roster=roster, processes=1), 0.5)


def caption(text, pairs, cell=(0, 0)):
    words = vocabulary_of(pairs, 1, True).pieces(text)
    looked = np.full((len(words), 13, 10), 0.001)
    looked[(slice(None), *cell)] = 1.0
    return Caption(text, -1.0, words, looked)


def test_after_the_clips_come_single_pictures(pairs):
    assert len(pairs) == 9
    assert len(set(pairs.stills)) == 3
    clips, stills = pairs.read(torch.tensor(pairs.stills)), pairs.read(torch.tensor([6, 7, 8]))
    assert clips.shape == (3, 4, 3, 210, 160) and clips.dtype == torch.uint8
    assert torch.equal(stills[:, -1], clips[:, -1]) and not stills[:, :-1].any()
    relations = {s.relation for i in (6, 7, 8) for s in pairs.known(i).truth.said}
    assert not relations & {"x motion", "y motion", "rises by"}


def test_single_pictures_are_of_all_games_and_emulators():
    class Numbers:
        games = ("pong", "breakout")

        def __len__(self):
            return 160

    stills = np.array(GamePairs(Numbers(), 0.25).stills)
    assert len(set(stills.tolist())) == 40
    assert set(stills % 2) == {0, 1} and set(stills // 2 % 8) == set(range(8))


def test_what_is_told_names_boxes_in_shares(pairs):
    for index in range(6):
        told = pairs.told(index, "describe", random.Random(index))
        names = [one for one in told.named if not one.answers]
        assert names and len(names) < len(told.named)
        for one in names:
            name = told.text[one.start : one.end].lower()
            assert name.split()[-1] in ("paddle", "ball", "green", "orange")
            assert one.boxes
        assert all(0 <= side <= 1.2 for one in told.named for box in one.boxes for side in box)
    assert pairs.told(0, "comment", random.Random(0)).text


def test_what_is_shown_is_what_single_things_do(pairs, monkeypatch):
    names = {"ball": "ball", "green paddle": "player", "orange paddle": "enemy"}
    found, digits, changes = set(), set(), []
    for index in range(9):
        truth, boxes = pairs.known(index)
        shown = pairs.shown(index)
        score = truth.answers()["green points", "is"]
        numbers = [one.answer for one in shown if "green points digit" in one.question]
        assert "".join(numbers) == f"{score:02}"  # by their digits, from the left
        at = {box.name: box for box in boxes}
        true = {
            (f"pong {s.subject} {s.relation}", s.value, at[names[s.subject]].x / 160)
            for s in truth.said
            if names.get(s.subject) in at
        }
        for one in shown:
            if " digit " in one.question:
                digits.add((one.question, one.box))
            elif one.question.endswith(" changes"):
                subject, way = one.question[5:-8], one.answer.removeprefix("rises by ")
                risen = truth.answers().get((subject, "rises by"))
                assert way == ("stands" if risen is None else str(risen))
                changes.append((index, subject))
            else:
                assert (one.question, one.answer, one.box[0]) in true
                found.add(one.question)
    motions = {"pong ball x motion", "pong ball y motion", "pong green paddle y motion"}
    assert motions <= found
    assert not any(" row" in name or name.endswith((" is", " column")) for name in found)
    assert not any("motion" in one.question for i in (6, 7, 8) for one in pairs.shown(i))
    # Of clips, not of the pictures after them.
    assert changes == [(i, f"{side} points") for i in range(6) for side in ("green", "orange")]
    assert len(digits) == 4  # two of each number, always in the same place
    known = pairs.known(0)
    assert len(pairs.shown(0)) > 6
    monkeypatch.setattr(pairs, "known", lambda i: known._replace(boxes=known.boxes * 2))
    assert len(pairs.shown(0)) == 6  # of two things it is not known which one is meant


def test_the_vocabulary_says_all(pairs):
    words = vocabulary_of(pairs, 1, True)
    for index in range(9):
        text = pairs.told(index, "describe", random.Random(index + 50)).text
        assert words.decode(words.encode([text])[:, 1:])[0].lower() == text.lower()


def test_a_true_description_has_full_marks(pairs):
    said = [caption(describe(pairs.known(i).truth, random.Random(i)), pairs) for i in range(6)]
    figures = judge_games(pairs, range(6), {"describe": said, "comment": said})
    assert figures["describe_true"] == figures["describe_mentioned"] == figures["score"] == 100
    assert figures["describe_game"] == 100 and figures["describe_strange"] == 0
    assert "comment_mentioned" not in figures and figures["comment_true"] == 100
    assert list(game_marks(pairs, range(6), said)) == [100] * 6
    silent = [caption("Who knows?", pairs) for _ in said]
    figures = judge_games(pairs, range(6), {"describe": silent, "comment": said})
    assert figures["score"] == pytest.approx(100 / 3)  # who states nothing says nothing true


def test_falsehood_and_silence_cost(pairs):
    wrong = "This is Breakout. Green has 77 points and orange has 3."
    tally = count(pairs, [0], [caption(wrong, pairs)])
    assert tally.false >= 2 and tally.rightly == 0 and tally.named == 1
    assert tally.mentioned == 0 and tally.main == len(pairs.known(0).truth.main)
    nothing = Caption("", 0.0, [], np.zeros((0, 13, 10)))
    assert game_marks(pairs, [0], [nothing])[0] < 0
    assert count(pairs, [0], [caption("A zebra sings.", pairs)]).strange == 1


def test_where_it_looked_may_be_one_cell_off(pairs):
    box = [(0.5, 0.5, 0.55, 0.55)]  # cells (6, 5) and (7, 5) of 13 x 10
    for cell, right in (((6, 5), True), ((5, 4), True), ((8, 6), True), ((3, 5), False)):
        one = caption("The ball is here.", pairs, cell)
        assert looked_at(one, 4, 8, box) == right


def test_tokens_stand_where_their_letters_are(pairs):
    one = caption("Green has 120 points.", pairs)
    shown = [one.text[a:b] for a, b in spans_of(one)]
    assert shown == ["Green", "has", "1", "2", "0", "points", "."]


def test_rewards_are_by_what_is_true(pairs):
    words = vocabulary_of(pairs, 1, True)
    rewards = game_critic(pairs, words)
    rng = random.Random(0)
    for register in ("describe", "comment"):
        texts = [pairs.told(index, register, rng).text for index in range(9)]
        said = pad_sequence([words.encode([text])[0, 1:] for text in texts], True, END)
        right = rewards(said, torch.arange(9), register)
        assert right.shape == (9,) and float(right.min()) > 0 and float(right.max()) <= 1
    full = pairs.told(0, "describe", rng).text
    lying = f"{full} The paddles are tied at 17."
    two = pad_sequence([words.encode([text])[0, 1:] for text in (full, lying)], True, END)
    honest, false = rewards(two, torch.tensor([0, 0]), "describe").tolist()
    assert honest == 1 and false < 0.6
