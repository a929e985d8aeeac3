"""Agents and their file: what comes back, what is refused in which words, what they answer."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import agents
from agents.agent import FORMAT, Agent, read_weights
from agents.qnetwork import QNetwork
from playground.errors import UserError

Tensors = dict[str, torch.Tensor]
NETWORK = {"actions": 6, "backbone": "nature", "width": 0.125, "hidden": 16}


def an_agent(seed: int = 0, **settings: Any) -> Agent:
    torch.manual_seed(seed)
    network = QNetwork(**{**NETWORK, **settings})
    return Agent(network.eval(), "pong", protocol="nature", card={"score": 1.5})


def pictures(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 84, 84), dtype=np.uint8)


def metadata_of(**changes: Any) -> dict[str, str]:
    known = {
        "format": FORMAT,
        "network": json.dumps(NETWORK),
        "game": "pong",
        "protocol": "machado",
        "preprocessing": "ale",
        "card": "{}",
    }
    return {key: value for key, value in {**known, **changes}.items() if value is not None}


def network_of(**changes: Any) -> dict[str, str]:
    return metadata_of(network=json.dumps({**NETWORK, **changes}))


# The file


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dueling": True, "layer_norm": True, "width": 0.25},
        {"backbone": "impala", "width": 1, "hidden": 8, "actions": 18},
        {"distribution": "c51", "atoms": 11, "v_min": -1.0, "v_max": 4.0, "dueling": True},
        {"trunk_norm": "layer", "width": 0.25},
    ],
)
def test_what_is_saved_comes_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    agent, obs = an_agent(**settings), pictures()
    agent.save(tmp_path / "whole.safetensors", half=False, note="x")
    agent.save(tmp_path / "half.safetensors")
    before = torch.get_rng_state()
    whole, half = (agents.load(tmp_path / f"{name}.safetensors") for name in ("whole", "half"))
    assert torch.equal(before, torch.get_rng_state())
    for again in (whole, half):
        assert (again.game, again.protocol, again.preprocessing) == ("pong", "nature", "ale")
        assert again.network.settings == agent.network.settings
        assert not again.network.training
        assert {p.dtype for p in again.network.parameters()} == {torch.float32}
        assert all(p.requires_grad for p in again.network.parameters())
    np.testing.assert_array_equal(whole.q_values(obs), agent.q_values(obs))
    np.testing.assert_allclose(half.q_values(obs), agent.q_values(obs), atol=2e-3)
    assert (whole.card, half.card) == ({"score": 1.5, "note": "x"}, {"score": 1.5})
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert 1.7 < sizes[0] / sizes[1] < 2


def test_an_agent_of_sb3s_pixels_without_a_game_comes_back(tmp_path: Path) -> None:
    Agent(an_agent().network, None, preprocessing="sb3").save(tmp_path / "a.safetensors")
    again = agents.load(tmp_path / "a.safetensors")
    assert (again.game, again.preprocessing) == (None, "sb3")
    assert agents.load(tmp_path / "a.safetensors", "ALE/Pong-v5").game == "pong"
    with pytest.raises(UserError, match="Did you mean"):
        agents.load(tmp_path / "a.safetensors", "pnog")


def test_a_loaded_agent_does_not_hang_on_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    an_agent().save(path, half=False)
    again, obs = agents.load(path), pictures()
    expected = again.q_values(obs)
    path.write_bytes(bytes(path.stat().st_size))  # the same file, not a new one in its place
    np.testing.assert_array_equal(again.q_values(obs), expected)


DAMAGES: dict[str, tuple[dict[str, str], str]] = {
    "foreign": ({}, "holds no agent of this playground"),
    "other format": (metadata_of(format="pt"), "holds no agent of this playground"),
    "newer format": (metadata_of(format="playground-dqn-2"), "'playground-dqn-2'.*update"),
    "no network": (metadata_of(network=None), "metadata have no network"),
    "only a format": ({"format": FORMAT}, "no card, game, network, preprocessing, protocol"),
    "broken network": (metadata_of(network='{"actions": 6'), "not JSON"),
    "broken card": (metadata_of(card="{nonsense"), "not JSON"),
    "deep card": (metadata_of(card="[" * 100_000), "not JSON"),
    "network no table": (metadata_of(network="[6]"), "no tables"),
    "card no table": (metadata_of(card="1"), "no tables"),
    "newer setting": (network_of(noisy=True, tiles=51), r"not known here \(noisy, tiles\)"),
    "return": (network_of(**{"return": None}), r"not known here \(return\)"),
    "no actions": (metadata_of(network="{}"), "actions"),
    "actions": (network_of(actions="6"), "cannot have actions '6'"),
    "no action": (network_of(actions=0), "cannot have actions '0'"),
    "hidden": (network_of(hidden=16.0), "cannot have hidden '16.0'"),
    "dueling": (network_of(dueling="yes"), "cannot have dueling 'yes'"),
    "width": (network_of(width=-1), "cannot be built"),
    "infinite width": (network_of(width=float("inf")), "cannot be built"),
    "one atom": (network_of(distribution="c51", atoms=1), "cannot be built .*2 atoms or more"),
    "no range": (network_of(distribution="c51", v_min=10.0), "cannot be built .*up to v_max"),
    "absurd atoms": (network_of(distribution="c51", atoms=10**12), "does not fit"),
    "unknown backbone": (network_of(backbone="natur"), "Did you mean 'nature'"),
    "other backbone": (network_of(backbone="impala", width=1), "does not fit"),
    "other width": (network_of(width=1), r"backbone.conv1.bias: \[4\], not \[32\]"),
    "other head": (network_of(actions=4), r"head.bias: \[6\], not \[4\]"),
    "more layers": (network_of(dueling=True), "value.bias: missing"),
    "absurd width": (network_of(width=1e6), "does not fit"),
    "absurd hidden": (network_of(hidden=10**13), "does not fit"),
    "absurd actions": (network_of(actions=10**30), "cannot be built"),
    "unknown game": (metadata_of(game="pongg"), "game that is not known here, 'pongg'"),
    "unknown protocol": (metadata_of(protocol="v2"), "protocol that is not known here, 'v2'"),
    "preprocessing": (metadata_of(preprocessing="rgb"), "preprocessing that is not known here"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_metadata_that_cannot_be_played_are_refused(tmp_path: Path, name: str) -> None:
    metadata, reason = DAMAGES[name]
    path = tmp_path / "a.safetensors"
    tensors = {key: value.clone() for key, value in an_agent().network.state_dict().items()}
    save_file(tensors, path, metadata_of())
    assert read_weights(path).actions == 6
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match=reason) as caught:
        agents.load(path)
    assert_one_sentence(caught.value, path)


def assert_one_sentence(error: UserError, path: Path) -> None:
    text = str(error)
    assert text.startswith(str(path))
    assert text.endswith(".") and "\n" not in text
    assert len(text) - len(str(path)) < 300


def without(key: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.pop(key)


def with_(key: str, value: torch.Tensor) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({key: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("head.bias"), "head.bias: missing"),
        (with_("head.more", torch.ones(2)), "head.more: .*no such tensor"),
        (with_("head.bias", torch.ones(6, 1)), r"head.bias: \[6, 1\], not \[6\]"),
        (with_("head.bias", torch.ones(6, dtype=torch.int32)), "head.bias as I32"),
        (with_("head.bias", torch.tensor([0, 1, 2, float("nan"), 4, 5])), "no finite numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[Tensors], Any], reason: str
) -> None:
    path = tmp_path / "a.safetensors"
    an_agent().save(path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata_of())
    with pytest.raises(UserError, match=reason) as caught:
        agents.load(path)
    assert_one_sentence(caught.value, path)


def test_nothing_large_is_made_of_a_header_that_does_not_fit(tmp_path: Path) -> None:
    """A network of 12 TB, named by a file of 4 MB."""
    path = tmp_path / "a.safetensors"
    save_file({"head.weight": torch.ones(10**6)}, path, network_of(hidden=10**9, width=1.0))
    made: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type != "meta":
                made.append(out.numel())
            return out

    with Watch(), pytest.raises(UserError, match="does not fit"):
        agents.load(path)
    assert sum(made) < 1000


@pytest.mark.parametrize("cut", [0, 4, 8, 100, 2000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.safetensors"
    an_agent().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a readable safetensors file") as caught:
        agents.load(path)
    assert_one_sentence(caught.value, path)


def test_a_flipped_bit_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    """Numbers have no checksum; whatever else a bit breaks must be said in one sentence."""
    path = tmp_path / "a.safetensors"
    an_agent().save(path)
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    rng = np.random.default_rng(0)
    refused = 0
    for place in [*range(8), *rng.integers(8, header, 300), *rng.integers(header, len(whole), 30)]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            agents.load(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 200


def test_an_absurdly_large_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    an_agent().save(path)
    monkeypatch.setattr("agents.agent.MAX_BYTES", path.stat().st_size)
    assert agents.load(path).actions == 6
    monkeypatch.setattr("agents.agent.MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(UserError, match=r"is larger than .* bytes"):
        agents.load(path)


# Where agents come from


def test_the_default_is_the_zoos_pong() -> None:
    default = agents.load()
    assert (default.game, default.actions) == ("pong", 6)
    assert "pong" in agents.zoo()


def test_an_unknown_name_of_the_zoo_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no agent 'pnog'; it has .*pong.* Did you mean 'pong'"):
        agents.load("zoo:pnog")


@pytest.mark.parametrize("name", ["none.safetensors", "none.zip", "none"])
def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"no file or run .*{name}"):
        agents.load(tmp_path / name)
    with pytest.raises(UserError, match="no file or run"):
        agents.load(str(tmp_path / name))


def test_a_run_gives_its_best_agent_else_its_last_else_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run: it has no config"):
        agents.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has no agent yet"):
        agents.load(tmp_path)
    with pytest.raises(UserError, match=f"not a run; those in it are {tmp_path.name}"):
        agents.load(tmp_path.parent)
    an_agent(hidden=8).save(tmp_path / "last.safetensors")
    assert agents.load(tmp_path).network.settings["hidden"] == 8
    an_agent(hidden=12).save(tmp_path / "best.safetensors")
    assert agents.load(tmp_path).network.settings["hidden"] == 12


@pytest.mark.parametrize("told", [0.05, 0, None, "much", 2, True, float("nan")])
def test_it_explores_as_in_its_evaluations_where_that_is_told(tmp_path: Path, told: Any) -> None:
    agent = an_agent(hidden=8)
    assert agent.epsilon == 0
    agent.card["settings"] = {"eval_epsilon": told}
    assert agent.epsilon == (0.05 if told == 0.05 else 0)
    agent.save(tmp_path / "a.safetensors")
    assert agents.load(tmp_path / "a.safetensors").epsilon == agent.epsilon


# What they answer


@pytest.mark.parametrize("dueling", [False, True])
def test_answers_have_the_promised_shapes_and_types(dueling: bool) -> None:
    agent, obs = an_agent(dueling=dueling), pictures()
    q = agent.q_values(obs)
    assert (q.shape, q.dtype) == ((5, 6), np.float32)
    action, state = agent.predict(obs)
    assert (action.shape, action.dtype, state) == ((5,), np.int64, None)
    np.testing.assert_array_equal(action, q.argmax(1))
    np.testing.assert_allclose(agent.q_values(obs[2]), q[2:3], atol=1e-6)  # one, unbatched
    action, _ = agent.predict(obs[::2, :, ::-1], deterministic=False)  # not contiguous
    assert (action.shape, action.dtype) == ((3,), np.int64)


@pytest.mark.parametrize(
    "obs",
    [
        np.zeros((1, 4, 84, 84), np.float32),
        np.zeros((1, 4, 84, 84), np.int64),
        np.zeros((1, 84, 84, 4), np.uint8),
        np.zeros((1, 1, 4, 84, 84), np.uint8),
        np.zeros((84, 84), np.uint8),
        np.zeros((1, 4, 42, 42), np.uint8),
    ],
)
def test_bad_observations_are_refused_with_what_they_are(obs: np.ndarray) -> None:
    agent = an_agent()
    for ask in (agent.q_values, agent.predict):
        with pytest.raises(ValueError, match=r"must be \(N, 4, 84, 84\) uint8, got .*"):
            ask(obs)


def test_only_without_determinism_it_explores() -> None:
    agent, obs = an_agent(), np.repeat(pictures(1), 2000, axis=0)
    greedy, _ = agent.predict(obs)
    assert len(set(greedy)) == 1
    np.random.seed(0)
    explored, _ = agent.predict(obs, deterministic=False)
    share = np.mean(explored != greedy)
    # 5 % random actions, of which one in six is the greedy one; four standard errors
    assert abs(share - 0.05 * 5 / 6) < 4 * np.sqrt(0.05 * 0.95 / 2000)
    assert set(explored) == set(range(6))
