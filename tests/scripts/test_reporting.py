"""`play.py report`: figures by hand, methods kept apart, a page that needs nothing else."""

import gzip
import json
import re
from dataclasses import replace

import pytest

from agents import dqn, references, statistics
from agents.atari import human_normalised
from playground.config import to_json
from playground.errors import UserError
from playground.run import Run
from playground.trainer import TrainerConfig
from scripts import report_runs, reporting
from scripts.play import main


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(tmp_path, game, seed, returns=(), evaluations=(), preset="laptop", **settings):
    """A run whose log has (step, return) and (step, score); its path."""
    config = replace(dqn.PRESETS[preset], game=game, **settings)
    trainer = TrainerConfig(steps=1000, seed=seed)
    name = f"{game}-s{seed}-{len(list(tmp_path.glob('dqn/*')))}"
    run = Run.create(
        tmp_path, "dqn", name, to_json(config), preset=preset, trainer=to_json(trainer),
        engine="ours",
    )  # fmt: skip
    for step, value in returns:
        run.log(step, **{"return": value}, per_second=3.0)
    for step, value in evaluations:
        bounds = {"evaluate/low": value - 1, "evaluate/high": value + 2}
        run.log(step, **{"evaluate/score": value}, **bounds)
    run.close()
    return run.path


@pytest.fixture
def four(tmp_path):
    """Two games, two seeds; Breakout's runs log at other steps than Pong's."""
    return [
        make(tmp_path, "pong", 0, [(0, -20), (1000, 0)], [(500, -10), (1000, 10)]),
        make(tmp_path, "pong", 1, [(0, -21), (1200, 3)], [(500, -12), (1200, 14)]),
        make(tmp_path, "breakout", 0, [(100, 2), (900, 10)], [(900, 20)]),
        make(tmp_path, "breakout", 1, [(200, 4), (1000, 20)], [(1000, 40)]),
    ]


METHOD = "laptop, machado"


def test_rows_and_curves_by_hand(four):
    found = reporting.figures(four)
    assert list(found["games"]) == ["breakout", "pong"] and list(found["methods"]) == [METHOD]
    (pong,), (breakout,) = found["games"]["pong"], found["games"]["breakout"]
    assert pong["agent_steps"] == [1000, 1200] and pong["frames"] == [4000, 4800]
    assert pong["seeds"] == [0, 1] and pong["evaluation"]["scores"] == [10, 14]
    assert pong["evaluation"]["mean"] == 12 and pong["evaluation"]["interval_over"] == "runs"
    half = 12.7062 * 2  # Student's t with one degree of freedom times the standard error 2
    assert pong["evaluation"]["low"] == pytest.approx(12 - half, abs=1e-3)
    assert pong["evaluation"]["human_normalised"] == pytest.approx((12 + 20.7) / (14.6 + 20.7))
    assert pong["best_evaluation"] == 12 and breakout["training"]["mean"] == 15

    curve = found["curves"]["pong"][METHOD]["training"]
    assert curve["agent_steps"] == [0, 1000] and curve["runs"] == 2
    assert curve["mean"] == [-20.5, pytest.approx((0 - 21 + 24 / 1.2) / 2)]
    assert curve["low"] == [-21, pytest.approx(-1)] and curve["high"] == [-20, 0]
    curve = found["curves"]["breakout"][METHOD]["training"]
    assert curve["agent_steps"] == [200, 900]  # where both have figures
    assert curve["mean"] == [pytest.approx((3 + 4) / 2), pytest.approx((10 + 18) / 2)]
    assert found["curves"]["breakout"][METHOD]["evaluation"]["mean"] == [30]


