"""Batches put together on the device against those of main memory, bit for bit; how they get there.

The device here is the CPU, whose operations are the same; tests marked ``gpu`` repeat it on CUDA.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.dqn
from agents import device_rows
from agents.device_rows import DeviceRows, on_device
from agents.dqn import DQN, PRESETS, DQNConfig
from agents.pqn import PQN
from agents.replay import Batch, Replay
from agents.replay_files import ReplayFiles
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything
from tests.agents.catch import Catch
from tests.agents.stream import SHAPE, Stream
from tests.playground.tape import taped

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def make(device: str | None, **settings: Any) -> Replay:
    """A small replay; with a device, mirrored there from the start."""
    options: dict[str, Any] = {
        "n_step": 3,
        "gamma": 0.97,
        "frame_shape": SHAPE,
        "seed": 4,
    } | settings
    replay = Replay(options.pop("capacity", 90), options.pop("num_envs", 3), **options)
    if device is not None:
        replay.mirror = DeviceRows(replay, torch.device(device))
    return replay


def assert_equal(one: Batch, other: Batch) -> None:
    """The same numbers in tensors of the same types and strides."""
    for name, a, b in zip(Batch._fields[:6], one[:6], other[:6], strict=True):
        assert a.dtype == b.dtype and a.stride() == b.stride(), name
        assert torch.equal(a.cpu(), b.cpu()), name
    np.testing.assert_array_equal(one.rows, other.rows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_step", [1, 3, 10])
@pytest.mark.parametrize(("num_envs", "feeds"), [(1, 80), (3, 25), (3, 170)])
def test_every_transition_equals_main_memorys(
    n_step: int, num_envs: int, feeds: int, device: str
) -> None:
    """Ends of episodes, terminal and not, and with 170 feeds a ring that has gone round 5 times."""
    pair = [make(on, n_step=n_step, num_envs=num_envs) for on in (None, device)]
    streams = [Stream(num_envs, seed=n_step) for _ in pair]
    for _ in range(feeds):
        for replay, stream in zip(pair, streams, strict=True):
            stream.feed(replay)
    low, high = pair[0]._drawable()
    rows = np.arange(low * num_envs, high * num_envs) % (pair[0].steps * num_envs)
    assert len(rows) > 20
    weight = np.linspace(0.1, 1, len(rows), dtype=np.float32)
    one, other = (replay.gather(rows, weight) for replay in pair)
    assert other.observation.device.type == device
    assert_equal(one, other)
    assert (one.discount == 0).any() and len(one.discount.unique()) > min(n_step, 2)


@pytest.mark.parametrize("reward_clip", [None, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("compressed", [False, True])
def test_draws_stay_equal_while_the_ring_is_written_over(
    alpha: float, compressed: bool, reward_clip: float | None
) -> None:
    """The device's rows do not care how main memory keeps its frames."""
    settings = {"priority_exponent": alpha, "reward_clip": reward_clip}
    pair = [make(None, **settings), make("cpu", compressed=compressed, **settings)]
    streams = [Stream(3, seed=2) for _ in pair]
    for feed in range(150):
        for replay, stream in zip(pair, streams, strict=True):
            stream.feed(replay)
        if feed % 6 == 5:
            one, other = (replay.sample(16) for replay in pair)
            assert_equal(one, other)
            for replay in pair:
                replay.update_priorities(one.rows, one.reward.numpy())


@pytest.mark.parametrize("feeds", [20, 170])
def test_rows_that_were_there_before_are_taken_over(
    feeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_rows, "CHUNK", 7)
    replay, stream = make(None), Stream(3, seed=1)
    for _ in range(feeds):
        stream.feed(replay)
    index, weight = replay.draw(200)
    expected = replay.gather(index, weight)
    replay.mirror = DeviceRows(replay, CPU)
    assert_equal(expected, replay.gather(index, weight))


def test_rows_read_from_files_come_to_the_device(tmp_path: Path) -> None:
    replay, stream = make(None), Stream(3, seed=1)
    files = ReplayFiles(replay, tmp_path)
    files.segment_steps = 7
    for _ in range(100):
        stream.feed(replay)
        files.follow()
    files.flush()
    again = make("cpu")
    again.load_state(replay.state())
    ReplayFiles(again, tmp_path).load(replay.written)
    for _ in range(10):
        assert_equal(replay.sample(32), again.sample(32))


