"""The published files of captions: which pictures they name, in which split, with which captions.

    dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json    Karpathy's splits
    captions_{train,val}{2017,2014}.json                                COCO
    Flickr8k.token.txt, Flickr_8k.{train,dev,test}Images.txt            Flickr8k
    results_20130124.token, results.csv                                 Flickr30k, two forms
    captions.txt                                                        Flickr8k as image,caption
    captions.json        {name: {"split": "train", "captions": ["…", …]}, …}

Karpathy's splits are those of the papers (Karpathy & Fei-Fei 2015). COCO publishes no captions of
its test pictures: without dataset_coco.json there are train and val only. Lists of captions without
a split are divided by a hash of the pictures' names.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from playground.errors import UserError
from playground.media import composed
from playground.run import read_json

Split = Literal["train", "val", "test"]
# A file's word for a split -> ours. Karpathy's "restval" are COCO's validation pictures beyond the
# 10,000 of val and test, on which papers train.
SPLITS: dict[str, Split] = {
    **{"train": "train", "restval": "train"},
    **{"val": "val", "dev": "val", "test": "test"},
}
SHARE = 0.1  # of pictures without a split, to validate on and to test on each
COCO_YEARS = ("2017", "2014")
NUMBERED = re.compile(r"(.+)#(\d+)\t(.*)")  # name.jpg#0<tab>caption
# The third column of results.csv; one published line lacks the bar before it.
COMMENT = re.compile(r"\s*(\d+)\s*\|?(.*)")


class Entry(NamedTuple):
    """What a file says of one picture; `split` is None for what is in none of ours."""

    split: Split | None
    captions: list[str]  # as they stand there, empty ones too


class Captions(NamedTuple):
    """A dataset's captions by the pictures' file names, `composed`.

    `repeated` entries were left out as they stand there twice, with the name (and number) of
    another. `is_whole`: all splits are there, else only the one that was asked for. `is_divided`:
    the file tells no split, and `hashed_split` made one.
    """

    file: Path
    entries: dict[str, Entry]
    repeated: int = 0
    is_whole: bool = True
    is_divided: bool = False


class Layout(NamedTuple):
    """A caption file by its name in lower case, and who reads it."""

    kind: str  # of --data
    name: str  # as published
    read: Callable[[Path, Mapping[str, Path], Split], Captions]


def read(files: Mapping[str, Path], kind: str, split: Split, folder: Path) -> Captions:
    """The captions in a folder; `files` are its files by name in lower case.

    Of several caption files the first in the order of `LAYOUTS` is taken, of those of `kind`
    ("flickr8k", "coco") before others. UserError where there is none, or it is not what its name
    says.
    """
    for layout in sorted(LAYOUTS, key=lambda layout: layout.kind != kind):
        if file := files.get(layout.name.lower()):
            return layout.read(file, files, split)
    wanted = [layout.name for layout in LAYOUTS if kind in (layout.kind, "folder")]
    raise UserError(
        f"There are no captions in {folder}; put their file there, unpacked: one of "
        f"{', '.join(wanted)}."
    )


def _karpathy(file: Path, files: Mapping[str, Path], split: Split) -> Captions:
    """{"images": [{"filename": …, "split": …, "sentences": [{"raw": …, "tokens": […]}, …]}, …]}."""
    entries: dict[str, Entry] = {}
    repeated = 0
    for image in _list_in(file, read_json(file), "images"):
        name, own = _name_in(file, image, "filename"), _text_in(file, image, "split")
        if name in entries:
            repeated += 1
            continue
        sentences = _list_in(file, image, "sentences")
        entries[name] = Entry(SPLITS.get(own), [_text_in(file, s, "raw") for s in sentences])
    return Captions(file, entries, repeated)


def _coco(file: Path, files: Mapping[str, Path], split: Split) -> Captions:
    """{"images": [{"id", "file_name"}, …], "annotations": [{"id", "image_id", "caption"}, …]}."""
    year = next(year for year in COCO_YEARS if year in file.name)
    if split == "test":
        raise UserError(
            f"COCO {year} publishes no captions of its test pictures; put Karpathy's split, "
            f"dataset_coco.json, beside {file}."
        )
    own = files.get(f"captions_{split}{year}.json")
    if own is None:
        raise UserError(
            f"There is {file}, but no captions_{split}{year}.json; put it there from COCO's "
            f"annotations_trainval{year}.zip."
        )
    data = read_json(own)
    names: dict[Any, str] = {}
    entries: dict[str, Entry] = {}
    repeated = 0
    for image in _list_in(own, data, "images"):
        name, number = _name_in(own, image, "file_name"), image.get("id")
        if not isinstance(number, int):
            raise _strange(own, "an entry of its images has no 'id'")
        if number in names or name in entries:
            repeated += 1
            continue
        names[number], entries[name] = name, Entry(split, [])
    seen = set()
    for annotation in _list_in(own, data, "annotations"):
        caption = _text_in(own, annotation, "caption")
        number, picture = annotation.get("id"), annotation.get("image_id")
        if not isinstance(number, int) or not isinstance(picture, int):
            raise _strange(own, "an entry of its annotations has no 'id' or 'image_id'")
        if number in seen:
            repeated += 1
            continue
        seen.add(number)
        # Captions of what is not among the images are of pictures that are not there.
        name = names.setdefault(picture, f"{picture:012d}.jpg")
        entries.setdefault(name, Entry(split, [])).captions.append(caption)
    return Captions(own, entries, repeated, is_whole=False)


def _lines(file: Path, files: Mapping[str, Path], split: Split) -> Captions:
    """Lines of a name and a caption: "name#0<tab>caption", or a table whose first line is a head.

    Tables are "image_name| comment_number| comment" or "image,caption", the latter with quotes
    where commas are.
    """
    lines = [line.rstrip("\r") for line in _text(file).split("\n")]
    head = lines[0]
    rows: list[tuple[str, str, str]]  # name, number or "", caption
    if NUMBERED.fullmatch(head):
        matches = [(line, NUMBERED.fullmatch(line)) for line in lines if line.strip()]
        rows = [_row(file, line, found) for line, found in matches]
    elif re.fullmatch(r"image(_name)?\s*\|.*comment", head):
        parts = [line.partition("|") for line in lines[1:] if line.strip()]
        rows = [(n, *_row(file, n, COMMENT.fullmatch(rest))) for n, _, rest in parts]
    elif re.fullmatch(r"image(_name)?,(caption|comment)", head):
        cells = [row for row in _cells(file, lines[1:]) if row]
        rows = [(name, "", ",".join(caption)) for name, *caption in cells]
    else:
        raise _strange(file, f"its first line is {head[:60]!r}")
    splits = _listed_splits(files)
    entries: dict[str, Entry] = {}
    seen: set[tuple[str, str]] = set()
    for name, number, caption in rows:
        name = composed(name.strip())
        if number and (name, number) in seen:
            continue
        seen.add((name, number))
        own = splits.get(name) if splits else hashed_split(name)
        entries.setdefault(name, Entry(own, [])).captions.append(caption)
    kept = sum(len(entry.captions) for entry in entries.values())
    return Captions(file, entries, len(rows) - kept, is_divided=not splits)


def _cells(file: Path, lines: list[str]) -> list[list[str]]:
    try:
        return list(csv.reader(lines))
    except csv.Error as error:
        raise _strange(file, str(error)) from error


def _row(file: Path, line: str, found: "re.Match[str] | None") -> Any:
    if found is None:
        raise _strange(file, f"its line {line[:60]!r} has no number of a caption")
    return found.groups()


def _listed_splits(files: Mapping[str, Path]) -> dict[str, Split]:
    """Name -> split by the lists of Flickr8k; a name in two of them is not trained on."""
    found: dict[str, Split] = {}
    for word in ("train", "dev", "test"):
        if file := files.get(f"flickr_8k.{word}images.txt"):
            found |= dict.fromkeys(composed(_text(file)).split(), SPLITS[word])
    return found


def hashed_split(name: str) -> Split:
    """SHARE of all names to validate on, as many to test on; a name's split never changes."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "val" if place < SHARE else "test" if place < 2 * SHARE else "train"


