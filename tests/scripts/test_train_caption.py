"""`train caption`, `caption`, `watch --captions` as doors: a few updates, each kind of mistake."""

import argparse
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from agents.commentary import USUAL, store
from generators.captioner import Captioner, load
from playground.frames import Frame
from playground.media import VideoWriter, read_image, read_video, write_image
from playground.run import Run
from playground.weights import ZOO
from scripts import captioning, filters, train_caption
from scripts.play import main

SMALL = [
    *("--backbone", "arcade", "--weights", "arcade", "--layer", "relu2_1", "--hidden", "16"),
    *("--batch-size", "4", "--samples", "6", "--warmup", "1", "--min-count", "1"),
    *("--precision", "fp32", "--threads", "1", "--log-every", "1"),
]
GAMES = ["--data", "atari:pong"]
WORDS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 18 captioned pictures: 12 to learn from, 6 to validate on."""
    folder = tmp_path_factory.mktemp("photos")
    about = {}
    for number in range(18):
        name, colour = list(WORDS.items())[number % 3]
        pixels = np.full((32, 32, 3), colour, np.uint8)
        pixels[number : number + 4] = 250
        write_image(folder / f"{number}.png", pixels)
        captions = [f"A {name} wall.", f"This wall is {name}."]
        about[f"{number}.png"] = {"split": "train" if number < 12 else "val", "captions": captions}
    (folder / "captions.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos):
    """A run of photos: three updates of cross-entropy, two self-critical ones."""
    runs = tmp_path_factory.mktemp("runs")
    argv = ["train", "caption", "--data", f"flickr8k:{photos}", *SMALL, "--size", "32,32"]
    argv += ["--updates", "5", "--critical", "2", "--runs", str(runs), "--name", "a"]
    assert main(argv) == 0
    return runs / "caption" / "a"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run of clips of Pong: two updates."""
    runs = tmp_path_factory.mktemp("games")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_caption, "HELD_OUT", 3)
        patch.setattr(store.os, "cpu_count", lambda: 1)
        patch.setattr(store, "gather", partial(store.gather, roster=USUAL[:1]))
        argv = ["train", "caption", "--data", "atari:ALE/Pong-v5", "--clips", "8", *SMALL]
        argv += ["--layer", "relu4_2", "--steps", "2", "--runs", str(runs), "--name", "a"]
        assert main(argv) == 0
    return runs / "caption" / "a"


def test_a_run_of_photos_has_scores_examples_and_a_page(trained):
    run = Run.open(trained)
    figures = [line for line in run.metrics() if "evaluate/bleu4" in line]
    assert figures and figures[-1]["step"] == 5
    assert [("loss" in line, "reward" in line) for line in run.metrics() if "rate" in line] == [
        (True, False), (True, False), (True, False), (False, True), (False, True),
    ]  # fmt: skip
    names = {file.name for file in run.gallery.iterdir()}
    assert {"best-1.png", "worst-1.png", "captions.json", "index.html"} <= names
    page = (run.gallery / "index.html").read_text()
    assert f"--resume {trained} --updates 10 --steps 10" in page
    texts = json.loads((run.gallery / "captions.json").read_text())
    assert "mark" in texts["best-1.png"]
    assert load(trained).plan.published == "arcade"  # it never changed


def test_games_are_known_by_their_short_names(played):
    assert load(played).games == ("pong",)


def test_going_on(trained, photos, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "caption" / "b")
    assert main(["train", "caption", "--resume", "caption/b", "--steps", "7"]) == 0
    assert "from 5 updates" in capsys.readouterr().out
    assert main(["train", "caption", "--resume", "caption/b", "--hidden", "8"]) == 2
    more = ["--updates", "9", "--critical", "2", "--steps", "9"]  # self-critical from here on
    assert main(["train", "caption", "--resume", "caption/b", *more]) == 0
    lines = [line for line in Run.open("caption/b").metrics() if "rate" in line]
    assert ["reward" in line for line in lines][-2:] == [True, True]


