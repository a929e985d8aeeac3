"""What one update is: forward, backward, guard against NaN, clip, step, average.

    forward under autocast -> backward into this optimizer's parameters -> (every n-th call)
    average over processes, unscale fp16, skip if not finite, clip, step, EMA, clear

Nothing here waits for a GPU, save L-BFGS, which reads its losses itself, and optimizers that cannot
skip a step on the device (PyTorch's made without fused=True). On a CPU the guard is a plain `if`.
`learn` is the same of a loss with further outputs, and can be recorded as a CUDA graph (`graphs`).
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Optimizer

from playground import norms, ranks
from playground.errors import UserError
from playground.gradients import Averaging
from playground.graphs import CudaRecorder, Outputs, Recorded, Recorder, capturable

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def ema_decay(decay: float, update: int) -> float:
    """The decay at an update (from 1): small at first, so that first weights are soon forgotten.

    min(decay, (1 + n) / (10 + n)), as TensorFlow's ExponentialMovingAverage has it.
    """
    return min(decay, (1 + update) / (10 + update))


@dataclass
class Group:
    """What is known of one optimizer, collected once."""

    parameters: list[Tensor]
    vectors: list[Tensor]  # those of one dimension or none: biases, gains
    averages: list[Tensor]  # the EMA of `sources`
    sources: list[Tensor]
    shared: Averaging | None  # with the other processes, where there are some
    calls: int = 0  # of minimize since the last update
    loss: Tensor | None = None  # the sum of theirs, detached
    updates: int = 0  # so far, which warms the averages up


class Updates:
    """Every update of a task's optimizers. `skipped` and `bad_run` count non-finite ones.

    `task.averaged: tuple[str, ...]`, where there is one, names the child modules under EMA.
    """

    def __init__(
        self,
        task: Any,
        fabric: "Fabric",
        clip_norm: float | None,
        accumulate: int,
        ema: float | None,
    ) -> None:
        self.task, self.fabric = task, fabric
        self.clip_norm, self.accumulate, self.decay = clip_norm, accumulate, ema
        self.ema: dict[str, Tensor] = {}  # averaged parameters by their names in the task
        if ema is not None:
            models = getattr(task, "averaged", None)
            for name, parameter in task.named_parameters():
                if parameter.requires_grad and (models is None or name.split(".")[0] in models):
                    self.ema[name] = parameter.detach().clone()
        self.groups = {id(o): self._group(o) for o in task.optimizers.values()}
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)  # of fp16
        # Reading a number off a GPU waits for it; there `bad_run` and `skipped` are tensors. On
        # Apple's it must be read: their fused optimizers ignore `found_inf` (torch 2.13).
        self.may_read = fabric.device.type != "cuda"
        # Batch norms' running statistics take in a forward before anyone knows that it is bad.
        self.statistics = list(norms.statistics(task).values())
        self.statistics_before = [tensor.clone() for tensor in self.statistics]
        self.bad_run = self._counter(0)  # non-finite updates in a row, up to now
        self.skipped = self._counter(0)  # in all
        self.recorder: Recorder | None = None  # of `learn`; CUDA graphs
        self.recorded: dict[Any, Recorded] = {}  # by loss and optimizer

    def minimize(self, loss_fn: Callable[[], Tensor], optimizer: Optimizer) -> Tensor:
        """See Trainer.minimize."""
        group = self.groups[id(optimizer)]
        if isinstance(optimizer, LBFGS):
            return self._minimize_closure(loss_fn, optimizer, group)
        if not any(each.calls for each in self.groups.values()):
            self._keep_statistics()
        with self.fabric.autocast():
            loss = loss_fn()
        part = loss / self.accumulate if self.accumulate > 1 else loss
        group.calls += 1
        last = group.calls == self.accumulate
        total = loss.detach()
        group.loss = total = total if group.loss is None else group.loss + total
        if last and group.shared:
            group.shared.begin(total)
        self.fabric.backward(part, inputs=[p for p in group.parameters if p.requires_grad])
        if last:
            self._update(optimizer, group, total)
        return loss.detach()

    def learn(
        self,
        loss_fn: Callable[..., Outputs],
        optimizer: Optimizer,
        inputs: Sequence[Tensor],
        graph: bool,
    ) -> Outputs:
        """See Trainer.learn."""
        if not graph:
            return self._learn(loss_fn, optimizer, *inputs)
        key = (loss_fn, id(optimizer))
        if key not in self.recorded:
            self.check_recordable()
            self.recorder = self.recorder or CudaRecorder()
            self.recorded[key] = Recorded(
                functools.partial(self._learn, loss_fn, optimizer),
                self.recorder,
                functools.partial(capturable, optimizer),
            )
        return self.recorded[key](inputs)

    def _learn(
        self, loss_fn: Callable[..., Outputs], optimizer: Optimizer, *inputs: Tensor
    ) -> Outputs:
        others: list[Tensor] = []

        def closure() -> Tensor:
            loss, *rest = loss_fn(*inputs)
            others[:] = [tensor.detach() for tensor in rest]
            return loss

        loss = self.minimize(closure, optimizer)
        return loss, *others

    def check_recordable(self) -> None:
        """UserError where the updates depend on what a graph would not see."""
        able = [hasattr(o, "_step_supports_amp_scaling") for o in self.task.optimizers.values()]
        for wrong, reason in (
            (self.may_read, f"needs a CUDA device, this one is {self.fabric.device.type}"),
            (self.decay is not None, "goes without --ema, whose decay changes"),
            (self.accumulate > 1, "goes without --accumulate"),
            (self.scaler is not None, "cannot scale as fp16 does; use --precision bf16"),
            (ranks.world() > 1, "is for one process, leave out --devices"),
            (not all(able), "needs optimizers that skip steps on the GPU by themselves (fused)"),
        ):
            if wrong:
                raise UserError(f"--graph {reason}.")

    @torch.no_grad()
    def _update(self, optimizer: Optimizer, group: Group, loss: Tensor) -> None:
        if group.shared:
            loss = group.shared.finish()  # so that what is not finite in one process is so in all
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        bad = self._is_bad(self._clip(group) + loss)
        if self.scaler is not None:
            self.scaler.step(optimizer)  # makes its own check, and halves its scale
            self.scaler.update()
        elif not self.may_read and getattr(optimizer, "_step_supports_amp_scaling", False):
            # Fused optimizers skip the step on the device, as they do for the scaler.
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            optimizer.step()
        elif not bad:
            optimizer.step()
        self._restore_statistics(bad)
        self._count(bad)
        self._average(group)
        for parameter in group.parameters:
            parameter.grad = None
        group.calls, group.loss = 0, None

    def _clip(self, group: Group) -> Tensor:
        """Clip the gradients; a number that is finite if and only if they are, as far as we look.

        The norm of all gradients costs 4 % of a small CPU update. Where clipping does not need it,
        biases and gains tell: what spoils the gradient of a layer's weights spoils theirs too, or
        the loss. What slips through, an overflow within one layer's product, spoils the weights and
        so the next loss; such weights are never saved (`finite`), and the trainer goes back.
        """
        if self.clip_norm is None and group.vectors:
            found = [p.grad.view(-1) for p in group.vectors if p.grad is not None]
            return torch.cat(found).sum() if found else torch.zeros((), device=self.fabric.device)
        norm = nn.utils.get_total_norm([p.grad for p in group.parameters if p.grad is not None])
        if self.clip_norm is not None and not (self.may_read and norm <= self.clip_norm):
            nn.utils.clip_grads_with_norm_(group.parameters, self.clip_norm, norm)
        return norm

    def _is_bad(self, check: Tensor) -> Any:
        """Whether it is not finite: a bool where numbers may be read, else a bool tensor."""
        return not math.isfinite(check.item()) if self.may_read else ~torch.isfinite(check)

    def _minimize_closure(
        self, loss_fn: Callable[[], Tensor], optimizer: LBFGS, group: Group
    ) -> Tensor:
        before = [p.detach().clone() for p in group.parameters]
        self._keep_statistics()
        losses: list[Tensor] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            with self.fabric.autocast():
                loss = loss_fn()
            if group.shared:
                group.shared.begin(loss)
            loss.backward(inputs=group.parameters)
            # The line search of every process must see the same numbers.
            losses.append(group.shared.finish() if group.shared else loss.detach())
            return losses[-1]

        optimizer.step(closure)
        with torch.no_grad():
            bad = self._is_bad(nn.utils.get_total_norm(group.parameters) + losses[-1])
            if bad:  # the optimizer's history is spoilt with them
                torch._foreach_copy_(group.parameters, before)
                optimizer.state.clear()
            self._restore_statistics(bad)
            self._count(bad)
            self._average(group)
        return losses[0]

    @torch.no_grad()
    def _keep_statistics(self) -> None:
        if self.statistics:
            torch._foreach_copy_(self.statistics_before, self.statistics)

    def _restore_statistics(self, bad: Any) -> None:
        """Undo what a bad update's forward did to batch norms."""
        if self.may_read:
            if bad and self.statistics:
                torch._foreach_copy_(self.statistics, self.statistics_before)
            return
        for now, before in zip(self.statistics, self.statistics_before, strict=True):
            now.copy_(torch.where(bad, before, now))

    def _count(self, bad: Any) -> None:
        """The same arithmetic for a bool and, in place, for a bool tensor."""
        self.bad_run += bad
        self.bad_run *= bad
        self.skipped += bad

    def _counter(self, value: int) -> Any:
        """A number where numbers may be read, else one that stays on the device."""
        return value if self.may_read else torch.tensor(value, device=self.fabric.device)

    def finite(self) -> bool:
        """Whether all weights and statistics are, the averaged ones too. Waits for a GPU."""
        weights = [*self.task.parameters(), *self.ema.values()]
        weights += [buffer for buffer in self.task.buffers() if buffer.is_floating_point()]
        return all(bool(torch.isfinite(w.detach().norm())) for w in weights)

    @torch.no_grad()
    def restart_averages(self, optimizer: Optimizer) -> None:
        """Those of its parameters begin anew, at the weights as they are."""
        group = self.groups[id(optimizer)]
        group.updates = 0
        for average, source in zip(group.averages, group.sources, strict=True):
            average.copy_(source)

    def _average(self, group: Group) -> None:
        group.updates += 1
        if self.decay is not None and group.averages:
            decay = ema_decay(self.decay, group.updates)
            torch._foreach_lerp_(group.averages, group.sources, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The EMA weights in the models' place; buffers (batch statistics) stay as they are."""
        own = dict(self.task.named_parameters())
        live = {name: own[name].detach().clone() for name in self.ema}
        with torch.no_grad():
            for name, average in self.ema.items():
                own[name].copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weights in live.items():
                    own[name].copy_(weights)

    def state(self) -> dict[str, Any]:
        """What the next update depends on besides the task's own tensors and `accumulating`."""
        return {
            "optimizers": {n: o.state_dict() for n, o in self.task.optimizers.items()},
            "ema": self.ema,
            "updates": {n: self.groups[id(o)].updates for n, o in self.task.optimizers.items()},
            "scaler": self.scaler.state_dict() if self.scaler is not None else {},
            "skipped": int(self.skipped),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state`; KeyError or ValueError when it belongs to other settings."""
        for name, optimizer in self.task.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            # Checkpoints of before the warm-up have none: theirs were warm long ago.
            self.groups[id(optimizer)].updates = state.get("updates", {}).get(name, 10**6)
        with torch.no_grad():
            for name, average in self.ema.items():
                average.copy_(state["ema"][name])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.skipped, self.bad_run = self._counter(state["skipped"]), self._counter(0)
        self.recorded.clear()  # the state of the optimizers is another one now

    def accumulating(self) -> dict[str, Any]:
        """By optimizer, this process's part of an update of which only some calls were made yet."""
        found = {}
        for name, optimizer in self.task.optimizers.items():
            group = self.groups[id(optimizer)]
            if group.calls:
                gradients = [parameter.grad for parameter in group.parameters]
                found[name] = {"calls": group.calls, "gradients": gradients, "loss": group.loss}
        return found

    def load_accumulating(self, parts: list[dict[str, Any]]) -> None:
        """Restore what one process saved, or the mean of several, which ends in their average.

        After the model's own: batch norms' statistics are from now on to be as they are.
        """
        self._keep_statistics()
        for name, optimizer in self.task.optimizers.items():
            group = self.groups[id(optimizer)]
            saved = [part[name] for part in parts if name in part]
            group.calls = saved[0]["calls"] if saved else 0
            # A sum that is not finite stays so; checkpoints of before have none.
            losses = [loss for part in saved if (loss := part.get("loss")) is not None]
            group.loss = sum(losses[1:], start=losses[0]).to(self.fabric.device) if losses else None
            for number, parameter in enumerate(group.parameters):
                found = [part["gradients"][number] for part in saved]
                found = [gradient for gradient in found if gradient is not None]
                parameter.grad = None
                if found:
                    mean = sum(found[1:], start=found[0]) / len(saved)
                    parameter.grad = mean.to(parameter.device)

    def _group(self, optimizer: Optimizer) -> Group:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        vectors = [p for p in parameters if p.dim() < 2]
        own = {id(p) for p in parameters}
        pairs = [
            (self.ema[name], parameter)
            for name, parameter in self.task.named_parameters()
            if name in self.ema and id(parameter) in own
        ]
        if isinstance(optimizer, SGD):
            # Its fused kernel makes the first momentum of whatever lies in memory: there it stays
            # when the first update is skipped on the device. With none at first nothing changes.
            for each in optimizer.param_groups:
                for parameter in each["params"] if each["momentum"] else ():
                    state = optimizer.state[parameter]
                    state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        shared = Averaging(parameters) if ranks.world() > 1 else None
        return Group(parameters, vectors, [a for a, _ in pairs], [p for _, p in pairs], shared)
