"""`train style` as a door: photos and games, a run that goes on, styles added, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from agents import frame_pairs
from generators import painter_task
from generators.painter import load
from playground import checkpoint
from playground.backbone import create
from playground.media import write_image
from playground.run import Run
from scripts import train_style
from scripts.play import main

SMALL = [
    *("--size", "32", "--style-size", "32", "--width", "8", "--narrow", "4", "--blocks", "1"),
    *("--batch-size", "2", "--precision", "fp32", "--threads", "1", "--log-every", "1"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frame_pairs, "PLAYERS", 1)
    monkeypatch.setattr(frame_pairs, "STRIDE", 1)
    monkeypatch.setattr(frame_pairs, "HELD_OUT", 1)
    monkeypatch.setattr(frame_pairs, "fitted", lambda pixels: pixels[::5, ::5].copy())
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def found(name, weights, say):
        torch.manual_seed(0)
        return "tiny", create("deepconv", width=0.25)

    monkeypatch.setattr(painter_task, "find_backbone", found)
    folder(tmp_path / "art", 2)
    folder(tmp_path / "photos", 12, 7)


def folder(path: Path, count: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)
        write_image(path / f"{'abcdefghijklm'[number]}{seed}.png", pixels)
    return path


def train(*words):
    return main(["train", "style", *SMALL, *map(str, words)])


def test_photos_and_games_a_run_and_going_on(capsys, monkeypatch):
    line = ["--styles", "art", "--data", "photos+atari:pong", "--frames", "3", "--steps", "2"]
    assert train(*line, "--name", "a", "--evaluate-every", "1") == 0
    out = capsys.readouterr()
    assert "Best score" in out.out and "2 styles in" in out.out and "paint --fast" in out.out
    run = Path("runs/style/a")
    assert load(run).styles == ("a0", "b0") and (run / train_style.KEPT).exists()
    assert len(list((run / "gallery").glob("panel-*.png"))) == 2
    for name in ("styles", "blends", "in-a0", "in-a0.before", "in-b0"):
        assert (run / "gallery" / f"{name}.png").exists(), name
    page = (run / "gallery" / "index.html").read_text()
    assert page.count('class="slider"') == 2 and "held-out pictures in every style" in page
    monkeypatch.setattr(frame_pairs, "pairs", None)  # must not be played again
    more = ["--updates", "4", "--steps", "4"]
    assert f"--resume {run} {' '.join(more)}\n" in out.out
    assert main(["train", "style", "--resume", str(run), *more]) == 0
    assert "from 2 updates" in capsys.readouterr().out
    assert load(run / "last.safetensors").card["updates"] == 4
    _, saved = checkpoint.load(run / "checkpoints")
    assert saved["state"]["horizon"] == Run.open(run).settings["config"]["updates"] == 4
    for flag in ("--width", "--frames"):
        assert main(["train", "style", "--resume", str(run), flag, "4"]) == 2
        assert f"leave out {flag}." in capsys.readouterr().err


def test_a_style_is_added_by_name(capsys):
    assert train("--styles", "art", "--data", "photos", "--steps", "1", "--name", "a") == 0
    folder(Path("new"), 1, 5)
    Path("new/a5.png").rename("new/a 5.png")
    words = ["--styles", "new/a 5.png", "--data", "photos", "--add", "runs/style/a", "--steps", "2"]
    assert train(*words, "--name", "b") == 0
    assert load("runs/style/b").styles == ("a0", "b0", "a 5")
    assert capsys.readouterr().out.count("--style 'a 5'") == 2


def test_parts_of_the_data(capsys):
    folder(Path("with+plus"), 3)
    assert train_style.parts_of("with+plus") == ["with+plus"]
    assert train_style.parts_of("photos + atari:pong,breakout") == ["photos", "atari:pong,breakout"]
    learned, held_out, played = train_style.sources_of("photos", 32, 1, 0)
    assert [len(part) for part in learned] == [11] and [len(part) for part in held_out] == [1]
    assert not played
    few, scored, _ = train_style.sources_of("with+plus", 32, 1, 0)
    assert len(few[0]) == len(scored[0]) == 3 and "too few pictures" in capsys.readouterr().err


def test_labelled_sets_will_do(bars_idx):
    learned, held_out, _ = train_style.sources_of(f"mnist:{bars_idx}", 32, 1, 0)
    assert (len(learned[0]), len(held_out[0]), learned[0].channels) == (200, 60, 1)


def test_bad_input_is_one_sentence_and_leaves_no_run(capsys):
    Path("empty").mkdir()
    cases = [
        (["--data", "photos"], "Name the paintings"),
        (["--styles", "none", "--data", "photos"], "no picture none"),
        (["--styles", "empty", "--data", "photos"], "no paintings in empty"),
        (["--styles", "art", "--data", "none"], "no folder none"),
        (["--styles", "art"], "--data is empty"),
        (["--styles", "art", "--data", "atari:pnog"], "Did you mean 'pong'"),
        (["--styles", "art", "--data", "atari:pong+atari:boxing", "--frames", "1"], "all games"),
        (["--styles", "art", "--data", "photos", "--add", "nothing"], "no file or run nothing"),
        (["--styles", "art", "--data", "photos", "--content-layers", "relu9"], "no layer 'relu9'"),
    ]
    for words, said in cases:
        assert train(*words, "--steps", "1") == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in error and "Traceback" not in error, (words, error)
    assert not list(Path("runs").glob("*/*"))


def test_what_a_run_remembers():
    assert train("--styles", "art", "--data", "photos", "--steps", "1", "--terms", "made") == 0
    (run,) = Path("runs/style").iterdir()
    assert run.name.startswith("painter-art-")
    assert Run.open(run).settings["score"] == "-loss"
    card = load(run).card
    assert card["terms"] == "made" and card["data"] == "photos"
    json.dumps(card)
