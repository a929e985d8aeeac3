"""Each verb as a door: a few frames or updates; each kind of bad input: one sentence, status 2."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import agents
from agents import dqn
from agents.agent import Agent
from agents.atari import action_names
from agents.evaluation import evaluate
from agents.qnetwork import QNetwork
from agents.screen import watch
from playground import signals
from playground.errors import UserError
from playground.frames import Frame
from playground.media import read_video, write_image
from playground.run import Run
from playground.trainer import TrainerConfig
from playground.window import Commands
from scripts import following, play, scoring, train_dqn, training, watching
from scripts.play import main
from scripts.watching import Player, joystick

SCRIPT = Path(play.__file__)
GAME = "entombed"  # its games are short: some 270 agent steps, whatever one does
SMALL = (
    f"--game {GAME} --envs 2 --warmup 40 --replay-capacity 300 --batch-size 8 --width 0.25 "
    "--hidden 16 --eval-episodes 1 --eval-film 0 --precision fp32 --threads 1"
).split()


@pytest.fixture(autouse=True)
def no_display(tmp_path, monkeypatch):
    """Every test in a folder of its own, without a display (conftest: SDL draws nowhere)."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def small_agent(path, game=GAME, seed=0, rules="machado", **card):
    torch.manual_seed(seed)
    network = QNetwork(len(action_names(game or GAME)), width=0.25, hidden=8).eval()
    agent = Agent(network, game, protocol=rules)
    agent.save(path, **card)
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_agent(tmp_path_factory.mktemp("agent") / "small.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 300 agent steps, and what the training printed."""
    runs = tmp_path_factory.mktemp("runs")
    argv = [*SMALL, "--steps", "300", "--runs", str(runs), "--name", "a", "--log-every", "100"]
    assert main(["train", "dqn", *argv]) == 0
    return runs / "dqn" / "a"


def frames_of(path):
    frames, fps = read_video(path)
    return list(frames), fps


# watch


def test_alone_it_records_where_there_is_no_display(capsys, monkeypatch):
    monkeypatch.setattr(watching, "FILM_SECONDS", 0.5)
    assert main([]) == 0
    frames, fps = frames_of("recordings/pong.mp4")
    assert (len(frames), fps, frames[0].shape) == (30, 60, (420, 552, 3))
    printed = capsys.readouterr().out
    assert "no display" in printed and "recordings/pong.mp4" in printed


def test_a_display_that_turns_out_dead_is_as_none(weights, capsys, monkeypatch):
    def dead(*args, **options):
        raise UserError("No window can be opened on this display.")

    monkeypatch.setattr(watching.window, "available", lambda: True)
    monkeypatch.setattr(watching.window, "Window", dead)
    assert main(["watch", "--agent", weights, "--seconds", "0.2"]) == 0
    assert Path(f"recordings/{GAME}.mp4").is_file()
    assert main(["watch", "--agent", weights, "--window"]) == 2
    assert "No window" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "fps", "count"), [("a.mp4", 60, 90), ("a.gif", 50, 75)])
def test_record_has_every_frame_at_the_right_speed_in_real_colours(weights, name, fps, count):
    argv = ["watch", "--agent", weights, "--seed", "3", "--seconds", "1.5", "--no-overlay"]
    assert main([*argv, "--record", f"films/{name}", "--scale", "1"]) == 0
    frames, rate = frames_of(f"films/{name}")
    assert (len(frames), rate) == (count, fps)
    shown = [f.pixels for f in islice(watch(agents.load(weights), seed=3), 90)]
    wanted = shown if fps == 60 else [p for i, p in enumerate(shown) if i % 6 != 5]
    error = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, wanted, strict=True)])
    assert error < (4 if name == "a.mp4" else 1.5)  # mp4 halves the colours' resolution


