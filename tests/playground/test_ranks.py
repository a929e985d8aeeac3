"""Several processes: equal to one, agreed in everything, and ended together."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from playground import checkpoint, device, ranks
from playground.errors import UserError
from playground.run import Run

PROGRAM = Path(__file__).with_name("ranks_program.py")
spec = importlib.util.spec_from_file_location("ranks_program", PROGRAM)
assert spec is not None and spec.loader is not None
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)

Found = dict[str, list[dict[str, Any]]]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

# accumulate=2
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def start(mode: str, folder: Path, *launcher: str) -> subprocess.Popen[str]:
    """The program in two processes: by Fabric, or by the given launcher."""
    command = [*(launcher or [sys.executable]), str(PROGRAM), mode, str(folder)]
    return subprocess.Popen(
        [*command, "--devices", "1" if launcher else "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": str(PROGRAM.parents[2]),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        },
    )


def end(process: subprocess.Popen[str]) -> None:
    """Both processes, if they still run."""
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the last tests look at, started first, as starting takes the most of their time."""
    found = {}
    for name in ("kill 0", "kill 1", "torchrun"):
        place = tmp_path_factory.mktemp("other")
        launcher = TORCHRUN if name == "torchrun" else ()
        found[name] = (place, start("plain" if launcher else "slow", place, *launcher))
    yield found
    for _, process in found.values():
        end(process)


@pytest.fixture(scope="module")
def alone(folder: Path) -> Found:
    """Each case in this process alone; the runs are left beside those of two."""
    found = {}
    program.Normed.parts = 2
    for name, (task, config) in program.CASES.items():
        trainer = program.train(task, folder / "alone", name, 1, **config)
        found[name] = [program.outcome(trainer)]
    program.Normed.parts = 1
    program.train(program.Plain, folder, "to grow", 1, steps=11, accumulate=2)
    return found


@pytest.fixture(scope="module")
def both(folder: Path, alone: Found, others: dict[str, Any]) -> Iterator[tuple[Found, str, str]]:
    """All of the program in two processes: what it found, its stdout and stderr.

    In the end it is interrupted, and then fails.
    """
    process = start("everything", folder)
    try:
        if pids(folder / "plain" / "interrupted", process):
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    finally:
        end(process)
    assert process.returncode == 2, err
    yield torch.load(folder / "found.pt"), out, err


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-11)


