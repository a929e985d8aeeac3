"""Many styles in one batch against one by one; flicker and tone against numbers by hand."""

import numpy as np
import pytest
import torch

from generators.painter_losses import TONE_PX, StyleTargets, checkerboard, flicker, tone, unchanged
from generators.style_losses import StyleNetwork, layer_weights, sums
from playground.backbone import create


def test_the_style_loss_is_each_pictures_own_styles():
    network = StyleNetwork(create("deepconv", width=0.5), pixels=True)
    torch.manual_seed(0)
    pictures = [torch.rand(1, 3, 32, 40), torch.rand(1, 3, 24, 24) ** 2]
    targets = StyleTargets(network, pictures, "gram")
    x = torch.rand(3, 3, 32, 32)
    maps = network.features(x)
    weights = layer_weights("gram", {name: network.strides[name] for name in network.style})
    expected = 0.0
    for i, style in enumerate((1, 0, 1)):
        wanted = network.style_sums(pictures[style])
        for name, weight in weights.items():
            gram = sums(maps[name][i : i + 1]).gram
            expected += weight * float((gram - wanted[name].gram).square().mean()) / 3
    assert float(targets(maps, [1, 0, 1])) == pytest.approx(expected, rel=1e-4)
    own = targets(network.features(pictures[0]), [0])
    assert float(own) == pytest.approx(0, abs=1e-6)  # a painting is in its own style


def test_flicker_is_the_mean_where_nothing_changed():
    first = torch.zeros(1, 3, 2, 2)
    second = torch.tensor([[0.3, 0.5], [0.0, 0.1]]).expand(1, 3, 2, 2)
    same = torch.tensor([[True, False], [True, True]])[None, None]
    assert float(flicker(first, second, same)) == pytest.approx(0.4 / 3)
    assert float(flicker(first, second, torch.zeros_like(same))) == 0
    pixels = torch.zeros(1, 3, 2, 2)
    other = pixels.clone()
    other[0, 1, 0, 1] = 0.1
    assert unchanged(pixels, other).flatten().tolist() == [True, False, True, True]


def test_tone_is_one_less_the_correlation_of_shades():
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(2, 1, 5, 4, generator=generator)
    picture = (
        cells.repeat_interleave(TONE_PX, 2).repeat_interleave(TONE_PX, 3).expand(-1, 3, -1, -1)
    )
    assert float(tone(picture, picture)) == pytest.approx(0, abs=1e-4)
    assert float(tone(0.5 + 0.2 * picture, picture)) == pytest.approx(0, abs=1e-3)
    assert float(tone(1 - picture, picture)) == pytest.approx(2, abs=1e-3)
    other = torch.rand(2, 3, 40, 32, generator=generator)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    shades = (other * luma).sum(1).unfold(1, TONE_PX, TONE_PX).unfold(2, TONE_PX, TONE_PX)
    mine = shades.mean((-1, -2)).flatten(1).numpy()
    expected = [1 - np.corrcoef(mine[i], cells[i].flatten())[0, 1] for i in range(2)]
    assert float(tone(other, picture)) == pytest.approx(np.mean(expected), abs=2e-3)
    speckled = picture + 0.1 * torch.tensor([1.0, -1.0]).repeat(16)  # strokes are free
    assert float(tone(speckled, picture)) == pytest.approx(0, abs=1e-3)
    assert float(tone(other, torch.full_like(other, 0.5))) == 0


def test_checkerboards_are_found_and_stripes_are_not():
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    board = 0.5 + 0.1 * (-1.0) ** (rows + columns).expand(1, 3, 8, 12)
    large = board.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float(checkerboard(board)) == pytest.approx(0.4**2, rel=1e-4)
    assert float(checkerboard(large)) > 0.4**2  # in cells all of it, and corners in pixels
    stripes = 0.5 + 0.1 * (-1.0) ** columns.expand(1, 3, 8, 12)
    assert float(checkerboard(stripes)) == 0
    assert float(checkerboard(torch.full((1, 3, 8, 8), 0.3))) == 0
