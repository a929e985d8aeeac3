"""The screen against the vector environment and Gymnasium's wrappers, byte for byte; watching."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from agents.atari import PROTOCOLS, Protocol, VectorAtari, episode_seed
from agents.screen import Screen, watch
from playground.errors import UserError

# sticky actions, no-ops and FIRE all at once, so that every random draw has to agree
HARD = Protocol("hard", sticky=0.25, noop_max=30, fire_reset=True, life_loss_terminal=False)


def assert_equal_episodes(game: str, rules: Protocol, episodes: int, seed: int = 0) -> int:
    """Whole episodes of random play, on the vector environment and on a screen; their steps."""
    envs = VectorAtari(game, 1, rules, seed)
    screen = Screen(game, rules, episode_seed(seed, 0, 0))
    assert envs.num_actions == screen.num_actions
    np.testing.assert_array_equal(envs.reset()[0], screen.reset())
    rng = np.random.default_rng(seed)
    steps = ended = 0
    while ended < episodes:
        action = int(rng.integers(envs.num_actions))
        step = envs.step([action])
        steps += 1
        if step.reset[0]:
            np.testing.assert_array_equal(screen.reset(), step.obs[0])
            assert screen.lives == step.lives[0]
            continue
        obs, reward, terminated, truncated, info = screen.step(action)
        np.testing.assert_array_equal(obs, step.obs[0], f"{game}, step {steps}")
        expected = (step.reward[0], step.terminated[0], step.truncated[0], step.lives[0])
        assert (reward, terminated, truncated, info["lives"]) == expected
        ended += terminated or truncated
    envs.close()
    return steps


@pytest.mark.parametrize(
    ("game", "episodes"),
    [("pong", 1), ("breakout", 3), ("space_invaders", 1), ("boxing", 1), ("seaquest", 1)],
)
def test_equals_the_vector_environment_over_whole_episodes(game: str, episodes: int) -> None:
    assert assert_equal_episodes(game, HARD, episodes) > 100


@pytest.mark.parametrize("name", PROTOCOLS)
def test_equals_it_under_every_protocol(name: str) -> None:
    assert_equal_episodes("breakout", PROTOCOLS[name], 1, seed=1)


@pytest.mark.parametrize("max_frames", [81, 82, 83, 84])
def test_equals_it_where_the_time_limit_cuts_a_step(max_frames: int) -> None:
    assert_equal_episodes("breakout", replace(HARD, max_frames=max_frames), 2)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["pong", "breakout", "space_invaders", "boxing", "freeway"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_equals_it_over_many_whole_episodes(game: str, name: str) -> None:
    assert_equal_episodes(game, PROTOCOLS[name], 5, seed=2)


def gymnasium_env(game: str, sticky: float, **options: Any) -> Any:
    """AtariPreprocessing and FrameStackObservation over the one-frame environment."""
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gymnasium.register_envs(ale_py)
    env = gymnasium.make(
        f"ALE/{game.title().replace('_', '')}-v5",
        frameskip=1,
        repeat_action_probability=sticky,
        max_num_frames_per_episode=options.pop("max_frames", None),
    )
    padding = options.pop("padding_type", "zero")
    env = AtariPreprocessing(env, **{"noop_max": 0, "frame_skip": 4, **options})
    return FrameStackObservation(env, 4, padding_type=padding)


@pytest.mark.parametrize("game", ["pong", "breakout", "space_invaders", "boxing", "seaquest"])
def test_equals_gymnasium_without_noops(game: str) -> None:
    """Equal: pixels, stale terminal picture, rewards, ends. Differs: how a seed is hashed."""
    env = gymnasium_env(game, sticky=0.25)
    # gymnasium's hash may give negative seeds, ours are 31-bit: take the first one that is
    seed = next(s for s in range(99) if np.random.SeedSequence(s).generate_state(2)[1] < 2**31)
    obs, info = env.reset(seed=seed)
    screen = Screen(game, "machado", int(info["seeds"][1]))
    np.testing.assert_array_equal(screen.reset(), obs)
    rng = np.random.default_rng(0)
    ended = False
    while not ended:
        action = int(rng.integers(screen.num_actions))
        obs, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(screen.step(action)[0], obs)
        assert sum(screen.rewards_of_last_step) == reward
        assert screen.lives == info["lives"]
        ended = terminated or truncated
    assert screen.step(0)[2] == terminated  # a game that is over stays over
    env.close()


def test_differs_from_gymnasium_in_padding_noops_and_seeds() -> None:
    """Its default stack repeats the first picture; its no-ops are 1..n, of NumPy's generator."""
    env = gymnasium_env("breakout", sticky=0.0, padding_type="reset")
    padded, _ = env.reset(seed=0)
    env.close()
    ours = Screen("breakout", "machado", 0).reset()
    assert not ours[:3].any()
    np.testing.assert_array_equal(ours[3], padded[3])
    np.testing.assert_array_equal(padded[:3], np.repeat(padded[3:], 3, axis=0))

    env = gymnasium_env("pong", sticky=0.0, noop_max=30)
    theirs = {env.reset(seed=seed)[1]["episode_frame_number"] for seed in range(12)}
    env.close()
    screen = Screen("pong", "nature", 0)
    noops = {screen._draw(29) for _ in range(400)}
    assert min(theirs) >= 1
    assert max(theirs) <= 30
    assert noops == set(range(30))


