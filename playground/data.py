"""Labelled pictures: the `--data` grammar, `Pictures`, and the order in which they are drawn.

`parse` reads a spec, `load` opens it as `Pictures`; the formats are in `readers` and `folders`.
What is drawn when is a pure function of (seed, step), so a training's position in its data is its
count of updates, on any number of processes.
"""

import functools
import math
import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from playground import folders, readers
from playground.errors import UserError, nearest
from playground.folders import Say, Split, Store

FINGERPRINT = 64  # pictures, evenly spread, whose checksum tells a set from another one
KINDS = ("mnist", "cifar10", "flickr8k", "coco", "atari")


def to_stderr(text: str) -> None:
    """Say one line where it does not mix with results."""
    print(text, file=sys.stderr)


def parse(spec: str) -> tuple[str, str]:
    """`--data` as (kind, rest): ("mnist", DIR), …, ("atari", GAMES) or ("folder", DIR).

    What has no kind is a folder, a Windows path with its drive too. UserError for an unknown kind
    and for a kind with nothing behind its colon.
    """
    kind, colon, rest = spec.partition(":")
    drive = len(kind) == 1 and kind.isalpha()
    if not colon or drive or re.search(r"[/\\.~]", kind) or os.path.isdir(os.path.expanduser(spec)):
        if not spec.strip():
            raise UserError(f"--data is empty; give a folder, or {_grammar()}.")
        return "folder", spec
    if kind not in KINDS:
        raise UserError(
            f"--data knows no kind {kind!r}; give a folder, or {_grammar()}.{nearest(kind, KINDS)}"
        )
    if not rest.strip():
        what = "games" if kind == "atari" else "folder"
        raise UserError(f"--data {spec} lacks its {what}: {kind}:{what.upper()}.")
    return kind, rest


def _grammar() -> str:
    """The kinds with what follows them, for messages."""
    return ", ".join(f"{kind}:{'GAMES' if kind == 'atari' else 'DIR'}" for kind in KINDS)


class Pictures:
    """N pictures of one size with their labels, in memory or decoded on demand.

    `labels` (N,) int64, indices into `classes`; `channels` 1 or 3; `size` (H, W) in pixels.
    """

    def __init__(
        self,
        store: Store,
        labels: Tensor,
        classes: Sequence[str],
        positions: Tensor | None = None,
    ) -> None:
        self._store = store
        self._positions = torch.arange(len(labels)) if positions is None else positions
        self.labels = labels.long()
        self.classes = tuple(classes)
        self.channels = store.shape[1]
        self.size = (store.shape[2], store.shape[3])

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Tensor) -> Tensor:
        """The pictures at `indices` (B,) int64, in 0..N-1: uint8 (B, C, H, W)."""
        return self._store[self._positions[indices]]

    def fingerprint(self) -> dict[str, Any]:
        """What tells others from these, as JSON has it, without reading them all."""
        some = torch.linspace(0, len(self) - 1, FINGERPRINT).round().long().unique()
        sums = [
            zlib.crc32(t.contiguous().numpy().tobytes()) for t in (self.labels, self.read(some))
        ]
        return {"count": len(self), "classes": list(self.classes), "crc32": sums}

    def take(self, indices: Tensor) -> "Pictures":
        """A subset in the order of `indices`; the pixels are shared, not copied."""
        return Pictures(self._store, self.labels[indices], self.classes, self._positions[indices])


