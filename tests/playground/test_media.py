import os
import signal
import stat
import subprocess
import sys
import unicodedata
import zlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from playground import media
from playground.errors import UserError
from playground.frames import Frame, pump
from playground.media import (
    PANEL,
    VideoWriter,
    draw_text,
    encode_image,
    gif_rate,
    is_film,
    read_image,
    read_video,
    side_panel,
    text_width,
    to_pixels,
    write_image,
)

# `read_image` silences Pillow once for the process; pytest sets the filters back for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PRIMARIES = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [255, 255, 0]]
ATARI = [
    [144, 72, 17],
    [236, 236, 236],
    [92, 186, 92],
    [213, 130, 74],
    [200, 72, 200],
    [66, 158, 130],
]
COLOURS = np.array([*PRIMARIES, *ATARI], np.uint8)
BLOCK = 16


def patches():
    """(48, 64, 3): a block of each colour."""
    return COLOURS.reshape(3, 4, 3).repeat(BLOCK, 0).repeat(BLOCK, 1)


def test_names_that_nobody_gave_are_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("pong.mp4", "pong-2.mp4", "pong-3.mp4"):
        path = media.recording("pong", ".mp4")
        assert path == Path("recordings") / expected
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert media.recording("pong", ".png") == Path("recordings/pong.png")


def moving(count, height=48, width=64):
    """Frames that differ: a white bar moves over grey."""
    for i in range(count):
        pixels = np.full((height, width, 3), 90, np.uint8)
        pixels[:, i % (width - 4) : i % (width - 4) + 4] = 255
        yield Frame(pixels)


def film(path, frames, **settings):
    with VideoWriter(path, **settings) as writer:
        pump(frames, sinks=[writer])
    stream, fps = read_video(path)
    return np.stack(list(stream)), fps


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".tmp")]


# Pictures


def test_to_pixels_takes_every_layout():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    unit = torch.tensor(pixels).permute(2, 0, 1) / 255
    for same in (pixels, unit, unit.numpy(), unit.double(), pixels.transpose(2, 0, 1)):
        assert np.array_equal(to_pixels(same), pixels)
    grey = to_pixels(pixels[..., 0])
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, axis=2))
    assert np.array_equal(to_pixels(torch.tensor(pixels[None, ..., 0])), grey)
    out = to_pixels(np.array([[[-1.0, 2.0, float("nan")]]] * 3).transpose(0, 1, 2))
    assert out.shape == (1, 3, 3) and out[0, :, 0].tolist() == [0, 255, 0]
    assert to_pixels(unit.bfloat16()).dtype == np.uint8
    for wrong in (
        np.zeros((2, 5, 7, 3), np.uint8),
        np.zeros((5, 7, 2), np.uint8),
        np.zeros((3, 3), int),
    ):
        with pytest.raises(ValueError):
            to_pixels(wrong)


