"""Names, protocols, rewards and lives, and a state that continues bit for bit."""

from dataclasses import fields, replace

import numpy as np
import pytest

from agents.atari import (
    PROTOCOLS,
    Step,
    VectorAtari,
    action_names,
    episode_seed,
    games,
    human_normalised,
    protocol,
    resolve,
    usual_reseed_steps,
)
from agents.screen import Screen
from playground.errors import UserError


def assert_same(a: Step, b: Step) -> None:
    for field in fields(Step):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), field.name)


def random_actions(envs: VectorAtari, steps: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, envs.num_actions, (steps, envs.num_envs))


@pytest.mark.parametrize(
    ("name", "game"),
    [
        ("pong", "pong"),
        ("Pong", "pong"),
        ("ALE/Pong-v5", "pong"),
        ("PongNoFrameskip-v4", "pong"),
        ("PongDeterministic-v0", "pong"),
        ("SpaceInvaders-v4", "space_invaders"),
        ("space invaders", "space_invaders"),
        ("ALE/MsPacman-v5", "ms_pacman"),
        ("TicTacToe3D", "tic_tac_toe_3d"),
    ],
)
def test_games_go_by_many_names(name: str, game: str) -> None:
    assert resolve(name) == game


def test_every_bundled_game_resolves_to_itself() -> None:
    assert len(games()) > 100
    assert [resolve(game) for game in games()] == list(games())


@pytest.mark.parametrize("name", ["pnog", "ALE/Pnog-v5"])
def test_a_misspelt_game_gets_the_nearest_names(name: str) -> None:
    with pytest.raises(UserError, match=r"Did you mean.*'pong'"):
        resolve(name)


def test_two_player_games_are_refused_before_they_end_the_process() -> None:
    with pytest.raises(UserError, match="two players"):
        VectorAtari("ALE/Combat-v5", 1)


def test_protocols() -> None:
    machado, sb3 = protocol("machado"), protocol("sb3")
    assert (machado.sticky, machado.noop_max, machado.life_loss_terminal) == (0.25, 0, False)
    assert (sb3.sticky, sb3.noop_max, sb3.fire_reset, sb3.life_loss_terminal) == (0, 30, True, True)
    limits = {name: rules.max_frames / (60 * 60) for name, rules in PROTOCOLS.items()}
    half_hour = {"machado": 30, "machado_lives": 30, "sb3": 30}
    assert limits == {"nature": 5, **half_hour}  # minutes at 60 frames a second
    assert protocol("machado_lives") == replace(
        machado, name="machado_lives", life_loss_terminal=True
    )
    assert protocol("machado_lives").plays_as(machado)  # training alone tells them apart
    assert not protocol("nature").plays_as(sb3)
    assert not protocol(machado, max_frames=400).plays_as(machado)
    assert protocol(machado, max_frames=400) == replace(machado, max_frames=400)
    with pytest.raises(UserError, match="machado"):
        protocol("machedo")


def test_minimal_actions() -> None:
    assert action_names("breakout") == ("NOOP", "FIRE", "RIGHT", "LEFT")


def test_human_normalised_scores() -> None:
    assert human_normalised("pong", -20.7) == 0
    assert human_normalised("ALE/Pong-v5", 14.6) == pytest.approx(1)
    assert human_normalised("breakout", 400) == pytest.approx((400 - 1.7) / (30.5 - 1.7))
    assert human_normalised("tetris", 10) is None


def test_episode_seeds_are_pure_and_distinct() -> None:
    seeds = {episode_seed(s, env, k) for s in range(4) for env in range(8) for k in range(50)}
    assert len(seeds) == 4 * 8 * 50
    assert all(0 < seed < 2**31 for seed in seeds)
    assert episode_seed(1, 2, 3) == episode_seed(1, 2, 3)


def towards_the_ball(ram: np.ndarray) -> int:
    """Breakout's action that serves, or moves the paddle under the ball."""
    memory = ram.astype(int)
    aim = memory[99] - memory[72] - 7  # centre to centre, pixels
    return 1 if not memory[101] else 2 if aim > 2 else 3 if aim < -2 else 0


