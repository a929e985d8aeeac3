"""Folders of picture files as pixels and labels: which files, which class, which split.

Folders in a folder are classes. What is broken, no picture, or beside a split is left out, with a
line that says so; only a folder without a single readable picture is refused.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from playground import ranks
from playground.device import available_memory
from playground.errors import UserError, listed
from playground.media import read_image

Split = Literal["train", "test", "all"]
Say = Callable[[str], None]

TEST_SHARE = 0.2  # of a folder that brings no split of its own
# Folders of a split: the first that is there, in any case; a "set" may follow, as in "Test_Set".
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("val", "valid", "validation", "test", "testing", "eval", "evaluation")
MEMORY_SHARE = 0.25  # of the machine's available memory: pictures up to this are kept decoded
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

    The folder has a split of its own if it has a folder named as in TRAIN_FOLDERS and one as in
    TEST_FOLDERS. With the former alone, that one is divided as below; but without folders in it,
    or with pictures of its own beside other folders, it is a class like them (of vehicles).

    Without a split of its own, a picture is for testing if a hash of `seed` and its path, as a
    number from 0 to 1, is below TEST_SHARE: it stays where it is when other pictures come or go.
    Only a class's lowest hash is always for testing and its highest never, so that both splits
    have every class of two or more pictures.

    The split "all" is a folder's own test split, or without one every picture.

    UserError for fewer than two classes (save for "all"), or nothing readable.
    """
    train, test = _own_split(path)
    base = train or path
    files = _by_class(base, say if split == "train" or not test else None)
    classes = tuple(files)
    if not classes and not any(map(_is_picture, _files(base))):
        raise _nothing_in(base)
    if len(classes) < (1 if split == "all" else 2):
        has = f"only {classes[0]}" if classes else "none"
        raise UserError(
            f"A classifier needs two or more folders of pictures, one for each class; {base} has "
            f"{has}."
        )
    if train:
        _tell_unused(path, (train, test), say)
    if not test and split != "all":
        files = {name: _part(base, some, split, seed) for name, some in files.items()}
        if not any(files.values()):
            raise UserError(f"{base} has one picture a class: none is left for testing; add some.")
    elif test and split != "train":
        lacks = f"that {base.name}/ lacks"
        base, files = test, _by_class(test, say)
        foreign = [name for name in files if name not in classes]
        if foreign or not files:
            what = f"a class, {foreign[0]}, {lacks}" if foreign else "no class folders"
            raise UserError(f"{base} has {what}: both need folders of the same names.")
    _tell_unused(base, _folders(base), say)
    store, labels = _read(files, classes, size, base, say)
    counts = labels.bincount(minlength=len(classes)).tolist()
    if lacking := [name for name, count in zip(classes, counts, strict=True) if not count]:
        say(
            f"No pictures to {'train' if split == 'train' else 'test'} on in {base} for "
            f"{len(lacking)} of {len(classes)} classes: {listed(lacking)}."
        )
    return store, labels, classes


def any_folder(path: Path, size: int | None, say: Say) -> Labelled:
    """All pictures of a folder, labelled by its folders; loose ones are a class of its own name.

    UserError where nothing can be read.
    """
    loose = _loose(path)
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


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if _visible(entry.name))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from error


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _loose(folder: Path) -> list[Path]:
    """The files in a folder itself."""
    return [entry for entry in _entries(folder) if entry.is_file()]


def _by_class(folder: Path, say: Say | None) -> dict[str, list[Path]]:
    """Name of a class folder -> all files in it, in order; folders without pictures are none."""
    found = {}
    for entry in _folders(folder):
        files = sorted(_files(entry))
        if any(map(_is_picture, files)):
            found[entry.name] = files
        elif files and say is not None:
            say(f"Left out the folder {entry}: {len(files)} files in it, none a readable picture.")
    return found


def _own_split(path: Path) -> tuple[Path | None, Path | None]:
    """The folders of training and of test pictures, where there are any; see `class_folders`."""
    folders = _folders(path)
    named = {f.name.lower().removesuffix("set").rstrip(" _-"): f for f in reversed(folders)}
    train, test = (
        next((named[name] for name in names if name in named), None)
        for names in (TRAIN_FOLDERS, TEST_FOLDERS)
    )
    if train is not None and test is None:
        mixed = len(folders) > 1 and any(map(_is_picture, _loose(train)))
        train = None if mixed or not _folders(train) else train
    return (None, None) if train is None else (train, test)


def _tell_unused(folder: Path, used: Collection[Path | None], say: Say) -> None:
    """Say in one line what of a folder is in no split: other folders, pictures beside folders."""
    unused = [f"{e.name}/" for e in _folders(folder) if e not in used and any(_files(e))]
    if picture := next(filter(_is_picture, _loose(folder)), None):
        unused.append(f"pictures outside of class folders, such as {picture.name}")
    if unused:
        say(f"Left out of {folder}: {listed(unused)}.")


def _part(base: Path, files: list[Path], split: Split, seed: int) -> list[Path]:
    """A class's files of a split, by their names alone: the same on every machine."""

    def place(file: Path) -> float:
        name = f"{seed} {file.relative_to(base).as_posix()}".encode(errors="surrogateescape")
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") / 2**64

    ordered = sorted(files, key=place)
    tests = {file for file in ordered[:-1] if file is ordered[0] or place(file) < TEST_SHARE}
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
    memory = (available_memory() or UNKNOWN_MEMORY) / ranks.local_world()  # each keeps its own
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
