"""Gradients averaged over all processes: in flat buckets, while backward still runs.

    begin(loss) -> backward -> finish()     `.grad` is then every process's mean, and so is the loss

As soon as all gradients of a bucket are there, its sum over the processes is under way, while
backward goes on to earlier layers (Li et al. 2020, "PyTorch Distributed", section 3.2.3; its bucket
size too). Buckets start in one fixed order, so that processes never mix them up.

Why not DistributedDataParallel: it wraps a module and must see its forward. Here a task has several
models and several optimizers, whose losses run through any method of any of them (`classify`,
`features`, a frozen critic), L-BFGS calls its closure as often as it likes, and the keys of saved
weights are to be those of the task. All of that only asks that one optimizer's gradients be
averaged before it steps, which is what this does. Nothing is sent in calls that only accumulate.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from playground import ranks

BUCKET_BYTES = 25 * 2**20


@dataclass
class Bucket:
    """Some parameters' gradients in one piece of memory.

    `flat` holds the gradients, then for each parameter whether it has one (1 or 0), then the loss.
    """

    parameters: list[Tensor]
    flat: Tensor
    views: list[Tensor]  # into `flat`, each laid out in memory as its parameter is
    waiting: int = 0  # gradients that are still to come
    used: list[bool] = field(default_factory=list)  # whether each parameter got one here
    work: Any = None  # the exchange under way


class Averaging:
    """Averages the gradients of one optimizer's parameters, and the loss, over all processes."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.trained: list[bool] | None = None  # which parameters the buckets were made for
        self.buckets: list[Bucket] = []
        self.homes: dict[int, Bucket] = {}  # by the parameter's id
        self.hooks: list[Any] = []
        self.loss: Tensor | None = None  # between begin and finish
        self.sent = 0  # buckets under way

    def begin(self, loss: Tensor) -> None:
        """Before the backward pass of an update's last call; `loss` is a scalar."""
        trained = [parameter.requires_grad for parameter in self.parameters]
        if trained != self.trained:  # frozen or thawed since
            self._lay_out(trained)
        for bucket in self.buckets:
            bucket.waiting = len(bucket.parameters)
        self.loss, self.sent = loss.detach(), 0

    def finish(self) -> Tensor:
        """After it: `.grad` becomes the mean; the mean loss.

        A parameter that got no gradient in any process has none; one that got it in some of them
        counts as zero in the others.
        """
        while self.sent < len(self.buckets):
            self._send()
        self.loss = None
        for bucket in self.buckets:
            with ranks.answered():
                bucket.work.wait()
            bucket.flat.div_(ranks.world())
            anywhere = bucket.used
            if not all(bucket.used):  # the only case in which a GPU is waited for
                anywhere = bucket.flat[-1 - len(bucket.used) : -1].gt(0).tolist()
            for parameter, view, found in zip(
                bucket.parameters, bucket.views, anywhere, strict=True
            ):
                parameter.grad = view if found else None
        return self.buckets[-1].flat[-1].clone()  # the next call writes there

    def _send(self) -> None:
        bucket = self.buckets[self.sent]
        self.sent += 1
        bucket.used = [parameter.grad is not None for parameter in bucket.parameters]
        assert self.loss is not None
        flags = bucket.flat[-1 - len(bucket.used) : -1]
        with torch.no_grad():
            if all(bucket.used):
                flags.fill_(1)
            else:
                bucket.flat.zero_()
                flags.copy_(torch.tensor(bucket.used))
            pairs = [
                (view, parameter.grad)
                for parameter, view in zip(bucket.parameters, bucket.views, strict=True)
                if parameter.grad is not None
            ]
            if pairs:
                torch._foreach_copy_([view for view, _ in pairs], [grad for _, grad in pairs])
            bucket.flat[-1] = self.loss
        with ranks.answered():
            bucket.work = dist.all_reduce(bucket.flat, async_op=True)

    def _arrived(self, parameter: Tensor) -> None:
        """A gradient is complete: send what can be sent, in order."""
        if self.loss is None:
            return
        self.homes[id(parameter)].waiting -= 1
        while self.sent < len(self.buckets) and self.buckets[self.sent].waiting == 0:
            self._send()

    def _lay_out(self, trained: list[bool]) -> None:
        """Make the buckets, the last parameters first, as backward comes to them first."""
        for hook in self.hooks:
            hook.remove()
        self.trained = trained
        ours = [p for p, yes in zip(self.parameters, trained, strict=True) if yes]
        groups: list[list[Tensor]] = [[]]
        for parameter in reversed(ours):
            group = groups[-1]
            size = sum(p.numel() * p.element_size() for p in (*group, parameter))
            if group and (size > BUCKET_BYTES or parameter.dtype != group[0].dtype):
                groups.append(group := [])
            group.append(parameter)
        self.buckets = [self._bucket(group) for group in groups]
        self.homes = {id(p): bucket for bucket in self.buckets for p in bucket.parameters}
        self.hooks = [p.register_post_accumulate_grad_hook(self._arrived) for p in ours]

    @staticmethod
    def _bucket(parameters: list[Tensor]) -> Bucket:
        sizes = [parameter.numel() for parameter in parameters]
        like = parameters[0] if parameters else torch.empty(0)
        flat = torch.zeros(sum(sizes) + len(parameters) + 1, dtype=like.dtype, device=like.device)
        pieces = flat[: sum(sizes)].split(sizes)
        # Dense strides in the parameter's own order: optimizers go through memory in that order.
        strides = [torch.empty_like(p, device="meta").stride() for p in parameters]
        views = [
            piece.as_strided(p.shape, stride)
            for piece, p, stride in zip(pieces, parameters, strides, strict=True)
        ]
        return Bucket(parameters, flat, views)
