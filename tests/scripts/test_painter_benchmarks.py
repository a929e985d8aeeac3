"""The painters' benchmarks: the other network is the published one, and what is judged is true."""

import sys

import numpy as np
import pytest
import torch

from generators.painter import Painter
from generators.painter_data import painting_of
from generators.painter_losses import StyleTargets
from generators.painter_net import Plan
from generators.style_losses import StyleNetwork
from playground.backbone import create
from playground.errors import UserError
from playground.media import write_image
from scripts.benchmarks import painter_flicker, painter_speed

PLAN = Plan(("blue", "red"), 4, 4, 1)


def painter(seed):
    torch.manual_seed(seed)
    return Painter(PLAN.build(), PLAN, {})


def test_the_examples_network_is_the_published_one():
    network = painter_speed.example()
    assert sum(p.numel() for p in network.parameters()) == 1_679_235
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)
    found = painter_speed.through_example(network, frames, torch.device("cpu"))
    assert found.shape == frames.shape and found.dtype == np.uint8


def test_speed_is_measured_and_told(monkeypatch, capsys, tmp_path):
    painter(0).save(tmp_path / "a.safetensors")
    line = f"painter_speed.py --size 32x24 --seconds 0 --painter {tmp_path / 'a.safetensors'}"
    monkeypatch.setattr(sys, "argv", line.split())
    assert painter_speed.main() == 0
    out = capsys.readouterr().out
    assert "| ours | 24x32 |" in out and "| example, channels_last |" in out
    with pytest.raises(UserError, match="HEIGHTxWIDTH"):
        painter_speed.sides("210")


def film(frames, seed=0):
    """Noise on which a square wanders."""
    first = np.random.default_rng(seed).integers(0, 256, (48, 80, 3), np.uint8)
    found = []
    for at in range(frames):
        frame = first.copy()
        frame[4:8, at % 16 : at % 16 + 4] ^= 255
        found.append(frame)
    return found


def test_flicker_and_style_are_judged_on_films(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(painter_flicker, "WARM", 2)
    network = StyleNetwork(create("deepconv", width=0.25), pixels=True)
    targets = StyleTargets(network, [torch.rand(1, 3, 24, 24) for _ in range(2)], "gram")
    one, frames = painter(1), film(5)
    found, style = painter_flicker.judge(one, ["blue", "red"], [frames], targets)
    expected = []
    for name in PLAN.styles:
        paintings = [one.paint(frame, one.mixture(name)).astype(float) for frame in frames]
        for i in range(2, 5):
            still = (frames[i] == frames[i - 1]).all(2)
            expected.append(np.abs(paintings[i] - paintings[i - 1])[still].mean())
    assert found["alone"] == pytest.approx(np.mean(expected), rel=1e-6) and style > 0
    assert 0 < found["film"] < found["held"] < found["alone"]

    monkeypatch.setattr(painter_flicker, "films", lambda game, count: [film(4)] * count)
    for number, name in enumerate(PLAN.styles):
        picture = np.random.default_rng(number).integers(0, 256, (30, 30, 3), np.uint8)
        write_image(tmp_path / "art" / f"{name}.png", picture)
    one.save(tmp_path / "a.safetensors")
    painter(2).save(tmp_path / "b.safetensors")
    backbone = create("deepconv", width=0.25)
    monkeypatch.setattr(painter_flicker, "find_backbone", lambda *_: ("tiny", backbone))
    line = f"x --painter {tmp_path}/a.safetensors --without {tmp_path}/b.safetensors --styles "
    monkeypatch.setattr(sys, "argv", [*line.split(), str(tmp_path / "art"), "--games", "pong"])
    assert painter_flicker.main() == 1  # two drawn networks: nothing is ten times calmer
    out = capsys.readouterr().out
    assert "| pong |" in out and "freeway (not seen)" in out and "all that were learned" in out
    assert painting_of(tmp_path / "art" / "red.png", 16).shape == (1, 3, 16, 16)


def test_films_are_of_moving_games():
    (found,) = painter_flicker.films("pong", 1)
    assert len(found) == painter_flicker.FRAMES and found[0].shape == (210, 160, 3)
    assert all((a != b).any() for a, b in zip(found[::8], found[8::8], strict=False))
