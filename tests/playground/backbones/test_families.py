"""What each family must be: equal to torchvision's, to the book, to the published slim VGG."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from playground.backbone import ImageNetBackbone, create, to_unit
from playground.media import read_image

# From torchvision 0.29: the beginning of the SHA-256 of `names_and_shapes` of its model (GoogLeNet
# without auxiliary classifiers), and its first three logits of ten for `noise` weights and picture,
# with ImageNet's normalisation before it and, in AlexNet and VGG, a classifier of 8 units.
TORCHVISION: dict[str, tuple[str, list[float]]] = {
    "alexnet": ("23c3b8d4a3e86dc8", [-3.69684, 3.12012, -2.12498]),
    "vgg16": ("8a41c838cadbc3e0", [0.173071, -2.87102, -6.26449]),
    "vgg19": ("5319ee52249b66d1", [10.023, 11.6823, -2.54459]),
    "googlenet": ("3cf031916e017580", [4.28079, -0.123865, 3.90858]),
    "resnet18": ("66b04efc1dfd4b80", [27.6557, -94.5877, 89.1443]),
    "resnet34": ("4aa3e2bbbdc5e2fd", [-640.292, 3676.73, 4963.42]),
    "resnet50": ("614cd53ddf849669", [-3671.12, -2172.25, -381.78]),
    "squeezenet": ("65606c58925d8fe7", [0.605135, 0.0265589, 4.23354]),
    "mobilenet_v2": ("a18c560d82f6d01d", [1.22461, 1.71485, 4.7527]),
}


def noise(module: nn.Module) -> dict[str, Tensor]:
    """A state drawn from numpy's legacy generator, whose stream never changes; He's variance."""
    random = np.random.RandomState(0)
    state = {}
    for key, tensor in module.state_dict().items():
        values = torch.from_numpy(random.uniform(-1, 1, tensor.numel())).view(tensor.shape)
        if tensor.dim() > 1:
            values *= (6 / tensor[0].numel()) ** 0.5
        elif key.endswith(("running_var", "weight")):
            values = 1 + 0.3 * values
        else:
            values *= 0.1
        state[key] = values.to(tensor.dtype)
    return state


@pytest.mark.parametrize("name", TORCHVISION)
def test_keys_and_shapes_are_torchvision_s(name: str) -> None:
    with torch.device("meta"):
        state = create(name, num_classes=1000).state_dict()
    names_and_shapes = "\n".join(f"{key} {list(tensor.shape)}" for key, tensor in state.items())
    digest = hashlib.sha256(names_and_shapes.encode()).hexdigest()
    assert digest.startswith(TORCHVISION[name][0])


# VGG-16 and ResNet-34 are other numbers of the same blocks.
@pytest.mark.parametrize("name", sorted(TORCHVISION.keys() - {"vgg16", "resnet34"}))
def test_logits_are_torchvision_s(name: str) -> None:
    options = {"hidden": 8} if name in ("alexnet", "vgg16", "vgg19") else {}
    net = create(name, num_classes=10, **options).eval()
    net.load_state_dict(noise(net))
    picture = 0.5 + 0.5 * np.random.RandomState(1).uniform(-1, 1, (1, 3, 96, 128))
    with torch.no_grad():
        found = net.classify(torch.from_numpy(picture).float())[0, :3]
    torch.testing.assert_close(found, torch.tensor(TORCHVISION[name][1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", TORCHVISION)
def test_published_families_normalise_as_their_weights_want(name: str) -> None:
    net = create(name, **({"hidden": 8} if name in ("alexnet", "vgg16", "vgg19") else {}))
    assert net.mean is not None
    old = name == "googlenet"  # its weights are older than torchvision's habit
    assert isinstance(net, ImageNetBackbone) is not old
    mean, std = ((0.5,) * 3,) * 2 if old else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert net.mean.flatten().tolist() == pytest.approx(mean)
    assert net.std.flatten().tolist() == pytest.approx(std)


def test_weights_of_timm_and_of_torchvision_load(tmp_path: Path) -> None:
    vgg = create("vgg16", num_classes=10, hidden=8)
    theirs = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2",
              "classifier.6": "head.fc"}  # fmt: skip
    state = {}
    for key, tensor in vgg.state_dict().items():
        layer, _, kind = key.rpartition(".")
        state[f"{theirs.get(layer, layer)}.{kind}"] = tensor.clone()
    state["pre_logits.fc1.weight"] = state["pre_logits.fc1.weight"].view(8, 512, 7, 7)
    state["pre_logits.fc2.weight"] = state["pre_logits.fc2.weight"].view(8, 8, 1, 1)
    save_file(state, tmp_path / "timm.safetensors")
    loaded = create("vgg16", num_classes=10, hidden=8, weights=tmp_path / "timm.safetensors")
    for key, tensor in vgg.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key

    # Torchvision's old files have no counters of batches, and auxiliary classifiers.
    net = create("googlenet", num_classes=7)
    old = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    old["aux1.conv.conv.weight"] = old["aux2.fc1.bias"] = torch.zeros(3)
    torch.save(old, tmp_path / "googlenet.pth")
    again = create("googlenet", num_classes=7, weights=tmp_path / "googlenet.pth")
    assert torch.equal(again.fc.weight, net.fc.weight)


def test_vgg_names_every_convolution() -> None:
    with torch.device("meta"):
        vgg = create("vgg19")
    relus = [name for name in vgg.channels if name.startswith("relu")]
    assert relus == [f"relu{s}_{i}" for s, n in enumerate((2, 2, 4, 4, 4), 1)
                     for i in range(1, n + 1)]  # fmt: skip
    assert (vgg.channels["relu4_2"], vgg.strides["relu4_2"]) == (512, 8)
    assert (vgg.channels["relu5_1"], vgg.strides["pool5"]) == (512, 32)
    with torch.device("meta"):
        assert list(create("vgg19_slim16").channels) == list(vgg.channels)[: -1 - 6]


def test_deepconv_is_the_book_s() -> None:
    net = create("deepconv", 1, 10)
    shapes = net._shapes(28, 28)
    assert [tuple(shapes[f"pool{i}"][1:]) for i in (1, 2, 3)] == [
        (16, 14, 14), (32, 8, 8), (64, 4, 4)
    ]  # fmt: skip
    # Convolutions 16-16-32-32-64-64 on one channel, then 1024 -> 50 -> 10.
    weights = 9 * (16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 1024 * 50 + 50 * 10
    biases = 16 + 16 + 32 + 32 + 64 + 64 + 50 + 10
    assert sum(p.numel() for p in net.parameters()) == weights + biases
    for weight, fan_in in ((net.conv3_2.weight, 9 * 64), (net.classifier[2].weight, 1024)):
        assert float(weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert float(net.conv3_2.bias.detach().abs().max()) == 0
    x = torch.rand(1, 1, 28, 28)
    with torch.no_grad():
        assert any(float(logit) == 0 for _ in range(20) for logit in net.classify(x)[0])
        assert torch.equal(net.eval().classify(x), net.classify(x))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_small_stems_keep_small_pictures_large(name: str, tmp_path: Path) -> None:
    net = create(name, num_classes=3, width=0.25, stem="small")
    assert net.out_size(32, 32) == (4, 4) and net.strides[list(net.strides)[-1]] == 8
    full = create(name, num_classes=3, width=0.25)
    assert full.out_size(224, 224) == (7, 7)
    save_file(full.state_dict(), tmp_path / "w.safetensors")
    if name == "mobilenet_v2":  # its weights' shapes do not depend on the stem
        create(name, width=0.25, stem="small", weights=tmp_path / "w.safetensors")


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


SLIM = ("11", "12", "21", "22", "31", "32", "33", "34", "41", "42", "43", "44", "51")
POOLED = ("12", "22", "34", "44")  # a max-pool 2/2 follows


def reflected(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """A 3x3 convolution of the published slim networks."""
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def test_slim_vgg_is_the_fifth_encoder(tmp_path: Path) -> None:
    """Its 1x1 convolution of colours is merged into the next one; nothing else changes."""
    random = torch.Generator().manual_seed(0)
    net = create("vgg19_slim16").eval()
    state: dict[str, Tensor] = {"d5.conv51.weight": torch.zeros(1), "e4.conv11.bias": torch.ones(1)}
    for name in SLIM:
        conv = net.get_submodule(f"conv{name[0]}_{name[1]}")
        state[f"e5.conv{name}.weight"] = conv.weight.detach().clone()
        state[f"e5.conv{name}.bias"] = torch.randn(conv.bias.shape, generator=random)
    state["e5.conv11_aux.weight"] = torch.zeros(64, 16, 1, 1)
    colours = 255 * torch.randn(3, 3, generator=random)
    state["e5.conv0.weight"] = colours.view(3, 3, 1, 1)
    state["e5.conv0.bias"] = -100 * torch.rand(3, generator=random)
    save_file(state, tmp_path / "slim.safetensors")
    net = create("vgg19_slim16", weights=tmp_path / "slim.safetensors").eval()
    x = torch.rand(1, 3, 40, 56, generator=random)
    with torch.no_grad():
        found = net.features(x)
        y = F.conv2d(x, state["e5.conv0.weight"], state["e5.conv0.bias"])
        for name in SLIM:
            y = reflected(y, state, f"e5.conv{name}").relu()
            expected = found[f"relu{name[0]}_{name[1]}"]
            torch.testing.assert_close(expected, y, rtol=1e-3, atol=1e-4 * float(y.max()))
            y = F.max_pool2d(y, 2) if name in POOLED else y


def test_published_slim_vgg_can_be_decoded(data_dir: Path) -> None:
    """The decoder that was published with it makes the photo of its relu5_1 again."""
    path = data_dir / "weights/vgg19_slim16x_wct_fp16.safetensors"
    photo = data_dir / "style_transfer/content/coffee.jpg"
    if not path.is_file() or not photo.is_file():
        pytest.skip("no slim VGG, or no photo")
    state = {key: tensor.float() for key, tensor in load_file(path).items()}
    x = to_unit(torch.from_numpy(read_image(photo)[:192, :192].copy()).permute(2, 0, 1)[None])
    with torch.no_grad():
        y = create("vgg19_slim16", weights=path).eval().features(x, ["relu5_1"])["relu5_1"]
        for name in reversed(SLIM):
            y = reflected(y, state, f"d5.conv{name}")
            if name != "11":
                y = y.relu()
            if name in ("51", "41", "31", "21"):
                y = F.interpolate(y, scale_factor=2)
    psnr = -10 * (y.clamp(0, 1) - x).square().mean().log10()
    assert float(psnr) > 18  # 20.1 dB on five photos, the manifest says
