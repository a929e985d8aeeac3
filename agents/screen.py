"""One emulator, stepped emulator frame by emulator frame: colours, RAM, lives and observations.

`AtariVectorEnv` shows neither colours nor RAM. `Screen` does, and gives byte for byte the
`(4, 84, 84)` uint8 observation, reward and end of `VectorAtari` for the same episode seed and
actions, sticky actions and no-ops included. `watch` plays an agent on it as a stream of frames.

An episode's first observation is three pictures of zeros, then the first screen (`VectorAtari` does
the same; Gymnasium's `FrameStackObservation` repeats the first screen unless told to pad zeros).
gymnasium's `AtariPreprocessing` pools and resizes as ale-py does, stale terminal picture included,
and differs in the first screen after no-ops (it draws 1..noop_max of them from NumPy's generator)
and in its seeds (`AtariEnv` hashes the seed before it reaches the emulator).

Agents that came from Stable-Baselines3 play on SB3's own pipeline, `agents.sb3_env.SB3Screen`.

The number of no-ops copies libstdc++'s `uniform_int_distribution`, as in ale-py's Linux wheels;
elsewhere another number within the same bounds may come out, and no-op episodes then differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from agents import ram as ram_facts
from agents.atari import FRAMES_PER_STEP, Protocol, episode_seed, resolve, rom_path
from agents.atari import protocol as find_protocol
from playground.errors import UserError
from playground.frames import Frame

if TYPE_CHECKING:
    from agents.sb3_env import SB3Screen

SIZE = 84  # pixels a side of an observation (Mnih et al. 2015)
STACK = 4  # pictures an observation


class Screen:
    """One game, one emulator. `seed` (0..2^31-1) seeds the emulator's first episode.

    Attributes:
        frames_of_last_step: RGB (height, 160, 3) uint8 of every emulator frame of the last step;
            after `reset` the first screen. Most games are 210 pixels high, some up to 250.
        rams_of_last_step: RAM (128,) uint8 after each of those frames.
        rewards_of_last_step: reward of each of those frames.
        action_names, num_actions: the game's minimal action set.
    """

    def __init__(self, game: str, protocol: str | Protocol = "machado", seed: int = 0) -> None:
        import ale_py

        self.game = resolve(game)
        self.protocol = find_protocol(protocol)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", self.protocol.sticky)
        self._noop, self._fire = ale_py.Action.NOOP, ale_py.Action.FIRE
        self._seed: int | None = seed
        self._load(seed)
        self._actions = self._ale.getMinimalActionSet()
        self.action_names = tuple(action.name for action in self._actions)
        self.num_actions = len(self._actions)
        height, width = self._ale.getScreenDims()
        self._raw = np.zeros((2, height, width), np.uint8)  # the two last frames
        self._stack = np.zeros((STACK, SIZE, SIZE), np.uint8)
        self._frames = 0
        self.frames_of_last_step: list[np.ndarray] = []
        self.rams_of_last_step: list[np.ndarray] = []
        self.rewards_of_last_step: list[float] = []

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin an episode; (4, 84, 84) uint8.

        Without a seed the random generators go on (the first time: from the constructor's seed),
        as in the later episodes of a `VectorAtari` environment between two seedings.
        """
        if seed is not None and seed != self._seed:
            self._load(seed)
        self._seed = None
        ale, rules = self._ale, self.protocol
        ale.reset_game()
        fired = rules.fire_reset and self._fire in self._actions
        if fired:
            ale.act(self._fire)
        for _ in range(self._draw(max(rules.noop_max - 1, 0)) - fired):
            ale.act(self._noop)
            if ale.game_over():
                ale.reset_game()
        self._stack[:] = 0
        self._capture(0)
        self._raw[1] = 0
        self._frames = 0  # ale-py's time limit does not count FIRE and the no-ops
        self.frames_of_last_step = [ale.getScreenRGB()]
        self.rams_of_last_step = [ale.getRAM()]
        self.rewards_of_last_step = [0.0]
        return self._observe()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Four emulator frames of one action index (fewer where the episode ends).

        Returns (4, 84, 84) uint8, the raw reward, terminated, truncated, {"lives", "frames"}.
        """
        ale = self._ale
        chosen = self._actions[action]
        self.frames_of_last_step, self.rams_of_last_step = [], []
        self.rewards_of_last_step = []
        terminated = truncated = False
        for remaining in range(FRAMES_PER_STEP, 0, -1):
            self.rewards_of_last_step.append(float(ale.act(chosen)))
            self.frames_of_last_step.append(ale.getScreenRGB())
            self.rams_of_last_step.append(ale.getRAM())
            self._frames += 1
            terminated = ale.game_over()
            truncated = self._frames >= self.protocol.max_frames
            if terminated or truncated:
                break  # before capturing: ale-py's terminal picture is stale, and so is this one
            if remaining <= 2:
                self._capture(remaining - 1)
        info = {"lives": self.lives, "frames": self._frames}
        reward = sum(self.rewards_of_last_step)
        return self._observe(), reward, terminated, truncated, info

    @property
    def lives(self) -> int:
        """Lives left; 0 in games without lives."""
        return int(self._ale.lives())

    @property
    def ram(self) -> np.ndarray:
        """The emulator's memory now, (128,) uint8."""
        return self._ale.getRAM()

    def poke(self, address: int, value: int) -> None:
        """Write a byte of the memory, at 0 to 127; the game goes on with it and draws it."""
        self._ale.setRAM(address, value)

    def rgb(self) -> np.ndarray:
        """The screen now, (height, 160, 3) uint8."""
        return self._ale.getScreenRGB()

    def _load(self, seed: int) -> None:
        self._seed = seed
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(rom_path(self.game))
        self._random = np.random.RandomState(seed)  # the stream of std::mt19937(seed)

    def _draw(self, largest: int) -> int:
        """uniform_int_distribution(0, largest) of libstdc++: Lemire 2019, nearly divisionless."""
        if largest == 0:
            return 0
        count = largest + 1
        threshold = (2**32 - count) % count
        while True:
            product = int(self._random.randint(2**32, dtype=np.uint32)) * count
            if product % 2**32 >= threshold:
                return product >> 32

    def _capture(self, slot: int) -> None:
        self._ale.getScreenGrayscale(self._raw[slot])

    def _observe(self) -> np.ndarray:
        """Pool, resize and stack; in place, so that ale-py's stale terminal picture is the same."""
        import cv2

        np.maximum(self._raw[0], self._raw[1], out=self._raw[0])
        self._stack[:-1] = self._stack[1:]
        cv2.resize(self._raw[0], (SIZE, SIZE), dst=self._stack[-1], interpolation=cv2.INTER_AREA)
        return self._stack.copy()


