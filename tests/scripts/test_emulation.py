"""The benchmark `emulation`: both ways play, and a rate is by hand."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from agents.atari import VectorAtari, protocol
from scripts.benchmarks import emulation


def test_both_ways_are_measured_at_their_smallest(tmp_path, monkeypatch, capsys) -> None:
    words = ["--games", "Pong", "--envs", "1,2", "--threads", "1", "--seconds", "0.01"]
    out = tmp_path / "a.json"
    argv = ["emulation.py", *words, "--blocks", "3", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    assert emulation.main() == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["game"], row["envs"]) for row in rows] == [("pong", 1), ("pong", 2)]
    for row in rows:
        assert row["ratio"] == row["ours"] / row["ale-py"] > 0
        for way in emulation.WAYS:
            assert sorted(row["blocks"][way])[1] == row[way]
    assert f"| pong | 2 | {rows[1]['ours']:,.0f} |" in capsys.readouterr().out


def test_both_ways_play_the_same_games() -> None:
    """So that one does not lose for playing otherwise."""
    rules = protocol("machado")
    ours, bare = VectorAtari("pong", 2, rules, 5, 1), emulation.native("pong", 2, rules, 1)
    seeds = np.array([3, 4])
    ours._env.reset(seed=seeds)
    bare.reset(seed=seeds)
    for _ in range(30):
        (one, *_), (other, *_) = ours._env.step(np.array([2, 3])), bare.step(np.array([2, 3]))
        np.testing.assert_array_equal(one, other)
    ours.close()
    bare.close()


def test_a_rate_by_hand(monkeypatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(emulation, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    taken = []
    # Begun at 0; looked at the clock at 1, 2 and 3: two steps of 5 games with 4 frames in 3 s
    assert emulation.frames_per_second(taken.append, np.arange(5)[None], 3) == 2 * 5 * 4 / 3
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--envs", "8,0"], "numbers from 1"),
        (["--games", "pnog"], "no Atari game 'pnog'"),
        (["--blocks", "0"], "--blocks starts at 1"),
    ],
)
def test_mistakes_are_one_sentence(words, says, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["emulation.py", *words])
    assert emulation.main() == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
