"""Screens of all Atari games, played on the fly: the source that `playground.pretrain` learns from.

`play` is one emulator's endless stream of frames; `ArcadeSource` mixes emulators of all games in a
rolling pool and draws batches from it. Half of the emulators of a game that the zoo has an agent
for are played by it, the others at random (see `agents.players`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from agents import ram as ram_facts
from agents.agent import Agent
from agents.atari import episode_seed, games, resolve
from agents.players import EPISODE_STEPS, Episode, greedy, seats, zoo_agents
from agents.screen import Screen
from playground.frames import Frame
from playground.pretrain import SCREEN, SLOTS, Scenes


def play(
    game: str, seed: int, agent: Agent | None = None, epsilon: float = 0.1, stride: int = 4
) -> Iterator[Frame]:
    """Endless frames of one emulator, about `stride` agent steps (4 frames each) apart.

    Each is one emulator frame as the console draws it, any of the four of an agent step, with facts
    `game`, `ram` ((128,) uint8), and `ram_<fact>` and boxes where `agents.ram` knows the game; and
    of the end of that step `observation` ((4, 84, 84) uint8) and `observation_ram`. Played by the
    agent with epsilon, or without one at random.
    """
    random = np.random.default_rng([seed, 0xA7A21])
    screen = Screen(game, "machado", episode_seed(seed, 0, 0))
    player = None if agent is None else greedy(agent)
    while True:
        obs = screen.reset()
        episode = Episode(random, screen.num_actions, player, epsilon)
        wait = int(random.integers(4 * stride))  # episodes begin alike: not all with a frame
        for _ in range(EPISODE_STEPS):
            action = episode.action(obs, screen.ram)
            obs, _, terminated, truncated, _ = screen.step(action)
            if terminated or truncated:
                break
            if wait == 0:
                wait = int(random.integers(2 * stride))
                shot = int(random.integers(len(screen.frames_of_last_step)))
                pixels, ram = screen.frames_of_last_step[shot], screen.rams_of_last_step[shot]
                known = {f"ram_{k}": v for k, v in ram_facts.facts(game, ram).items()}
                facts = {
                    "game": game,
                    "ram": ram,
                    "observation": obs,
                    "observation_ram": screen.rams_of_last_step[-1],
                } | known
                yield Frame(pixels, facts=facts, boxes=ram_facts.boxes(game, ram))
            else:
                wait -= 1


def movers(game: str) -> tuple[str, ...]:
    """The single moving objects whose place `agents.ram` knows, sorted."""
    facts = ram_facts.facts(game, np.zeros(128, np.uint8))
    return tuple(
        sorted(name[:-2] for name in facts if f"{name[:-2]}_y" in facts and name[-2:] == "_x")
    )


def scenes(frames: Sequence[Frame], names: Sequence[str]) -> Scenes:
    """Frames of `play` as one batch; `names` are the games in the order of their labels."""
    height, width = SCREEN
    pixels = np.zeros((len(frames), height, width, 3), np.uint8)
    places = np.full((len(frames), SLOTS, 2), np.nan, np.float32)
    known = np.zeros((len(frames), SLOTS), bool)
    for i, frame in enumerate(frames):
        rows = min(height, frame.height)
        pixels[i, :rows] = frame.pixels[:rows, :width]
        for slot, name in enumerate(movers(frame.facts["game"])[:SLOTS]):
            x, y = frame.facts[f"ram_{name}_x"], frame.facts[f"ram_{name}_y"]
            known[i, slot] = True
            if x is not None and y is not None and y < height:
                places[i, slot] = x, y
    return Scenes(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        game=torch.tensor([names.index(frame.facts["game"]) for frame in frames]),
        ram=torch.from_numpy(np.stack([frame.facts["ram"] for frame in frames])),
        places=torch.from_numpy(places),
        known=torch.from_numpy(known),
        boxes=[frame.boxes for frame in frames],
    )


class ArcadeSource:
    """Batches of screens of many games at once. See `playground.pretrain.Source`.

    A frame stays in the pool for about `reuse` draws. Batches are reproducible from the seed, but
    not after resuming: the emulators begin anew there.

    Args:
        names: games (all by default).
        seed: another seed plays other games.
        pool: frames kept, about 100 kB each.
        reuse: draws a frame, on average.
        known_share: share of a batch from games that `agents.ram` knows.
        known_players: emulators for each of these (the other games have one each).
        agents: game -> agent; by default those of the zoo.

    Attributes:
        games: names in the order of their labels.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        seed: int = 0,
        pool: int = 2048,
        reuse: float = 4.0,
        known_share: float = 0.65,
        known_players: int = 4,
        agents: dict[str, Agent] | None = None,
    ) -> None:
        self.games = tuple(names or games())
        self._reuse, self._random = reuse, np.random.default_rng(seed)
        agents = zoo_agents() if agents is None else agents
        known: list[Iterator[Frame]] = []
        others: list[Iterator[Frame]] = []
        for label, name in enumerate(self.games):
            game = resolve(name)
            is_known = game in ram_facts.GAMES
            for seat in seats(seed, label, known_players if is_known else 1, agents.get(game)):
                (known if is_known else others).append(play(game, *seat))
        share = known_share if known and others else float(bool(known))
        self._shares = (share, 1 - share)
        self._players = (known, others)
        sizes = [
            max(round(pool * s), 1) if p else 0
            for s, p in zip(self._shares, self._players, strict=True)
        ]
        self._pools = [
            [next(players[i % len(players)]) for i in range(size)]
            for size, players in zip(sizes, self._players, strict=True)
        ]

    def draw(self, count: int) -> Scenes:
        """The next batch."""
        parts = self._random.multinomial(count, self._shares)
        frames = []
        for pool, players, part in zip(self._pools, self._players, parts, strict=True):
            for _ in range(self._random.poisson(part / self._reuse) if part else 0):
                player = players[self._random.integers(len(players))]
                pool[self._random.integers(len(pool))] = next(player)
            frames += [pool[self._random.integers(len(pool))] for _ in range(part)]
        return scenes(frames, self.games)