def test_nothing_is_kept_of_the_arrays_that_were_added() -> None:
    """The emulators' memory is written anew while a copy to the device may still wait."""
    replay = make("cpu", num_envs=1)
    frame, no = np.full((1, *SHAPE), 7, np.uint8), np.zeros(1, bool)
    replay.add(frame, ~no, np.ones(1, np.int64), np.ones(1, np.float32), no, no)
    frame[:] = 9
    assert replay.mirror is not None
    assert (replay.mirror.frames[0] == 7).all()


def test_who_decides_where_the_rows_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    replay, cuda = Replay(1000, 2), torch.device("cuda")
    needed = DeviceRows.size_bytes(replay)
    assert needed == replay.steps * 2 * (84 * 84 + 4 + 3)
    free = 0
    monkeypatch.setattr(device_rows, "available_memory", lambda device: free)
    free = int(needed / 0.6) + 1
    assert on_device("auto", replay, cuda) and on_device("device", replay, cuda)
    assert on_device("device", replay, CPU)  # to rehearse
    assert not on_device("auto", replay, CPU) and not on_device("host", replay, cuda)
    free = int(needed / 0.6) - 1
    assert not on_device("auto", replay, cuda)
    with pytest.raises(UserError, match=r"1,000 agent steps takes 0.0 GB .*--replay-device host"):
        on_device("device", replay, cuda)
    with pytest.raises(UserError, match="needs CUDA"):
        on_device("device", replay, torch.device("mps"))


# Trainings of a tiny game.

SMALL: dict[str, Any] = {
    "envs": 3, "width": 0.25, "hidden": 16, "batch_size": 8, "warmup": 60, "replay_capacity": 150,
    "train_every": 6, "target_every": 5, "epsilon_steps": 400,
}  # fmt: skip
LAPTOP = replace(PRESETS["laptop"], **SMALL)
NATURE = replace(PRESETS["nature2015"], **SMALL, replay_compression=True)
BEYOND = replace(  # noise and quantiles drawn in the update, singular vectors that it moves
    LAPTOP, backbone="impala", width=1.0, trunk_norm="spectral", max_pool=True, noise=0.5,
    distribution="iqn", quantiles=4, munchausen=0.9, batch_size=4, train_every=12,
)  # fmt: skip
MINUTES = replace(
    PRESETS["minutes"], envs=3, rollout=8, width=0.25, hidden=16, batch_size=12, epsilon_steps=400
)


@pytest.fixture
def _catch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny game."""
    monkeypatch.setattr(agents.dqn, "VectorAtari", Catch)
    monkeypatch.setattr(agents.pqn, "VectorAtari", Catch)


def train(
    folder: Path, config: DQNConfig, steps: int = 300, resume: bool = False,
    precision: str = "fp32", device: str = "cpu", deterministic: bool = True,
) -> Any:  # fmt: skip
    """Train, or go on with what was trained there. On a CPU a tape stands in for CUDA's graphs."""
    seed_everything(7)
    task: Any = (PQN if config.algorithm == "pqn" else DQN)(config, seed=7)
    task.evaluate = task.confirm = lambda trainer: {"score": 0.0}
    task.frames = lambda: iter(())
    run = Run.open(folder / "dqn" / "run") if resume else Run.create(folder, "dqn", "run", {})
    settings = TrainerConfig(
        steps=steps, deterministic=deterministic, precision=precision, threads=1, seed=7,
        device=device, checkpoint_minutes=None, log_every=60,
    )  # fmt: skip
    trainer = Trainer(settings, task, run)
    if device == "cuda":
        unread(task)
    elif config.graph:
        task.tape = taped(trainer)
    if resume:
        trainer.resume()
    trainer.fit()
    return task


def unread(task: DQN) -> None:
    """Make it an error if an update waits for the GPU, once libraries and graphs are set up."""
    update = task._update

    def watched(trainer: Trainer) -> dict[str, Any]:
        torch.cuda.set_sync_debug_mode("error" if task.updates > 5 else "default")
        try:
            return update(trainer)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    task._update = watched  # type: ignore[method-assign]


