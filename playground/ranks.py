"""Several processes that train one model: how they start, agree, speak, and end together.

    with launched(settings.device, settings.devices):
        task = ...                        every process builds its own
        run = Run.create(...)             the first one makes it, all get it
        Trainer(settings, task, run).fit()

Lightning Fabric starts them: on one machine it runs the same command once more for each further
device (so whatever stands before `launched` runs in each of them), under torchrun it takes the
processes that are there, on any number of machines. Processes on CPUs talk through gloo; those on
GPUs exchange gradients through NCCL, and decisions, which no GPU should wait for, through gloo.

As each process runs the program from its beginning, a program can do this once. The first process
(rank 0) alone comes out of the block. It alone writes the run and speaks: what others print is
dropped, and a sentence for the user (UserError) is handed to it. A process that ends before its
time ends all of them, with one sentence.

Fabric's own reductions wait at a barrier first; these are the same ones of torch.distributed, on
the group that Fabric has made, without it.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from playground.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Value = TypeVar("Value")

PATIENCE = timedelta(days=1)  # others wait while one evaluates; a death shows at once without it
PERIOD_SECONDS = 0.3  # of looking whether the others are still there
GRACE_SECONDS = 10.0  # for the first process to notice by itself that another one is gone
END_SECONDS = 60.0  # for the others to end, after a training that went well
RESUME = "Go on with --resume: what was saved before is intact."
LAST_WORDS = "PLAYGROUND_LAST_WORDS"  # the folder for sentences that the first process is to say


class Lost(Exception):
    """Another process of this training has ended, or does not understand this one."""


_rank, _world = 0, 1
_started = False  # whether this program has had its several processes
_decisions: Any = None  # the group that CPU tensors and objects go through; None: the only one


def rank() -> int:
    """This process among all of this training's, from 0."""
    return _rank


def world() -> int:
    """How many processes train together."""
    return _world


def local_world() -> int:
    """How many of them are on this machine."""
    return _layout(_world)[0] if _world > 1 else 1


def planned(devices: int) -> int:
    """How many processes `--devices` means: under torchrun as many as that was told."""
    each, machines = _layout(devices)
    return each * machines


def fabric(device: str, devices: int, precision: Any = "32-true") -> "Fabric":
    """Fabric on that many devices a machine, of the type "cpu", "cuda" or "mps"; not launched."""
    from lightning_fabric import Fabric  # a second of every start, needed by trainings only
    from lightning_fabric.strategies import DDPStrategy

    devices, machines = _layout(devices)
    if devices * machines == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=machines,
        strategy=DDPStrategy(timeout=PATIENCE),
        precision=precision,
    )


def _layout(devices: int) -> tuple[int, int]:
    """(processes on each machine, machines)."""
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        return devices, 1
    each = int(os.environ["LOCAL_WORLD_SIZE"])
    return each, int(os.environ["WORLD_SIZE"]) // each


# ---- from the start to the end


@contextlib.contextmanager
def launched(device: str, devices: int) -> Iterator[None]:
    """Run the block in every process; only the first one comes out. See the module's top.

    device: "cpu", "cuda" or "mps". UserError when there are not so many of them, and in the first
    process for whatever made another one end.
    """
    global _rank, _world, _decisions, _started
    if planned(devices) == 1 or _world > 1:
        yield
        return
    _check(device, _layout(devices)[0])
    _started = True
    starter = fabric(device, devices)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its banners
    with _Children(starter) as children:
        starter.launch()
        _decisions = dist.new_group(backend="gloo", timeout=PATIENCE) if device != "cpu" else None
        _rank, _world = starter.global_rank, starter.world_size
        try:
            with _another() if _rank else _first(children):
                yield
            dist.destroy_process_group()  # which joins gloo's threads while there is a Python
        finally:
            _rank, _world, _decisions, ours = 0, 1, None, _rank
    if ours:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left is to end
        raise SystemExit(0)


def _check(device: str, devices: int) -> None:
    if _started:
        raise UserError(
            "A program trains on several processes once, as each of them runs it from its "
            "beginning: start the next training as a program of its own, or with --devices 1."
        )
    if hasattr(sys, "ps1") or sys.flags.interactive:  # what Fabric would start is the console
        raise UserError(
            "Several processes run one program, and a notebook or console is none: put the "
            "training into a file, or train with --devices 1."
        )
    if device == "mps":
        raise UserError("Several devices are CPU processes or CUDA GPUs; Apple's GPU is one alone.")
    if device == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"There are {torch.cuda.device_count()} CUDA devices here, not {devices}: lower "
            "--devices."
        )


@contextlib.contextmanager
def _first(children: "_Children") -> Iterator[None]:
    """In the first process: another one's death becomes a sentence."""
    try:
        yield
        children.wait()
    except Lost as lost:
        children.noticed.set()
        raise UserError(children.obituary() or f"The processes lost each other: {lost}") from lost


