"""Style and content losses against loops by hand, and the network that they are measured in."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import scipy.linalg
import torch

from generators.style_losses import (
    PIXELS,
    UNSEEN,
    GramLoss,
    StyleNetwork,
    Sums,
    WassersteinLoss,
    blend,
    content_loss,
    default_layers,
    layer_weights,
    sums,
    total_variation,
)
from playground.backbone import create, families
from playground.errors import UserError


def maps(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_sums_are_those_of_a_loop_over_positions():
    some, mask = maps(2, 3, 4, 5), maps(1, 1, 4, 5, seed=1)
    for weights in (None, mask):
        found = sums(some, weights)
        for b in range(2):
            weight, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
            for y in range(4):
                for x in range(5):
                    w = 1.0 if weights is None else float(weights[0, 0, y, x])
                    vector = some[b, :, y, x].double().numpy()
                    weight += w
                    first += w * vector
                    second += w * np.outer(vector, vector)
            assert float(found.weight[b]) == pytest.approx(weight, rel=1e-5)
            assert np.allclose(found.first[b], first, rtol=1e-5)
            assert np.allclose(found.second[b], second, rtol=1e-5)
            assert np.allclose(found.gram[b], second / weight, rtol=1e-5)
            mean = first / weight
            centred = second / weight - np.outer(mean, mean)
            assert np.allclose(found.covariance[b], centred, atol=1e-5)


def test_sums_of_parts_add_up_to_those_of_the_whole():
    some = maps(1, 4, 6, 7)
    whole, parts = sums(some), sums(some[:, :, :2]) + sums(some[:, :, 2:])
    assert torch.allclose(whole.gram, parts.gram, atol=1e-6)
    assert torch.allclose(whole.mean, parts.mean, atol=1e-6) and parts.weight == 42


def test_gram_loss_is_the_papers():
    """E of equation 4, with F's sums over positions divided by their number, and 4 less."""
    some, style = maps(1, 3, 4, 5), maps(1, 3, 6, 2, seed=1)
    total = 0.0
    for i in range(3):
        for j in range(3):
            g = sum(float(some[0, i, y, x] * some[0, j, y, x]) for y in range(4) for x in range(5))
            a = sum(
                float(style[0, i, y, x] * style[0, j, y, x]) for y in range(6) for x in range(2)
            )
            total += (g / 20 - a / 12) ** 2 / 9
    assert float(GramLoss(sums(style))(sums(some))) == pytest.approx(total, rel=1e-4)


def test_wasserstein_loss_is_the_formula_of_gaussians():
    some, style = maps(1, 3, 9, 9), maps(1, 3, 8, 7, seed=1) ** 2
    one, two = (x[0].flatten(1).double().numpy() for x in (some, style))
    a, b = np.cov(one, bias=True), np.cov(two, bias=True)
    root = scipy.linalg.sqrtm(a)
    shared = scipy.linalg.sqrtm(root @ b @ root).real
    expected = np.sum((one.mean(1) - two.mean(1)) ** 2) + np.trace(a + b - 2 * shared)
    found = float(WassersteinLoss(sums(style))(sums(some)))
    assert found == pytest.approx(expected / 3, abs=1e-4)


def test_wasserstein_loss_of_one_feature_is_known_by_heart():
    """(m - n)^2 + (s - t)^2 for means m, n and deviations s, t."""

    def one(mean, deviation):
        return Sums(*(torch.tensor(x) for x in ([1.0], [[mean]], [[[mean**2 + deviation**2]]])))

    assert float(WassersteinLoss(one(0.5, 2.0))(one(1.5, 0.5))) == pytest.approx(
        1 + 1.5**2, rel=1e-3
    )


@pytest.mark.parametrize("loss", [GramLoss, WassersteinLoss])
def test_a_style_is_at_no_distance_from_itself_and_slopes_are_finite(loss):
    """Also with more channels than positions, whose covariance has no inverse."""
    for shape in ((2, 4, 8, 8), (1, 12, 2, 2), (1, 3, 1, 1)):
        some = maps(*shape).requires_grad_()
        value = loss(sums(some.detach()))(sums(some))
        assert abs(float(value.detach())) < 1e-4
        other = loss(sums(maps(*shape, seed=2)))(sums(some))
        other.backward()
        assert (
            float(other.detach()) > 0 and some.grad.isfinite().all() and some.grad.abs().max() > 0
        )


