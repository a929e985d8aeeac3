"""Learning to paint: what is minimised, what a temporal loss does, styles that are added."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from generators import painter_task
from generators.painter import Credit, load
from generators.painter_net import Held, one_hot
from generators.painter_task import PainterConfig, PainterTask, content_layers
from generators.style_easel import find_backbone
from generators.style_losses import content_loss
from playground import checkpoint
from playground.backbone import create
from playground.data import Pictures
from playground.errors import UserError
from playground.media import write_image
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

TINY = PainterConfig(
    styles="art", data="made", size=32, style_size=40, backbone="tiny", width=8, narrow=4, blocks=1,
    batch_size=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A small random network in the place of one with weights."""

    def found(name, weights, say):
        if name != "tiny":
            return find_backbone(name, weights, say)
        torch.manual_seed(0)
        return name, create("deepconv", width=0.5)

    monkeypatch.setattr(painter_task, "find_backbone", found)


def smooth(count, channels, size, seed):
    small = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(small, size, mode="bicubic").clamp(0, 1)
    return Pictures((large * 255).byte(), torch.zeros(count), ("x",))


def clips(count=8, seed=5):
    """Pairs of frames: a square that moves on what stands still."""
    still = smooth(count, 3, (28, 36), seed).read(torch.arange(count))
    pair = torch.cat([still, still], 1)
    for n in range(count):
        pair[n, :3, 4 + n : 8 + n, 6:10] = 255
        pair[n, 3:, 4 + n : 8 + n, 9:13] = 255
    return Pictures(pair, torch.zeros(count), ("x",))


@pytest.fixture
def art(tmp_path):
    files = []
    for number, name in enumerate(("blue", "red")):
        picture = smooth(1, 3, (40, 50), 10 + number).read(torch.arange(1))[0]
        picture[number * 2] //= 4
        write_image(tmp_path / "art" / f"{name}.png", picture.permute(1, 2, 0).numpy())
        files.append((Credit(name, title=name.title()), tmp_path / "art" / f"{name}.png"))
    return files


def task(art, seed=0, **settings):
    seed_everything(seed)
    sources = [smooth(8, 3, (32, 32), 1), clips()]
    held_out = [smooth(2, 3, (32, 32), 2), clips(2, 6)]
    return PainterTask(replace(TINY, **settings), art, sources, held_out, None, seed)


def train(task, tmp_path, steps, name="a", **settings):
    run = Run.create(tmp_path / "runs", "style", name, {})
    usual = {"precision": "fp32", "threads": 1, "checkpoint_minutes": None, "device": "cpu"}
    config = TrainerConfig(steps=steps, **{**usual, **settings})
    trainer = Trainer(config, task, run)
    trainer.fit()
    task.close()
    return run


def test_losses_are_what_they_are_called(art):
    """The painting of a painting's own network, taken apart."""
    made = task(art)
    pixels = clips(3).read(torch.arange(3))
    torch.manual_seed(3)
    losses = made._losses(pixels, torch.tensor([0, 1, 1]), seeded=True)
    torch.manual_seed(3)
    first, second, same = made._pair(pixels.float() / 255)
    mixture = one_hot(torch.tensor([0, 1, 1]), 2)
    canvas = painter_task.fixed_grain(28, 36)
    with torch.no_grad():
        held = Held()
        one, two = (made.network(each, mixture, canvas, held) for each in (first, second))
    still = same.expand_as(one)
    assert 0.8 < float(same.float().mean()) < 1
    assert float(losses["flicker"].detach()) == pytest.approx(
        float((one - two).abs()[still].mean()), rel=1e-4
    )
    name = made._seen.content[0]
    a, b = (made._seen.features(x)[name] for x in (one, first))
    assert float(losses["content"].detach()) == pytest.approx(
        float(content_loss(a, b).detach()), rel=1e-4
    )
    total = made._total(losses)
    weights = {"style": 1.0, "content": TINY.content_weight, "flicker": TINY.flicker_weight,
               "tone": TINY.tone_weight, "grid": TINY.grid_weight,
               "variation": TINY.variation_weight}  # fmt: skip
    expected = sum(weights[name] * float(value.detach()) for name, value in losses.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    made.close()


def test_training_brings_the_styles_nearer(art, tmp_path):
    made = task(art, flicker_weight=0.0)
    trainer_like = type("T", (), {"device": torch.device("cpu"), "stopping": False})()
    made.eval()
    before = made.evaluate(trainer_like)
    run = train(made, tmp_path, 40)
    after = made.evaluate(trainer_like)
    assert after["style"] < 0.7 * before["style"] and after["score"] > before["score"]
    painter = load(run.path)
    assert painter.styles == ("blue", "red") and painter.card["backbone"] == "tiny"
    assert painter.credits[0] == Credit("blue", "Blue")
    assert painter.card["updates"] == 40 and painter.card["figures"]["style"] > 0
    photo = smooth(1, 3, (32, 32), 2).read(torch.arange(1)) / 255
    blue, red = (painter(photo, name)[0].mean((1, 2)) for name in painter.styles)
    assert float(red[0] - red[2]) > float(blue[0] - blue[2])  # in the colours of each


def test_the_temporal_loss_calms_paintings(art, tmp_path):
    figures = {}
    for weight in (0.0, 300.0):
        made = task(art, flicker_weight=weight)
        run = train(made, tmp_path, 80, f"w{weight}")
        figures[weight] = [line for line in run.metrics() if "evaluate/flicker" in line][-1]
    # Held statistics calm both; what the loss adds is near to what moves.
    assert figures[300.0]["evaluate/flicker"] < 0.5 * figures[0.0]["evaluate/flicker"]


def test_a_style_is_added_and_nothing_else_changes(art, tmp_path):
    run = train(task(art[:1]), tmp_path, 4)
    old = load(run.path / "last.safetensors")
    grown = task(art[1:], add=str(run.path / "last.safetensors"))
    assert grown.plan.styles == ("blue", "red") and grown.plan.width == TINY.width
    added = train(grown, tmp_path, 6, "added")
    new = load(added.path / "last.safetensors")
    before, after = old.network.state_dict(), new.network.state_dict()
    changed = 0
    for name, tensor in after.items():
        if tensor.shape == before[name].shape:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor[:1], before[name]), name
            changed += int(not torch.equal(tensor[1:], before[name]))
    assert changed == len([name for name in after if "norm" in name])
    photo = smooth(1, 3, (32, 32), 2).read(torch.arange(1)) / 255
    torch.testing.assert_close(new(photo, "blue"), old(photo, "blue"))
    assert new.credits[1] == Credit("red", "Red")
    with pytest.raises(UserError, match="has a style 'blue' already"):
        task(art[:1], add=str(run.path))


