"""Losses and gradients in tiles are those of the whole picture."""

import pytest
import torch
from torch import nn

from generators.style_losses import STATISTICS, StyleNetwork
from generators.style_tiles import (
    Objective,
    Region,
    bytes_per_pixel,
    core_for,
    halo,
    spans,
    tiles,
)
from playground.backbone import create

FAMILIES = ["vgg19_slim16", "squeezenet", "arcade", "mobilenet_v2"]


def pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network(name="vgg19_slim16", **options):
    torch.manual_seed(0)
    found = StyleNetwork(create(name), pixels=True, **options)
    found.calibrate(pictures(1, 3, 96, 96))
    return found


def objective(seen, content, style, core=None, masks=(None,), statistics="gram", shifted=False):
    losses = {n: STATISTICS[statistics](s) for n, s in seen.style_sums(style).items()}
    regions = [Region(losses, 1 / len(masks), mask) for mask in masks]
    weights = dict.fromkeys(seen.style, 1.0)
    return Objective(seen, content, regions, weights, 0.3, 0.7, core, shifted)


def test_cores_cover_the_length_once_and_halos_stay_inside():
    for length, core, around in ((100, 16, 8), (31, 16, 32), (16, 16, 4), (1000, 48, 112)):
        found = list(spans(length, core, around))
        covered = [i for span in found for i in range(span.core_begin, span.core_end)]
        assert covered == list(range(length))
        for span in found:
            assert 0 <= span.begin <= span.core_begin < span.core_end <= span.end <= length
            assert span.begin == max(0, span.core_begin - around)
            assert span.begin % 16 == 0 or around % 16


@pytest.mark.parametrize("core", [None, 32])
def test_the_contents_maps_have_all_digits_under_autocast(core):
    seen, content, style = network(), pictures(1, 3, 64, 80), pictures(1, 3, 64, 64, seed=1)
    expected = objective(seen, content, style, core)(content)
    with torch.autocast("cpu", torch.bfloat16):
        made = objective(seen, content, style, core)
    found = made(content)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("name", [*FAMILIES, "resnet18", "alexnet", "googlenet"])
def test_no_feature_sees_beyond_the_halo(name):
    """Changing pixels farther away than that changes nothing."""
    torch.manual_seed(0)
    seen = StyleNetwork(create(name))
    reach, stride = halo(seen.backbone, seen.deepest), seen.strides[seen.deepest]
    height, width = 96, 2 * (reach // stride + 3) * stride
    picture = pictures(1, 3, height, width)
    middle = width // 2
    other = picture.clone()
    other[..., : middle - reach] = 0.5
    with torch.no_grad():
        one, two = (seen.features(x)[seen.deepest] for x in (picture, other))
    same = (one - two).abs()[0].amax((0, 1)) < 1e-5 * one.abs().max()
    assert same[middle // stride :].all() and not same[: (middle - reach) // stride].all()


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", FAMILIES)
def test_in_tiles_as_in_one_piece(name, statistics):
    seen = network(name)
    content, style = pictures(1, 3, 150, 203), pictures(1, 3, 96, 64, seed=1) ** 2
    found = []
    for core in (None, 32):
        x = pictures(1, 3, 150, 203, seed=2).requires_grad_()
        whole = objective(seen, content, style, core, statistics=statistics)
        losses = whole(x)
        losses["loss"].backward()
        found.append((len(whole._sights[0].tiles), losses, x.grad))
    (one, losses, gradient), (many, tiled_losses, tiled_gradient) = found
    assert one == 1 and many >= 16
    for key, value in losses.items():
        assert float(tiled_losses[key].detach()) == pytest.approx(float(value.detach()), rel=2e-3)
    apart = (gradient - tiled_gradient).norm() / gradient.norm()
    assert apart < 0.01  # the contents' 16 bits


@pytest.mark.parametrize("core", [None, 32])
@pytest.mark.parametrize("name", ["arcade", "squeezenet"])
def test_each_sight_sees_the_picture_without_its_first_rows_and_columns(name, core):
    seen = network(name)
    content, style = pictures(1, 3, 97, 118), pictures(1, 3, 96, 64, seed=1)
    mask = pictures(1, 1, 97, 118, seed=3)
    whole = objective(seen, content, style, core, (mask,), shifted=True)
    assert whole.sights == 4
    for sight, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        x = pictures(1, 3, 97, 118, seed=2).requires_grad_()
        losses = whole(x, sight)
        losses["loss"].backward()
        part = x.detach()[..., top:, left:].clone().requires_grad_()
        cut = (content[..., top:, left:], style, core, (mask[..., top:, left:],))
        expected = objective(seen, *cut)(part)
        expected["loss"].backward()
        for key, value in expected.items():
            assert losses[key].item() == pytest.approx(value.item(), rel=1e-5)
        assert not x.grad[..., :top, :].any() and not x.grad[..., :left].any()
        torch.testing.assert_close(x.grad[..., top:, left:], part.grad)


def test_a_mask_in_tiles_and_what_lies_outside_it():
    seen = network()
    reach = halo(seen.backbone, seen.deepest)
    width = 64 + reach + 32
    mask = torch.zeros(1, 1, 96, width)
    mask[..., :64] = 1
    content, style = pictures(1, 3, 96, width), pictures(1, 3, 64, 64, seed=1)
    gradients = []
    for core in (None, 32):
        x = pictures(1, 3, 96, width, seed=2).requires_grad_()
        whole = objective(seen, content, style, core, masks=(mask,))
        whole.content_weight = whole.variation_weight = 0
        whole(x)["loss"].backward()
        gradients.append(x.grad)
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[0].norm()
    assert gradients[0][..., :64].abs().max() > 0
    assert gradients[0][..., 64 + reach :].abs().max() == 0


def test_evaluating_in_tiles_needs_no_gradient():
    seen = network()
    content, style = pictures(1, 3, 64, 96), pictures(1, 3, 64, 64, seed=1)
    with torch.no_grad():
        losses = objective(seen, content, style, core=32)(content)
    assert float(losses["content"]) < 1e-4 and float(losses["style"]) > 0


def test_a_picture_that_is_its_content_and_style_has_no_loss():
    seen = network()
    same = pictures(1, 3, 64, 64)
    for statistics in STATISTICS:
        whole = objective(seen, same, same, statistics=statistics)
        whole.variation_weight = 0
        assert abs(float(whole(same)["loss"])) < 1e-4


def test_memory_decides_on_tiles():
    seen = network()
    each = bytes_per_pixel(seen)
    assert 4 * 3 < each < 4000
    assert core_for(64, 64, seen, None) is None
    assert core_for(64, 64, seen, 2**33) is None
    side = core_for(8000, 8000, seen, 2**33)
    assert side is not None and side >= 128
    around = tiles(2**12, 2**12, side, seen)[0].rows
    read = side + 2 * (around.end - around.core_end)
    assert read**2 * each < 2**32  # within the 8 GiB, half of it at most


def test_deeper_layers_see_farther():
    backbone = create("vgg19")
    reaches = [halo(backbone, f"relu{n}_1") for n in range(1, 6)]
    assert reaches == sorted(reaches) and reaches[0] == 1
    assert isinstance(backbone.conv1_1, nn.Conv2d) and halo(backbone, None) == 0
