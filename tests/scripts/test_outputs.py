"""What is written never takes the place of what is read, or of another file."""

import os
from pathlib import Path

import pytest

from playground.errors import UserError
from scripts.outputs import check_outputs, claimed


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_text("a picture")


def test_files_apart_pass():
    check_outputs({"--out": Path("a.png"), "--film": Path("a.mp4"), "--mask": None}, ["photo.png"])


@pytest.mark.parametrize("path", ["photo.png", "./photo.png", "link.png"])
def test_a_file_that_is_read_is_not_written(path):
    os.link("photo.png", "link.png")
    with pytest.raises(UserError, match="is what is read; name another with --film"):
        check_outputs({"--out": Path("a.png"), "--film": Path(path)}, [Path("b.png"), "photo.png"])


def test_two_files_are_not_one():
    with pytest.raises(UserError, match=r"--out and --strip are both a\.png"):
        check_outputs({"--out": Path("a.png"), "--strip": Path("x/../a.png")}, [])


def test_a_claimed_name_was_free_and_is_so_no_more():
    names = [claimed(Path("new/photo.v1.png")) for _ in range(3)]
    assert names == [Path("new", f"photo.v1{end}.png") for end in ("", "-2", "-3")]
    assert all(name.is_file() for name in names)
    assert claimed(Path("photo.png")) == Path("photo-2.png")
    assert Path("photo.png").read_text() == "a picture"
    with pytest.raises(UserError, match="Cannot write"):
        claimed(Path("photo.png/a.png"))
