"""Environments across the bridge to Stable-Baselines3, both ways. Imports SB3: import it lazily.

- `AtariVecEnv`: our emulators as an SB3 `VecEnv`, (N, 4, 84, 84) uint8.
- `SB3Screen`, `VectorSB3`: SB3's own Atari wrappers in the shape of our `Screen` and
  `VectorAtari`, for agents with `preprocessing="sb3"`. The pixels come from SB3's code itself:
  MaxAndSkip over RGB, cv2's grey, INTER_AREA to 84x84, the last 4 pictures after zeros.

The protocol decides the rest. With `fire_reset` (protocol "sb3") the start of a game and the loss
of a life are SB3's: 1..noop_max no-op frames; FIRE and action 2, one agent step each, in games that
have FIRE; after a lost life, which ends no game, a no-op step and again FIRE and action 2, unseen
by the agent, and an empty stack. Agents that were trained so rely on it: Breakout's never press
FIRE themselves. Returns are of whole games, raw, these steps included, as SB3's Monitor has them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from ale_py import AtariEnv
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import DQN
from stable_baselines3.common.atari_wrappers import (
    EpisodicLifeEnv,
    FireResetEnv,
    MaxAndSkipEnv,
    NoopResetEnv,
    WarpFrame,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from agents.atari import (
    FRAMES_PER_STEP,
    Protocol,
    Step,
    VectorAtari,
    action_names,
    episode_seed,
    resolve,
)
from agents.atari import protocol as find_protocol

OBSERVATION = Box(0, 255, (4, 84, 84), np.uint8)


class AtariVecEnv(VecEnv):
    """N emulators of ours under SB3's contract: an ended game is reset within the step.

    `VectorAtari` resets on the step after, with all its emulators stepping together. So each
    emulator has a `VectorAtari` of its own here: the ended one alone makes its reset step.

    Infos: "terminal_observation" (4, 84, 84) and "TimeLimit.truncated" as SB3 has them, "lives",
    and at the end of a whole game "episode" {"r" raw return, "l" agent steps, "t" seconds}, which
    makes a Monitor superfluous (SB3's own, inside its Atari wrappers, counts emulator frames).
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        protocol: str | Protocol,
        seed: int,
        *,
        clip_rewards: bool,
        life_loss_terminal: bool,
    ) -> None:
        self.vectors = [
            VectorAtari(game, 1, protocol, seed=seed + i, threads=1) for i in range(num_envs)
        ]
        self.clip_rewards, self.life_loss_terminal = clip_rewards, life_loss_terminal
        self._returns, self._lengths = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self._born = time.time()
        super().__init__(num_envs, OBSERVATION, Discrete(self.vectors[0].num_actions))

    def reset(self) -> np.ndarray:
        """Begin new games everywhere, after `seed` that seed's first; (N, 4, 84, 84) uint8."""
        obs = [vector.reset(seed) for vector, seed in zip(self.vectors, self._seeds, strict=True)]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return np.concatenate(obs)

    def step_async(self, actions: np.ndarray) -> None:
        for vector, action in zip(self.vectors, actions, strict=True):
            vector.send([int(action)])

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        steps = [vector.recv() for vector in self.vectors]
        obs = np.concatenate([step.obs for step in steps])
        rewards = np.concatenate([step.reward for step in steps])
        self._returns += rewards
        self._lengths += 1
        dones, infos = np.zeros(self.num_envs, bool), []
        for i, step in enumerate(steps):
            ended = bool(step.terminated[0] or step.truncated[0])
            dones[i] = ended or (self.life_loss_terminal and step.life_lost[0])
            info: dict[str, Any] = {
                "lives": int(step.lives[0]),
                "TimeLimit.truncated": bool(step.truncated[0] and not step.terminated[0]),
            }
            if dones[i]:
                info["terminal_observation"] = step.obs[0]
            if ended:
                info["episode"] = {
                    "r": round(float(self._returns[i]), 6),
                    "l": int(self._lengths[i]),
                    "t": round(time.time() - self._born, 6),
                }
                self._returns[i] = self._lengths[i] = 0
                obs[i] = self.vectors[i].step([0]).obs[0]  # the reset step: any action
            infos.append(info)
        if self.clip_rewards:
            rewards = np.sign(rewards)
        return obs, rewards, dones, infos

    def close(self) -> None:
        for vector in self.vectors:
            vector.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        chosen = [self.vectors[i] for i in self._get_indices(indices)]
        if attr_name == "render_mode":
            return [None for _ in chosen]  # watching is agents.screen's
        return [getattr(vector, attr_name) for vector in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        for i in self._get_indices(indices):
            setattr(self.vectors[i], attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        chosen = [self.vectors[i] for i in self._get_indices(indices)]
        return [getattr(vector, method_name)(*method_args, **method_kwargs) for vector in chosen]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None
    ) -> list[bool]:
        """True for Monitor, whose infos are given: `evaluate_policy` then counts whole games."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


class Recorder(gymnasium.Wrapper):
    """Innermost: keeps the emulator frames that SB3's wrappers skip, pool and press away."""

    def __init__(self, env: AtariEnv) -> None:
        super().__init__(env)
        self.ale = env.ale
        self.begin()

    def begin(self) -> None:
        """Forget; what follows is the next step's."""
        self.frames: list[np.ndarray] = []
        self.rams: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.terminated = self.truncated = False

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**options)
        self._keep(obs, 0.0)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._keep(obs, float(reward))
        self.terminated, self.truncated = self.terminated or terminated, self.truncated or truncated
        return obs, reward, terminated, truncated, info

    def _keep(self, pixels: np.ndarray, reward: float) -> None:
        if self.terminated or self.truncated:
            return  # wrappers went on into the next game
        self.frames.append(pixels)
        self.rams.append(self.ale.getRAM())
        self.rewards.append(reward)


