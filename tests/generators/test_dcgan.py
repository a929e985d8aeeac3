"""The task: it learns, warns, stops; the same again, going on bit for bit, the exported average."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generators import dcgan, gan_kinds
from generators.dcgan import DCGAN, PRESETS, TRAINERS, DCGANConfig
from generators.dreamer import load
from generators.gan_scores import LEAST, Scorer
from playground import checkpoint, data
from playground.config import to_json, validate
from playground.data import Pictures
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

TINY: dict[str, Any] = {
    **{"data": "blobs", "size": 32, "width": 4, "latent": 8, "critic_width": 1 / 16},
    **{"batch_size": 8, "samples": LEAST},
}
# All that keeps state: averages, batch norms, spectral norms, penalties, augmentation, kinds.
FULL = replace(
    PRESETS["modern"], **TINY, classes=True, kinds=2, grounds=True, norm="spectral",
    loss="relativistic",
    spread=1.0, r1=1.0, r2=0.5, penalty_every=2, critic_steps=2,
    augment=("colour", "translation", "cutout", "mirror"),
)  # fmt: skip
GAMES = {"data": "atari:pong"}  # in name


def blobs(count: int, seed: int = 0, classes: int = 2, size: int = 32) -> Pictures:
    """Dark pictures with a bright square somewhere: red ones and green ones."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.full((count, 3, size, size), 30, dtype=torch.uint8)
    labels = torch.arange(count) % classes
    places = torch.randint(0, size - 12, (count, 2), generator=generator).tolist()
    for picture, label, (y, x) in zip(pixels, labels.tolist(), places, strict=True):
        picture[label, y : y + 12, x : x + 12] = 220
    return Pictures(pixels, labels, ("red", "green", "blue")[:classes])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Of the time of such small trainings, measuring the exports' statistics takes the most."""
    monkeypatch.setattr(dcgan, "STANDING_BATCHES", 1)


@pytest.fixture(scope="module")
def sets() -> tuple[Pictures, Pictures]:
    return blobs(96), blobs(LEAST, seed=1)


def prepare(
    folder: Path, config: DCGANConfig, sets: Any, name: str = "a", resume: bool = False,
    say: Any = lambda text: None, **settings: Any,
) -> tuple[Run, DCGAN, Trainer]:  # fmt: skip
    """A deterministic training, ready to fit."""
    seed = settings.get("seed", 0)
    seed_everything(seed)
    task = DCGAN(config, *sets, seed)
    asked = {"deterministic": True, "device": "cpu", "log_every": 2, "checkpoint_minutes": None}
    if resume:
        run = Run.open(folder / "dcgan" / name)
    else:
        run = Run.create(folder, "dcgan", name, to_json(config))
    trainer = Trainer(TrainerConfig(**{**asked, **settings}), task, run, say=say)
    if resume:
        trainer.resume()
    return run, task, trainer


def train(*arguments: Any, **settings: Any) -> tuple[Run, DCGAN, Any]:
    run, task, trainer = prepare(*arguments, **settings)
    try:
        return run, task, trainer.fit()
    finally:
        task.close()


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in x.items() if k not in ("time", "per_second")} for x in run.metrics()]


# learning


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_hold(name):
    validate(replace(PRESETS[name], data="folder"))
    validate(TrainerConfig(**TRAINERS[name]))


def test_the_paper_is_as_written():
    paper = PRESETS["dcgan2015"]
    assert (paper.size, paper.latent, paper.width, paper.critic_width) == (64, 100, 128, 2.0)
    assert (paper.kernel, paper.noise) == (5, "uniform")
    assert (paper.critic, paper.norm, paper.loss, paper.modulated) == (
        "classic",
        "batch",
        "bce",
        False,
    )
    assert (paper.learning_rate, paper.critic_rate, paper.beta1) == (2e-4, 2e-4, 0.5)
    assert (paper.beta2, paper.batch_size, paper.critic_steps) == (0.999, 128, 1)
    assert (paper.augment, paper.r1, paper.r2, TRAINERS["dcgan2015"]) == ((), 0, 0, {})


