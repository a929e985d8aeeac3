"""State on disk: exact, verified, atomic, and never code."""

import errno
import os
import pickle
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from playground import checkpoint
from playground.errors import UserError


def same(a: Any, b: Any) -> bool:
    """Equal in type, value and, for tensors, dtype, strides and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = (
            a.contiguous().flatten().view(torch.uint8),
            b.contiguous().flatten().view(torch.uint8),
        )
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(*bits)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


STATE: dict[str, Any] = {
    "float": 0.1 + 0.2,
    "tiny": 5e-324,
    "nan": float("nan"),
    "inf": -float("inf"),
    "huge": 2**200 + 1,
    "flags": [True, False, None, "tëxt", ""],
    "tuple": (1, (2.5, [3])),
    "adam": {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(3, 2)}, 1: {}},
    "$odd": {"1": torch.zeros(1), 1: torch.ones(1)},
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "bf16": torch.randn(5).bfloat16(),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "mask": torch.tensor([True, False]),
    "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "array": np.arange(6, dtype=np.uint32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "u64": np.array([2**64 - 1], dtype=np.uint64),
    "pcg": np.random.default_rng(3).bit_generator.state,
}


def test_round_trip(tmp_path: Path) -> None:
    shared = torch.randn(10)
    state = {**STATE, "tied": [shared, shared, shared[2:5]]}
    path = checkpoint.save(tmp_path, 1234, state)
    assert path.name == "step_000000001234" and checkpoint.latest(tmp_path) == path
    for place in (tmp_path, path):
        step, loaded = checkpoint.load(place)
        assert step == 1234
        for key in state:
            assert same(state[key], loaded[key]), key
    assert {p.suffix for p in path.iterdir()} == {".json", ".safetensors"}


def test_shards_and_speed(tmp_path: Path) -> None:
    state = {"big": torch.randn(12_000_000), "small": [torch.randn(100) for _ in range(50)]}
    begin = time.perf_counter()
    path = checkpoint.save(tmp_path, 1, state)
    assert time.perf_counter() - begin < 30  # 0.3 s on an idle machine
    shards = sorted(path.glob("*.safetensors"))
    assert len(shards) == 4 and all(s.stat().st_size <= 15 * 2**20 for s in shards)
    assert same(checkpoint.load(tmp_path)[1], state)


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, step, {"step": step}, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step_000000000003", "step_000000000010"]
    checkpoint.save(tmp_path, 10, {"step": "again"}, keep=2)
    assert checkpoint.load(tmp_path) == (10, {"step": "again"})
    assert sorted(os.listdir(tmp_path)) == ["step_000000000003", "step_000000000010"]


@pytest.mark.parametrize("harm", ["truncate", "flip", "unlink", "manifest", "garbage"])
def test_a_torn_checkpoint_falls_back(tmp_path: Path, harm: str) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"w": torch.full((100,), float(step))})
    newest = tmp_path / "step_000000000002"
    shard = newest / "tensors-00000.safetensors"
    data = bytearray(shard.read_bytes())
    if harm == "truncate":
        shard.write_bytes(data[:-10])
    elif harm == "flip":
        data[-1] ^= 1
        shard.write_bytes(data)
    elif harm == "unlink":
        shard.unlink()
    elif harm == "manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text("[1]")
    said: list[str] = []
    step, state = checkpoint.load(tmp_path, said.append)
    assert step == 1 and float(state["w"][0]) == 1
    assert len(said) == 1 and str(newest) in said[0] and "damaged" in said[0]
    assert checkpoint.latest(tmp_path) == tmp_path / "step_000000000001"
    at, outline = checkpoint.glance(tmp_path) or (0, {})
    assert at == 1 and outline["w"]["$tensor"]["name"] == "w"


def test_none_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no good checkpoint"):
        checkpoint.load(tmp_path)
    assert checkpoint.latest(tmp_path / "absent") is None
    assert checkpoint.glance(tmp_path / "absent") is None
    path = checkpoint.save(tmp_path, 1, {})
    (path / "state.json").write_text("{}  ")
    with pytest.raises(UserError, match="no good checkpoint"):
        checkpoint.load(tmp_path, lambda text: None)


@pytest.mark.parametrize("writes", range(4))
def test_disk_full_keeps_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    checkpoint.save(tmp_path, 1, {"w": torch.ones(3)}, keep=1)
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="disk is full"):
        checkpoint.save(tmp_path, 2, {"w": torch.ones(3)}, keep=1)
    assert os.listdir(tmp_path) == ["step_000000000001"]
    assert checkpoint.load(tmp_path)[0] == 1


def test_killed_between_the_two_renames_of_a_second_save(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, {"a": 1})
    shutil.move(path, tmp_path / ".old-step_000000000005")
    (tmp_path / ".tmp-1-step_000000000005").mkdir()
    assert checkpoint.load(tmp_path) == (5, {"a": 1})
    checkpoint.save(tmp_path, 6, {"a": 2}, keep=1)
    assert os.listdir(tmp_path) == ["step_000000000006"]


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    """In containers numbers come again."""
    left = tmp_path / f".tmp-{os.getpid()}-step_000000000005"
    left.mkdir()
    (left / "state.json").touch()
    checkpoint.save(tmp_path, 5, {"a": 1})
    assert checkpoint.load(tmp_path) == (5, {"a": 1})
    assert os.listdir(tmp_path) == ["step_000000000005"]


def test_loading_never_runs_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "hacked"),))

    path = checkpoint.save(tmp_path, 1, {"w": torch.ones(3)})
    (path / "tensors-00000.safetensors").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError):
        checkpoint.load(path, lambda text: None)
    assert not (tmp_path / "hacked").exists()
    with pytest.raises(TypeError, match="cannot hold Hostile"):
        checkpoint.save(tmp_path, 2, {"w": Hostile()})
    assert checkpoint.latest(tmp_path) is None


def test_random_generators(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float, float]:
        return random.random(), np.random.rand(), np.random.randn(), float(torch.rand(()))

    np.random.randn()  # leaves a second Gaussian in stock, which is state too
    checkpoint.save(tmp_path, 1, {"rng": checkpoint.rng_state()})
    expected = [draw() for _ in range(3)]
    checkpoint.set_rng_state(checkpoint.load(tmp_path)[1]["rng"])
    assert [draw() for _ in range(3)] == expected


def test_an_abandoned_future_does_not_outlive_a_new_checkpoint(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        checkpoint.save(tmp_path, step, {"at": step})
    (tmp_path / "step_000000000300" / "manifest.json").unlink()  # torn: training goes on from 200
    assert checkpoint.load(tmp_path, lambda text: None)[0] == 200
    checkpoint.save(tmp_path, 250, {"at": 250})
    assert sorted(path.name[-3:] for path in tmp_path.iterdir()) == ["200", "250"]
    checkpoint.save(tmp_path, 260, {"at": 260}, keep=1)
    assert checkpoint.load(tmp_path)[1] == {"at": 260}