def test_stopped_and_gone_on_is_the_same_bit_for_bit(art, tmp_path):
    whole = train(task(art), tmp_path, 6, "whole", ema=0.9)
    run = train(task(art), tmp_path, 3, "parts", ema=0.9)
    made = task(art)
    config = TrainerConfig(steps=6, precision="fp32", threads=1, ema=0.9, device="cpu")
    trainer = Trainer(config, made, Run.open(run.path))
    assert trainer.resume() == 3
    trainer.fit()
    made.close()
    (_, a), (_, b) = (checkpoint.load(each.path / "checkpoints") for each in (whole, run))
    assert a["modules"].keys() == b["modules"].keys()
    assert all(torch.equal(a["modules"][name], b["modules"][name]) for name in a["modules"])
    assert not any("_seen" in name or "backbone" in name for name in a["modules"])


def test_the_schedules_end_stays_unless_updates_are_asked_for(art):
    first = PainterTask(TINY, art, [clips()], [clips(2, 6)], steps=20)
    state = first.state()
    found = []
    for updates, kept in ((TINY.updates, state), (30, state), (TINY.updates, {})):
        other = PainterTask(replace(TINY, updates=updates), art, [clips()], [clips(2, 6)])
        other.load_state({"order": 0, "figures": {}, **kept})
        found.append(other.horizon)
        other.close()
    first.close()
    assert found == [20, 30, TINY.updates]


def test_styles_are_measured_with_all_digits_whatever_the_precision(art):
    """A run that goes on measures them within its first update, under autocast."""
    one, two = task(art), task(art)
    expected = one.targets(torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        found = two.targets(torch.device("cpu"))
    for losses, others in zip(expected.losses, found.losses, strict=True):
        for name, loss in losses.items():
            assert torch.equal(loss.root, others[name].root), name
    one.close()
    two.close()


def test_an_update_that_is_not_finite_is_skipped(art, tmp_path):
    made = task(art)
    pair = made._pair

    def spoilt(unit):
        return pair(unit * math.nan if made.progress == 1 else unit)

    made._pair = spoilt
    run = train(made, tmp_path, 3, log_every=1)
    skipped = [line.get("skipped_updates", 0) for line in run.metrics() if "per_second" in line]
    assert skipped == [0, 1, 1]


def test_fp64_trains_and_paints(art, tmp_path):
    made = task(art)
    run = train(made, tmp_path, 2, precision="fp64", ema=0.9)
    assert made.network.out.weight.dtype == torch.float64
    assert math.isfinite([line for line in run.metrics() if "loss" in line][-1]["loss"])
    assert load(run.path).card["updates"] == 2


def test_panels_show_held_out_pictures_in_every_style(art):
    made = task(art)
    frames = list(made.frames())
    made.close()
    assert [frame.text for frame in frames] == ["blue", "blue", "red", "red"]
    assert {frame.pixels.shape for frame in frames} == {(32, 32, 3), (28, 36, 3)}


def test_a_run_keeps_its_paintings(art, tmp_path):
    run = train(task(art), tmp_path, 1)
    assert Run.open(run.path).settings["styles"] == ["blue", "red"]
    other = task(art[:1])
    with pytest.raises(UserError, match=r"does not hold the paintings that .* was begun with"):
        other.attach(Run.open(run.path))
    other.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 8}, "--size starts at 16"),
        ({"batch_size": 0}, "--batch-size must be above 0"),
        ({"learning_rate": math.inf}, "--learning-rate must be above 0"),
        ({"flicker_weight": -1.0}, "--flicker-weight must not be negative"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(TINY, **settings).check()


def test_content_is_held_at_a_shallow_and_a_deep_layer():
    assert content_layers(create("vgg19_slim16")) == ("relu2_1", "relu4_1")
    assert content_layers(create("nature")) == ()
