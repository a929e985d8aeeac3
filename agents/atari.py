"""Atari games as a batch of emulators: a short game name in, `(N, 4, 84, 84)` uint8 frames out.

Emulation is ale-py's native `AtariVectorEnv`: 4 emulator frames an agent step, palette grey,
maximum of the last two frames, 84x84 area resize, the last 4 pictures stacked (the oldest first,
zeros before an episode's start). This module adds what training and fair reporting need: names,
protocols, raw rewards, a life-loss signal that resets nothing, and a state that can be restored
exactly although the emulators cannot be cloned.

Protocols (`PROTOCOLS`):

- `machado` (Machado et al. 2018, "Revisiting the Arcade Learning Environment"): every emulator
  frame repeats the previous action with probability 0.25; no no-ops, full episodes. The paper has
  no FIRE on reset, so there is none here.
- `nature` (Mnih et al. 2015): no sticky actions, up to 30 no-op frames, the loss of a life ends
  the bootstrap in training. No FIRE on reset. Episodes end after 5 minutes of play, as the paper's
  evaluation has them; the other protocols allow 30.
- `sb3` (Stable-Baselines3's `AtariWrapper`, RL Zoo, CleanRL): as `nature`, and FIRE is pressed once
  after each reset of games that have it.
- `machado_lives` (no paper's): as `machado`, save that the loss of a life ends the bootstrap in
  training. It tells the agent of its lives, which Machado et al. rule out: such results are to be
  named after it, and not set beside theirs.

Departs from the paper and from SB3:

- No-ops: ale-py draws 0..noop_max-1 emulator frames (one fewer after FIRE), the papers 1..30. It
  presses FIRE before the no-ops, for one emulator frame; SB3 presses it after them, for one agent
  step, followed by one step of action 2.
- A lost life resets nothing and presses nothing (`Step.life_lost` says it happened). SB3 ends the
  episode there and goes on in the same game with a no-op step, FIRE and action 2, unseen by the
  agent. Here, in games that wait for FIRE after each life (Breakout), the agent must press it
  itself, in every protocol; a policy that never does waits until the time limit.
- Pixels: SB3 and CleanRL take the maximum of two RGB frames, channel by channel, then cv2's grey.
  ale-py takes the palette's grey, which is the same, and then the maximum. So only what flickers or
  moves differs: nothing in Breakout, up to 37 of 255 on 0.5 % of Ms. Pacman's pixels.
- The step that ends an episode stops before its last capture (ale-py does): its newest picture is
  pooled from older frames, the step before's among them. No bootstrap reads it after a terminal
  step. A step cut by the time limit is bootstrapped from, stale picture included.

Source: ale-py 0.12.1 (Farama), its vector environment read in C++.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from playground.errors import UserError, nearest

FRAMES_PER_STEP = 4  # emulator frames an agent step (Mnih et al. 2015)
FRAMES_PER_SECOND = 60  # NTSC
MAX_FRAMES = 108_000  # 30 minutes of play (Hessel et al. 2018, Dopamine; ALE's usual limit)
NATURE_MAX_FRAMES = 18_000  # 5 minutes of play (Mnih et al. 2015, "Evaluation procedure")
# ale-py bundles these four but has no one-player settings for them: loading one ends the process.
TWO_PLAYER_ROMS = frozenset({"combat", "joust", "maze_craze", "warlords"})


@cache
def games() -> tuple[str, ...]:
    """Short names of the bundled one-player games, sorted ("pong", "space_invaders", ...)."""
    from ale_py import roms

    return tuple(sorted(set(roms.get_all_rom_ids()) - TWO_PLAYER_ROMS))


def resolve(name: str) -> str:
    """Short name of a game: "Pong", "ALE/Pong-v5", "PongNoFrameskip-v4" and "pong" give "pong".

    UserError with the nearest names where there is no such game.
    """
    bare = name.strip().removeprefix("ALE/")
    bare = re.sub(r"(NoFrameskip|Deterministic)?(-v\d+)?$", "", bare, flags=re.IGNORECASE)
    key = _squash(bare)
    by_key = {_squash(game): game for game in games()}
    if key in by_key:
        return by_key[key]
    if key in {_squash(rom) for rom in TWO_PLAYER_ROMS}:
        raise UserError(f"The game {name!r} needs two players; choose a one-player game.")
    spelt = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare).lower()
    raise UserError(f"There is no Atari game {name!r}.{nearest(spelt, games())}")


def resolve_all(names: Sequence[str]) -> list[str]:
    """Short names of different games; UserError where there is none, or one stands twice."""
    found = [resolve(name) for name in names if name.strip()]
    if not found or len(set(found)) < len(found):
        raise UserError("Name each game once: --data atari:pong,breakout.")
    return found


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Protocol:
    """How episodes start, end and are disturbed.

    sticky: probability, each emulator frame, that the previous action is repeated.
    noop_max: no-op emulator frames at the start, drawn from 0..noop_max-1.
    fire_reset: press FIRE for one emulator frame after a reset, in games that have FIRE.
    life_loss_terminal: in training, the loss of a life ends the bootstrap (never in evaluation).
    max_frames: emulator frames after which an episode is truncated (60 a second).
    """

    name: str
    sticky: float
    noop_max: int
    fire_reset: bool
    life_loss_terminal: bool
    max_frames: int = MAX_FRAMES

    def plays_as(self, other: Protocol) -> bool:
        """Whether whole games go alike under both: those that training alone tells apart do."""
        return replace(self, name=other.name, life_loss_terminal=other.life_loss_terminal) == other


PROTOCOLS: dict[str, Protocol] = {
    "machado": Protocol("machado", 0.25, 0, False, False),
    "nature": Protocol("nature", 0.0, 30, False, True, NATURE_MAX_FRAMES),
    "sb3": Protocol("sb3", 0.0, 30, True, True),
    "machado_lives": Protocol("machado_lives", 0.25, 0, False, True),
}


def protocol(name: str | Protocol, max_frames: int | None = None) -> Protocol:
    """The preset of that name (a Protocol passes through), with another time limit if given."""
    if isinstance(name, str):
        if name not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise UserError(
                f"There is no protocol {name!r}; choose from {known}.{nearest(name, PROTOCOLS)}"
            )
        name = PROTOCOLS[name]
    return name if max_frames is None else replace(name, max_frames=max_frames)


@cache
def action_names(game: str) -> tuple[str, ...]:
    """The game's minimal action set in the order of action indices, for example "NOOP", "FIRE"."""
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(rom_path(resolve(game)))
    return tuple(action.name for action in ale.getMinimalActionSet())


