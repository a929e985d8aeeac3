"""Deep Q-learning from raw frames: settings, Q-network, pure targets, and the training task.

Observations are ``(N, 4, 84, 84)`` uint8, Q-values ``(N, A)`` float32, one for each of the game's
minimal actions. Frames, agent steps and updates are different units: 1 agent step = 4 emulator
frames, one update = one batch.

Sources: Mnih et al. 2015 (DQN), van Hasselt et al. 2016 (Double), Wang et al. 2016 (Dueling),
Schaul et al. 2016 (prioritised replay), Hessel et al. 2018 (n-step DQN), Machado et al. 2018
(evaluation protocol).

Departs from the paper:

Preset ``nature2015`` keeps the settings of Mnih et al. 2015, Extended Data Table 1, but
- rewards, life losses and observations come from ale-py's vector environment (its own grey
  palette; two frames max-pooled after grey; no FIRE press but at a game's start);
- with more than one environment, N agent steps are made at once and their updates follow
  together, so an update sees frames up to N steps later than in the paper;
- exploration falls from the first step on, also while the replay fills;
- the loss is a batch's mean, the paper's code sums: RMSprop's epsilon is scaled to give its steps.

Preset ``laptop`` (Pong past 18 in 0.5 to 1 million agent steps) differs from it by: half as many
channels and hidden units with LayerNorm; a shared hidden layer under a dueling head; 3-step
returns; prioritised replay; Adam; batches of 64 every 8 agent steps; a target copied every 500
updates; exploration that ends at 0.01 after 100,000 agent steps; a replay of 300,000.

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

import math
import os
import re
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.agent import Agent, QNetwork
from agents.atari import FRAMES_PER_SECOND, PROTOCOLS, VectorAtari, protocol, resolve
from agents.evaluation import EVALUATION_SEEDS, Stopped, evaluate
from agents.replay import Batch, Replay, ReplayFiles
from agents.rmsprop import EPSILON as RMSPROP_EPSILON
from agents.rmsprop import CenteredRMSprop
from agents.screen import watch
from playground import ranks
from playground.config import setting
from playground.device import available_memory
from playground.errors import UserError
from playground.frames import Frame, pump
from playground.media import VideoWriter
from playground.run import Run
from playground.trainer import Trainer


@dataclass(frozen=True)
class DQNConfig:
    """Everything that decides what is learned. Defaults are the preset ``laptop``."""

    game: str = setting("pong", "game to learn, any of ale-py's by its short name")
    protocol: str = setting("machado", "rules of training", choices=tuple(PROTOCOLS))
    envs: int = setting(8, "environments stepped together, in each process")
    backbone: str = setting("nature", "trunk of the Q-network", choices=("nature", "impala"))
    width: float = setting(0.5, "channels of the trunk, as a factor")
    hidden: int = setting(256, "units of the hidden layer")
    layer_norm: bool = setting(True, "LayerNorm after the hidden layer")
    dueling: bool = setting(True, "value and advantage heads (Wang et al. 2016)")
    double: bool = setting(False, "actions of the target chosen by the online network")
    n_step: int = setting(3, "rewards summed before bootstrapping", "agent steps")
    gamma: float = setting(0.99, "discount", "per agent step")
    replay_capacity: int = setting(
        300_000, "size of each process's replay, 7.1 KB each", "agent steps"
    )
    priority: float = setting(0.5, "exponent of prioritised replay, 0 is uniform")
    priority_beta: float = setting(0.4, "exponent of its importance weights")
    batch_size: int = setting(64, "transitions of an update, in each process")
    train_every: int = setting(8, "a process's own agent steps between two updates", "agent steps")
    warmup: int = setting(10_000, "steps before the first update", "agent steps")
    optimizer: str = setting("adam", "optimizer", choices=("adam", "rmsprop"))
    learning_rate: float = setting(2.5e-4, "step size of the optimizer")
    optimizer_epsilon: float = setting(1.5e-4, "added to the optimizer's denominator")
    loss: str = setting("huber", "of the temporal difference", choices=("huber", "mse"))
    reward_clip: float | None = setting(1.0, "rewards learned from lie in [-clip, clip]")
    target_every: int = setting(500, "updates between two copies to the target network", "updates")
    target_tau: float = setting(1.0, "part taken over at each copy; 1 is a hard copy")
    epsilon_start: float = setting(1.0, "exploration at the start")
    epsilon_end: float = setting(0.01, "exploration in the end")
    epsilon_steps: int = setting(100_000, "length of the linear decay", "agent steps")
    eval_episodes: int = setting(10, "games of each evaluation", "episodes")
    eval_epsilon: float = setting(0.01, "exploration of evaluations")
    eval_film: float = setting(20.0, "length of each evaluation's film, 0 for none", "seconds")

    def check(self) -> None:
        """Raises UserError for what no training can use."""
        resolve(self.game)
        protocol(self.protocol)
        for name in ("envs", "hidden", "n_step", "batch_size", "train_every", "target_every",
                     "replay_capacity", "eval_episodes"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1.")
        for name in ("gamma", "epsilon_start", "epsilon_end", "eval_epsilon", "priority_beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name.replace('_', '-')} must lie between 0 and 1.")
        for name in ("learning_rate", "optimizer_epsilon", "reward_clip", "width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be above 0.")
        for name in ("warmup", "epsilon_steps", "priority", "eval_film"):
            if not getattr(self, name) >= 0:
                raise UserError(f"--{name.replace('_', '-')} must not be negative.")
        if not 0 < self.target_tau <= 1:
            raise UserError("--target-tau must be above 0 and at most 1.")


NATURE2015 = DQNConfig(
    protocol="nature", envs=1, width=1.0, hidden=512, layer_norm=False, dueling=False, n_step=1,
    replay_capacity=1_000_000, priority=0.0, batch_size=32, train_every=4, warmup=50_000,
    optimizer="rmsprop", optimizer_epsilon=RMSPROP_EPSILON, target_every=10_000, epsilon_end=0.1,
    epsilon_steps=1_000_000, eval_epsilon=0.05,
)  # fmt: skip
SB3 = replace(  # Stable-Baselines3's own defaults (2.9) for a training of 100,000 agent steps
    NATURE2015, protocol="sb3", optimizer="adam", learning_rate=1e-4, optimizer_epsilon=1e-8,
    warmup=100, target_every=2_500, epsilon_end=0.05, epsilon_steps=10_000, eval_epsilon=0.0,
)  # fmt: skip
PRESETS = {"laptop": DQNConfig(), "nature2015": NATURE2015, "sb3": SB3}


def preset(name: str, steps: int | None = None) -> DQNConfig:
    """The preset's settings for a training of ``steps`` agent steps.

    Only "sb3" depends on them: there exploration falls over a tenth of the training.
    """
    config = PRESETS[name]
    return replace(config, epsilon_steps=steps // 10) if name == "sb3" and steps else config


TRAINERS: dict[str, dict[str, Any]] = {  # what a preset asks of the trainer
    "laptop": {"evaluate_every": 100_000},
    "nature2015": {"evaluate_every": 250_000},
    "sb3": {"evaluate_every": 100_000, "clip_norm": 10.0},
}


def epsilon_at(step: int, start: float, end: float, decay_steps: int) -> float:
    """Exploration rate after ``step`` agent steps: linear from start to end, then constant."""
    fraction = min(max(step, 0) / decay_steps, 1.0) if decay_steps > 0 else 1.0
    return start + fraction * (end - start)


def td_target(
    reward: Tensor, discount: Tensor, next_q: Tensor, next_q_online: Tensor | None = None
) -> Tensor:
    """Bootstrapped return ``r + discount * Q(s', a*)``, (B,).

    Args:
        reward: (B,) n-step return.
        discount: (B,) gamma**n, 0 where nothing follows.
        next_q: (B, A) of the target network.
        next_q_online: (B, A) of the online network; where given it chooses a* (Double DQN).
    """
    if next_q_online is None:
        best = next_q.amax(1)
    else:
        best = next_q.gather(1, next_q_online.argmax(1, keepdim=True)).squeeze(1)
    return reward + discount * best


def _threads(envs: int) -> int:
    """Emulator threads of a process, so that several share the cores; 0 lets ale-py choose."""
    if ranks.world() == 1:
        return 0
    return max(1, min(envs, (os.cpu_count() or 1) // ranks.local_world()))


class DQN(nn.Module):
    """The training task: N games played by exploration, one learner, one replay."""

    unit = "agent steps"
    panel_stride = FRAMES_PER_SECOND  # one picture a second

    def __init__(self, config: DQNConfig, seed: int = 0) -> None:
        super().__init__()
        config.check()
        self.config, self.seed = config, (seed := ranks.stream_seed(seed))
        self.game = resolve(config.game)
        self.rules = protocol(config.protocol)
        self.envs = VectorAtari(self.game, config.envs, self.rules, seed, _threads(config.envs))
        self.rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.online = self._network()
        self.target = self._network().requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizers = {"online": self._optimizer()}
        self._check_memory()
        self.replay = self._replay()
        self.run: Run | None = None
        self.files: ReplayFiles | None = None
        self.marks: list[int] = []  # vector steps of the replay at the newest checkpoints
        self.dropped = -1  # the mark up to which old rows were removed
        self.refill = False
        self.progress = 0  # agent steps
        self.updates = 0
        self.learn_from = config.warmup  # agent steps
        self.credit = 0.0  # updates owed
        self.errors: tuple[np.ndarray, Tensor] | None = None  # priorities to come
        self.observation = self.envs.reset()  # (N, 4, 84, 84) uint8
        self.starts = np.ones(config.envs, dtype=bool)
        self.ended = np.zeros(config.envs, dtype=bool)  # the observation is an episode's last
        self.scores = np.zeros(config.envs)  # raw return of the game so far
        self.finished: deque[float] = deque(maxlen=100)  # raw returns of whole games

    def _network(self) -> QNetwork:
        c = self.config
        return QNetwork(
            self.envs.num_actions, backbone=c.backbone, width=c.width, hidden=c.hidden,
            dueling=c.dueling, layer_norm=c.layer_norm,
        )  # fmt: skip

    def _replay(self) -> Replay:
        c = self.config
        return Replay(
            c.replay_capacity, c.envs, n_step=c.n_step, gamma=c.gamma,
            priority_exponent=c.priority, reward_clip=c.reward_clip, seed=self.seed,
        )  # fmt: skip

    def _check_memory(self) -> None:
        """UserError where the replay cannot fit: better at once than killed in the night."""
        capacity, processes = self.config.replay_capacity, ranks.local_world()
        needed, free = capacity * processes * 84 * 84, available_memory()
        if free is not None and needed > free:
            times = f"{processes} times " if processes > 1 else ""
            raise UserError(
                f"A replay of {times}{capacity:,} agent steps needs {needed / 1e9:.1f} GB of "
                f"memory, {free / 1e9:.1f} GB are free: lower --replay-capacity."
            )

    def _optimizer(self) -> torch.optim.Optimizer:
        c, parameters = self.config, list(self.online.parameters())
        if c.optimizer == "rmsprop":
            return CenteredRMSprop(parameters, c.learning_rate, eps=c.optimizer_epsilon)
        return torch.optim.Adam(parameters, c.learning_rate, eps=c.optimizer_epsilon, fused=True)

    # One round: act, and learn while the emulators run.

    def step(self, trainer: Trainer) -> dict[str, Any]:
        """N agent steps, and the updates that fall due meanwhile."""
        self._drop_old_rows(trainer.config.keep)
        action = self._act(trainer)
        self.envs.send(action)
        metrics = self._learn(trainer)
        result = self.envs.recv()
        terminal = result.terminated.copy()
        if self.rules.life_loss_terminal:
            terminal |= result.life_lost
        self.replay.add(
            self.observation[:, -1], self.starts, action, result.reward, terminal, self.ended
        )
        if self.files is not None:
            self.files.follow()
        acted = ~self.ended
        self.scores += np.where(acted, result.reward, 0)
        self.observation, self.starts = result.obs, result.reset
        self.ended = result.terminated | result.truncated
        for i in np.flatnonzero(self.ended):
            self.finished.append(float(self.scores[i]))
            self.scores[i] = 0
        enough = max(self.config.batch_size, 2 * self.config.envs)  # never final rows alone
        ready = self.progress >= self.learn_from and len(self.replay) >= enough
        made = torch.tensor([acted.sum(), ready], dtype=torch.float64)
        made_each, ready_share = trainer.mean(made).tolist()  # over the processes
        if ready_share == 1:  # all update together or none does
            self.credit += made_each / self.config.train_every
        self.progress += round(made_each * trainer.world)
        metrics["epsilon"] = self.epsilon
        if self.ended.any():
            metrics["return"] = float(np.mean(self.finished))
        return metrics

    @property
    def epsilon(self) -> float:
        c = self.config
        return epsilon_at(self.progress, c.epsilon_start, c.epsilon_end, c.epsilon_steps)

    def _act(self, trainer: Trainer) -> np.ndarray:
        n = self.config.envs
        explore = self.rng.random(n) < self.epsilon
        action = self.rng.integers(0, self.envs.num_actions, n)
        if not explore.all():
            with torch.inference_mode(), trainer.fabric.autocast():
                q = self.online(torch.from_numpy(self.observation).to(trainer.device))
            action = np.where(explore, action, q.argmax(1).cpu().numpy())
        return action

    def _learn(self, trainer: Trainer) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        while self.credit >= 1:
            self.credit -= 1
            self._settle_priorities()
            batch = self.replay.sample(self.config.batch_size, self.config.priority_beta)
            metrics = self._update(trainer, batch)
        return metrics

    def _update(self, trainer: Trainer, batch: Batch) -> dict[str, Any]:
        tensors = [x.to(trainer.device, non_blocking=True) for x in batch[:6]]
        seen: dict[str, Tensor] = {}

        def loss() -> Tensor:
            value, q, error = self._loss(*tensors)
            seen["q"], seen["error"] = q.detach().mean(), error.detach()
            return value

        value = trainer.minimize(loss, self.optimizers["online"])
        self.errors = (batch.rows, seen["error"])
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self._copy_to_target()
        return {"loss": value, "q": seen["q"]}

    def _loss(
        self, observation: Tensor, action: Tensor, reward: Tensor, following: Tensor,
        discount: Tensor, weight: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """(weighted mean loss, Q of the actions taken (B,), temporal differences (B,))."""
        c = self.config
        with torch.no_grad():
            chooser = self.online(following) if c.double else None
            target = td_target(reward, discount, self.target(following), chooser)
        q = self.online(observation).gather(1, action[:, None]).squeeze(1)  # (B,)
        each = F.smooth_l1_loss if c.loss == "huber" else F.mse_loss
        return (weight * each(q, target, reduction="none")).mean(), q, q - target

    def rehearsal(self) -> Callable[[], Tensor]:
        """A loss on noise of a batch's size, by which the trainer times precisions."""
        device, size = next(self.parameters()).device, self.config.batch_size
        noise = torch.randint(0, 256, (size, 4, 84, 84), dtype=torch.uint8, device=device)
        action = torch.zeros(size, dtype=torch.int64, device=device)
        ones = torch.ones(size, device=device)
        return lambda: self._loss(noise, action, ones, noise, ones, ones)[0]

    def _settle_priorities(self) -> None:
        """Take over the errors of the update before. Prioritised draws depend on them, so a GPU is
        waited for here, once an update, and nowhere else; uniform draws wait for nothing.
        """
        if self.replay.tree is None:
            return
        if self.errors is not None:
            index, error = self.errors
            self.replay.update_priorities(index, error.float().cpu().numpy())
            self.errors = None

    @torch.no_grad()
    def _copy_to_target(self) -> None:
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.lerp_(online, self.config.target_tau)

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

    # Looking, saving, going on.

    def agent(self) -> Agent:
        """The agent as it plays now; shares the online network's weights."""
        return Agent(self.online, self.game, protocol=self.rules.name)

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """Whole games on fresh emulators; a film of the first seconds of one. {} when given up.

        By the first process; the others wait.
        """
        c = self.config
        if trainer.rank > 0:
            return {}
        try:
            result = evaluate(
                self.agent(), protocol=self.rules, episodes=c.eval_episodes,
                epsilon=c.eval_epsilon, seed=self.seed, stop=lambda: trainer.stopping,
            )  # fmt: skip
        except Stopped:
            return {}
        if self.run is not None and c.eval_film > 0:
            film = self.run.videos / f"{self.progress:010d}.mp4"
            shown = islice(self.frames(), int(c.eval_film * FRAMES_PER_SECOND))
            with VideoWriter(film, fps=FRAMES_PER_SECOND) as sink:
                pump(takewhile(lambda _: not trainer.stopping, shown), sinks=[sink])
        low, high = result.interval
        return {"score": result.mean, "low": low, "high": high, "length": result.length}

    def frames(self) -> Iterator[Frame]:
        """The agent playing one game, every emulator frame."""
        c = self.config
        return watch(
            self.agent(), self.game, self.rules, seed=self.seed + EVALUATION_SEEDS,
            epsilon=c.eval_epsilon, episodes=1,
        )  # fmt: skip

    def export(self, path: Path) -> None:
        """Write the agent's own weights file (fp16)."""
        self.agent().save(path, settings=self.config, trained_agent_steps=self.progress)

    def attach(self, run: Run) -> None:
        """Keep the replay's rows in the run's folder ``replay/``, each process's in its own."""
        self.run = run
        self.files = ReplayFiles(self.replay, run.path / self._rows_folder())

    def _rows_folder(self) -> str:
        return f"replay.{ranks.rank()}" if ranks.rank() else "replay"

    def state(self) -> dict[str, Any]:
        """All that is not a tensor of the module; taking it changes nothing."""
        pending = self.errors and {"index": self.errors[0], "error": self.errors[1].float().cpu()}
        state = {
            "progress": self.progress, "updates": self.updates, "credit": self.credit,
            "learn_from": self.learn_from, "rng": self.rng.bit_generator.state,
            "scores": self.scores, "finished": list(self.finished), "starts": self.starts,
            "ended": self.ended, "envs": self.envs.state(), "replay": self.replay.state(),
            "pending": pending, "pixels": zlib.crc32(self.observation.tobytes()),
            "processes": ranks.world(),
        }  # fmt: skip
        if self.files is not None:
            state["rows"] = self.files.folder.name
            self.files.flush()
            if self.marks[-1:] != [self.replay.written]:
                self.marks.append(self.replay.written)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore ``state()`` exactly; with ``refill`` all but replay and emulators."""
        self.progress, self.updates = state["progress"], state["updates"]
        self.finished = deque(state["finished"], maxlen=100)
        if self.refill:
            # Act before learning again: as many steps as a first training starts with. The old
            # rows stay until no checkpoint needs them.
            self.learn_from = self.progress + self.config.warmup
            self.replay, self.errors, self.credit = self._replay(), None, 0.0
            self.marks, self.dropped = [], -1
            if self.run is not None:
                folder = self.run.path / f"{self._rows_folder()}-{self.progress}"
                shutil.rmtree(folder, ignore_errors=True)
                self.files = ReplayFiles(self.replay, folder)
            self.refill = False  # going back after a divergence is exact again
            return
        self.learn_from = state["learn_from"]
        # The same in all processes: those that join have none.
        self.credit = state["credit"] if state.get("processes", 1) == ranks.world() else 0.0
        self.rng.bit_generator.state = state["rng"]
        self.scores = np.array(state["scores"])
        self.starts, self.ended = np.array(state["starts"]), np.array(state["ended"])
        self.observation = self.envs.load_state(state["envs"])
        if zlib.crc32(self.observation.tobytes()) != state["pixels"]:
            raise UserError(
                "The emulators here do not come back to where they were (another system or another "
                "ale-py?); go on with --resume RUN --refill."
            )
        self.replay.load_state(state["replay"])
        pending = state["pending"]
        self.errors = pending and (pending["index"], pending["error"])
        if self.run is not None:
            self.files = ReplayFiles(self.replay, self.run.path / state["rows"])
            self.files.load(self.replay.written)
            self.marks = [self.replay.written]

    def join(self, state: dict[str, Any]) -> None:
        """Begin beside others that go on from ``state`` of the first: with an empty replay."""
        self.refill = True
        self.load_state(state)

    def reseed(self, number: int) -> None:
        """Other exploration and other draws than the last time, after a divergence."""
        self.rng = np.random.Generator(np.random.PCG64([self.seed, 1, number]))
        self.replay.rng = np.random.Generator(np.random.PCG64([self.seed, 3, number]))

    def close(self) -> None:
        self.envs.close()