def half():
    """What a training with --precision bf16 computes in."""
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("loss", [GramLoss, WassersteinLoss])
def test_losses_have_all_digits_under_autocast(loss):
    some = maps(1, 16, 20, 20)
    near = some + 0.02 * maps(1, 16, 20, 20, seed=1)
    expected = loss(sums(near))(sums(some))
    with half():
        assert torch.equal(loss(sums(near))(sums(some)), expected)


def test_what_is_not_finite_is_a_loss_of_nan_and_no_error():
    """The solver of eigenvalues raises, and the trainer could not skip the update."""
    target = WassersteinLoss(sums(maps(1, 4, 5, 5)))
    some = maps(2, 4, 5, 5)
    expected = target(sums(some[:1]))
    for wrong in (math.nan, math.inf):
        spoilt = some.clone()
        spoilt[1, 2, 3, 3] = wrong
        spoilt.requires_grad_()
        loss = target(sums(spoilt))
        loss.backward()
        assert loss.isnan() and torch.equal(target(sums(spoilt[:1])), expected)


def test_a_device_without_solvers_has_them_solved_on_the_cpu(monkeypatch):
    """As MPS does; here the first call of each fails."""
    some, style = maps(1, 3, 9, 9), maps(1, 3, 8, 7, seed=1)
    expected = WassersteinLoss(sums(style))(sums(some))
    for name in ("eigh", "eigvalsh"):
        solver, answers = getattr(torch.linalg, name), [NotImplementedError("not on MPS"), None]

        def lacking(matrices, solver=solver, answers=answers):
            if answer := answers.pop(0):
                raise answer
            return solver(matrices)

        monkeypatch.setattr(torch.linalg, name, lacking)
    assert torch.equal(WassersteinLoss(sums(style))(sums(some)), expected)


@pytest.mark.parametrize("loss", [GramLoss, WassersteinLoss])
def test_losses_slopes_are_right(loss):
    target = loss(sums(maps(1, 3, 5, 5, seed=3)))
    some = maps(1, 3, 4, 4).requires_grad_()
    target(sums(some)).backward()
    step = torch.zeros_like(some)
    step[0, 1, 2, 3] = 1e-2
    with torch.no_grad():
        slope = float(target(sums(some + step)) - target(sums(some - step))) / 2e-2
    assert slope == pytest.approx(float(some.grad[0, 1, 2, 3]), rel=0.02, abs=1e-5)


def test_losses_of_a_batch_are_means_over_it():
    some, style = maps(3, 4, 5, 5), maps(1, 4, 6, 6, seed=1)
    for kind in (GramLoss, WassersteinLoss):
        loss = kind(sums(style))
        each = [float(loss(sums(one[None]))) for one in some]
        assert float(loss(sums(some))) == pytest.approx(sum(each) / 3, rel=1e-3)


def test_styles_are_blended_by_their_weights():
    one, two = sums(maps(1, 3, 4, 4)), sums(maps(1, 3, 9, 9, seed=1))
    mixed = blend([one, two], [3, 1])
    assert torch.allclose(mixed.mean, 0.75 * one.mean + 0.25 * two.mean)
    assert torch.allclose(mixed.gram, 0.75 * one.gram + 0.25 * two.gram)
    assert torch.allclose(blend([one], [7]).covariance, one.covariance, atol=1e-6)


def test_content_loss_and_variation_are_those_of_loops():
    some, other = maps(1, 2, 3, 4), maps(1, 2, 3, 4, seed=1)
    apart = [
        (float(a) - float(b)) ** 2 for a, b in zip(some.flatten(), other.flatten(), strict=True)
    ]
    assert float(content_loss(some, other)) == pytest.approx(sum(apart) / 24, rel=1e-5)
    total = 0.0
    for c in range(2):
        for y in range(3):
            for x in range(4):
                here = float(some[0, c, y, x])
                total += (float(some[0, c, y, min(x + 1, 3)]) - here) ** 2
                total += (float(some[0, c, min(y + 1, 2), x]) - here) ** 2
    assert float(total_variation(some)) == pytest.approx(total / 24, rel=1e-5)


def test_default_layers_are_the_papers_and_exist_in_every_family():
    papers = tuple(f"relu{n}_1" for n in range(1, 6))
    for name in ("vgg16", "vgg19", "vgg19_slim16"):
        assert default_layers(create(name)) == (papers, ("relu4_2",))
    assert default_layers(create("squeezenet")) == (
        ("relu1", "fire2", "fire4", "fire6"),
        ("fire5",),
    )
    assert default_layers(create("arcade"))[1] == ("relu3_2",)
    for name in families():
        backbone = create(name)
        style, content = default_layers(backbone)
        assert (
            len(style)
            == len(
                {
                    backbone.strides[layer]
                    for layer in backbone.strides
                    if not layer.startswith(UNSEEN)
                }
            )
            and len(content) == 1
        )
        assert {*style, *content} <= backbone.channels.keys()


