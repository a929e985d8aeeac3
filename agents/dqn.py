"""Deep Q-learning from raw frames with a replay: the training task and its ingredients.

Observations are ``(N, 4, 84, 84)`` uint8, Q-values ``(N, A)`` float32, one for each of the game's
minimal actions. Frames, agent steps and updates are different units: 1 agent step = 4 emulator
frames, one update = one batch.

The ingredients, each a setting of ``agents.presets`` (which has the presets, too): double (van
Hasselt et al. 2016), dueling (Wang et al. 2016), n_step (Hessel et al. 2018), priority (Schaul et
al. 2016), distribution (Bellemare et al. 2017, Dabney et al. 2018a, 2018b), munchausen (Vieillard
et al. 2020), noise (Fortunato et al. 2018), backbone, trunk_norm and max_pool (Espeholt et al.
2018, Clark et al. 2024). What is learned is in ``agents.losses``, of pure functions in
``agents.targets``; layers are in ``agents.qnetwork`` and ``agents.heads``, the replay in
``agents.replay`` and, on a GPU, ``agents.device_rows``, what no training can use in
``agents.checks``. Evaluations are of whole games, apart from
those of the training, under the protocol's rules: ``machado`` has Dopamine's (Castro et al. 2018),
Machado et al. 2018 with the game's minimal actions instead of all 18 and 30 minutes a game.

Departs from the paper:

In every preset the exponent of importance weights stays as it is set (Schaul et al. let it rise to
1 over the training). With n-step returns, Munchausen's bonus is that of the first action alone
(Vieillard et al. have one step).

Preset ``nature2015`` keeps the settings of Mnih et al. 2015, Extended Data Table 1, but
- rewards, life losses and observations come from ale-py's vector environment (its own grey
  palette; two frames max-pooled after grey; FIRE is left to the agent);
- with more than one environment, N agent steps are made at once and their updates follow
  together, so an update sees frames up to N steps later than in the paper;
- exploration falls from the first step on, also while the replay fills;
- the loss is a batch's mean, the paper's code sums: RMSprop's epsilon is scaled to give its steps.

Preset ``laptop`` (Pong at 18 to 20 after 0.8 to 1.05 million agent steps under ``sb3``, RESULTS 3)
differs from it by: the protocol ``machado``, in which lives are not ends; 8 environments; learning
from 10,000 agent steps on; half as many channels and hidden units with LayerNorm; a shared hidden
layer under a dueling head; 3-step returns; prioritised replay; Adam; batches of 64 every 8 agent
steps; a target copied every 500 updates; exploration that ends at 0.01 after 100,000 agent steps,
and is 0.01 in evaluations, too; a replay of 300,000.

Preset ``beyond`` has the settings of Clark et al. 2024 ("Beyond the Rainbow"), but
- value and advantages share one hidden layer, with LayerNorm, a variant of theirs;
- exploration falls linearly to 0.01 and stays there; theirs falls as an exponential, more slowly at
  the end (0.37 after 2 million agent steps), and is switched off after 100 million frames;
- acting takes the mean of 8 fixed quantiles, theirs of 8 random ones;
- the exponent of the importance weights is 0.45; their code has that setting, too, but weighs by
  the exponent of the priorities, 0.2;
- noise is drawn anew at each forward, also of the target network, which is greedy nowhere.
As in their code, Munchausen's log-policy of the action taken is that of the online network, here in
the same forward (Vieillard et al. take the target network's, another forward), and the priority is
the size of the differences between quantiles (their mean; in the code the sum over one side).

A protocol whose name ends in ``_lives`` is no paper's: the loss of a life ends the bootstrap under
sticky actions.

With several processes (``--devices N``) each has environments, a replay and exploration of its own;
gradients are averaged. ``envs``, ``train_every``, ``batch_size`` and ``replay_capacity`` are each
process's, so N of them make N times the agent steps, and N times the batch, in as many updates.
``progress`` counts the agent steps of all, and with it ``warmup`` and the decay of exploration.
Importance weights are divided by the largest of a process's batch. The first process evaluates.
Going on with the same number is exact. With another number it is not: the replays of the processes
that remain are kept, new ones act until theirs has something to learn from, and meanwhile nobody
learns.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.atari import VectorAtari
from agents.checks import check_memory, check_replay, enough
from agents.device_rows import DeviceRows, on_device
from agents.losses import loss_of
from agents.playing import Playing
from agents.presets import PRESETS, SB3, TRAINERS, DQNConfig, preset
from agents.replay import Replay
from agents.replay_files import ReplayFiles
from agents.targets import epsilon_at, td_target
from playground import ranks
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import Download, upload

# The settings too: who trains finds them here.
__all__ = [
    "DQN",
    "PRESETS",
    "SB3",
    "TRAINERS",
    "DQNConfig",
    "epsilon_at",
    "preset",
    "td_target",
]


class DQN(Playing):
    """The training task: N games played by exploration, one learner, one replay."""

    def __init__(self, config: DQNConfig, seed: int = 0, going_on: bool = False) -> None:
        super().__init__(config, seed, VectorAtari, going_on)
        check_replay(config)
        self.target = self._network().requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizers = {"online": self._optimizer()}
        check_memory(config, ranks.local_world())
        self.replay = self._replay()
        self.enough = enough(config)
        self.files: ReplayFiles | None = None
        self.marks: list[int] = []  # vector steps of the replay at the newest checkpoints
        self.dropped = -1  # the mark up to which old rows were removed
        self.learn_from = config.warmup  # agent steps
        self.credit = 0.0  # updates owed
        self.errors: tuple[np.ndarray, Download] | None = None  # priorities to come, of which rows

    def _replay(self) -> Replay:
        c = self.config
        return Replay(
            c.replay_capacity, c.envs, n_step=c.n_step, gamma=c.gamma,
            priority_exponent=c.priority, reward_clip=c.reward_clip, seed=self.seed,
            compressed=c.replay_compression,
        )  # fmt: skip

    # One round: act, and learn while the emulators run.

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """N agent steps, and the updates that fall due meanwhile."""
        self._drop_old_rows(trainer.config.keep)
        action = self._act(trainer)
        self.envs.send(action)
        metrics = self._learn(trainer)
        result = self.envs.recv()
        self.replay.add(
            self.observation[:, -1], self.starts, action, result.reward, self._terminal(result),
            self.ended,
        )  # fmt: skip
        if self.files is not None:
            self.files.follow()
        acted = self._received(result)
        ready = self.progress >= self.learn_from and len(self.replay) >= self.enough
        made = torch.tensor([acted.sum(), ready], dtype=torch.float64)
        made_each, ready_share = trainer.mean(made).tolist()  # over the processes
        if ready_share == 1:  # all update together or none does
            self.credit += made_each / self.config.train_every
        self.progress += round(made_each * trainer.world)
        metrics["epsilon"] = self.epsilon
        if self.ended.any():
            metrics["return"] = float(np.mean(self.finished))
        return metrics

    def _act(self, trainer: Trainer) -> np.ndarray:
        n = self.config.envs
        explore = self.rng.random(n) < self.epsilon
        action = self.rng.integers(0, self.envs.num_actions, n)
        if not explore.all():
            action = np.where(explore, action, self._values(trainer).argmax(1).cpu().numpy())
        return action

    def _learn(self, trainer: Trainer) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        while self.credit >= 1:
            self.credit -= 1
            metrics = self._update(trainer)
        return metrics

    def _update(self, trainer: Trainer) -> dict[str, Any]:
        self._settle_priorities()
        c, device = self.config, trainer.device
        rows, weight = self.replay.draw(c.batch_size, c.priority_beta)
        loss_fn: Callable[..., tuple[Tensor, Tensor, Tensor]]
        if self.replay.mirror is not None:  # the rest follows on the device
            loss_fn, inputs = self._loss_of_rows, [upload(rows, device), upload(weight, device)]
        else:
            batch = self.replay.gather(rows, weight)[:6]
            loss_fn, inputs = self._loss, [upload(x, device) for x in batch]
        loss, q, error = trainer.learn(loss_fn, self.optimizers["online"], inputs, self.graph)
        if self.replay.tree is not None:
            self.errors = (rows, Download(error.float()))
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self._copy_to_target()
        return {"loss": loss, "q": q.mean()}

    def _loss(self, *batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(weighted mean loss, Q of the actions taken (B,), errors for the priorities (B,))."""
        return loss_of(self.config, self.online, self.target, *batch)

    def _loss_of_rows(self, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of rows (B,) of the replay's mirror."""
        assert self.replay.mirror is not None
        return self._loss(*self.replay.mirror.transitions(rows), weight)

    def rehearsal(self) -> Callable[[], Tensor]:
        """A loss on noise of a batch's size, by which the trainer times precisions."""
        device, size = next(self.parameters()).device, self.config.batch_size
        noise = torch.randint(0, 256, (size, 4, 84, 84), dtype=torch.uint8, device=device)
        action = torch.zeros(size, dtype=torch.int64, device=device)
        ones = torch.ones(size, device=device)
        return lambda: self._loss(noise, action, ones, noise, ones, ones)[0]

    def _settle_priorities(self) -> None:
        """Take over the errors of the update before, which come by themselves. Prioritised draws
        depend on them, so a GPU is waited for here if it is still at that update, and nowhere else
        in an update; uniform draws wait for nothing.
        """
        if self.errors is not None:
            index, error = self.errors
            self.replay.update_priorities(index, error.read().numpy())
            self.errors = None

    @torch.no_grad()
    def _copy_to_target(self) -> None:
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.lerp_(online, self.config.target_tau)
        for theirs, mine in zip(self.target.buffers(), self.online.buffers(), strict=True):
            theirs.copy_(mine)  # a spectral norm's singular vectors

    @property
    def checkpoint_due(self) -> bool:
        """Asks the trainer to save, before the replay's files outgrow the replay."""
        return self.files is not None and self.files.checkpoint_due

    def _drop_old_rows(self, keep: int) -> None:
        """Remove rows that none of the ``keep`` newest checkpoints needs.

        Between two rounds: then the checkpoint of the newest mark stands.
        """
        if self.run is None or self.files is None or len(self.marks) < keep:
            return
        if (oldest := self.marks[-keep]) == self.dropped:
            return
        self.marks, self.dropped = self.marks[-keep:], oldest
        self.files.prune(oldest - self.replay.steps)
        for folder in self.run.path.glob("replay*"):
            place = re.fullmatch(r"replay(?:\.(\d+))?(?:-\d+)?", folder.name)
            owner = int(place[1] or 0) if place else -1
            mine = owner == ranks.rank() and folder != self.files.folder  # from before a refill
            orphaned = owner >= ranks.world() and ranks.rank() == 0  # of more processes
            if mine or orphaned:
                shutil.rmtree(folder, ignore_errors=True)

    # Saving, going on.

    def attach(self, run: Run) -> None:
        """Keep the replay's rows in the run's folder ``replay/``, each process's in its own."""
        super().attach(run)
        self._mirror()
        self.files = ReplayFiles(self.replay, run.path / self._rows_folder())

    def _mirror(self) -> None:
        """The replay's rows once more on the device of the networks, where the settings say so."""
        device = next(self.parameters()).device
        if on_device(self.config.replay_device, self.replay, device):
            self.replay.mirror = DeviceRows(self.replay, device)

    def _rows_folder(self) -> str:
        return f"replay.{ranks.rank()}" if ranks.rank() else "replay"

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module; taking it changes nothing."""
        pending = self.errors and {"index": self.errors[0], "error": self.errors[1].read()}
        state = super().state() | {
            "credit": self.credit, "learn_from": self.learn_from, "pending": pending,
            "replay": self.replay.state(),
        }  # fmt: skip
        if self.files is not None:
            state["rows"] = self.files.folder.name
            self.files.flush()
            if self.marks[-1:] != [self.replay.written]:
                self.marks.append(self.replay.written)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore ``state()`` exactly; with ``refill`` all but replay and emulators."""
        refill = self.refill
        if self.files is not None:
            self.files.abandon()
        super().load_state(state)
        if refill:
            # Act before learning again: as many steps as a first training starts with. The old
            # rows stay until no checkpoint needs them.
            self.learn_from = self.progress + self.config.warmup
            self.replay, self.errors, self.credit = self._replay(), None, 0.0
            self._mirror()
            self.marks, self.dropped = [], -1
            if self.run is not None:
                folder = self.run.path / f"{self._rows_folder()}-{self.progress}"
                shutil.rmtree(folder, ignore_errors=True)
                self.files = ReplayFiles(self.replay, folder)
            return
        self.learn_from = state["learn_from"]
        # The same in all processes: those that join have none.
        self.credit = state["credit"] if state.get("processes", 1) == ranks.world() else 0.0
        self.replay.load_state(state["replay"])
        pending = state["pending"]
        self.errors = pending and (pending["index"], Download(pending["error"]))
        if self.run is not None:
            self.files = ReplayFiles(self.replay, self.run.path / state["rows"])
            self.files.load(self.replay.written)
            self.marks = [self.replay.written]

    def reseed(self, number: int) -> None:
        """Other exploration and other draws than the last time, after a divergence."""
        super().reseed(number)
        self.replay.rng = np.random.Generator(np.random.PCG64([self.seed, 3, number]))