def test_record_of_whole_games_shows_the_panel_and_tells_the_returns(weights, capsys):
    argv = ["watch", GAME, "--agent", weights, "--epsilon", "1", "--scale", "1"]
    assert main([*argv, "--record", "a.mp4"]) == 0
    printed = capsys.readouterr().out
    assert "return" in printed and "so far" not in printed
    frames, _ = frames_of("a.mp4")
    assert len(frames) > 400 and frames[0].shape[1] > 160 + 100


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_interrupted_film_is_whole(weights, tmp_path, number):
    argv = [SCRIPT, "watch", "--agent", weights, "--episodes", "99", "--record", "a.mp4"]
    child = subprocess.Popen([sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".tmp-film-*/film.mp4")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(number)
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130 and "a.mp4: " in printed
    assert len(frames_of("a.mp4")[0]) > 0
    assert not list(tmp_path.glob(".tmp*"))


@pytest.mark.skipif(signals.HANGUP is None, reason="Windows has no such signal")
def test_a_second_hangup_does_not_break_into_what_the_first_has_begun():
    before = signal.getsignal(signals.HANGUP)
    try:
        signal.signal(signals.HANGUP, play._end)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signals.HANGUP)
        os.kill(os.getpid(), signals.HANGUP)  # as a closing terminal's shell does
    finally:
        signal.signal(signals.HANGUP, before)


def test_a_film_takes_no_name_that_another_has_taken_meanwhile(weights, capsys, monkeypatch):
    """Without a display, two of a game at a time."""
    monkeypatch.setattr(watching.window, "available", lambda: False)
    taken = Path(f"recordings/{GAME}.mp4")

    def meanwhile(*words, **more):
        for number, frame in enumerate(watch(*words, **more)):
            if number == 5:
                taken.write_bytes(b"another's")
            yield frame

    monkeypatch.setattr(watching, "watch", meanwhile)
    assert main(["watch", "--agent", weights, "--seconds", "0.5"]) == 0
    assert f"{GAME}-2.mp4: 0.5 s" in capsys.readouterr().out
    assert taken.read_bytes() == b"another's"


def test_a_window_has_the_size_of_what_is_shown(weights, monkeypatch):
    shown = []

    class Screen:
        def __init__(self, *_, **__):
            pass

        def write(self, frame):
            shown.append(frame.pixels.shape)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def wider(frame):
        return replace(frame, pixels=np.hstack([frame.pixels] * 3))

    monkeypatch.setattr(watching.window, "Window", Screen)
    for panel in (False, True):
        args = SimpleNamespace(
            window=True, follow=False, scale=None, overlay=panel, filters=[wider],
            protocol=None, seed=0, epsilon=None,
        )  # fmt: skip
        with watching._window(args, agents.load(weights)):
            pass
    assert shown[0] == (210, 480, 3) and shown[1][1] > 480


def test_following_needs_a_display_and_a_run(tmp_path, capsys, monkeypatch):
    run = Run.create(tmp_path, "dqn", "a", {})

    def none(*_, **__):
        raise UserError("No window can be opened.")

    with monkeypatch.context() as patch:
        patch.setattr(following.window, "Window", none)
        assert main(["watch", "--agent", str(run.path), "--follow"]) == 2  # and does not wait
    assert capsys.readouterr().err == "--follow needs a display.\n"
    monkeypatch.setattr(watching.time, "sleep", lambda _: shutil.rmtree(run.path))
    assert main(["watch", "--agent", str(run.path), "--follow"]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    ["evaluate {}", "watch --agent {}", "watch --agent {} --follow", "report {}", "gallery {}",
     "report --reference {} {}", "caption {}", "paint --fast --content {}",
     "train dqn --start {}", "train dqn --resume {}", "train classify --data {}"],
)  # fmt: skip
def test_names_that_the_system_refuses_are_sentences(words, capsys):
    assert main(words.format(*["x" * 300] * 2).split()) == 2
    error = capsys.readouterr().err
    assert "xxx" in error or "--follow is for" in error
    assert "Traceback" not in error