def test_pictures_come_back(tmp_path):
    write_image(tmp_path / "new" / "a.png", patches())
    assert np.array_equal(read_image(tmp_path / "new" / "a.png"), patches())
    write_image(tmp_path / "a.JPG", patches())
    middle = slice(BLOCK // 2, None, BLOCK)
    error = read_image(tmp_path / "a.JPG")[middle, middle].astype(int) - COLOURS.reshape(3, 4, 3)
    assert np.abs(error).max() <= 4
    assert not leftovers(tmp_path)


def test_pictures_of_16_bits(tmp_path):
    """Read back to the last bit by a library that has nothing in common with the writer."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (130, 7), (64, 50)):
        pixels = rng.integers(0, 2**16, (height, width, 3)).astype(np.uint16)
        write_image(tmp_path / "a.png", pixels)
        found = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint16 and np.array_equal(found[..., ::-1], pixels)
        with Image.open(tmp_path / "a.png") as picture:
            picture.load()  # checksums and all
        assert np.abs(read_image(tmp_path / "a.png").astype(int) - (pixels >> 8)).max() <= 1
    with pytest.raises(UserError, match="16 bits are written as"):
        write_image(tmp_path / "a.jpg", pixels)
    assert os.listdir(tmp_path) == ["a.png"]


def test_to_pixels_of_16_bits():
    unit = torch.tensor([[[0.0, 0.5, 1.0, 2.0]]]).expand(3, -1, -1)
    assert to_pixels(unit, 16)[0, :, 0].tolist() == [0, 32768, 65535, 65535]
    whole = to_pixels(np.array([[[0, 1, 255]]], np.uint8), 16)
    assert whole.dtype == np.uint16 and whole.tolist() == [[[0, 257, 65535]]]


def test_transparency_stands_on_white_and_cameras_are_turned_upright(tmp_path):
    Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)).save(
        tmp_path / "a.png"
    )
    assert read_image(tmp_path / "a.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(patches()).save(tmp_path / "b.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "b.png"), np.rot90(patches(), -1))


ORIENTATIONS = {  # EXIF: how the stored picture is to be turned
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_every_way_to_hold_a_camera(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(patches()).save(tmp_path / f"a{suffix}", exif=exif, lossless=True)
    expected = ORIENTATIONS[orientation](patches())
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("notes", [b"garbage", b"II*\0\xff\xff\xff\xff", b""])
def test_broken_notes_of_a_camera_spoil_no_pixels(tmp_path, notes):
    Image.fromarray(patches()).save(tmp_path / "a.png", exif=b"Exif\0\0" + notes)
    assert np.array_equal(read_image(tmp_path / "a.png"), patches())


GREYS = np.arange(256, dtype=np.uint8).reshape(8, 32)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("L.png", Image.fromarray(GREYS)),
        ("L.jpg", Image.fromarray(GREYS)),
        ("LA.png", Image.fromarray(GREYS).convert("LA")),
        ("16bit.png", Image.fromarray(GREYS.astype(np.uint16) * 256 + 77)),
        ("16bit.tiff", Image.fromarray(GREYS.astype(np.uint16) * 256 + 77)),
        ("32bit.tiff", Image.fromarray(GREYS.astype(np.int32) * 256 + 77)),
        ("float.tiff", Image.fromarray(GREYS.astype(np.float32) / 255)),
        ("palette.gif", Image.fromarray(GREYS)),
        ("grey.bmp", Image.fromarray(GREYS)),
    ],
)
def test_greys_of_any_depth(tmp_path, name, picture):
    """Pillow's own conversion would make nearly all of the 16-bit ones white."""
    picture.save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (8, 32, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - GREYS[..., None]).max() <= (2 if name == "L.jpg" else 0)


def test_colours_of_any_mode(tmp_path):
    colours = np.array(Image.fromarray(patches()).quantize(12).convert("RGB"))
    assert np.array_equal(colours, patches())
    Image.fromarray(patches()).quantize(12).save(tmp_path / "palette.png")
    Image.fromarray(patches()).quantize(12).save(tmp_path / "palette.gif")
    Image.fromarray(patches()).save(tmp_path / "a.bmp")
    Image.fromarray(patches()).save(tmp_path / "a.ppm")
    for name in ("palette.png", "palette.gif", "a.bmp", "a.ppm"):
        assert np.array_equal(read_image(tmp_path / name), patches()), name
    Image.fromarray(patches()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(patches()).convert("CMYK").save(tmp_path / "cmyk.tiff")
    middle = slice(BLOCK // 2, None, BLOCK)
    for name in ("cmyk.jpg", "cmyk.tiff"):
        seen = read_image(tmp_path / name)[middle, middle].astype(int)
        assert np.abs(seen - COLOURS.reshape(3, 4, 3)).max() <= 12, name
    bits = Image.fromarray((GREYS > 100).astype(np.uint8) * 255).convert("1")
    bits.save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png")[..., 0], (GREYS > 100) * 255)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_of_animated_pictures_the_first_is_read(tmp_path, suffix):
    shades = [Image.new("RGB", (8, 6), (shade,) * 3) for shade in (40, 90, 200)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    shades[0].save(path, save_all=True, append_images=shades[1:], **options)
    assert read_image(path).shape == (6, 8, 3) and (read_image(path) == 40).all()


def test_palette_transparency_stands_on_white(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 200, 0, 0])
    for name in ("a.png", "a.gif"):
        picture.save(tmp_path / name, transparency=1)
        assert read_image(tmp_path / name).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_reading_at_a_size_keeps_the_centre_and_the_shape(tmp_path):
    """A 90 × 30 picture of three squares: the middle one stays, undistorted."""
    thirds = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8), 30, 0)
    write_image(tmp_path / "wide.png", thirds.repeat(30, 1))
    write_image(tmp_path / "high.png", thirds.repeat(30, 1).transpose(1, 0, 2))
    for name in ("wide.png", "high.png"):
        pixels = read_image(tmp_path / name, 10)
        assert pixels.shape == (10, 10, 3)
        assert (pixels[1:-1, 1:-1] == [0, 255, 0]).all()  # filtering mixes in the neighbours
        assert read_image(tmp_path / name, 60).shape == (60, 60, 3)
    assert read_image(tmp_path / "wide.png", (10, 30)).shape == (10, 30, 3)
    assert (read_image(tmp_path / "wide.png", (10, 30))[:, 2] == [255, 0, 0]).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_reading_small_is_antialiased(tmp_path, suffix):
    """A checkerboard of single pixels becomes an even grey; picking pixels would not."""
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    write_image(tmp_path / f"a{suffix}", board[..., None].repeat(3, 2))
    inner = read_image(tmp_path / f"a{suffix}", 32)[2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 3


def bad_files(folder):
    """Name -> bytes of every kind of file that only looks like a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    found = {"empty.png": b"", "text.jpg": b"not a picture", "page.png": b"<html></html>"}
    for name in ("torn.png", "torn.jpg", "torn.gif", "torn.webp", "torn.bmp", "torn.tiff"):
        Image.fromarray(noise).save(folder / name)
        data = (folder / name).read_bytes()
        found[name] = data[: len(data) // 2]
    write_image(folder / "good.png", noise)
    good = bytearray((folder / "good.png").read_bytes())
    good[60:80] = bytes(20)
    found["corrupt.png"] = bytes(good)
    # A picture of 60,000 × 60,000 in 60 bytes, and a script for Ghostscript.
    size = (60_000).to_bytes(4, "big")
    header = b"IHDR" + size + size + bytes((8, 2, 0, 0, 0))
    header = len(header[4:]).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    found["bomb.png"] = b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT"
    found["script.eps"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    for name, data in found.items():
        (folder / name).write_bytes(data)
    return found


def test_every_kind_of_bad_picture_is_told_in_one_sentence(tmp_path):
    for name in bad_files(tmp_path):
        for size in (None, 16):
            with pytest.raises(UserError) as caught:
                read_image(tmp_path / name, size)
            said = str(caught.value)
            assert said.startswith(str(tmp_path / name)) and said.endswith(".") and "\n" not in said
    with pytest.raises(UserError, match="megapixels"):
        read_image(tmp_path / "bomb.png")


def test_a_picture_just_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("L", (101, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(media, "MAX_PIXELS", 10_000)
    with pytest.raises(UserError, match="megapixels"):
        read_image(tmp_path / "a.png")
    Image.new("L", (100, 100)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").shape == (100, 100, 3)
    # A JPEG that is wanted small is decoded small.
    Image.new("L", (400, 400)).save(tmp_path / "c.jpg")
    assert read_image(tmp_path / "c.jpg", 20).shape == (20, 20, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="no file"):
        read_image(tmp_path / "pipe.png")


def test_damaged_files_only_raise_user_errors(tmp_path):
    """Hundreds of small damages: a picture or one sentence, and nothing else."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    good = []
    for suffix in ("png", "jpg", "gif", "webp", "bmp"):
        Image.fromarray(patches()).save(tmp_path / f"good.{suffix}", exif=exif)
        good.append((tmp_path / f"good.{suffix}").read_bytes())
    refused = 0
    for turn in range(500):
        data = bytearray(good[turn % len(good)])
        for place in rng.integers(0, min(len(data), rng.choice([60, 10_000])), 3):
            data[place] = rng.integers(256)
        (tmp_path / "bad").write_bytes(data[: rng.integers(10, 3 * len(data))])
        try:
            pixels = read_image(tmp_path / "bad", 16)
            assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 50 < refused < 500


def test_pillow_says_nothing_beside_the_one_sentence(tmp_path):
    notes = b"Exif\0\0II*\0\xff\xff\xff\xff"
    Image.fromarray(patches()).save(tmp_path / "a.png", exif=notes)  # of which Pillow warns
    code = f"from playground.media import read_image; read_image({str(tmp_path / 'a.png')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr


def test_encoded_pictures_are_files(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_image(patches()))
    assert np.array_equal(read_image(tmp_path / "a.png"), patches())
    assert encode_image(patches(), ".JPG")[:2] == b"\xff\xd8"


def test_bad_pictures_are_told_in_one_sentence(tmp_path):
    write_image(tmp_path / "good.png", patches())
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "file").write_text("in the way")
    for bad in ("none.png", "torn.png", "text.png", "."):
        with pytest.raises(UserError) as caught:
            read_image(tmp_path / bad)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    for bad in ("a.bmp", "a", "file/a.png"):
        with pytest.raises(UserError):
            write_image(tmp_path / bad, patches())


# Films


def test_mp4_keeps_every_frame_the_speed_and_the_colours(tmp_path):
    frames, fps = film(tmp_path / "a.mp4", [Frame(patches())] * 12)
    assert fps == 60 and frames.shape == (12, 96, 128, 3)  # a small picture is doubled
    middle = slice(BLOCK, None, 2 * BLOCK)
    error = frames[:, middle, middle].astype(int) - COLOURS.reshape(3, 4, 3)
    assert np.abs(error).max() <= 4
    header = about(tmp_path / "a.mp4")
    assert "h264" in header and "yuv420p(tv, bt709" in header and "60 fps" in header


def about(path):
    """What ffmpeg says of a file."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_mp4_shows_the_frames_in_their_order(tmp_path):
    given = [frame.pixels for frame in moving(30)]
    frames, fps = film(tmp_path / "a.mp4", moving(30), fps=30, scale=2)
    assert fps == 30 and len(frames) == 30
    shown = frames[:, ::2, ::2].astype(int)
    nearest = [np.abs(np.stack(given) - frame).mean(axis=(1, 2, 3)).argmin() for frame in shown]
    assert nearest == list(range(30))


@pytest.mark.parametrize(
    ("height", "width", "scale", "size"),
    [(35, 51, 1, (36, 52)), (35, 51, 3, (108, 156)), (35, 51, 2, (70, 102)), (34, 51, 1, (34, 52))],
)
def test_mp4_takes_odd_sizes(tmp_path, height, width, scale, size):
    frames, _ = film(tmp_path / "a.mp4", moving(3, height, width), scale=scale)
    assert frames.shape == (3, *size, 3)
    assert np.abs(frames[0, -1, -1].astype(int) - 90).max() <= 3  # the edge is repeated


@pytest.mark.parametrize(
    ("fps", "rate"), [(60, 50), (50, 50), (59.94, 50), (45, 100 / 3), (30, 25)]
)
def test_gif_rates(fps, rate):
    assert float(gif_rate(fps)) == pytest.approx(rate)
    assert gif_rate(1000) == 50 and gif_rate(25) == 25


@pytest.mark.parametrize("fps", [60, 30])
def test_gif_keeps_speed_and_exact_colours(tmp_path, fps):
    film(tmp_path / "a.gif", moving(2 * fps), fps=fps)
    with Image.open(tmp_path / "a.gif") as gif:
        delays = []
        for i in range(gif.n_frames):
            gif.seek(i)
            delays.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert min(delays) >= 20 and sum(delays) == pytest.approx(2000, abs=40)  # ms
    frames, _ = film(tmp_path / "b.gif", [Frame(patches())] * 12, scale=2)
    assert all(np.array_equal(frame[::2, ::2], patches()) for frame in frames)
    assert not leftovers(tmp_path)


def test_a_gif_of_many_colours_stays_near(tmp_path):
    ramp = np.linspace(0, 1, 64)
    pixels = to_pixels(np.stack(np.broadcast_arrays(ramp[:, None], ramp, 0.5), -1))
    frames, _ = film(tmp_path / "a.gif", [Frame(pixels)] * 3)
    assert np.abs(frames[0].astype(int) - pixels).mean() < 12


def test_an_interrupted_film_is_kept_and_a_failed_one_discarded(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(next(moving(1)))
        raise KeyboardInterrupt
    assert len(list(read_video(tmp_path / "a.mp4")[0])) == 1
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(next(moving(1)))
        raise ZeroDivisionError
    with VideoWriter(tmp_path / "a.mp4") as writer:
        pass  # without a frame there is no film
    writer.close()
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.mp4"]


PLAYER = """
import sys
import numpy as np
from playground.frames import Frame
from playground.media import VideoWriter

with VideoWriter(sys.argv[1], scale=4) as writer:
    while True:
        writer.write(Frame(np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)))
        print(writer.frames, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as POSIX does")
def test_ctrl_c_in_a_terminal_leaves_a_whole_film(tmp_path):
    # It reaches ffmpeg's process group too, wherever the film is: here in the middle of a frame.
    command = [sys.executable, "-c", PLAYER, str(tmp_path / "a.mp4")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "start_new_session": True}
    player = subprocess.Popen(command, cwd=Path(__file__).parents[2], **options)
    for _ in range(5):
        player.stdout.readline()
    os.killpg(player.pid, signal.SIGINT)
    written = [5, *map(int, player.stdout.read().split())][-1]
    player.wait()
    assert len(list(read_video(tmp_path / "a.mp4")[0])) in (written, written + 1)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_bad_places_for_films(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.mp4").mkdir()
    for bad in ("a.avi", "a", "file/a.mp4", "folder.mp4"):
        with pytest.raises(UserError) as caught:
            VideoWriter(tmp_path / bad)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        VideoWriter(tmp_path / "a.mp4", scale=0)
    with pytest.raises(UserError, match="64x48"), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(next(moving(1)))
        writer.write(next(moving(1, 20, 20)))
    assert not (tmp_path / "a.mp4").exists() and not leftovers(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="stands in for ffmpeg with a shell script")
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch, suffix):
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        "#!/bin/sh\ncat > /dev/null\necho 'write: No space left on device' >&2\nexit 1\n"
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(fake))
    with pytest.raises(UserError, match="full"), VideoWriter(tmp_path / f"a{suffix}") as writer:
        pump(moving(3), sinks=[writer])
    fake.write_text("#!/bin/sh\necho 'no such encoder' >&2\nexit 1\n")  # ends before it reads
    with pytest.raises(UserError, match="encoder"), VideoWriter(tmp_path / f"a{suffix}") as writer:
        pump(moving(300), sinks=[writer])
    assert os.listdir(tmp_path) == ["ffmpeg"]