def test_learns_made_pictures_in_seconds(tmp_path, sets):
    config = replace(
        PRESETS["modern"], **{**TINY, "width": 8, "critic_width": 1 / 4, "batch_size": 16},
        augment=("translation",), learning_rate=2e-3, critic_rate=2e-3, r1=0.1, classes=True,
        kinds=1,
    )  # fmt: skip
    run, task, trainer = prepare(tmp_path, config, sets, steps=400, ema=0.9)
    features = dcgan.features_to_score()
    scorer = Scorer(features.of(sets[1], LEAST))
    first = scorer.score(features(part) for part in task.dreamer().stream(LEAST, 0))
    outcome = trainer.fit()
    task.close()
    assert outcome.reason == "steps" and outcome.score is not None
    assert -outcome.score < 0.75 * first["fid"]
    dreamer = load(run.path)
    red, green = (dreamer.sample(32, 1, name).mean((0, 2, 3)) for name in ("red", "green"))
    assert red[0] > red[1] + 0.02 and green[1] > green[0] + 0.02
    last = run.metrics()[-1]
    assert last["evaluate/score"] == -last["evaluate/fid"] == outcome.score
    assert {"evaluate/kid", "evaluate/precision", "evaluate/recall", "evaluate/coverage"} <= set(
        last
    )
    assert {"critic_loss", "generator_loss", "critic_right"} <= set(run.metrics()[0])
    assert dreamer.card["updates"] == dreamer.card["scored_at"] == 400
    assert dreamer.card["figures"]["fid"] == -outcome.score
    assert len(list(run.gallery.glob("panel-*.png"))) == 1


@pytest.mark.parametrize("name", ["projected", "dcgan2015"])
def test_the_other_presets_train(name, tmp_path, sets):
    config = replace(PRESETS[name], **TINY)
    _, task, outcome = train(tmp_path, config, sets, steps=2, **TRAINERS[name])
    assert outcome.progress == 2 and math.isfinite(outcome.score)
    frozen = [p for p in task.critic.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen) and bool(frozen) == (name == "projected")


@pytest.mark.parametrize("precision", ["bf16", "fp64"])
def test_precisions(precision, tmp_path, sets):
    config = replace(FULL, loss="hinge")
    _, _, outcome = train(
        tmp_path, config, sets, steps=2, precision=precision, deterministic=False, ema=0.9
    )
    assert outcome.progress == 2 and math.isfinite(outcome.score)
    assert load(tmp_path / "dcgan" / "a").sample(1, 0, "red").dtype == torch.float32


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_precision_can_be_measured(name, sets):
    task = DCGAN(replace(PRESETS[name], **TINY), *sets)
    loss = task.rehearsal()
    loss().backward()
    for network in (task.generator, task.critic):
        assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_penalties_go_round_a_compiled_critic(tmp_path, sets):
    """Compiled code has first derivatives only (PyTorch: "does not support double backward")."""
    _, task, trainer = prepare(tmp_path, replace(FULL, critic_steps=1), sets, steps=1)
    calls = []
    eager = task.critic.forward
    task.critic._compiled_call_impl = lambda *x: calls.append(task.progress) or eager(*x)
    for _ in range(4):
        task.step(trainer)
    task.close()
    # The generator's step has two calls; the critic's has one, without the penalty of each second.
    assert [calls.count(progress) for progress in range(4)] == [2, 3, 2, 3]


def test_grey_pictures(tmp_path, bars_idx):
    spec = f"mnist:{bars_idx}"
    sets = data.load(spec, "train", 32), blobs(LEAST)
    assert sets[0].channels == 1
    grey = Pictures(sets[0].read(torch.arange(LEAST)), torch.zeros(LEAST), ("0",))
    for name in ("modern", "projected"):
        config = replace(PRESETS[name], **{**TINY, "data": spec}, classes=True)
        run, task, _ = train(tmp_path, config, (sets[0], grey), name, steps=2)
        assert load(run.path).sample(2, 0, "1").shape == (2, 1, 32, 32)
        assert next(iter(task.frames())).pixels.shape == (32, 32, 3)


def test_pictures_all_the_same(tmp_path):
    flat = Pictures(
        torch.full((LEAST, 3, 32, 32), 90, dtype=torch.uint8), torch.zeros(LEAST), ("a",)
    )
    run, _, outcome = train(tmp_path, replace(FULL, classes=False), (flat, flat), steps=4)
    assert math.isfinite(outcome.score)
    assert all(math.isfinite(v) for line in run.metrics() for v in line.values())


