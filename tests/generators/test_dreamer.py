"""Trained generators: the same dream for the same seed, walks, classes, files and broken ones."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from generators import dreamer as dreamers
from generators.dreamer import FORMAT, KEY, Dreamer, Plan, as_often, copied, draw, load, slerp
from playground.errors import UserError
from playground.run import Run

PLAN = Plan(32, 3, 8, 4, ("pong", "breakout", "seaquest"), True)
CARD = {"updates": 7, "data": "atari:pong,breakout,seaquest"}


def made(plan: Plan = PLAN, seed: int = 0) -> Dreamer:
    """A generator with weights large enough that its pictures differ."""
    torch.manual_seed(seed)
    network = plan.build()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return Dreamer(network.eval(), plan, dict(CARD))


@pytest.fixture(scope="module")
def dreamer() -> Dreamer:
    return made()


@pytest.fixture(scope="module")
def plain() -> Dreamer:
    """The paper's: it knows no classes."""
    return made(replace(PLAN, classes=(), modulated=False, channels=1))


# dreams


def test_the_same_seed_is_the_same_dream(dreamer):
    first = dreamer.sample(5, 3)
    assert first.shape == (5, 3, 32, 32) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1
    before = torch.get_rng_state()
    assert torch.equal(dreamer.sample(5, 3), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(dreamer.sample(5, 4), first)
    assert (first[0] - first[1]).abs().mean() > 1e-3  # each its own
    assert not first.requires_grad and not first.is_inference()  # may be painted, or learned from


def test_a_dream_does_not_depend_on_its_batch(dreamer, monkeypatch):
    whole = dreamer.sample(10, 1)
    monkeypatch.setattr(dreamers, "BATCH", 3)
    torch.testing.assert_close(dreamer.sample(10, 1), whole)
    assert torch.equal(
        torch.cat(list(dreamer.stream(10, 2))), torch.cat(list(dreamer.stream(10, 2)))
    )


def test_a_class_by_name_by_number_and_by_tensor(dreamer):
    named = dreamer.sample(4, 1, "breakout")
    assert torch.equal(dreamer.sample(4, 1, 1), named)
    assert torch.equal(dreamer.sample(4, 1, torch.full((4,), 1)), named)
    assert not torch.equal(dreamer.sample(4, 1, "pong"), named)
    drawn = dreamer.sample(64, 1)
    each = [dreamer.sample(64, 1, name) for name in dreamer.classes]
    of = [
        [torch.allclose(d, e, atol=1e-5) for e in some]
        for d, *some in zip(drawn, *each, strict=True)
    ]
    assert all(sum(which) == 1 for which in of) and all(
        any(column) for column in zip(*of, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((1, 0, "brekout"), r"dreams no 'brekout'\. Did you mean 'breakout'\? It knows pong, br"),
        ((1, 0, 3), "numbered 0 to 2, not 3"),
        ((1, 0, -1), "numbered 0 to 2, not -1"),
        ((2, 0, torch.tensor([0, 3])), "Labels of 2 dreams are 2 numbers from 0 to 2"),
        ((2, 0, torch.tensor([0])), "Labels of 2 dreams are 2 numbers from 0 to 2"),
        ((0,), "starts at 1, not 0"),
        ((1, 0, None, 0.0), "--truncation must be above 0, not 0"),
        ((1, 0, None, math.nan), "--truncation must be above 0"),
    ],
)
def test_what_it_cannot_dream(dreamer, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        dreamer.sample(*arguments)


def test_without_classes(plain):
    assert plain.sample(3).shape == (3, 1, 32, 32)
    assert plain.labels_in_turn(3) is None
    with pytest.raises(UserError, match="knows no classes"):
        plain.sample(1, 0, "pong")


def test_a_stream_holds_all_classes_alike(dreamer):
    assert dreamer.labels_in_turn(7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    parts = list(dreamer.stream(70, 0))
    assert [len(part) for part in parts] == [64, 6]


def test_a_stream_holds_classes_as_asked(dreamer):
    asked = as_often(torch.tensor([2, 0, 2, 2, 0, 2]), 90)
    assert asked.bincount().tolist() == [30, 0, 60] and asked[:60].unique().tolist() == [0, 2]
    dreams = torch.cat(list(dreamer.stream(90, 5, asked)))
    noise = dreamer._noise(64, torch.Generator().manual_seed(5))
    assert torch.equal(dreams[:64], dreamer._draw(noise, asked[:64]))


# kinds


def kinds_of(dreams: torch.Tensor) -> list[float]:
    """Shares of dreams by the brightness of their ground, of which there are tenths."""
    tenths = (dreams.mean((1, 2, 3)) * 10).round().long()
    return (torch.bincount(tenths, minlength=11) / len(dreams)).tolist()


def flat(classes: tuple[str, ...], shares: tuple[float, ...]) -> Dreamer:
    """Kind k's dreams are all of (k + 1) tenths of white."""
    plan = replace(PLAN, classes=classes, grounds=True, shares=shares)
    found = made(plan)
    tenths = (torch.arange(1, 1 + len(shares)) * 25.5).round().byte()
    with torch.no_grad():
        found.network.last.weight.zero_()
        found.network.draw_on(tenths.view(-1, 1, 1, 1).expand(-1, 3, 32, 32))
    return found


def test_kinds_as_often_as_their_shares(tmp_path):
    shares = (0.5, 0.5, 0.0, 0.1, 0.9, 0.0)
    two = flat(("pong", "breakout"), shares)
    two.save(tmp_path / "two.safetensors")
    for dreamer in (two, load(tmp_path / "two.safetensors")):
        assert dreamer.plan.labels == 6
        for number, name in enumerate(dreamer.classes):
            found = kinds_of(dreamer.sample(2000, 1, name))
            at = slice(1 + 3 * number, 4 + 3 * number)
            assert sum(found[at]) == pytest.approx(1)
            assert found[at] == pytest.approx(shares[at.start - 1 : at.stop - 1], abs=0.05)
        whole = kinds_of(torch.cat(list(dreamer.stream(4000, 1))))[1:7]
        assert whole == pytest.approx([share / 2 for share in shares], abs=0.03)


def test_kinds_without_classes():
    dreamer = flat((), (0.25, 0.75))
    assert dreamer.labels_in_turn(5) is None
    for dreams in (dreamer.sample(2000, 1), torch.cat(list(dreamer.stream(2000, 1)))):
        assert kinds_of(dreams)[1:3] == pytest.approx([0.25, 0.75], abs=0.05)
    way = torch.stack(list(dreamer.walk(8, 6, seed=1))).mean((1, 2, 3))
    assert way.min() == pytest.approx(26 / 255) and way.max() == pytest.approx(51 / 255)
    assert (way - way.roll(1)).abs().max() < 0.02  # from kind to kind by and by
    with pytest.raises(UserError, match="knows no classes"):
        dreamer.sample(1, 0, 1)


# latent numbers


def test_truncation_bounds_the_latent_numbers():
    def numbers(truncation: float | None) -> torch.Tensor:
        return draw((400, 50), "normal", torch.Generator().manual_seed(0), truncation)

    for bound in (0.3, 1.0, 2.0):
        found = numbers(bound)
        assert found.dtype == torch.float32
        assert 0.98 * bound < found.abs().max() <= bound
        # The variance of a normal distribution cut off at ±b.
        density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))
        assert float(found.var()) == pytest.approx(variance, rel=0.05)
    assert float(numbers(20.0).std()) == pytest.approx(1, abs=0.02)
    assert float(numbers(None).abs().max()) > 3


@pytest.mark.parametrize("truncation, reach", [(None, 1.0), (3.0, 1.0), (0.4, 0.4)])
def test_uniform_latent_numbers(truncation, reach):
    found = draw((400, 50), "uniform", torch.Generator().manual_seed(0), truncation)
    assert 0.999 * reach < found.abs().max() <= reach
    assert float(found.var()) == pytest.approx(reach**2 / 3, rel=0.02)


def test_truncated_dreams_are_more_alike(dreamer):
    free, near = (dreamer.sample(32, 0, "pong", t).std(0).mean() for t in (None, 0.2))
    assert near < 0.5 * free


def test_slerp_by_hand():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    third = slerp(a, b, 1 / 3)
    torch.testing.assert_close(third, torch.tensor([[math.cos(math.pi / 6), 0.5]]))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b, rtol=0, atol=1e-6)
    torch.testing.assert_close(slerp(a, a, 0.3), a)  # no angle: a line
    assert slerp(a, -a, 0.5).isfinite().all()
    x, y = torch.randn(2, 5, 100, generator=torch.Generator().manual_seed(0))
    norms = torch.stack([slerp(x, y, t).norm(dim=1) for t in (0.25, 0.5, 0.75)])
    assert (norms > 0.9 * torch.minimum(x.norm(dim=1), y.norm(dim=1))).all()


