"""DQN in two processes: replays and emulators of their own, one set of weights."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from playground.run import Run

PROGRAM = Path(__file__).with_name("dqn_program.py")
spec = importlib.util.spec_from_file_location("dqn_program", PROGRAM)
assert spec is not None and spec.loader is not None
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dqn")


@pytest.fixture(scope="module")
def found(folder: Path) -> Any:
    """By run, the outcome of each of two processes."""
    program.train(folder, "to grow", 1, 180)
    torch.use_deterministic_algorithms(False)
    command = [sys.executable, str(PROGRAM), str(folder)]
    environment = {"PYTHONPATH": str(PROGRAM.parents[2]), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=os.environ | environment, check=True, timeout=1200)
    return torch.load(folder / "found.pt")


def same_weights(one: dict[str, Any], other: dict[str, Any]) -> bool:
    pairs = zip(one["weights"].values(), other["weights"].values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_two_processes_share_weights_and_nothing_else(folder: Path, found: Any) -> None:
    first, second = found["whole"]
    assert same_weights(first, second)
    assert not torch.equal(first["frames"], second["frames"])
    assert first["progress"] == second["progress"] >= 360
    made = sum(one["written"] * 3 for one in (first, second))  # with final rows
    assert 0.9 * made < first["progress"] <= made
    # An update for 6 agent steps of each process, once 60 were made by both.
    assert first["updates"] == second["updates"] == pytest.approx((360 - 60) / 12, abs=3)
    assert {path.name for path in (folder / "dqn" / "whole").glob("replay*")} == {
        "replay",
        "replay.1",
    }


@pytest.mark.parametrize("kind", ["", "beyond ", "minutes "])
def test_two_processes_resume_exactly(kind: str, found: Any) -> None:
    first, second = found[f"{kind}whole"]
    assert same_weights(first, second) and first["updates"] > 5
    assert not torch.equal(first["frames"], second["frames"])
    for one, other in zip(found[f"{kind}whole"], found[f"{kind}halfway"], strict=True):
        assert same_weights(one, other)
        assert torch.equal(one["frames"], other["frames"])
        assert torch.equal(one["priorities"], other["priorities"])
        assert one["progress"] == other["progress"] and one["updates"] == other["updates"]


def test_a_process_that_joins_begins_with_an_empty_replay(folder: Path, found: Any) -> None:
    first, second = found["to grow"]
    assert first["rows_at_first"] >= 60 and second["rows_at_first"] == 0
    assert same_weights(first, second) and first["progress"] == second["progress"] >= 360
    assert first["updates"] == second["updates"] > (180 - 60) / 6
    assert second["written"] > 25
    assert (folder / "dqn" / "to grow" / "replay.1-180").is_dir()


def test_one_process_goes_on_with_its_own_replay(folder: Path, found: Any) -> None:
    first, second = found["to shrink"]
    assert first["updates"] == second["updates"]
    alone = program.outcome(program.train(folder, "to shrink", 1, 540, resume=True))
    torch.use_deterministic_algorithms(False)
    assert alone["rows_at_first"] == first["written"] and alone["progress"] >= 540
    assert alone["updates"] == pytest.approx(first["updates"] + 360 / 6, abs=3)
    # The other one's rows go when no checkpoint needs them.
    assert [path.name for path in (folder / "dqn" / "to shrink").glob("replay*")] == ["replay"]
    assert len(Run.open(folder / "dqn" / "to shrink").metrics()) > 5