def test_aggregates_and_profile_are_those_of_the_last_scores(four):
    found = reporting.figures(four)
    scores = [
        [human_normalised("pong", score) for score in (10, 14)],
        [human_normalised("breakout", score) for score in (20, 40)],
    ]
    wanted = statistics.aggregates(scores)
    of = found["aggregates"]["evaluation"][METHOD]
    assert of["runs"] == 4 and of["games"] == ["pong", "breakout"]
    assert of["iqm"]["value"] == pytest.approx(sum(sorted(scores[0] + scores[1])[1:3]) / 2)
    for name, estimate in wanted.items():
        assert of[name] == vars(estimate) and estimate.low < estimate.high
    profile = found["profiles"][METHOD]
    assert profile["thresholds"][0] == 0 and profile["thresholds"][-1] == max(scores[1])
    assert profile["share"][0] == 1 and profile["share"][-1] == 0
    training = found["aggregates"]["training"][METHOD]["mean"]["value"]
    assert training != pytest.approx(of["mean"]["value"])


def test_rules_and_settings_are_never_mixed(tmp_path, four):
    other = [
        make(tmp_path, "pong", 0, evaluations=[(1000, 20)], protocol="sb3"),
        make(tmp_path, "pong", 0, evaluations=[(1000, 0)], double=True, n_step=1),
        make(tmp_path, "pong", 1, evaluations=[(1000, 1)], double=True, n_step=1),
        make(tmp_path, "pong", 0, evaluations=[(1000, 1)], preset="nature2015"),
        # The first's: how often it is looked at, and where its replay lies, changes no training.
        make(tmp_path, "pong", 2, evaluations=[(1000, 12)], eval_episodes=30, graph=True,
             replay_compression=True, replay_device="host", emulator_threads=2),
    ]  # fmt: skip
    found = reporting.figures([*four, *other])
    runs = {row["method"]: row["runs"] for row in found["games"]["pong"]}
    double = "laptop, double, n step 1, machado"
    assert runs == {METHOD: 3, "laptop, sb3": 1, double: 2, "nature2015, nature": 1}
    assert found["methods"][METHOD]["eval_episodes"] == [10, 30]
    assert any("different rules (machado, nature, sb3)" in note for note in found["notes"])
    # Only methods of the same rules are said to beat each other, on the games of both.
    (pair,) = found["improvement"]
    assert (pair["method"], pair["over"], pair["games"]) == (METHOD, double, ["pong"])
    assert pair["value"] == 1


def test_methods_that_look_alike_have_names_of_their_own(tmp_path):
    many = {"double": True, "n_step": 1, "gamma": 0.9, "hidden": 8}
    paths = [
        make(tmp_path, "pong", 0, [(1, 0)], **many, train_every=n, batch_size=n) for n in (1, 2)
    ]
    first, second = reporting.figures(paths)["methods"]
    assert first.count(" and 2 more") == 1 and second == f"{first} (2)"


def test_one_run_has_the_interval_of_its_games_and_no_other(tmp_path):
    path = make(tmp_path, "pong", 3, [(10, -20)], [(500, 5), (1000, 3)])
    found = reporting.figures([path])
    (row,) = found["games"]["pong"]
    score = row["evaluation"]
    assert (score["low"], score["high"], score["interval_over"]) == (2, 5, "games")
    assert row["best_evaluation"] == 5 and row["training"]["low"] is None
    of = found["aggregates"]["evaluation"][METHOD]["iqm"]
    assert of["low"] is None and found["profiles"][METHOD]["low"] is None
    assert any("no interval over seeds" in note and "pong" in note for note in found["notes"])
    assert found["curves"]["pong"][METHOD]["evaluation"]["mean"] == [5, 3]