def learned(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without batch norms' statistics."""
    return {k: v for k, v in weights.items() if "running" not in k and "num_batches" not in k}


@pytest.mark.parametrize("case", list(program.CASES))
def test_two_processes_are_one(case: str, alone: Found, both: tuple[Found, str, str]) -> None:
    """float64; the batch norm is compared with one process that normalises half batches."""
    one, (first, second) = alone[case][0], both[0][case]
    close(learned(one["weights"]), learned(first["weights"]))
    close(one["ema"], first["ema"])
    assert one["progress"] == first["progress"]
    if case != "normed":  # which is evaluated with other statistics
        assert abs(one["score"] - first["score"]) < 1e-9
    # Between processes not a bit differs.
    assert first["moments"] == second["moments"]
    for name, value in learned(first["weights"]).items():
        assert torch.equal(value, second["weights"][name]), name
    for name, value in first["ema"].items():
        assert torch.equal(value, second["ema"][name]), name


def test_statistics_that_are_spoilt_in_one_process_are_saved_by_none(
    both: tuple[Found, str, str],
) -> None:
    assert [part["saved"] for part in both[0]["one's statistics"]] == [False, False]


def test_gradients_that_are_missing(alone: Found, both: tuple[Found, str, str]) -> None:
    """Where no process has one there is none, as alone; where only one has, it counts for all."""
    weights, vectors = 4, 2  # of the network; then those of `spare` and of `halves`
    assert alone["plain"][0]["trained"] == [list(range(weights))]
    for found in both[0]["plain"]:
        assert found["trained"] == [[*range(weights), *range(weights + vectors, weights + 4)]]


def test_buckets_are_sent_while_backward_runs(both: tuple[Found, str, str]) -> None:
    for found in both[0]["gan"]:
        assert len(found["early"]) == 2 * program.STEPS and min(found["early"]) >= 2


def test_statistics_are_each_ones_own_and_their_mean_is_saved(
    folder: Path, both: tuple[Found, str, str]
) -> None:
    first, second = both[0]["normed"]
    name = "net.1.running_var"
    assert not torch.equal(first["weights"][name], second["weights"][name])
    mean = (first["weights"][name] + second["weights"][name]) / 2
    run = folder / "plain" / "normed"
    torch.testing.assert_close(load_file(run / "last.safetensors")[name], mean)
    torch.testing.assert_close(checkpoint.load(run / "checkpoints")[1]["modules"][name], mean)


@pytest.mark.parametrize(
    ("whole", "halfway"), [("drawing", "halfway"), ("normed", "normed halfway")]
)
def test_two_processes_resume_exactly(
    whole: str, halfway: str, folder: Path, both: tuple[Found, str, str]
) -> None:
    """Own random generators, half an accumulated update, own statistics: bit for bit."""
    for one, other in zip(both[0][whole], both[0][halfway], strict=True):
        assert one["progress"] == other["progress"]
        for name, value in one["weights"].items():
            assert torch.equal(value, other["weights"][name]), name
        assert one["draw"] == other["draw"] and one["moments"] == other["moments"]
    lines = [
        [
            {k: v for k, v in line.items() if k not in ("time", "per_second")}
            for line in Run.open(folder / "plain" / name).metrics()
            if "loss" in line
        ]
        for name in (whole, halfway)
    ]
    # Where it was stopped there is a line more, and those after it are the same.
    stop = {"halfway": 21, "normed halfway": None}[halfway]
    steps = {line["step"] for line in lines[1]} - {line["step"] for line in lines[0]}
    assert steps == ({stop} if stop else set())
    assert lines[0] == [line for line in lines[1] if line["step"] != stop] and len(lines[0]) >= 4


def test_another_number_of_processes_goes_on_with_the_same_data(
    folder: Path, alone: Found, both: tuple[Found, str, str]
) -> None:
    """From one to two and from two to one, in the midst of an accumulated update."""
    expected = alone["accumulated"][0]
    grown = both[0]["to grow"][0]
    close(expected["weights"], grown["weights"])
    assert "Saved by 1 processes, going on with 2." in grown["said"]
    trainer = program.train(
        program.Plain, folder, "to shrink", 1, steps=21, accumulate=2, resume=True
    )
    close(expected["weights"], trainer.task.state_dict())
    assert "Saved by 2 processes, going on with 1." in trainer.said


def test_random_streams_differ_between_processes(both: tuple[Found, str, str]) -> None:
    first, second = (found["draw"] for found in both[0]["drawing"])
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_what_is_not_finite_in_one_process_is_skipped_and_rewound_in_all(
    folder: Path, both: tuple[Found, str, str]
) -> None:
    first, second = both[0]["spoilt"]
    assert first["progress"] == second["progress"] == program.STEPS
    assert first["skipped"] == second["skipped"] == 1  # that of round 3; the others were undone
    assert [text for text in first["said"] if "went back to the checkpoint at 10" in text]
    assert second["said"] == []
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]) and value.isfinite().all()
    losses = [line for line in Run.open(folder / "plain" / "spoilt").metrics() if "rank" in line]
    assert [line["step"] for line in losses] == list(range(1, program.STEPS + 1))


@pytest.mark.parametrize("end", ["hours", "stopped", "interrupted"])
def test_what_ends_one_process_ends_all_after_the_same_round(
    end: str, folder: Path, both: tuple[Found, str, str]
) -> None:
    """A clock, a task that stops in the second one, a signal to the first one."""
    first, second = both[0][end]
    assert first["reason"] == second["reason"] == end
    assert first["progress"] == second["progress"]
    step, state = checkpoint.load(folder / "plain" / end / "checkpoints")
    assert step == first["progress"] and len(state["others"]) == 1
    # All of them came to the last line, which tells the mean over both.
    lines = [line for line in Run.open(folder / "plain" / end).metrics() if "rank" in line]
    assert lines[-1]["step"] == step and lines[-1]["rank"] == 0.5


