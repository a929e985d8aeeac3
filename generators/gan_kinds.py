"""Kinds of pictures, found without labels: clusters, by which a generator is told what to draw.

Source: Liu et al. 2020, "Diverse Image Generation via Self-Conditioned GANs". Departs from the
paper: pictures are sorted once, before the training, by their colours in SIDE x SIDE places instead
of again and again by the critic's features.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from playground.backbone import to_unit
from playground.data import Pictures

SIDE = 16  # places along a side, by whose colours pictures are sorted
ROUNDS = 20  # of k-means
LEARNED = 10_000  # pictures, at most, from which the kinds are found
PAIRS = 256  # of pictures of a kind, from which their difference is taken
MEDIANS = 1000  # pictures, at most, from which a median is taken
BATCH = 1000


def sorted_into(pictures: Pictures, labels: Tensor, classes: int, kinds: int, seed: int) -> Tensor:
    """(N,) int64: each picture's class and kind as one number, class * kinds + kind.

    The pictures of each class, (N,) `labels` below `classes`, are sorted among themselves, by
    k-means. Where fewer of them differ than there are kinds, some kinds have no pictures.
    """
    from scipy.cluster.vq import kmeans2, vq

    found = torch.zeros(len(pictures), dtype=torch.int64)
    for label in range(classes):
        members = torch.nonzero(labels == label).flatten()
        if not len(members):  # a folder's class whose pictures are all held out
            continue
        some = np.concatenate([_places(pictures, part) for part in _spread(members, LEARNED)])
        count = min(kinds, len(np.unique(some, axis=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kind has lost all its pictures
            centres, _ = kmeans2(some, count, ROUNDS, minit="++", seed=seed % 2**32)
        for part in members.split(BATCH):
            kind = torch.from_numpy(vq(_places(pictures, part), centres)[0])
            found[part] = label * kinds + kind.long()
    return found


def shares_of(labels: Tensor, classes: int, kinds: int) -> tuple[float, ...]:
    """How often each kind is among its class's pictures: the first class's kinds, then the next's.

    `labels` are of `sorted_into`. The shares of a class add up to one; one without pictures has its
    first kind alone.
    """
    counts = torch.bincount(labels.long(), minlength=classes * kinds).view(classes, kinds)
    counts[counts.sum(1) == 0, 0] = 1
    return tuple((counts / counts.sum(1, keepdim=True)).flatten().tolist())


def medians(pictures: Pictures, labels: Tensor, count: int) -> Tensor:
    """The median picture of each of `count` labels, (count, C, S, S) uint8.

    A median, unlike a mean, has no traces of what moves over it. For a label without pictures it is
    that of all.
    """
    of_all = _median(pictures, torch.arange(len(pictures)))
    members = [torch.nonzero(labels == label).flatten() for label in range(count)]
    found = [_median(pictures, some) if len(some) else of_all for some in members]
    return torch.stack(found)


def apart(pictures: Pictures, labels: Tensor, count: int) -> Tensor:
    """(count,): by how much two pictures of each of `count` labels differ, in the mean over PAIRS.

    The mean absolute difference of values in [0, 1]; 0 for a label with fewer than two pictures, or
    with equal ones alone.
    """
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(count)
    for label in range(count):
        members = torch.nonzero(labels == label).flatten()
        if len(members) > 1:
            first = torch.randint(len(members), (PAIRS,), generator=generator)
            step = 1 + torch.randint(len(members) - 1, (PAIRS,), generator=generator)
            chosen = members[first], members[(first + step) % len(members)]
            one, other = (to_unit(pictures.read(some)) for some in chosen)
            found[label] = (one - other).abs().mean()
    return found


def _median(pictures: Pictures, members: Tensor) -> Tensor:
    """(C, S, S) uint8."""
    pixels = torch.cat([pictures.read(part) for part in _spread(members, MEDIANS)])
    return pixels.median(0).values


def _spread(members: Tensor, most: int) -> tuple[Tensor, ...]:
    """At most so many of these pictures, evenly spread over them, in batches."""
    chosen = torch.linspace(0, len(members) - 1, min(most, len(members))).round().long()
    return members[chosen].split(BATCH)


def _places(pictures: Pictures, members: Tensor) -> np.ndarray:
    """(N, C * SIDE * SIDE) in [0, 1]: the colours by which these pictures are sorted."""
    return F.adaptive_avg_pool2d(to_unit(pictures.read(members)), SIDE).flatten(1).numpy()