# walks


def test_a_walk_loops_and_its_neighbours_are_near(dreamer):
    pictures = torch.stack(list(dreamer.walk(8, 3, seed=5)))
    assert pictures.shape == (24, 3, 32, 32)
    apart = (pictures - pictures.roll(-1, 0)).abs().mean((1, 2, 3))  # the last one's to the first
    stops = pictures[::8]
    far = (stops - stops.roll(-1, 0)).abs().mean((1, 2, 3))
    assert apart.max() < 0.5 * far.min()
    torch.testing.assert_close(stops, dreamer.sample(3, 5), rtol=1e-4, atol=1e-5)


def test_a_walk_within_a_class_and_without_classes(dreamer, plain):
    one = torch.stack(list(dreamer.walk(2, 2, 1, "pong")))
    torch.testing.assert_close(one[::2], dreamer.sample(2, 1, "pong"), rtol=1e-4, atol=1e-5)
    assert len(list(plain.walk(3, 2))) == 6
    free, near = (
        torch.stack(list(dreamer.walk(1, 9, 1, "pong", t))).std(0).mean() for t in (None, 0.2)
    )
    assert near < free


@pytest.mark.parametrize(("steps", "stops"), [(0, 2), (1, 1)])
def test_a_walk_needs_two_stops(dreamer, steps, stops):
    with pytest.raises(UserError, match="two stops"):
        next(dreamer.walk(steps, stops))


