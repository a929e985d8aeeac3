"""Batch norms' running statistics where several processes train: each has its own.

In training a batch norm uses its batch's statistics and only remembers a running mean of them.
Each process remembers those of its own batches; whoever uses them (an evaluation, a checkpoint, an
export) wants the mean over all. As remembering is linear, that is what would be remembered of the
mean of the batches' statistics: their mean exactly, their variance without how the means differ.

Which layers these are is told by `is_batch_norm` alone: on several GPUs they change their class.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from playground import ranks


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it normalises by statistics of its batches and may remember them.

    Of any dimension, SyncBatchNorm too, which is none of BatchNorm1d to 3d; instance norms as well.
    """
    return isinstance(module, nn.modules.batchnorm._NormBase)


def statistics(task: nn.Module) -> dict[str, Tensor]:
    """Running means and variances, by their names in the task."""
    return {
        f"{name}.{which}" if name else which: tensor
        for name, module in task.named_modules()
        if is_batch_norm(module)
        for which, tensor in module.named_buffers(recurse=False)
        if tensor.is_floating_point()
    }


@contextlib.contextmanager
def shared_statistics(task: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The mean of all processes' statistics in their place; gives this one's own, by name.

    Empty where there is one process only.
    """
    live = statistics(task) if ranks.world() > 1 else {}
    own = {name: tensor.detach().cpu().clone() for name, tensor in live.items()}
    if live:
        mean = ranks.mean(torch.cat([tensor.flatten() for tensor in own.values()]))
        _put(live, dict(zip(own, mean.split([t.numel() for t in own.values()]), strict=True)))
    try:
        yield own
    finally:
        _put(live, own)


@torch.no_grad()
def _put(live: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, tensor in live.items():
        tensor.copy_(values[name])