def test_steps_report_what_emulators_alone_do() -> None:
    """Whole games of Breakout; emulators stepped one by one, same seeds and actions, say the same.

    A life is lost where the emulator's count fell from one step to the next and the game goes on.
    The first environment keeps its ball in play, and so gets at the bricks worth 4 points.
    """
    envs = VectorAtari("breakout", 4, "machado", seed=0)
    screens = [Screen("breakout", "machado", episode_seed(0, i, 0)) for i in range(4)]
    obs = envs.reset()
    np.testing.assert_array_equal(obs, [screen.reset() for screen in screens])
    over, losses, games, rewards = [False] * 4, [0] * 4, 0, set()
    for actions in random_actions(envs, 400, seed=0):
        actions[0] = towards_the_ball(screens[0].ram)
        before = obs.copy()
        step = envs.step(actions)
        np.testing.assert_array_equal(obs, before)  # earlier observations stay what they were
        obs = step.obs
        assert step.reward.dtype == np.float32
        for i, screen in enumerate(screens):
            if over[i]:
                screen.reset()
                expected = (0.0, False, False, False, 5, True)
                assert not obs[i, :3].any()  # a fresh stack: zeros, then the first screen
            else:
                lives = screen.lives
                _, reward, terminated, truncated, info = screen.step(int(actions[i]))
                lost = info["lives"] < lives and not terminated
                expected = (reward, terminated, truncated, lost, info["lives"], False)
                losses[i] += lost
                rewards.add(reward)
            found = (
                *(step.reward[i], step.terminated[i], step.truncated[i]),
                *(step.life_lost[i], step.lives[i], step.reset[i]),
            )
            assert found == expected
            over[i] = expected[1]
            if over[i]:
                assert losses[i] == 4  # of five, four before the game's end
                losses[i], games = 0, games + 1
    envs.close()
    assert games > 2
    assert rewards == {0, 1, 4}


def test_nothing_presses_fire_after_a_lost_life() -> None:
    """The trap that the module's docstring names: Breakout waits for FIRE, and so does the game."""
    envs = VectorAtari("breakout", 1, "sb3", seed=0)
    envs.reset()
    lives = [envs.step([0]).lives[0] for _ in range(150)]
    envs.close()
    assert sorted(set(lives)) == [4, 5]  # served once, by the reset


def test_rewards_are_not_clipped() -> None:
    envs = VectorAtari("space_invaders", 4, "nature", seed=0)
    envs.reset()
    rewards = [envs.step(actions).reward for actions in random_actions(envs, 150, seed=0)]
    envs.close()
    assert np.max(rewards) >= 5


def test_truncation_at_the_time_limit() -> None:
    envs = VectorAtari("pong", 2, protocol("sb3", max_frames=202), seed=0)
    envs.reset()
    steps = [envs.step(np.zeros(2, int)) for _ in range(52)]
    envs.close()
    assert [step.truncated.all() for step in steps] == [False] * 50 + [True, False]
    assert not any(step.terminated.any() for step in steps)
    assert steps[51].reset.all()


def test_same_seed_same_game_and_other_seed_other_game() -> None:
    def play(seed: int) -> np.ndarray:
        envs = VectorAtari("breakout", 2, "machado", seed)
        envs.reset()
        steps = [envs.step(actions).obs for actions in random_actions(envs, 40, seed=9)]
        envs.close()
        return np.array(steps)

    first = play(1)
    np.testing.assert_array_equal(first, play(1))
    assert (first != play(2)).any()
    assert (first[:, 0] != first[:, 1]).any()


def test_episodes_seeded_each_by_themselves_do_not_depend_on_the_past() -> None:
    rules = replace(PROTOCOLS["machado"], max_frames=80)
    actions = np.random.default_rng(0).integers(0, 4, 20)
    runs = []
    for first in ([0] * 20, [2] * 20):
        envs = VectorAtari("breakout", 1, rules, seed=0, reseed_steps=0)
        envs.reset()
        for action in first:
            step = envs.step([action])
        assert step.truncated.all()
        runs.append([envs.step([action]).obs for action in [0, *actions]])
        envs.close()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_a_reset_with_a_seed_begins_its_first_episodes_again() -> None:
    envs = VectorAtari("breakout", 2, "machado", seed=0)
    actions = random_actions(envs, 20, seed=0)

    def played(seed: int | None) -> np.ndarray:
        return np.stack([envs.reset(seed), *(envs.step(row).obs for row in actions)])

    first, again, on, back = (played(seed) for seed in (5, 5, None, 5))
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(back, first)
    assert (on != first).any()  # other actions stuck
    envs.close()


