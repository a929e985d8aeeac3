"""A sweep: its plan, its queue with children that fail or are interrupted, and a small real one."""

import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from playground import checkpoint
from playground.config import to_json
from playground.errors import UserError
from playground.run import Run, read_json
from scripts import play, sweep_queue, sweeping
from scripts.play import main
from scripts.sweep_queue import Board, Job, Sweep, is_done, share
from scripts.train_dqn import DQN
from scripts.training import fresh

CHILD = Path(__file__).with_name("sweep_child.py")
SMALL = [
    *("--envs", "2", "--warmup", "40", "--replay-capacity", "300", "--batch-size", "8"),
    *("--width", "0.25", "--hidden", "16", "--eval-episodes", "1", "--eval-film", "0"),
    *("--precision", "fp32", "--log-every", "50", "--jobs", "9"),  # 9 share the cores: one each
]


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_queue, "POLL_SECONDS", 0.02)


def parse(*words):
    args = play._parser().parse_args(["train", "dqn", *words])
    args.words = ["train", "dqn", *words]
    return args


def sweep_of(tmp_path, whats, at_once=1, seconds=0.1, steps=100, hours=None):
    """A sweep of stand-ins, named a, b, c ... in this order."""
    jobs = [Job(chr(97 + i), "pong", i, tmp_path / chr(97 + i)) for i in range(len(whats))]

    def command(job):
        what = whats[job.seed]
        wait = seconds if job.hours is None else job.hours * 3600
        return [sys.executable, str(CHILD), str(job.path), what, str(wait)]

    return Sweep(jobs, command, at_once, hours, steps, tmp_path / "logs")


def times(tmp_path, name):
    return [float(line.split()[0]) for line in (tmp_path / f"{name}.tries").open()]


# the plan


def test_a_plan_has_every_game_and_seed(tmp_path):
    args = parse("--games", "Pong,breakout,pong", "--seeds", "2", "--seed", "5", "--steps", "20000",
                 "--runs", str(tmp_path))  # fmt: skip
    jobs = sweeping.plan(args, DQN)
    assert [job.name for job in jobs] == ["pong-s5", "breakout-s5", "pong-s6", "breakout-s6"]
    assert jobs[3].path == tmp_path / "dqn" / "breakout-s6"
    assert {job.state for job in jobs} == {"waiting"}
    (one,) = sweeping.plan(parse("--game", "boxing", "--jobs", "2", "--hours", "1"), DQN)
    assert one.name == "boxing-s0"
    (named,) = sweeping.plan(parse("--games", "boxing", "--name", "night", "--hours", "1"), DQN)
    assert named.name == "night-boxing-s0"


def test_an_empty_list_of_games_is_no_game(capsys):
    """Such as that of a variable that is not set."""
    assert main(["train", "dqn", "--games", "", "--steps", "20000"]) == 2
    assert "needs the name of a game" in capsys.readouterr().err