def test_what_does_not_fit_is_named(tmp_path, four, capsys):
    other = Run.create(tmp_path, "classify", "digits", {"data": "mnist:x"}).path
    empty = make(tmp_path, "pong", 5)
    early = make(tmp_path, "pong", 6, [(1000, -20)])
    strange = Run.create(tmp_path, "dqn", "strange", {"game": "chess"}).path
    unknown = make(tmp_path, "entombed", 0, [(900, 3)], [(900, 3)])
    paths = [*four, other, empty, early, strange, unknown, four[0]]
    found = reporting.figures(paths)
    notes = " ".join(found["notes"])
    assert "digits is a run of classify" in notes and f"{empty.name} has logged no game" in notes
    assert f"{early.name} has no evaluation yet" in notes
    assert "strange does not say which game" in notes and "entombed has no published" in notes
    assert found["aggregates"]["evaluation"][METHOD]["games"] == ["pong", "breakout"]
    assert found["games"]["pong"][0]["runs"] == 3  # one that is named twice counts once
    assert len(found["runs"]) == 6

    assert main(["report", str(other), str(empty)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nothing to report on" in error
    assert main(["report"]) == 2
    assert "There is no run in runs" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_what_lies_among_the_runs_is_passed_over(tmp_path, four, capsys):
    broken = tmp_path / "dqn" / "broken"
    broken.mkdir()
    assert main(["report", *map(str, sorted((tmp_path / "dqn").iterdir()))]) == 0
    said = capsys.readouterr()
    assert said.err == f"Left out: {broken} is not a run: it has no config.json.\n"
    assert "broken" not in said.out
    assert main(["report", str(broken)]) == 2
    assert capsys.readouterr().err.endswith("There is nothing to report on.\n")


def test_runs_that_ended_early_do_not_end_the_curve(tmp_path):
    paths = [
        make(tmp_path, "pong", 0, [(0, -20), (1000, 0)]),
        make(tmp_path, "pong", 1, [(0, -20), (900, 0)]),
        make(tmp_path, "pong", 2, [(0, -20), (100, -18)]),
    ]
    found = reporting.figures(paths)
    curve = found["curves"]["pong"][METHOD]["training"]
    assert curve["runs"] == 2 and curve["agent_steps"][-1] == 900
    assert found["games"]["pong"][0]["training"]["scores"] == [0, 0, -18]  # it counts
    assert any("runs of 100 to 1,000 agent steps" in note for note in found["notes"])


def test_a_score_of_an_older_agent_is_told(tmp_path):
    """An evaluation that was given up, or that is still to come."""
    path = make(tmp_path, "pong", 0, [(0, -20), (600, -5), (1000, 0)], [(600, -4)])
    assert f"{path.name} has 1,000 agent steps, and was last evaluated after 600" in " ".join(
        reporting.figures([path])["notes"]
    )
    path = make(tmp_path, "pong", 1, [(0, -20), (1000, 0)], [(990, -4)])
    assert "last evaluated" not in " ".join(reporting.figures([path])["notes"])


def test_a_long_log_is_read_at_so_many_steps(tmp_path):
    path = make(tmp_path, "pong", 0, [(i, float(i)) for i in range(1000)])
    curve = reporting.figures([path])["curves"]["pong"][METHOD]["training"]
    assert len(curve["mean"]) == report_runs.POINTS and curve["mean"][-1] == 999
    assert curve["mean"] == pytest.approx(curve["agent_steps"])


def test_settings_of_an_older_version_take_the_defaults(tmp_path, four):
    file = four[0] / "config.json"
    settings = json.loads(file.read_text())
    del settings["config"]["double"], settings["trainer"]["ema"]
    file.write_text(json.dumps(settings))
    assert list(reporting.figures(four)["methods"]) == [METHOD]


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    with gzip.open(folder / "curves.csv.gz", "wt") as file:
        file.write("game,agent,iteration,mean_return\n")
        for i in range(9):
            file.write(f"pong,Rainbow,{i},{-20 + i}\nbreakout,Rainbow,{i},{i}\npong,IQN,{i},0\n")
    (folder / "nature.csv").write_text("game,nature_dqn_mean\npong,18.9\nbreakout,401.2\n")
    return folder


def test_published_figures_stand_beside(tmp_path, published, capsys):
    paths = [
        make(tmp_path, "pong", 0, [(0, -20), (1_000_000, 0)], [(1_000_000, 10)]),
        make(tmp_path, "breakout", 0, [(0, 2), (800_000, 30)], [(800_000, 20)]),
    ]
    argv = ["report", *map(str, paths), "--reference", str(published)]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    same = found["games"]["breakout"][0]["published"]["at_the_same_steps"]["Dopamine Rainbow"]
    assert same["agent_steps"] == 750_000 and same["training"]["mean"] == 2
    assert found["games"]["pong"][0]["published"]["final"]["Nature DQN"]["evaluation"]["mean"] == (
        18.9
    )
    (beside,) = found["beside"]  # IQN has not all games
    wanted = [[human_normalised("pong", -17)], [human_normalised("breakout", 2)]]
    assert beside["name"] == "Dopamine Rainbow"
    assert beside["iqm"] == pytest.approx(statistics.iqm(wanted))
    curve = found["published"]["curves"]["Dopamine Rainbow"]["pong"]
    assert [step for step, _ in curve] == [250_000 * i for i in range(1, 6)]  # a little further

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    charts = re.findall(r'aria-label="([^"]*)"', page)
    training = [chart for chart in charts if chart.startswith("Training")]
    evaluation = [chart for chart in charts if chart.startswith("Evaluations")]
    assert all("Dopamine Rainbow, sticky" in chart for chart in training)
    assert all("Dopamine" not in chart and "Nature DQN" in chart for chart in evaluation)
    assert "Nature DQN, final 401.2" in page and "training returns, sticky actions 0.25" in page


def test_published_figures_of_other_rules_are_said_to_be_such(tmp_path, published, capsys):
    steps = [(0, -20), (1_000_000, 0)]
    paths = [
        make(tmp_path, "pong", 0, steps, [(1_000_000, 10)], protocol="sb3"),
        make(tmp_path, "pong", 0, steps, [(1_000_000, 10)]),
        make(tmp_path, "pong", 0, steps, [(1_000_000, 10)], protocol="nature", double=True),
        make(tmp_path, "pong", 0, steps, [(1_000_000, 10)], protocol="machado_lives"),
    ]
    argv = ["report", *map(str, paths), "--reference", str(published)]
    assert main(argv) == 0
    printed, page = capsys.readouterr().out, (tmp_path / "report.html").read_text("utf-8")
    for note in (
        "laptop, sb3 plays without sticky actions, Dopamine Rainbow, Dopamine IQN with: their",
        "laptop, double, nature plays without sticky actions, Dopamine Rainbow, Dopamine IQN with",
        "laptop, machado plays with sticky actions, Nature DQN without: their scores stand",
        "laptop, machado_lives is told of lost lives in training, Dopamine Rainbow, Dopamine IQN "
        "not: their scores stand",
    ):
        assert note in printed and note in page
    found = reporting.figures(paths, references.read(published))
    assert {of["at_the_steps_of"] for of in found["beside"]} == {METHOD}
    assert main(argv[:-2]) == 0
    assert "do not compare" not in capsys.readouterr().out


def test_a_short_training_has_no_published_point_yet(tmp_path, four, published):
    assert main(["report", *map(str, four), "--reference", str(published), "--json"]) == 0
    found = reporting.figures(four, reporting.read(published))
    assert found["beside"] == [] and found["published"]["curves"]["Dopamine IQN"] == {}


def test_the_page_is_whole_and_the_words_tell_the_same(tmp_path, four, capsys):
    assert main(["report", *map(str, four), "--out", "new/a.html"]) == 0
    printed = capsys.readouterr().out
    assert "last evaluation   12.0 (-13.4 to 37.4), 0.93 human" in printed
    assert re.search(r"IQM of evaluation scores  0\.\d+ \(0\.\d+ to \d\.\d+\)", printed)
    assert printed.rstrip().endswith("new/a.html")
    page = (tmp_path / "new" / "a.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|src=", page) and "default-src 'none'" in page
    assert page.count("<svg") == 5 and "below in frames" in page and METHOD in page
    assert "12.0 (-13.4 to 37.4), 0.93 human" in page and "sticky actions 0.25" in page
    for path in four:
        assert str(path) in page
    assert sorted(p.name for p in four[0].iterdir()) == ["config.json", "metrics.jsonl",
                                                         "tensorboard"]  # fmt: skip


def test_mistakes_are_one_sentence(tmp_path, four, capsys):
    for argv, says in (
        (["--out", "a.txt"], "written as .html"),
        (["--reference", "none"], "There is no none"),
        (["--reference", str(four[0])], "no published figures"),
    ):
        assert main(["report", *map(str, four), *argv]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    with pytest.raises(UserError):
        reporting.figures([])
