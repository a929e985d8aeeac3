"""One parametrised test of the contract over every family and option, and weights as files."""

import copy
import functools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from playground.backbone import Backbone, create, families, to_unit
from playground.errors import UserError
from playground.weights import load_weights, of_channels

Kind = tuple[str, dict[str, Any]]

# AlexNet's and VGG's classifiers of 4096 units would take most of the time, and tell nothing more.
SMALL_HEAD = {"hidden": 16}
KINDS: list[Kind] = [
    ("nature", {}),
    ("nature", {"width": 0.5}),
    ("nature", {"norm": "layer"}),
    ("impala", {}),
    ("impala", {"width": 2}),
    ("impala", {"norm": "layer"}),
    ("impala", {"norm": "spectral"}),
    ("deepconv", {}),
    ("deepconv", {"width": 0.5, "norm": "batch", "dropout": 0.0}),
    ("alexnet", SMALL_HEAD),
    ("vgg16", SMALL_HEAD),
    ("vgg19", SMALL_HEAD),
    ("vgg19_slim16", {}),
    ("googlenet", {}),
    ("resnet18", {}),
    ("resnet18", {"width": 0.25, "stem": "small"}),
    ("resnet34", {}),
    ("resnet50", {}),
    ("squeezenet", {}),
    ("mobilenet_v2", {}),
    ("mobilenet_v2", {"width": 0.5, "stem": "small"}),
    ("arcade", {}),
    ("dcgan", {}),
    ("dcgan", {"width": 0.5, "depth": 3, "norm": "spectral"}),
    ("dcgan", {"width": 0.25, "depth": 5, "norm": None}),
]
CLASSES = 5
# One of each make: the others are longer, of the same modules.
TRACED = [KINDS[i] for i in (2, 6, 8, 9, 12, 15, 18, 21, 22)]


@functools.cache
def shared(index: int) -> Backbone:
    """KINDS[index] for RGB with a classifier, in evaluation mode: made once, not to be changed."""
    torch.manual_seed(0)
    name, options = KINDS[index]
    return create(name, 3, CLASSES, **options).eval()


@pytest.fixture(params=range(len(KINDS)), ids=lambda i: "-".join(map(str, (
    KINDS[i][0], *(v for k, v in KINDS[i][1].items() if k != "hidden")))))  # fmt: skip
def index(request: pytest.FixtureRequest) -> int:
    torch.manual_seed(1)
    return request.param


@pytest.fixture
def net(index: int) -> Backbone:
    return shared(index)


def without_numbers(index: int, in_channels: int) -> Backbone:
    """KINDS[index] for other pictures, on PyTorch's meta device: shapes without computing."""
    name, options = KINDS[index]
    with torch.device("meta"):
        return create(name, in_channels, **options).eval()


def test_every_family_is_here() -> None:
    assert {name for name, _ in KINDS} == set(families())


def test_shapes_and_strides(index: int) -> None:
    in_channels, height, width = 4, 69, 94
    net = without_numbers(index, in_channels)
    x = torch.rand(2, in_channels, height, width, device="meta")
    layers = net.features(x)
    assert list(layers) == list(net.channels) == list(net.strides)
    last = net(x)
    assert last.shape == (2, net.out_channels, *net.out_size(height, width))
    assert last.shape == list(layers.values())[-1].shape
    for name, layer in layers.items():
        assert layer.shape[1] == net.channels[name]
        # Sizes shrink by the stride, save what borders without padding take.
        assert abs(layer.shape[2] - height / net.strides[name]) <= 4


def test_features_stop_at_the_deepest_asked_for(net: Backbone) -> None:
    x = torch.rand(1, 3, 64, 72)
    with torch.no_grad():
        everything = net.features(x)
        assert torch.equal(everything[list(net.channels)[-1]], net(x))
        names = list(net.channels)[:4:3]
        ran: list[str] = []
        hooks = [
            child.register_forward_hook(lambda *_, name=child_name: ran.append(name))
            for child_name, child in net.named_children()
        ]
        some = net.features(x, reversed(names))
        for hook in hooks:
            hook.remove()
    assert list(some) == names
    assert ran == list(net.channels)[:4]
    for name in names:
        assert torch.equal(some[name], everything[name])
    with pytest.raises(UserError, match=r"No layer 'cnv1'"):
        net.features(x, ["cnv1"])