def test_a_window_ends_after_its_seconds(weights):
    # SDL's dummy driver, asked for by name in conftest, stands for a display.
    begin = time.monotonic()
    assert main(["watch", "--agent", weights, "--window", "--seconds", "0.5"]) == 0
    assert time.monotonic() - begin >= 0.5
    assert main(["watch", "--agent", weights, "--window", "--episodes", "1", "--seconds", "1"]) == 0


class Keys:
    """A window that nobody sees: `script` says at which frame which key is pressed."""

    def __init__(self, script):
        self.script, self.shown = script, []
        self.title, self.status, self.human, self.paused = "", "", False, False

    def poll(self):
        pressed = self.script.pop(len(self.shown), "")
        self.human ^= pressed == "takeover"
        return Commands(frozenset({pressed} - {""}), frozenset({"up"}))

    def write(self, frame):
        self.shown.append(frame)

    def close(self):
        pass


def never():
    return False


def test_keys_overlay_record_takeover_and_next(weights, capsys):
    agent = agents.load(weights)
    script = {10: "record", 20: "overlay", 30: "record", 40: "takeover", 60: "next"}
    screen = Keys(script)
    player = Player(screen, show_panel=True, seconds=None)
    stream = watch(agent, control=player.control)
    with player.recorder:
        assert player.play(stream, agent, "source", never, None) == "next"
    assert len(screen.shown) == 61  # the frame at which a key is pressed is still shown
    assert screen.shown[19].width > screen.shown[20].width == 160
    assert screen.title == f"{GAME}: source" and screen.status == ""
    human = [frame.facts["action_name"] for frame in screen.shown if frame.facts["human"]]
    assert set(human) == {"UP"} and len(human) > 12
    # Another size is another film, and none overwrites another.
    films = [line.split()[1].rstrip(".") for line in capsys.readouterr().out.splitlines()]
    assert sorted(len(frames_of(film)[0]) for film in films) == [10, 10]


def test_keys_quit_and_a_film_that_cannot_be_written(weights, capsys):
    Path("recordings").write_text("a file is in the way")
    agent = agents.load(weights)
    screen = Keys({3: "record", 9: "quit"})
    player = Player(screen, show_panel=False, seconds=None)
    with player.recorder:
        assert player.play(watch(agent), agent, "source", never, None) == "quit"
    assert screen.status == "cannot record" and len(screen.shown) == 10
    assert "Cannot write" in capsys.readouterr().err


def test_next_goes_around_the_zoo_and_back(weights, monkeypatch):
    seen = []

    class Screen(Keys):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, frame: Frame):
            seen.append(frame.facts["game"])
            super().write(frame)

    zoo = [agents.load(f"zoo:{name}").game for name in agents.zoo()]
    script = {3 * i + 2: "next" for i in range(len(zoo) + 1)} | {3 * len(zoo) + 6: "quit"}
    monkeypatch.setattr(watching.window, "available", lambda: True)
    monkeypatch.setattr(watching.window, "Window", lambda *args, **options: Screen(script))
    assert main(["watch", "--agent", weights]) == 0
    assert list(dict.fromkeys(seen)) == [GAME, *zoo] and seen[-1] == GAME


def test_follow_takes_over_a_newer_agent(tmp_path):
    newest = tmp_path / "last.safetensors"
    agent = agents.load(small_agent(newest, seed=0))
    screen = Keys({})
    player = Player(screen, show_panel=True, seconds=2.5)
    before = agent.q_values(np.zeros((1, 4, 84, 84), np.uint8))

    def stream():
        for number, frame in enumerate(watch(agent)):
            if number == 30:
                small_agent(newest, seed=1, trained_agent_steps=1234)
            yield frame

    assert player.play(stream(), agent, "run", never, newest) == "over"
    assert len(screen.shown) == 150 and screen.title == f"{GAME}: run (1,234 agent steps)"
    assert not np.array_equal(before, agent.q_values(np.zeros((1, 4, 84, 84), np.uint8)))