def test_wrong_actions_are_refused() -> None:
    envs = VectorAtari("pong", 2)
    envs.reset()
    with pytest.raises(ValueError, match="shape"):
        envs.send([0])
    with pytest.raises(ValueError, match=r"actions 0\.\.5"):
        envs.send([0, 6])
    with pytest.raises(RuntimeError, match="without send"):
        envs.recv()
    envs.send([0, 0])
    with pytest.raises(RuntimeError, match="twice"):
        envs.send([0, 0])
    envs.close()


@pytest.mark.parametrize(
    "reseed_steps", [150, 10**6, pytest.param(0, marks=pytest.mark.slow)]
)  # seeded now and then, once, before every episode
def test_a_restored_state_continues_bit_for_bit(reseed_steps: int) -> None:
    """Sticky actions, 8 environments with episodes and lives of their own, 300 further steps.

    States are taken on the very step on which an environment has ended and on a usual one.
    """
    envs = VectorAtari("breakout", 8, "machado", seed=3, reseed_steps=reseed_steps)
    envs.reset()
    actions = random_actions(envs, 2000, seed=1)
    steps, states = [], []
    for t, row in enumerate(actions):
        steps.append(envs.step(row))
        ended = steps[-1].terminated.any()
        if (t > 220 and ended and not states) or (t > 260 and not ended and len(states) == 1):
            states.append((t, envs.state()))
        if len(states) == 2 and t == states[0][0] + 300:
            break
    envs.close()
    lengths = {len(history) for history in states[0][1]["actions"]}
    assert len(lengths) == 1 if reseed_steps == 10**6 else len(lengths) > 1
    assert sum(step.reset.sum() for step in steps[states[0][0] :]) > 8
    assert sum(step.life_lost.sum() for step in steps[states[0][0] :]) > 8

    restored = VectorAtari("breakout", 8, "machado", seed=0)  # the state tells how rarely to seed
    for t, state in states:
        obs = restored.load_state(state)
        np.testing.assert_array_equal(obs, steps[t].obs)
        again = restored.state()
        np.testing.assert_array_equal(again["episode"], state["episode"])
        for k in range(t + 1, min(t + (301 if t == states[0][0] else 61), len(steps))):
            assert_same(restored.step(actions[k]), steps[k])
    restored.close()


@pytest.mark.parametrize(("envs", "steps"), [(1, 4096), (16, 4096), (32, 8192), (500, 16384)])
def test_many_environments_are_seeded_more_rarely(envs: int, steps: int) -> None:
    assert usual_reseed_steps(envs) == steps


def test_a_state_of_before_it_told_how_rarely_to_seed_is_of_4096() -> None:
    envs = VectorAtari("breakout", 1, seed=0, reseed_steps=7)
    envs.reset()
    state = envs.state()
    assert state.pop("reseed_steps") == 7
    envs.load_state(state)
    assert envs.reseed_steps == 4096
    envs.close()


def test_a_state_taken_between_send_and_recv_is_the_one_before_send() -> None:
    envs = VectorAtari("breakout", 2, "machado", seed=0)
    envs.reset()
    for row in random_actions(envs, 30, seed=0):
        obs = envs.step(row).obs
    envs.send([1, 2])
    state = envs.state()
    expected = envs.recv()
    np.testing.assert_array_equal(envs.load_state(state), obs)
    assert_same(envs.step([1, 2]), expected)
    envs.close()


def test_a_foreign_state_is_refused() -> None:
    pong, breakout = VectorAtari("pong", 1), VectorAtari("breakout", 1)
    pong.reset()
    with pytest.raises(UserError, match="of pong"):
        breakout.load_state(pong.state())
    pong.close()
    breakout.close()


@pytest.mark.slow
def test_every_game_runs() -> None:
    for game in games():
        envs = VectorAtari(game, 1, "sb3")
        envs.reset()
        for row in random_actions(envs, 20, seed=0):
            assert envs.step(row).obs.shape == (1, 4, 84, 84)
        envs.close()