@pytest.mark.parametrize("flag", ["--start", "--weights"])
def test_going_on_without_what_it_began_with(flag, trained, photos, capsys):
    """The run has all of it; what its encoder is, it remembers."""
    source = trained / "last.safetensors" if flag == "--start" else ZOO / "arcade.safetensors"
    gone = Path(shutil.copy(source, "gone.safetensors"))
    data = ["--data", f"flickr8k:{photos}", "--size", "32,32"]
    argv = ["train", "caption", *data, *SMALL, flag, str(gone), "--updates", "2", "--name", "a"]
    assert main(argv) == 0
    before = load("runs/caption/a")
    gone.unlink()
    assert main(["train", "caption", "--resume", "runs/caption/a", "--steps", "3"]) == 0
    after = load(Path("runs/caption/a") / "last.safetensors")
    assert after.card["updates"] == 3
    assert after.plan.published == before.plan.published == {"--start": "arcade"}.get(flag)
    assert after.vocabulary.words == before.vocabulary.words


def test_other_captions_are_not_gone_on_with(trained, photos, capsys):
    shutil.copytree(trained, "caption/b")
    shutil.copytree(photos, "other")
    about = (photos / "captions.json").read_text().replace("wall", "door")
    Path("other/captions.json").write_text(about)
    resume = ["train", "caption", "--resume", "caption/b", "--steps", "9"]
    assert main([*resume, "--data", "flickr8k:other"]) == 2
    assert "does not hold the captions" in capsys.readouterr().err


def test_clips_of_games_are_kept_in_the_run(played, capsys):
    run = Run.open(played)
    learned, held_out = store.read(played / "clips.npz", "learned", "held_out")
    assert (len(learned), len(held_out)) == (8, 3)
    line = next(line for line in run.metrics() if "evaluate/score" in line)
    assert {f"evaluate/{r}_true" for r in ("describe", "comment")} & line.keys() or line[
        "evaluate/score"
    ] == 0
    one = load(played)
    assert one.plan.frames == 4 and one.plan.registers == ("describe", "comment")
    assert main(["train", "caption", "--resume", str(played), "--steps", "3"]) == 0
    more = ["--updates", "6", "--critical", "3", "--steps", "6"]  # rewarded by facts
    assert main(["train", "caption", "--resume", str(played), *more]) == 0
    for flag, value in (("--clips", "9"), ("--eventful", "0.5")):
        assert main(["train", "caption", "--resume", str(played), *more, flag, value]) == 2
        assert f"leave out {flag}." in capsys.readouterr().err
    paid = [f"reward_{r}" for r in ("describe", "comment")]
    assert [sum(name in line for line in run.metrics()) for name in paid] == [1, 2]


