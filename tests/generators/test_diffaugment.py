"""DiffAugment: what each part does to pictures, how far, and that gradients come through."""

import pytest
import torch

from generators.diffaugment import GREY, POLICIES, check, vary
from playground.errors import UserError

SIDE = 16  # pixels: shifts to 2, holes of 8


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def halves(count: int) -> torch.Tensor:
    """Grey pictures, the upper half at 0.2 and the lower at 0.6: mean 0.4."""
    x = torch.full((count, 3, SIDE, SIDE), 0.2)
    x[:, :, SIDE // 2 :] = 0.6
    return x


def test_nothing_asked_for_changes_nothing():
    x = torch.rand(2, 3, SIDE, SIDE)
    assert vary(x, ()) is x


def test_brightness_lies_within_a_quarter():
    grey = torch.full((400, 3, SIDE, SIDE), 0.5)  # flat and grey: it has nothing but brightness
    found = vary(grey, ("colour",))
    values = found.flatten(1)
    assert (values.amax(1) - values.amin(1)).max() < 1e-6
    level = values.mean(1)
    assert 0.25 <= level.min() < 0.28 and 0.72 < level.max() <= 0.75
    assert abs(level.mean() - 0.5) < 0.03


def test_saturation_lies_from_none_to_double_and_contrast_half_off():
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(400, 3, SIDE, SIDE)
    found = vary(red, ("colour",))[:, :, 0, 0]
    ratio = (found - found.mean(1, keepdim=True)) / torch.tensor([0.4, -0.2, -0.2])
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-5)
    # Of a flat picture contrast acts on the colours as well: 0 to 2 times 0.5 to 1.5.
    assert 0 <= ratio.min() < 0.1 and 2.2 < ratio.max() <= 3
    levels = vary(halves(400), ("colour",))[:, 0, :, 0]
    contrast = (levels[:, -1] - levels[:, 0]) / 0.4
    assert 0.5 <= contrast.min() < 0.53 and 1.47 < contrast.max() <= 1.5
    assert abs(contrast.mean() - 1) < 0.05


def test_translation_moves_by_an_eighth_at_most_and_fills_with_grey():
    x = torch.rand(64, 3, SIDE, SIDE)
    found = vary(x, ("translation",))
    reach, seen = SIDE // 8, set()
    padded = torch.full((64, 3, SIDE + 2 * reach, SIDE + 2 * reach), GREY)
    padded[:, :, reach:-reach, reach:-reach] = x
    for number in range(64):
        shifts = [
            (down, across)
            for down in range(2 * reach + 1)
            for across in range(2 * reach + 1)
            if torch.equal(
                found[number], padded[number, :, down : down + SIDE, across : across + SIDE]
            )
        ]
        assert len(shifts) == 1
        seen.update(shifts)
    assert {down for down, _ in seen} == {across for _, across in seen} == set(range(5))


def test_cutout_is_a_grey_square_of_half_the_side():
    x = torch.rand(200, 3, SIDE, SIDE) * 0.4  # darker than grey
    found = vary(x, ("cutout",))
    hidden = (found == GREY).all(1)
    assert torch.equal(found[:, 0][~hidden], x[:, 0][~hidden])
    rows, columns = hidden.any(2), hidden.any(1)
    assert torch.equal(hidden, rows[:, :, None] & columns[:, None, :])  # a rectangle
    for across in (rows, columns):
        lengths = across.sum(1)
        assert lengths.min() == SIDE // 4 and lengths.max() == SIDE // 2  # cut by the border, whole
        ends = across.int().diff(dim=1).abs().sum(1)
        assert ends.max() <= 2  # in one piece
        assert across.any(0).all()  # anywhere


def test_mirror_turns_about_half():
    x = torch.rand(100, 3, SIDE, SIDE)
    found = vary(x, ("mirror",))
    turned = (found == x.flip(3)).flatten(1).all(1)
    assert torch.equal(found[~turned], x[~turned])
    assert 30 < turned.sum() < 70


@pytest.mark.parametrize("name", POLICIES)
def test_each_picture_has_its_own_draw(name):
    one = torch.rand(1, 3, SIDE, SIDE).expand(16, -1, -1, -1)
    found = vary(one, (name,))
    assert found.shape == one.shape and found.dtype == one.dtype
    assert len({picture.numpy().tobytes() for picture in found}) >= (2 if name == "mirror" else 8)


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_come_through(name):
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def same_draw(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return vary(x, (name,))

    assert torch.autograd.gradcheck(same_draw, x, fast_mode=True)
    (gradient,) = torch.autograd.grad(same_draw(x).sum(), x)
    assert gradient.abs().sum() > 0


def test_all_together_keep_size_and_stay_near_the_range():
    x = torch.rand(32, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    found = vary(x, POLICIES)
    assert found.shape == x.shape and found.isfinite().all()
    assert found.min() > -3 and found.max() < 4


def test_grey_pictures_and_oblong_ones():
    assert vary(torch.rand(3, 1, 12, 20), POLICIES).shape == (3, 1, 12, 20)


def test_a_misspelt_one():
    check(POLICIES)
    with pytest.raises(UserError, match=r"not 'color'\. Did you mean 'colour'"):
        check(("color",))