def learned(task: Any, folder: Path) -> list[Any]:
    """What two equal trainings agree in: weights, priorities, what was logged but the time."""
    logged = [{k: v for k, v in line.items() if k not in ("per_second", "time")}
              for line in Run.open(folder / "dqn" / "run").metrics()]  # fmt: skip
    tree = task.replay.tree if isinstance(task, DQN) else None
    leaves = [] if tree is None else tree.leaves.tolist()
    return [{k: v.tolist() for k, v in task.state_dict().items()}, leaves, logged]


@pytest.mark.usefixtures("_catch")
@pytest.mark.parametrize("config", [LAPTOP, NATURE], ids=["laptop", "nature2015"])
def test_a_training_is_the_same_with_either_and_goes_on_exactly(
    config: DQNConfig, tmp_path: Path
) -> None:
    host = train(tmp_path / "host", config)  # auto, on a CPU
    there = replace(config, replay_device="device")
    device = train(tmp_path / "device", there)
    assert host.replay.mirror is None and device.replay.mirror is not None
    assert host.updates > 35 and host.replay.written > host.replay.steps
    assert learned(host, tmp_path / "host") == learned(device, tmp_path / "device")
    train(tmp_path / "halves", there, 180)
    again = train(tmp_path / "halves", there, resume=True)
    assert again.replay.mirror is not None
    assert learned(again, tmp_path / "halves")[:2] == learned(device, tmp_path / "device")[:2]
    assert torch.equal(again.replay.mirror.frames, device.replay.mirror.frames)
    assert torch.equal(again.replay.mirror.frames[:-1], device.replay.frames[:-1])


@pytest.mark.usefixtures("_catch")
def test_a_refilled_replay_lies_on_the_device_again(tmp_path: Path) -> None:
    config = replace(LAPTOP, replay_device="device")
    state = train(tmp_path, config, 120).state()
    task = DQN(config, seed=7)
    task.refill = True
    task.load_state(state)
    assert task.replay.written == 0
    assert task.replay.mirror is not None and task.replay.mirror.replay is task.replay


@pytest.mark.usefixtures("_catch")
@pytest.mark.parametrize(
    ("config", "where", "precision"),
    [(LAPTOP, "device", "fp32"), (LAPTOP, "host", "bf16"), (NATURE, "device", "fp32"),
     (BEYOND, "device", "bf16"), (MINUTES, "auto", "fp32")],
    ids=["laptop", "laptop from main memory", "nature2015", "beyond", "minutes"],
)  # fmt: skip
def test_recorded_updates_learn_the_same(
    config: DQNConfig, where: str, precision: str, tmp_path: Path
) -> None:
    """Draws and batches of each update, its random numbers, and the target's copies between them:
    a replayed update equals one that is computed anew, bit for bit, and reads nothing.
    """
    plain = train(tmp_path / "plain", config, 150, precision=precision)
    taped = replace(config, replay_device=where, graph=True)
    task = train(tmp_path / "taped", taped, 150, precision=precision)
    assert task.tape.recordings == 1 and task.tape.replays == task.updates - 3 >= 4
    assert learned(task, tmp_path / "taped") == learned(plain, tmp_path / "plain")


@pytest.mark.gpu
@pytest.mark.usefixtures("_catch")
@pytest.mark.parametrize("config", [LAPTOP, NATURE, BEYOND], ids=["laptop", "nature2015", "beyond"])
def test_a_gpus_updates_wait_for_nothing_and_can_be_replayed(
    config: DQNConfig, tmp_path: Path
) -> None:
    found = []
    for graph in (False, True):
        there = replace(config, graph=graph, train_every=6)
        task = train(  # PyTorch's pooling has no deterministic gradient
            tmp_path / f"{graph}", there, 200, device="cuda", deterministic=not config.max_pool
        )
        assert task.replay.mirror is not None and task.replay.mirror.device.type == "cuda"
        assert task.updates > 15 and all(p.isfinite().all() for p in task.parameters())
        found.append([tensor.cpu() for tensor in task.state_dict().values()])
    if not config.max_pool:
        torch.testing.assert_close(*found)