class SB3Screen:
    """One game on SB3's own wrappers; attributes, `reset` and `step` as `agents.screen.Screen`.

    After `reset` the frames of the last step are all since the emulator's reset. A step may have
    more than 4 frames: those after a lost life, which the agent does not see.
    """

    def __init__(self, game: str, protocol: str | Protocol = "sb3", seed: int = 0) -> None:
        self.game = resolve(game)
        self.protocol = rules = find_protocol(protocol)
        self.preprocessing = "sb3"
        self.action_names = action_names(self.game)
        self.num_actions = len(self.action_names)
        self._recorder = Recorder(
            AtariEnv(
                self.game, frameskip=1, repeat_action_probability=rules.sticky,
                full_action_space=False, max_num_frames_per_episode=rules.max_frames,
            )
        )  # fmt: skip
        # The order of stable_baselines3.common.atari_wrappers.AtariWrapper
        env: gymnasium.Env = self._recorder
        if rules.noop_max > 0:
            env = NoopResetEnv(env, rules.noop_max)
        env = MaxAndSkipEnv(env, FRAMES_PER_STEP)
        self._lives: EpisodicLifeEnv | None = None
        if rules.fire_reset:
            env = self._lives = EpisodicLifeEnv(env)
            if "FIRE" in self.action_names:
                env = FireResetEnv(env)
        self._env = WarpFrame(env)
        self._seed: int | None = seed
        self._stack = np.zeros(OBSERVATION.shape, np.uint8)

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin a game; (4, 84, 84) uint8. Without a seed the random generators go on."""
        self._recorder.begin()
        if self._lives is not None:
            self._lives.was_real_done = True  # a game in play is left
        obs, _ = self._env.reset(seed=self._seed if seed is None else seed)
        self._seed = None
        self._recorder.terminated = self._recorder.truncated = False
        return self._restack(obs)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step; (4, 84, 84) uint8, the raw reward, terminated, truncated, {"lives"}."""
        recorder = self._recorder
        recorder.begin()
        obs, _, done, _, _ = self._env.step(int(action))
        if done and not (recorder.terminated or recorder.truncated):  # a life was lost
            obs, _ = self._env.reset()
            stack = self._restack(obs)
        else:
            self._stack[:-1] = self._stack[1:]
            self._stack[-1] = obs[:, :, 0]
            stack = self._stack.copy()
        reward = sum(recorder.rewards)
        return stack, reward, recorder.terminated, recorder.truncated, {"lives": self.lives}

    def _restack(self, obs: np.ndarray) -> np.ndarray:
        self._stack[:] = 0
        self._stack[-1] = obs[:, :, 0]
        return self._stack.copy()

    @property
    def frames_of_last_step(self) -> list[np.ndarray]:
        """RGB (height, 160, 3) uint8 of every emulator frame."""
        return self._recorder.frames

    @property
    def rams_of_last_step(self) -> list[np.ndarray]:
        """RAM (128,) uint8 after each of those frames."""
        return self._recorder.rams

    @property
    def rewards_of_last_step(self) -> list[float]:
        """Raw reward of each of those frames."""
        return self._recorder.rewards

    @property
    def lives(self) -> int:
        """Lives left; 0 in games without lives."""
        return int(self._recorder.ale.lives())

    @property
    def ram(self) -> np.ndarray:
        """The emulator's memory now, (128,) uint8."""
        return self._recorder.ale.getRAM()

    def rgb(self) -> np.ndarray:
        """The screen now, (height, 160, 3) uint8."""
        return self._recorder.ale.getScreenRGB()


