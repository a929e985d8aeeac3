"""`play.py paint`: a few iterations through the door, what it writes, and bad input."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from playground.backbone import create
from playground.media import read_image, read_video, write_image
from scripts import painting, play
from scripts.play import main

QUICK = ["--size", "128", "--coarsest", "64", "--iterations", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def no_display(tmp_path, monkeypatch):
    """Every test in a folder of its own, without a display."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    for number, name in enumerate(("photo.png", "art.png", "other.jpg")):
        rng = np.random.default_rng(number)
        write_image(tmp_path / name, rng.integers(0, 256, (40, 60, 3), np.uint8))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Flags for a small backbone with weights in a file."""
    path = tmp_path_factory.mktemp("weights") / "vgg19_slim16.safetensors"
    torch.manual_seed(0)
    save_file(create("vgg19_slim16").state_dict(), path)
    return ["--backbone", "vgg19_slim16", "--weights", str(path)]


def paint(*words, network=()):
    return main(["paint", *QUICK, *map(str, words), *network])


def left(folder="."):
    """What lies in a folder besides the pictures that were there."""
    return sorted(set(os.listdir(folder)) - {"photo.png", "art.png", "other.jpg"})


def test_a_painting_is_written_and_its_losses_are_told(network, capsys):
    assert paint("--content", "photo.png", "--style", "art.png", network=network) == 0
    out = capsys.readouterr().out
    path = Path("recordings/photo-art.png")
    assert out.splitlines()[-1] == str(path) and "Done after 4 iterations" in out
    for name in ("style", "content", "variation"):
        assert name in out
    assert read_image(path).shape == (85, 128, 3)
    assert os.listdir("recordings") == [path.name]  # the preview has gone


def test_a_preview_that_nobody_named_spares_the_users_pictures(network, capsys):
    write_image("b-preview.jpg", read_image("photo.png"))
    before = Path("b-preview.jpg").read_bytes()
    words = "--content b-preview.jpg --style art.png --out b.png"
    assert paint(*words.split(), network=network) == 0
    assert "Preview  b-preview-2.jpg" in capsys.readouterr().out
    assert Path("b-preview.jpg").read_bytes() == before and left() == ["b-preview.jpg", "b.png"]


def test_several_styles_masks_film_preview_and_a_run(network):
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[:, :30] = 255
    write_image("left.png", mask)
    write_image("right.png", 255 - mask)
    words = "--content photo.png --style art.png:0.6 --style other.jpg --mask left.png --mask "
    words += "right.png --keep-colors --film becoming.mp4 --preview now.jpg --out new/a.jpg "
    words += "--runs runs --start noise"
    assert paint(*words.split(), network=network) == 0
    assert read_image("new/a.jpg").shape == read_image("now.jpg").shape == (85, 128, 3)
    frames, fps = read_video("becoming.mp4")
    still = round(painting.FILM_FPS * painting.FILM_STILL_SECONDS)
    assert len(list(frames)) == 4 + still and fps == painting.FILM_FPS
    (run,) = Path("runs/paint").iterdir()
    assert (run / "metrics.jsonl").stat().st_size and any((run / "gallery").iterdir())


def test_sixteen_bits(network):
    cv2 = pytest.importorskip("cv2")
    words = "--content photo.png --style art.png --bits 16 --out a.png"
    assert paint(*words.split(), network=network) == 0
    found = cv2.imread("a.png", cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16 and len(np.unique(found % 257)) > 50  # no stretched bytes


def test_gatys2015_by_name(network):
    words = "--content photo.png --style art.png --preset gatys2015 --out a.png"
    assert paint(*words.split(), network=network) == 0


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("a.jpg", "a.jpg", 1.0),
        ("a.jpg:0.6", "a.jpg", 0.6),
        ("C:\\a.jpg", "C:\\a.jpg", 1.0),
        ("C:\\a.jpg:2", "C:\\a.jpg", 2.0),
        ("a:b.jpg", "a:b.jpg", 1.0),
    ],
)
def test_weights_of_styles(text, path, weight):
    assert painting.weighted(text) == (Path(path), weight)


def save(picture, name, **options):
    picture.save(name, **options)
    return name


def photo():
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8))


def test_pictures_of_many_kinds_are_painted(network):
    """Alpha, grey, CMYK, 16 bits, a camera on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.array(photo().convert("L")).astype(np.uint16) * 256)
    names = [
        save(photo().convert("RGBA"), "alpha.png"),
        save(photo().convert("L"), "grey.png"),
        save(photo().convert("CMYK"), "cmyk.jpg"),
        save(deep, "deep.png"),
        save(photo(), "turned.jpg", exif=exif),
    ]
    words = [part for name in names for part in ("--style", name)]
    assert paint("--content", "turned.jpg", *words, "--out", "a.png", network=network) == 0
    assert read_image("a.png").shape == (96, 128, 3)


