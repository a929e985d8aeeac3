"""What the machine says of itself, and how time is measured on it."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from playground import device
from playground.errors import UserError

CPU = torch.device("cpu")


class Clock:
    """A clock that only `pass_` moves."""

    now = 100.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(device, "time", clock)
    return clock


def test_a_run_is_timed_and_gives_what_it_makes(clock: Clock) -> None:
    assert device.timed(lambda: clock.pass_(2.5) or "made", CPU) == ("made", 2.5)


def test_runs_take_turns_and_the_first_two_turns_do_not_count(clock: Clock) -> None:
    order: list[str] = []

    def run(name: str, seconds: list[float]) -> Callable[[], None]:
        def turn() -> None:
            clock.pass_(seconds[order.count(name)])
            order.append(name)

        return turn

    runs = [run("a", [9, 9, 1, 3, 2, 9]), run("b", [0, 0, 8, 0, 4, 9])]
    assert device.median_seconds(runs, CPU, 0.0) == [2, 4]
    assert order == ["a", "b"] * 5
    order.clear()
    assert device.median_seconds([run("c", [5.0, 5.0, *[1.0] * 99])], CPU, 20.0) == [1]
    assert len(order) == 2 + 20


def test_a_run_that_is_hopeless_has_one_turn(clock: Clock) -> None:
    order: list[str] = []

    def run(name: str, seconds: float) -> Callable[[], None]:
        return lambda: (order.append(name), clock.pass_(seconds))[1]

    runs = [run("a", 2.0), run("b", 6.5), run("c", 5.5)]
    assert device.median_seconds(runs, CPU, 0.0, 3.0) == [2, 6.5, 5.5]
    assert [order.count(name) for name in "abc"] == [5, 1, 5]
    order.clear()
    device.median_seconds([run("a", 0.1), run("b", 0.9)], CPU, 0.0, 3.0)  # that is soon over
    assert order.count("b") == 5


def test_a_long_measurement_is_said_once(clock: Clock) -> None:
    class Task(torch.nn.Module):
        def rehearsal(self) -> Callable[[], torch.Tensor]:
            weight = torch.ones((), requires_grad=True)
            return lambda: (clock.pass_(pace), weight * 2)[1]

    said: list[str] = []
    pace = 0.5
    device.measured_precision(Task(), CPU, said.append)
    assert not said
    pace = 2.0
    device.measured_precision(Task(), CPU, said.append)
    assert len(said) == 1 and "--precision fp32" in said[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says it in /proc")
def test_available_memory_is_some_of_the_machines() -> None:
    found = device.available_memory()
    assert found is not None
    assert 0 < found < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:       8000 kB\nMemAvailable:   2048 kB\nBuffers:  1 kB\n", 2048 * 1024),
        ("MemTotal:       8000 kB\nMemFree:         100 kB\n", None),
        ("", None),
        (None, None),
    ],
)
def test_available_memory_is_read_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int | None
) -> None:
    monkeypatch.setattr(device, "MEMINFO", tmp_path / "meminfo")
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert device.available_memory() == expected


class Asserted(RuntimeError):
    """As PyTorch's error of an assertion on a GPU."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 EB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    ],
)
def test_running_out_of_memory_is_said(error: Exception) -> None:
    with pytest.raises(UserError, match="Out of memory: lower"), device.limits_said():
        raise error


def test_operations_that_are_not_deterministic_are_said() -> None:
    error = RuntimeError(
        "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you "
        "set 'torch.use_deterministic_algorithms(True)'."
    )
    wanted = "--deterministic is not possible on this device, as adaptive_avg_pool2d_backward_cuda"
    with pytest.raises(UserError, match=wanted), device.limits_said():
        raise error


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        ((1.0, 0.5, 0.49), "bf16"),  # by a hair slower than fp16, whose range is small
        ((1.0, 0.5, 0.4), "fp16"),
        ((0.51, 0.6, 0.5), "fp32"),
        ((0.51, 0.5, 0.6), "fp32"),
        ((1.0, 2.0, 0.5), "fp16"),
    ],
)
def test_the_safer_of_equally_fast_precisions_is_taken(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], wanted: str
) -> None:
    class Task(torch.nn.Module):
        def rehearsal(self) -> Any:
            return lambda: torch.zeros(())

    monkeypatch.setattr(device, "median_seconds", lambda *asked: list(seconds))
    name, reason = device.measured_precision(Task(), torch.device("cuda"))
    assert name == wanted and "fp16" in reason


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        torch.linalg.LinAlgError("linalg.eigh: the algorithm failed to converge"),
        NotImplementedError("not implemented for the MPS device"),
        RecursionError("maximum recursion depth exceeded"),
        Asserted("CUDA error: device-side assert triggered"),
    ],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, device.limits_said():
        raise error
    assert caught.value is error


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is asked")
def test_a_prepared_process_keeps_the_memory_of_freed_tensors_and_flushes_denormals() -> None:
    """Else glibc maps each block of 40 MB anew, page by page."""
    program = """
import resource
import torch
from playground.device import prepare_process

prepare_process()
for _ in range(3):
    torch.ones(10 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10 * 2**20)
mapped = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(mapped * resource.getpagesize() / (20 * 40 * 2**20), (torch.tensor([1e-39]) * 1).item())
"""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    mapped, denormal = map(float, said.stdout.split())
    assert mapped < 0.5  # of the bytes that were asked for; 1 without, and the kernel reclaims some
    assert denormal == 0
