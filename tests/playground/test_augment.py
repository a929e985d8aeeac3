import pickle

import pytest
import torch
from torch import nn

from playground import augment
from playground.augment import RECIPES, Augment, elastic, random_crop, recolour
from playground.errors import UserError

VARYING = ("digits", "photos")


@pytest.fixture(autouse=True)
def same_draws_each_time():
    torch.manual_seed(0)


def ramps(n, height, width):
    """(n, 2, H, W): each pixel's column and row, in pixels. What comes out tells where from."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows]).float().expand(n, 2, height, width)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (3, 3, 32, 20), (1, 3, 9, 64), (2, 4, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pictures_stay_pictures(recipe, shape, dtype):
    x = torch.rand(shape, dtype=dtype)
    before = x.clone()
    out = Augment(recipe)(x)
    assert out.shape == x.shape and out.dtype == dtype and out.device == x.device
    assert out.min() >= 0 and out.max() <= 1
    assert torch.equal(x, before), "the batch itself is left alone"


def test_none_and_eval_mode_change_nothing():
    x = torch.rand(4, 3, 16, 16)
    assert Augment("none")(x) is x
    for recipe in VARYING:
        module = Augment(recipe)
        assert not torch.equal(module(x), x)
        assert module.eval()(x) is x


def test_unknown_recipes_are_told():
    with pytest.raises(UserError, match="Did you mean 'digits'"):
        Augment("digit")


@pytest.mark.parametrize("recipe", VARYING)
def test_every_picture_gets_its_own_draw(recipe):
    x = torch.rand(1, 3, 16, 16).expand(6, 3, 16, 16)
    out = Augment(recipe)(x)
    assert len({tuple(picture.flatten().tolist()) for picture in out}) == 6


@pytest.mark.parametrize("recipe", VARYING)
def test_draws_come_from_the_generator_that_checkpoints_hold(recipe):
    """The same state, the same variations, also in a module made anew: a resumed training's."""
    x = torch.rand(8, 3, 16, 16)
    first = Augment(recipe)
    first(x)
    state = torch.get_rng_state()
    expected = first(x)
    assert not torch.equal(first(x), expected)
    torch.set_rng_state(state)
    assert torch.equal(Augment(recipe)(x), expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_of_it_is_in_a_state_dict(recipe):
    task = nn.Module()
    task.net, task.augment = nn.Linear(1, 1), Augment(recipe)
    assert set(task.state_dict()) == {"net.weight", "net.bias"}
    assert not list(task.augment.parameters())
    pickle.dumps(task)  # processes may be spawned with it


@pytest.mark.parametrize("recipe", VARYING)
def test_layouts_in_memory_agree(recipe):
    x = torch.rand(4, 3, 16, 16)
    torch.manual_seed(0)
    expected = Augment(recipe)(x)
    torch.manual_seed(0)
    assert torch.equal(Augment(recipe)(x.contiguous(memory_format=torch.channels_last)), expected)


# Digits


def displacements(monkeypatch, elastic_shift, count=400, side=28):
    """From where each inner pixel was taken, less its own place: (N, 2, inner, inner) pixels."""
    monkeypatch.setattr(augment, "ELASTIC_SHIFT", elastic_shift)
    x = ramps(count, side, side)
    inner = slice(9, side - 9)  # never filled up with black
    return (Augment("digits")(x) - x)[..., inner, inner]


def test_digits_without_elastic_are_affine(monkeypatch):
    moved = displacements(monkeypatch, 0.0)
    # Second differences of an affine map are zero.
    for dim in (2, 3):
        assert moved.diff(n=2, dim=dim).abs().max() < 1e-3
    centre = moved[..., 4:6, 4:6].mean((2, 3))
    most = augment.SHIFT * 28
    assert centre.abs().max() <= most + 0.1 and (centre.abs().amax(0) > 0.8 * most).all()
    assert centre.mean(0).abs().max() < 4 * most / (3 * 400) ** 0.5, "no drift"
    # What turns is the part of the derivative that changes sign between the axes.
    turn = (moved[:, 1].diff(dim=2).mean((1, 2)) - moved[:, 0].diff(dim=1).mean((1, 2))) / 2
    assert 0.6 * augment.DEGREES < torch.rad2deg(turn).abs().max() < 1.8 * augment.DEGREES
    stretch = moved[:, 0].diff(dim=2).mean((1, 2))
    assert 0.6 * augment.SCALE < stretch.abs().max() < 2 * augment.SCALE


def test_elastic_maps_have_the_stated_size_everywhere():
    field = elastic(torch.zeros(3000, 1, 28, 20, dtype=torch.float64))
    pixels = field * torch.tensor([20, 28]) / 2
    spread = pixels.std(0)
    for i, side in enumerate((20, 28)):
        expected = augment.ELASTIC_SHIFT * side
        assert (spread[..., i] / expected - 1).abs().max() < 0.1
    assert pixels.mean(0).abs().max() < 0.1
    # Smooth: neighbours move together, what lies far apart does not.
    a, b, far = pixels[:, 14, 10, 0], pixels[:, 15, 10, 0], pixels[:, 0, 10, 0]
    near, apart = (torch.corrcoef(torch.stack([a, c]))[0, 1] for c in (b, far))
    assert near > 0.95 and apart.abs() < 0.1


def test_digits_stay_legible():
    """A bar of ink keeps its ink, on the whole, and its neighbourhood."""
    x = torch.zeros(200, 1, 28, 28)
    x[:, :, 6:22, 12:16] = 1
    out = Augment("digits")(x)
    ink = out.sum((1, 2, 3)) / 64
    assert ink.min() > 0.5 and ink.max() < 2 and abs(ink.mean() - 1) < 0.1
    assert (out[:, :, 3:25, 6:22].sum((1, 2, 3)) / out.sum((1, 2, 3))).min() > 0.9


# Photos


def test_crops_are_pieces_of_the_mirrored_picture():
    height, width = 16, 24
    x = ramps(300, height, width)
    out = random_crop(x)
    down, right = round(augment.MARGIN * height), round(augment.MARGIN * width)
    shift_x = out[:, 0, 8, 12] - 12
    shift_y = out[:, 1, 8, 12] - 8
    assert set(shift_x.tolist()) == set(range(-right, right + 1))
    assert set(shift_y.tolist()) == set(range(-down, down + 1))
    columns = torch.arange(width) + shift_x[:, None]
    reflected = torch.where(columns < 0, -columns, columns)
    reflected = torch.where(reflected >= width, 2 * (width - 1) - reflected, reflected)
    assert torch.equal(out[:, 0], reflected[:, None, :].expand(-1, height, -1))


def test_half_of_the_photos_are_mirrored_and_half_lose_a_piece():
    x = torch.linspace(0.3, 0.7, 32).expand(400, 3, 32, 32)
    out = Augment("photos")(x)
    rising = (out.diff(dim=3).mean((1, 2, 3)) > 0).float().mean()
    assert 0.4 < rising < 0.6
    erased = (out == 0.5).float().mean((1, 2, 3))
    assert 0.35 < (erased > 0.015).float().mean() < 0.65
    assert erased.max() <= 0.25


def test_colours_change_within_their_bounds():
    x = torch.rand(500, 3, 8, 8) * 0.4 + 0.3
    out = recolour(x.clone())
    ratio = out.mean((1, 2, 3)) / x.mean((1, 2, 3))
    low, high = 1 - augment.COLOUR, 1 + augment.COLOUR
    assert low - 1e-4 <= ratio.min() < low + 0.02 and high - 0.02 < ratio.max() <= high + 1e-4
    colour = [(p - p.mean(1, keepdim=True)).flatten(1).std(1) for p in (x, out)]
    gain = colour[1] / colour[0]  # all three factors act on the distance from grey
    assert low**3 - 1e-3 <= gain.min() and gain.max() <= high**3 + 1e-3 and gain.std() > 0.1
    greys = torch.full((50, 1, 4, 4), 0.5)
    assert (recolour(greys.clone()).flatten(1).std(1) < 1e-6).all(), "greys without texture stay so"


def test_recolouring_is_brightness_of_contrast_of_saturation():
    x = torch.rand(3, 3, 5, 5, dtype=torch.float64) * 0.2 + 0.4
    torch.manual_seed(3)
    saturation, contrast, brightness = 1 + augment.COLOUR * (
        2 * torch.rand(3, 3, 1, 1, 1, dtype=torch.float64) - 1
    )
    saturated = x.mean(1, keepdim=True).lerp(x, saturation)
    contrasted = saturated.mean((1, 2, 3), keepdim=True).lerp(saturated, contrast)
    torch.manual_seed(3)
    assert torch.allclose(recolour(x.clone()), contrasted * brightness)
