"""The door of `train dqn`: each preset's settings, and the task that they make."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from agents.dqn import DQN, PRESETS, TRAINERS
from agents.pqn import PQN
from playground.media import read_video
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts import train_dqn
from scripts.play import main


def test_every_preset_is_whole_and_told() -> None:
    assert set(PRESETS) == set(TRAINERS) == set(train_dqn.DQN.presets)
    for name in PRESETS:
        config, settings = train_dqn.DQN.settings(name, argparse.Namespace())
        config.check()
        settings.check()


@pytest.mark.parametrize(("preset", "kind"), [("laptop", DQN), ("minutes", PQN)])
def test_the_algorithm_decides_the_task(preset: str, kind: type) -> None:
    config = replace(PRESETS[preset], envs=2, rollout=8, batch_size=4, replay_capacity=100)
    task = train_dqn.DQN.build(
        argparse.Namespace(refill=True, resume=None), config, TrainerConfig(seed=3)
    )
    assert type(task) is kind and task.refill
    task.close()


def test_a_training_leaves_a_film_of_its_growth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--game entombed --envs 2 --width 0.25 --hidden 16 --eval-episodes 1 --eval-film 0.1"
    words += " --precision fp32 --threads 1 --steps 150 --evaluate-every 60 --name a"
    dqn = "--warmup 40 --replay-capacity 300 --batch-size 8"
    assert main(["train", "dqn", "--runs", str(tmp_path), *words.split(), *dqn.split()]) == 0
    run = Run.open(tmp_path / "dqn" / "a")
    assert list(run.films()) == [0, 60, 120, 150]
    growth = run.videos / "growth.mp4"
    assert f"Growth   {growth}" in capsys.readouterr().out
    frames, fps = read_video(growth)
    assert (len(list(frames)), fps) == (6, 60)
    page = (run.gallery / "index.html").read_text()
    assert page.index("film growth.mp4") < page.index("film 0000000000.mp4")


def test_growth_takes_the_first_the_last_and_one_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[tuple[str, str]]] = []

    def beside(films: dict[str, Path], out: Path) -> None:
        shown.append([(name, path.stem.lstrip("0")) for name, path in films.items()])

    monkeypatch.setattr(train_dqn, "beside", beside)
    run = Run.create(tmp_path, "dqn", "a", {})
    for step in (0, 250_000, 500_000, 1_000_000):
        run.film(step).write_bytes(b"")
        train_dqn.DQN.finish(None, run)
    at = {step: (f"{step:,} agent steps", str(step)) for step in (250_000, 500_000, 1_000_000)}
    before = ("before", "")
    assert shown == [
        [before, at[250_000]],
        [before, at[250_000], at[500_000]],
        [before, at[500_000], at[1_000_000]],
    ]


def test_films_that_are_broken_end_no_training(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "a", {})
    for step in (0, 60):
        run.film(step).write_bytes(b"no film")
    (sentence,) = train_dqn.DQN.finish(None, run)
    assert sentence.startswith("No film of its growth:") and "\n" not in sentence
    assert not (run.videos / "growth.mp4").exists()
