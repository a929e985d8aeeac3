"""Kinds of pictures: found without labels, in each class apart; their shares and medians."""

import numpy as np
import pytest
import torch

from generators import gan_kinds
from playground.data import Pictures

NAMES = ("left", "right")


def halves(count: int = 60) -> Pictures:
    """A class with its left or its right half bright; two pictures in three have a bright top."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 40, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    for number, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        picture[:, :, 16 * label : 16 * label + 16] += 100
        if number % 3:
            picture[:, :16] += 100
    return Pictures(pixels, labels, NAMES)


def test_kinds_are_found_from_some_of_many(monkeypatch):
    pictures, nothing = halves(), torch.zeros(60, dtype=torch.int64)
    whole = gan_kinds.sorted_into(pictures, nothing, 1, 4, seed=0)
    monkeypatch.setattr(gan_kinds, "LEARNED", 20)
    monkeypatch.setattr(gan_kinds, "BATCH", 7)
    some = gan_kinds.sorted_into(pictures, nothing, 1, 4, seed=0)
    assert len({(int(a), int(b)) for a, b in zip(whole, some, strict=True)}) == 4
    monkeypatch.setattr(gan_kinds, "MEDIANS", 9)
    for ground, label in zip(gan_kinds.medians(pictures, some, 4), range(4), strict=True):
        mean = pictures.read(torch.nonzero(some == label).flatten()).float().mean(0)
        assert (ground - mean).abs().mean() < 0.05 * 255


def test_kinds_of_each_class_apart():
    pictures = halves()
    labels = gan_kinds.sorted_into(pictures, pictures.labels, 2, 2, seed=0)
    shares = gan_kinds.shares_of(labels, 2, 2)
    assert torch.equal(labels // 2, pictures.labels)
    assert sorted(shares[:2]) == sorted(shares[2:]) == pytest.approx([1 / 3, 2 / 3])
    bright_top = torch.arange(60) % 3 > 0
    for label in range(4):
        members = labels == label
        assert bright_top[members].all() or not bright_top[members].any()
        assert float(members.sum()) / 30 == pytest.approx(shares[label])


def test_kinds_without_classes():
    pictures = halves()
    nothing = torch.zeros(60, dtype=torch.int64)
    labels = gan_kinds.sorted_into(pictures, nothing, 1, 4, seed=0)
    assert sorted(gan_kinds.shares_of(labels, 1, 4)) == pytest.approx([1 / 6, 1 / 6, 1 / 3, 1 / 3])
    for label in range(4):
        assert len(set(pictures.labels[labels == label].tolist())) == 1
    assert torch.equal(gan_kinds.sorted_into(pictures, nothing, 1, 4, seed=0), labels)


def test_fewer_different_pictures_than_kinds():
    grey = Pictures(
        torch.full((8, 1, 32, 32), 90, dtype=torch.uint8), torch.zeros(8).long(), ("a",)
    )
    labels = gan_kinds.sorted_into(grey, grey.labels, 1, 3, seed=0)
    assert not labels.any() and gan_kinds.shares_of(labels, 1, 3) == (1.0, 0.0, 0.0)


def test_a_class_without_pictures():
    pictures = halves()
    labels = gan_kinds.sorted_into(pictures, pictures.labels, 3, 2, seed=0)
    assert int(labels.max()) == 3 and gan_kinds.shares_of(labels, 3, 2)[4:] == (1.0, 0.0)
    found = gan_kinds.medians(pictures, labels, 6)
    everything = np.sort(pictures.read(torch.arange(60)).numpy(), axis=0)[29]
    np.testing.assert_array_equal(found[4], everything)


def test_medians_have_no_traces_of_what_moves():
    pixels = torch.full((9, 3, 32, 32), 60, dtype=torch.uint8)
    for number, picture in enumerate(pixels):
        picture[:, 3 * number : 3 * number + 3] = 250
    labels = torch.tensor([0] * 5 + [1] * 4)
    pixels[5:, :, :, :4] = 0
    found = gan_kinds.medians(Pictures(pixels, labels, ("a", "b")), labels, 2)
    assert found[0].unique().tolist() == [60]
    assert found[1, :, :, 4:].unique().tolist() == [60]
    assert found[1, 0, -1, :4].tolist() == [0] * 4


def test_by_how_much_pictures_of_a_kind_differ():
    pixels = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    pixels[1::2, 0, 0] = 255  # a quarter of the picture, in each second one
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3])
    pixels[6] = pixels[5]
    found = gan_kinds.apart(Pictures(pixels, labels, ("a",)), labels, 5)
    assert found[[0, 1]].tolist() == [0.25, 0.25]  # never a picture and itself
    assert found[2] == found[4] == 0  # of one picture, or none, nothing is known
    assert found[3] == 0  # they are equal
    pixels[7] = 255 - pixels[6]
    again = gan_kinds.apart(Pictures(pixels, labels, ("a",)), labels, 5)
    assert abs(float(again[3]) - 2 / 3) < 0.1  # two pairs of three differ everywhere
    assert torch.equal(again[:3], found[:3])
