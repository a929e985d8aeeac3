"""What the training tasks share: N games at once, exploration, evaluation, films, the agent's file.

Observations are ``(N, 4, 84, 84)`` uint8. A task adds what it learns from: ``agents.dqn`` a replay,
``agents.pqn`` short rollouts.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.agent import Agent, load
from agents.atari import FRAMES_PER_SECOND, Step, VectorAtari, protocol, resolve
from agents.evaluation import (
    CONFIRMING_SEEDS,
    EVALUATION_SEEDS,
    Evaluation,
    Stopped,
    evaluate,
    pooled,
)
from agents.heads import settled
from agents.presets import DQNConfig
from agents.qnetwork import QNetwork
from agents.rmsprop import CenteredRMSprop
from agents.screen import watch
from agents.targets import epsilon_at
from playground import ranks
from playground.errors import UserError
from playground.frames import Frame, pump
from playground.media import VideoWriter
from playground.run import Run
from playground.trainer import Trainer
from playground.transfer import upload


def _threads(config: DQNConfig) -> int:
    """Emulator threads of a process, so that several share the cores; 0 lets ale-py choose: one a
    core, at most one a game. ``--threads`` is PyTorch's: emulators run beside the updates.
    """
    if config.emulator_threads is None and ranks.world() == 1:
        return 0
    together = config.emulator_threads or os.cpu_count() or 1
    return max(1, min(config.envs, together // ranks.local_world()))


def network_of(config: DQNConfig, actions: int) -> QNetwork:
    """A new network as the settings describe it, for so many actions; UserError for what no
    network can be.
    """
    c = config
    return QNetwork(
        actions, backbone=c.backbone, width=c.width, hidden=c.hidden,
        dueling=c.dueling, layer_norm=c.layer_norm, trunk_norm=c.trunk_norm,
        max_pool=c.max_pool, noise=c.noise, distribution=c.distribution,
        quantiles=c.quantiles, atoms=c.atoms, v_min=c.v_min, v_max=c.v_max,
    )  # fmt: skip


class Playing(nn.Module):
    """N games played by exploration with a network ``online`` that a subclass trains.

    Args:
        environments: the class of ``agents.atari.VectorAtari``, or one like it.
        going_on: whether its weights will be a checkpoint's, not those of ``config.start``.
    """

    unit = "agent steps"
    panel_stride = FRAMES_PER_SECOND  # one picture a second

    def __init__(
        self,
        config: DQNConfig,
        seed: int,
        environments: Callable[..., VectorAtari],
        going_on: bool = False,
    ) -> None:
        super().__init__()
        config.check()
        self.config, self.seed = config, (seed := ranks.stream_seed(seed))
        self.game = resolve(config.game)
        self.rules = protocol(config.protocol)
        self.envs = environments(self.game, config.envs, self.rules, seed, _threads(config))
        self.rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.online = self._network()
        if config.start is not None and not going_on:
            self._learn_on(load(config.start))
        self.run: Run | None = None
        self.refill = False
        self.progress = 0  # agent steps
        self.updates = 0
        self.observation = self.envs.reset()  # (N, 4, 84, 84) uint8
        self.starts = np.ones(config.envs, dtype=bool)
        self.ended = np.zeros(config.envs, dtype=bool)  # the observation is an episode's last
        self.scores = np.zeros(config.envs)  # raw return of the game so far
        self.finished: deque[float] = deque(maxlen=100)  # raw returns of whole games
        self._evaluation: Evaluation | None = None  # the newest

    def _network(self) -> QNetwork:
        return network_of(self.config, self.envs.num_actions)

    def _learn_on(self, agent: Agent) -> None:
        """Begin with the weights of another agent's network; UserError for one that is built
        otherwise.
        """
        theirs: Any = agent.network.settings
        own = self.online.settings
        for name in sorted(theirs.keys() | own.keys()):
            if theirs.get(name) != own.get(name):
                raise UserError(
                    f"The network of {self.config.start} is built otherwise than this one: its "
                    f"{name} is {theirs.get(name)}, not {own.get(name)}."
                )
        self.online.load_state_dict(agent.network.state_dict())

    def _optimizer(self) -> torch.optim.Optimizer:
        c, parameters = self.config, list(self.online.parameters())
        if c.optimizer == "rmsprop":
            return CenteredRMSprop(parameters, c.learning_rate, eps=c.optimizer_epsilon)
        return torch.optim.Adam(parameters, c.learning_rate, eps=c.optimizer_epsilon, fused=True)

    @property
    def graph(self) -> bool:
        """Whether updates are recorded as CUDA graphs."""
        return self.config.graph

    @property
    def epsilon(self) -> float:
        """Exploration now."""
        c = self.config
        return epsilon_at(self.progress, c.epsilon_start, c.epsilon_end, c.epsilon_steps)

    def _values(self, trainer: Trainer) -> Tensor:
        """(N, A) of the observations, with the noise of noisy layers.

        The trunk is settled: how often a spectral norm iterates must be the same in all processes,
        and how often they act need not.
        """
        with torch.inference_mode(), trainer.fabric.autocast(), settled(self.online.backbone):
            return self.online(upload(self.observation, trainer.device))

    def _received(self, step: Step) -> np.ndarray:
        """Take over what the emulators answered; (N,) bool, which of them acted."""
        acted = ~self.ended
        self.scores += np.where(acted, step.reward, 0)
        self.observation, self.starts = step.obs, step.reset
        self.ended = step.terminated | step.truncated
        for i in np.flatnonzero(self.ended):
            self.finished.append(float(self.scores[i]))
            self.scores[i] = 0
        return acted

    def _terminal(self, step: Step) -> np.ndarray:
        """(N,) bool, after which of the steps nothing is to be bootstrapped."""
        if self.rules.life_loss_terminal:
            return step.terminated | step.life_lost
        return step.terminated.copy()

    # Looking, saving, going on.

    def agent(self) -> Agent:
        """The agent as it plays now; shares the online network's weights."""
        return Agent(self.online, self.game, protocol=self.rules.name)

    def evaluate(self, trainer: Trainer) -> dict[str, Any]:
        """Whole games on fresh emulators; a film of the first seconds of one. {} when given up.

        By the first process; the others wait.
        """
        if trainer.rank > 0:
            return {}
        try:
            self._evaluation = self._whole_games(trainer, self.seed)
        except Stopped:
            return {}
        self._film(trainer)
        return self._evaluation.to_metrics()

    def confirm(self, trainer: Trainer) -> dict[str, Any]:
        """As many other games of the agent that was just evaluated; the figures of all of them.

        The highest of many noisy means is a lucky one. Its games count here again, so that half of
        that luck stays.
        """
        if trainer.rank > 0:
            return {}
        assert self._evaluation is not None
        try:
            second = self._whole_games(trainer, self.seed + CONFIRMING_SEEDS)
        except Stopped:
            return {}
        return pooled(self._evaluation, second).to_metrics()

    def _whole_games(self, trainer: Trainer, seed: int) -> Evaluation:
        c = self.config
        return evaluate(
            self.agent(), protocol=self.rules, episodes=c.eval_episodes, epsilon=c.eval_epsilon,
            seed=seed, stop=lambda: trainer.stopping, threads=c.emulator_threads or 0,
        )  # fmt: skip

    def begin(self, trainer: Trainer) -> None:
        """A film of the untrained network, by the first process."""
        if trainer.rank == 0:
            self._film(trainer)

    def _film(self, trainer: Trainer) -> None:
        """The first seconds of always the same game, into the run; as many as the settings say."""
        if self.run is not None and self.config.eval_film > 0:
            shown = islice(self.frames(), int(self.config.eval_film * FRAMES_PER_SECOND))
            with VideoWriter(self.run.film(self.progress), fps=FRAMES_PER_SECOND) as sink:
                pump(takewhile(lambda _: not trainer.stopping, shown), sinks=[sink])

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
        """The run that the films go to."""
        self.run = run

    def state(self) -> dict[str, Any]:
        """Games and exploration; taking it changes nothing."""
        return {
            "progress": self.progress, "updates": self.updates,
            "rng": self.rng.bit_generator.state, "scores": self.scores,
            "finished": list(self.finished), "starts": self.starts, "ended": self.ended,
            "envs": self.envs.state(), "pixels": zlib.crc32(self.observation.tobytes()),
            "processes": ranks.world(),
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore ``state()`` exactly; with ``refill`` what belongs to no emulator."""
        self.progress, self.updates = state["progress"], state["updates"]
        self.finished = deque(state["finished"], maxlen=100)
        if self.refill:
            self.refill = False  # going back after a divergence is exact again
            return
        self.rng.bit_generator.state = state["rng"]
        self.scores = np.array(state["scores"])
        self.starts, self.ended = np.array(state["starts"]), np.array(state["ended"])
        self.observation = self.envs.load_state(state["envs"])
        if zlib.crc32(self.observation.tobytes()) != state["pixels"]:
            raise UserError(
                "The emulators here do not come back to where they were (another system or another "
                "ale-py?); go on with --resume RUN --refill."
            )

    def join(self, state: dict[str, Any]) -> None:
        """Begin beside others that go on from ``state`` of the first: with games of its own."""
        self.refill = True
        self.load_state(state)

    def reseed(self, number: int) -> None:
        """Other exploration than the last time, after a divergence."""
        self.rng = np.random.Generator(np.random.PCG64([self.seed, 1, number]))

    def close(self) -> None:
        """Free the emulators."""
        self.envs.close()