def watch(
    agent: Any,
    game: str | None = None,
    protocol: str | Protocol | None = None,
    seed: int = 0,
    epsilon: float | None = None,
    episodes: int | None = None,
    control: Callable[[], int | None] | None = None,
) -> Iterator[Frame]:
    """Play an agent; one Frame per emulator frame, to be shown at 60 frames a second.

    agent: has `q_values((1, 4, 84, 84) uint8) -> (1, A)`, and may have `game`, `protocol`,
    `preprocessing`, `epsilon`. game: short name; the agent's own if None. protocol: rules of play;
    the agent's own if None, or "machado". epsilon: probability of a random action; the agent's own
    if None, or 0. episodes: how many games to play, None for no end. Episode k starts from
    `episode_seed(seed, 0, k)`: the games that environment 0 of a `VectorAtari` plays when it is
    seeded before every episode.
    control: asked once an agent step (15 times a second); an action index that it returns takes the
    agent's place, None leaves it to the agent.

    Facts of each frame: game, protocol, return (raw, so far), reward (of this emulator frame),
    lives (after the agent step; None in games without), episode and step (from 0; agent steps),
    observation ((4, 84, 84) uint8 that was acted on) and agent (who did), q_values (list of A),
    value (their largest), action, action_name, action_names, epsilon, explored, human, ram ((128,)
    uint8) and what `agents.ram` knows of it, named `ram_<fact>`. Each episode shows its starting
    screen once: step 0, and observation, action and q_values None.
    """
    game = resolve(game or agent.game)
    rules = find_protocol(protocol or getattr(agent, "protocol", None) or "machado")
    screen: Screen | SB3Screen
    if getattr(agent, "preprocessing", "ale") == "sb3":  # all of SB3's pipeline, not only pixels
        from agents.sb3_env import SB3Screen

        screen = SB3Screen(game, rules, episode_seed(seed, 0, 0))
    else:
        screen = Screen(game, rules, episode_seed(seed, 0, 0))
    epsilon = float(getattr(agent, "epsilon", 0.0)) if epsilon is None else epsilon
    random = np.random.default_rng(seed)
    title = game.replace("_", " ").title()
    episode = 0
    while episodes is None or episode < episodes:
        obs = screen.reset(episode_seed(seed, 0, episode))
        has_lives = screen.lives > 0
        score, step, ended = 0.0, 0, False
        facts: dict[str, Any] = {
            "game": game,
            "protocol": rules.name,
            "episode": episode,
            "epsilon": epsilon,
            "action_names": screen.action_names,
            "agent": agent,
            "observation": None,
            "q_values": None,
            "value": None,
            "action": None,
            "action_name": None,
            "explored": False,
            "human": False,
        }
        while True:
            facts["lives"] = screen.lives if has_lives else None
            for pixels, ram, reward in zip(
                screen.frames_of_last_step,
                screen.rams_of_last_step,
                screen.rewards_of_last_step,
                strict=True,
            ):
                score += reward
                facts |= {"return": score, "reward": reward, "step": step, "ram": ram}
                known = {f"ram_{name}": value for name, value in ram_facts.facts(game, ram).items()}
                text = f"{title}  episode {episode + 1}  score {score:g}"
                yield Frame(pixels, text, facts | known, ram_facts.boxes(game, ram))
            if ended:
                break
            q_values = agent.q_values(obs[None])[0]
            if len(q_values) != screen.num_actions:
                raise UserError(
                    f"The agent has {len(q_values)} actions and {game} has {screen.num_actions}; "
                    "choose the game that it was trained on."
                )
            taken = control() if control is not None else None
            explored = bool(random.random() < epsilon)
            drawn = int(random.integers(screen.num_actions))
            action = drawn if explored else int(q_values.argmax())
            if taken is not None:
                action = int(taken)
            facts |= {
                "observation": obs,
                "q_values": [float(q) for q in q_values],
                "value": float(q_values.max()),
                "action": action,
                "action_name": screen.action_names[action],
                "explored": explored and taken is None,
                "human": taken is not None,
            }
            obs, _, terminated, truncated, _ = screen.step(action)
            step += 1
            ended = terminated or truncated
        episode += 1
