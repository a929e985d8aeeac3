"""What every `train` verb says and takes alike."""

import math
import os
import shlex
import signal
from pathlib import Path

import pytest

from playground import checkpoint
from playground.errors import UserError
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts import training
from scripts.progress import Line
from scripts.train_dqn import DQN
from scripts.training import quoted


@pytest.mark.parametrize("word", [Path("runs/dqn/a"), "the scream", "it's $HOME"])
def test_words_come_through_a_posix_shell(word, monkeypatch):
    monkeypatch.setattr(os, "name", "posix")
    assert shlex.split(quoted(word)) == [str(word)]


def test_cmd_gets_double_quotes_and_only_where_they_are_needed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        found = [quoted(r"C:\My runs\a"), quoted(r"C:\runs\a"), quoted("it's")]
    assert found == [r'"C:\My runs\a"', r"C:\runs\a", "it's"]


def test_after_a_training_the_first_ctrl_c_lets_the_page_be_finished(capfd):
    with training.finishing(lambda: False):
        signal.raise_signal(signal.SIGINT)
    assert "finishing the page; once more breaks off" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt), training.finishing(lambda: False):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_training_that_was_asked_to_end_is_not_asked_again(capfd):
    with pytest.raises(KeyboardInterrupt), training.finishing(lambda: True):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_a_score_that_is_no_number_is_told(capsys):
    show = training.progress_line(DQN, "pong", Line())
    show({"progress": 5, "score": math.nan, "best": None})
    show({"progress": 6, "score": math.nan, "best": 1.5})
    assert capsys.readouterr().out.splitlines() == [
        "         5 steps  pong: evaluation nan, best none",
        "         6 steps  pong: evaluation nan, best 1.50",
    ]


@pytest.mark.parametrize(("engine", "kept"), [("sb3", True), ("ours", False)])
def test_weights_of_the_other_engine_are_something(tmp_path, engine, kept):
    """Ours writes some at the very start."""
    run = Run.create(tmp_path, "dqn", "a", {}, engine=engine)
    (run.path / "last.safetensors").touch()
    with pytest.raises(KeyboardInterrupt), training.removed_if_empty(run):
        raise KeyboardInterrupt
    assert run.path.exists() == kept


def test_a_run_that_saved_nothing_to_go_on_from_names_its_weights(tmp_path):
    run = Run.create(tmp_path, "dqn", "a", {"start": None})
    with pytest.raises(UserError, match=r"no good checkpoint to go on from\.$"):
        training._check_going_on(run, TrainerConfig(), DQN)
    (run.path / "last.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"learn on from its weights: --start .*last\.safetensors"):
        training._check_going_on(run, TrainerConfig(), DQN)


def test_what_is_left_to_do_is_that_of_the_newest_good_checkpoint(tmp_path):
    run = Run.create(tmp_path, "dqn", "a", {})
    checkpoint.save(run.checkpoints, 200, {"owed": False})
    newest = checkpoint.save(run.checkpoints, 400, {"owed": False})
    with pytest.raises(UserError, match="has 400 agent steps already"):
        training._check_going_on(run, TrainerConfig(steps=400), DQN)
    training._check_going_on(run, TrainerConfig(steps=401), DQN)
    training._check_going_on(run, TrainerConfig(hours=1), DQN)
    (newest / "state.json").write_text("torn")
    training._check_going_on(run, TrainerConfig(steps=400), DQN)
    checkpoint.save(run.checkpoints, 400, {"owed": True})  # its evaluation was given up
    training._check_going_on(run, TrainerConfig(steps=400), DQN)