def test_bad_films(tmp_path):
    (tmp_path / "text.mp4").write_text("not a film")
    for bad in ("none.mp4", "text.mp4", "."):
        with pytest.raises(UserError):
            read_video(tmp_path / bad)


def test_a_gif_of_one_frame_is_a_picture(tmp_path):
    for count in (1, 2):
        first, *others = [Image.fromarray(next(moving(i + 1)).pixels + i) for i in range(count)]
        first.save(tmp_path / f"{count}.GIF", save_all=True, append_images=others)
    assert not is_film(tmp_path / "1.GIF") and is_film(tmp_path / "2.GIF")
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    for name in ("broken.gif", "absent.gif", "a.mp4", "a.MOV"):  # `read_video` says what is wrong
        assert is_film(tmp_path / name)
    assert not is_film(tmp_path / "a.png")


# Drawing


def test_text_is_drawn_on_a_copy_in_whole_pixels():
    black = np.zeros((40, 120, 3), np.uint8)
    drawn = draw_text(black, ["return 21", "ε Ω 中"], colour=(255, 0, 0))
    assert not black.any()
    assert {tuple(pixel) for pixel in drawn.reshape(-1, 3)} == {(0, 0, 0), (255, 0, 0)}
    right = np.nonzero(drawn[:12].any(axis=(0, 2)))[0].max()
    assert abs(right - (4 + text_width("return 21"))) <= 4
    assert np.array_equal(draw_text(black, "a"), draw_text(black, ["a"]))
    assert (draw_text(black, "x", background=(9, 9, 9)) == 9).any()


