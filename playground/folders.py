"""Folders of picture files as pixels and labels: which files, which class, which split.

Folders in a folder are classes. What is broken or no picture is left out, with a count; only a
folder without a single readable picture is refused.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from playground.device import available_memory
from playground.errors import UserError
from playground.media import read_image

Split = Literal["train", "test"]
Say = Callable[[str], None]

TEST_SHARE = 0.2  # of a folder that brings no split of its own
TEST_FOLDERS = ("val", "valid", "validation", "test")  # the first that is there
MEMORY_SHARE = 0.25  # of the available memory: pictures up to this are kept decoded
UNKNOWN_MEMORY = 8 * 2**30  # bytes, assumed where the system does not say
MANY = 5000  # files: reading them takes seconds


class Store(Protocol):
    """Pixels by position: a uint8 tensor (N, C, H, W), or `Files`."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, positions: Tensor, /) -> Tensor: ...


Labelled = tuple[Store, Tensor, tuple[str, ...]]  # pixels, labels (N,) int64, names of classes


def class_folders(path: Path, split: Split, size: int | None, seed: int, say: Say) -> Labelled:
    """One split of a folder of class folders, which may lie in train/ and val/ or test/.

    Without a split of its own, TEST_SHARE of each class is for testing: those whose names' hashes
    (with `seed`) are lowest. UserError for fewer than two classes, or nothing readable.
    """
    train = path / "train"
    tests = [path / name for name in TEST_FOLDERS if train.is_dir() and (path / name).is_dir()]
    # Without one of the others, a folder named train may be a class: of vehicles.
    base = train if tests or (train.is_dir() and any(map(Path.is_dir, train.iterdir()))) else path
    files = _by_class(base, say if split == "train" or not tests else None)
    classes = tuple(files)
    if not classes and not any(map(_is_picture, _files(base))):
        raise _nothing_in(base)
    if len(classes) < 2:
        has = f"only {classes[0]}" if classes else "none"
        raise UserError(
            f"A classifier needs two or more folders of pictures, one for each class; {base} has "
            f"{has}."
        )
    if not tests:
        files = {name: _part(base, some, split, seed) for name, some in files.items()}
        if not any(files.values()):
            raise UserError(f"{base} has one picture a class: none is left for testing; add some.")
    elif split == "test":
        base, files = tests[0], _by_class(tests[0], say)
        foreign = [name for name in files if name not in classes]
        if foreign or not files:
            what = f"a class, {foreign[0]}, that train/ lacks" if foreign else "no class folders"
            raise UserError(f"{base} has {what}: both need folders of the same names.")
    store, labels = _read(files, classes, size, base, say)
    return store, labels, classes


def any_folder(path: Path, size: int | None, say: Say) -> Labelled:
    """All pictures of a folder, labelled by its folders; loose ones are a class of its own name.

    UserError where nothing can be read.
    """
    loose = sorted(entry for entry in path.iterdir() if entry.is_file() and _visible(entry.name))
    files = {path.resolve().name: loose} if any(map(_is_picture, loose)) else {}
    files |= _by_class(path, say)
    store, labels = _read(files, tuple(files), size, path, say)
    return store, labels, tuple(files)


def _visible(name: str) -> bool:
    """Not what systems and tools leave behind: .DS_Store, ._a.jpg, __MACOSX."""
    return not name.startswith((".", "__"))


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = filter(_visible, folders)
        yield from (Path(place, name) for name in names if _visible(name))


def _by_class(folder: Path, say: Say | None) -> dict[str, list[Path]]:
    """Name of a class folder -> all files in it, in order; folders without pictures are none."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    found = {}
    for entry in filter(lambda entry: _visible(entry.name), entries):
        files = sorted(_files(entry))
        if any(map(_is_picture, files)):
            found[entry.name] = files
        elif files and say is not None:
            say(f"Left out the folder {entry}: {len(files)} files in it, none a readable picture.")
    return found


def _part(base: Path, files: list[Path], split: Split, seed: int) -> list[Path]:
    """A class's files of a split, by their names alone: the same on every machine."""

    def rank(file: Path) -> bytes:
        return hashlib.sha256(f"{seed} {file.relative_to(base).as_posix()}".encode()).digest()

    share = min(max(1, round(TEST_SHARE * len(files))), len(files) - 1)
    tests = set(sorted(files, key=rank)[:share])
    return [file for file in files if (file in tests) == (split == "test")]


class Files:
    """Pictures (N, 3, H, W) that stay files and are decoded when asked for."""

    def __init__(self, paths: Sequence[Path], height: int, width: int) -> None:
        self._paths = paths
        self.shape = (len(paths), 3, height, width)

    def __getitem__(self, positions: Tensor, /) -> Tensor:
        size = self.shape[2:]
        files = [self._paths[i] for i in positions.tolist()]
        with ThreadPoolExecutor(_threads()) as pool:  # Pillow's decoders let other threads run
            pictures = list(pool.map(lambda file: read_image(file, size), files))
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _read(
    by_class: dict[str, list[Path]],
    classes: tuple[str, ...],
    size: int | None,
    base: Path,
    say: Say,
) -> tuple[Store, Tensor]:
    """What is readable of the files, and its labels.

    Every file is decoded once here, even where the pixels cannot be kept: what is broken is known
    before a training begins, not in its third hour.
    """
    files = [file for some in by_class.values() for file in some]
    labels = [classes.index(name) for name, some in by_class.items() for _ in some]
    if len(files) >= MANY:
        say(f"Reading {len(files):,} pictures in {base} …")
    first = next(
        (picture for file in files if (picture := _readable(file, size)) is not None), None
    )
    if first is None:
        raise _nothing_in(base)
    shape = first.shape
    memory = available_memory() or UNKNOWN_MEMORY
    fits = len(files) * first.nbytes <= MEMORY_SHARE * memory
    pixels = np.empty((len(files) if fits else 0, *shape), np.uint8)

    def attempt(position: int) -> bool:
        picture = _readable(files[position], size)
        if picture is None:
            return False
        if picture.shape != shape:
            raise UserError(
                f"The pictures in {base} differ in size ({shape[1]}x{shape[0]} and "
                f"{picture.shape[1]}x{picture.shape[0]}): say with --size at which to read them."
            )
        if fits:
            pixels[position] = picture
        return True

    with ThreadPoolExecutor(_threads()) as pool:
        kept = [i for i, good in enumerate(pool.map(attempt, range(len(files)))) if good]
    if len(kept) < len(files):
        broken = files[min(set(range(len(files))) - set(kept))]
        say(
            f"Left out {len(files) - len(kept):,} of {len(files):,} files in {base} that are no "
            f"readable pictures, such as {broken.relative_to(base)}."
        )
        for i, position in enumerate(kept if fits else ()):
            pixels[i] = pixels[position]  # in place: a copy would need the memory twice
    kept_labels = torch.tensor(labels)[kept]
    if fits:
        return torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2), kept_labels
    say(f"The pictures in {base} do not fit into memory and are decoded when they are drawn.")
    return Files([files[i] for i in kept], *shape[:2]), kept_labels


def _nothing_in(folder: Path) -> UserError:
    count = sum(1 for _ in _files(folder))
    what = f"none of its {count:,} files can be read as one" if count else "the folder is empty"
    return UserError(f"There are no pictures in {folder}: {what}.")


def _readable(file: Path, size: int | None = None) -> np.ndarray | None:
    try:
        return read_image(file, size)
    except UserError:
        return None


def _is_picture(file: Path) -> bool:
    return _readable(file) is not None


def _threads() -> int:
    return min(16, os.cpu_count() or 1)
