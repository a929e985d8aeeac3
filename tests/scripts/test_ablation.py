"""The benchmark `ablation`: what it would train, what it skips, and its figures by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from playground import checkpoint
from playground.run import Run
from scripts.benchmarks import ablation
from scripts.benchmarks.ablation import ARMS, Cell
from scripts.sweep_queue import Sweep


def arguments(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["ablation.py", *words])
    return ablation.arguments()


def a_run(cell: Cell, runs: Path, steps: int, score: float, precision: str = "fp32") -> None:
    folder = cell.folder(runs)
    run = Run.create(runs, "dqn", folder.name, {}, trainer={"precision": precision})
    run.log(steps // 2, **{"return": -99.0, "evaluate/score": -98.0})
    run.log(steps, **{"return": score, "evaluate/score": score + 1})
    run.close()
    checkpoint.save(folder / "checkpoints", steps, {"owed": False})


def test_each_arm_leaves_out_one_ingredient_of_the_whole() -> None:
    import argparse

    from agents.presets import PRESETS, DQNConfig
    from playground.config import add_arguments, apply_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser, DQNConfig)
    settings = {
        arm: vars(apply_arguments(PRESETS["laptop"], parser.parse_args(flags.split())))
        for arm, flags in ARMS.items()
    }
    whole = settings.pop("all")
    assert settings.pop("laptop") == vars(PRESETS["laptop"])
    changed = {
        arm: [key for key in whole if whole[key] != own[key]] for arm, own in settings.items()
    }
    assert changed == {
        "no quantiles": ["distribution"], "no Munchausen": ["munchausen"], "no n-step": ["n_step"],
        "no priorities": ["priority"], "no dueling": ["dueling"], "no LayerNorm": ["layer_norm"],
    }  # fmt: skip


def test_it_trains_what_is_missing_and_goes_on_with_what_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(monkeypatch, "--runs", str(tmp_path), "--steps", "1000", "--threads", "1")
    done, half, new = (Cell("no n-step", "pong", seed) for seed in range(3))
    a_run(done, tmp_path, 1000, 3.0)
    a_run(half, tmp_path, 500, 3.0)
    given: dict[str, list[str]] = {}
    monkeypatch.setattr(
        Sweep, "run", lambda sweep: given.update({j.name: sweep.command(j) for j in sweep.jobs})
    )
    assert not ablation.train([done, half, new], args, {})
    assert list(given) == ["no-n-step-pong-s1", "no-n-step-pong-s2"]
    assert given["no-n-step-pong-s1"] == ablation.command_of(half, args, "fp32")
    assert ablation.train([done], args, {})
    assert "--resume" in (words := ablation.command_of(half, args, "fp32"))
    assert words[words.index("--resume") + 1] == str(half.folder(tmp_path))
    words = ablation.command_of(new, args, "fp32")
    assert words[words.index("--name") + 1] == "no-n-step-pong-s2"
    assert words[words.index("--n-step") + 1] == "1" and "--resume" not in words
    assert words[words.index("--seed") + 1] == "2"
    for cell in (half, new):  # never measured cell by cell
        words = ablation.command_of(cell, args, "bf16")
        assert words[words.index("--precision") + 1] == "bf16"


def test_what_is_compared_has_one_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(monkeypatch, "--runs", str(tmp_path), "--precision", "bf16")
    a_run(Cell("no dueling", "pong", 0), tmp_path, 500, 3.0, "fp32")
    known = {Cell("laptop", "pong", 1): {"precision": "fp16"}}
    cells = [Cell("all", game, seed) for game in ("pong", "breakout") for seed in range(2)]
    found = [ablation.precision(cell, args, known) for cell in cells]
    assert found == ["fp32", "fp16", "bf16", "bf16"]


def test_its_figures_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(monkeypatch, "--runs", str(tmp_path), "--steps", "1000")
    cells = [
        Cell(arm, game, seed) for arm in ("all", "no dueling") for game in ("pong", "breakout")
        for seed in range(2)
    ]  # fmt: skip
    assert ablation.report(cells, args) == ""
    # Random and human: Pong -20.7 and 14.6, Breakout 1.7 and 30.5
    scores = {"all": (14.6, -20.7, 30.5, 30.5), "no dueling": (-20.7, -20.7, 1.7, 30.5)}
    for cell in cells:
        place = 2 * (cell.game == "breakout") + cell.seed
        a_run(cell, tmp_path, 1000, scores[cell.arm][place])
    a_run(Cell("no n-step", "pong", 0), tmp_path, 500, 9.0)  # unfinished: not in the table
    told = ablation.report([*cells, Cell("no n-step", "pong", 0)], args)
    assert told.startswith("8 of 9 trainings, 1,000 agent steps each")
    assert "| all | -3.0 (14.6, -20.7) | 30.5 (30.5, 30.5) | 0.750" in told
    whole, without = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert whole["mean"]["value"] == pytest.approx(0.75)
    assert without["mean"]["value"] == pytest.approx(0.25)
    # Pong: 14.6 beats both, -20.7 ties with both; Breakout: each beats one and ties with one.
    assert without["all_beats_it"]["value"] == pytest.approx(0.75)
    assert whole["all_beats_it"] is None
    args = arguments(
        monkeypatch, "--runs", str(tmp_path), "--steps", "1000", "--score", "evaluation"
    )
    assert "| all | -2.0 (15.6, -19.7) | 31.5 (31.5, 31.5) |" in ablation.report(cells, args)


def test_scores_of_before_are_kept_without_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    words = ["ablation.py", "--steps", "1000", "--seeds", "1", "--arms", "all,laptop"]
    for cell in (Cell("all", "pong", 0), Cell("all", "breakout", 0)):
        a_run(cell, before, 1000, 2.0)
    monkeypatch.setattr(sys, "argv", [*words, "--runs", str(before), "--report"])
    assert ablation.main() == 0
    asked: list[str] = []

    def run(sweep: Sweep) -> None:
        asked.extend(job.name for job in sweep.jobs)
        for job in sweep.jobs:
            job.state, job.said = "failed", "It is broken"

    monkeypatch.setattr(Sweep, "run", run)
    known = ["--known", str(before / "ablation.json")]
    a_run(Cell("laptop", "pong", 0), now, 1000, 3.0)
    monkeypatch.setattr(sys, "argv", [*words, "--runs", str(now), *known])
    capsys.readouterr()
    assert ablation.main() == 1 and asked == ["laptop-breakout-s0"]
    said = capsys.readouterr()
    assert "| all | 2.0 (2.0) | 2.0 (2.0) |" in said.out
    assert "laptop-breakout-s0: It is broken (all that it said is in" in said.err
    cells = json.loads((now / "ablation.json").read_text())["cells"]
    commit = Run.open(Cell("all", "pong", 0).folder(before)).settings["commit"]
    assert cells[0] == {
        **{"arm": "all", "game": "pong", "seed": 0, "training": 2.0, "evaluation": 3.0},
        **{"precision": "fp32", "commit": commit},
    }
    assert [row["arm"] for row in cells] == ["all", "all", "laptop"]
    fewer = ["--runs", str(now), "--known", str(now / "ablation.json"), "--report"]
    monkeypatch.setattr(sys, "argv", [*words[:5], "--arms", "no dueling", *fewer])
    assert ablation.main() == 0  # what is asked for is told, what is known is kept
    assert json.loads((now / "ablation.json").read_text())["cells"] == cells
    monkeypatch.setattr(sys, "argv", [*words[:2], "2000", "--runs", str(now), *known])
    assert ablation.main() == 2 and "of steps 1000, not 2000" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--runs", str(now), *known, "--flags", "--width 1"])
    assert ablation.main() == 2 and "of flags '', not '--width 1'" in capsys.readouterr().err


def test_an_unknown_arm_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation.py", "--arms", "no luck"])
    assert ablation.main() == 2
    assert "There is no arm 'no luck'" in capsys.readouterr().err
