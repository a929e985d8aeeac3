"""Pairs of frames of games, a moment apart: what a painter learns from that nothing may flicker.

Half of a game's emulators are played by the zoo's agent, if it has one, the others at random (see
`agents.players`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from agents.agent import Agent
from agents.atari import episode_seed, resolve_all
from agents.players import EPISODE_STEPS, Episode, greedy, seats, zoo_agents
from agents.screen import Screen
from playground.data import Pictures, to_stderr
from playground.errors import UserError
from playground.pretrain import SCREEN

PLAYERS = 4  # emulators of a game
STRIDE = 12  # agent steps between two pairs of an emulator, on average
HELD_OUT = 32  # pairs of each game, of emulators of their own
HELD_OUT_SEED = 3_000_017
MOST_CHANGED = 0.5  # of a pair's pixels: a flash of the whole screen shows nothing that stays
TRIES = 8  # moments looked at for each pair kept, at most: in some nothing moves


def clips(
    game: str, seed: int, agent: Agent | None = None, epsilon: float = 0.1, length: int = 4
) -> Iterator[list[np.ndarray]]:
    """Endless clips of one emulator: `length` frames (H, W, 3) uint8 each, as it shows them.

    Frames are the emulator's, 60 a second; a clip does not reach over an episode's end.
    """
    random = np.random.default_rng([seed, 0xC11B5])
    screen = Screen(game, "machado", episode_seed(seed, 0, 0))
    player = None if agent is None else greedy(agent)
    while True:
        obs = screen.reset()
        episode = Episode(random, screen.num_actions, player, epsilon)
        recent: list[np.ndarray] = []
        for _ in range(EPISODE_STEPS):
            action = episode.action(obs, screen.ram)
            obs, _, terminated, truncated, _ = screen.step(action)
            recent += screen.frames_of_last_step
            if len(recent) >= length:
                yield recent[:length]
                recent = []
            if terminated or truncated:
                break


def fitted(pixels: np.ndarray) -> np.ndarray:
    """A screen of any height as (210, 160, 3)."""
    height, width = SCREEN
    whole = np.zeros((height, width, 3), np.uint8)
    rows = min(height, len(pixels))
    whole[:rows] = pixels[:rows, :width]
    return whole


def pairs(
    names: Sequence[str],
    count: int,
    seed: int = 0,
    say: Callable[[str], None] = to_stderr,
) -> tuple[Pictures, Pictures]:
    """`count` pairs of each game, 1 to 3 emulator frames apart, and held-out ones.

    Of 6 channels, (6, 210, 160) uint8: the earlier frame's colours, then the later one's; between
    them something changed, and more did not. UserError for an unknown game.
    """
    games = resolve_all(names)
    if count < 1:
        raise UserError(f"--frames starts at 1, not {count}.")
    say(f"Playing {', '.join(games)} for {count:,} pairs of frames each ...")
    return gather(games, count, seed, say), gather(games, HELD_OUT, seed + HELD_OUT_SEED, say)


def gather(
    games: Sequence[str], count: int, seed: int, say: Callable[[str], None] = to_stderr
) -> Pictures:
    """The pairs of one such part, `count` of each game; `games` are as `resolve` gives them."""
    agents = zoo_agents()
    random = np.random.default_rng([seed, 0x9A125])
    found: list[np.ndarray] = []
    labels: list[int] = []
    for label, game in enumerate(games):
        players = [clips(game, *seat) for seat in seats(seed, label, PLAYERS, agents.get(game))]
        kept = 0
        for attempt in range(count * TRIES):
            player = players[attempt % PLAYERS]
            for _ in range(int(random.integers(2 * STRIDE))):
                next(player)
            clip = next(player)
            first, second = clip[0], clip[int(random.integers(1, len(clip)))]
            changed = float((first != second).any(2).mean())
            if 0 < changed < MOST_CHANGED:
                found.append(np.concatenate([fitted(first), fitted(second)], 2))
                kept += 1
            if kept == count:
                break
        labels += [label] * kept
        if kept < count:
            say(f"{game} gave {kept:,} pairs in which something moves only.")
    if not found:
        raise UserError("Nothing moves in these games: name others.")
    pixels = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()
    return Pictures(pixels, torch.tensor(labels), games)
