"""Where and how to compute: device, threads, determinism, memory layout, compiling, precision."""

import contextlib
import ctypes
import functools
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import nn

from playground import ranks
from playground.checkpoint import rng_state, set_rng_state
from playground.errors import UserError
from playground.run import Run, device_name

Value = TypeVar("Value")

FABRIC_PRECISION = {
    **{"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"},
    "fp64": "64-true",  # slow; to compare with something exact
}
REHEARSAL_SECONDS = 0.4  # for each precision
HOPELESS = 3.0  # times as long as fp32 in a first turn: no other turn is waited for
LONG_SECONDS = 1.0  # of a turn: that is worth a word
REHEARSAL_GAIN = 1.05  # below this the clock's noise decides, and the safer one is taken

# glibc's mallopt(3): blocks up to MAPPED_BYTES come from the heap, whose free end is kept up to
# KEPT_BYTES.
M_MMAP_THRESHOLD, MAPPED_BYTES = -3, 64 * 2**20
M_TRIM_THRESHOLD, KEPT_BYTES = -1, 512 * 2**20

MEMINFO = Path("/proc/meminfo")  # Linux
# What PyTorch's allocators of main memory and of Apple's GPUs say, in a plain RuntimeError.
ALLOCATORS = ("DefaultCPUAllocator", "out of memory")
# ... and its operations, where --deterministic asks for what they have not.
NOT_DETERMINISTIC = "does not have a deterministic implementation"


def prepare_process() -> None:
    """What speeds a whole process up on a CPU; a program calls it first, before threads start.

    Denormal numbers count as zeros: they slow updates by a third. And the memory of freed tensors
    stays with the process where glibc would give it back to the system, and map it anew page by
    page at each update: some hundredths of its time. Other allocators stay as they are.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def find(device: str) -> torch.device:
    """The device that `device` or "auto" means; UserError when it is not here."""
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


def set_up(device: str, threads: int | None, deterministic: bool) -> torch.device:
    """Set threads and determinism for the process; gives what `find` does."""
    if threads is not None and threads < 1:
        raise UserError(f"--threads must be above 0, not {threads}.")
    if threads or deterministic:
        # Sums over threads depend on their number: deterministic without one means one thread.
        torch.set_num_threads(threads or 1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic mode demands it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    return find(device)


def lay_out(task: Any, device: torch.device) -> None:
    """Move the task; models with convolutions become channels_last.

    Save those that an L-BFGS optimizer trains: it wants parameters in plain order.
    """
    task.to(device)
    plain = {
        id(parameter)
        for optimizer in task.optimizers.values()
        if isinstance(optimizer, torch.optim.LBFGS)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for model in task.children():
        parameters = list(model.parameters())
        if any(p.dim() == 4 for p in parameters) and not any(id(p) in plain for p in parameters):
            model.to(memory_format=torch.channels_last)


def share_norms(task: nn.Module, device: torch.device) -> None:
    """With several processes, batch norms on GPUs see the batches of all from now on."""
    if ranks.world() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(task)


def compile(task: nn.Module, say: Callable[[str], None]) -> None:
    """torch.compile each model's call; what fails to compile runs eagerly, and `say` tells so."""
    said: list[str] = []

    def tell(error: BaseException) -> None:
        if not said:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            said.append(reason[0])
            say(f"torch.compile failed ({reason[0]}); going on without it, at the usual speed.")

    def compiler(graph: Any, inputs: Any) -> Callable[..., Any]:
        try:
            return torch._dynamo.lookup_backend("inductor")(graph, inputs)
        except Exception as error:  # no C++ compiler, an operator it does not know, ...
            tell(error)
            return graph.forward

    def quiet(record: logging.LogRecord) -> bool:
        """The sentence in the place of a traceback."""
        if record.exc_info and record.exc_info[1]:
            tell(record.exc_info[1])
        return not record.exc_info

    torch._dynamo.config.suppress_errors = True  # what Python it cannot follow, it runs as it is
    # Not added: an earlier training's would swallow it.
    logging.getLogger("torch._dynamo.convert_frame").filters = [quiet]
    for model in task.children():
        try:
            model.compile(backend=compiler)
        except Exception as error:  # a system or a Python that it does not know
            tell(error)