class VectorSB3:
    """N `SB3Screen`s with the steps of `VectorAtari`: an ended game is reset by the next step.

    Every game is seeded before it begins, from (seed, environment, game) alone. What a game's start
    scores (SB3's Monitor counts it) is in the reward of its first step.
    """

    def __init__(self, game: str, num_envs: int, protocol: str | Protocol, seed: int = 0) -> None:
        self.screens = [SB3Screen(game, protocol) for _ in range(num_envs)]
        self.game, self.num_envs, self.seed = self.screens[0].game, num_envs, seed
        self.action_names = self.screens[0].action_names
        self.num_actions = self.screens[0].num_actions
        self._episode = np.full(num_envs, -1)
        self._owed = np.zeros(num_envs, np.float32)
        self._ended = np.zeros(num_envs, bool)
        self._left = np.zeros(num_envs, np.int32)  # lives

    def reset(self) -> np.ndarray:
        """Begin the next games everywhere; (N, 4, 84, 84) uint8."""
        self._ended[:] = False
        return np.stack([self._begin(i) for i in range(self.num_envs)])

    def step(self, actions: Sequence[int] | np.ndarray) -> Step:
        """One agent step of each, or its reset where the game had ended."""
        n = self.num_envs
        obs, reward = np.empty((n, *OBSERVATION.shape), np.uint8), np.zeros(n, np.float32)
        terminated, truncated = np.zeros(n, bool), np.zeros(n, bool)
        reset, lives = self._ended, self._left
        for i, (screen, action) in enumerate(zip(self.screens, actions, strict=True)):
            if reset[i]:
                obs[i] = self._begin(i)
            else:
                obs[i], reward[i], terminated[i], truncated[i], _ = screen.step(int(action))
                reward[i] += self._owed[i]
                self._owed[i] = 0
        self._ended = terminated | truncated
        self._left = np.array([screen.lives for screen in self.screens], np.int32)
        life_lost = (self._left < lives) & ~reset & ~self._ended
        return Step(obs, reward, terminated, truncated, life_lost, self._left.copy(), reset)

    def close(self) -> None:
        """As VectorAtari; the emulators go with this object."""

    def _begin(self, i: int) -> np.ndarray:
        self._episode[i] += 1
        obs = self.screens[i].reset(episode_seed(self.seed, i, int(self._episode[i])))
        self._owed[i] = sum(self.screens[i].rewards_of_last_step)
        self._left[i] = self.screens[i].lives
        return obs


class Blank(gymnasium.Env):
    """Nothing but the spaces, for a model that only carries weights."""

    observation_space = OBSERVATION

    def __init__(self, actions: int) -> None:
        self.action_space = Discrete(actions)


def blank_model(actions: int, hidden: int) -> DQN:
    """SB3's DQN with CnnPolicy, untrained, as SB3's own training would leave it for playing."""
    options = {} if hidden == 512 else {"features_extractor_kwargs": {"features_dim": hidden}}
    with torch.random.fork_rng(devices=[]):
        # Loading allocates the replay; RL Zoo's published models have one of 10,000.
        model = DQN(
            "CnnPolicy", Blank(actions), buffer_size=10_000, policy_kwargs=options, device="cpu"
        )
    model.exploration_rate = model.exploration_final_eps
    return model
