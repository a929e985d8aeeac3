"""MNIST's idx files and CIFAR-10's three forms as arrays.

Each reader gives (pixels (N, C, H, W) uint8, labels (N,) int64, names of the classes). Files of
strangers are parsed here; nothing in them is run.
"""

import gzip
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from playground.errors import UserError
from playground.folders import Split
from playground.media import read_image

Arrays = tuple[Tensor, Tensor, tuple[str, ...]]

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR_PX = 32
SHEETS = (".jpg", ".png")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error


# MNIST


def mnist(path: Path, split: Split) -> Arrays:
    """The idx files of MNIST, gzipped or not, under their published names: (N, 1, 28, 28).

    UserError where a file is missing, damaged, or does not fit the other.
    """
    part = {"train": "train", "test": "t10k"}[split]
    pixels = _idx(path, f"{part}-images", "idx3-ubyte", 3)
    labels = _idx(path, f"{part}-labels", "idx1-ubyte", 1)
    if len(pixels) != len(labels) or not len(pixels):
        raise UserError(
            f"{path} has {len(pixels)} pictures but {len(labels)} labels for {part}; get both "
            "files anew."
        )
    names = tuple(str(digit) for digit in range(max(10, int(labels.max()) + 1)))
    return torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(labels).long(), names


def _idx(folder: Path, part: str, kind: str, dimensions: int) -> np.ndarray:
    """One idx file: two zero bytes, 8 (uint8), the number of dimensions, their sizes, the data."""
    places = (folder, folder / "raw", folder / "MNIST" / "raw")  # the latter as torchvision has it
    names = [f"{part}{dot}{kind}{gz}" for gz in ("", ".gz") for dot in "-."]
    found = [place / name for place in places for name in names if (place / name).is_file()]
    if not found:
        raise UserError(
            f"There is no {names[0]} or {names[0]}.gz in {folder}: mnist:DIR is the folder of "
            "MNIST's four files."
        )
    data = _bytes(found[0])
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:  # OSError: gzip's own
        raise UserError(f"{found[0]} is damaged ({error}); get it anew.") from error
    header = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    size = int(np.prod(shape, dtype=object))
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) != header + size or 0 in shape[1:]:
        raise UserError(
            f"{found[0]} is not MNIST's file of that name: {len(data)} bytes that begin with "
            f"{data[:4].hex() or 'nothing'}; get it anew."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


# CIFAR-10


def cifar10(path: Path, split: Split) -> Arrays:
    """CIFAR-10 as published (binary or Python version), or as sheets of tiles: (N, 3, 32, 32).

    Sheets: train_0.jpg, … (or .png) of 32-pixel tiles in rows, labels in train_labels.npy;
    test_0.jpg, … likewise. UserError where nothing of these is there, or it is damaged.
    """
    names = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}[split]
    for folder in (path, path / "cifar-10-batches-bin", path / "cifar-10-batches-py"):
        for suffix, read in ((".bin", _binary), ("", _pickled)):
            files = [folder / f"{name}{suffix}" for name in names]
            missing = [file.name for file in files if not file.is_file()]
            if len(missing) == len(files):
                continue
            if missing:
                raise UserError(f"{folder} is not all of CIFAR-10: it lacks {missing[0]}.")
            parts = [read(file) for file in files]
            pixels, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
            return _checked(path, pixels, labels)
    return _checked(path, *_sheets(path, split))


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray) -> Arrays:
    if not len(labels) or labels.min() < 0 or labels.max() >= len(CIFAR10_CLASSES):
        raise UserError(f"{path} is not CIFAR-10: its labels are not 0 to 9.")
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)), CIFAR10_CLASSES


def _binary(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of one byte of label and 3 × 32 × 32 bytes of pixels."""
    record = 1 + 3 * CIFAR_PX**2
    data = np.frombuffer(_bytes(file), np.uint8)
    if not len(data) or len(data) % record:
        raise UserError(f"{file} is damaged: {len(data)} bytes are not whole pictures.")
    records = data.reshape(-1, record)
    return records[:, 1:].reshape(-1, 3, CIFAR_PX, CIFAR_PX).copy(), records[:, 0].copy()


def _sheets(path: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Sheets are numbered from 0; the last row of tiles need not be full."""
    labels_file = path / f"{split}_labels.npy"
    sheets: list[Path] = []
    while found := [f for end in SHEETS if (f := path / f"{split}_{len(sheets)}{end}").is_file()]:
        sheets.append(found[0])
    if not sheets or not labels_file.is_file():
        raise UserError(
            f"There is no CIFAR-10 in {path}: cifar10:DIR is the folder of data_batch_1.bin, … or "
            f"data_batch_1, …, or of sheets {split}_0.jpg, … with {split}_labels.npy."
        )
    try:
        labels = np.lib.format.read_array(io.BytesIO(_bytes(labels_file)), allow_pickle=False)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError("not a list of numbers")
    except (ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{labels_file} does not hold labels: {error}.") from error
    tiles = []
    for file in sheets:
        sheet = read_image(file)
        height, width = (side // CIFAR_PX for side in sheet.shape[:2])
        sheet = sheet[: height * CIFAR_PX, : width * CIFAR_PX]
        grid = sheet.reshape(height, CIFAR_PX, width, CIFAR_PX, 3).transpose(0, 2, 4, 1, 3)
        tiles.append(grid.reshape(-1, 3, CIFAR_PX, CIFAR_PX))
    pixels = np.concatenate(tiles)
    if not len(labels) <= len(pixels) < len(labels) + width:
        raise UserError(
            f"{labels_file} has {len(labels):,} labels, but {sheets[0].name} to {sheets[-1].name} "
            f"hold {len(pixels):,} tiles."
        )
    return pixels[: len(labels)], labels


class _Array:
    """Stands in for a pickled numpy array or dtype, of which it keeps the state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


_STANDS_IN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Array,
    ("_codecs", "encode"): lambda text, coding: text.encode("latin1"),  # bytes from Python 3
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings, lists, dictionaries and arrays' bytes; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STANDS_IN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STANDS_IN[module, name]


def _pickled(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A dictionary of b"data" (N, 3072) uint8 and b"labels", a list."""
    try:
        batch = _PlainUnpickler(io.BytesIO(_bytes(file)), encoding="bytes").load()
        entries = {k if isinstance(k, bytes) else k.encode(): v for k, v in batch.items()}
        _, shape, dtype, fortran, raw = entries[b"data"].state
        if dtype.arguments[0] not in ("u1", b"u1") or fortran:
            raise ValueError("its array is not one of bytes")
        pixels = np.frombuffer(raw, np.uint8).reshape(shape).reshape(-1, 3, CIFAR_PX, CIFAR_PX)
        labels = np.array(entries[b"labels"], np.int64)
        if labels.shape != pixels.shape[:1]:
            raise ValueError(f"{len(pixels)} pictures, {labels.shape} labels")
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{file} is not a batch of CIFAR-10: {error}.") from error
    return pixels.copy(), labels