# statistics


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, classes=(), modulated=False)])
def test_measured_statistics_are_those_of_the_weights(plan):
    found = made(plan)
    norms = [m for m in found.network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [p.clone() for p in found.network.parameters()]
    found.measure(4, seed=9)
    assert not found.network.training and [n.momentum for n in norms] == [0.1] * len(norms)
    assert all(torch.equal(a, b) for a, b in zip(before, found.network.parameters(), strict=True))
    again = [n.running_mean.clone() for n in norms]
    with torch.no_grad():
        for n in norms:
            n.running_mean.fill_(1e3)  # what was there does not matter
    found.measure(4, seed=9)
    assert all(torch.equal(a, n.running_mean) for a, n in zip(again, norms, strict=True))
    # By hand, for the first one: its input is a function of the weights alone.
    seen: list[torch.Tensor] = []
    hook = found.network.first.register_forward_hook(lambda *args: seen.append(args[2]))
    list(found.stream(4 * dreamers.BATCH, 9))
    hook.remove()
    mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(norms[0].running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norms[0].running_var, variance, rtol=1e-4, atol=1e-5)


def test_a_copy_is_apart():
    network = PLAN.build()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    other = copied(PLAN, network)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training and not other.training
    with torch.no_grad():
        other.last.weight.zero_()
    assert network.last.weight.any()


# files


def test_a_file_holds_all(dreamer, tmp_path):
    dreamer.save(tmp_path / "a.safetensors")
    before = torch.get_rng_state()
    found = load(tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.plan, found.card, found.classes) == (PLAN, CARD, PLAN.classes)
    assert not found.network.training
    for name, tensor in found.network.state_dict().items():
        own = dreamer.network.state_dict()[name]
        expected = own.half().float() if own.dim() > 1 else own  # statistics are kept whole
        assert torch.equal(tensor, expected), name
    difference = (found.sample(16, 1) - dreamer.sample(16, 1)).abs()
    assert difference.max() < 0.02
    found.save(tmp_path / "b.safetensors")  # nothing is lost a second time
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_large_statistics_survive(tmp_path):
    large = made()
    with torch.no_grad():
        large.network.norms[0].norm.running_var.fill_(1e6)  # more than fp16 holds
    large.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").sample(1).isfinite().all()


def spoilt(dreamer: Dreamer, path: Path, **changes: Any) -> Path:
    """A file whose metadata name other things."""
    dreamer.save(path)
    about = {"format": FORMAT, "plan": {**vars(PLAN), "classes": list(PLAN.classes)}, "card": CARD}
    plan = {**about["plan"], **changes.pop("plan", {})}
    text = json.dumps({**about, "plan": plan, **changes})
    save_file(load_file(path), path, {KEY: text})
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "update the playground"),
        ({"plan": {"size": 64}}, "does not fit the network"),
        ({"plan": {"size": 48}}, "48"),
        ({"plan": {"width": 5}}, "does not fit"),
        ({"plan": {"width": -1}}, "damaged"),
        ({"plan": {"width": 10**40}}, "damaged"),
        ({"plan": {"latent": "eight"}}, "damaged"),
        ({"plan": {"latent": 10**12}}, "damaged"),
        ({"plan": {"classes": None}}, "damaged"),
        ({"plan": {"depth": 3}}, "damaged"),
        ({"plan": {"classes": [], "modulated": False}}, "does not fit"),
        ({"plan": {"modulated": False}}, "--modulated"),
        ({"plan": {"grounds": "no"}}, "damaged"),
        ({"plan": {"shares": [0.5, 0.5, 1.0]}}, "damaged"),
        ({"plan": {"shares": [2.0, 1.0, 1.0]}}, "damaged"),
        ({"plan": {"shares": [math.nan, 1.0, 1.0]}}, "damaged"),
        ({"plan": {"shares": [1.0, 1.0]}}, "damaged"),
        ({"plan": {"shares": "111"}}, "damaged"),
        ({"card": 5}, "damaged"),
        ({"card": None}, "damaged"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_foreign_metadata(dreamer, tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        load(spoilt(dreamer, tmp_path / "a.safetensors", **changes))
    assert "\n" not in str(caught.value)


def test_damaged_files(dreamer, tmp_path):
    path = tmp_path / "a.safetensors"
    dreamer.save(path)
    tensors, whole = load_file(path), path.read_bytes()
    for damaged in (b"", b"no weights", whole[:100], whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            load(path)
    save_file(tensors, path)
    with pytest.raises(UserError, match="holds no generator of this playground"):
        load(path)
    save_file(tensors, path, {KEY: "{"})
    with pytest.raises(UserError, match="damaged"):
        load(path)
    save_file(tensors, path, {KEY: "[" * 100_000})
    with pytest.raises(UserError, match="damaged"):
        load(path)
    dreamer.save(path)
    spoilt(dreamer, path)
    assert load(path).classes == PLAN.classes  # as it should be
    tensors["last.weight"][0, 0, 0, 0] = math.nan
    about = json.dumps({"format": FORMAT, "plan": vars(PLAN), "card": {}})
    save_file(tensors, path, {KEY: about})
    with pytest.raises(UserError, match="no finite numbers"):
        load(path)
    del tensors["last.weight"]
    save_file(tensors, path, {KEY: about})
    with pytest.raises(UserError, match=r"its last\.weight does not fit"):
        load(path)


def test_where_it_is_looked_for(dreamer, tmp_path):
    with pytest.raises(UserError, match="There is no file or run"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="zoo has no generator 'nothing'"):
        load("zoo:nothing")
    run = Run.create(tmp_path, "dcgan", "a", {})
    with pytest.raises(UserError, match="holds no generator yet"):
        load(run.path)
    made(seed=1).save(run.path / "last.safetensors")
    last = load(run.path).sample(2)
    dreamer.save(run.path / "best.safetensors")
    assert not torch.equal(load(run.path).sample(2), last)  # the best one goes first
    other = Run.create(tmp_path, "classify", "a", {})
    with pytest.raises(UserError, match="a run of classify, not of dcgan"):
        load(other.path)