def test_only_the_first_process_writes_and_speaks(
    folder: Path, both: tuple[Found, str, str]
) -> None:
    _, out, err = both
    assert sorted(out.split()) == ["before", "before", "inside"]
    assert [line for line in err.splitlines() if line] == [
        "Interrupted: saving after this round; once more breaks off.",
        "The second process has no more memory.",
        "A program trains on several processes once, as each of them runs it from its beginning: "
        "start the next training as a program of its own, or with --devices 1.",
    ]
    run = Run.open(folder / "plain" / "plain")
    steps = [line["step"] for line in run.metrics() if "rank" in line]
    assert steps == [5, 10, 15, 20]
    assert all(line["rank"] == 0.5 for line in run.metrics() if "rank" in line)  # a mean of both
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert [path.name for path in run.gallery.iterdir()] == ["panel-0000000020.png"]


def test_torchrun(alone: Found, others: dict[str, Any]) -> None:
    place, process = others["torchrun"]
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert [out.count(word) for word in ("before", "inside", "after")] == [2, 1, 1]
    close(alone["plain"][0]["weights"], torch.load(place / "found.pt")["plain"][1]["weights"])


# ---- ends


def pids(run: Path, process: subprocess.Popen[str]) -> list[int]:
    """Of both processes, once they are at work on the run; empty when they ended before."""
    files = [run / "pid0", run / "pid1"]
    deadline = time.monotonic() + 240
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return []
        time.sleep(0.02)
    return [int(file.read_text()) for file in files]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("killed", "status", "sentence"),
    [
        (0, -signal.SIGKILL, "The training's first process was ended from outside."),
        (1, 2, "Process 1 was ended from outside by SIGKILL (by the system, out of memory?)."),
    ],
)
def test_a_death_ends_all_with_a_sentence(
    killed: int, status: int, sentence: str, others: dict[str, Any]
) -> None:
    place, process = others[f"kill {killed}"]
    both = pids(place / "plain" / "slow", process)
    assert both[0] == process.pid != both[1]
    os.kill(both[killed], signal.SIGKILL)
    _, err = process.communicate(timeout=300)  # until the last process has closed them
    deadline = time.monotonic() + 5
    while any(map(alive, both)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, both))
    assert process.returncode == status
    said = [line for line in err.splitlines() if line]
    assert len(said) == 1 and said[0].startswith(sentence), err


# ---- small rules


def test_a_trainer_before_the_processes_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="with launched"):
        program.train(program.Plain, tmp_path, "early", 2)


def test_a_program_that_had_several_processes_trains_on_alone(
    folder: Path, alone: Found, both: tuple[Found, str, str]
) -> None:
    run = Run.open(folder / "plain" / "alone afterwards")
    assert checkpoint.load(run.checkpoints)[0] == program.STEPS


def test_a_console_is_no_program_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(UserError, match="notebook or console"), ranks.launched("cpu", 2):
        pass
    with ranks.launched("cpu", 1):
        pass


def test_devices_that_are_not_there() -> None:
    with pytest.raises(UserError, match="one alone"), ranks.launched("mps", 2):
        pass
    if torch.cuda.device_count() < 64:
        with pytest.raises(UserError, match="lower --devices"), ranks.launched("cuda", 64):
            pass


def test_torchrun_decides_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.planned(3) == 3
    for name, value in (
        ("TORCHELASTIC_RUN_ID", "x"),
        ("WORLD_SIZE", "8"),
        ("LOCAL_WORLD_SIZE", "4"),
    ):
        monkeypatch.setenv(name, value)
    assert ranks.planned(1) == 8 and ranks._layout(1) == (4, 2)


def test_batch_norms_on_several_gpus_see_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_world", 2)
    task = program.Normed()
    parameters, keys = list(task.parameters()), list(task.state_dict())
    monkeypatch.setattr(task, "to", lambda device: task)
    device.lay_out(task, torch.device("cuda"))
    # Not yet: the first process alone measures precisions with it, and none would answer.
    assert isinstance(task.net[1], nn.BatchNorm2d | nn.BatchNorm1d)
    device.share_norms(task, torch.device("cuda"))
    assert isinstance(task.net[1], nn.SyncBatchNorm)
    assert list(task.state_dict()) == keys
    assert all(a is b for a, b in zip(parameters, task.parameters(), strict=True))


def test_stream_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "_rank", rank)
        found.append(ranks.stream_seed(7))
    assert found[0] == 7 and len(set(found)) == 3 and all(0 <= seed < 2**31 for seed in found)