@contextlib.contextmanager
def _another() -> Iterator[None]:
    """In the others: what is to be said is left to the first one."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    folder = os.environ.get(LAST_WORDS)
    if folder:
        _end_with_parent()
    try:
        yield
    except UserError as error:
        if not folder:  # torchrun reports what each one says
            raise
        (Path(folder) / str(_rank)).write_text(str(error), encoding="utf-8")
        _end_at_once()
    except Lost:
        time.sleep(10 * PERIOD_SECONDS)  # an orphan says so, see _end_with_parent
        _end_at_once()


def _end_at_once() -> NoReturn:
    """Without Python's own end, during which a tensor in one of gloo's threads means an abort.

    Nor can those threads be joined: what they exchange waits for processes that are elsewhere.
    """
    sys.stderr.flush()
    os._exit(2)


def _end_with_parent() -> None:
    """A process that Fabric started ends with the one that started it, whatever happens.

    Windows does not tell a process of its parent's end; there the next exchange does.
    """
    parent, first = os.getppid(), _rank == 1

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PERIOD_SECONDS)
        if first:
            os.write(2, f"The training's first process was ended from outside. {RESUME}\n".encode())
        os._exit(2)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


class _Children:
    """The processes that Fabric starts from this one, and an eye on them, while the block lasts.

    Fabric has an eye on them too, but it would end this one, without a word and perhaps while it
    saves. So they are taken off the list that it looks at.
    """

    def __init__(self, starter: "Fabric") -> None:
        launcher: Any = starter.strategy.launcher
        self.started: list[Any] = launcher.procs
        self.starts = not launcher.cluster_environment.creates_processes_externally
        self.processes: list[Any] = []
        self.noticed = threading.Event()
        self.folder = Path()

    def __enter__(self) -> "_Children":
        if self.starts:
            self.folder = Path(tempfile.mkdtemp())
            os.environ[LAST_WORDS] = str(self.folder)
            threading.Thread(target=self._watch, daemon=True, name="child-watch").start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.starts:
            self.noticed.set()
            self._kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            del os.environ[LAST_WORDS]

    def _watch(self) -> None:
        """End everything when one of them failed and the main thread does not notice."""
        while not self.noticed.wait(PERIOD_SECONDS):
            while self.started:
                self.processes.append(self.started.pop(0))
            if self._failed() and not self.noticed.wait(GRACE_SECONDS):
                last = self.obituary() or "Another process ended with an error."
                os.write(2, f"{last}\n".encode())
                self._kill()
                os._exit(2)

    def _failed(self) -> list[int]:
        """Ranks of those that ended with an error."""
        return [i for i, process in enumerate(self.processes, start=1) if process.poll()]

    def obituary(self) -> str | None:
        """What ended one of them, in a sentence; None where none has failed."""
        deadline = time.monotonic() + 5
        while self.starts and not self._failed() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number in self._failed():
            with contextlib.suppress(OSError):
                return (self.folder / str(number)).read_text(encoding="utf-8")
        for number in self._failed():
            status = self.processes[number - 1].returncode
            if status < 0:
                name = signal.Signals(-status).name
                why = " (by the system, out of memory?)" if name == "SIGKILL" else ""
                return f"Process {number} was ended from outside by {name}{why}. {RESUME}"
            if status != 2:  # which says only that it lost another one
                return f"Process {number} failed; what it said stands above. {RESUME}"
        return None

    def wait(self) -> None:
        """Until they have ended, but not for ever."""
        self.noticed.set()
        deadline = time.monotonic() + END_SECONDS
        for process in [*self.processes, *self.started]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def _kill(self) -> None:
        for process in [*self.processes, *self.started]:
            if process.poll() is None:
                process.kill()
                process.wait()


# ---- what they tell each other: each is called by all of them, in the same order


def by_first(make: Callable[[], Value]) -> Value:
    """What `make()` gives in the first process, in all of them; tensors on the CPU."""
    if _world == 1:
        return make()
    box = [on_cpu(make()) if _rank == 0 else None]
    with answered():
        dist.broadcast_object_list(box, src=0, group=_decisions)
    return box[0]  # type: ignore[return-value]


def to_first(value: Value) -> list[Value]:
    """One value a process, in the first one, tensors on the CPU; an empty list in the others."""
    if _world == 1:
        return [value]
    values: list[Any] = [None] * _world if _rank == 0 else []
    with answered():
        dist.gather_object(on_cpu(value), values or None, dst=0, group=_decisions)
    return values


def gather(value: Value) -> list[Value]:
    """One value a process, in all of them; tensors on the CPU."""
    if _world == 1:
        return [value]
    values: list[Any] = [None] * _world
    with answered():
        dist.all_gather_object(values, on_cpu(value), group=_decisions)
    return values


def mean(tensor: Tensor) -> Tensor:
    """The mean over all processes of a floating-point tensor, of the same shape in each."""
    if _world == 1:
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    with answered():
        dist.all_reduce(total, group=_decisions if tensor.device.type == "cpu" else None)
    return total / _world


def largest(numbers: list[int]) -> list[int]:
    """Each number's largest among all processes."""
    if _world == 1:
        return numbers
    found = torch.tensor(numbers)
    with answered():
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=_decisions)
    return [int(number) for number in found]


def stream_seed(seed: int) -> int:
    """The seed of this process's own random streams: the first one's is `seed` itself."""
    if _rank == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(_rank,)).generate_state(1)[0] >> 1)


def on_cpu(tree: Any) -> Any:
    """The same dicts, lists and tuples with their tensors on the CPU."""
    if isinstance(tree, dict):
        return {key: on_cpu(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)([on_cpu(value) for value in tree])
    return tree.detach().cpu() if isinstance(tree, Tensor) else tree


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """`Lost` where the exchange failed."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(str(error).splitlines()[0]) from error