def chosen_precision(
    name: str,
    deterministic: bool,
    task: Any,
    run: Run,
    kind: str,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """The precision for `name` on a device of this kind, kept in the run's settings and on resume.

    "auto" is measured; UserError for what the device cannot do.
    """
    reason = "asked for"
    if name == "auto" and deterministic:
        name, reason = "fp32", "deterministic mode measures nothing"
    elif name == "auto":
        kept = run.settings.get("precision")
        if kept is not None and kept["device"] == device_name(kind):
            return kept["precision"]
        name, reason = measured_precision(task, torch.device(kind), say)
    if name == "fp16" and kind != "cuda":  # elsewhere fused optimizers cannot skip what overflows
        raise UserError(f"fp16 needs a CUDA GPU; on {kind} use --precision bf16, fp32 or auto.")
    run.update(precision={"precision": name, "reason": reason, "device": device_name(kind)})
    return name


def measured_precision(
    task: Any, device: torch.device, say: Callable[[str], None] = lambda text: None
) -> tuple[str, str]:
    """("fp32", "bf16" or "fp16", why): the fastest for forward and backward of task.rehearsal().

    fp16 is tried on CUDA only. Leaves no trace: random generators and buffers are put back,
    gradients cleared. Where it takes long, that is said.
    """
    if not hasattr(task, "rehearsal"):
        return "fp32", "the task has no rehearsal to measure"
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type == "cuda":
        types["fp16"] = torch.float16
    rng = rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    loss_fn = task.rehearsal()

    said = False

    def turn(dtype: torch.dtype) -> None:
        nonlocal said
        began = time.monotonic()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_fn()
        loss.backward()
        task.zero_grad()
        if not said and time.monotonic() - began > LONG_SECONDS:
            said = True
            say("Measuring which precision is fastest here ... (--precision fp32 begins at once)")

    turns = [functools.partial(turn, dtype) for dtype in types.values()]
    seconds = median_seconds(turns, device, REHEARSAL_SECONDS * len(types), HOPELESS)
    with torch.no_grad():
        for buffer, content in buffers:
            buffer.copy_(content)
    set_rng_state(rng)
    ms = {name: 1e3 * found for name, found in zip(types, seconds, strict=True)}
    best = min(ms, key=lambda name: ms[name])
    for safer in ("bf16", "fp32"):  # than the one after it
        if ms[safer] < REHEARSAL_GAIN * ms[best]:
            best = safer
    figures = ", ".join(f"{name} {time_ms:.2f} ms" for name, time_ms in ms.items())
    return best, f"measured forward and backward: {figures}"


def median_seconds(
    runs: Sequence[Callable[[], Any]],
    device: torch.device,
    seconds: float,
    hopeless: float | None = None,
) -> list[float]:
    """What each of them takes, in the median of its turns.

    They take turns, so that all meet the same disturbances: two to warm up, then at least three,
    and more until so many seconds are over. One whose first turn takes above LONG_SECONDS, and
    above `hopeless` times as long as the first one's, has no other.
    """
    found: list[list[float]] = [[] for _ in runs]
    going = list(zip(runs, found, strict=True))
    deadline = math.inf
    while len(found[0]) < 5 or time.monotonic() < deadline:
        for run, times in going:
            times.append(timed(run, device)[1])
        if len(found[0]) == 1 and hopeless is not None:
            most = max(LONG_SECONDS, hopeless * found[0][0])
            going = [(run, times) for run, times in going if times[0] <= most]
        if len(found[0]) == 2:
            deadline = time.monotonic() + seconds
    return [median(times[2:] or times) for times in found]


def timed(run: Callable[[], Value], device: torch.device) -> tuple[Value, float]:
    """What `run()` gives, and the seconds until the device was done with it."""
    began = time.perf_counter()
    value = run()
    torch.get_device_module(device).synchronize()
    return value, time.perf_counter() - began


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can be had without swapping of main memory, or of a CUDA device's own.

    None where the system does not say. Linux's own estimate for the whole machine: a container's
    limit may lie below it.
    """
    if device is not None and device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept  # PyTorch gives out again what it kept
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
def limits_said() -> Iterator[None]:
    """Turn what a device cannot do into one sentence (UserError) that says what to change.

    Too little memory, and operations that are not deterministic there.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if NOT_DETERMINISTIC in str(error):
            operation = str(error).split()[0]
            raise UserError(
                f"--deterministic is not possible on this device, as {operation} sums in no order: "
                "leave it out, or use --device cpu."
            ) from error
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in ALLOCATORS):
            raise
        detail = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise UserError(
            "Out of memory: lower the batch size, with --accumulate to make up for it, or the "
            f"size of the models{detail}."
        ) from error