def test_bad_input_is_one_sentence_and_leaves_no_file(network, capsys):
    Path("text.png").write_text("not a picture")
    photo().save("torn.jpg")
    Path("torn.jpg").write_bytes(Path("torn.jpg").read_bytes()[:500])
    photo().crop((0, 0, 1, 1)).save("dot.png")
    photo().point(lambda value: 0).save("black.png")
    Path("folder").mkdir()
    there = left()
    good = ["--content", "photo.png", "--style", "art.png"]
    cases = [
        (["--content", "none.png", "--style", "art.png"], "There is no picture none.png"),
        (["--content", "photo.png", "--style", "none.png"], "There is no picture none.png"),
        (["--content", "text.png", "--style", "art.png"], "text.png is not a picture"),
        (["--content", "photo.png", "--style", "torn.jpg"], "torn.jpg is not a picture"),
        (["--content", "dot.png", "--style", "art.png"], "1x1 pixels: too few"),
        (["--content", "photo.png", "--style", "dot.png"], "1x1 pixels: too few"),
        (["--content", "folder", "--style", "art.png"], "is a folder"),
        ([*good, "--mask", "black.png"], "Mask 1 is black"),
        ([*good, "--mask", "art.png", "--mask", "art.png"], "1 styles, but 2 masks"),
        (["--content", "photo.png", "--style", "starry_night"], "a painter's style needs --fast"),
        ([*good, "--out", "photo.png"], "photo.png is what is read; name another with --out"),
        ([*good, "--out", "art.png"], "art.png is what is read; name another with --out"),
        ([*good, "--preview", "./photo.png"], "photo.png is what is read; name another with --pre"),
        ([*good, "--mask", "other.jpg", "--out", "other.jpg"], "other.jpg is what is read"),
        (["--content", "a.gif", *good[2:], "--film", "a.gif"], "name another with --film"),
        ([*good, "--out", "a.jpg", "--preview", "a.jpg"], "--out and --preview are both a.jpg"),
        ([*good, "--out", "a.bmp"], "written as .png or .jpg"),
        ([*good, "--out", "a.jpg", "--bits", "16"], "16 bits are written as .png"),
        ([*good, "--film", "a.avi"], "written as .mp4 or .gif"),
        ([*good, "--style-layers", "relu1_1,relu9_1"], "no layer 'relu9_1'"),
        ([*good, "--statistics", "grams"], "Did you mean 'gram'"),
        ([*good, "--window"], "--window needs a display"),
        ([*good, "--iterations", "0"], "must be above 0"),
        ([*good, "--style", "art.png:-1"], "must be above 0"),
        ([*good, "--out", "text.png/a.png"], "Cannot write"),
        (["--content", "photo.png"], "Name the picture of a painting"),
    ]
    for words, said in cases:
        assert paint(*words, network=network) == 2, words
        caught = capsys.readouterr().err.strip().splitlines()
        assert said in caught[-1] and "Traceback" not in caught[-1], (words, caught)
    for words, said in (
        (["--backbone", "vgg91"], "Did you mean 'vgg19'"),
        (["--backbone", "nature"], "needs --weights FILE"),
        (["--backbone", "vgg19_slim16", "--weights", "text.png"], "Cannot read weights"),
    ):
        assert paint(*good, *words) == 2
        assert said in capsys.readouterr().err
    assert left() == there or left() == sorted([*there, "recordings"])
    assert not Path("recordings").exists() or os.listdir("recordings") == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_ctrl_c_keeps_the_picture_and_the_film_so_far(network):
    words = "paint --content photo.png --style art.png --size 128 --coarsest 64 --threads 1 "
    words += "--iterations 100000 --out a.png --film a.mp4"
    process = subprocess.Popen(
        [sys.executable, play.__file__, *words.split(), *network],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if "iterations" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "Interrupted after" in out, err
    assert read_image("a.png").ndim == 3 and len(list(read_video("a.mp4")[0])) > 10
    assert left() == ["a.mp4", "a.png"]
