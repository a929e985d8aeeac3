"""`train classify` and `evaluate` of classifiers, from the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from playground import checkpoint, classify
from playground.classify import Classify
from playground.errors import UserError
from playground.media import read_image, write_image
from playground.run import Run
from scripts import train_classify, training
from scripts.play import _parser, main

SMALL = [
    *("--options", "width=0.5,dropout=0", "--batch-size", "20", "--learning-rate", "3e-3"),
    *("--epochs", "6", "--precision", "fp32", "--threads", "1", "--log-every", "10"),
]


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, bars_idx):
    """A run of 60 updates on the made pictures."""
    runs = tmp_path_factory.mktemp("runs")
    argv = ["--data", f"mnist:{bars_idx}", "--runs", str(runs), "--name", "a"]
    assert main(["train", "classify", *SMALL, *argv]) == 0
    return runs / "classify" / "a"


def test_train_leaves_a_classifier_and_a_page(trained):
    run = Run.open(trained)
    assert run.settings["trainer"]["steps"] == 60  # 6 epochs of 10
    assert run.settings["trainer"]["evaluate_every"] == 10
    assert run.metrics()[-1]["evaluate/score"] > 95
    drawn = {file.name for file in (trained / "gallery").glob("*.png")}
    assert {"wrong.png", "confusion.png", "filters.png", "maps.png"} <= drawn
    layers = json.loads((trained / "gallery" / "layers.json").read_text())
    assert layers["rows"][0]["name"] == "conv1_1" and layers["rows"][-1]["name"] == "classifier"
    page = (trained / "gallery" / "index.html").read_text()
    assert "evaluate/score" in page and "conv3_2" in page
    assert f"--resume {trained} --steps 120" in page
    found = classify.load(trained).predict(np.zeros((30, 40, 3), np.uint8))
    assert set(found[0]) == set(map(str, range(10)))


def test_train_says_how_well_it_does(bars_folder, capsys):
    argv = ["--data", str(bars_folder), "--epochs", "1", "--labels", "0.5"]
    assert main(["train", "classify", *SMALL, *argv]) == 0
    printed = capsys.readouterr().out
    assert "until 1 updates" in printed and "Accuracy" in printed and "parameters" in printed
    (run,) = Path("runs/classify").iterdir()
    assert run.name.startswith(f"deepconv-{bars_folder.name}")


def test_steps_and_hours_go_before_epochs(bars_idx, capsys):
    def limits(*argv):
        line = ["train", "classify", "--data", f"mnist:{bars_idx}", "--batch-size", "20", *argv]
        args = _parser().parse_args(line)
        config, settings = training.fresh(args, train_classify.CLASSIFY)
        task = train_classify.CLASSIFY.build(args, config, settings)
        settings = train_classify.CLASSIFY.limits(task, settings)
        return settings.steps, settings.hours, settings.evaluate_every, task.horizon

    assert limits() == (200, None, 10, 200)
    assert limits("--epochs", "2.5") == (25, None, 10, 25)
    assert limits("--steps", "7") == (7, None, 10, 7)
    assert limits("--hours", "1", "--evaluate-every", "3") == (None, 1, 3, 200)
    # A cosine has an end, so time can only cut it short.
    assert limits("--hours", "1", "--schedule", "cosine") == (200, 1, 10, 200)
    assert limits("--accumulate", "5") == (40, None, 2, 40)


def test_an_interrupt_before_the_first_update_leaves_no_run(bars_idx, monkeypatch, capsys):
    def dying(task, trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classify, "step", dying)
    line = ["train", "classify", "--data", f"mnist:{bars_idx}", *SMALL, "--name", "none"]
    assert main(line) == 130
    assert capsys.readouterr().err == "Interrupted before anything was saved.\n"
    assert not Path("runs/classify/none").exists()


def test_killed_and_resumed_is_the_same_bit_for_bit(bars_idx, monkeypatch, capsys):
    """With augmentation, dropout, norms, averaged weights and a schedule."""
    line = ["train", "classify", "--data", f"mnist:{bars_idx}", "--preset", "digits"]
    line += ["--options", "width=0.25,norm=batch,dropout=0.3", "--batch-size", "16"]
    line += ["--epochs", "3", "--deterministic", "--checkpoint-every", "5", "--log-every", "4"]
    assert main([*line, "--name", "whole"]) == 0

    own_step = Classify.step

    def dying(task, trainer):
        if task.progress == 23:
            raise KeyboardInterrupt  # nothing is saved then
        return own_step(task, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Classify, "step", dying)
        assert main([*line, "--name", "killed"]) == 130
        assert "classify/killed has what was saved" in capsys.readouterr().err
    whole, killed = (Path("runs/classify", name) for name in ("whole", "killed"))
    shutil.rmtree(killed / "checkpoints" / "step_000000000020")  # the newest is lost as well
    assert main(["train", "classify", "--resume", str(killed)]) == 0
    assert "from 15 updates" in capsys.readouterr().out

    assert (whole / "last.safetensors").read_bytes() == (killed / "last.safetensors").read_bytes()
    states = [checkpoint.load(run / "checkpoints")[1] for run in (whole, killed)]
    assert json.dumps(checkpoint._encode(states[0], "", {})) == json.dumps(
        checkpoint._encode(states[1], "", {})
    )
    for key, tensor in states[0]["modules"].items():
        assert torch.equal(tensor, states[1]["modules"][key]), key
    for key, tensor in states[0]["updates"]["ema"].items():
        assert torch.equal(tensor, states[1]["updates"]["ema"][key]), key
    timeless = [
        [{k: v for k, v in line.items() if k not in ("time", "per_second")} for line in r.metrics()]
        for r in map(Run.open, (whole, killed))
    ]
    assert timeless[0] == timeless[1]


def test_resume_takes_moved_pictures_and_asks_for_more_steps(trained, tmp_path, bars_idx, capsys):
    run, moved = tmp_path / "a", tmp_path / "moved"
    shutil.copytree(trained, run)
    shutil.copytree(bars_idx, moved)
    again = ["train", "classify", "--resume", str(run)]
    assert main([*again, "--data", f"mnist:{moved}"]) == 2
    assert "60 updates already" in capsys.readouterr().err
    assert main([*again, "--data", f"mnist:{moved}", "--steps", "64"]) == 0
    assert Run.open(run).settings["config"]["data"] == f"mnist:{moved}"
    assert main([*again, "--labels", "0.5"]) == 2
    assert "leave out --labels" in capsys.readouterr().err


def test_going_on_as_it_says_lengthens_a_cosine(bars_idx, capsys):
    line = ["train", "classify", "--data", f"mnist:{bars_idx}", *SMALL, "--schedule", "cosine"]
    assert main([*line, "--epochs", "0.5", "--name", "a"]) == 0
    run, more = Path("runs/classify/a"), ["--epochs", "1", "--steps", "10"]
    assert f"--resume {run} {' '.join(more)}\n" in capsys.readouterr().out
    assert main(["train", "classify", "--resume", str(run), *more]) == 0
    step, saved = checkpoint.load(run / "checkpoints")
    assert step == saved["state"]["horizon"] == 10
    assert Run.open(run).settings["config"]["epochs"] == 1


def test_fine_tuning_in_one_command(trained, bars_idx):
    shutil.copytree(trained, "gone")
    line = ["train", "classify", "--data", f"mnist:{bars_idx}", *SMALL, "--name", "tuned"]
    line += ["--weights", "gone", "--freeze", "pool2", "--layer-decay", "0.8"]
    assert main([*line, "--options", "width=0.5", "--epochs", "2"]) == 0
    before, after = (
        load_file(run / "last.safetensors") for run in (trained, Path("runs/classify/tuned"))
    )
    assert torch.equal(before["conv2_2.weight"], after["conv2_2.weight"])
    assert not torch.equal(before["conv3_1.weight"], after["conv3_1.weight"])
    shutil.rmtree("gone")
    resume = ["train", "classify", "--resume", "runs/classify/tuned", "--steps", "22"]
    assert main(resume) == 0


# evaluate


def test_evaluate_in_words_and_as_json(trained, bars_idx, capsys):
    assert main(["evaluate", str(trained)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "60 test pictures" in printed and "hardest" in printed
    file = str(trained / "last.safetensors")
    assert main(["evaluate", file, "--data", f"mnist:{bars_idx}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == Run.open(trained).metrics()[-1]["evaluate/score"]
    assert found["sources"] == [file] and found["pictures"] == 60 and found["views"] == 1
    assert np.array(found["confusion"]).sum() == 60 and set(found["recall"]) == {"0", "1"}
    assert found["wrong"] == 60 - np.trace(np.array(found["confusion"]))


def test_a_run_is_what_it_was_last(trained, tmp_path):
    """Not what was best on the pictures that it is scored on."""
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / "best.safetensors").write_bytes(b"none")
    one, other = (classify.load(source).network.state_dict() for source in (trained, copy))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    with pytest.raises(UserError):
        classify.load(copy / "best.safetensors")


def test_evaluate_all_of_a_folder(trained, bars_folder, tmp_path, capsys):
    other = classify.load(trained)
    names = ("lying", "standing", *map(str, range(8)))
    other.design = replace(other.design, classes=names)
    other.save(tmp_path / "other.safetensors")
    line = ["evaluate", str(tmp_path / "other.safetensors"), "--data", str(bars_folder), "--json"]
    found = []
    for more in ([], ["--all"]):
        assert main([*line, *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [one["pictures"] for one in found] == [7, 80]
    assert list(found[1]["recall"]) == ["lying", "standing"]  # of the others there are no pictures


def test_a_presets_options_go_with_its_backbone(bars_idx):
    def options(*argv):
        line = ["train", "classify", "--data", f"mnist:{bars_idx}", "--preset", "photos", *argv]
        return training.fresh(_parser().parse_args(line), train_classify.CLASSIFY)[0].options

    assert options() == ("stem=small",)
    assert options("--options", "width=0.25") == ("stem=small", "width=0.25")
    assert options("--options", "stem=large") == ("stem=large",)
    assert options("--backbone", "resnet18") == ("stem=small",)
    assert options("--backbone", "vgg16") == ()
    assert options("--backbone", "vgg16", "--options", "width=0.5") == ("width=0.5",)


def test_an_ensemble_reads_pictures_at_its_largest_size(trained, bars_folder, tmp_path, capsys):
    small = tmp_path / "small.safetensors"
    one = classify.load(trained)
    one.design = replace(one.design, size=(20, 20))
    one.save(small)
    assert main(["evaluate", str(trained), str(small), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 60


def test_evaluate_an_ensemble_with_several_views(trained, capsys):
    line = ["evaluate", str(trained), str(trained / "best.safetensors"), "--views", "3"]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["sources"]) == len(found["parameters"]) == 2 and found["views"] == 3
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "ensemble of 2" in printed and "views" in printed


# Mistakes

ABSENT = "mps" if torch.cuda.is_available() else "cuda"


@pytest.fixture
def broken(tmp_path, trained, bars_idx, bars_folder):
    """Data, files and runs that are not what they should be."""
    (tmp_path / "data").symlink_to(bars_idx)
    (tmp_path / "folder").symlink_to(bars_folder)
    (tmp_path / "run").symlink_to(trained)
    for name in ("empty", "alone/cat", "junk/a", "junk/b", "two/cat", "two/dog"):
        (tmp_path / name).mkdir(parents=True)
    picture = read_image(next(bars_folder.rglob("*.png")))
    write_image(tmp_path / "alone/cat/1.png", picture)
    for name in ("two/cat", "two/dog"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", picture)
    write_image(tmp_path / "two/dog/4.png", picture[:7])
    for name in ("junk/a", "junk/b"):
        (tmp_path / name / "x.png").write_text("no picture")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((trained / "last.safetensors").read_bytes()[:999])
    other = tmp_path / "dqn_run"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"task": "dqn", "config": {"game": "pong"}}))
    mixed = tmp_path / "mixed"
    shutil.copytree(trained, mixed)
    step, state = checkpoint.load(mixed / "checkpoints")
    checkpoint.save(mixed / "checkpoints", step, {**state, "task": "DQN"}, keep=1)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("train classify", "--data mnist:DIR"),
        ("train classify --data nowhere", "no folder"),
        ("train classify --data mnits:data", "'mnist'"),
        ("train classify --data mnist:empty", "train-images"),
        ("train classify --data atari:pong", "no classes"),
        ("train classify --data empty", "no pictures in empty"),
        ("train classify --data alone", "two or more folders"),
        ("train classify --data junk", "can be read"),
        ("train classify --data two", "--size"),
        ("train classify --data mnist:data --backbone resnet81", "'resnet18'"),
        ("train classify --data mnist:data --options depth=3", "no option 'depth'"),
        ("train classify --data mnist:data --options depth", "name=value"),
        ("train classify --data mnist:data --weights nowhere.safetensors", "nowhere"),
        ("train classify --data mnist:data --weights foreign.safetensors", "another architecture"),
        ("train classify --data mnist:data --weights torn.safetensors", "torn.safetensors"),
        ("train classify --data mnist:data --weights run", "conv1_1.weight is (8, 1, 3, 3)"),
        ("train classify --data mnist:data --weights dqn_run", "run of dqn"),
        ("train classify --data mnist:data --freeze conv9", "No layer 'conv9'"),
        ("train classify --data mnist:data --labels 0", "--labels"),
        ("train classify --data mnist:data --epochs -1", "--epochs"),
        ("train classify --data mnist:data --steps 0", "--steps"),
        ("train classify --data mnist:data --augment photo", "'photos'"),
        ("train classify --data mnist:data --preset books", "book"),
        ("train classify --data mnist:data --precision fp16", "GPU"),
        ("train classify --data mnist:data --size 0", "--size"),
        ("train classify --data mnist:data --runs foreign.safetensors", "Cannot write"),
        ("train classify --resume nowhere", "not a run"),
        ("train classify --resume dqn_run", "a run of dqn, not of classify"),
        ("train classify --resume mixed --steps 99", "of the task DQN, not Classify"),
        ("evaluate run --episodes 3", "--episodes is for agents"),
        ("evaluate run --game pong", "--game is for agents"),
        ("evaluate run --protocol sb3", "--protocol is for agents"),
        (f"evaluate run --device {ABSENT}", f"no {ABSENT} device"),
        ("train dqn --resume run", "a run of classify, not of dqn"),
        ("train classify --resume run --steps 99 --data folder", "does not hold the pictures"),
        ("train classify --resume run --backbone vgg16", "leave out --backbone"),
        ("evaluate run zoo:pong", "ensemble of classifiers"),
        ("evaluate foreign.safetensors", "no agent"),
        ("evaluate zoo:pong --data folder", "for classifiers"),
        ("evaluate run/last.safetensors", "add --data"),
        ("evaluate run --data folder", "lying, standing"),
        ("evaluate run --data nowhere", "no folder"),
        ("evaluate run --views 0", "from 1"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_a_mistake_is_one_sentence_and_leaves_nothing(line, part, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    *noted, last = said.splitlines()
    assert part in last and last[-1] in ".?)"
    assert all(line.startswith("Left out") for line in noted)
    assert not Path("runs/classify").exists() or not list(Path("runs/classify").iterdir())
