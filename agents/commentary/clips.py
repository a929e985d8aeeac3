"""True captions for training and judging: clips of play with everything that is true of them.

A clip is `FRAMES` screens, `SPACING` emulator frames apart, a quarter of a second in all, seen from
its last. The spacing is odd because consoles draw by turns: four frames that are five apart show
all phases of what is drawn every second or every fourth frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agents import ram as ram_facts
from agents.agent import Agent
from agents.atari import action_names, episode_seed
from agents.commentary.facts import boxes_of, moment, statements
from agents.commentary.games import TABLES
from agents.commentary.steering import chaser, wanderer
from agents.commentary.stirring import stir
from agents.commentary.table import Moment, Truth
from agents.players import EPISODE_STEPS, EPSILONS, Episode, Player, greedy, zoo_agents
from agents.screen import Screen
from playground.errors import UserError
from playground.frames import Box

FRAMES = 4
SPACING = 5  # emulator frames
STIR_STEPS = 100  # agent steps from one stirring to the next, on average
# The emulators of a game: who plays (without an agent a wanderer), with which ε, whether stirred.
USUAL = (
    ("random", 1.0, False),
    ("agent", EPSILONS[0], False),
    ("random", 1.0, True),
    ("agent", EPSILONS[1], True),
    ("random", 1.0, True),
    ("agent", EPSILONS[2], False),
    ("wanderer", 0.1, False),
    ("wanderer", 0.1, True),
    ("wanderer", 0.02, False),
    ("wanderer", 0.3, True),
)
STRANGERS = 2 * (("chaser", 0.02, False), ("chaser", 0.3, False), ("chaser", 0.1, False))
APART = 12  # agent steps (4 emulator frames each) from one clip to the next, on average
PATIENCE_STEPS = 150  # agent steps that a clip waits for a figure to change
FAR_APART = 60  # where few clips shall tell of more than the beginnings of games


@dataclass(frozen=True)
class Example:
    """One clip and what is true of it.

    Attributes:
        frames: (T, H, 160, 3) uint8, oldest first.
        truth: of the whole clip, told from its last frame.
        moments: of each frame; `still()` makes the last one an example of its own.
    """

    frames: np.ndarray
    truth: Truth
    moments: tuple[Moment, ...]

    @property
    def game(self) -> str:
        """Short name."""
        return self.truth.game

    def still(self) -> Example:
        """The last frame alone, with what is true of a single frame."""
        last = self.moments[-1:]
        return Example(self.frames[-1:], statements(TABLES[self.game], last), last)

    def boxes(self, name: str) -> tuple[Box, ...]:
        """Where the last frame has the objects that `speech.mentions` calls so; hidden ones too."""
        return tuple(box for box in self.moments[-1].boxes if box.name == name)


def examples(
    game: str,
    seed: int,
    frames: int = FRAMES,
    spacing: int = SPACING,
    agents: dict[str, Agent] | None = None,
    roster: Sequence[tuple[str, float, bool]] = USUAL,
    apart: int = APART,
    eventful: float = 0.0,
) -> Iterator[Example]:
    """Endless clips of a game, from the emulators of a roster in turn.

    Never across the beginning of an episode or a stirring, and never at a frame where a figure has
    just changed: several games write it to memory one frame before they draw it. Reproducible from
    the seed.

    Args:
        game: short name.
        seed: of emulators and players.
        frames, spacing: of a clip; `spacing` in emulator frames.
        agents: game -> who is called "agent" in the roster; by default the zoo's.
        roster: (player, ε, whether stirred) of each emulator; `USUAL`, or `STRANGERS`, whom no
            captioner learns from. ε is the share of actions at random. Where a game has no agent,
            a wanderer plays for it.
        apart: agent steps from one clip of an emulator to the next, on average.
        eventful: share of the clips that wait until a figure changes in them, for as long as
            `PATIENCE_STEPS`: points and lost lives are rare, and what matters most.

    UserError for a game without a table.
    """
    if game not in TABLES:
        raise UserError(f"No captions are known for {game}; choose from {', '.join(TABLES)}.")
    agent = (zoo_agents() if agents is None else agents).get(game)
    emulators = [
        _play(
            game,
            episode_seed(seed, 0, number),
            _player(game, name, agent, np.random.default_rng([seed, number, 0x3A7D])),
            epsilon,
            stirred,
            frames,
            spacing,
            apart,
            eventful,
        )
        for number, (name, epsilon, stirred) in enumerate(roster)
    ]
    while True:
        for emulator in emulators:
            yield next(emulator)


def _player(
    game: str, name: str, agent: Agent | None, random: np.random.Generator
) -> Player | None:
    if name == "chaser":
        return chaser(game, action_names(game))
    if name == "random":
        return None
    if name == "agent" and agent is not None:
        return greedy(agent)
    return wanderer(game, action_names(game), random)


def _play(
    game: str,
    seed: int,
    player: Player | None,
    epsilon: float,
    stirred: bool,
    frames: int,
    spacing: int,
    apart: int,
    eventful: float,
) -> Iterator[Example]:
    """Clips of one emulator; without a player at random."""
    rng = np.random.default_rng([seed, 0xCA97])
    screen = Screen(game, "machado", seed)
    table = TABLES[game]
    length = (frames - 1) * spacing + 1
    past: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=length + 1)
    while True:
        obs = screen.reset()
        past.clear()
        episode = Episode(rng, screen.num_actions, player, epsilon)
        wait = int(rng.integers(2 * apart))
        patience = _patience(rng, eventful)
        for _ in range(EPISODE_STEPS):
            action = episode.action(obs, screen.ram)
            obs, _, terminated, truncated, _ = screen.step(action)
            shots = list(zip(screen.frames_of_last_step, screen.rams_of_last_step, strict=True))
            stop = int(rng.integers(len(shots)))  # any of the four frames may be a clip's last
            past.extend(shots[: stop + 1])
            ready = wait <= 0 and len(past) > length and _steady(game, past, spacing)
            if ready and (wait <= -patience or _changes(game, past[1][1], past[-1][1])):
                wait = int(rng.integers(2 * apart))
                patience = _patience(rng, eventful)
                clip = [past[i] for i in range(1, length + 1, spacing)]
                moments = tuple(moment(table, ram, pixels) for pixels, ram in clip)
                pixels = np.stack([pixels for pixels, _ in clip])
                between = [boxes_of(table, past[i][1]) for i in range(1, length + 1)]
                truth = statements(table, moments, spacing, between)
                yield Example(pixels, truth, moments)
            past.extend(shots[stop + 1 :])
            wait -= 1
            if terminated or truncated:
                break
            if stirred and rng.random() < 1 / STIR_STEPS:
                stir(screen, rng)
                past.clear()
                obs, _, terminated, truncated, _ = screen.step(0)  # draws what was written
                if terminated or truncated:
                    break


def _steady(game: str, past: Sequence[tuple[np.ndarray, np.ndarray]], spacing: int) -> bool:
    """Whether no figure changed at one of the clip's frames; the clip begins at past[1]."""
    return not any(_changes(game, past[i - 1][1], past[i][1]) for i in range(1, len(past), spacing))


def _changes(game: str, before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a figure of which changes are told differs between two memories."""
    names = {figure.fact for figure in TABLES[game].figures if figure.events}
    old, new = (ram_facts.facts(game, ram) for ram in (before, after))
    return any(old[name] != new[name] for name in names)


def _patience(rng: np.random.Generator, eventful: float) -> int:
    """For how many agent steps the next clip waits for a figure to change."""
    return PATIENCE_STEPS if eventful and rng.random() < eventful else 0
