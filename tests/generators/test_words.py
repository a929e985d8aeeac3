import json
import unicodedata

import pytest
import torch

from generators.words import (
    BEGIN,
    END,
    PAD,
    SPECIAL,
    UNKNOWN,
    Vocabulary,
    metric_tokens,
    sentence,
    tokenize,
)
from playground.errors import UserError

SENTENCES = [
    "A man's dog doesn't bite, does it?",
    "Two dogs (one brown, one white) run: fast; faster!",
    'The sign says "open" and "come in."',
    "The boys' ball rolls to o'clock 12.",
    "It costs $5, or 50% off for #28.",
    "1,250 points at 10:30, 3.5 times more.",
    "A tri-colored dog - the 2nd one - jumps...",
    "At&t and/or the y-axis: -5°.",
    "팩맨이 유령을 피해 왼쪽으로 간다.",
    "점수는 1,250점이고, 목숨은 3개 남았다!",
    '팩맨(노란 공)이 "빨간 유령"을 쫓는다.',
    "정말? 네, 정말이에요…",
    "Ein süßer Hund läuft über die Straße.",
    "हिन्दी में एक वाक्य है।",
    "👨\u200d👩\u200d👧 wave🙂",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_round_trip(text):
    tokens = tokenize(text)
    assert sentence(tokens) == text.lower().replace("…", "...")
    assert tokenize(sentence(tokens, capital=True)) == tokens
    vocabulary = Vocabulary.build([text], min_count=1)
    assert vocabulary.decode(vocabulary.encode([text]), capital=False) == [sentence(tokens)]
    spelled = Vocabulary.build([text], min_count=1, spell_numbers=True)
    assert spelled.decode(spelled.encode([text]), capital=False) == [sentence(tokens)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man's dog.", ["a", "man", "'s", "dog", "."]),
        ("A man 's dog .", ["a", "man", "'s", "dog", "."]),
        ("He doesn't, can't", ["he", "does", "n't", ",", "ca", "n't"]),
        ("tri-colored o'clock 3.5", ["tri-colored", "o'clock", "3.5"]),
        ("1,000 a,b", ["1,000", "a", ",", "##b"]),
        ('" active . "', ["“", "active", ".", "”"]),
        ("팩맨(공)이 간다", ["팩맨", "##(", "공", ")", "##이", "간다"]),
        ("\u2018빨간 공’이", ["“", "빨간", "공", "”", "##이"]),
        ("'hello' the dogs' ball", ["“", "hello", "”", "the", "dogs", "'", "ball"]),
        ("don’t", ["do", "n't"]),
        ("x_y", ["x", "##_", "##y"]),
        ("\ufeffa\u00adb\tc\n", ["ab", "c"]),
        (" \n", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens


def test_korean_is_alike_from_every_system():
    text = "빨간 공이 튄다."
    assert tokenize(unicodedata.normalize("NFD", text)) == tokenize(text)


def test_photo_captions_are_read_as_one_prints_them():
    text = 'A football player wears the number " 4 " , a man \'s hat and # 28 .'
    printed = 'A football player wears the number "4", a man\'s hat and #28.'
    assert sentence(tokenize(text), capital=True) == printed
    assert sentence(["3", "dogs"], capital=True) == "3 dogs"
    assert sentence(["“", "a"], capital=True) == '"A'
    assert sentence([], capital=True) == ""


def test_metrics_count_no_punctuation():
    text = 'The man\'s "tri-colored" dog, at&t - (really) 50%...'
    tokens = ["the", "man", "'s", "tri-colored", "dog", "at", "&", "t", "really", "50", "%"]
    assert metric_tokens(text) == tokens
    assert metric_tokens("팩맨(공)이 간다!") == ["팩맨", "공", "이", "간다"]


# Vocabulary


def test_vocabulary_by_counts():
    captions = ["a dog runs", "a dog sits", "a cat"]
    vocabulary = Vocabulary.build(captions, min_count=2)
    assert vocabulary.words == (*SPECIAL, "a", "dog")
    assert len(vocabulary) == 6
    assert Vocabulary.build(captions, min_count=1).words[4:] == ("a", "dog", "cat", "runs", "sits")
    with pytest.raises(UserError, match="No word stands 4 times"):
        Vocabulary.build(captions, min_count=4)
    with pytest.raises(UserError):
        Vocabulary.build([" "], min_count=1)


def test_batches_are_padded_and_unknown_words_marked():
    vocabulary = Vocabulary(["a", "dog", "."])
    numbers = vocabulary.encode(["A dog.", "", "a unicorn"])
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [
        [BEGIN, 4, 5, 6, END],
        [BEGIN, END, PAD, PAD, PAD],
        [BEGIN, 4, UNKNOWN, END, PAD],
    ]
    assert vocabulary.decode(numbers) == ["A dog.", "", "A <unk>"]
    assert vocabulary.encode(["a dog.", "a"], longest=2).tolist() == [
        [BEGIN, 4, 5, END],
        [BEGIN, 4, END, PAD],
    ]
    assert vocabulary.encode([]).shape == (0, 0)


def test_decoding_ends_at_the_end():
    vocabulary = Vocabulary(["a", "dog"])
    assert vocabulary.decode(torch.tensor([[4, 5, END, 4, 4]]), capital=False) == ["a dog"]
    assert vocabulary.tokens([BEGIN, 4, PAD, 5]) == ["a", "dog"]
    for number in (6, -1):
        with pytest.raises(ValueError, match="vocabulary of 6"):
            vocabulary.tokens([number])


def test_spelled_numbers_say_what_was_never_seen():
    vocabulary = Vocabulary.build(["score 12", "점수 12점"], min_count=1, spell_numbers=True)
    assert vocabulary.pieces("score 1,250") == ["score", "1", "##,", "##2", "##5", "##0"]
    numbers = vocabulary.encode(["score 98765 4 321", "점수 9070점"])
    assert UNKNOWN not in numbers
    assert vocabulary.decode(numbers) == ["Score 98765 4 321", "점수 9070점"]
    plain = Vocabulary.build(["score 12"], min_count=1)
    assert plain.decode(plain.encode(["score 34"])) == ["Score <unk>"]


def test_further_words_come_behind():
    one = Vocabulary(["b", "a"])
    assert one.extended(Vocabulary(["c", "a", "d"])).words == (*SPECIAL, "b", "a", "c", "d")
    assert one.extended(Vocabulary(["a"])).fingerprint == one.fingerprint


def test_json_and_fingerprint():
    vocabulary = Vocabulary.build(SENTENCES, min_count=1, spell_numbers=True)
    again = Vocabulary.from_json(vocabulary.to_json(), "a.safetensors")
    assert again.words == vocabulary.words
    assert again.spell_numbers
    assert again.fingerprint == vocabulary.fingerprint
    assert len(again.fingerprint) == 16
    others = [Vocabulary(["a", "b"]), Vocabulary(["b", "a"]), Vocabulary(["a", "b"], True)]
    assert len({other.fingerprint for other in others}) == 3


GOOD = {"format": 1, "spell_numbers": False, "words": ["a", "b"]}


@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "[]", "null", "[" * 100_000, json.dumps({})),
        json.dumps({**GOOD, "format": 2}),
        json.dumps({**GOOD, "words": "ab"}),
        json.dumps({**GOOD, "words": ["a", 1]}),
        json.dumps({**GOOD, "words": ["a", "a"]}),
        json.dumps({**GOOD, "words": ["a", "<end>"]}),
        json.dumps({**GOOD, "words": ["a", ""]}),
        json.dumps({**GOOD, "words": ["a", "b c"]}),
        json.dumps({**GOOD, "spell_numbers": 1}),
    ],
)
def test_foreign_json_is_one_sentence(text):
    assert Vocabulary.from_json(json.dumps(GOOD), "x").words[4:] == ("a", "b")
    with pytest.raises(UserError, match=r"^The vocabulary in m\.safetensors is damaged") as raised:
        Vocabulary.from_json(text, "m.safetensors")
    assert "\n" not in str(raised.value)


def test_flickr8k_captions_come_back(data_dir):
    file = data_dir / "flickr8k" / "captions.json"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    about = json.loads(file.read_text("utf-8"))
    for text in [text for entry in about.values() for text in entry["captions"]][::20]:
        tokens = tokenize(text)
        assert tokenize(sentence(tokens)) == tokens


def test_each_sentence_begins_with_a_capital():
    text = "in pong, green leads 3 to 1. the ball is far! ms. pac-man waits. 20 points"
    shown = sentence(tokenize(text), capital=True)
    assert shown == "In pong, green leads 3 to 1. The ball is far! Ms. Pac-man waits. 20 points"