@pytest.fixture
def korean(tmp_path, monkeypatch):
    """A system whose one font has "한" alone, as a slope, and boxes for all else."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000)
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    outlines = {".notdef": [(50, 0), (50, 700), (450, 700), (450, 0)], "han": [(0, 0), (900, 800)]}
    outlines["han"] += [(900, 0)]
    glyphs = {}
    for name, points in outlines.items():
        pen = pens.TTGlyphPen(None)
        pen.moveTo(points[0])
        for point in points[1:]:
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord("한"): "han"})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (1000, 0) for name in glyphs})
    builder.setupHorizontalHeader(ascent=1200, descent=-300)
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "korean.ttf")
    monkeypatch.setattr(media, "FONTS", ("nowhere.ttf", str(tmp_path / "korean.ttf")))
    media._say_lacking.cache_clear()


def drawn(*lines):
    return draw_text(np.zeros((40, 80, 3), np.uint8), lines, size=14)


@pytest.mark.usefixtures("korean")
def test_letters_that_pillows_font_lacks_are_found_in_the_systems(capsys):
    whole, pieces = "한", unicodedata.normalize("NFD", "한")
    assert not np.array_equal(drawn(whole), drawn("중"))  # a box
    assert np.array_equal(drawn(whole), drawn(pieces)) and text_width(whole) == text_width(pieces)
    rows = np.nonzero(drawn(whole).any(axis=(1, 2)))[0]
    assert rows.min() >= 3 and rows.max() <= 3 + 14  # on the line of other letters
    panel = side_panel(60, 80, [whole], {whole: 1.0}, size=14)
    assert not np.array_equal(panel, side_panel(60, 80, ["중"], {"중": 1.0}, size=14))
    capsys.readouterr()
    assert not np.array_equal(drawn("a"), drawn("b"))  # of Pillow's own, which has these
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("korean")
def test_letters_that_no_font_has_are_told_once(capsys):
    for line in ("한 7", "중", "중국", "\udcff 한"):
        drawn(line)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Nanum" in told


def test_small_digits_differ_by_more_than_a_pixel():
    digits = [draw_text(np.zeros((14, 12, 3), np.uint8), digit)[..., 0] > 0 for digit in "0689"]
    for one, other in combinations(digits, 2):
        assert (one != other).sum() >= 3


def test_side_panel_bars_rank_the_values():
    bars = {"NOOP": 0.0, "UP": 1.0, "DOWN": 0.5}
    panel = side_panel(120, 200, ["Pong"], bars, chosen="UP")
    assert panel.shape == (120, 200, 3)
    lengths = [length(panel, y) for y in row_starts(panel)]
    assert lengths[1] == pytest.approx(194, abs=2)
    assert lengths[2] == pytest.approx(97, abs=2) and lengths[0] <= 2
    colours = [tuple(panel[y, 3]) for y in row_starts(panel)]
    assert colours[0] == colours[2] != colours[1]


def row_starts(panel):
    """The first row of each bar, below the first line of text."""
    filled = (panel[:, 3] != PANEL).any(axis=1)
    return [y for y in range(16, len(panel)) if filled[y] and not filled[y - 1]]


def length(panel, y):
    return int((panel[y] != PANEL).any(axis=1).sum())


def test_side_panel_with_nothing_many_or_broken_values():
    assert (side_panel(50, 60) == PANEL).all()
    even = side_panel(120, 200, bars={"A": 2.0, "B": 2.0})
    assert length(even, 4) >= 190  # equals all fill their rows
    many = side_panel(
        210, 128, ["a", "b"], {f"ACTION {i}": float(i) for i in range(18)}, "ACTION 3"
    )
    assert (many[-3:] == PANEL).all()  # all 18 fit
    side_panel(100, 100, bars={"A": float("nan"), "B": 1.0, "C": float("inf")})


def test_a_film_gets_anothers_sound_or_none(tmp_path):
    silent = tmp_path / "silent.mp4"
    for path, sound in ((silent, None), (tmp_path / "a.mp4", silent)):
        with VideoWriter(path, fps=24000 / 1001, sound=sound) as film:
            for _ in range(4):
                film.write(Frame(np.zeros((16, 16, 3), np.uint8)))
        frames, fps = read_video(path)
        assert len(list(frames)) == 4 and fps == pytest.approx(24000 / 1001, abs=1e-9)
    with pytest.raises(UserError, match="no sound"):
        VideoWriter(tmp_path / "a.gif", sound=silent)
