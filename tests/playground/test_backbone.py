"""One parametrised test of the contract over every family and option, and weights as files."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from playground.backbone import create, load_weights, to_unit
from playground.errors import UserError

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("nature", {}),
    ("nature", {"width": 0.5}),
    ("impala", {}),
    ("impala", {"width": 2}),
    ("impala", {"norm": "layer"}),
    ("impala", {"norm": "spectral"}),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0] + "".join(f"-{v}" for v in kind[1].values()))
def kind(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    torch.manual_seed(0)
    return request.param


@pytest.mark.parametrize(("in_channels", "height", "width"), [(4, 84, 84), (3, 45, 62)])
def test_shapes_and_strides(kind: Any, in_channels: int, height: int, width: int) -> None:
    net = create(kind[0], in_channels, **kind[1]).eval()
    x = torch.rand(2, in_channels, height, width)
    layers = net.features(x)
    assert list(layers) == list(net.channels) == list(net.strides)
    last = net(x)
    assert last.shape == (2, net.out_channels, *net.out_size(height, width))
    torch.testing.assert_close(last, list(layers.values())[-1])
    for name, layer in layers.items():
        assert layer.shape[1] == net.channels[name]
        # Sizes shrink by the stride, save what borders without padding take.
        assert abs(layer.shape[2] - height / net.strides[name]) <= 4


def test_features_stop_at_the_deepest_asked_for(kind: Any) -> None:
    net = create(kind[0], 3, **kind[1]).eval()
    x = torch.rand(1, 3, 48, 48)
    everything = net.features(x)
    names = list(net.channels)[:2]
    ran = []
    for child_name, child in net.named_children():
        child.register_forward_hook(lambda *_, name=child_name: ran.append(name))
    some = net.features(x, reversed(names))
    assert list(some) == names == ran
    for name in names:
        torch.testing.assert_close(some[name], everything[name])
    with pytest.raises(UserError, match=r"No layer 'cnv1'.*conv1"):
        net.features(x, ["cnv1"])


def test_every_parameter_gets_a_gradient(kind: Any) -> None:
    net = create(kind[0], 3, num_classes=5, **kind[1])
    logits = net.classify(torch.rand(2, 3, 48, 48))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_channels_last_agrees(kind: Any) -> None:
    net = create(kind[0], 4, **kind[1]).eval()
    x = torch.rand(2, 4, 84, 84)
    plain = net(x)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        net(x.contiguous(memory_format=torch.channels_last)), plain, rtol=1e-4, atol=1e-5
    )


def test_published_sizes() -> None:
    nature = create("nature", 4)
    assert nature.out_size(84, 84) == (7, 7) and nature.out_channels == 64
    assert sum(p.numel() for p in nature.parameters()) == 77_984  # Mnih et al. 2015, conv layers
    assert nature.strides == dict(zip(nature.channels, (4, 4, 8, 8, 8, 8), strict=True))
    impala = create("impala", 4)
    assert impala.out_size(84, 84) == (11, 11) and impala.out_channels == 32
    assert list(impala.channels.values())[:4] == [16] * 4
    assert create("impala", 4, width=2).out_channels == 64
    assert create("nature", 4, width=0.5).out_channels == 32


def test_spectral_norm_bounds_the_residual_convolutions() -> None:
    net = create("impala", 3, norm="spectral")
    with torch.no_grad():
        for _ in range(20):  # a power iteration at each forward in training mode
            net(torch.rand(1, 3, 8, 8))
    net.eval()
    for block in (m for name, m in net.named_children() if name.startswith("block")):
        for conv in (block.conv1, block.conv2):
            largest = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
            assert abs(float(largest) - 1) < 0.05
    assert not hasattr(net.conv1, "parametrizations")


def test_to_unit() -> None:
    x = torch.arange(256, dtype=torch.uint8).repeat(24).view(2, 3, 32, 32)
    y = to_unit(x)
    assert y.dtype == torch.float32 and y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, x.float() / 255)
    assert to_unit(x, torch.bfloat16).dtype == torch.bfloat16
    assert to_unit(x[:, :1]).shape == (2, 1, 32, 32)
    with pytest.raises(TypeError, match="uint8"):
        to_unit(x.float())


def test_weights_round_trip_and_foreign_weights(tmp_path: Path) -> None:
    source = create("nature", 4)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    for classes in (0, 7):  # a classifier of one's own may stand on loaded layers
        loaded = create("nature", 4, num_classes=classes, weights=tmp_path / "w.safetensors")
        assert torch.equal(loaded.conv2.weight, source.conv2.weight)
    with pytest.raises(UserError, match=r"missing: block1_1.*unexpected: conv1|shapes"):
        create("impala", 4, weights=tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"conv1.weight is \(32, 4, 8, 8\) in the file, \(32, 3"):
        create("nature", 3, weights=tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04not weights")
    for name in ("bad.safetensors", "absent.safetensors"):
        with pytest.raises(UserError, match=f"Cannot read weights from .*{name}"):
            create("nature", 4, weights=tmp_path / name)


def test_a_failed_load_changes_nothing(tmp_path: Path) -> None:
    net = create("nature", 4)
    wrong = {**net.state_dict(), "conv3.weight": torch.zeros(1)}
    save_file({k: v.clone() for k, v in wrong.items()}, tmp_path / "w.safetensors")
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(UserError):
        load_weights(net, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("natur", {}, "No backbone 'natur'.*nature"),
        ("nature", {"norm": "layer"}, "no option 'norm'"),
        ("nature", {"width": 0}, "above 0"),
        ("impala", {"width": 0.5}, "whole number"),
        ("impala", {"norm": "batch"}, "'batch'"),
        ("nature", {"in_channels": 0}, "in_channels >= 1"),
    ],
)
def test_bad_requests(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        create(name, **options)


def test_a_picture_that_is_too_small_and_a_missing_classifier() -> None:
    with pytest.raises(UserError, match="20x20 pixels are too few"):
        create("nature").out_size(20, 20)
    with pytest.raises(UserError, match="num_classes > 0"):
        create("nature").classify(torch.rand(1, 3, 48, 48))


def test_copies_and_state_are_plain() -> None:
    net = create("impala", 3, num_classes=2)
    twin = copy.deepcopy(net)
    assert isinstance(twin, nn.Module) and list(twin.state_dict()) == list(net.state_dict())
