"""Photos with captions: any published caption file (see `caption_files`) and its pictures.

Pictures are found by their names, anywhere in the folder and in zip archives in it, which need not
be unpacked, and are decoded when they are asked for. What does not fit is left out, with one line
that says how much; only a folder without a single captioned picture is refused.
"""

import contextlib
import lzma
import os
import re
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from generators import caption_files
from generators.caption_files import Captions, Split
from playground.data import parse, to_stderr
from playground.errors import UserError
from playground.folders import MANY, Say
from playground.media import composed, read_image

PICTURE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|ppm|jp2|avif)$", re.IGNORECASE)
# In the names of 2014's pictures, not of 2017's, which are the same ones under the same numbers.
COCO_2014 = re.compile(r"^COCO_(train|val|test)2014_(?=\d{12}$)")
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
UTF8_FLAG = 0x800  # of a member of a zip archive: so its name is written
MAX_BYTES = 2**28  # of a picture in an archive: a small archive can claim to hold terabytes


class Source(NamedTuple):
    """Where a picture lies: a file, or a member of a zip archive."""

    file: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.member} in {self.file}" if self.member else str(self.file)


class CaptionedPictures:
    """N pictures, decoded on demand, each with one or more captions.

    `names` (N,) as the caption file has them, but `composed`; `captions` (N,), of each picture a
    list of texts without blanks at their ends; `size` in pixels, of the square that `read` gives.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str],
        captions: Sequence[list[str]],
        size: int,
        archives: "_Archives | None" = None,
    ) -> None:
        self.names, self.captions, self.size = tuple(names), list(captions), size
        self._sources = list(sources)
        self._archives = archives or _Archives()

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Tensor) -> Tensor:
        """The pictures at `indices` (B,) int64, in 0..N-1: uint8 (B, 3, size, size).

        Each is resized (antialiased) to cover the square, its centre kept. UserError for one that
        cannot be read; `checked` leaves these out before.
        """
        pixels = np.empty((len(indices), self.size, self.size, 3), np.uint8)

        def fill(place: int, index: int) -> None:
            pixels[place] = self._picture(index)

        with ThreadPoolExecutor(_threads()) as pool:  # Pillow's decoders let other threads run
            list(pool.map(fill, range(len(indices)), indices.tolist()))
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def take(self, indices: Tensor) -> "CaptionedPictures":
        """A subset in the order of `indices` (B,) int64."""
        chosen = indices.tolist()
        return CaptionedPictures(
            [self._sources[i] for i in chosen],
            [self.names[i] for i in chosen],
            [self.captions[i] for i in chosen],
            self.size,
            self._archives,
        )

    def checked(self, say: Say = to_stderr) -> "CaptionedPictures":
        """Without the pictures that cannot be read, which `say` is told of; decodes all once.

        So that a broken one is known before a training begins, not in its third hour. UserError
        where none can be read.
        """
        if len(self) >= MANY:
            say(f"Reading {len(self):,} pictures …")

        def reason(index: int) -> str:
            try:
                self._picture(index)
            except UserError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(_threads()) as pool:
            reasons = list(pool.map(reason, range(len(self))))
        good = [index for index, reason in enumerate(reasons) if not reason]
        if len(good) == len(self):
            return self
        first = next(filter(None, reasons))
        if not good:
            raise UserError(f"None of the {len(self):,} pictures can be read: {first}")
        broken = len(self) - len(good)
        say(f"Left out {broken:,} of {len(self):,} pictures that cannot be read: {first}")
        return self.take(torch.tensor(good))

    def _picture(self, index: int) -> np.ndarray:
        """(size, size, 3) uint8."""
        source = self._sources[index]
        if not source.member:
            return read_image(source.file, self.size)
        data = self._archives.read(source)
        with tempfile.TemporaryDirectory(prefix="playground-") as folder:
            path = Path(folder) / f"picture{PurePosixPath(source.member).suffix}"
            path.write_bytes(data)
            try:
                return read_image(path, self.size)
            except UserError as error:
                raise UserError(str(error).replace(str(path), str(source))) from error


def load(spec: str, split: Split, size: int = 224, say: Say = to_stderr) -> CaptionedPictures:
    """The pictures of a split that have captions: `flickr8k:DIR`, `coco:DIR` or a folder.

    Any caption file that `caption_files` knows will do, whatever kind is named; the kind chooses
    where a folder has several. `say` is told in one line what was left out: captions of pictures
    that are not there, pictures without captions, empty captions, what is listed twice, pictures
    of no split, and which split was made here. UserError where no captioned picture is left.
    """
    kind, rest = parse(spec)
    if kind not in ("flickr8k", "coco", "folder"):
        raise UserError(f"{spec} has no captions; give flickr8k:DIR, coco:DIR or a folder.")
    folder = Path(rest).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    sources, files = _survey(folder, say)
    found = caption_files.read(files, kind, split, folder)
    return _matched(found, sources, split, size, folder, say)


def _survey(folder: Path, say: Say) -> tuple[dict[str, Source], dict[str, Path]]:
    """All pictures in a folder by file name and by `_key`; its other files by name in lower case.

    Names of pictures are `composed`. Of files of one name the first is taken; of pictures, files
    before members of archives.
    """
    sources: dict[str, Source] = {}
    files: dict[str, Path] = {}
    archives: list[Path] = []
    twice = 0
    for place, own in _walk(folder):
        path, name = Path(place, own), composed(own)
        if PICTURE.search(name):
            twice += name in sources
            _add(sources, name, Source(path))
        elif path.suffix.lower() == ".zip":
            archives.append(path)
        else:
            files.setdefault(name.lower(), path)
    if twice:
        say(f"{_count(twice, 'picture')} in {folder} had the name of another and were left out.")
    loose = set(sources)
    for archive in archives:
        for member, names in _members(archive, say):
            if loose.isdisjoint(names):  # else the archive was unpacked here
                for name in names:
                    _add(sources, name, Source(archive, member))
    return sources, files


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Folders and names of all files, from above and in order; links are followed, once each."""
    known = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in known:
            folders.clear()
            continue
        known.add(real)
        folders[:] = sorted(filter(_visible, folders))
        yield from ((place, name) for name in sorted(names) if _visible(name))


