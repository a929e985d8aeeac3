"""Game frames as labelled pictures: distinct, of all games alike, held-out ones, their file."""

import itertools
import zlib

import numpy as np
import pytest
import torch

from agents import pictures as game_pictures
from agents.pictures import game_pictures as gather
from playground.data import Pictures
from playground.errors import UserError

GAMES = ["pong", "breakout"]


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_pictures, "PLAYERS", 2)  # of each game, one of them the zoo's agent
        patch.setattr(game_pictures, "BATCH", 20)
        patch.setattr(game_pictures, "LEAST_HELD_OUT", 8)
        patch.setattr(game_pictures, "ENOUGH", 12)
        yield


@pytest.fixture(scope="module")
def gathered(small):
    said: list[str] = []
    return *gather(GAMES, 32, 30, seed=1, say=said.append), said


def pixels(found: Pictures) -> torch.Tensor:
    return found.read(torch.arange(len(found)))


def test_pictures_are_distinct_and_labelled(gathered):
    found, held_out, said = gathered
    assert said == ["Playing pong, breakout for 30 pictures each ..."]
    assert found.classes == held_out.classes == ("pong", "breakout")
    assert (found.channels, found.size) == (3, (32, 32)) and pixels(found).dtype == torch.uint8
    assert found.labels.tolist() == [0] * 30 + [1] * 30
    assert held_out.labels.tolist() == [0] * 12 + [1] * 12
    for some in (found, held_out):
        assert len({zlib.crc32(picture.numpy().tobytes()) for picture in pixels(some)}) == len(some)
    pong, breakout = (pixels(found)[found.labels == label].float() for label in (0, 1))
    # A person tells them apart; so do mean colours: brown ground, and black.
    assert pong.mean() > 1.5 * breakout.mean()


def test_held_out_ones_come_from_other_games_played(gathered):
    found, held_out, _ = gathered
    known = {picture.numpy().tobytes() for picture in pixels(found)}
    assert not any(p.numpy().tobytes() in known for p in pixels(held_out))


def test_the_same_seed_is_the_same_play(small, gathered):
    again, _ = gather(["pong"], 32, 10, seed=1, say=lambda text: None)
    assert torch.equal(pixels(again), pixels(gathered[0])[:10])
    other, _ = gather(["pong"], 32, 10, seed=2, say=lambda text: None)
    assert not torch.equal(pixels(other), pixels(again))


def test_the_whole_screen_is_resized():
    screen = np.zeros((1, 210, 160, 3), np.uint8)
    screen[:, 105:, :, 0] = 200  # the lower half, red
    found = game_pictures._resized(screen, 32)
    assert found.shape == (1, 3, 32, 32) and found.dtype == np.uint8
    assert not found[0, :, :15].any() and (found[0, 0, 17:] == 200).all()


def test_a_game_with_few_screens_says_so(small, monkeypatch):
    def shades(count: int):
        pictures = (np.full((210, 160, 3), i % count, np.uint8) for i in itertools.count())
        return lambda *_: (type("Still", (), {"pixels": pixels}) for pixels in pictures)

    monkeypatch.setattr(game_pictures, "play", shades(31))
    said: list[str] = []
    found, held_out = gather(["pong"], 32, 30, say=said.append)
    assert (len(found), len(held_out)) == (30, 1)
    assert "pong showed 1 different pictures only." in said
    monkeypatch.setattr(game_pictures, "play", shades(2))
    with pytest.raises(UserError, match="pong shows no two different pictures"):
        gather(["pong"], 32, 30, say=said.append)


@pytest.mark.parametrize(
    ("names", "count", "sentence"),
    [
        (["pnog"], 10, "'pong'"),
        ([], 10, "Name each game once"),
        ([" "], 10, "Name each game once"),
        (["pong", "Pong"], 10, "Name each game once"),
        (["pong"], 0, "--frames starts at 1, not 0"),
    ],
)
def test_mistakes(names, count, sentence):
    with pytest.raises(UserError, match=sentence):
        gather(names, 32, count, say=lambda text: None)


def test_a_file_keeps_them(gathered, tmp_path):
    game_pictures.save(tmp_path / "pictures.npz", gathered[:2])
    for before, after in zip(
        gathered[:2], game_pictures.read(tmp_path / "pictures.npz"), strict=True
    ):
        assert torch.equal(pixels(before), pixels(after))
        assert torch.equal(before.labels, after.labels) and before.classes == after.classes


def test_damaged_files(gathered, tmp_path):
    path = tmp_path / "pictures.npz"
    game_pictures.save(path, gathered[:2])
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[len(whole) // 3] ^= 0xFF
    for damaged in (b"", b"nothing", whole[:200], whole[:-50], bytes(middle)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="does not hold the pictures of a training"):
            game_pictures.read(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="does not hold the pictures"):
        game_pictures.read(path)
    np.savez(path, classes=np.array([{}], dtype=object))  # would run code
    with pytest.raises(UserError, match="does not hold the pictures"):
        game_pictures.read(path)
    with pytest.raises(UserError, match="does not hold the pictures"):
        game_pictures.read(tmp_path / "nowhere.npz")
