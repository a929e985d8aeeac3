"""Paintings with their credits, pairs of pictures, and what counts as flicker."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import painter_data
from generators.painter import Credit
from generators.painter_data import (
    Pairs,
    followers,
    painting_of,
    paintings,
    split_clips,
)
from playground.data import Pictures
from playground.errors import UserError
from playground.media import write_image


def pictures(count, channels=3, size=(16, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *size)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return Pictures(pixels, torch.zeros(count), ("x",))


def art(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        write_image(folder / name, rng.integers(0, 256, (20, 24, 3), np.uint8))
    return folder


# paintings


def test_a_folders_paintings_with_their_credits(tmp_path):
    art(tmp_path, "wave.png", "night.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture")
    table = "file,title,painter,year,terms\nwave.png,The Great Wave,Hokusai,1831,public domain\n"
    (tmp_path / "styles.csv").write_text(table)
    found = paintings(tmp_path)
    assert [credit for credit, _ in found] == [
        Credit("night"), Credit("wave", "The Great Wave", "Hokusai", "1831", "public domain"),
    ]  # fmt: skip
    assert [path.name for _, path in found] == ["night.jpg", "wave.png"]
    ((credit, path),) = paintings(tmp_path / "wave.png")
    assert credit.painter == "Hokusai" and path == tmp_path / "wave.png"


@pytest.mark.parametrize(("files", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_credits_are_found_however_accents_are_written(tmp_path, files, table):
    """macOS may give the names of files with accents apart, and editors write them composed."""
    art(tmp_path, unicodedata.normalize(files, "étoile.png"))
    row = unicodedata.normalize(table, "étoile.png,Nuit étoilée,Vincent,1889,public domain")
    (tmp_path / "styles.csv").write_text(f"file,title,painter,year,terms\n{row}\n", "utf-8")
    ((credit, _),) = paintings(tmp_path)
    assert credit.name == unicodedata.normalize("NFC", "étoile") and credit.year == "1889"


def test_one_name_in_two_writings_is_one(tmp_path):
    art(tmp_path, *(unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system knows it")
    with pytest.raises(UserError, match="Two paintings in"):
        paintings(tmp_path)


def test_folders_that_hold_no_paintings(tmp_path):
    with pytest.raises(UserError, match="There are no paintings in"):
        paintings(tmp_path)
    with pytest.raises(UserError, match="no picture"):
        paintings(tmp_path / "none")
    art(tmp_path, "a.png", "a.jpg")
    with pytest.raises(UserError, match=r"Two paintings in .* have the name a"):
        paintings(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "styles.csv").write_text("name,title\na,A\n")
    with pytest.raises(UserError, match="needs the columns file, title, painter"):
        paintings(tmp_path)
    (tmp_path / "styles.csv").write_bytes(b"file\xff\xfe\n")
    with pytest.raises(UserError, match="cannot be read"):
        paintings(tmp_path)


def test_a_painting_too_small_to_learn_from(tmp_path):
    write_image(tmp_path / "dot.png", np.zeros((4, 9, 3), np.uint8))
    with pytest.raises(UserError, match="9x4 pixels: too few"):
        painting_of(tmp_path / "dot.png", 64)


# pairs


def test_sources_take_turns_and_each_is_drawn_in_whole_epochs():
    sources = [pictures(4), pictures(6, 6, (8, 12))]
    pairs = Pairs(sources, 2, seed=3)
    batches = [pairs.get(update) for update in range(10)]
    pairs.close()
    assert [tuple(batch.shape) for batch in batches[:2]] == [(2, 3, 16, 16), (2, 6, 8, 12)]
    for which, updates in ((0, 2), (1, 3)):  # of an epoch
        drawn = torch.cat([batches[which + 2 * turn] for turn in range(updates)])
        everything = sources[which].read(torch.arange(len(sources[which])))
        assert {x.numpy().tobytes() for x in drawn} == {x.numpy().tobytes() for x in everything}
    again = Pairs(sources, 2, seed=3)
    assert torch.equal(again.get(7), batches[7])
    again.reorder(4)
    assert not torch.equal(again.get(4), batches[4])
    again.close()


def test_grey_pictures_become_colours_and_strange_ones_are_refused():
    pairs = Pairs([pictures(3, 1)], 2, seed=0)
    assert pairs.get(0).shape == (2, 3, 16, 16)
    pairs.close()
    with pytest.raises(ValueError, match="not 4"):
        Pairs([pictures(3, 4)], 2, seed=0)


def test_clips_are_split_in_either_order():
    torch.manual_seed(0)
    unit = torch.rand(40, 6, 4, 4)
    first, second = split_clips(unit)
    kept = (first == unit[:, :3]).all((1, 2, 3))
    assert 8 < int(kept.sum()) < 32
    assert torch.equal(torch.where(kept[:, None, None, None], second, first), unit[:, 3:])


def test_followers_change_in_places_and_say_where():
    torch.manual_seed(0)
    photos = torch.rand(30, 3, 32, 32)
    found, same = followers(photos)
    assert found.min() >= 0 and found.max() <= 1 and same.shape == (30, 1, 32, 32)
    share = same.float().mean((1, 2, 3))
    assert share.max() < 1 and share.min() > 0.3  # each was changed, none altogether
    apart = (found - photos).abs() * same
    noisy = apart.amax((1, 2, 3)) > 0
    assert 5 < int(noisy.sum()) < 25  # about half of them
    assert float(apart.max()) < 6 * painter_data.NOISE
    elsewhere = ((found - photos).abs() * ~same).sum() / (3 * (~same).sum())
    assert float(elsewhere) > 0.2  # what is pasted is another photo