def _visible(name: str) -> bool:
    """Not what systems leave behind: .DS_Store, ._a.jpg, __MACOSX."""
    return not name.startswith((".", "__"))


def _members(archive: Path, say: Say) -> list[tuple[str, list[str]]]:
    """The pictures in a zip archive, each with the file names that it may have.

    None, and a line that says so, where the archive cannot be read.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        say(f"Left out {archive}, which is no zip archive that can be read: {error}.")
        return []
    return [
        (info.filename, [composed(PurePosixPath(name).name) for name in _readings(info)])
        for info in infos
        if PICTURE.search(info.filename) and all(map(_visible, PurePosixPath(info.filename).parts))
    ]


def _readings(member: zipfile.ZipInfo) -> list[str]:
    """What a member's name may be.

    Archives without the flag for UTF-8 do not tell their code: by the standard it is cp437, as
    zipfile reads it, yet macOS writes UTF-8 and Korean Windows cp949. Captions name the right one.
    """
    names = [member.filename]
    if not member.flag_bits & UTF8_FLAG and not member.filename.isascii():
        data = member.filename.encode("cp437")
        for code in ("utf-8", "cp949"):
            with contextlib.suppress(UnicodeDecodeError):
                names.append(data.decode(code))
    return names


def _key(name: str) -> str:
    """What a picture is found by where its file has another suffix, or COCO's other name."""
    return COCO_2014.sub("", PICTURE.sub("", name))


def _add(sources: dict[str, Source], name: str, source: Source) -> None:
    sources.setdefault(name, source)
    sources.setdefault(_key(name), source)


def _matched(
    found: Captions, sources: Mapping[str, Source], split: Split, size: int, folder: Path, say: Say
) -> CaptionedPictures:
    """Pictures and captions brought together; `say` is told what has no counterpart."""
    if found.is_divided:
        share = f"{caption_files.SHARE:.0%}"
        say(
            f"{found.file} tells no split: by a hash of their names, {share} of the pictures are "
            f"to validate on and {share} to test on."
        )
    kept: list[tuple[Source, str, list[str]]] = []
    used: set[Source] = set()
    absent, bare, outside = [], [], []
    empty, repeated = 0, found.repeated
    for name, entry in found.entries.items():
        source = sources.get(name) or sources.get(_key(name))
        if source in used:
            repeated += 1
            continue
        if source is not None:
            used.add(source)
        if entry.split is None:
            outside.append(name)
        elif entry.split == split:
            texts = [" ".join(text.split()) for text in entry.captions]
            captions = [text for text in texts if text]
            if source is None:
                absent.append(name)
            elif not captions:
                bare.append(name)
            else:
                empty += len(texts) - len(captions)
                kept.append((source, name, captions))
    if found.is_whole:
        bare += sorted({str(source) for source in sources.values() if source not in used})
    left = [
        f"captions of {_such(absent, 'picture')} not there" if absent else "",
        f"{_such(bare, 'picture')} without captions" if bare else "",
        f"{_such(outside, 'picture')} of no split" if outside else "",
        _count(empty, "empty caption") if empty else "",
        f"{_count(repeated, 'entry', 'entries')} that stood there before" if repeated else "",
    ]
    if any(left):
        say(f"Left out of {folder} ({split}): {'; '.join(filter(None, left))}.")
    if not kept:
        if not (absent or bare):
            raise UserError(f"{found.file} names no pictures of the split {split!r}.")
        what = f"{absent[0]} is not there" if absent else f"{bare[0]} has no caption"
        raise UserError(
            f"No picture of the split {split!r} in {folder} has a caption in {found.file}: {what}; "
            "put the pictures into that folder, as files or in a zip archive."
        )
    chosen, names, captions_of = zip(*kept, strict=True)
    return CaptionedPictures(chosen, names, captions_of, size)


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _such(names: Sequence[str], one: str) -> str:
    return f"{_count(len(names), one)}, such as {names[0]},"


class _Archives:
    """Zip archives, each opened once; threads take turns, as a ZipFile's count of readers asks."""

    def __init__(self) -> None:
        self._open: dict[Path, zipfile.ZipFile] = {}
        self._turn = threading.Lock()

    def read(self, source: Source) -> bytes:
        """A member's bytes; UserError where it is damaged, locked or too large."""
        try:
            with self._turn:
                archive = self._open.get(source.file)
                if archive is None:
                    archive = self._open[source.file] = zipfile.ZipFile(source.file)
                if archive.getinfo(source.member).file_size > MAX_BYTES:
                    raise UserError(f"{source} is larger than {MAX_BYTES >> 20} MiB; shrink it.")
                return archive.read(source.member)
        # RuntimeError: it is encrypted; NotImplementedError: a compression that zipfile lacks.
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, *DAMAGED) as error:
            raise UserError(f"{source} is not a picture that can be read: {error}.") from error


def _threads() -> int:
    return min(16, os.cpu_count() or 1)
