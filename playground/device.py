"""Where and how finely to compute: device, threads, determinism, memory layout, precision."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from playground.checkpoint import rng_state, set_rng_state
from playground.errors import UserError

REHEARSAL_SECONDS = 0.4  # for each precision
REHEARSAL_GAIN = 1.05  # below this the clock's noise decides, and fp32 is the safer one

MEMINFO = Path("/proc/meminfo")  # Linux


def set_up(device: str, threads: int | None, deterministic: bool) -> torch.device:
    """Set threads and determinism for the process; the device that `device` or "auto" means.

    UserError when it is not here.
    """
    if threads or deterministic:
        # Sums over threads depend on their number: deterministic without one means one thread.
        torch.set_num_threads(threads or 1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic mode demands it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        device = next(name for name, available in here.items() if available)
    if not here[device]:
        raise UserError(f"There is no {device} device here; use --device auto or --device cpu.")
    return torch.device(device)


def lay_out(task: nn.Module, device: torch.device, compile: bool) -> None:
    """Move the task; models with convolutions become channels_last; compile them on request."""
    task.to(device)
    if compile:
        # What cannot be compiled runs eagerly, and PyTorch warns.
        torch._dynamo.config.suppress_errors = True
    for model in task.children():
        if any(p.dim() == 4 for p in model.parameters()):
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compile:
            model.compile()


def measured_precision(task: Any, device: torch.device) -> tuple[str, str]:
    """("fp32", "bf16" or "fp16", why): the fastest for forward and backward of task.rehearsal().

    fp16 is tried on CUDA only. Leaves no trace: random generators and buffers are put back,
    gradients cleared.
    """
    if not hasattr(task, "rehearsal"):
        return "fp32", "the task has no rehearsal to measure"
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type == "cuda":
        types["fp16"] = torch.float16
    rng = rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    seconds: dict[str, list[float]] = {name: [] for name in types}
    loss_fn = task.rehearsal()
    deadline = time.monotonic() + REHEARSAL_SECONDS * len(types)
    while time.monotonic() < deadline or len(seconds["fp32"]) < 5:
        for name, dtype in types.items():  # in turns, so that all meet the same disturbances
            begin = time.perf_counter()
            with torch.autocast(device.type, dtype, enabled=name != "fp32"):
                loss = loss_fn()
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begin)
            task.zero_grad()
    with torch.no_grad():
        for buffer, content in buffers:
            buffer.copy_(content)
    set_rng_state(rng)
    ms = {name: 1e3 * median(times[2:]) for name, times in seconds.items()}  # two to warm up
    best = min(ms, key=lambda name: ms[name])
    if ms["fp32"] < REHEARSAL_GAIN * ms[best]:
        best = "fp32"
    figures = ", ".join(f"{name} {time_ms:.2f} ms" for name, time_ms in ms.items())
    return best, f"measured forward and backward: {figures}"


def available_memory() -> int | None:
    """Bytes of main memory that can be had without swapping; None where the system does not say.

    Linux's own estimate for the whole machine: a container's limit may lie below it.
    """
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return int(amount.removesuffix("kB")) * 1024  # its kB are KiB
    return None


@contextlib.contextmanager
def out_of_memory_said() -> Iterator[None]:
    """Turn running out of memory into one sentence (UserError) that says what to lower."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        # PyTorch's CPU allocator raises a plain RuntimeError.
        plain = type(error) is RuntimeError
        if plain and "DefaultCPUAllocator" not in str(error):
            raise
        detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise UserError(
            "Out of memory: lower the batch size, with --accumulate to make up for it, or the "
            f"size of the models{detail}."
        ) from error