def rom_path(game: str) -> Path:
    """The file of a bundled game's short name."""
    from ale_py import roms

    path = roms.get_rom_path(game)
    assert path is not None, f"{game!r} is no short name; resolve() gives one"
    return path


def episode_seed(seed: int, env: int, episode: int) -> int:
    """31-bit emulator seed of environment `env`'s `episode`-th episode: a pure function."""
    sequence = np.random.SeedSequence(seed, spawn_key=(env, episode))
    # 0 is left out: some ALE versions take it for "use the clock"
    return int(sequence.generate_state(1)[0] >> 1) or 1


def human_normalised(game: str, score: float) -> float | None:
    """(score - random) / (human - random): 0 is random play, 1 the human tester.

    None for a game without published reference scores. Table: `atari_scores.csv`.
    """
    reference = _reference_scores().get(resolve(game))
    if reference is None:
        return None
    random_score, human_score = reference
    return (score - random_score) / (human_score - random_score)


@cache
def _reference_scores() -> dict[str, tuple[float, float]]:
    lines = Path(__file__).with_name("atari_scores.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["game"]: (float(row["random"]), float(row["human"])) for row in rows}


@dataclass(frozen=True)
class Step:
    """What N environments answered, one row each.

    obs: (N, 4, 84, 84) uint8, freshly allocated. reward: (N,) float32, raw, the sum over the
    step's emulator frames. terminated, truncated: (N,) bool. life_lost: (N,) bool, a life was lost
    and the game goes on. lives: (N,) int32. reset: (N,) bool, this step ignored its action and
    began a new episode: obs is the first observation, reward 0, terminated and truncated False.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray
    lives: np.ndarray
    reset: np.ndarray


def usual_reseed_steps(num_envs: int) -> int:
    """After how many agent steps an environment is seeded anew.

    Of 16 or fewer, 4096; of 64, four times as many: a seeding stops 64 emulators, and going on with
    that training replays a million steps.
    """
    return min(max(4096, 256 * num_envs), 16384)


class VectorAtari:
    """N emulators of one game, stepped together on native threads.

    An environment whose episode ended begins a new one on the next step (Gymnasium's NEXT_STEP):
    that step ignores its action. Emulators cannot be cloned, so exact restoring works by replay:
    an environment's random generators are seeded before the first step of an episode with
    `episode_seed(seed, env, episode)`, and every action since is kept (one byte each).

    Seeding means loading the game anew, 85 ms of one core, while an ordinary reset takes 4, and all
    environments wait for it. So it happens at the first reset after `reseed_steps` agent steps (0:
    before every episode, which makes each episode repeatable alone). `load_state` replays at most
    those steps and an episode.

    seed: any non-negative integer. threads: 0 lets ale-py choose, at most one per core.
    reseed_steps: None, the more environments wait, the rarer: `usual_reseed_steps`.
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        protocol: str | Protocol = "machado",
        seed: int = 0,
        threads: int = 0,
        reseed_steps: int | None = None,
    ) -> None:
        self.game = resolve(game)
        self.num_envs = num_envs
        self.protocol = _protocol(protocol)
        self.seed = seed
        self.reseed_steps = usual_reseed_steps(num_envs) if reseed_steps is None else reseed_steps
        self.action_names = action_names(self.game)
        self.num_actions = len(self.action_names)
        self._env = native(self.game, num_envs, self.protocol, threads)
        self._rows = np.arange(num_envs)
        self._episode = np.zeros(num_envs, np.int64)  # index of the running episode
        self._seeded = np.zeros(num_envs, np.int64)  # the episode that was last seeded
        self._length = np.zeros(num_envs, np.int64)  # steps since then
        self._actions = np.zeros((num_envs, 1024), np.uint8)  # those steps' actions
        self._ended = np.zeros(num_envs, bool)
        self._lives = np.zeros(num_envs, np.int32)
        self._sent: np.ndarray | None = None

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Seed all environments and begin their next episodes; (N, 4, 84, 84) uint8.

        Called again, it goes on to fresh episodes; with a seed it begins that seed's first ones.
        """
        if seed is not None:
            self.seed = seed
            self._episode[:] = 0
        elif self._length.any():
            self._episode += 1
        return self._seed_envs(np.ones(self.num_envs, bool))

    def send(self, actions: Sequence[int] | np.ndarray) -> None:
        """Start a step with (N,) action indices; the emulators work until `recv` asks for it."""
        if self._sent is not None:
            raise RuntimeError("send() was called twice without recv() in between")
        sent = np.array(actions, dtype=np.int64)
        if sent.shape != (self.num_envs,):
            raise ValueError(f"expected actions of shape ({self.num_envs},), got {sent.shape}")
        if sent.min() < 0 or sent.max() >= self.num_actions:
            raise ValueError(f"{self.game} has actions 0..{self.num_actions - 1}, got {sent}")
        self._env.send(sent)
        self._sent = sent

    def recv(self) -> Step:
        """Wait for the step that `send` started."""
        if self._sent is None:
            raise RuntimeError("recv() was called without send()")
        obs, reward, terminated, truncated, info = self._env.recv()
        lives = np.array(info["lives"], np.int32)
        reset = self._ended
        if self._length.max() >= self._actions.shape[1]:
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)], axis=1)
        self._actions[self._rows, self._length] = self._sent
        self._length += 1
        self._sent = None
        self._episode[reset] += 1
        life_lost = (lives < self._lives) & ~reset & ~terminated
        self._ended = terminated | truncated
        self._lives = lives
        due = reset & (self._length > self.reseed_steps)
        if due.any():
            obs = self._seed_envs(due)
        return Step(
            obs=obs,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            life_lost=life_lost,
            lives=self._lives.copy(),
            reset=reset,
        )

    def step(self, actions: Sequence[int] | np.ndarray) -> Step:
        """`send` and `recv` at once."""
        self.send(actions)
        return self.recv()

    def state(self) -> dict[str, Any]:
        """What `load_state` needs: per environment the episodes' indices and the actions taken.

        Between `send` and `recv` it is the state before `send`: the caller sends again.
        """
        return {
            "game": self.game,
            "seed": self.seed,
            "reseed_steps": self.reseed_steps,
            "episode": self._episode.copy(),
            "seeded": self._seeded.copy(),
            "actions": [self._actions[i, : self._length[i]].copy() for i in range(self.num_envs)],
        }

    def load_state(self, state: dict[str, Any]) -> np.ndarray:
        """Bring every emulator to a saved state by replay; the current (N, 4, 84, 84) uint8.

        The environments start staggered, so that all replays end on the same step, and are seeded
        as rarely as the saved ones were from here on. The protocol must be theirs.
        """
        if state["game"] != self.game or len(state["actions"]) != self.num_envs:
            raise UserError(
                f"The saved state is of {len(state['actions'])} environments of {state['game']}, "
                f"not of {self.num_envs} of {self.game}."
            )
        if self._sent is not None:
            self.recv()
        self.seed = int(state["seed"])
        self.reseed_steps = state.get("reseed_steps", 4096)  # files of before it was kept
        histories = [np.asarray(actions, np.uint8) for actions in state["actions"]]
        lengths = np.array([len(history) for history in histories])
        steps = int(lengths.max())
        script = np.zeros((steps, self.num_envs), np.int64)
        for i, history in enumerate(histories):
            script[steps - len(history) :, i] = history
        self._episode[:] = state["seeded"]
        obs, _ = self._env.reset()  # ale-py wants a reset of all before it resets some
        for t in range(steps + 1):
            starting = lengths == steps - t
            if starting.any():
                obs = self._seed_envs(starting)
            if t < steps:
                obs, _, terminated, truncated, info = self._env.step(script[t])
                self._ended = terminated | truncated
                self._lives = np.array(info["lives"], np.int32)
        self._episode[:] = state["episode"]
        self._length[:] = lengths
        self._actions = np.zeros((self.num_envs, max(1024, 2 * steps)), np.uint8)
        for i, history in enumerate(histories):
            self._actions[i, : len(history)] = history
        return obs

    def close(self) -> None:
        """Free the emulators."""
        if self._sent is not None:
            self._env.recv()
            self._sent = None
        self._env.close()

    def _seed_envs(self, mask: np.ndarray) -> np.ndarray:
        """Seed and reset the masked environments for their current episode; all observations."""
        seeds = [episode_seed(self.seed, int(i), int(self._episode[i])) for i in np.where(mask)[0]]
        obs, info = self._env.reset(seed=np.array(seeds), options={"reset_mask": mask})
        self._seeded[mask] = self._episode[mask]
        self._length[mask] = 0
        self._ended = self._ended & ~mask
        self._lives = np.array(info["lives"], np.int32)
        return obs


_protocol = protocol  # the constructor's argument of that name hides the function


def native(game: str, num_envs: int, rules: Protocol, threads: int) -> Any:
    """ale-py's own vector environment under these rules, rewards raw."""
    from ale_py.vector_env import AtariVectorEnv

    return AtariVectorEnv(
        game,
        num_envs,
        num_threads=threads,
        max_num_frames_per_episode=rules.max_frames,
        repeat_action_probability=rules.sticky,
        frameskip=FRAMES_PER_STEP,
        noop_max=rules.noop_max,
        use_fire_reset=rules.fire_reset,
        # ale-py's own episodic_life resets the whole game, and its clipping hides raw rewards
        episodic_life=False,
        reward_clipping=False,
    )
