"""What the evaluations of a GAN's training say of collapse."""

import json
import sys

import pytest

from playground.errors import UserError
from playground.run import Run, read_json
from scripts.benchmarks import dcgan_collapse
from scripts.benchmarks.dcgan_collapse import verdict


def lines(*figures: tuple[float, float, float]) -> list[dict[str, float]]:
    names = ("evaluate/fid", "evaluate/recall", "evaluate/coverage")
    return [
        {"step": 100 * i, **dict(zip(names, row, strict=True))} for i, row in enumerate(figures, 1)
    ]


def test_a_run_that_got_better_to_the_end_has_not_collapsed():
    found = verdict(lines((30, 0.1, 0.1), (12, 0.4, 0.3), (10, 0.5, 0.4)))
    assert (found["best_fid"], found["last_fid"], found["ratio"]) == (10, 10, 1)
    assert found["best_at"] == found["updates"] == 300
    assert found["kept"] == {"recall": 1, "coverage": 1}
    assert not found["collapsed"] and not found["strayed"]


def test_what_ends_under_half_of_its_best_has_collapsed():
    assert verdict(lines((10, 0.4, 0.8), (10.5, 0.4, 0.39)))["collapsed"]
    assert verdict(lines((10, 0.4, 0.8), (10.5, 0.19, 0.8)))["collapsed"]
    half = verdict(lines((10, 0.4, 0.8), (11.5, 0.2, 0.4)))
    assert not half["collapsed"] and half["strayed"] and half["best_at"] == 100


def test_what_never_had_any_recall_has_collapsed_too():
    found = verdict(lines((10, 0, 0.5), (9, 0, 0.5)))
    assert found["kept"] == {"recall": None, "coverage": 1} and found["collapsed"]


def test_runs_are_read_told_and_counted(tmp_path, monkeypatch, capsys):
    for name, last in (("steady", (9.0, 0.5, 0.5)), ("lost", (50.0, 0.0, 0.1))):
        run = Run.create(tmp_path, "dcgan", name, {})
        logged = [
            {"step": 50, "critic_loss": 1.0},
            {"step": 60, "evaluate/fid": None},
            *lines((10, 0.4, 0.5), last),
        ]
        (run.path / "metrics.jsonl").write_text("\n".join(map(json.dumps, logged)))
    runs = [str(tmp_path / "dcgan" / name) for name in ("steady", "lost")]
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["dcgan_collapse.py", *runs, "--json", str(out)])
    assert dcgan_collapse.main() == 0
    said = capsys.readouterr().out
    assert "steady: fid 9.0 after 200 updates" in said and "1 of 2 collapsed, 1 ended" in said
    assert "lost: fid 50.0" in said and "COLLAPSED" in said
    assert read_json(out)[runs[1]]["collapsed"] is True


def test_a_run_without_evaluations(tmp_path, monkeypatch):
    Run.create(tmp_path, "dcgan", "none", {})
    monkeypatch.setattr(sys, "argv", ["dcgan_collapse.py", str(tmp_path / "dcgan" / "none")])
    with pytest.raises(UserError, match="no evaluations"):
        dcgan_collapse.main()
