"""The benchmark `resume_exact` in short: a classification killed once, by the command line."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from playground.run import Run
from scripts.benchmarks import resume_exact


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_killed_and_resumed_is_as_left_alone(tmp_path: Path) -> None:
    """Augmentation, dropout, batch norm, EMA, schedule, accumulated updates: bit for bit."""
    args = argparse.Namespace(
        task="classify", seed=3, steps=90, every=10, width=0.25, devices=1,
        data=resume_exact.made_digits(tmp_path / "made"),
    )  # fmt: skip
    alone = resume_exact.start(
        args.task, resume_exact.first_command(args, tmp_path / "one", "alone")
    )
    attempt = resume_exact.Attempt(
        args.task, resume_exact.first_command(args, tmp_path / "other", "killed")
    )
    path = tmp_path / "other" / "classify" / "killed"
    while not resume_exact.progress(path) and attempt.process.poll() is None:
        time.sleep(0.005)
    assert attempt.kill(), "it ended before it was killed"
    assert 0 < resume_exact.progress(path) < 90
    attempt = resume_exact.Attempt(args.task, ["--resume", str(path)])
    attempt.process.wait()
    assert not attempt.kill() and alone.wait() == 0
    assert alone.stdout is not None
    alone.stdout.close()
    whole = Run.open(tmp_path / "one" / "classify" / "alone")
    assert resume_exact.compare(whole, Run.open(path)) is None


def test_differences_are_told() -> None:
    tree = {"a": [1, 2.0], "b": torch.zeros(3), "c": np.float32(1), "d": b"x"}
    assert resume_exact.first_difference(tree, dict(tree), "t") is None
    for key, value, told in (
        ("a", [1, 2.5], "t.a[1]: 2.0 and 2.5"),
        ("a", [1], "t.a: 2 and 1 entries"),
        ("b", torch.tensor([0.0, -0.0, 0.0]), "t.b: 1 bytes differ"),
        ("b", torch.zeros(3, dtype=torch.float64), "t.b: float32[3] and float64[3]"),
        ("d", b"y", "t.d: other contents"),
        ("a", (1, 2.0), "t.a: list and tuple"),
    ):
        assert resume_exact.first_difference(tree, tree | {key: value}, "t") == told
