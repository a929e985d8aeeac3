"""What dreams are shown as: sheets by their pixels, the nearest real picture, a walk's frames."""

import numpy as np
import pytest
import torch

from generators import dreams
from generators.dreamer import Dreamer, Plan
from generators.gan_scores import Features
from playground.backbone import create
from playground.data import Pictures

PLAN = Plan(32, 3, 8, 4, ("pong", "breakout"), True)


@pytest.fixture(scope="module")
def dreamer() -> Dreamer:
    torch.manual_seed(0)
    return Dreamer(PLAN.build().eval(), PLAN, {})


@pytest.fixture(scope="module")
def features() -> Features:
    torch.manual_seed(0)
    return Features(create("arcade", width=0.25))


def pictures(count: int, channels: int = 3) -> Pictures:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, channels, 4, 4), dtype=torch.uint8, generator=generator)
    pixels = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return Pictures(pixels, torch.zeros(count), ("a",))


def test_small_pictures_are_enlarged_and_grey_ones_become_rgb():
    x = torch.rand(2, 1, 32, 32)
    found = dreams.as_pixels(x)
    assert len(found) == 2 and all(p.shape == (128, 128, 3) and p.dtype == np.uint8 for p in found)
    assert np.array_equal(found[1][::4, ::4, 2], (x[1, 0] * 255).round().byte().numpy())
    assert dreams.as_pixels(torch.full((1, 3, 64, 64), 2.0))[0].max() == 255  # clipped, not wrapped
    assert dreams.as_pixels(torch.rand(1, 3, 128, 128))[0].shape == (128, 128, 3)


def test_a_sheet_is_about_a_square(dreamer):
    found = dreams.sheet(dreamer, 9, seed=1)
    assert found.shape == (3 * 132 + 4, 3 * 132 + 4, 3)
    first = dreams.as_pixels(dreamer.sample(9, 1))[0]
    assert np.array_equal(found[4:132, 4:132], first)
    assert np.array_equal(found, dreams.sheet(dreamer, 9, seed=1))
    assert not np.array_equal(found, dreams.sheet(dreamer, 9, seed=1, truncation=0.1))
    assert dreams.sheet(dreamer, 1, label="pong").shape == (136, 136, 3)


def test_a_class_sheet_has_a_row_for_each(dreamer):
    found = dreams.class_sheet(dreamer, seed=2, columns=3)
    height = (found.shape[0] - 4) // 2
    assert found.shape[1] == 3 * 132 + 4 and height > 132  # room for names
    for row, name in enumerate(dreamer.classes):
        first = dreams.as_pixels(dreamer.sample(3, 2, name))[0]
        assert np.array_equal(found[row * height + 4 : row * height + 132, 4:132], first)
    assert not np.array_equal(found, dreams.class_sheet(dreamer, 2, 0.1, columns=3))


def test_the_nearest_real_picture_is_found(features):
    real = pictures(30)
    learned = real.read(torch.tensor([7, 21])) / 255
    found, apart = dreams.nearest(learned, real, features)
    assert found.tolist() == [7, 21] and apart.max() < 0.1  # by heart
    imagined = pictures(40).read(torch.arange(30, 40)) / 255
    found, apart = dreams.nearest(imagined, real, features)
    known, own = features.of(real, 30), features(imagined)
    assert found.tolist() == torch.cdist(own, known).argmin(1).tolist()
    assert 0.5 < apart.median() < 3  # about as far as real ones are from one another


def test_pictures_that_are_all_the_same(features):
    same = Pictures(torch.full((5, 3, 32, 32), 90, dtype=torch.uint8), torch.zeros(5), ("a",))
    _, apart = dreams.nearest(torch.rand(2, 3, 32, 32), same, features)
    assert apart.isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_neighbours_stand_beside_their_dreams(features, channels):
    real = pictures(12, channels)
    some = real.read(torch.tensor([3, 5, 8])) / 255
    found = dreams.neighbour_sheet(some, real, features)
    left, right = found[4:132, 4:132], found[4:132, 136:264]
    assert np.array_equal(left, right)  # the dream is the picture
    assert found.shape[1] == 6 * 132 + 4


def test_a_walk_s_frames(dreamer):
    frames = list(dreams.walk(dreamer, 2, 2, 3, "pong"))
    assert len(frames) == 4
    assert all(f.pixels.shape == (256, 256, 3) and f.text == "dream" for f in frames)
    first = next(iter(dreamer.walk(2, 2, 3, "pong")))
    assert np.array_equal(frames[0].pixels, dreams.as_pixels(first[None], 256)[0])