def test_every_parameter_gets_a_gradient(index: int) -> None:
    net = copy.deepcopy(shared(index)).train()
    logits = net.classify(torch.rand(2, 3, 64, 72))
    assert logits.shape == (2, CLASSES)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_layouts_copies_and_pickles_agree(net: Backbone) -> None:
    x = torch.rand(2, 3, 64, 72)
    with torch.no_grad():
        plain = net.classify(x)
        twin = copy.deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        other = twin.classify(x.contiguous(memory_format=torch.channels_last))
        scale = float(plain.abs().max())
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5 * scale)
        if not any(map(nn.utils.parametrize.is_parametrized, net.modules())):  # PyTorch refuses
            again = pickle.loads(pickle.dumps(net))
            assert torch.equal(again.classify(x), plain)
            assert list(again.state_dict()) == list(net.state_dict())
        next(twin.parameters()).fill_(7)
    assert (next(net.parameters()) != 7).all()  # a copy shares nothing


def compiled_agrees(index: int) -> None:
    torch._dynamo.reset()
    x = torch.rand(1, 3, 64, 72)
    # Tracing without generating code: what may fail in a family, at a fraction of the time.
    compiled = torch.compile(shared(index).classify, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), shared(index).classify(x))


@pytest.mark.parametrize("kind", TRACED, ids=lambda kind: kind[0])
def test_compiled_agrees(kind: Kind) -> None:
    compiled_agrees(KINDS.index(kind))


@pytest.mark.slow
def test_every_kind_compiled_agrees(index: int) -> None:
    compiled_agrees(index)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepconv", "squeezenet"])
def test_compiled_to_machine_code_agrees(name: str) -> None:
    torch._dynamo.reset()
    net = create(name, num_classes=CLASSES).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.compile(net.classify)(x), net.classify(x), rtol=1e-3, atol=1e-4
        )


def test_half_precision(net: Backbone) -> None:
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = {"autocast": net(x)}
        half = copy.deepcopy(net)
        for dtype in (torch.float16, torch.bfloat16):
            half.to(dtype)
            rough[str(dtype)] = half(x)  # as floats of 32 bits: cast inside
            assert rough[str(dtype)].dtype == dtype
        assert half.classify(x.bfloat16()).dtype == torch.bfloat16
    for how, found in rough.items():
        error = (found.float() - exact).norm() / exact.norm()
        # Random weights magnify rounding, MobileNetV2's most: 0.02 and 0.15 at width 0.5.
        assert error < (0.04 if how == "torch.float16" else 0.3), how


