"""Work on a GPU recorded once and then replayed: one launch in the place of hundreds.

A small network's update is hundreds of kernels that take microseconds each, and the program cannot
launch them as fast. A CUDA graph keeps them, with the memory that they work on. So whatever is
recorded may depend on tensors alone, and on those that stay where they are: numbers of Python's and
branches are what they were at the recording, and nothing may be read off the GPU.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs (whole-network capture).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from playground.errors import UserError

WARM_CALLS = 3  # before recording: libraries choose their algorithms, optimizers make their state

Outputs = tuple[Tensor, ...]


class Recorder(Protocol):
    """What can record."""

    def aside(self, function: Callable[[], Outputs]) -> Outputs:
        """Run it as it is, where it will be recorded later."""

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """Record it without running it: what replays it, and where its outputs will be."""


class CudaRecorder:
    """Records CUDA graphs of the current device."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def aside(self, function: Callable[[], Outputs]) -> Outputs:
        """See Recorder. On a stream of its own, in order with the current one."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = function()
        current.wait_stream(self.stream)
        return outputs

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """See Recorder. UserError for work that cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                outputs = function()
        except RuntimeError as error:
            cause = error.__context__ or error  # leaving the recording has an error of its own
            reason = str(cause).splitlines()[0]
            raise UserError(
                f"An update cannot be recorded as a CUDA graph ({reason}): leave out --graph."
            ) from error
        return graph.replay, outputs


@contextlib.contextmanager
def capturable(optimizer: Optimizer) -> Iterator[None]:
    """PyTorch's optimizers want to be told that they are recorded, though fused ones always can."""
    before = [group.get("capturable") for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(optimizer.param_groups, before, strict=True):
            group.pop("capturable")
            if value is not None:
                group["capturable"] = value


class Recorded:
    """A function of tensors to tensors, replayed from its fourth call on.

    Every call gives what calling the function would; the outputs are overwritten by the next one.

    Args:
        function: see the module's top; of tensors whose shapes stay the same.
        recorder: what records it.
        during: makes a context that is entered while it is recorded.
    """

    def __init__(
        self,
        function: Callable[..., Outputs],
        recorder: Recorder,
        during: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.function, self.recorder, self.during = function, recorder, during
        self.calls = 0
        self.replay: Callable[[], None] | None = None
        self.inputs: Outputs = ()
        self.outputs: Outputs = ()

    def __call__(self, inputs: Sequence[Tensor]) -> Outputs:
        """The outputs for these inputs, which are copied and may be overwritten at once."""
        if self.calls < WARM_CALLS:
            self.calls += 1
            return self.recorder.aside(lambda: self.function(*inputs))
        if self.replay is None:
            self.inputs = tuple(tensor.clone() for tensor in inputs)
            with self.during():
                self.replay, self.outputs = self.recorder.record(
                    lambda: self.function(*self.inputs)
                )
        for kept, given in zip(self.inputs, inputs, strict=True):
            if kept.shape != given.shape:
                raise ValueError(f"recorded for {tuple(kept.shape)}, called with {given.shape}")
            kept.copy_(given, non_blocking=True)
        self.replay()
        return self.outputs