def test_caption_pictures(trained, photos, capsys):
    files = [str(photos / f"{i}.png") for i in (0, 1)]
    assert main(["caption", files[0], "--captioner", str(trained)]) == 0
    (text,) = capsys.readouterr().out.splitlines()
    assert text == load(trained).caption(read_image(files[0]))[0]
    assert main(["caption", *files, "--captioner", str(trained), "--beam", "1"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == files
    assert main(["caption", files[0], "--captioner", str(trained), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["caption"] == text and len(found["attention"]) == len(found["words"])


def test_who_captions_what(trained, played, photos, capsys, monkeypatch):
    """Photos by the captioner of photos, where the zoo has one; games by that of games."""
    Path("zoo").mkdir()
    monkeypatch.setattr("generators.captioner.ZOO", Path("zoo"))
    shutil.copy(played / "last.safetensors", "zoo/games.safetensors")
    shutil.copy(trained / "last.safetensors", "zoo/photos.safetensors")
    asked = []
    monkeypatch.setattr(
        captioning, "load", lambda source, encoder: (asked.append(source), load(source, encoder))[1]
    )

    def asked_for(*argv):
        asked.clear()
        assert main(["caption", *argv]) == 0
        return asked

    photo = str(photos / "0.png")
    for height, width, source in [
        (210, 160, None), (420, 320, None), (160, 210, "zoo:photos"), (211, 160, "zoo:photos"),
        (315, 240, "zoo:photos"), (21, 16, "zoo:photos"),
    ]:  # fmt: skip
        write_image("a.png", np.zeros((height, width, 3), np.uint8))
        assert asked_for("a.png") == [source], (height, width)
    write_image("a.png", np.zeros((210, 160, 3), np.uint8))
    assert asked_for("a.png", photo, "a.png", photo) == [None, "zoo:photos"]
    assert asked_for(photo, "--register", "comment") == [None]
    assert asked_for(photo, "--captioner", str(trained)) == [str(trained)]
    with VideoWriter("f.mp4", 30) as film:
        film.write(Frame(np.zeros((32, 32, 3), np.uint8)))
    assert asked_for("f.mp4", "--out", "g.mp4") == [None]
    Path("zoo/photos.safetensors").unlink()
    assert asked_for(photo) == [None]


def test_caption_a_folder(trained, photos, capsys):
    folder = Path("mine")
    folder.mkdir()
    for number in (1, 0):
        shutil.copy(photos / f"{number}.png", folder)
    names = ["notes.txt", "film.mp4", ".DS_Store"]
    for name in names:
        (folder / name).write_text("no picture")
    (folder / "deeper").mkdir()
    argv = ["caption", "mine", "--captioner", str(trained)]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == ["mine/0.png", "mine/1.png"]
    assert len(err.splitlines()) == 1 and "Left out 2 of 4 files in mine: mine/film.mp4" in err
    two = str(photos / "2.png")
    assert main(["caption", "mine", two, *argv[2:], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["picture"] for each in found] == ["mine/0.png", "mine/1.png", two]
    assert main([*argv, "--attention", "a.png"]) == 2
    assert main(["caption", "mine/deeper", *argv[2:]]) == 2
    assert "There is no picture in mine/deeper" in capsys.readouterr().err


def test_a_gif_of_one_frame_is_a_picture(trained, photos, capsys):
    Image.open(photos / "0.png").save("0.gif")
    assert main(["caption", "0.gif", "--captioner", str(trained)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 and not Path("recordings").exists()


def test_attention_as_a_sheet_and_as_a_film(trained, photos, capsys):
    argv = ["caption", str(photos / "0.png"), "--captioner", str(trained), "--attention"]
    assert main([*argv, "looked.png"]) == 0 and main([*argv, "looked.mp4"]) == 0
    assert read_image("looked.png").shape[1] > 150
    assert list(read_video("looked.mp4")[0])
    assert main([*argv, "looked.txt"]) == 2
    photo = Path(shutil.copy(photos / "0.png", "0.png"))
    before = photo.read_bytes()
    assert main(["caption", "0.png", *argv[2:], "0.png"]) == 2
    assert (
        photo.read_bytes() == before and "name another with --attention" in capsys.readouterr().err
    )


def test_attention_lies_over_what_is_seen(trained, photos):
    small = read_image(photos / "0.png")
    wide = np.pad(small, ((0, 0), (40, 40), (0, 0)), mode="edge")
    for name, picture in (("small.png", small), ("wide.png", wide)):
        write_image(name, picture)
        argv = ["caption", name, "--captioner", str(trained), "--attention"]
        assert main([*argv, f"looked-{name}"]) == 0
    assert np.array_equal(read_image("looked-small.png"), read_image("looked-wide.png"))


def test_a_film_gets_captions_and_subtitles(played, capsys):
    assert main(["watch", "pong", "--seconds", "4", "--no-overlay", "--record", "f.mp4"]) == 0
    argv = ["caption", "f.mp4", "--captioner", str(played), "--out", "g.mp4", "--json"]
    capsys.readouterr()
    assert main(argv) == 0
    about = json.loads(capsys.readouterr().out)
    before, after = (list(read_video(name)[0]) for name in ("f.mp4", "g.mp4"))
    assert len(before) == len(after) and after[0].shape[0] > before[0].shape[0]
    assert about["lines"] and Path("g.srt").read_text().startswith("1\n00:00:0")
    assert main(["caption", "f.mp4", "--captioner", str(played), "--out", "f.mp4"]) == 2


def still_film(path, count, size=(210, 160)):
    with VideoWriter(path, 30, 1) as film:
        for _ in range(count):
            film.write(Frame(np.zeros((*size, 3), np.uint8)))


def test_a_films_own_subtitles_are_not_written_over(played, capsys):
    still_film("a.gif", 20)
    argv = ["caption", "a.gif", "--captioner", str(played), "--out"]
    Path("a.srt").write_text("own")
    assert main([*argv, "a.mp4"]) == 2 and not Path("a.mp4").exists()
    still_film("a.mp4", 3)  # of the user's, too
    assert main([*argv, "a.mp4"]) == 2
    (sentence,) = set(capsys.readouterr().err.splitlines())
    assert "a.srt" in sentence and Path("a.srt").read_text() == "own"
    assert main([*argv, "b.mp4"]) == 0
    Path("a.srt").unlink()
    for _ in range(2):  # what was made here may be made again
        assert main([*argv, "a.mp4"]) == 0 and Path("a.srt").read_text().startswith("1\n")


def test_a_film_keeps_its_sound(played):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "lavfi", "-i"]
    command += ["color=size=160x210:rate=30", "-f", "lavfi", "-i", "sine", "-t", "1"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "f.mp4"], check=True)
    for name, sounds in (("g.mp4", True), ("g.gif", False)):
        assert main(["caption", "f.mp4", "--captioner", str(played), "--out", name]) == 0
        told = subprocess.run([command[0], "-i", name], capture_output=True, check=False).stderr
        assert (b"Audio: aac" in told) == sounds


def test_ctrl_c_keeps_a_film_and_its_subtitles(played, capsys, monkeypatch):
    fitted = Captioner.fitted

    def interrupted(self, images):
        if images[-1, 0, 0, 0] > 100:
            raise KeyboardInterrupt
        return fitted(self, images)

    monkeypatch.setattr(Captioner, "fitted", interrupted)
    with VideoWriter("f.mp4", 30, 1) as film:
        for number in range(300):
            film.write(Frame(np.full((210, 160, 3), min(number, 200), np.uint8)))
    argv = ["caption", "f.mp4", "--captioner", str(played), "--out", "g.mp4"]
    assert main(argv) == 130
    assert "g.mp4 has the first" in capsys.readouterr().err
    assert len(list(read_video("g.mp4")[0])) < 200 and Path("g.srt").read_text()[:2] == "1\n"


def test_the_panel_of_a_film_is_not_looked_at(played, monkeypatch):
    shapes, fitted = set(), Captioner.fitted

    def noted(self, images):
        shapes.add(images.shape[1:])
        return fitted(self, images)

    monkeypatch.setattr(Captioner, "fitted", noted)
    for name, wide in (("game.mp4", 320), ("panel.mp4", 480), ("small.mp4", 300)):
        with VideoWriter(name, 30, 1) as film:
            for _ in range(20):
                film.write(Frame(np.zeros((420, wide, 3), np.uint8)))
        shapes.clear()
        assert main(["caption", name, "--captioner", str(played), "--out", "out.mp4"]) == 0
        assert shapes == {(420, min(wide, 320), 3)}
        assert next(read_video("out.mp4")[0]).shape[1] == wide


@pytest.mark.parametrize("count", [3, 20])
def test_a_short_film_gets_a_subtitle(played, count, capsys):
    with VideoWriter("f.mp4", 30) as film:
        for _ in range(count):
            film.write(Frame(np.zeros((210, 160, 3), np.uint8)))
    assert main(["caption", "f.mp4", "--captioner", str(played), "--out", "g.mp4"]) == 0
    assert len(list(read_video("g.mp4")[0])) == count
    assert Path("g.srt").read_text("utf-8").startswith("1\n00:00:00,")
    assert capsys.readouterr().out.startswith("0:00  ")


def test_a_picture_for_a_captioner_of_clips(played, capsys):
    write_image("screen.png", np.zeros((210, 160, 3), np.uint8))
    argv = ["caption", "screen.png", "--captioner", str(played), "--register"]
    assert main([*argv, "comment"]) == 0
    assert main([*argv, "shout"]) == 2
    assert "describe or comment" in capsys.readouterr().err


def test_watch_speaks(played, capsys):
    argv = ["watch", "pong", "--seconds", "3", "--scale", "1", "--record", "w.mp4"]
    assert main([*argv, "--captions", str(played)]) == 0
    frames = list(read_video("w.mp4")[0])
    assert len(frames) == 180 and frames[0].shape[0] > 210
    assert Path("w.srt").read_text().startswith("1\n00:00:00,")
    assert main(["watch", "pong", "--seconds", "0.5", "--record", "x.mp4"]) == 0
    assert not Path("x.srt").exists()
    assert main(["watch", "pong", "--captions", "nothing", "--record", "x.mp4"]) == 2


def test_watch_says_nothing_of_a_game_that_was_not_learned(played, capsys):
    argv = ["watch", "qbert", "--seconds", "3", "--scale", "1", "--record", "w.mp4"]
    assert main([*argv, "--captions", str(played)]) == 0
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence == "The captioner knows pong: of qbert it says nothing."
    assert Path("w.mp4").exists() and not Path("w.srt").exists()


def test_filters_are_closed_after_their_block(played):
    parser = argparse.ArgumentParser()
    filters.add_filters(parser)
    args = parser.parse_args(["--captions", str(played)])
    args.record = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.commenting.window.available", lambda: True)
        with args.make_filters(args) as (see, draw):
            for number in range(20):
                draw(see(Frame(np.full((210, 160, 3), number, np.uint8))))
            (thread,) = see.comment._pool._threads
            assert thread.is_alive()
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["train", "caption"], "--data"),
        (["train", "caption", "--data", "mnist:x"], "no captions"),
        (["train", "caption", "--data", "atari:tetris"], "tetris"),
        (["train", "caption", *GAMES, "--clips", "0"], "starts at 1"),
        (["train", "caption", *GAMES, "--hidden", "161"], "multiple of 4"),
        (["train", "caption", *GAMES, "--layer", "relu9_9"], "No layer"),
        (["train", "caption", *GAMES, "--learning-rate", "inf"], "above 0, and finite"),
        (["train", "caption", *GAMES, "--start", "nowhere"], "no file"),
        (
            ["train", "caption", "--data", "atari:pong", "--critical", "5", "--steps", "5"],
            "nothing",
        ),
        (["train", "caption", "--data", "flickr8k:none"], "no folder"),
        (["train", "caption", "--data", "x", "--frames", "2"], "know clips"),
        (["train", "caption", "--data", "x", "--size", "32,48"], "squares"),
        (["caption", "none.png"], "no picture none.png"),
        (["caption", "black.png"], "ships"),
        (["caption", "black.png", "--captioner", "none"], "no file"),
        (["caption", "a.png", "b.png", "--attention", "o.png"], "one picture"),
        (["caption", "a.mp4", "b.png"], "One film"),
        (["caption", "a.png", "--out", "o.mp4"], "for a film"),
        (["watch", "pong", "--captions", "--record", "x.mp4"], "ships"),
    ],
)
def test_mistakes_are_one_sentence(argv, part, capsys, monkeypatch):
    monkeypatch.setattr("generators.captioner.ZOO", Path("empty"))
    write_image("black.png", np.zeros((8, 8, 3), np.uint8))
    assert main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert part in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not Path("runs").exists() or not list(Path("runs").rglob("config.json"))


def test_a_training_that_ends_before_its_first_words_says_so():
    task = SimpleNamespace(seen=None, mute=True, silent=7)
    run = SimpleNamespace(metrics=lambda: [{"step": 3, "evaluate/score": 0.0}])
    (line,) = train_caption._finish(task, run)
    assert "no words yet" in line and line.endswith("begin at 7.")


def test_of_many_pictures_none_is_kept(monkeypatch):
    """All are read before the first is told, as one that cannot be read shall not come late."""
    read = []
    monkeypatch.setattr(captioning, "read_image", lambda path: read.append(path.name) or path)
    given = captioning._pictures([Path("a.png"), Path("b.png")])
    assert next(given) == (Path("a.png"), Path("a.png")) and read == ["a.png", "b.png", "a.png"]
    assert len(list(given)) == 1 and read[3:] == ["b.png"]


def test_pictures_that_cannot_be_read(trained, photos, capsys):
    for path in ("none.png", photos / "captions.json"):
        assert main(["caption", str(path), "--captioner", str(trained)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