def test_a_sweep_without_limits_takes_a_night(monkeypatch, capsys):
    monkeypatch.setattr(Sweep, "run", lambda sweep: print(sweep.hours, sweep.steps))
    assert main(["train", "dqn", "--games", "pong,breakout", "--seeds", "3", "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "6 trainings, 2 at a time, in 8 h, into runs" in printed and "8.0 None" in printed
    assert main(["train", "dqn", "--games", "pong", "--steps", "20000"]) == 0
    assert "None 20000" in (printed := capsys.readouterr().out) and " h, " not in printed


def test_children_get_all_other_words():
    words = [
        *("--games", "a,b", "--double", "--seeds=3", "--width", "0.5", "--jobs", "2"),
        *("--hours", "8", "--name", "x", "--seed", "1", "--preset", "nature2015"),
        *("--steps", "1e6"),
    ]
    kept = ["--double", "--width", "0.5", "--preset", "nature2015", "--steps", "1e6"]
    assert sweeping._words_of_all(words) == kept
    args = parse("--games", "pong", "--double", "--steps", "1000", "--no-compile", "--keep", "3",
                 "--checkpoint-minutes", "none")  # fmt: skip
    limits = ["--steps", "1000", "--no-compile", "--checkpoint-minutes", "none", "--keep", "3"]
    assert sweeping._limits(args, sweeping.ON_RESUME) == limits  # what a resumed one may be told


def test_a_training_that_goes_on_gets_what_is_movable_and_its_share_of_the_cores(
    tmp_path, monkeypatch
):
    words = ["--games", "pong", "--seeds", "2", "--steps", "20000", "--jobs", "2", "--no-graph"]
    words += ["--replay-device", "host", "--runs", str(tmp_path)]
    old, new = sweeping.plan(parse(*words), DQN)
    old.path.mkdir(parents=True)
    given = {}

    def run(sweep):
        given.update({job.name: sweep.command(job) for job in sweep.jobs})

    monkeypatch.setattr(sweeping, "_cores", lambda: 6)
    monkeypatch.setattr(sweeping, "plan", lambda args, door: [old, new])
    monkeypatch.setattr(Sweep, "run", run)
    sweeping.run_sweep(parse(*words), DQN, words)
    shares = ["--threads", "3", "--emulator-threads", "3"]
    assert given[old.name][4:] == [
        *("--runs", str(tmp_path), "--resume", str(old.path), "--steps", "20000"),
        *("--no-graph", "--replay-device", "host", *shares),
    ]
    assert given[new.name][-4:] == shares and "--resume" not in given[new.name]
    words += ["--threads", "1", "--emulator-threads", "2"]
    sweeping.run_sweep(parse(*words), DQN, words)
    for command in given.values():  # what was said holds
        for flag, value in (("--threads", "1"), ("--emulator-threads", "2")):
            assert command.count(flag) == 1 and command[command.index(flag) + 1] == value


def test_the_replays_of_all_that_run_at_a_time_must_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.checks.available_memory", lambda: 24 * 10**9)
    sweep = ["--games", "pong,boxing", "--seeds", "2", "--hours", "8", "--preset", "beyond"]
    for words, says in (
        (["--jobs", "4"], "of 4 times 1,048,576 agent steps needs 29.6 GB of memory, 24.0 GB are"),
        (["--jobs", "2", "--devices", "2"], "lower --replay-capacity or --jobs, or add --replay-c"),
        (["--engine", "sb3", "--preset", "sb3"], "1,000,000 agent steps needs 56.4 GB"),
    ):
        assert main(["train", "dqn", *sweep, *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1 and not Path("runs").exists()
    for words in (
        ["--jobs", "3"],
        ["--jobs", "4", "--replay-compression"],
        ["--jobs", "4", "--steps", "500000"],  # it is never filled
        ["--jobs", "4", "--seeds", "1"],  # there are but two
        ["--jobs", "4", "--preset", "minutes"],  # without a replay
    ):
        assert sweeping.plan(parse(*sweep, *words), DQN)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--games pong --hours none", "needs --steps or --hours"),
        ("--games pong,pnog --steps 20000", "no Atari game 'pnog'"),
        ("--games , --steps 20000", "needs the name of a game"),
        ("--games pong --game pong --steps 20000", "without --game"),
        ("--games pong --steps 20000 --seeds 0", "--seeds must be at least 1"),
        ("--games pong --steps 20000 --jobs 0", "--jobs must be at least 1"),
        ("--games pong --steps 20000 --resume runs/dqn/a", "leave out --resume"),
        ("--games pong --steps 20000 --watch", "--watch is for one training"),
        ("--games pong --steps 20000 --gamma 2", "--gamma must lie between"),
        ("--games pong --steps -1", "--steps must be above 0"),
        ("--games pong --steps 20000 --name ../night", "name is that of one folder"),
        ("--games pong,breakout --steps 5000", "Nothing would be learned in --steps 5000"),
        ("--games pong --steps 20000 --trunk-norm spectral", "norm"),
        ("--games pong --hours 1 --replay-capacity 20 --envs 2", "a batch needs 64"),
    ],
)
def test_mistakes_are_said_before_anything_starts(words, says, capsys):
    assert main(["train", "dqn", *words.split()]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("left", "waiting", "jobs", "hours"),
    [(8, 6, 2, 8 / 3), (8, 5, 2, 8 / 3), (4, 1, 2, 4), (3, 3, 3, 3), (3, 4, 3, 1.5)],
)
def test_time_is_shared_by_rounds(left, waiting, jobs, hours):
    assert share(left, waiting, jobs) == pytest.approx(hours)


# the queue


def test_all_are_trained_a_few_at_a_time(tmp_path, capsys):
    sweep = sweep_of(tmp_path, ["train"] * 5, at_once=2)
    command, beside = sweep.command, []
    sweep.command = lambda job: beside.append(len(sweep.running)) or command(job)
    sweep.run()
    assert [job.state for job in sweep.jobs] == ["finished"] * 5
    assert beside[:2] == [0, 1] and set(beside) == {0, 1}  # others running at each start
    printed = capsys.readouterr().out
    for job in sweep.jobs:
        assert f"{job.name:24} finished" in printed
    assert "100 of 100" in printed and "evaluation 7" in printed and "\x1b" not in printed


def test_failures_are_isolated_and_tried_once_more(tmp_path, capsys):
    sweep = sweep_of(tmp_path, ["fail once", "fail", "die", "train"])
    sweep.run()
    assert [job.state for job in sweep.jobs] == ["finished", "failed", "failed", "finished"]
    a, b, c, d = sweep.jobs
    assert [job.tries for job in sweep.jobs] == [2, 2, 2, 1]
    assert b.said == "RuntimeError: it is broken" and "SIGKILL" in c.said and "memory" in c.said
    # Again at the end of the queue, not at once.
    assert times(tmp_path, "d")[0] < times(tmp_path, "a")[1]
    assert a.said == "" and d.said == ""
    assert "failed, and is tried again: RuntimeError" in capsys.readouterr().out
    logged = (tmp_path / "logs" / "b.txt").read_text()
    assert logged.count("RuntimeError: it is broken") == logged.count("== 20") == 2  # of both tries


def test_one_that_is_done_is_finished_however_it_ended(tmp_path):
    """It would be told that it has its steps already."""
    sweep = sweep_of(tmp_path, ["train, fail"])
    sweep.run()
    assert (sweep.jobs[0].state, sweep.jobs[0].tries) == ("finished", 1)


def test_hours_in_turn_are_for_whoever_comes_first(tmp_path):
    sweep = sweep_of(tmp_path, ["train"] * 2, hours=1.0)
    sweep.in_turn = True
    sweep.command = lambda job: [sys.executable, str(CHILD), str(job.path), "train", "0.1"]
    sweep.run()
    assert [job.state for job in sweep.jobs] == ["finished"] * 2
    assert all(0.98 < job.hours <= 1 for job in sweep.jobs)


def test_a_process_that_cannot_be_started_is_that_trainings_failure(tmp_path, monkeypatch):
    start, asked = sweep_queue.subprocess.Popen, []

    def popen(command, **options):
        asked.append(Path(command[2]).name)
        if asked[-1] == "a":
            raise OSError(12, "Cannot allocate memory")
        return start(command, **options)

    monkeypatch.setattr(sweep_queue.subprocess, "Popen", popen)
    sweep = sweep_of(tmp_path, ["train", "train"])
    sweep.run()
    a, b = sweep.jobs
    assert (a.state, b.state) == ("failed", "finished") and asked == ["a", "b", "a"]
    assert "cannot be started" in a.said and "Cannot allocate memory" in a.said


def test_one_of_stable_baselines_ends_early_and_is_not_gone_on_with(tmp_path, capsys):
    """It saves no checkpoints: its weights are there, and all there will be."""
    run = Run.create(tmp_path, "dqn", "pong-s0", {}, engine="sb3")
    job = Job("pong-s0", "pong", 0, run.path, hours=0.0, figures={"step": 50})
    sweep = Sweep([job], lambda job: [], 1, hours=1.0, steps=100)
    sweep._ended(job, 0)
    assert job.state == "not started"
    (run.path / "last.safetensors").touch()
    sweep._ended(job, 0)
    assert (job.state, job.said) == ("ended early", "its time is up")
    run.log(100, **{"evaluate/score": 1.0})
    sweep._ended(job, 0)
    assert job.state == "finished"
    words = ["--engine", "sb3", "--runs", str(tmp_path), "--games", "pong", "--steps", "200",
             "--replay-capacity", "99"]  # fmt: skip
    config, settings = fresh(parse(*words), replace(DQN, preset="sb3"))
    run.update(config=to_json(config), trainer=to_json(settings))
    (job,) = sweeping.plan(parse(*words), replace(DQN, preset="sb3"))
    assert job.state == "ended early" and f"remove {run.path}" in job.said


def test_a_folder_that_is_no_run_is_skipped(tmp_path, capsys):
    (tmp_path / "dqn" / "pong-s0").mkdir(parents=True)
    words = ["--games", "pong,boxing", "--steps", "20000", "--runs", str(tmp_path)]
    jobs = sweeping.plan(parse(*words), DQN)
    assert [job.state for job in jobs] == ["skipped", "waiting"]
    error = capsys.readouterr().err
    assert error.startswith("Skipped: ") and "no config.json" in error and error.count("\n") == 1


def test_a_run_without_checkpoint_begins_anew_but_not_under_another_process(tmp_path):
    sweep = sweep_of(tmp_path, ["train"])
    run = Run.create(tmp_path, "", "a", {})
    (run.path / "old").touch()
    run.lock()
    sweep.run()
    (job,) = sweep.jobs
    assert job.state == "failed" and "Another process is training" in job.said
    assert (run.path / "old").exists()
    run.unlock()
    sweep = sweep_of(tmp_path, ["train"])
    sweep.run()
    assert sweep.jobs[0].state == "finished" and not (run.path / "old").exists()
    (run.path / "old").touch()
    again = sweep_of(tmp_path, ["train"])
    again.run()  # it has a checkpoint: nothing is removed
    assert (run.path / "old").exists()


def test_a_run_whose_checkpoints_were_removed_is_kept(tmp_path):
    """Its agent, films and figures are what the night was for."""
    run = Run.create(tmp_path, "", "a", {})
    (run.path / "best.safetensors").touch()
    run.log(50, **{"evaluate/score": 1.0})
    sweep = sweep_of(tmp_path, ["train"])
    sweep.run()
    (job,) = sweep.jobs
    assert job.state == "failed" and "move it away" in job.said
    assert (run.path / "best.safetensors").exists() and len(run.metrics()) == 1
    assert not is_done(run.path, 100)
    run.log(100, **{"evaluate/score": 2.0})
    assert is_done(run.path, 100)


def press(tmp_path, names, times=1):
    """Ctrl-C when all of these have started; again when all of them were asked to end."""

    def wait():
        for sign in ("started", "asked")[:times]:
            until = time.monotonic() + 120
            while not all((tmp_path / name / sign).exists() for name in names):
                if time.monotonic() > until:
                    return
                time.sleep(0.01)
            time.sleep(0.15)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_ctrl_c_lets_all_save_once(tmp_path, capfd):
    sweep = sweep_of(tmp_path, ["train"] * 4, at_once=2, seconds=60)
    thread = press(tmp_path, "ab")
    sweep.run()
    thread.join()
    assert sweep.interrupted
    assert [job.state for job in sweep.jobs] == ["saved", "saved", "not started", "not started"]
    for name in "ab":
        assert (tmp_path / name / "asked").read_text() == "t"
        assert (tmp_path / name / "checkpoints" / "step_000000000050").is_dir()
    assert not (tmp_path / "c").exists()
    assert "saving 2 trainings" in capfd.readouterr().err


def test_twice_breaks_off_and_leaves_no_child(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_queue, "BREAK_OFF_SECONDS", 5)
    sweep = sweep_of(tmp_path, ["train", "train"], at_once=2, seconds=60)
    sweep.command = lambda job: [sys.executable, str(CHILD), str(job.path), "train", "60", "30"]
    thread = press(tmp_path, "ab", times=2)
    with pytest.raises(KeyboardInterrupt):
        sweep.run()
        thread.join()  # here, so that a Ctrl-C that comes too late ends no more than this test
    assert all(job.process.returncode is not None for job in sweep.jobs)
    assert not list(tmp_path.glob("*/checkpoints/*"))


def test_hours_are_for_all_together(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_queue, "LEAST_HOURS", 0.0)
    sweep = sweep_of(tmp_path, ["train"] * 4, at_once=2, hours=5 / 3600, steps=None)
    sweep.run()
    assert [job.state for job in sweep.jobs] == ["finished"] * 4
    given = [job.hours * 3600 for job in sweep.jobs]
    # The later ones share what is left, less than half as the first ones took time to start.
    assert given[:2] == pytest.approx([2.5, 2.5], abs=0.5) and 0 < max(given[2:]) < 2.5
    assert read_json(tmp_path / "a" / "config.json")[sweep_queue.TIME_IS_UP] == 5 / 3600


def test_what_the_time_does_not_suffice_for_is_not_started(tmp_path):
    sweep = sweep_of(tmp_path, ["train"] * 3, hours=0.5 / 3600, steps=None)
    sweep.command = lambda job: [sys.executable, str(CHILD), str(job.path), "train", "1"]
    sweep.run()
    assert [job.state for job in sweep.jobs] == ["finished", "not started", "not started"]


# the board


def test_a_terminal_renews_the_lines(tmp_path, monkeypatch, capsys):
    jobs = [Job(f"pong-s{i}", "pong", i, tmp_path / str(i)) for i in range(3)]
    board = Board(jobs, 1000)
    board.live = True
    size = os.terminal_size((40, 24))
    monkeypatch.setattr(sweep_queue.shutil, "get_terminal_size", lambda: size)
    jobs[0].state, jobs[0].began = "running", time.monotonic()
    jobs[0].figures = {"step": 400, "per_second": 10.0, "return": 1.5, "evaluate/score": 2.25}
    line = jobs[0].line(1000)
    assert line.endswith("400 of 1,000  10/s  0:01 h left  return 1.50  evaluation 2.25")
    assert jobs[0].line(1000, len(line) - 1).endswith("return 1.50")  # no figure is cut
    assert jobs[0].line(1000, 39) == "pong-s0 running          400 of 1,000"
    failed = replace(jobs[0], state="failed", said="It diverged.")
    assert failed.line(1000, 80).startswith("pong-s0                  failed       It diverged.  ")
    board.show()
    board.show()
    first, second = capsys.readouterr().out.split("\x1b[3A")  # three lines up
    assert first == second and first.count("\n") == 3
    assert all(len(line) <= 39 for line in first.replace("\r\x1b[K", "").split("\n")[:3])

    size = os.terminal_size((80, 5))
    jobs[1:] = [*jobs[1:], *(Job(f"b-s{i}", "b", i, tmp_path) for i in range(9))]
    board.below()
    board.show()
    shown = capsys.readouterr().out
    assert "pong-s0" in shown and "pong-s1" not in shown and "1 running, 11 waiting" in shown


def test_elsewhere_a_line_comes_now_and_then(tmp_path, monkeypatch, capsys):
    job = Job("pong-s0", "pong", 0, tmp_path, state="running")
    board = Board([job], None)
    board.live = False
    for _ in range(3):
        board.show()
    assert capsys.readouterr().out.count("pong-s0") == 1
    monkeypatch.setattr(sweep_queue, "LINE_SECONDS", 0.0)
    board.show()
    assert capsys.readouterr().out.count("pong-s0") == 1


# the whole


def test_a_small_sweep_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    """Real trainings: trained, skipped, gone on with, refused with other settings."""
    words = ["train", "dqn", "--games", "entombed", "--seeds", "1", *SMALL]
    assert main([*words, "--steps", "100"]) == 0
    printed = capsys.readouterr().out
    path = Path("runs/dqn/entombed-s0")
    assert "entombed-s0              finished" in printed and "100 of 100" in printed
    assert "last evaluation" in printed and "Go on" not in printed
    assert path.name in Path("runs/sweeps/dqn/report.html").read_text()
    assert list(Path("runs/dqn").iterdir()) == [path]  # so that `runs/dqn/*` is runs
    assert main(["report", *map(str, Path("runs/dqn").iterdir())]) == 0
    assert Run.open(path).settings["trainer"]["threads"] == 1

    monkeypatch.setattr(sweep_queue.subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    assert main([*words, "--steps", "100"]) == 0
    assert main([*words, "--steps", "100", "--double"]) == 2
    assert "another --double" in capsys.readouterr().err
    monkeypatch.undo()

    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main([*words, "--steps", "160"]) == 0
    assert "1 training, " in (printed := capsys.readouterr().out)
    assert "Going on with entombed-s0; another --name begins anew" in printed
    steps = [line["step"] for line in Run.open(path).metrics()]
    assert steps == sorted(steps) and steps[-1] == 160 and steps[0] == 50


def test_a_sweep_that_failed_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweeping, "SCRIPT", tmp_path / "none.py")
    sweep = ["train", "dqn", "--games", "pong,boxing", "--steps", "20000"]
    assert main(sweep) == 2
    error = capsys.readouterr().err
    assert error.startswith("2 of 2 trainings failed: pong-s0: ")
    assert "runs/sweeps/dqn/logs" in error and error.count("\n") == 1
    assert main([*sweep, "--name", "night"]) == 2
    error = capsys.readouterr().err
    assert "night-pong-s0: " in error and "runs/sweeps/night/logs" in error


def test_time_up_is_the_end_only_without_steps(tmp_path):
    run = Run.create(tmp_path, "dqn", "a", {}, **{sweep_queue.TIME_IS_UP: 8.0})
    assert sweeping._finished(run, None, 8.0) and not sweeping._finished(run, 100, 8.0)
    assert not sweeping._finished(run, None, 8.5)  # more time was given
    assert not sweeping._finished(Run.create(tmp_path, "dqn", "b", {}), None, 8.0)
    checkpoint.save(run.checkpoints, 100, {"owed": True})
    assert not sweeping._finished(run, 100, None)  # the last evaluation was given up
    checkpoint.save(run.checkpoints, 100, {"owed": False})
    assert sweeping._finished(run, 100, None) and not sweeping._finished(run, 101, None)
    shutil.rmtree(run.checkpoints)  # Stable-Baselines3 saves none
    assert not sweeping._finished(run, 100, None)
    run.log(100, **{"evaluate/score": 1.0})
    assert sweeping._finished(run, 100, None)


def test_no_report_where_there_are_no_figures(tmp_path, capsys):
    sweeping._report([Job("a", "pong", 0, tmp_path / "a")], tmp_path / "x.html")
    assert capsys.readouterr().out == "" and not (tmp_path / "x.html").exists()
    with pytest.raises(UserError):
        Run.open(tmp_path / "a")