def test_gram_weights_are_those_that_the_authors_publish():
    strides = {f"relu{n}_1": 2 ** (n - 1) for n in range(1, 6)}
    weights = layer_weights("gram", strides)
    assert [*weights.values()] == [1000 / n**2 for n in (64, 128, 256, 512, 512)]
    weights = layer_weights("wasserstein", strides)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["relu1_1"] == pytest.approx(2 * weights["relu3_1"])


@pytest.mark.parametrize("name", ["vgg19_slim16", "squeezenet", "mobilenet_v2", "arcade"])
@pytest.mark.parametrize("power", [1, 2])
def test_calibrated_layers_have_one_size(name, power):
    torch.manual_seed(0)
    network = StyleNetwork(create(name), pixels=True)
    assert network.style[0] == PIXELS
    picture = maps(1, 3, 64, 80)
    network.calibrate(picture, power=power)
    for name, found in network.features(picture).items():
        assert float(found.abs().pow(power).mean()) == pytest.approx(1, rel=1e-3), name
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_targets_have_all_digits_under_autocast():
    picture, painting = maps(1, 3, 40, 48), maps(1, 3, 32, 40, seed=1)
    found = []
    for autocast in (nullcontext(), half()):
        torch.manual_seed(0)
        network = StyleNetwork(create("vgg19_slim16"), pixels=True)
        with autocast:
            network.calibrate(picture)
            found.append((network.scales, network.style_sums(painting)))
    (scales, targets), (half_scales, half_targets) = found
    assert scales == half_scales
    for name, target in targets.items():
        assert torch.equal(target.second, half_targets[name].second), name


def test_pixels_are_what_lies_around_each():
    network = StyleNetwork(create("vgg19_slim16"), style=[PIXELS], content=["relu1_1"])
    picture = maps(1, 3, 6, 7)
    found = network.features(picture)[PIXELS]
    assert found.shape == (1, 27, 6, 7)
    around = picture[0, :, 1:4, 2:5].reshape(3, 9)
    assert torch.allclose(found[0, :, 2, 3].view(3, 9), around - around.mean(1, keepdim=True))
    corner = found[0, :, 0, 0].view(3, 3, 3)
    assert torch.allclose(corner[:, 0, 0], corner[:, 1, 1])  # beyond the border it is repeated


def test_average_pooling_takes_the_place_of_all_others():
    network = StyleNetwork(create("vgg19_slim16"), pooling="average")
    kinds = {type(module) for module in network.backbone.modules()}
    assert torch.nn.AvgPool2d in kinds and torch.nn.MaxPool2d not in kinds
    x = maps(1, 3, 32, 32)
    before, after = network.backbone.features(x, ["relu1_2", "pool1"]).values()
    assert torch.allclose(after, torch.nn.functional.avg_pool2d(before, 2))


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("family", ["vgg16", "resnet18", "googlenet"])
def test_borders_repeat_the_nearest_pixel_so_that_flat_stays_flat(family, pooling):
    """Padded by zeros, a flat picture's maps have a frame, and optimised pictures one, too."""
    torch.manual_seed(0)
    network = StyleNetwork(create(family), pooling=pooling)
    for name, found in network.features(torch.full((1, 3, 48, 48), 0.6)).items():
        assert float(found.flatten(2).std(2).max()) < 1e-4 * max(1, float(found.max())), name


def test_unknown_layers_and_pictures_too_small_are_told():
    with pytest.raises(UserError, match=r"no layer 'relu4_11'.*relu4_1"):
        StyleNetwork(create("vgg19_slim16"), style=["relu4_11"])
    with pytest.raises(UserError, match="8x5 pixels are too few"):
        StyleNetwork(create("squeezenet")).features(maps(1, 3, 5, 8))


def test_grey_pictures_are_seen_as_three_equal_channels():
    network = StyleNetwork(create("vgg19_slim16"))
    grey = maps(1, 1, 32, 32)
    one, three = network.features(grey), network.features(grey.expand(-1, 3, -1, -1))
    assert all(torch.equal(one[name], three[name]) for name in one)
    assert math.isfinite(float(one["relu5_1"].sum()))
