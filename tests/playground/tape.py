"""A recorder for CPUs that behaves as CUDA graphs do: every operation again, on the same memory.

What was recorded goes wrong here where it would there: numbers of Python's are those of the
recording, tensors that were replaced meanwhile are not seen, and reading a number is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from playground.trainer import Trainer

READING = {  # what would wait for a GPU
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


def memory(value: Any) -> set[int]:
    """Where the tensors in it lie."""
    return {x.untyped_storage().data_ptr() for x in tree_leaves(value) if isinstance(x, Tensor)}


class _Listening(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []  # what was written to, and its content

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in READING:
            raise RuntimeError(f"{func} reads a number off the device")
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                written = [x for x in tree_leaves(value) if isinstance(x, Tensor)]
                self.before += [(x, x.clone()) for x in written]
        out = func(*args, **kwargs)
        self.steps.append((func, args, kwargs, out))
        return out


class Tape:
    """See the module's top. `replays` counts."""

    def __init__(self) -> None:
        self.recordings = self.replays = 0

    def aside(self, function: Callable[[], Any]) -> Any:
        return function()

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Runs it, and undoes what that did to tensors and to the random generator."""
        self.recordings += 1
        state, listening = torch.get_rng_state(), _Listening()
        with listening:
            outputs = function()
        with torch.no_grad():
            for tensor, content in reversed(listening.before):
                tensor.copy_(content)
        torch.set_rng_state(state)

        @torch.no_grad()
        def replay() -> None:
            self.replays += 1
            for func, args, kwargs, out in listening.steps:
                new = func(*args, **kwargs)
                given = memory((args, kwargs))
                for there, fresh in zip(tree_leaves(out), tree_leaves(new), strict=True):
                    if isinstance(there, Tensor) and not memory(there) & given:  # neither a view
                        there.copy_(fresh)

        return replay, outputs


def taped(trainer: Trainer) -> Tape:
    """Make a trainer on the CPU update as on CUDA, with a tape for its graphs."""
    updates, tape = trainer.updates, Tape()
    updates.may_read, updates.recorder = False, tape
    updates.bad_run, updates.skipped = updates._counter(0), updates._counter(0)
    return tape
