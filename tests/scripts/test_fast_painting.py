"""`paint --fast` and `watch --style`: pictures, folders, films with their sound; bad input."""

import argparse
import subprocess
import unicodedata
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from generators import painter as painters
from generators.painter import Painter, load
from generators.painter_net import Plan, StyledNorm
from playground.frames import Frame
from playground.media import VideoWriter, read_image, read_video, write_image
from scripts import filters, painted_sheets
from scripts.fast_painting import blend_of
from scripts.play import main

PLAN = Plan(("starry_night", "great_wave"), 4, 4, 1)


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """A zoo with a small painter, a folder of its own, no display."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(painters, "ZOO", tmp_path / "zoo")
    torch.manual_seed(0)
    network = PLAN.build()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, StyledNorm):
                module.gains.normal_(1, 0.5)
                module.shifts.normal_(0, 0.5)
    (tmp_path / "zoo").mkdir()
    credits = {"great_wave": {"title": "The Great Wave", "painter": "Hokusai", "year": "1831"}}
    painter = Painter(network, PLAN, {"styles": credits})
    painter.save(tmp_path / "zoo" / "painter.safetensors")
    write_image(tmp_path / "photo.png", picture())


def picture(height=31, width=45, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def paint(*words):
    return main(["paint", "--fast", "--threads", "1", *map(str, words)])


def film(path, count=5, size=(32, 48), fps=25.0):
    with VideoWriter(path, fps, scale=1) as made:
        for number in range(count):
            made.write(Frame(picture(*size, number)))
    return path


def sounding(path, codec, fps="30000/1001", seconds=1.0, size="48x32"):
    """A film with a tone, by ffmpeg."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "lavfi", "-i"]
    command += [f"testsrc=size={size}:rate={fps}", "-f", "lavfi", "-i", "sine=frequency=440"]
    command += ["-t", str(seconds), "-pix_fmt", "yuv420p", "-c:a", codec, str(path)]
    subprocess.run(command, check=True)
    return path