def load(
    spec: str,
    split: Split,
    size: int | None = None,
    seed: int = 0,
    say: Say = to_stderr,
) -> Pictures:
    """The labelled pictures of a spec: `mnist:DIR`, `cifar10:DIR` or a folder of class folders.

    `size` in pixels makes them square: the shorter side is resized to it (antialiased), the centre
    kept; None leaves them as they are. `seed` moves the split of a folder that brings none of its
    own (see `folders.class_folders`); of such a folder, the split "all" is every picture. `say` is
    told what was left out, and which classes a split lacks. UserError where nothing can be read.
    """
    kind, rest = parse(spec)
    path = Path(os.path.expanduser(rest))
    if kind not in ("mnist", "cifar10", "folder"):
        raise UserError(
            f"{spec} holds no classes to learn; give mnist:DIR, cifar10:DIR or a folder of class "
            "folders."
        )
    if not os.path.isdir(path):  # False too where the system refuses the very name
        hint = f" Is {rest}:DIR meant?" if rest in KINDS else ""
        raise UserError(f"There is no folder {path}.{hint}")
    if kind == "folder":
        return Pictures(*folders.class_folders(path, split, size, seed, say))
    own: Split = "train" if split == "train" else "test"
    pixels, labels, classes = (readers.mnist if kind == "mnist" else readers.cifar10)(path, own)
    return Pictures(fit(pixels, size), labels, classes)


def load_folder(path: Path | str, size: int | None = None, say: Say = to_stderr) -> Pictures:
    """All pictures of a folder, whatever lies in it; `size` and `say` as in `load`.

    Folders in it are the classes; without any, all labels are 0. UserError where nothing can be
    read.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isdir(path):
        raise UserError(f"There is no folder {path}.")
    return Pictures(*folders.any_folder(path, size, say))


def fit(pixels: Tensor, size: int | None) -> Tensor:
    """uint8 (N, C, H, W) -> (N, C, size, size): shorter side resized, antialiased; centre kept."""
    height, width = pixels.shape[2:]
    if size is None or (height, width) == (size, size):
        return pixels
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    out = torch.empty(len(pixels), pixels.shape[1], size, size, dtype=torch.uint8)
    for some, fitted in zip(pixels.split(1000), out.split(1000), strict=True):  # bounds the floats
        centre = some[:, :, top : top + side, left : left + side].float()
        resized = F.interpolate(
            centre, (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        fitted.copy_(resized.round_().clamp_(0, 255))
    return out


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order (n,) int64 of n pictures in an epoch: a pure function."""
    return _permutation(n, seed, epoch).clone()


@functools.lru_cache(maxsize=4)  # an epoch's batches share it, and a short last batch needs two
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(mixed)))


def batch_indices(
    n: int, batch_size: int, seed: int, step: int, rank: int = 0, world: int = 1
) -> Tensor:
    """Which of n pictures update `step` (from 0) draws on process `rank` of `world`: (B/world,).

    The batch of all processes is a slice of the epoch's permutation; what is left of an epoch by
    the last whole batch is dropped. Fewer pictures than a batch: epochs follow one another without
    a gap, so a batch holds some pictures more than once. UserError where the processes cannot share
    the batch equally, as the mean of their gradients needs.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"pictures and batch must be at least 1, not {n} and {batch_size}")
    if batch_size % world:
        raise UserError(
            f"A batch of {batch_size} cannot be shared equally by {world} processes; make it a "
            f"multiple of {world}."
        )
    usable = n // batch_size * batch_size or n  # of an epoch
    share = batch_size // world
    first = step * batch_size + rank * share
    parts = []
    while share:
        epoch, start = divmod(first, usable)
        part = _permutation(n, seed, epoch)[start : start + share]
        parts.append(part)
        first, share = first + len(part), share - len(part)
    return torch.cat(parts)


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of the same share of every class, at least one each, ascending.

    `labels` (N,) int64, `fraction` in (0, 1]. For one seed, a smaller fraction's indices are among
    a larger one's.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"A share of the labels lies above 0 and up to 1, not {fraction}.")
    order = permutation(len(labels), seed, 0)
    order = order[labels[order].argsort(stable=True)]  # by class, shuffled within it
    kept = [
        members[: max(1, math.floor(fraction * len(members) + 0.5))]
        for members in order.split(torch.unique(labels, return_counts=True)[1].tolist())
    ]
    return torch.cat(kept).sort().values