def _by_name(file: Path, files: Mapping[str, Path], split: Split) -> Captions:
    """{name: {"split": …, "captions": […]}, …}."""
    data = read_json(file)
    if not isinstance(data, dict):
        raise _strange(file, "it is no object of pictures")
    entries: dict[str, Entry] = {}
    for name, about in data.items():
        own, captions = _text_in(file, about, "split"), _list_in(file, about, "captions")
        if not all(isinstance(caption, str) for caption in captions):
            raise _strange(file, f"captions of {name} are no text")
        entries.setdefault(composed(name), Entry(SPLITS.get(own), captions))
    return Captions(file, entries, len(data) - len(entries))


LAYOUTS = (
    Layout("flickr8k", "dataset_flickr8k.json", _karpathy),
    Layout("flickr8k", "dataset_flickr30k.json", _karpathy),
    Layout("coco", "dataset_coco.json", _karpathy),
    *(
        Layout("coco", f"captions_{part}{year}.json", _coco)
        for year in COCO_YEARS
        for part in ("train", "val")
    ),
    Layout("flickr8k", "Flickr8k.token.txt", _lines),
    Layout("flickr8k", "results_20130124.token", _lines),
    Layout("flickr8k", "results.csv", _lines),
    Layout("flickr8k", "captions.txt", _lines),
    Layout("flickr8k", "captions.json", _by_name),
)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _strange(file, "it is no text in UTF-8") from error


def _list_in(file: Path, value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise _strange(file, f"a list of {key!r} is not where it should be")
    return found


def _text_in(file: Path, value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise _strange(file, f"an entry has no {key!r}")
    return found


def _name_in(file: Path, value: Any, key: str) -> str:
    return composed(_text_in(file, value, key))


def _strange(file: Path, reason: str) -> UserError:
    return UserError(f"{file} is not the caption file that its name says ({reason}); get it anew.")