def test_freezing(index: int) -> None:
    net = copy.deepcopy(shared(index))
    names = list(net.channels)
    upto = names[len(names) // 2]
    net.freeze(upto)
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.classify(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    still = True
    for name, stage in net.stages():
        changed = [
            not torch.equal(before_p, after_p)
            for before_p, after_p in zip(
                dict(shared(index).stages())[name].state_dict().values(),
                stage.state_dict().values(),
                strict=True,
            )
        ]
        if still:
            assert not any(changed) and not stage.training, name
            assert all(p.grad is None for p in stage.parameters())
        elif changed:
            assert any(changed) and stage.training, name
        still = still and name != upto
    assert all(p.requires_grad for p in net.head_parameters())
    twin = copy.deepcopy(net).train()
    assert not next(stage for _, stage in twin.stages()).training  # frozen as its model
    net.freeze(None)
    assert all(p.requires_grad for p in net.parameters())
    assert all(module.training for module in net.train().modules())
    with pytest.raises(UserError, match="No layer 'head'"):
        net.freeze("head")


def test_layer_groups_hold_every_parameter_once(net: Backbone) -> None:
    groups = net.layer_groups()
    grouped = [id(p) for _, parameters in groups for p in parameters]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
    *layers, (last, head) = groups
    names = list(net.channels)
    assert [names.index(name) for name, _ in layers] == sorted(names.index(n) for n, _ in layers)
    assert last == net.HEAD and len(head) >= 2
    assert [id(p) for p in head] == [id(p) for p in net.head_parameters()]
    assert all(parameters for _, parameters in groups)


def test_state_travels_through_a_file(index: int, tmp_path: Path) -> None:
    (name, options), x = KINDS[index], torch.rand(1, 3, 64, 64)
    source = copy.deepcopy(shared(index))
    if source.mean is not None:  # of one channel they are averages: let them be the same
        source.mean.fill_(source.mean.mean())
        source.std.fill_(source.std.mean())
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    # For grey pictures and other classes: the first layer is adapted, the head is new.
    grey = create(name, 1, 3, weights=tmp_path / "w.safetensors", **options).eval()
    first = [next(iter(source.channels))]
    with torch.no_grad():
        (found,) = grey.features(x[:, :1], first).values()
        (expected,) = source.features(x[:, :1].expand(-1, 3, -1, -1), first).values()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert grey.classify(x[:, :1]).shape == (1, 3)
    # The rest is the same; and as part of another module it is the same state.
    outer = nn.Sequential(grey)
    assert list(outer.state_dict()) == [f"0.{key}" for key in source.state_dict()]
    for theirs, ours in zip(source.parameters(), grey.parameters(), strict=True):
        assert theirs.shape != ours.shape or torch.equal(theirs, ours)


def test_state_has_torchvision_s_keys_and_the_layers_names() -> None:
    source = create("squeezenet", num_classes=2)
    assert {key.split(".")[0] for key in source.state_dict()} == {"features", "classifier"}
    own = dict(source.named_parameters())
    assert {key.split(".")[0] for key in own} > {"conv1", "fire2", "fire9", "classifier"}
    for state in (own, source.state_dict()):
        outer = nn.ModuleDict({"net": create("squeezenet", num_classes=2)})
        outer.load_state_dict({f"net.{key}": value for key, value in state.items()})
        assert torch.equal(outer["net"].fire2.squeeze.weight, source.fire2.squeeze.weight)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():  # by name, without touching the module
        found = torch.func.functional_call(source.eval(), {k: v * 0 for k, v in own.items()}, x)
    assert not found.any()


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


def test_the_nature_trunk_is_normalised_before_each_relu() -> None:
    torch.manual_seed(0)
    net = create("nature", 4, norm="layer", width=0.5)
    names = [f"{kind}{k}" for k in (1, 2, 3) for kind in ("conv", "norm", "relu")]
    assert list(net.channels) == names and net.channels["norm2"] == 32
    layers = net.features(torch.rand(2, 4, 84, 84))
    for k in (1, 2, 3):
        x = layers[f"conv{k}"]
        expected = nn.functional.layer_norm(x, x.shape[1:])
        torch.testing.assert_close(layers[f"norm{k}"], expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(layers[f"relu{k}"], layers[f"norm{k}"].relu())
    groups = {name: len(parameters) for name, parameters in net.layer_groups()}
    assert groups == {"conv1": 4, "conv2": 4, "conv3": 4}  # each norm learns with its convolution


def test_without_a_norm_the_nature_trunk_is_what_it_was() -> None:
    """The keys of the files that ship, and the same draws: no trace of the option."""
    torch.manual_seed(0)
    net = create("nature", 4)
    torch.manual_seed(0)
    plain = [nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3)]
    assert list(net.state_dict()) == [f"conv{k}.{x}" for k in (1, 2, 3) for x in ("weight", "bias")]
    for k, convolution in enumerate(plain, start=1):
        assert torch.equal(net.get_parameter(f"conv{k}.weight"), convolution.weight)


def test_to_unit() -> None:
    x = torch.arange(256, dtype=torch.uint8).repeat(24).view(2, 3, 32, 32)
    y = to_unit(x)
    assert y.dtype == torch.float32 and y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, x.float() / 255)
    assert to_unit(x, torch.bfloat16).dtype == torch.bfloat16
    assert to_unit(x[:, :1]).shape == (2, 1, 32, 32)
    with pytest.raises(TypeError, match="uint8"):
        to_unit(x.float())
    with pytest.raises(TypeError, match="to_unit"):
        create("nature")(x)


def test_other_channels_see_what_rgb_saw() -> None:
    weight = torch.randn(8, 3, 5, 5)
    grey = torch.rand(2, 1, 16, 16)
    expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight)
    for channels in (1, 3, 6, 9):
        found = nn.functional.conv2d(
            grey.expand(-1, channels, -1, -1), of_channels(weight, channels)
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(of_channels(weight, 4)[:, 3], weight[:, 0] * 3 / 4)


def test_foreign_weights(tmp_path: Path) -> None:
    source = create("nature", 4)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"missing: block1_1.*unexpected: conv1|shapes"):
        create("impala", 4, weights=tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"conv1.weight is \(32, 4, 8, 8\) in the file, \(32, 3"):
        create("nature", 3, weights=tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"missing: features.0.weight.*and 46 more; unexpected: conv1.bias"
    ):
        create("squeezenet", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("wrong", [torch.zeros(1), torch.full((64, 64, 3, 3), float("nan"))])
def test_a_failed_load_changes_nothing(tmp_path: Path, wrong: torch.Tensor) -> None:
    net = create("nature", 4)
    state = {key: tensor.clone() + 1 for key, tensor in net.state_dict().items()}
    save_file({**state, "conv3.weight": wrong}, tmp_path / "w.safetensors")
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(UserError, match=r"conv3.weight (are no finite|is \(1,\))"):
        load_weights(net, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("natur", {}, "No backbone 'natur'.*nature"),
        ("alexnet", {"norm": "layer"}, "no option 'norm'"),
        ("nature", {"norm": "spectral"}, "none or 'layer' here, not 'spectral'"),
        ("nature", {"width": 0}, "above 0"),
        ("nature", {"width": "a"}, "width must be above 0, not a"),
        ("arcade", {"width": float("inf")}, "above 0, not inf"),
        ("impala", {"width": "x"}, "above 0, not x"),
        ("impala", {"width": 1.5}, "whole number from 1, not 1.5"),
        ("mobilenet_v2", {"width": True}, "above 0, not True"),
        ("deepconv", {"dropout": "x"}, "a share from 0 to below 1, not x"),
        ("vgg16", {"num_classes": 2, "hidden": 1.5}, "whole number from 1, not 1.5"),
        ("impala", {"width": 0.5}, "whole number"),
        ("impala", {"norm": "batch"}, "'batch'"),
        ("nature", {"in_channels": 0}, "in_channels >= 1"),
        ("deepconv", {"width": -1}, "above 0"),
        ("deepconv", {"norm": "layer"}, "'layer'"),
        ("deepconv", {"dropout": 1}, "below 1"),
        ("vgg16", {"num_classes": 2, "hidden": 0}, "hidden must be above 0, not 0"),
        ("resnet18", {"width": 0}, "above 0"),
        ("resnet18", {"stem": "tiny"}, "'tiny'"),
        ("mobilenet_v2", {"width": 0}, "above 0"),
        ("mobilenet_v2", {"stem": "tiny"}, "'tiny'"),
        ("dcgan", {"width": 0}, "above 0"),
        ("dcgan", {"depth": 0}, "whole number from 1 to 8, not 0"),
        ("dcgan", {"depth": 2.5}, "whole number from 1 to 8, not 2.5"),
        ("dcgan", {"norm": "layer"}, "none or 'batch' or 'spectral' here, not 'layer'"),
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