def sound_of(path):
    """Samples of a film's sound, mono 8 kHz; and what ffmpeg says of its stream."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "s16le", "-ac", "1"]
    done = subprocess.run([*command, "-ar", "8000", "-"], capture_output=True, check=False)
    lines = done.stderr.decode().splitlines()
    told = [line for line in lines if "Audio:" in line]
    return np.frombuffer(done.stdout, np.int16), told[0] if told else ""


# pictures


def test_a_picture(capsys):
    assert paint("--content", "photo.png", "--style", "great_wave") == 0
    out = Path("recordings/photo-great_wave.png")
    assert capsys.readouterr().out.strip() == str(out)
    painter = load()
    expected = painter.paint(picture(), painter.mixture("great_wave"))
    assert np.array_equal(read_image(out), expected)
    assert paint("--content", "photo.png", "--style", "great_wave", "--size", "64") == 0
    assert capsys.readouterr().out.strip() == "recordings/photo-great_wave-2.png"
    assert np.array_equal(read_image(out), expected)  # nobody asked for its end


def test_a_gif_of_one_frame_is_a_picture(capsys):
    Image.open("photo.png").save("photo.gif")
    assert paint("--content", "photo.gif", "--out", "a.png") == 0
    assert read_image("a.png").shape == (31, 45, 3)
    assert paint("--content", "photo.gif", "--beside") == 2
    assert "name a film" in capsys.readouterr().err


def test_a_blend_a_size_and_sixteen_bits():
    words = "--content photo.png --style great_wave:0.25 --style starry_night:0.75 --size 90"
    assert paint(*words.split(), "--out", "a.png", "--bits", "16") == 0
    assert read_image("a.png").shape == (62, 90, 3)
    assert blend_of(load(), ["great_wave:0.25", "starry_night:0.75"]) == {
        "great_wave": 0.25, "starry_night": 0.75,
    }  # fmt: skip
    assert blend_of(load(), ["great_wave"]) == {"great_wave": 1.0} and blend_of(load(), ()) is None


def test_a_folder_with_what_can_be_painted_in_it(capsys):
    write_image(Path("in/a.png"), picture())
    write_image(Path("in/b.jpg"), picture(20, 20))
    Image.fromarray(picture(24, 24)).convert("L").save("in/c.webp")
    Path("in/notes.txt").write_text("no picture")
    assert paint("--content", "in", "--style", "great_wave", "--out", "out") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.jpg", "c.png"]
    assert "notes.txt is not a picture" in capsys.readouterr().err
    assert read_image("out/c.png").shape == (24, 24, 3)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_style_is_named_however_its_accents_are_written(form):
    painter = load()
    painter.styles = ("étoile", "great_wave")
    name = unicodedata.normalize(form, "étoile")
    assert blend_of(painter, [name]) == {"étoile": 1.0}
    assert blend_of(painter, [f"{name}:0.25", "great_wave"]) == {"étoile": 0.25, "great_wave": 1.0}


def test_paintings_of_one_name_in_a_folder_are_all_kept(capsys):
    """And the same command paints into the same files again."""
    sizes = {"a.png": (20, 24), "a.webp": (24, 32), "A.tiff": (32, 40)}
    Path("in").mkdir()
    for name, size in sizes.items():
        Image.fromarray(picture(*size)).save(f"in/{name}")
    for _ in range(2):
        assert paint("--content", "in", "--style", "great_wave", "--out", "out") == 0
        assert capsys.readouterr().out.split() == ["out/A.png", "out/a-2.png", "out/a-3.png"]
    shapes = [read_image(Path("out", name)).shape[:2] for name in ("A.png", "a-2.png", "a-3.png")]
    assert shapes == [sizes["A.tiff"], sizes["a.png"], sizes["a.webp"]]


# films


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("pcm_s16le", "mkv")])
def test_a_film_keeps_its_rate_its_length_and_its_sound(codec, suffix, capsys):
    source = sounding(f"in.{suffix}", codec)
    assert paint("--content", source, "--style", "great_wave", "--out", "out.mp4") == 0
    assert "30 frames at 29.97 frames/s" in capsys.readouterr().out
    frames, fps = read_video("out.mp4")
    assert fps == pytest.approx(30000 / 1001, abs=1e-9)
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 30
    before, after = sound_of(source)[0], sound_of("out.mp4")[0]
    assert abs(len(after) - len(before)) < 800  # a tenth of a second
    spectrum = np.abs(np.fft.rfft(after[:7000].astype(float)))
    assert np.argmax(spectrum) * 8000 / 7000 == pytest.approx(440, abs=3)
    assert "aac" in sound_of("out.mp4")[1]


def test_every_frame_is_painted_alone():
    film("in.mp4")
    assert paint("--content", "in.mp4", "--style", "great_wave", "--out", "out.gif") == 0
    before, _ = read_video("in.mp4")
    after, _ = read_video("out.gif")
    painter = load()
    mixture = painter.mixture("great_wave")
    pairs = list(zip(before, after, strict=True))
    assert len(pairs) == 5
    for pixels, painted in pairs:  # a GIF has 256 colours
        expected = painter.paint(pixels, mixture)
        assert np.abs(painted.astype(int) - expected).mean() < 12
    assert sound_of("in.mp4")[1] == ""


def test_films_of_odd_sizes_and_of_another_size():
    sounding("odd.mkv", "aac", "10", 0.5, "46x34")
    assert paint("--content", "odd.mkv", "--style", "great_wave", "--size", "33") == 0
    frames, fps = read_video("recordings/odd-great_wave.mp4")
    assert next(frames).shape == (24, 34, 3) and fps == 10  # the last column and row repeated
    frames.close()


# watching


def test_filters_are_asked_for_by_their_flags():
    parser = argparse.ArgumentParser()
    filters.add_filters(parser)
    with filters.asked_for(parser.parse_args([])) as found:
        assert found == []
    frame, painter = Frame(picture(), "words"), load()
    for words, style in (
        (["--style", "great_wave"], "great_wave"),
        (["--painter", "zoo/painter.safetensors"], "starry_night"),
    ):
        with filters.asked_for(parser.parse_args(words)) as found:
            (change,) = found
            painted = painter.paint(frame.pixels, painter.mixture(style))
            assert np.array_equal(change(frame).pixels, painted)


def test_an_agents_game_is_painted_while_it_plays():
    plain = ["watch", "pong", "--seconds", "0.2", "--no-overlay", "--record"]
    assert main([*plain, "plain.mp4"]) == 0
    assert (
        main([*plain, "painted.mp4", "--style", "great_wave:0.5", "--style", "starry_night"]) == 0
    )
    (plain_frames, _), (painted_frames, _) = read_video("plain.mp4"), read_video("painted.mp4")
    both = list(zip(plain_frames, painted_frames, strict=True))
    assert len(both) == 12 and both[0][0].shape == both[0][1].shape
    apart = [np.abs(a.astype(int) - b).mean() for a, b in both]
    assert min(apart) > 5


# mistakes


def test_bad_input_is_one_sentence_and_leaves_no_file(capsys):
    Path("text.mp4").write_text("no film")
    Path("text.png").write_text("no picture")
    Path("empty").mkdir()
    write_image(Path("dot.png"), picture(1, 1))
    film("a.mp4", 2)
    there = sorted(Path().rglob("*"))
    good = ["--content", "photo.png", "--style", "great_wave"]
    cases = [
        (["--content", "photo.png", "--style", "grate_wave"], "Did you mean 'great_wave'"),
        (["--content", "photo.png", "--style", "photo.png"], "leave out --fast"),
        (["--content", "photo.png", "--style", "great_wave:0"], "must be above 0"),
        (["--content", "none.png", "--style", "great_wave"], "no picture none.png"),
        (["--content", "text.png", "--style", "great_wave"], "text.png is not a picture"),
        (["--content", "dot.png", "--style", "great_wave"], "1x1 pixels is too small"),
        (["--content", "none.mp4", "--style", "great_wave"], "no film none.mp4"),
        (["--content", "text.mp4", "--style", "great_wave"], "not a film that can be read"),
        (["--content", "a.mp4", "--style", "great_wave", "--out", "a.mp4"], "is what is read"),
        ([*good, "--out", "photo.png"], "photo.png is what is read; name another with --out"),
        (["--content", "empty", "--style", "great_wave", "--out", "empty"], "is what is read"),
        (["--content", "a.mp4", "--style", "great_wave", "--out", "a.avi"], ".mp4 or .gif"),
        (["--content", "a.mp4", "--style", "great_wave", "--bits", "16"], "leave out --bits"),
        (["--content", "empty", "--style", "great_wave"], "no picture in empty"),
        ([*good, "--out", "a.bmp"], "written as .png or .jpg"),
        ([*good, "--painter", "none"], "no file or run none"),
        ([*good, "--size", "4"], "--size starts at 16"),
        ([*good, "--size", "1000000"], "GB are free: try --size"),
        ([*good, "--threads", "-3"], "--threads must be above 0, not -3"),
        ([*good, "--iterations", "3"], "--fast knows no --iterations"),
        ([*good, "--mask", "photo.png"], "--fast knows no --mask"),
    ]
    for words, said in cases:
        assert paint(*words) == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in error and "Traceback" not in error, (words, error)
    left = [path for path in sorted(Path().rglob("*")) if path.name != "recordings"]
    assert left == there
    assert main(["watch", "pong", "--style", "grate_wave", "--record", "b.mp4"]) == 2
    assert "Did you mean 'great_wave'" in capsys.readouterr().err


def test_without_a_painter_it_says_how_to_get_one(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(painters, "ZOO", tmp_path / "nothing")
    assert paint("--content", "photo.png", "--style", "great_wave") == 2
    assert "No painter ships" in capsys.readouterr().err
    assert main(["zoo"]) == 0


# sheets


def test_a_sheet_a_strip_and_sliders(capsys):
    write_image(Path("in/a.png"), picture())
    write_image(Path("in/b.jpg"), picture(20, 24))
    Path("in/notes.txt").write_text("no picture")
    assert paint("--content", "in", "--sheet", "s.png", "--strip", "t.png", "--size", "40") == 0
    told = capsys.readouterr()
    assert told.out.split() == ["s.png", "t.png"] and "notes.txt is not a picture" in told.err
    sheet, strip = read_image("s.png"), read_image("t.png")
    assert sheet.shape[1] == 3 * (40 + 4) + 4 and strip.shape[1] == 5 * (40 + 4) + 4
    painter = load()
    shown = sheet[4 + 2 :, 4:]  # in the middle of the cell: the other picture is 5 px higher
    content = shown[:28, :40]  # 45x31 pixels, fitted
    assert np.array_equal(shown[:28, 88:128], painter.paint(content, painter.mixture("great_wave")))
    half = strip[6:34, 92:132]
    blend = painter.mixture({"starry_night": 0.5, "great_wave": 0.5})
    assert np.array_equal(half, painter.paint(content, blend))
    three = painted_sheets.strip(painter, [("a", content)], ["great_wave", "starry_night"] * 2)
    assert three.shape[1] == strip.shape[1] and three.shape[0] > 3 * 28
    assert paint("--content", "photo.png", "--sheet", "s.html", "--style", "great_wave") == 0
    page = Path("s.html").read_text()
    assert page.count('class="slider"') == 1 and "The Great Wave, Hokusai, 1831" in page
    assert page.count("data:image/png;base64,") == 2 and "starry_night" not in page


def test_colours_are_kept():
    words = "--content photo.png --style great_wave --keep-colors --out a.png"
    assert paint(*words.split()) == 0
    content, painted = picture() / 255, np.array(read_image("a.png")) / 255
    inside = ((painted > 0.01) & (painted < 0.99)).all(-1)  # where nothing was cut off
    hues = [each[..., 0] - each[..., 1] for each in (content, painted)]
    assert inside.sum() > 50 and np.abs(hues[0] - hues[1])[inside].max() < 0.02


def test_a_film_beside_its_original(capsys):
    film("in.mp4")
    words = "--content in.mp4 --style great_wave --out out.mp4 --beside"
    assert paint(*words.split()) == 0
    frames, _ = read_video("out.mp4")
    frames = list(frames)
    assert len(frames) == 5 and frames[0].shape == (32, 96, 3)
    original = next(read_video("in.mp4")[0])
    assert np.abs(frames[0][:, :48].astype(int) - original).mean() < 12


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--content photo.png --strip a.png --style great_wave", "name two or more"),
        ("--content photo.png --sheet a.gif", "Pictures are written as .png or .jpg"),
        ("--content photo.png --sheet photo.png", "name another with --sheet"),
        ("--content in --strip in/a.png", "in/a.png is what is read; name another with --strip"),
        ("--content photo.png --sheet a.png --strip a.png", "--sheet and --strip are both a.png"),
        ("--content photo.png --strip a.html", "Pictures are written as .png or .jpg"),
        ("--content zoo --sheet a.png", "no picture in zoo"),
        ("--content photo.png --beside", "name a film"),
        ("--content absent.png --sheet a.png", "There is no picture absent.png"),
    ],
)
def test_sheets_that_cannot_be_made(words, sentence, capsys):
    write_image(Path("in/a.png"), picture())
    before = Path("in/a.png").read_bytes(), Path("photo.png").read_bytes()
    assert paint(*words.split()) == 2
    assert sentence in capsys.readouterr().err
    assert (Path("in/a.png").read_bytes(), Path("photo.png").read_bytes()) == before


def test_sheets_belong_to_a_painter(capsys):
    assert main(["paint", "--content", "photo.png", "--style", "x.png", "--beside"]) == 2
    assert "belong to --fast" in capsys.readouterr().err
    assert main(["paint", "--content", "photo.png"]) == 2
    assert "Name the picture of a painting" in capsys.readouterr().err
