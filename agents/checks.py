"""What no training of an agent can use, said before anything of it is built.

Better at once than after minutes, or killed in the night.
"""

from __future__ import annotations

import torch

from agents.playing import network_of
from agents.presets import DQNConfig
from agents.replay import drawable, ring_steps
from agents.screen import STACK
from playground import checkpoint
from playground.device import available_memory
from playground.errors import UserError
from playground.run import Run

PACKED_BYTES = 2_000  # of a compressed frame, at most in most games
SB3_BYTES = 2 * 4 * 84 * 84  # of an agent step in Stable-Baselines3's replay: stacks, twice


def check_memory(config: DQNConfig, processes: int, engine: str = "ours", fewer: str = "") -> None:
    """UserError where their replays cannot fit: better at once than killed in the night.

    fewer: the flag that lowers the number of processes, where there is one.
    """
    if config.algorithm == "pqn":
        return
    capacity, packed = config.replay_capacity, config.replay_compression
    step = SB3_BYTES if engine == "sb3" else PACKED_BYTES if packed else 84 * 84
    needed, free = capacity * step * processes, available_memory()
    if free is not None and needed > free:
        times = f"{processes} times " if processes > 1 else ""
        lower = "--replay-capacity" + (f" or {fewer}" if fewer and processes > 1 else "")
        packing = ", or add --replay-compression" if step == 84 * 84 else ""
        raise UserError(
            f"A replay of {times}{capacity:,} agent steps needs {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free: lower {lower}{packing}."
        )


def enough(config: DQNConfig) -> int:
    """Transitions of which a batch can be drawn: never final rows alone."""
    return max(config.batch_size, 2 * config.envs)


def check_replay(config: DQNConfig) -> None:
    """UserError where no batch could ever be drawn from the replay."""
    c = config
    ring = ring_steps(c.replay_capacity, c.envs, c.n_step, STACK)
    full = drawable(ring, c.envs, c.n_step, STACK)
    if full < enough(c):
        raise UserError(
            f"--replay-capacity {c.replay_capacity} leaves {full} transitions to draw from, and a "
            f"batch needs {enough(c)}: raise it, or lower --batch-size or --envs."
        )


def check(config: DQNConfig, steps: int | None) -> None:
    """UserError for what no new training can use, before anything of it is built.

    Args:
        steps: agent steps of the training, where it has so many.
    """
    config.check()
    if config.epsilon_start < config.epsilon_end:
        raise UserError(
            f"--epsilon-start {config.epsilon_start:g} is below --epsilon-end "
            f"{config.epsilon_end:g}: exploration falls; lower --epsilon-end, too."
        )
    with torch.device("meta"):  # its shapes alone
        network_of(config, actions=1)
    if config.algorithm == "pqn":
        return
    check_replay(config)
    if steps is not None and steps <= config.warmup:
        raise UserError(
            f"Nothing would be learned in --steps {steps}: the first update comes after "
            f"--warmup {config.warmup}. Train for longer, or warm up for less."
        )


def has_rows(run: Run) -> bool:
    """Whether the newest good checkpoint of a run finds rows of its replay, or needs none."""
    found = checkpoint.glance(run.path / "checkpoints")
    folder = found and found[1]["state"].get("rows")
    return not folder or any((run.path / folder).glob("rows-*.safetensors"))
