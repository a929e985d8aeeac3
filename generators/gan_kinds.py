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
MEDIANS = 1000  # pictures, at most, from which a median is taken
BATCH = 1000


def sorted_into(pictures: Pictures, labels: Tensor, classes: int, kinds: int, seed: int) -> Tensor:
    """(N,) int64: each picture's class and kind as one number, class * kinds + kind.

    The pictures of each class, (N,) `labels` below `classes`, are sorted among themselves, by
    k-means. Where fewer of them differ than there are kinds, some kinds have no pictures.
    """
    from scipy.cluster.vq import kmeans2, vq

    every = torch.arange(len(pictures))
    places = torch.cat([_places(pictures.read(part)) for part in every.split(BATCH)]).numpy()
    found = torch.zeros(len(pictures), dtype=torch.int64)
    for label in range(classes):
        members = torch.nonzero(labels == label).flatten()
        if not len(members):  # a folder's class whose pictures are all held out
            continue
        own = places[members]
        spread = np.linspace(0, len(own) - 1, min(LEARNED, len(own))).round().astype(int)
        some = own[spread]
        count = min(kinds, len(np.unique(some, axis=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kind has lost all its pictures
            centres, _ = kmeans2(some, count, ROUNDS, minit="++", seed=seed)
        found[members] = label * kinds + torch.from_numpy(vq(own, centres)[0]).long()
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
    """The median picture of each of `count` labels, (count, C, S, S) floats in [0, 1].

    A median, unlike a mean, has no traces of what moves over it. For a label without pictures it is
    that of all.
    """
    found = []
    for label in range(count):
        members = torch.nonzero(labels == label).flatten()
        if not len(members):
            members = torch.arange(len(pictures))
        spread = torch.linspace(0, len(members) - 1, min(MEDIANS, len(members))).round().long()
        found.append(pictures.read(members[spread]).median(0).values)
    return to_unit(torch.stack(found))


def _places(pixels: Tensor) -> Tensor:
    """(N, C, S, S) uint8 -> (N, C * SIDE * SIDE) in [0, 1]."""
    return F.adaptive_avg_pool2d(to_unit(pixels), SIDE).flatten(1)