def test_classes_are_drawn_on_their_median_pictures(tmp_path, sets):
    learned, held_out = sets
    empty = Pictures(learned.read(torch.arange(96)), learned.labels, (*learned.classes, "none"))
    config = replace(PRESETS["modern"], **TINY, classes=True, grounds=True)
    task = DCGAN(config, empty, held_out)
    with torch.no_grad():
        task.generator.last.weight.zero_()
    task.export(tmp_path / "blank.safetensors")
    found = load(tmp_path / "blank.safetensors").sample(3, label=torch.arange(3)).numpy()
    pixels, labels = (x.numpy() for x in (learned.read(torch.arange(96)), learned.labels))
    for label, dream in enumerate(found):
        of_class = pixels[labels == label] if label < 2 else pixels
        median = np.sort(of_class, axis=0)[(len(of_class) - 1) // 2] / 255
        np.testing.assert_allclose(dream, median, atol=1e-3)
    for plain in (replace(config, grounds=False), replace(config, classes=False)):
        assert not any("grounds" in name for name in DCGAN(plain, *sets).state_dict())


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({}, 0),
        (GAMES, 16),
        ({**GAMES, "classes": True}, 32),
        ({"classes": True, "kinds": 3}, 6),
        ({"kinds": 3}, 3),
        ({"kinds": 1}, 0),
        ({**GAMES, "modulated": False}, 0),
    ],
)
def test_how_many_kinds_there_are(settings, labels, sets, monkeypatch):
    for name, number in (("KINDS", 16), ("ALL_KINDS", 48), ("OF_KIND", 2)):
        monkeypatch.setattr(dcgan, name, number)
    task = DCGAN(replace(PRESETS["modern"], **{**TINY, **settings}), *sets)
    assert task.plan.labels == labels
    assert task.plan.grounds == ("data" in settings and labels > 0)
    if "kinds" not in settings and labels:
        assert len(task.labels.unique()) == labels
    classes = 2 if settings.get("classes") else 1
    assert sum(task.plan.shares) == pytest.approx(classes if task.plan.shares else 0)
    pixels, found = task._read(0)
    assert len(found) == 8 and found.dtype == torch.int64 and int(found.max()) < max(1, labels)
    if settings.get("classes"):  # a red picture has a red one's label
        red = pixels[:, 0].amax((1, 2)) > pixels[:, 1].amax((1, 2))
        assert torch.equal(found < labels // 2, red)


def test_few_pictures_have_few_kinds(sets, monkeypatch):
    config = replace(PRESETS["modern"], **{**TINY, **GAMES})
    count = len(sets[0])
    for of_kind, kinds in ((count // 3, 3), (count // 2, 2), (count, 0), (count + 1, 0)):
        monkeypatch.setattr(dcgan, "OF_KIND", of_kind)
        assert DCGAN(config, *sets).plan.labels == kinds  # 0: one kind, which needs no label


def test_a_critic_tells_what_moves_from_an_empty_ground(sets):
    """Of 16 grounds: their differences are larger than those that it has to tell."""
    torch.manual_seed(0)
    config = replace(PRESETS["modern"], **{**TINY, "batch_size": 16}, learning_rate=1e-12)
    task = DCGAN(config, *sets)
    with torch.no_grad():
        task.generator.last.weight.zero_()

    class Critical:
        """A trainer's hands."""

        device = torch.device("cpu")

        def minimize(self, loss: Any, optimizer: Any) -> Any:
            optimizer.zero_grad()
            found = loss()
            found.backward()
            optimizer.step()
            return found.detach()

        def mean(self, value: Any) -> Any:
            return value

    right = [float(task.step(Critical())["critic_right"]) for _ in range(40)]
    task.close()
    assert sum(right[20:]) / 20 > 90


class Kept:
    """In a trainer's place: keeps a loss instead of minimising it."""

    def minimize(self, loss_fn, optimizer):
        self.loss = loss_fn()
        return self.loss.detach()

    def mean(self, value):
        return value


def test_dreams_of_a_kind_are_driven_apart_while_they_are_too_much_alike(sets):
    task = DCGAN(replace(PRESETS["modern"], **TINY, kinds=2, spread=2.0), *sets)
    pixels, labels = task._read(0)
    found = {}
    for before in (1.0, 0.2):
        task.spread.fill_(before)
        torch.manual_seed(0)
        figures = task._generate(trainer := Kept(), pixels / 255, labels)
        found[before] = trainer.loss.item()
        now = figures["spread"].item()
        assert task.spread.item() == pytest.approx(before + 0.02 * (now - before))
    assert 0 < now < 1  # not learned yet
    assert found[0.2] - found[1.0] == pytest.approx(2 * (1 - 0.2) * (1 - now), rel=1e-3)
    task.generator.last.weight.data.fill_(torch.nan)
    before = task.spread.clone()
    task._generate(Kept(), pixels / 255, labels)
    assert torch.equal(task.spread, before)
    task.close()


@pytest.mark.parametrize(
    ("data", "asked", "weight"),
    [("atari:pong", None, dcgan.SPREAD), ("blobs", None, 0.0), ("blobs", 2.0, 2.0)],
)
def test_games_are_driven_apart_and_others_where_asked(data, asked, weight, sets):
    task = DCGAN(replace(PRESETS["modern"], **{**TINY, "data": data}, spread=asked), *sets)
    assert task.config.spread == weight
    figures = task._generate(Kept(), task._read(0)[0] / 255, task._read(0)[1])
    assert ("spread" in figures) == (weight > 0)
    task.close()


def test_critic_steps_see_other_pictures(sets):
    task = DCGAN(FULL, *sets)
    seen = []
    task._criticise = lambda trainer, real, labels: seen.append(real) or {}  # type: ignore[assignment]
    task._generate = lambda trainer, real, labels: {}  # type: ignore[assignment]
    for _ in range(2):
        task.step(type("T", (), {"device": torch.device("cpu")}))  # type: ignore[arg-type]
    task.close()
    assert task.progress == 2
    assert len({picture.numpy().tobytes() for batch in seen for picture in batch}) == 4 * 8


# the average of the weights


def test_what_is_exported_and_scored_is_the_average(tmp_path, sets):
    config = replace(FULL, critic_steps=1, learning_rate=1e-2)
    run, task, trainer = prepare(tmp_path, config, sets, steps=3, ema=0.9)
    scored = []
    own = task.evaluate
    task.evaluate = lambda trainer: (
        scored.append(task.generator.last.weight.clone()) or own(trainer)
    )  # type: ignore[method-assign]
    trainer.fit()
    task.close()
    average = trainer.updates.ema["generator.last.weight"]
    assert all(name.startswith("generator.") for name in trainer.updates.ema)
    assert torch.equal(scored[-1], average)
    assert not torch.equal(task.generator.last.weight, average)  # the training goes on with its own
    for name in ("last", "best"):
        found = load(run.path / f"{name}.safetensors").network.last.weight
        assert torch.equal(found, average.half().float())


def test_a_bad_update_leaves_no_trace(tmp_path, sets):
    """Not in the generator's batch norms either, through which the critic's pictures go."""
    _, task, trainer = prepare(tmp_path, FULL, sets, steps=9)
    task.step(trainer)
    before = {k: v.clone() for k, v in task.state_dict().items() if "parametrizations" not in k}
    task._noise = lambda like: torch.full((len(like), 8), math.nan)  # type: ignore[method-assign]
    task.step(trainer)
    task.close()
    assert int(trainer.updates.skipped) == 3  # two of the critic's, one of the generator's
    now = task.state_dict()
    for name, tensor in before.items():
        if "num_batches" not in name:
            assert torch.equal(now[name], tensor), name


# watching


class Told:
    """What a trainer is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stopped = False

    def say(self, text: str) -> None:
        self.said.append(text)

    def stop(self) -> None:
        self.stopped = True


def figures(fid: float, coverage: float = 0.8, recall: float = 0.8) -> dict[str, float]:
    return {"fid": fid, "coverage": coverage, "recall": recall}


def test_falling_diversity_is_said(sets):
    task, told = DCGAN(FULL, *sets), Told()
    task._watch(told, figures(90))  # type: ignore[arg-type]
    task._watch(told, figures(80, coverage=0.41, recall=0.45))  # type: ignore[arg-type]
    assert not told.said
    task._watch(told, figures(70, coverage=0.39))  # type: ignore[arg-type]
    (sentence,) = told.said
    assert sentence.startswith("Coverage fell to 0.39 from 0.80: the generator is forgetting")
    task._watch(told, figures(70, recall=0.1))  # type: ignore[arg-type]
    assert told.said[1].startswith("Recall fell to 0.10 from 0.80")
    assert not told.stopped and task.best == {"coverage": 0.8, "recall": 0.8, "fid": 70}


def test_patience_counts_evaluations_without_a_better_one(sets):
    task, told = DCGAN(replace(FULL, patience=2), *sets), Told()
    for fid in (90, 91, 80, 81):
        task._watch(told, figures(fid))  # type: ignore[arg-type]
        assert not told.stopped
    task._watch(told, figures(80))  # type: ignore[arg-type]
    assert told.stopped and told.said == ["No better score in 2 evaluations: ending."]


def test_patience_ends_a_training_with_all_saved(tmp_path, sets, monkeypatch):
    fids = iter([50.0, 40.0, 60.0, 70.0, 80.0])
    monkeypatch.setattr(Scorer, "score", lambda self, found: figures(next(fids)))
    config = replace(FULL, patience=2, critic_steps=1)
    run, _, outcome = train(tmp_path, config, sets, steps=50, evaluate_every=1)
    # After the fourth; the round that is under way then ends as well.
    assert (outcome.reason, outcome.progress, outcome.best) == ("stopped", 5, -40)
    assert load(run.path).card["updates"] == 2  # the best one
    assert load(run.path / "last.safetensors").card["updates"] == 5
    assert checkpoint.load(run.checkpoints)[0] == 5


# the same again, going on


def test_same_seed_same_metrics(tmp_path, sets):
    runs = [
        train(tmp_path, FULL, sets, name, ema=0.9, seed=seed, steps=2)[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert timeless(runs[0]) == timeless(runs[1]) != timeless(runs[2])
    weights = [(run.path / "last.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]


def test_killed_and_resumed_is_the_same_bit_for_bit(tmp_path, sets, monkeypatch):
    settings: dict[str, Any] = {"ema": 0.9, "evaluate_every": 3, "checkpoint_every": 2, "steps": 6}
    whole, _, _ = train(tmp_path, FULL, sets, "whole", **settings)

    own_step = DCGAN.step

    def dying(task: DCGAN, trainer: Trainer) -> dict[str, Any]:
        if task.progress == 5:
            raise KeyboardInterrupt  # nothing is saved then
        return own_step(task, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(DCGAN, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, FULL, sets, "killed", **settings)
    killed = Run.open(tmp_path / "dcgan" / "killed")
    shutil.rmtree(max(killed.checkpoints.glob("step_*")))  # the newest is lost as well
    train(tmp_path, FULL, sets, "killed", resume=True, **settings)

    for name in ("last", "best"):
        one, other = ((run.path / f"{name}.safetensors").read_bytes() for run in (whole, killed))
        assert one == other
    states = [checkpoint.load(run.checkpoints)[1] for run in (whole, killed)]
    plain = [json.dumps(checkpoint._encode(state, "", {})) for state in states]
    assert plain[0] == plain[1]
    for key, tensor in states[0]["modules"].items():
        assert torch.equal(tensor, states[1]["modules"][key]), key
    for key, tensor in states[0]["updates"]["ema"].items():
        assert torch.equal(tensor, states[1]["updates"]["ema"][key]), key
    assert timeless(whole) == timeless(Run.open(killed.path))


def test_kinds_are_those_of_the_beginning(tmp_path, sets, monkeypatch):
    _, first, _ = train(tmp_path, FULL, sets, steps=2)
    monkeypatch.setattr(gan_kinds, "sorted_into", lambda *a: torch.arange(96) % 2 * 2)
    assert DCGAN(FULL, *sets).plan.shares == (1, 0, 1, 0)
    _, task, _ = train(tmp_path, FULL, sets, resume=True, steps=3)
    assert torch.equal(task.labels, first.labels) and task.plan == first.plan
    assert set(first.plan.shares).isdisjoint({0, 1})


def test_evaluating_changes_nothing(tmp_path, sets):
    settings: dict[str, Any] = {"ema": 0.9, "steps": 2}
    often, _, _ = train(tmp_path, FULL, sets, "often", evaluate_every=1, **settings)
    once, _, _ = train(tmp_path, FULL, sets, "once", **settings)
    one, other = (checkpoint.load(run.checkpoints)[1]["modules"] for run in (often, once))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_dreams_are_scored_in_the_held_out_pictures_proportions(tmp_path, sets, monkeypatch):
    """Else a generator is punished for the classes' shares, which nobody asked it to learn."""
    asked: list[Any] = []
    stream = dcgan.Dreamer.stream

    def watched(self: Any, n: int, seed: int, classes: Any = None) -> Any:
        asked.append(classes)
        return stream(self, n, seed, classes)

    monkeypatch.setattr(dcgan.Dreamer, "stream", watched)
    uneven = blobs(4 * LEAST).take(torch.tensor([*range(0, 2 * LEAST, 2), *range(1, 65, 2)]))
    train(tmp_path, replace(FULL, samples=LEAST), (sets[0], uneven), steps=1)
    standing, scored = asked[:2]  # then the exports'
    assert standing.bincount().tolist() == [32, 32]  # of a batch, as the pictures learned from
    assert scored.bincount().tolist() == [43, 21]


def test_goes_on_only_with_its_own_pictures(tmp_path, sets):
    run, _, _ = train(tmp_path, FULL, sets, steps=1)
    kept = []
    with pytest.raises(UserError, match=r"blobs does not hold the pictures.*80 others of red, gr"):
        train(tmp_path, FULL, (blobs(80), sets[1]), resume=True, steps=2)
    others = blobs(len(sets[0]), seed=9)
    with pytest.raises(UserError, match=r"blobs does not hold the pictures"):
        train(tmp_path, FULL, (others, sets[1]), resume=True, steps=2)
    again = DCGAN(FULL, *sets)
    again.keep = kept.append  # type: ignore[assignment]
    again.attach(Run.open(run.path))
    assert not kept  # it has its pictures already
    again.attach(Run.create(tmp_path, "dcgan", "new", {}))
    assert kept == [tmp_path / "dcgan" / "new"]


def test_another_order_after_a_divergence(sets):
    task = DCGAN(FULL, *sets)
    first, state = task._ahead.get(0)[0], task.state()
    plain = {name: value for name, value in state.items() if name != "labels"}
    assert json.loads(json.dumps(plain)) == plain
    task.reseed(1)
    assert not torch.equal(task._ahead.get(0)[0], first)
    task.load_state(state)
    assert torch.equal(task._ahead.get(0)[0], first)
    task.close()


def test_frames_are_the_same_dreams_each_time(sets):
    task = DCGAN(FULL, *sets)
    frames, again = list(task.frames()), list(task.frames())
    assert len(frames) == dcgan.PANEL and frames[0].pixels.shape == (32, 32, 3)
    assert [frame.text for frame in frames[:3]] == ["red", "green", "red"]
    assert all((a.pixels == b.pixels).all() for a, b in zip(frames, again, strict=True))


# mistakes


def test_too_few_pictures(sets):
    with pytest.raises(UserError, match="blobs has only 7 of the 8 pictures that a batch takes"):
        DCGAN(FULL, blobs(7), sets[1])
    with pytest.raises(
        UserError, match="only 63 of the 64 pictures that dreams are scored against"
    ):
        DCGAN(FULL, sets[0], blobs(63))


def test_classes_need_two(sets):
    one = blobs(LEAST, classes=1)
    with pytest.raises(UserError, match="--classes needs pictures of two or more"):
        DCGAN(FULL, one, one)


def test_pictures_of_another_size(sets):
    with pytest.raises(ValueError, match="--size 32"):
        DCGAN(FULL, blobs(LEAST, size=64), sets[1])


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"size": 48}, "--size is 32, 64 or 128 pixels here, not 48"),
        ({"augment": ("color",)}, "'colour'"),
        ({"kinds": 0}, "--kinds starts at 1"),
        ({"kinds": 49}, "blobs has only 96 pictures for 98 kinds: lower --kinds"),
        ({"kinds": 2, "modulated": False, "classes": False}, "--kinds needs --modulated"),
        ({"batch_size": 0}, "--batch-size must be above 0"),
        ({"critic_steps": 0}, "--critic-steps must be above 0"),
        ({"learning_rate": math.inf}, "--learning-rate must be above 0, and finite"),
        ({"critic_width": math.nan}, "--critic-width must be above 0"),
        ({"norm": "layer"}, "--norm is batch, spectral or none, not 'layer'"),
        ({"norm": None, "samples": 63}, "--samples starts at 64"),
        ({"patience": 0}, "--patience starts at 1"),
        ({"beta1": 1.0}, "--beta1 lies from 0"),
        ({"r1": -1.0}, "--r1 must not be negative"),
        ({"loss": "wasserstein"}, "--loss is one of bce, hinge, relativistic"),
        ({"critic": "big"}, "--critic is one of classic, projected"),
        ({"modulated": False, "classes": True}, "--modulated"),
    ],
)
def test_mistakes(settings, part, sets):
    with pytest.raises(UserError, match=part) as caught:
        DCGAN(validate(replace(FULL, **settings)), *sets)
    assert "\n" not in str(caught.value)
