"""Picture and film files, and drawing on pictures. imageio-ffmpeg and Pillow live here, lazily.

Pixels are (H, W, 3) uint8 RGB arrays throughout; `to_pixels` makes them from tensors in [0, 1].
Alone `write_image` takes uint16 too, for .png: Pillow has no colours of 16 bits.

Films keep every frame, the speed and the colours:
- .mp4 is H.264, yuv420p, BT.709 in matrix and tags, so that no player guesses another matrix from
  the picture's size. Colour is stored once per 2×2 pixels; enlarging by 2 keeps single pixels' hue.
- .gif stores delays in 1/100 s, and browsers turn a delay of 1/100 into 1/10. A 60 fps film is
  therefore stored at 50 fps, dropping every sixth frame; the speed stays right. Up to 255 colours
  in the whole film are exact.
"""

import contextlib
import errno
import functools
import importlib.util
import io
import math
import os
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from playground import subtitles
from playground.errors import UserError
from playground.frames import Frame
from playground.run import atomic_path, writing

Colour = tuple[int, int, int]

PICTURES: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
READ_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
PICTURES[".jpeg"] = PICTURES[".jpg"]
FILMS = (".mp4", ".gif")  # that are written
FILM_FORMATS = (*FILMS, ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")  # and read
RECORDINGS = Path("recordings")  # of pictures and films that nobody named
MP4_SOUND = ("aac", "mp3")  # which all players find in an .mp4; other sound becomes AAC
PANEL, INK, ROW, CHOSEN = (20, 21, 26), (222, 224, 230), (58, 74, 104), (190, 104, 22)
MAX_PIXELS = 2**26  # of a picture that is read; a small file can claim to hold billions
ROWS_AT_ONCE = 64  # of a picture of 16 bits, while it is encoded
SHARP = "DejaVuSans.ttf"  # whose letters of few pixels stay apart: 6 and 8, M and N
# Of systems, for letters that Pillow's own font lacks, in the order in which they are asked.
FONTS = (
    SHARP,  # Linux: Latin, Greek, Cyrillic
    "malgun.ttf",  # Windows, Korean; and Korean ones of macOS and of Linux, some with all of CJK
    "AppleSDGothicNeo.ttc",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJK-VF.otf.ttc",
    "NotoSansKR-Regular.otf",
    "NanumGothic.ttf",
    "Arial Unicode.ttf",  # macOS: most of all others
)
NO_SIGN = "\uffff"  # which no font has
SMALL_PX = 400  # mp4 films of pictures lower than this are doubled, for the sake of the colours


def to_pixels(picture: Any, bits: int = 8) -> np.ndarray:
    """Any single picture as (H, W, 3) uint8, or uint16 for 16 `bits`.

    Takes tensors and arrays: uint8, or float in [0, 1] (clipped); (H, W), (H, W, 1), (H, W, 3), or
    channels first. Where both readings fit, floats are read channels first, uint8 channels last.
    """
    dtype: Any = {8: np.uint8, 16: np.uint16}[bits]
    if hasattr(picture, "detach"):  # a tensor
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
    array = np.asarray(picture)
    is_float = np.issubdtype(array.dtype, np.floating)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not (is_float or array.dtype == np.uint8):
        raise ValueError(f"not one uint8 or float picture: {array.shape} {array.dtype}")
    first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
    if first and (is_float or not last):
        array = array.transpose(1, 2, 0)
    elif not last:
        raise ValueError(f"a picture has 1 or 3 channels, first or last: {array.shape}")
    if is_float:
        array = (np.nan_to_num(array).clip(0, 1) * np.iinfo(dtype).max).round().astype(dtype)
    elif bits == 16:
        array = array.astype(dtype) * 257  # 255 becomes 65535
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def read_image(path: Path | str, size: int | tuple[int, int] | None = None) -> np.ndarray:
    """A picture file as (H, W, 3) uint8: upright, its first frame, transparency on white.

    `size` in pixels, of a square or as (H, W): the picture is resized (antialiased) to cover it,
    the centre kept. Greys of 16 bits keep their upper 8. UserError where it cannot be read.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            kind = "a folder" if path.is_dir() else "no file"
            raise UserError(f"{path} is {kind}, not a picture.")
        with Image.open(path, formats=_formats()) as picture:
            if size is not None:
                size = (size, size) if isinstance(size, int) else size
                # JPEG: decodes at 1/2, 1/4 or 1/8 while that leaves twice the pixels needed.
                picture.draft("RGB", (2 * max(size), 2 * max(size)))
            if math.prod(picture.size) > MAX_PIXELS:
                raise Image.DecompressionBombError
            picture.load()
            with contextlib.suppress(Exception):  # broken notes of a camera spoil no pixels
                ImageOps.exif_transpose(picture, in_place=True)
            upright = _to_rgb(picture)
        if size is not None:
            upright = ImageOps.fit(upright, size[::-1], Image.Resampling.BILINEAR)
        return np.array(upright)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"There is no picture {path}.") from None
    except PermissionError:
        raise UserError(f"The picture {path} may not be read; check its permissions.") from None
    except Image.DecompressionBombError:
        most = MAX_PIXELS // 1_000_000
        raise UserError(f"{path} is no picture of at most {most} megapixels; shrink it.") from None
    except Image.UnidentifiedImageError as error:
        kinds = ", ".join(_formats())
        raise UserError(f"{path} is not a picture that can be read ({kinds}).") from error
    except MemoryError:
        raise UserError(f"There is too little free memory to read {path}.") from None
    except Exception as error:  # damaged files make Pillow's decoders raise all sorts
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a picture that can be read: {what}.") from error


@functools.cache
def _formats() -> list[str]:
    """Formats that are decoded here; Pillow would hand EPS to Ghostscript, which runs programs."""
    import warnings

    from PIL import Image

    # Of damaged files, and of large ones: `read_image` says what is to be said.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.init()
    return [name for name in READ_FORMATS if name in Image.OPEN]


def _to_rgb(picture: Any) -> Any:
    """A Pillow picture of any mode as RGB, on white where it is transparent."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16-bit greys, which Pillow's own conversion cuts off at 255
        grey = np.clip(np.array(picture), 0, 2**16 - 1) >> 8
        picture = Image.fromarray(grey.astype(np.uint8))
    elif picture.mode == "F":
        picture = Image.fromarray(to_pixels(np.array(picture)))
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def recording(stem: str, suffix: str) -> Path:
    """Where something goes that nobody named: a name in RECORDINGS that is free."""
    return free(RECORDINGS / f"{stem}{suffix}")


def free(path: Path) -> Path:
    """The path, or one beside it with a number, that nothing has yet."""
    return next(p for p in numbered(path) if not p.exists())


def numbered(path: Path) -> Iterator[Path]:
    """a.png, a-2.png, a-3.png and so on."""
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by links and other letter cases too; it need not exist."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def check_apart(out: Path, *sources: Path | str, flag: str = "--out") -> None:
    """UserError where what is made would take the place of something that it is made from.

    `flag` is the one that names it on the command line.
    """
    if any(same_file(out, Path(source)) for source in sources):
        raise UserError(f"{out} is what is read; name another with {flag}.")


def check_suffix(path: Path, bits: int = 8) -> None:
    """UserError unless a picture of so many bits can be written under this name."""
    suffix = path.suffix.lower()
    if suffix not in PICTURES:
        raise UserError(
            f"Pictures are written as .png or .jpg, not {suffix or 'without a suffix'}."
        )
    if bits == 16 and suffix != ".png":
        raise UserError(f"Pictures of 16 bits are written as .png, not {suffix}.")


def check_film(path: Path) -> None:
    """UserError unless a film can be written under this name."""
    if path.suffix.lower() not in FILMS:
        raise UserError(f"Films are written as .mp4 or .gif, not {path.name!r}.")


def encode_image(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """(H, W, 3) uint8 as the bytes of a .png or .jpg, uint16 of a .png; UserError otherwise."""
    from PIL import Image

    check_suffix(Path(f"_{suffix}"), 8 * pixels.itemsize)
    if pixels.dtype == np.uint16:
        return _encode_deep(pixels)
    options = PICTURES[suffix.lower()]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def _encode_deep(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint16 as a PNG of 16 bits a channel (W3C, "Portable Network Graphics", 2003)."""
    height, width, _ = pixels.shape
    parts = [b"\x89PNG\r\n\x1a\n"]

    def chunk(name: bytes, data: bytes) -> None:
        parts.append(struct.pack(">I", len(data)) + name + data)
        parts.append(struct.pack(">I", zlib.crc32(name + data)))

    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))  # RGB, not interlaced
    packer = zlib.compressobj()
    for first in range(0, height, ROWS_AT_ONCE):
        rows = pixels[first : first + ROWS_AT_ONCE].astype(">u2")
        rows_bytes = rows.view(np.uint8).reshape(len(rows), 6 * width)
        filtered = np.ones((len(rows), 1 + 6 * width), np.uint8)  # a row begins with its filter: 1,
        filtered[:, 1:7] = rows_bytes[:, :6]  # "Sub": less the same byte of the pixel to the left
        filtered[:, 7:] = rows_bytes[:, 6:] - rows_bytes[:, :-6]
        if data := packer.compress(filtered.tobytes()):
            chunk(b"IDAT", data)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")
    return b"".join(parts)


def write_image(path: Path | str, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as .png or .jpg, or uint16 as .png, aside and renamed.

    UserError where that fails.
    """
    path = Path(path)
    data = encode_image(pixels, path.suffix)
    with atomic_path(path) as aside:
        aside.write_bytes(data)


def gif_rate(fps: float) -> Fraction:
    """The fastest rate up to `fps` that a GIF can hold and browsers keep: 100/k, k >= 2."""
    return Fraction(100, max(2, math.ceil(Fraction(100) / Fraction(fps).limit_denominator(1001))))


class VideoWriter:
    """A sink that writes a film: .mp4 or .gif by the path's suffix.

    The film is written aside and takes its name on `close()`. An error inside the `with` block
    discards it, an interruption (Ctrl-C) keeps what was recorded; without a frame there is no file.
    `scale` enlarges by whole numbers; None doubles small pictures in .mp4 only, where colour is
    stored at half the resolution. `sound` is a film whose sound this one, an .mp4, gets: as it is,
    or as AAC where players expect that. What frames have as facts["caption"] becomes the film's
    subtitles, in a file beside it; `lines` are these so far. UserError for an unknown suffix, an
    unwritable place, a full disk, or a picture whose size differs from the first one's.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float = 60,
        scale: int | None = None,
        sound: Path | str | None = None,
        fresh: bool = False,
    ) -> None:
        self.path, self.fresh = Path(path), fresh
        self.frames = 0  # written so far
        self.lines: list[subtitles.Line] = []
        self.fps, self.scale, self.sound = fps, scale, sound
        self._gif = self.path.suffix.lower() == ".gif"
        self._shape: tuple[int, ...] = ()
        self._ffmpeg: _Ffmpeg | None = None
        check_film(self.path)
        if self._gif and sound is not None:
            raise UserError(f"A .gif has no sound: name an .mp4 instead of {self.path}.")
        if not 0 < fps <= 1000 or (scale is not None and scale < 1):
            raise UserError(f"A film needs 0 < fps <= 1000 and scale >= 1, not {fps} and {scale}.")
        if os.path.isdir(self.path):
            raise UserError(f"{self.path} is a folder; name the film's file.")
        with writing(self.path):  # before the first frame is played
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self.path.lstat()  # the system may refuse the very name
            # In a GIF one palette serves the whole film: pass one stores it losslessly in `_work`.
            self._work = tempfile.TemporaryDirectory(prefix=".tmp-film-", dir=self.path.parent)
        self._raw = Path(self._work.name) / ("film.mkv" if self._gif else "film.mp4")

    def write(self, frame: Frame) -> None:
        """Append one frame, shown for 1/fps seconds."""
        if self._ffmpeg is None:
            self._start(frame)
        if frame.pixels.shape != self._shape:
            raise UserError(
                f"The film {self.path} has pictures of {self._shape[1]}x{self._shape[0]}, but one "
                f"of {frame.width}x{frame.height} came; start a new film for it."
            )
        pixels, scale = frame.pixels, self.scale or 1
        if not self._gif:  # 4:2:0 needs even sides: the last row or column is repeated
            odd = [(0, side * scale % 2) for side in pixels.shape[:2]]
            pixels = np.pad(pixels, [*odd, (0, 0)], mode="edge") if any(map(any, odd)) else pixels
        assert self._ffmpeg is not None
        with writing(self.path):
            self._ffmpeg.write(np.ascontiguousarray(pixels))
        subtitles.add(self.lines, self.frames, frame.facts.get("caption") or "")
        self.frames += 1

    def close(self) -> None:
        """Finish the film; UserError where it cannot be written. Called again, does nothing."""
        ffmpeg, self._ffmpeg = self._ffmpeg, None
        try:
            if ffmpeg is not None:
                if self.fresh:
                    self.path = free(self.path)
                with atomic_path(self.path) as aside:
                    ffmpeg.close()
                    if self._gif:
                        self._to_gif()
                    elif self.sound is not None:
                        self._add_sound()
                    os.replace(self._finished, aside)
                if self.lines:
                    subtitles.write(subtitles.beside(self.path), self.lines, self.fps)
        finally:
            self._work.cleanup()

    def discard(self) -> None:
        """Give the film up: nothing is written, an older file of that name stays."""
        ffmpeg, self._ffmpeg = self._ffmpeg, None
        if ffmpeg is not None:
            ffmpeg.kill()
        self._work.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    @property
    def _rate(self) -> Fraction:
        return Fraction(self.fps).limit_denominator(1001)

    @property
    def _finished(self) -> Path:
        return self._raw.with_name("film.gif") if self._gif else self._raw

    def _start(self, frame: Frame) -> None:
        self._shape = frame.pixels.shape
        if self.scale is None:
            self.scale = 2 if frame.height < SMALL_PX and not self._gif else 1
        n = self.scale
        height, width = (side + (side * n % 2 and not self._gif) for side in self._shape[:2])
        rate = self._rate
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        if self._gif:
            store = ["-vf", f"fps={gif_rate(self.fps)}", "-c:v", "libx264rgb", "-qp", "0"]
            store += ["-preset", "ultrafast"]
        else:
            exact = "accurate_rnd+full_chroma_int+full_chroma_inp"
            enlarge = f"scale=iw*{n}:ih*{n}:flags=neighbor," if n > 1 else ""
            convert = f"scale=out_color_matrix=bt709:out_range=tv:flags=area+{exact},format=yuv420p"
            store = ["-vf", enlarge + convert, "-c:v", "libx264", "-preset", "veryfast"]
            store += ["-crf", "14", "-colorspace", "bt709", "-color_primaries", "bt709"]
            store += ["-color_trc", "bt709", "-color_range", "tv", "-movflags", "+faststart"]
        self._ffmpeg = _Ffmpeg([*source, "-r", str(rate), "-i", "-", *store, str(self._raw)])

    def _add_sound(self) -> None:
        """The other film's sound, where it has one, as far as this film's pictures reach."""
        whole = self._raw.with_name("sounding.mp4")
        length = f"{float(self.frames / self._rate):.6f}"
        parts = ["-i", str(self._raw), "-i", str(self.sound), "-map", "0:v", "-map", "1:a?"]
        parts += ["-t", length, "-c:v", "copy", "-movflags", "+faststart"]
        kept = _sound_codec(Path(str(self.sound))) in MP4_SOUND
        store = ["-c:a", "copy"] if kept else ["-c:a", "aac", "-b:a", "192k"]
        _Ffmpeg([*parts, *store, str(whole)]).close()
        os.replace(whole, self._raw)

    def _to_gif(self) -> None:
        """Passes two and three: one palette for the film, then the film in it."""
        n = self.scale or 1
        palette = str(self._raw.with_name("palette.png"))
        _Ffmpeg(["-i", str(self._raw), "-vf", "palettegen=stats_mode=full", palette]).close()
        # Errors are diffused (pictures with many colours), which changes nothing in exact colours.
        paint = f"scale=iw*{n}:ih*{n}:flags=neighbor[f];[f][1:v]paletteuse=diff_mode=rectangle"
        inputs = ["-i", str(self._raw), "-i", palette]
        _Ffmpeg([*inputs, "-lavfi", paint, "-loop", "0", str(self._finished)]).close()


class _Ffmpeg:
    """One ffmpeg that reads raw frames or files; OSError with its last words where it fails.

    imageio_ffmpeg.write_frames would do, but does not notice an encoder that fails at the end.
    """

    def __init__(self, arguments: list[str]) -> None:
        import imageio_ffmpeg

        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe would fill and block)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostats", *arguments]
        # In a group of its own: Ctrl-C in a terminal reaches every process of a group, and the
        # film shall be finished.
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")
            options = {"creationflags": sum(getattr(subprocess, flag) for flag in flags)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, **options
        )

    def write(self, pixels: np.ndarray) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pixels.data)
        except OSError:
            self.close()  # it ended, and this tells why
            raise

    def close(self) -> None:
        if self._log.closed:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it ended already: its status tells why
            self._process.stdin.close()
        status = self._process.wait()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip()
        self._log.close()
        if status:
            full = "No space left" in words
            last = words.splitlines()[-1] if words else f"ffmpeg ended with status {status}"
            raise OSError(errno.ENOSPC if full else errno.EIO, last)

    def kill(self) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):  # it died, as was asked
            self.close()


def composed(text: str) -> str:
    """Text with its letters in one piece (NFC), to be compared and drawn: macOS keeps those of file
    names, accented or Korean, in pieces.
    """
    return unicodedata.normalize("NFC", text)


def is_film(path: Path) -> bool:
    """Whether a file is to be read as a film, by its suffix; a .gif of one frame is a picture."""
    suffix = path.suffix.lower()
    return suffix in FILM_FORMATS and not (suffix == ".gif" and _is_still(path))


def _is_still(path: Path) -> bool:
    """Whether a .gif has one frame; of one that cannot be read, `read_video` says so."""
    from PIL import Image

    try:
        with Image.open(path, formats=["GIF"]) as picture:
            return not getattr(picture, "is_animated", True)
    except Exception:  # see `read_image`
        return False


def read_video(path: Path | str) -> tuple[Iterator[np.ndarray], float]:
    """A film's frames, (H, W, 3) uint8 each, one at a time, and its frames per second.

    The rates of NTSC, which ffmpeg tells as 29.97, are what they are: 30000/1001.

    Close the iterator to stop early. UserError where the file is missing or broken.
    """
    import imageio_ffmpeg

    path = Path(path)
    if not os.path.isfile(path):  # False too where the system refuses the very name
        raise UserError(f"There is no film {path}.")
    flags = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int"]
    stream = imageio_ffmpeg.read_frames(str(path), output_params=flags)
    try:
        about = next(stream)
        width, height = about["size"]
        first = next(stream)
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise UserError(f"{path} is not a film that can be read.") from error

    def frames() -> Iterator[np.ndarray]:
        try:
            yield np.frombuffer(first, np.uint8).reshape(height, width, 3)
            for data in stream:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        except RuntimeError as error:
            raise UserError(f"The film {path} breaks off: it is damaged.") from error
        finally:
            stream.close()

    return frames(), _exact(float(about["fps"]))


def _sound_codec(path: Path) -> str:
    """Of a film's sound, such as "aac"; "" where it has none."""
    import imageio_ffmpeg

    stream = imageio_ffmpeg.read_frames(str(path))
    try:
        return str(next(stream).get("audio_codec") or "")
    except (OSError, RuntimeError, StopIteration):
        return ""
    finally:
        stream.close()


def _exact(fps: float) -> float:
    """A rate told to two digits; those of NTSC are whole ones times 1000/1001."""
    whole = round(fps * 1.001)
    return whole / 1.001 if whole and abs(whole / 1.001 - fps) < 0.005 else fps


def _font(size: int, line: str = "") -> Any:
    """The first font that has a picture of every letter, or of most: then that is said, once."""
    signs = {sign for sign in line if not sign.isascii() and _is_seen(sign)}
    sharp = _mode(size) == "1" and _opened(SHARP, size) is not None
    names = (SHARP, "", *FONTS) if sharp else ("", *FONTS)
    whole = (name for name in names if all(_draws(name, sign) for sign in signs))
    best = next(whole, None)
    if best is None:
        _say_lacking()
        best = max(names, key=lambda name: sum(_draws(name, sign) for sign in signs))
    return _opened(best, size)


def _is_seen(sign: str) -> bool:
    """Not a space or a mark of control."""
    return unicodedata.category(sign)[0] not in "ZC"


@functools.cache
def _opened(name: str, size: int) -> Any:
    """A font that the system or Matplotlib has under this name, or None; "" is Pillow's own."""
    from PIL import ImageFont

    if not name:
        return ImageFont.load_default(size)  # Aileron, inside Pillow: Latin letters only
    for file in (_packaged(name), name):  # a name is found where each system keeps its fonts
        with contextlib.suppress(OSError):
            return ImageFont.truetype(file, size)
    return None


@functools.cache
def _packaged(name: str) -> str:
    """Where Matplotlib, which comes with Stable-Baselines3, would have it; without importing it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return name
    return str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name)


@functools.cache
def _draws(name: str, sign: str) -> bool:
    """Whether a font has a picture of its own for a letter; what it lacks all looks alike."""
    font = _opened(name, 32)
    if font is None:
        return False
    drawn, lacking = (font.getmask(each) for each in (sign, NO_SIGN))
    return drawn.size != lacking.size or bytes(drawn) != bytes(lacking)


@functools.cache  # said once
def _say_lacking() -> None:
    print(
        "No font on this system has some of the letters that are drawn: they become boxes. Noto "
        "Sans CJK and Nanum Gothic have Korean ones (Debian, Ubuntu: apt install fonts-nanum).",
        file=sys.stderr,
    )


def _mode(size: int) -> str:
    """How letters are drawn: smoothed, or below 13 pixels each pixel ink or not."""
    return "L" if size > 12 else "1"


def text_width(line: str, size: int = 10) -> int:
    """In pixels, as `draw_text` sets it."""
    line = composed(line)
    return math.ceil(_font(size, line).getlength(line, mode=_mode(size)))


def _ascent(size: int) -> int:
    """Pixels from a row's top to the line that its letters stand on, whichever their font."""
    return int(_opened("", size).getmetrics()[0])


def _write(pen: Any, at: tuple[int, int], line: str, colour: Colour, size: int) -> None:
    """A line of text that begins at `at` and stands there."""
    line = composed(line)
    pen.text(at, line, fill=colour, font=_font(size, line), anchor="ls")


def draw_text(
    pixels: np.ndarray,
    lines: str | Sequence[str],
    at: tuple[int, int] = (4, 3),
    size: int = 10,
    colour: Colour = INK,
    background: Colour | None = None,
) -> np.ndarray:
    """A copy with lines of text from `at` = (x, y) downwards, over a box of `background` if given.

    `size` is in pixels; from 13 on letters are smoothed, below each pixel is ink or not, which
    stays crisp when the picture is enlarged. What does not fit is cut off.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    pen.fontmode = _mode(size)
    lines = [lines] if isinstance(lines, str) else list(lines)
    (x, y), pitch, ascent = at, size + 2, _ascent(size)
    if background is not None and lines:
        right = x + max(text_width(line, size) for line in lines) + 2
        pen.rectangle((x - 3, y - 2, right, y + pitch * len(lines)), fill=background)
    for row, line in enumerate(lines):
        _write(pen, (x, y + row * pitch + ascent), line, colour, size)
    return np.array(picture)


def side_panel(
    height: int,
    width: int = 112,
    lines: Sequence[str] = (),
    bars: Mapping[str, float] | None = None,
    chosen: str | None = None,
    size: int = 10,
) -> np.ndarray:
    """A panel (height, width, 3) to set beside a frame: lines of text, then a bar for each value.

    Values such as Q-values differ by little around a common level, so the highest fills its row and
    the others fall short by their distance from it, in units of the spread, or of a tenth of the
    highest magnitude where the spread is smaller. `chosen` names the bar in the accent colour.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, height), PANEL)
    pen = ImageDraw.Draw(picture)
    pen.fontmode = _mode(size)
    pitch, pad = size + 3, max(3, size // 3)
    y = pad
    for line in lines:
        _write(pen, (pad, y + _ascent(size)), line, INK, size)
        y += pitch
    if bars:
        y += pad if lines else 0
        values = [value for value in bars.values() if math.isfinite(value)] or [0.0]
        top, spread = max(values), max(values) - min(values)
        span = max(spread, 0.1 * max(map(abs, values)), 1e-9)
        pitch = max(size - 1, min(size + 4, (height - y - pad) // len(bars)))
        for name, value in bars.items():
            share = 1 - (top - value) / span if math.isfinite(value) else 0
            right = pad + max(1, round((width - 2 * pad) * share))
            fill = CHOSEN if name == chosen else ROW
            pen.rectangle((pad, y, right - 1, y + pitch - 2), fill=fill)
            figure = f"{value:.2f}"
            place = width - pad - 2 - text_width(figure, size)
            base = y + (pitch - 1 + round(0.7 * size)) // 2  # capitals are 0.7 of the size high
            _write(pen, (pad + 2, base), name, INK, size)
            _write(pen, (place, base), figure, INK, size)
            y += pitch
    return np.array(picture)
