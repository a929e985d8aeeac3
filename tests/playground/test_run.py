"""A run directory: made once, written atomically, rewound on resume."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from playground.errors import UserError
from playground.run import Run, atomic_path, read_json, write_json


def test_create_and_open(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", None, {"game": "pong"}, label="pong", note=1)
    assert run.path.parent == tmp_path / "dqn" and run.name.startswith("pong-2")
    again = Run.open(run.path)
    assert again.settings == run.settings and again.task == "dqn"
    assert {"task", "config", "commit", "versions", "device", "created", "note"} <= set(
        again.settings
    )
    assert again.settings["versions"]["torch"] == torch.__version__
    second = Run.create(tmp_path, "dqn", None, {}, label="pong")
    assert second.path != run.path
    run.update(precision="fp32")
    assert Run.open(run.path).settings["precision"] == "fp32"
    assert sorted(os.listdir(run.path)) == ["config.json"]
    assert run.checkpoints.is_dir() and run.videos.is_dir() and run.gallery.is_dir()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    Run.create(tmp_path, "dqn", "mine", {})
    with pytest.raises(UserError, match=r"exists; go on with --resume"):
        Run.create(tmp_path, "dqn", "mine", {})


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/tmp/a"])
def test_a_name_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name is that of one folder"):
        Run.create(tmp_path / "runs", "dqn", name, {})
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="not a run's"):
        Run.open(tmp_path)
    with pytest.raises(UserError, match="Cannot read"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        Run.create(tmp_path / "file", "dqn", None, {})


def test_metrics(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "a", {})
    assert run.metrics() == []
    run.log(10, loss=torch.tensor(0.5), score=float("nan"), count=np.int64(3), returns=[1.0, 2])
    run.log(20, loss=float("inf"))
    lines = run.metrics()
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[0]["loss"] == 0.5 and lines[0]["score"] is None and lines[0]["count"] == 3
    assert lines[0]["returns"] == [1.0, 2] and lines[1]["loss"] is None and lines[0]["time"] > 0
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('[1]\n7\n{"loss": 1}\n{"step": "x"}\n')  # of another hand
        file.write('{"step": 30, "lo')  # torn by a crash
        file.flush()
        file.buffer.write(b"\xff\x00")
    assert len(run.metrics()) == 2
    run.rewind(10)
    run.log(15, loss=1)
    run.close()
    assert [line["step"] for line in Run.open(run.path).metrics()] == [10, 15]
    assert any((run.path / "tensorboard").iterdir())


def test_films_of_evaluations_go_back_with_the_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "dqn", "a", {})
    for step in (0, 400, 1000):
        run.film(step).write_bytes(b"")
    (run.videos / "growth.mp4").write_bytes(b"")
    assert run.films() == {step: run.film(step) for step in (0, 400, 1000)}
    run.rewind(400)
    assert list(run.films()) == [0, 400] and (run.videos / "growth.mp4").is_file()


def test_atomic_path_leaves_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as aside:
        assert aside.suffix == ".json" and aside.parent == path.parent
        aside.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1} and os.listdir(path.parent) == ["x.json"]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path, "dqn", "a", {})
    before = (run.path / "config.json").read_text()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"The disk is full: .*config\.json was not written"):
        run.update(more=1)
    assert json.loads((run.path / "config.json").read_text()) == json.loads(before)
    assert os.listdir(run.path) == ["config.json"]


def test_a_full_disk_as_safetensors_tells_it(tmp_path: Path) -> None:
    told = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(UserError, match="The disk is full"), atomic_path(tmp_path / "w"):
        raise SafetensorError(told)
    with pytest.raises(SafetensorError), atomic_path(tmp_path / "w"):
        raise SafetensorError("a programmer's mistake")
    assert os.listdir(tmp_path) == []


def test_only_one_process_trains_a_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "toy", "run", {})
    run.lock()
    run.lock()  # it has it already
    other = Run.open(run.path)
    with pytest.raises(UserError, match="Another process is training"):
        other.lock()
    run.unlock()
    other.lock()
    other.unlock()


def test_an_unkept_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.unkept("toy")
    run.lock()
    run.update(precision="fp32")
    run.log(1, loss=2.0)
    run.picture(1, "panel", np.zeros((2, 2, 3), np.uint8))
    run.rewind(0)
    run.close()
    run.unlock()
    assert run.settings["precision"] == "fp32" and not run.writes
    assert not any(folder.exists() for folder in (run.checkpoints, run.videos, run.gallery))
    assert not list(tmp_path.iterdir())


def test_a_run_belongs_to_its_data(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "toy", "run", {})
    kept: list[Path] = []
    run.belongs("pictures", {"count": 3}, "other pictures", kept.append)
    assert kept == [run.path]
    again = Run.open(run.path)
    again.belongs("pictures", {"count": 3}, "other pictures", kept.append)
    assert kept == [run.path]  # a run that goes on has its files
    with pytest.raises(UserError, match="other pictures"):
        Run.open(run.path).belongs("pictures", {"count": 4}, "other pictures", kept.append)
    assert Run.open(run.path).settings["pictures"] == {"count": 3} and kept == [run.path]
