"""`train classify`: what is its own beside `training`: a budget in epochs, pictures at the end."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from playground import classify, insight
from playground.classifier import Classifier, count_parameters
from playground.classify import Classify, ClassifyConfig
from playground.data import parse
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts.training import PLAY, Door, longer, quoted


def _settings(preset: str, args: argparse.Namespace) -> tuple[ClassifyConfig, TrainerConfig]:
    """The preset's; its backbone's options go with that backbone, given ones into their places."""
    config = classify.PRESETS[preset]
    if getattr(args, "backbone", config.backbone) != config.backbone:
        config = replace(config, options=())
    if "options" in args:
        args.options = classify.merged(config.options, args.options)
    return config, TrainerConfig(**classify.TRAINERS[preset])


def _build(args: argparse.Namespace, config: ClassifyConfig, settings: TrainerConfig) -> Classify:
    if args.resume:  # all weights are in the checkpoint; those to start from may be gone
        config = replace(config, weights=None)
    return Classify(config, settings.seed, settings.steps, settings.accumulate)


def _limits(task: Classify, settings: TrainerConfig) -> TrainerConfig:
    """Epochs as updates. A cosine has an end, so --hours can only cut it short."""
    if settings.steps is None and (settings.hours is None or task.config.schedule == "cosine"):
        settings = replace(settings, steps=task.horizon)
    if settings.evaluate_every is None:
        settings = replace(settings, evaluate_every=classify.evaluation_updates(task))
    return settings


def _label(config: ClassifyConfig) -> str:
    kind, rest = parse(config.data)
    return f"{config.backbone}-{Path(rest).resolve().name if kind == 'folder' else kind}"


def _commands(run: Run) -> list[tuple[str, str]]:
    folder, steps = quoted(run.path), longer(run)
    config = run.settings["config"]
    more = "" if steps is None else f" --steps {steps}"
    if more and config["schedule"] != "constant":  # it ends, until the epochs are others
        more = f" --epochs {2 * config['epochs']:g}{more}"
    return [
        ("Score", f"{PLAY} evaluate {folder}"),
        ("Go on", f"{PLAY} train classify --resume {folder}{more}"),
    ]


def _finish(task: Classify, run: Run) -> list[str]:
    """Draw what the exported weights see; how well they do."""
    trained: Any = classify.load(run.path)
    assert isinstance(trained, Classifier)
    result = insight.draw_all(trained, task.test_pictures, run.gallery)
    return [
        f"Accuracy {result.accuracy:.2f} % ({len(result.wrong):,} of {len(result.labels):,} test "
        f"pictures wrong), {count_parameters(trained.network):,} parameters."
    ]


CLASSIFY = Door(
    name="classify",
    help="Learn to tell pictures apart.",
    config_class=ClassifyConfig,
    unit=Classify.unit,
    preset="book",
    presets={
        "book": "the textbook's deep network as written, for MNIST",
        "digits": "the same network made better: augmentation, schedule, averaged weights",
        "photos": "ResNet-18 from scratch",
        "finetune": "MobileNetV2 from published weights",
    },
    settings=_settings,
    label=_label,
    build=_build,
    figures=("loss", "accuracy", "rate"),
    commands=_commands,
    limits=_limits,
    movable=("data", "epochs"),
    about={"score": "accuracy"},
    finish=_finish,
)
