"""What every `train` verb says and takes alike."""

import os
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from playground.errors import UserError
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts import training
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


def test_ctrl_c_at_the_end_leaves_the_page_all_the_same(tmp_path, capfd):
    run = Run.create(tmp_path, "dqn", "a", {})

    def finish(task, run):
        signal.raise_signal(signal.SIGINT)
        return ["a film"]

    training._finish(None, run, replace(DQN, finish=finish))
    found = capfd.readouterr()
    assert "once more breaks off" in found.err and "a film" in found.out
    assert (run.gallery / "index.html").is_file()
    with pytest.raises(KeyboardInterrupt):
        training._finish(None, run, replace(DQN, finish=lambda *_: finish(*_) + finish(*_)))


def test_a_run_that_saved_nothing_to_go_on_from_names_its_weights(tmp_path):
    run = Run.create(tmp_path, "dqn", "a", {"start": None})
    with pytest.raises(UserError, match=r"no checkpoint to go on from\.$"):
        training._check_going_on(run, TrainerConfig(), DQN)
    (run.path / "last.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"learn on from its weights: --start .*last\.safetensors"):
        training._check_going_on(run, TrainerConfig(), DQN)