@pytest.mark.parametrize(
    ("held", "game", "action"),
    [
        ("", "pong", "NOOP"),
        ("up", "pong", "RIGHT"),  # its paddle moves up
        ("down fire", "pong", "LEFTFIRE"),
        ("left", "breakout", "LEFT"),
        ("left right", "breakout", "NOOP"),
        ("up", "freeway", "UP"),
        ("up left fire", "boxing", "UPLEFTFIRE"),
        ("up left", "ms_pacman", "UPLEFT"),
        ("fire", "ms_pacman", "NOOP"),
        ("fire", "breakout", "FIRE"),
        ("up left", "freeway", "UP"),
    ],
)
def test_joystick(held, game, action):
    names = action_names(game)
    assert names[joystick(frozenset(held.split()), names)] == action


# train


def test_train_leaves_a_run_to_watch_score_and_show(trained, capsys):
    names = {"config.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "checkpoints"}
    assert names <= {path.name for path in trained.iterdir()}
    page = (trained / "gallery" / "index.html").read_text()
    assert "evaluate/score" in page and f"--resume {trained}" in page

    assert main(["evaluate", str(trained), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["game"] == GAME
    assert main(["watch", "--agent", str(trained), "--record", "a.gif", "--seconds", "0.2"]) == 0
    assert main(["gallery", "--runs", str(trained.parents[1]), "--out", "page.html"]) == 0
    assert "<html" in Path("page.html").read_text()


def test_resume_goes_on_and_refill_too(trained, capsys, monkeypatch):
    run = ["train", "dqn", "--resume", str(trained), "--log-every", "50"]
    assert main([*run, "--steps", "400"]) == 0
    printed = capsys.readouterr().out
    assert "from 300 agent steps" in printed and "400 steps" in printed
    assert "Summary" in printed and "watch --agent" in printed
    with monkeypatch.context() as patch:  # both before anything is built
        patch.setattr(training, "set_up", lambda *_: pytest.fail("built"))
        assert main([*run, "--steps", "350"]) == 2
        assert "400 agent steps already" in capsys.readouterr().err
        shutil.move(trained / "replay", trained / "replay-aside")
        assert main([*run, "--steps", "500"]) == 2
        assert "nothing of its replay" in capsys.readouterr().err
        shutil.move(trained / "replay-aside", trained / "replay")
    assert main([*run, "--steps", "500", "--refill"]) == 0
    steps = [line["step"] for line in Run.open(trained).metrics()]
    assert steps == sorted(steps) and steps[-1] == 500


def test_a_training_that_starts_from_an_agent_goes_on_without_it(trained, tmp_path):
    shutil.copy(trained / "last.safetensors", "first.safetensors")
    argv = ["train", "dqn", *SMALL, "--steps", "60", "--start", "first.safetensors", "--name", "b"]
    assert main(argv) == 0
    Path("first.safetensors").unlink()
    assert main(["train", "dqn", "--resume", "runs/dqn/b", "--steps", "80"]) == 0
    assert Run.open("runs/dqn/b").settings["config"]["start"] == "first.safetensors"  # still


@pytest.mark.parametrize(
    "words",
    [[], ["--engine", "sb3", "--replay-capacity", "1000"]],
)
def test_a_network_that_does_not_fit_is_one_sentence(words, capsys):
    assert main(["train", "dqn", "--hidden", "1000000000000", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Out of memory") and error.count("\n") == 1
    assert not list(Path("runs").glob("dqn/*"))


def test_resume_with_hours_outlives_the_steps_of_before(trained, capsys):
    before = Run.open(trained).settings["trainer"]["steps"]
    assert main(["train", "dqn", "--resume", str(trained), "--hours", "0.0003"]) == 0
    assert "the time is up" in capsys.readouterr().out
    settings = Run.open(trained).settings["trainer"]
    assert before is not None and settings["steps"] is None


@pytest.mark.parametrize("preset", list(dqn.PRESETS))
def test_flags_go_over_the_presets_and_nothing_else_does(preset):
    args = play._parser().parse_args(["train", "dqn", "--preset", preset, "--batch-size", "8"])
    config, settings = training.fresh(args, train_dqn.DQN)
    assert config == replace(dqn.PRESETS[preset], batch_size=8)
    assert settings == TrainerConfig(**dqn.TRAINERS[preset])


def test_train_watch_opens_a_window_beside_it(capsys, monkeypatch):
    started = []

    class Process:
        def __init__(self, command):
            started.append(command)

        def terminate(self):
            started.append("terminated")

        def wait(self):
            pass

    monkeypatch.setattr(training, "need_display", lambda: None)
    monkeypatch.setattr(following, "subprocess", SimpleNamespace(Popen=Process))
    assert main(["train", "dqn", *SMALL, "--steps", "60", "--watch", "--name", "w"]) == 0
    command, end = started
    assert end == "terminated" and command[2:] == ["watch", "--agent", "runs/dqn/w", "--follow"]


def test_a_window_follows_the_panels_and_figures_of_a_training(tmp_path):
    run = Run.create(tmp_path, "classify", "w", {}, unit="updates")
    frames = following.newest(run)
    empty = next(frames)
    assert empty.pixels[:, : following.EMPTY[1]].max() == 0  # no panel yet
    run.log(30, loss=0.5)
    write_image(run.panel(30), np.full((200, 300, 3), 90, np.uint8))
    assert next(frames) is empty  # not looked at again so soon
    following.POLL_SECONDS, kept = 0.0, following.POLL_SECONDS
    try:
        newer = next(frames)
        assert newer.pixels.shape == (200, 300 + following.COLUMN_PX, 3)
        assert (newer.pixels[:, :300] == 90).all() and newer.text == "30 updates"
        assert next(frames) is newer  # nothing changed
    finally:
        following.POLL_SECONDS = kept


def test_ctrl_c_while_sb3_is_built_ends_it(capsys, monkeypatch):
    from agents import sb3_train

    build = sb3_train.build

    def pressed(*words):
        signal.raise_signal(signal.SIGINT)
        return build(*words)

    monkeypatch.setattr(sb3_train, "build", pressed)
    argv = [*SMALL, "--engine", "sb3", "--steps", "120", "--name", "s"]
    assert main(["train", "dqn", *argv]) == 130
    assert (
        "before anything was saved" in capsys.readouterr().err and not Path("runs/dqn/s").exists()
    )


def test_train_on_the_engine_of_sb3(capsys):
    # SB3's replay holds whole stacks; these few steps ask for little of it.
    argv = [*SMALL, "--engine", "sb3", "--steps", "120", "--train-every", "4", "--name", "s"]
    assert main(["train", "dqn", *argv]) == 0
    printed = capsys.readouterr().out
    assert "Summary" in printed and "--resume" not in printed
    assert agents.load("runs/dqn/s").game == GAME
    assert main(["train", "dqn", "--resume", "runs/dqn/s"]) == 2
    assert "cannot resume" in capsys.readouterr().err


# evaluate, gallery, zoo


def test_evaluate_json_has_the_figures_and_the_protocol(weights, capsys):
    argv = ["evaluate", weights, "--episodes", "2", "--epsilon", "0.5", "--protocol", "nature"]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"]["name"] == "nature" and found["protocol"]["sticky"] == 0
    assert found["source"] == weights and found["epsilon"] == 0.5 and found["seed"] == 0
    assert len(found["returns"]) == 2 and len(found["interval"]) == 2
    assert found["mean"] == pytest.approx(np.mean(found["returns"]))
    assert found["median"] == pytest.approx(np.median(found["returns"]))
    assert {"human_normalised", "length", "frames", "std", "game"} <= found.keys()
    assert main([*argv[:2], "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["interval"] == [None, None]  # one game has none


def test_evaluate_in_words_repeats_itself(weights, capsys):
    argv = ["evaluate", weights, "--episodes", "2", "--epsilon", "0.3", "--seed", "5"]
    assert main(argv) == main(argv) == 0
    first, second = capsys.readouterr().out.split(f"{GAME}, ")[1:]
    assert first == second
    assert "2 games, protocol machado, epsilon 0.3, seed 5" in first and "median" in first


def test_evaluate_says_where_an_agents_own_rules_are_others(tmp_path, capsys):
    source = small_agent(tmp_path / "theirs.safetensors", rules="sb3")
    says = f"{source} was trained under sb3: --protocol sb3 scores it by its own rules.\n"
    assert main(["evaluate", source, "--episodes", "1", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == says and json.loads(shown.out)["trained_under"] == "sb3"
    assert main(["evaluate", source, "--episodes", "1", "--protocol", "sb3"]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def pressed(monkeypatch):
    """Ctrl-C comes with the second game's end."""

    def impatient(agent, *, on_game, **options):
        def then(returns):
            on_game(returns)
            if len(returns) == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return evaluate(agent, on_game=then, **options)

    monkeypatch.setattr(scoring, "evaluate", impatient)


@pytest.mark.usefixtures("pressed")
def test_ctrl_c_scores_the_games_that_are_finished(weights, capfd):
    argv = ["evaluate", weights, "--episodes", "30", "--epsilon", "0.5"]
    assert main(argv) == 130
    shown = capfd.readouterr()
    returns = shown.out.split("returns ")[1].split()
    assert 2 <= len(returns) < 30
    assert f"{GAME}, {len(returns)} of 30 games, protocol machado" in shown.out
    assert "interrupted" in shown.out and "games that are finished" in shown.err
    assert main([*argv, "--json"]) == 130
    found = json.loads(capfd.readouterr().out)
    assert len(found["returns"]) == len(returns) and found["episodes"] == 30


def test_evaluate_counts_its_games_on_a_terminal(weights, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["evaluate", weights, "--episodes", "2"]) == 0
    shown = capsys.readouterr()
    counts = [line.split(" of ")[0] for line in shown.err.split("\r\x1b[K")[1:]]
    assert counts == ["0", "1", "2", ""]  # the line is removed in the end
    mean = shown.out.split("mean ")[1].split()[0]
    assert f"2 of 2 games of {GAME}  mean so far {mean}" in shown.err


def test_zoo_lists_the_cards(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("agents.agent.ZOO", tmp_path)
    monkeypatch.setattr("generators.cards.ZOO", tmp_path / "generators")
    (tmp_path / "generators").mkdir()
    small_agent(tmp_path / "tiny.safetensors")
    score = {"mean": 18.5, "interval": [18.0, 19.0], "returns": [18, 19], "epsilon": 0.0}
    card = {
        "game": GAME, "command": "train it", "frames": 4000, "minutes": 2.5, "hardware": "a laptop",
        "scores": {"machado": score},
    }  # fmt: skip
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    assert main(["zoo"]) == 0
    printed = capsys.readouterr().out
    for part in ("zoo:tiny", "machado", "18.5", "18.0 to 19.0", "4,000 frames", "train it"):
        assert part in printed
    assert main(["zoo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tiny": card}


def test_zoo_lists_the_generators(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("agents.agent.ZOO", tmp_path)
    monkeypatch.setattr("generators.cards.ZOO", tmp_path / "generators")
    (tmp_path / "generators").mkdir()
    trained = {"updates": 5500, "minutes": 48.2, "hardware": "a laptop", "command": "train it"}
    wave = {"title": "The Great Wave", "painter": "Hokusai", "year": "1831", "terms": "old"}
    makers = {
        "brush": {"task": "style", "styles": {"great_wave": wave}},
        "dreams": {"task": "dcgan", "classes": ["pong", "boxing"]},
        "words": {"task": "caption", "games": ["pong"]},
    }
    for name, card in makers.items():
        (tmp_path / "generators" / f"{name}.json").write_text(json.dumps(card | trained))
    assert main(["zoo"]) == 0
    printed = capsys.readouterr().out
    for part in (
        *("zoo:brush", "great_wave", "The Great Wave, Hokusai, 1831, old", "5,500 updates"),
        *("dreams of pong, boxing", "says what happens in pong", "train it"),
    ):
        assert part in printed
    assert main(["zoo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["brush"]["minutes"] == 48.2
    (tmp_path / "generators" / "words.json").write_text("{")
    assert main(["zoo"]) == 2
    assert "is not valid JSON" in capsys.readouterr().err


# Mistakes


@pytest.fixture
def broken(tmp_path, weights):
    """Files and folders that are not what they should be."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("")
    (tmp_path / "notes.txt").write_text("no agent")
    (tmp_path / "torn.safetensors").write_bytes(Path(weights).read_bytes()[:3000])
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    (tmp_path / "junk.zip").write_bytes(b"PK\x03\x04 and then nothing")
    small_agent(tmp_path / "nameless.safetensors", game=None)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"task": "dqn", "config": {"game": "pong"}}))


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("frobnicate", "'watch'"),
        ("watch pomg", "'pong'"),
        ("watch combat", "two players"),
        ("watch tutankham", "train dqn --game tutankham"),
        ("watch breakout --agent zoo:pong", "plays pong, not breakout"),
        ("watch pong --game breakout", "Two games"),
        ("watch --agent zoo:nope", "it has"),
        ("watch --agent nope.safetensors", "no file or run"),
        ("watch --agent torn.safetensors", "not a readable"),
        ("watch --agent foreign.safetensors", "no agent of this playground"),
        ("watch --agent junk.zip --game pong", "cannot be read"),
        ("watch --agent empty", "not a run"),
        ("watch --agent nameless.safetensors", "--game"),
        ("watch --agent nameless.safetensors --game pong", "18 actions and pong has 6"),
        ("watch --agent", "expected one argument"),
        ("watch --record film.avi", ".mp4 or .gif"),
        ("watch --record a_file/film.mp4", "Cannot write"),
        ("watch --record empty/", "Films are written"),
        ("watch --seconds 0", "0.1"),
        ("watch --seconds nan", "0.1"),
        ("watch --episodes 0", "from 1"),
        ("watch --seed -1", "from 0 to 2,147,483,647"),
        ("watch --epsilon 1.5", "from 0 to 1"),
        ("watch --protocol atari", "machado"),
        ("watch --window", "no display"),
        ("watch --follow", "--agent RUN"),
        ("watch --follow --agent zoo:pong", "--agent RUN"),
        ("evaluate", "SOURCE"),
        ("evaluate nope", "no file or run"),
        ("evaluate zoo:pong --episodes -3", "from 1"),
        ("evaluate nameless.safetensors", "--game"),
        ("evaluate nameless.safetensors --game pong", "18 actions"),
        ("train", "TASK"),
        ("train chess", "'dqn'"),
        ("train dqn --game pomg", "'pong'"),
        ("train dqn --steps -5", "--steps"),
        ("train dqn --steps 0", "--steps"),
        ("train dqn --hous 1", "Did you mean '--hours'?"),
        ("watch pong --recrod a.mp4", "play.py watch --help). Did you mean '--record'?"),
        ("train dqn --hours -1", "--hours"),
        ("train dqn --seed -1", "--seed"),
        ("train dqn --seed 9223372036854775808", "--seed"),
        ("train dqn --eval-film inf", "--eval-film"),
        ("train dqn --steps 5000", "--warmup 10000"),
        ("train dqn --envs 0", "--envs"),
        ("train dqn --preset none", "laptop"),
        ("train dqn --watch", "needs a display"),
        ("train classify --watch", "needs a display"),
        ("train dqn --refill", "--resume"),
        ("train dqn --runs a_file", "Cannot write"),
        ("train dqn --precision fp16", "GPU"),
        ("train dqn --resume nope", "not a run"),
        ("train dqn --resume empty", "not a run"),
        ("train dqn --resume run", "no good checkpoint"),
        ("train dqn --epsilon-start 0.005", "below --epsilon-end 0.01"),
        ("train dqn --engine sb3 --dueling", "no --dueling"),
        ("watch --window --record a.mp4", "leave out --window"),
        ("watch --agent notes.txt", "no agent's file"),
        ("train dqn --resume run --game breakout", "--game"),
        ("train dqn --resume run --preset laptop", "--preset"),
        ("gallery", "no run"),
        ("gallery empty", "not a run"),
        ("gallery run --out page.txt", ".html"),
        ("gallery run --out a_file/page.html", "Cannot write"),
        ("zoo --nonsense", "--nonsense"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_a_mistake_is_one_sentence_and_status_2(line, part, capsys, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    argv = line.split()
    if argv[:2] == ["train", "dqn"] and "--resume" not in argv:
        argv[2:2] = ["--replay-capacity", "300", "--envs", "2"]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert part in said and len(said.splitlines()) == 1 and said[-2] in ".?)"
    assert not Path("runs/dqn").exists() or not os.listdir("runs/dqn")  # nothing is left behind


def test_a_mistake_in_a_process_of_its_own():
    found = subprocess.run(
        [sys.executable, SCRIPT, "watch", "pomg"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2 and found.stdout == ""
    assert len(found.stderr.splitlines()) == 1 and "'pong'" in found.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to one process alone")
def test_ctrl_c_while_all_is_imported_says_nothing():
    command = [sys.executable, "-X", "importtime", SCRIPT, "zoo"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as it:  # fmt: skip
        for line in it.stderr:
            if "torch." in line:  # the import of some part of it has ended; many are to come
                it.send_signal(signal.SIGINT)
                break
        out, error = it.communicate()
    assert it.returncode == -signal.SIGINT and out == "" and "Traceback" not in error


def encoded(monkeypatch, stream, encoding):
    """What is written to a standard stream of that encoding."""
    data = io.BytesIO()
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(data, encoding))
    return data


def test_names_that_the_terminal_cannot_show_spoil_nothing(monkeypatch):
    run = Run.create(Path("runs"), "dqn", "a", {})
    out, err = (encoded(monkeypatch, stream, "cp1252") for stream in ("stdout", "stderr"))
    assert main(["gallery", str(run.path), "--out", "쪽.html"]) == 0
    assert out.getvalue() == b"\\ucabd.html\n" and Path("쪽.html").exists()
    assert main(["gallery", "쪽"]) == 2
    sys.stderr.flush()
    assert b"\\ucabd" in err.getvalue() and b"not a run" in err.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are always text there")
def test_names_that_are_no_text(monkeypatch):
    run = Run.create(Path("runs"), "dqn", "a\udcff", {})
    write_image(run.gallery / "b\udcff.png", np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr("playground.gallery.EMBED_BYTES", 0)  # pictures are linked
    out = encoded(monkeypatch, "stdout", "utf-8")
    assert main(["gallery", str(run.path), "--out", "c\udcff.html"]) == 0
    assert out.getvalue() == b"c\\udcff.html\n"
    page = Path("c\udcff.html").read_text("utf-8")
    assert '<h2 id="run-0">a\\udcff</h2>' in page and "a%FF/gallery/b%FF.png" in page


VERBS = ["watch", "train", "evaluate", "report", "dream", "paint", "caption", "gallery", "zoo"]
TASKS = [f"train {name}" for name in ("dqn", "classify", "dcgan", "style", "caption")]


@pytest.mark.parametrize("verb", ["", *VERBS, *TASKS])
def test_help_of_every_verb(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*verb.split(), "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: play.py {verb}".strip() in said
    for name in VERBS if not verb else ():
        assert f"\n    {name} " in said
