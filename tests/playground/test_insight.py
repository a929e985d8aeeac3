"""The pictures of a classifier's gallery, by their pixels."""

import json

import numpy as np
import pytest
import torch

from playground.backbone import create, to_unit
from playground.classifier import Classifier, Design, Result
from playground.data import Pictures
from playground.insight import (
    WRONG,
    confusion_picture,
    draw_all,
    enlarged,
    filters_picture,
    heat,
    layer_times,
    maps_picture,
    most_confused,
    wrong_sheet,
)
from playground.media import PANEL, read_image


def shades(count, classes=("a", "b"), channels=1):
    """`count` pictures, the n-th of grey level 5 n, classes in turns."""
    store = (torch.arange(count) * 5 % 256).to(torch.uint8).view(-1, 1, 1, 1)
    store = store.expand(-1, channels, 8, 8)
    return Pictures(store, torch.arange(count) % len(classes), classes)


def test_wrong_sheet_has_the_wrong_ones_most_confident_first():
    pictures = shades(40)
    probabilities = torch.tensor([0.9, 0.1]).repeat(40, 1)
    probabilities[7], probabilities[9] = torch.tensor([0.6, 0.4]), torch.tensor([0.99, 0.01])
    probabilities[1::2][5:] = torch.tensor([0.2, 0.8])  # the later ones of b are right
    result = Result(probabilities, pictures.labels, pictures.classes)
    assert result.wrong.tolist() == [1, 3, 5, 7, 9]
    sheet = wrong_sheet(pictures, result, 4)
    pitch = 128 + 4
    assert sheet.shape[1] == 4 * pitch + 4
    shown = [sheet[10, 4 + n * pitch + 10, 0] for n in range(4)]
    assert shown == [45, 5, 15, 25]  # 9 first; 7 is the least confident, and left out


def test_wrong_sheet_of_a_perfect_classifier_shows_the_least_certain():
    pictures = shades(4)
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.1, 0.9]])
    sheet = wrong_sheet(pictures, Result(probabilities, pictures.labels, pictures.classes), 9)
    assert {sheet[10, 14 + 132 * n, 0] for n in range(2)} == {5, 10}


def test_confusion_picture_is_warm_where_it_errs():
    matrix = torch.tensor([[90, 10, 0], [0, 100, 0], [5, 0, 95]])
    picture = confusion_picture(matrix, ("cat", "dog", "a class of a long name"))
    margin = picture.shape[0] - 3 * 40 - 8

    def cell(row, column):
        return picture[margin + row * 40 + 4, margin + column * 40 + 4].astype(int)

    assert cell(0, 1).sum() > cell(2, 0).sum() > 2 * cell(0, 2).sum()  # lighter, and red:
    assert cell(2, 0)[0] > 2 * cell(2, 0)[2]
    assert cell(1, 1)[1] > cell(1, 1)[0] and np.array_equal(cell(0, 2), PANEL)
    assert (picture[:margin, margin:] != PANEL).any() and (picture[margin:, :margin] != PANEL).any()
    first, third = (picture[:margin, margin + n * 40 :][:, :40] for n in (0, 2))
    assert (third != PANEL).sum() > 3 * (first != PANEL).sum()  # names stand over their columns
    many = confusion_picture(torch.eye(100, dtype=torch.int64), tuple(map(str, range(100))))
    assert many.shape == (600, 600, 3)
    assert confusion_picture(torch.zeros(2, 2, dtype=torch.int64), ("a", "b")).shape[2] == 3


def test_most_confused_counts_errors_only():
    rows = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    found = most_confused(Result(rows, torch.tensor([0, 1, 1, 0]), ("a", "b")))
    wanted = [{"name": "b as a", "pictures": 2}, {"name": "a as b", "pictures": 1}]
    assert found["rows"] == wanted


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_filters_picture_shows_each_filter_in_one_scale(channels):
    network = create("deepconv", channels, width=0.25)
    with torch.no_grad():
        network.conv1_1.weight.zero_()[1, 0] = 1
    picture = filters_picture(network)
    assert picture.shape == (57 + 8, 4 * 61 + 4, 3)
    flat, bright = picture[10, 10], picture[10, 10 + 61]
    assert set(flat.tolist()) == {128} and bright[0] == 255
    assert bright[2] == (128 if channels == 3 else 255)


def test_maps_picture_has_a_row_for_each_layer():
    network = create("deepconv", 1, 2, width=0.25).train()
    with torch.no_grad():
        network.conv1_1.weight.zero_()
        network.conv1_1.weight[2, 0, 1, 1] = 1  # this channel is the picture itself
    unit = torch.zeros(1, 1, 28, 28)
    unit[..., :14] = 1
    picture = maps_picture(network, unit)
    rows = 1 + len(network.channels)
    assert picture.shape[0] >= rows * 60 and picture.shape[1] > 150 + 4 * 60
    second = picture[64:128, 150:]
    left, right = second[30, 10].astype(int), second[30, 50].astype(int)
    assert left.sum() > 600 > 200 > right.sum()
    assert network.training


def test_maps_picture_of_a_deep_network_leaves_layers_out():
    network = create("resnet34", 3, width=0.125, stem="small").eval()
    assert maps_picture(network, torch.rand(1, 3, 16, 16)).shape[0] < 26 * 80


def test_layer_times_name_every_layer_and_leave_no_trace():
    network = create("deepconv", 1, 3, width=0.25, norm="batch")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = layer_times(network, torch.rand(4, 1, 28, 28))
    names = [row["name"] for row in found["rows"]]
    assert names == [*network.channels, "classifier"] and found["unit"] == "ms"
    assert all(row["forward"] > 0 and row["backward"] > 0 for row in found["rows"])
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_draw_all_writes_everything_with_captions(tmp_path):
    torch.manual_seed(0)
    pictures = shades(WRONG * 3)
    network = create("deepconv", 1, 2, width=0.25)
    design = Design("deepconv", {"width": 0.25}, ("a", "b"), 1, (8, 8), "none")
    result = draw_all(Classifier(network, design, {}), pictures, tmp_path)
    captions = json.loads((tmp_path / "captions.json").read_text())
    drawn = {file.name for file in tmp_path.glob("*.png")}
    assert drawn == captions.keys() == {"wrong.png", "confusion.png", "filters.png", "maps.png"}
    assert len(result.wrong) > WRONG and captions["wrong.png"].startswith(f"{WRONG} of the ")
    assert read_image(tmp_path / "wrong.png").shape[0] > WRONG / 10 * 128
    assert json.loads((tmp_path / "layers.json").read_text())["rows"]
    assert to_unit(pictures.read(torch.tensor([1]))).max() < 0.1  # the pictures were left alone


def test_heat_and_enlarged():
    found = heat(np.array([[0.0, 0.5, 1.0]]))
    assert found[0, 0].tolist() == list(PANEL) and found[0, 2].min() > 200
    assert found.astype(int).sum(-1)[0].tolist() == sorted(found.astype(int).sum(-1)[0])
    assert enlarged(np.zeros((28, 28, 3), np.uint8), 112).shape == (112, 112, 3)
    assert enlarged(np.zeros((500, 400, 3), np.uint8), 112).shape == (500, 400, 3)
