"""A captioner for the zoo: an encoder of published weights is named, after a look at it."""

from dataclasses import replace

import pytest
import torch

from generators.captioner import Captioner, Parts, Plan, load, load_own
from generators.words import Vocabulary
from playground.errors import UserError
from playground.weights import ZOO
from scripts.benchmarks.cards import plain
from scripts.benchmarks.zoo_captioner import ENLARGED, named, sheet

ARCADE = ZOO / "arcade.safetensors"
PLAN = Plan(
    backbone="arcade", layer=None, grid=(2, 2), size=(64, 64), frames=1, decoder="transformer",
    hidden=8, dropout=0.0, registers=(), published=None,
)  # fmt: skip


def made(encoder):
    words = Vocabulary(["a", "dog", "runs", "."])
    return Captioner(Parts(PLAN, encoder, len(words)).eval(), words, PLAN, {"updates": 3})


def test_published_weights_are_named_and_not_kept(tmp_path):
    torch.manual_seed(0)
    own = made(PLAN.encoder(ARCADE).eval())
    picture = torch.rand(1, 3, 64, 64)
    for found, name in ((own, "own"), (named(own, "arcade", ARCADE), "named")):
        found.save(tmp_path / name)
    sizes = [(tmp_path / name).stat().st_size for name in ("named", "own")]
    assert sizes[0] < sizes[1] / 4
    first, second = (load(tmp_path / name).look(picture)[0] for name in ("own", "named"))
    assert first.words == second.words and first.score == pytest.approx(second.score, abs=0.01)
    assert load(tmp_path / "named").plan == replace(PLAN, published="arcade")


def test_an_encoder_that_learned_is_not_the_published_one():
    other = PLAN.encoder(ARCADE)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    with pytest.raises(UserError, match="it holds its own weights"):
        named(made(other), "arcade", ARCADE)
    with pytest.raises(UserError, match="--encoder FILE"):
        named(made(other), "arcade", None)


def test_the_sheet_shows_the_games_that_are_known():
    class Parrot:
        games = ("pong", "breakout", "skiing")

        def caption(self, frames, register):
            assert frames.shape == (4, 210, 160, 3) and register == "comment"
            return ["Hello."]

    found = sheet(Parrot())
    height, width = found.shape[:2]
    assert 2 * 160 * ENLARGED < width < 3 * 160 * ENLARGED and height > 210 * ENLARGED


def test_cards_have_no_folders():
    given = {"data": "flickr8k:/home/me/flickr8k", "weights": "/home/me/a.pth", "start": "runs/a",
             "more": "atari:pong,boxing", "steps": 3}  # fmt: skip
    assert plain(given) == {
        **given, "data": "flickr8k:flickr8k", "weights": "a.pth",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["games", "photos"])
def test_files_that_ship_have_no_folders(name):
    card = load_own(f"zoo:{name}").card
    assert plain(card) == card and card["data"]
