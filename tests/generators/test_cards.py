"""What ships: each generator loads, is small, and has a card that tells where it comes from."""

import numpy as np
import pytest

from generators import captioner, dcgan, painter
from generators.cards import ZOO, cards, told

LARGEST_BYTES = 4_000_000
CARDS = cards()


def test_every_file_has_a_card_and_every_card_a_file():
    assert sorted(CARDS) == sorted(path.stem for path in ZOO.glob("*.safetensors"))
    assert {card["task"] for card in CARDS.values()} == {"style", "dcgan", "caption"}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_tells_how_it_came_to_be(name):
    card = CARDS[name]
    assert (ZOO / f"{name}.safetensors").stat().st_size == card["bytes"] <= LARGEST_BYTES
    assert card["command"].startswith(f"python scripts/play.py train {card['task']} ")
    assert card["updates"] > 0 and card["minutes"] > 0 and card["curve"] and card["hardware"]
    assert told(card)[0]


def test_the_painter_names_every_painting():
    card, shipped = CARDS["painter"], painter.load()
    assert list(card["styles"]) == list(shipped.styles) and len(shipped.styles) >= 8
    for credit in card["styles"].values():
        assert credit["title"] and credit["painter"] and credit["year"]
        assert credit["terms"] == "public domain"
    assert card["bytes"] <= 500_000 and "ImageNet" in card["terms"]
    pixels = np.zeros((210, 160, 3), np.uint8)
    pixels[50:60, 40:60] = 255
    starry, scream = (
        shipped.paint(pixels, shipped.mixture(name)).astype(int).mean((0, 1))
        for name in ("starry_night", "the_scream")
    )
    assert starry[2] > starry[0] and scream[0] > scream[2]  # a blue one, an orange one


def test_the_captioner_and_the_dreamer_know_their_games():
    words = captioner.load()
    (still,) = words.caption(np.zeros((1, 210, 160, 3), np.uint8), "describe", 1)
    assert still and len(CARDS["games"]["games"]) >= 9
    assert CARDS["games"]["scores"]["chasers"]["describe"]["game"][0] > 99
    photos, card = captioner.load_own("zoo:photos"), CARDS["photos"]
    assert (photos.plan.backbone, photos.plan.published) == ("squeezenet", "imagenet")
    assert "Flickr8k" in card["data"] and "research" in card["data"]
    assert card["scores"]["3"]["bleu4"] > 18
    dreamer = dcgan.load("zoo:dreams")
    assert list(dreamer.classes) == CARDS["dreams"]["classes"]