@pytest.mark.parametrize(("game", "largest"), [("Breakout", 0), ("MsPacman", 60), ("Pong", 30)])
def test_against_sb3_only_what_flickers_or_moves_differs(game: str, largest: int) -> None:
    """SB3's wrappers take the maximum of two frames in RGB, ale-py in grey."""
    import ale_py
    import gymnasium
    from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv, WarpFrame

    gymnasium.register_envs(ale_py)
    env: Any = WarpFrame(MaxAndSkipEnv(gymnasium.make(f"{game}NoFrameskip-v4")))
    env.reset(seed=0)
    rules = replace(PROTOCOLS["machado"], sticky=0.0)
    screen = Screen(game, rules, 0)
    screen.reset()
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(100):
        action = int(rng.integers(screen.num_actions))
        theirs = env.step(action)[0]
        ours, _, ended, _, _ = screen.step(action)
        differences.append(np.abs(ours[3].astype(int) - theirs[:, :, 0]))
        if ended:
            break
    env.close()
    assert np.max(differences) <= largest
    assert (np.max(differences) > 0) == (largest > 0)
    assert np.mean(np.array(differences) > 0) < 0.02


def test_frames_ram_and_lives_of_every_emulator_frame() -> None:
    screen = Screen("pong", "machado", seed=1)
    screen.reset()
    assert [frame.shape for frame in screen.frames_of_last_step] == [(210, 160, 3)]
    screen.step(2)
    assert len(screen.frames_of_last_step) == len(screen.rams_of_last_step) == 4
    np.testing.assert_array_equal(screen.frames_of_last_step[-1], screen.rgb())
    np.testing.assert_array_equal(screen.rams_of_last_step[-1], screen.ram)
    assert screen.ram.shape == (128,)
    assert Screen("breakout").lives == 5


def test_unseeded_resets_go_on_and_seeded_ones_repeat() -> None:
    screen = Screen("breakout", "machado", seed=4)

    def play(seed: int | None) -> np.ndarray:
        screen.reset(seed)
        return np.array([screen.step(1 + t % 3)[0] for t in range(40)])

    first, second = play(None), play(None)
    assert (first != second).any()
    np.testing.assert_array_equal(play(4), first)
    np.testing.assert_array_equal(play(4), first)
    np.testing.assert_array_equal(play(None), second)


class Puppet:
    """An agent that always prefers the same action."""

    def __init__(self, actions: int, game: str | None = None, favourite: int = 1) -> None:
        self.actions, self.game, self.favourite = actions, game, favourite

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        assert observation.shape == (1, 4, 84, 84)
        q = np.zeros((1, self.actions), np.float32)
        q[0, self.favourite] = 1
        return q


def test_watch_gives_every_emulator_frame_with_its_facts() -> None:
    frames = list(islice(watch(Puppet(4, "breakout"), seed=3), 41))
    first, last = frames[0], frames[-1]
    assert first.pixels.shape == (210, 160, 3)
    assert first.facts["action"] is None
    assert [frame.facts["step"] for frame in frames] == [0] + [
        k for k in range(1, 11) for _ in "abcd"
    ]
    assert last.facts["q_values"] == [0, 1, 0, 0]
    assert (last.facts["action"], last.facts["action_name"]) == (1, "FIRE")
    assert (last.facts["lives"], last.facts["return"], last.facts["epsilon"]) == (5, 0, 0.0)
    assert last.facts["ram_bricks"] == 108
    assert {box.name for box in last.boxes} == {"player", "ball"}
    assert "\n" not in last.text


def test_watch_plays_the_episodes_of_the_vector_environment() -> None:
    envs = VectorAtari("breakout", 1, "machado", seed=6, reseed_steps=0)
    envs.reset()
    frames = list(watch(Puppet(4), "breakout", seed=6, episodes=2))
    returns, score = [], 0.0
    while len(returns) < 2:
        step = envs.step([1])
        score += float(step.reward[0])
        if step.terminated[0]:
            returns.append(score)
            score = 0.0
    envs.close()
    ends = [[f.facts["return"] for f in frames if f.facts["episode"] == k][-1] for k in (0, 1)]
    assert ends == returns


def test_watch_lets_a_human_take_over() -> None:
    answers = iter([None, 2, 3])
    frames = list(islice(watch(Puppet(4), "breakout", control=lambda: next(answers)), 13))
    acts = [(frame.facts["action"], frame.facts["human"]) for frame in frames[1::4]]
    assert acts == [(1, False), (2, True), (3, True)]


def test_watch_explores() -> None:
    frames = list(islice(watch(Puppet(4), "breakout", epsilon=0.5, seed=1), 401))[1::4]
    explored = [frame.facts["explored"] for frame in frames]
    assert 30 < sum(explored) < 70
    assert all(
        frame.facts["action"] == 1 for frame, e in zip(frames, explored, strict=True) if not e
    )


def test_watch_refuses_an_agent_of_another_game() -> None:
    with pytest.raises(UserError, match="6 actions and breakout has 4"):
        list(islice(watch(Puppet(6), "breakout"), 5))


def test_an_agent_plays_by_its_own_rules_unless_told() -> None:
    puppet = Puppet(4, "breakout")
    assert next(watch(puppet)).facts["protocol"] == "machado"
    puppet.protocol = "sb3"
    assert next(watch(puppet)).facts["protocol"] == "sb3"
    assert next(watch(puppet, protocol="machado")).facts["protocol"] == "machado"
    puppet.epsilon = 0.25
    assert next(watch(puppet)).facts["epsilon"] == 0.25
    assert next(watch(puppet, epsilon=0.0)).facts["epsilon"] == 0
