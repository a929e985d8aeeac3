"""`train dcgan` and `dream` as doors: a few updates, all that is drawn, each kind of bad input."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agents import pictures as game_pictures
from generators import dcgan, dreamer
from generators.dcgan import DCGAN
from generators.dreamer import load
from playground import checkpoint
from playground.media import read_image, read_video, write_image
from playground.run import Run
from scripts import dreaming, train_dcgan, training
from scripts.play import _parser, main

SMALL = [
    *("--size", "32", "--width", "4", "--latent", "8"),
    *("--critic-width", "0.0625", "--batch-size", "8", "--samples", "64"),
    *("--precision", "fp32", "--threads", "1", "--log-every", "1"),
]


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dcgan, "STANDING_BATCHES", 1)
        patch.setattr(game_pictures, "PLAYERS", 2)
        patch.setattr(game_pictures, "BATCH", 40)
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def paint(folder: Path, count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Path:
    """A folder of noise pictures, two class folders."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        write_image(folder / ("even", "odd")[number % 2] / f"{seed}-{number}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("photos") / "noise", 70)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos):
    """A run of four updates of a conditional generator."""
    runs = tmp_path_factory.mktemp("runs")
    line = ["train", "dcgan", *SMALL, "--data", str(photos), "--classes", "--steps", "4"]
    assert main([*line, "--evaluate-every", "2", "--runs", str(runs), "--name", "a"]) == 0
    return runs / "dcgan" / "a"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run of two updates on two games, a file of its pictures in it."""
    runs = tmp_path_factory.mktemp("runs")
    line = ["train", "dcgan", *SMALL, "--data", "atari:pong, breakout", "--frames", "60"]
    assert main([*line, "--classes", "--steps", "2", "--runs", str(runs), "--name", "a"]) == 0
    return runs / "dcgan" / "a"


def error_of(capsys, *words):
    """The one sentence with which a command is refused; no run is left behind."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    assert not list(Path("runs").glob("*/*"))
    return error.splitlines()[-1]


# train


def test_training_leaves_dreams_a_film_and_a_page(trained, photos):
    run = Run.open(trained)
    known = run.settings["pictures"]
    assert run.name == "a" and (known["count"], known["classes"]) == (70, ["even", "odd"])
    assert [line["step"] for line in run.metrics() if "evaluate/fid" in line] == [2, 4]
    assert load(trained).classes == ("even", "odd")
    assert (trained / "last.safetensors").exists()
    frames, _ = read_video(trained / "videos" / "learning.mp4")
    assert len(list(frames)) == 2
    page = (trained / "gallery" / "index.html").read_text()
    assert "evaluate/coverage" in page and "video/mp4" in page and f"dream {trained}" in page
    assert f"--resume {trained} --steps 8" in page


def test_training_says_what_came_of_it(photos, capsys):
    assert main(["train", "dcgan", *SMALL, "--data", str(photos), "--steps", "1"]) == 0
    printed = capsys.readouterr()
    assert "Best fid" in printed.out and "1 updates" in printed.out
    assert "too few to keep some apart" in printed.err
    (run,) = Path("runs/dcgan").iterdir()
    assert run.name.startswith("dreams-noise-")


def test_evaluations_come_by_themselves(photos):
    def every(*argv):
        args = _parser().parse_args(["train", "dcgan", *SMALL, "--data", str(photos), *argv])
        config, settings = training.fresh(args, train_dcgan.DREAMS)
        task = train_dcgan.DREAMS.build(args, config, settings)
        return train_dcgan.DREAMS.limits(task, settings).evaluate_every

    assert every() == train_dcgan.EVALUATE_EVERY
    assert every("--evaluate-every", "7") == 7


def test_a_large_folder_keeps_a_fifth_apart(tmp_path):
    folder = paint(tmp_path / "many", 330, (8, 8))
    said = []
    learned, held_out = train_dcgan.pictures_of(str(folder), 32, 0, 0, said.append)
    assert (len(learned), len(held_out), said) == (264, 66, [])
    everything = torch.cat([p.read(torch.arange(len(p))) for p in (learned, held_out)])
    assert len({picture.numpy().tobytes() for picture in everything}) == 330


def test_mnist_with_its_own_split(bars_idx, capsys):
    spec = f"mnist:{bars_idx}"
    line = [word if word != "64" else "70" for word in SMALL]
    assert main(["train", "dcgan", *line, "--data", spec, "--steps", "1"]) == 2  # 60 to score with
    assert "has only 60 of the 64 pictures" in capsys.readouterr().err
    learned, held_out = train_dcgan.pictures_of(spec, 32, 0, 0)
    assert (len(learned), len(held_out), learned.channels) == (200, 60, 1)


def test_games_are_played_once_and_kept(played, capsys, monkeypatch):
    learned, held_out = game_pictures.read(played / "pictures.npz")
    assert learned.classes == ("pong", "breakout") and learned.size == (32, 32)
    assert len(learned) == 120 and len(held_out) == 128
    monkeypatch.setattr(game_pictures, "game_pictures", None)  # must not be played again
    run = Path("runs/dcgan/a")
    shutil.copytree(played, run)
    assert main(["train", "dcgan", "--resume", str(run), "--steps", "3"]) == 0
    assert "from 2 updates" in capsys.readouterr().out
    assert load(run).classes == ("pong", "breakout")
    assert main(["dream", str(run), "--neighbours"]) == 0
    assert (run / "gallery" / "neighbours-0.png").exists()
    (run / "pictures.npz").write_bytes(b"")
    assert main(["train", "dcgan", "--resume", str(run), "--steps", "4"]) == 2
    assert "does not hold the pictures of a training" in capsys.readouterr().err
    assert checkpoint.load(run / "checkpoints")[0] == 3  # nothing is lost


def test_a_run_remembers_how_many_kinds_it_began_with(trained, tmp_path, monkeypatch):
    assert Run.open(trained).settings["config"]["kinds"] == 1
    run = shutil.copytree(trained, tmp_path / "dcgan" / "a")
    monkeypatch.setattr(dcgan, "OF_KIND", 5)  # a new run would have more
    assert main(["train", "dcgan", "--resume", str(run), "--steps", "5"]) == 0


def test_killed_and_resumed_is_the_same_bit_for_bit(photos, monkeypatch, capsys):
    line = ["train", "dcgan", *SMALL, "--data", str(photos), "--steps", "4", "--classes"]
    line += ["--deterministic", "--checkpoint-every", "2", "--critic-steps", "2", "--r1", "1"]
    assert main([*line, "--name", "whole"]) == 0

    own_step = DCGAN.step

    def dying(task, trainer):
        if task.progress == 3:
            raise KeyboardInterrupt  # nothing is saved then
        return own_step(task, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(DCGAN, "step", dying)
        assert main([*line, "--name", "killed"]) == 130
    whole, killed = (Path("runs/dcgan", name) for name in ("whole", "killed"))
    assert main(["train", "dcgan", "--resume", str(killed)]) == 0
    assert "from 2 updates" in capsys.readouterr().out
    for name in ("last", "best"):
        one, other = ((run / f"{name}.safetensors").read_bytes() for run in (whole, killed))
        assert one == other
    states = [checkpoint.load(run / "checkpoints")[1] for run in (whole, killed)]
    assert json.dumps(checkpoint._encode(states[0], "", {})) == json.dumps(
        checkpoint._encode(states[1], "", {})
    )


def test_a_folder_with_broken_files_and_mixed_sizes(tmp_path, capsys):
    folder = paint(paint(tmp_path / "mixed", 40, (40, 60)).resolve(), 40, (20, 16), seed=1)
    (folder / "even" / "broken.png").write_bytes(b"no picture")
    assert main(["train", "dcgan", *SMALL, "--data", str(folder), "--steps", "1"]) == 0
    said = capsys.readouterr().err
    assert "Left out 1 of 81 files" in said and "broken.png" in said


def test_pictures_all_the_same(tmp_path):
    """A documented handling: it learns that one picture, and its figures stay finite."""
    for number in range(70):
        write_image(tmp_path / "flat" / f"{number}.png", np.full((32, 32, 3), 90, np.uint8))
    line = ["train", "dcgan", *SMALL, "--data", "flat", "--steps", "2", "--name", "a"]
    assert main(line) == 0
    last = Run.open(Path("runs/dcgan/a")).metrics()[-1]
    assert all(np.isfinite(value) for value in last.values())


def test_bad_inputs_of_train(tmp_path, photos, capsys):
    train = ["train", "dcgan", *SMALL, "--steps", "2"]
    one = paint(tmp_path / "one", 1)
    assert error_of(capsys, *train, "--data", one) == (
        f"{one} has only 1 of the 64 pictures that dreams are scored against at least: add some."
    )
    few = paint(tmp_path / "few", 66)
    sentence = error_of(capsys, *train, "--data", few, "--batch-size", 128)
    assert sentence == (
        f"{few} has only 66 of the 128 pictures that a batch takes: add some, or lower "
        "--batch-size."
    )
    (tmp_path / "empty").mkdir()
    assert "There are no pictures in empty" in error_of(capsys, *train, "--data", "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    assert "none of its 1 files can be read" in error_of(capsys, *train, "--data", "bad")
    assert "There is no folder nowhere" in error_of(capsys, *train, "--data", "nowhere")
    assert "--data is empty" in error_of(capsys, *train)
    assert "'pong'" in error_of(capsys, *train, "--data", "atari:pnog")
    assert "--frames starts at 1" in error_of(capsys, *train, "--data", "atari:pong", "--frames", 0)
    assert "Name each game once" in error_of(capsys, *train, "--data", "atari:pong,pong")
    assert error_of(capsys, *train, "--data", photos, "--size", 48) == (
        "--size is 32, 64 or 128 pixels here, not 48."
    )
    assert "'colour'" in error_of(capsys, *train, "--data", photos, "--augment", "color")
    assert "holds no classes" in error_of(capsys, *train, "--data", "coco:x")
    one_class = paint(tmp_path / "loose", 66)
    shutil.copytree(one_class / "even", tmp_path / "same" / "even")
    shutil.copytree(one_class / "odd", tmp_path / "same" / "even", dirs_exist_ok=True)
    assert "two or more classes" in error_of(capsys, *train, "--data", "same", "--classes")


def test_evaluations_without_figures_are_passed_over_in_the_end(tmp_path):
    """Those of a GAN that diverged; in the log they are null."""
    run = Run.create(tmp_path, "dcgan", "nan", {})
    run.log(1, **{"evaluate/fid": math.nan, "evaluate/coverage": math.nan})
    assert train_dcgan._finish(None, run) == []


def test_a_resumed_run_keeps_its_pictures(trained, tmp_path, capsys):
    run = Path("runs/dcgan/a")
    shutil.copytree(trained, run)
    before = (run / "last.safetensors").read_bytes()
    other = paint(tmp_path / "other", 80)
    again = ["train", "dcgan", "--resume", str(run), "--steps", "6"]
    assert main([*again, "--data", str(other)]) == 2
    assert "does not hold the pictures" in capsys.readouterr().err
    for flag in ("--width", "--frames"):
        assert main([*again, flag, "9"]) == 2
        assert f"leave out {flag}." in capsys.readouterr().err
    assert (run / "last.safetensors").read_bytes() == before
    assert checkpoint.load(run / "checkpoints")[0] == 4


# dream


def test_dreaming_of_a_run_draws_all_into_it(trained, photos, capsys):
    line = ["dream", str(trained), "--count", "9", "--seed", "3", "--neighbours"]
    assert main([*line, "--walk", "walk.mp4", "--seconds", "1"]) == 0
    names = [Path(word).name for word in capsys.readouterr().out.split()]
    assert names == ["classes-3.png", "dreams-3.png", "neighbours-3.png", "walk.mp4"]
    gallery = trained / "gallery"
    assert read_image(gallery / "dreams-3.png").shape == (400, 400, 3)
    assert read_image(gallery / "classes-3.png").shape[1] == 8 * 132 + 4
    assert read_image(gallery / "neighbours-3.png").shape[1] == 8 * 132 + 4
    frames, fps = read_video("walk.mp4")
    assert (len(list(frames)), fps) == (30, 30)
    before = read_image(gallery / "dreams-3.png")
    assert main(["dream", str(trained), "--count", "9", "--seed", "3"]) == 0
    assert np.array_equal(read_image(gallery / "dreams-3-2.png"), before)
    assert main(["dream", str(trained), "--count", "4", "--seed", "3"]) == 0
    assert np.array_equal(read_image(gallery / "dreams-3.png"), before)  # not written over


def test_dreaming_of_a_file(trained, photos):
    file = shutil.copy(trained / "last.safetensors", "mine.safetensors")
    line = ["dream", str(file), "--count", "4", "--out", "sheet.png", "--label", "odd"]
    assert main([*line, "--truncation", "0.5"]) == 0
    assert read_image("sheet.png").shape == (268, 268, 3)
    assert main(["dream", str(file), "--count", "4"]) == 0
    assert {p.name for p in Path("recordings").iterdir()} == {"classes-0.png", "dreams-0.png"}
    assert main(["dream", str(file), "--out", "b.png", "--neighbours", "--data", str(photos)]) == 0
    assert (Path("recordings") / "neighbours-0.png").exists()
    assert main(["dream", str(file), "--out", "c.png", "--walk", "w.gif", "--seconds", "0.2"]) == 0
    assert Path("w.gif").exists()


def test_dreaming_on_a_device(trained, monkeypatch, capsys):
    line = ["dream", str(trained), "--count", "1", "--device"]
    assert main([*line, "cpu"]) == 0
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "There is no cuda device here" in error_of(capsys, *line, "cuda")
    asked = []
    monkeypatch.setattr(dreaming, "find", lambda device: (asked.append(device), "meta")[1])
    with pytest.raises(NotImplementedError, match="meta"):  # its weights went there
        main(line[:-1])
    assert asked == ["auto"]


def test_truncation_holds_for_the_class_sheet_as_well(trained):
    for number, words in enumerate(([], ["--truncation", "0.1"])):
        run = Path(f"runs/dcgan/{number}")
        shutil.copytree(trained, run)
        (run / "gallery" / "classes-0.png").unlink(missing_ok=True)  # of another test's dreaming
        assert main(["dream", str(run), "--count", "1", *words]) == 0
    sheets = [read_image(f"runs/dcgan/{number}/gallery/classes-0.png") for number in (0, 1)]
    assert not np.array_equal(*sheets)


def test_bad_inputs_of_dream(trained, tmp_path, capsys):
    file = tmp_path / "mine.safetensors"
    shutil.copy(trained / "last.safetensors", file)

    def error(*words):
        return error_of(capsys, "dream", *words)

    assert "There is no file or run nowhere" in error("nowhere")
    assert "zoo has no generator 'drem'" in error("zoo:drem")
    assert "dreams no 'evne'. Did you mean 'even'" in error(file, "--label", "evne")
    assert "1 to 4,096, not 0" in error(file, "--label", "even", "--count", 0)
    assert "1 to 4,096, not 100000000" in error(file, "--count", 10**8)
    assert "--truncation must be above 0" in error(file, "--truncation", 0)
    for seconds in ("0", "-1", "nan", "inf"):
        assert "--seconds lies above 0" in error(file, "--walk", "w.mp4", f"--seconds={seconds}")
    assert "--seed is a whole number" in error(file, "--seed", 2**70)
    assert "--window needs a display" in error(file, "--window")
    assert not Path("recordings/dreams-0.png").exists()
    sheet = ["--count", "1", "--out", "a.png"]
    assert ".mp4 or .gif" in error(file, *sheet, "--walk", "w.avi")
    lost = load(file)
    lost.card["data"] = str(tmp_path / "gone")
    lost.save(tmp_path / "lost.safetensors")
    assert "add --data" in error(tmp_path / "lost.safetensors", *sheet, "--neighbours")
    one = paint(tmp_path / "one", 1)
    assert "two or more" in error(file, *sheet, "--neighbours", "--data", one)
    file.write_bytes(b"broken")
    assert "not a readable safetensors file" in error(file)


def test_the_dreams_that_ship(tmp_path, monkeypatch, capsys):
    """A sheet of each game without a run, a file or a network; the card says what they are."""
    monkeypatch.chdir(tmp_path)
    assert main(["dream", "--count", "4", "--seed", "2"]) == 0
    assert capsys.readouterr().out.split() == [
        "recordings/classes-2.png",
        "recordings/dreams-2.png",
    ]
    card = json.loads((dreamer.ZOO / "dreams.json").read_text())
    file = dreamer.ZOO / "dreams.safetensors"
    assert card["bytes"] == file.stat().st_size <= 4_000_000
    found = load("zoo:dreams")
    assert list(found.classes) == card["classes"] and found.card["updates"] == card["updates"]
    assert card["command"].startswith("python scripts/play.py train dcgan")
    for name in found.classes:  # dreams of a game are more alike than those of two
        own, other = found.sample(16, 3, name), found.sample(16, 3, found.classes[0])
        assert name == found.classes[0] or (own.mean(0) - other.mean(0)).abs().mean() > 0.05
