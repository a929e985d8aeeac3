"""The classification task: schedules by hand, learning, the same again, going on, freezing."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from playground import checkpoint, classify
from playground.classifier import Classifier
from playground.classify import (
    PRESETS,
    TRAINERS,
    Classify,
    ClassifyConfig,
    backbone_options,
    evaluation_updates,
    merged,
    rate_at,
    rate_factors,
)
from playground.config import to_json, validate
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

SMALL: dict[str, Any] = {
    **{"options": ("width=0.5", "dropout=0"), "batch_size": 20, "learning_rate": 3e-3},
    **{"epochs": 8.0},
}
FULL: dict[str, Any] = {  # everything that keeps state: augmentation, dropout, schedule, norms
    **{"options": ("width=0.25", "norm=batch", "dropout=0.3"), "augment": "digits"},
    **{"batch_size": 16, "schedule": "cosine", "warmup": 0.5, "epochs": 2.0},
}


def train(
    folder: Path, config: ClassifyConfig, name: str = "a", resume: bool = False, **settings: Any
) -> tuple[Run, Classify, float | None]:
    """A deterministic training to its end; its run, its task and the last score."""
    seed_everything(settings.get("seed", 0))
    task = Classify(config, settings.get("seed", 0), accumulate=settings.get("accumulate", 1))
    asked = {"steps": task.horizon, "deterministic": True, "device": "cpu", "log_every": 4}
    trainer_config = TrainerConfig(**{**asked, "checkpoint_minutes": None, **settings})
    if resume:
        run = Run.open(folder / "classify" / name)
    else:
        run = Run.create(folder, "classify", name, to_json(config))
    trainer = Trainer(trainer_config, task, run, say=lambda text: None)
    if resume:
        trainer.resume()
    try:
        return run, task, trainer.fit().score
    finally:
        task.close()


def test_rate_rises_then_falls_along_a_cosine():
    rates = [rate_at(n, 4, 24, "cosine") for n in range(30)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1 and rates[14] == pytest.approx((1 + classify.END_RATE) / 2)
    assert rates[24:] == pytest.approx([classify.END_RATE] * 6)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert [rate_at(n, 1, 10, "constant") for n in (0, 1, 99)] == [0.5, 1, 1]
    assert rate_at(0, 0, 10, "cosine") == 1


def test_rate_factors_shrink_towards_the_pictures():
    assert rate_factors(3, 0.5) == [0.25, 0.5, 1]
    assert rate_factors(2, 1.0) == [1, 1]


def test_options_are_overlaid_by_name():
    assert merged(("stem=small", "width=2"), ("width=1", "norm=none")) == (
        "stem=small", "width=1", "norm=none",
    )  # fmt: skip
    assert merged((), ("a=1",)) == ("a=1",) and merged(("a=1",), ()) == ("a=1",)


def test_backbone_options():
    found = backbone_options(("width=2", "norm=batch", "dropout=0.5", "norm2=none", "a=true"))
    assert found == {"width": 2, "norm": "batch", "dropout": 0.5, "norm2": None, "a": True}
    for wrong in ("width", "=2", "width="):
        with pytest.raises(UserError, match="name=value"):
            backbone_options((wrong,))
    for wrong in ("in_channels=1", "name=x"):
        with pytest.raises(UserError, match="is set otherwise"):
            backbone_options((wrong,))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_hold(name):
    validate(replace(PRESETS[name], data="folder"))
    validate(TrainerConfig(**TRAINERS[name]))


def test_the_book_is_as_written():
    book = PRESETS["book"]
    assert (book.backbone, book.options, book.augment) == ("deepconv", (), "none")
    assert (book.optimizer, book.learning_rate, book.schedule) == ("adam", 1e-3, "constant")
    assert (book.batch_size, book.epochs, TRAINERS["book"]) == (100, 20, {})


def test_learns_made_pictures_in_seconds(tmp_path, bars_idx):
    run, task, score = train(tmp_path, ClassifyConfig(data=f"mnist:{bars_idx}", **SMALL))
    assert task.horizon == 80 and task.updates_per_epoch == 10
    assert score is not None and score > 95
    lines = run.metrics()
    assert lines[-1]["evaluate/score"] == score
    assert lines[0]["accuracy"] < lines[-2]["accuracy"] and "rate" in lines[0]
    found = classify.load(run.path)
    assert isinstance(found, Classifier) and found.card["score"] == score
    frames = list(task.frames())
    assert frames and all(frame.pixels.shape == (132, 132, 3) for frame in frames)
    assert all(frame.text.startswith("truth ") for frame in frames)


def test_learns_a_folder_of_class_folders(tmp_path, bars_folder):
    _, task, score = train(tmp_path, ClassifyConfig(data=str(bars_folder), **SMALL))
    assert len(task.pictures) == 73 and len(task.test_pictures) == 7  # by the hashes of their names
    assert score is not None and score > 80
    assert task.design.classes == ("lying", "standing") and task.design.channels == 3


def test_processes_share_a_batch_equally(bars_idx, monkeypatch):
    monkeypatch.setattr(classify.ranks, "world", lambda: 3)
    with pytest.raises(UserError, match="multiple of 3"):
        Classify(ClassifyConfig(data=f"mnist:{bars_idx}", **SMALL))  # 20 pictures


def test_broken_files_are_told_once(tmp_path, bars_folder, capsys):
    shutil.copytree(bars_folder, tmp_path / "data")
    for number in range(8):  # on both sides of the split
        (tmp_path / "data" / "lying" / f"broken{number}.png").write_text("no picture")
    task = Classify(ClassifyConfig(data=str(tmp_path / "data")))
    assert len(task.pictures) + len(task.test_pictures) == 80
    lines = capsys.readouterr().err.splitlines()
    assert lines and len(lines) == len(set(lines))


def test_same_seed_same_metrics(tmp_path, bars_idx):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **FULL)
    runs = [
        train(tmp_path, config, name, ema=0.9, seed=seed)[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    lines = [
        [{k: v for k, v in line.items() if k not in ("time", "per_second")} for line in r.metrics()]
        for r in runs
    ]
    assert lines[0] == lines[1] and lines[0] != lines[2]
    weights = [(run.path / "last.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] and weights[0] != weights[2]


def test_accumulating_is_one_large_batch(tmp_path, bars_idx):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **{**SMALL, "epochs": 1.0})
    whole, parts = replace(config, batch_size=40), replace(config, batch_size=10)
    one = train(tmp_path, whole, "one")[1]
    four = train(tmp_path, parts, "four", accumulate=4)[1]
    assert one.progress == four.progress == 5
    for a, b in zip(one.model.parameters(), four.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_labels_are_a_share_of_each_class(bars_idx):
    task = Classify(ClassifyConfig(data=f"mnist:{bars_idx}", labels=0.1), seed=3)
    assert torch.bincount(task.pictures.labels).tolist()[:2] == [10, 10]
    assert len(task.test_pictures) == 60 and task.updates_per_epoch == 1
    assert task.horizon == 20 and evaluation_updates(task) == 1
    assert Classify(task.config, steps=7).horizon == 7


def test_evaluations_take_whole_epochs_and_a_small_share_of_the_time(bars_idx):
    task = Classify(ClassifyConfig(data=f"mnist:{bars_idx}", batch_size=10, labels=0.1))
    assert task.updates_per_epoch == 2  # 60 test pictures cost as much as 2 updates
    assert evaluation_updates(task) == 10


def test_layer_wise_rates_and_no_decay_of_vectors(bars_idx):
    config = ClassifyConfig(
        data=f"mnist:{bars_idx}", layer_decay=0.5, weight_decay=0.1, freeze="relu1_1"
    )
    task = Classify(config)
    groups = task.optimizers["model"].param_groups
    names = {id(p): name for name, p in task.model.named_parameters()}
    rates = {names[id(p)]: g["initial_lr"] for g in groups for p in g["params"]}
    decays = {names[id(p)]: g["weight_decay"] for g in groups for p in g["params"]}
    assert not any(name.startswith("conv1_1") for name in rates)  # frozen
    assert rates["classifier.2.weight"] == 1e-3
    assert rates["conv3_2.weight"] == 5e-4 and rates["conv3_1.bias"] == 2.5e-4
    assert decays["conv3_2.weight"] == 0.1 and decays["conv3_2.bias"] == 0
    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    assert not task.model.conv1_1.weight.requires_grad
    assert before.keys() == task.model.state_dict().keys()


def test_starts_from_a_run_or_a_file_and_keeps_what_is_frozen(tmp_path, bars_idx, bars_folder):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **{**SMALL, "epochs": 1.0})
    run, first, _ = train(tmp_path, config)
    for source in (run.path, run.path / "last.safetensors"):
        tuned = replace(config, weights=str(source), freeze="pool3")
        task = Classify(tuned, seed=5)
        assert torch.equal(task.model.conv2_1.weight, first.model.conv2_1.weight)
    _, after, _ = train(tmp_path, tuned, "tuned")
    assert torch.equal(after.model.conv2_1.weight, first.model.conv2_1.weight)
    head = [module.classifier[2].weight for module in (after.model, first.model)]
    assert not torch.equal(*head)
    with pytest.raises(UserError, match="another architecture"):
        Classify(replace(config, weights=str(run.path), backbone="resnet18", options=()))
    with pytest.raises(UserError, match="no option"):
        Classify(replace(config, options=("depth=3",)))


def test_batch_normalisation_may_keep_its_statistics(tmp_path, bars_idx):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **{**FULL, "epochs": 0.5})
    for keep in (True, False):
        _, task, _ = train(tmp_path, replace(config, keep_statistics=keep), str(keep))
        norm = task.model.norm1_1
        assert norm.weight.requires_grad and norm.training is not keep
        assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean)) is keep
        assert not torch.equal(norm.weight, torch.ones_like(norm.weight))


def test_goes_on_only_with_its_own_pictures_and_task(tmp_path, bars_idx, bars_folder):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **{**SMALL, "epochs": 1.0})
    run, _, _ = train(tmp_path, config)
    fewer = replace(config, labels=0.5)
    with pytest.raises(UserError, match="does not hold the pictures"):
        train(tmp_path, fewer, resume=True)
    step, state = checkpoint.load(run.checkpoints)
    checkpoint.save(run.checkpoints, step, {**state, "task": "DQN"})
    with pytest.raises(UserError, match="task DQN"):
        train(tmp_path, config, resume=True)


def test_a_prolonged_training_keeps_its_schedule_until_epochs_change(tmp_path, bars_idx):
    config = ClassifyConfig(data=f"mnist:{bars_idx}", **FULL)
    train(tmp_path, config)
    run, task, _ = train(tmp_path, config, resume=True, steps=30)
    assert task.progress == 30 and task.horizon == 24
    assert run.metrics()[-2]["rate"] == pytest.approx(1e-3 * classify.END_RATE)
    run, task, _ = train(tmp_path, replace(config, epochs=4.0), resume=True, steps=36)
    assert task.progress == 36 and task.horizon == 48  # it asks for more of them
    rates = [line["rate"] for line in run.metrics() if "rate" in line]
    assert rates[-1] > 10 * 1e-3 * classify.END_RATE


def test_another_order_after_a_divergence(bars_idx):
    task = Classify(ClassifyConfig(data=f"mnist:{bars_idx}", batch_size=10))
    first = task._ahead.get(0)
    state = task.state()
    task.reseed(1)
    assert not torch.equal(task._ahead.get(0)[0], first[0])
    task.load_state(state)
    assert torch.equal(task._ahead.get(0)[0], first[0])
    task.close()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"data": ""}, "--data"),
        ({"data": "mnits:x"}, "'mnist'"),
        ({"data": "nowhere"}, "no folder"),
        ({"data": "atari:pong"}, "no classes"),
        ({"batch_size": 0}, "--batch-size"),
        ({"labels": 1.5}, "--labels"),
        ({"layer_decay": 0.0}, "--layer-decay"),
        ({"epochs": 0.0}, "--epochs"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"backbone": "resnet81"}, "'resnet18'"),
        ({"freeze": "conv9"}, "No layer"),
        ({"backbone": "nature", "size": 20}, "too few"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_mistakes(settings, part, bars_idx):
    with pytest.raises(UserError, match=part):
        Classify(ClassifyConfig(**{"data": f"mnist:{bars_idx}", **settings}))
