"""The bridge to Stable-Baselines3, and to CleanRL's weights: their files in and out, their doors.

- `load`: a DQN zip of SB3 or RL Zoo, or a CleanRL state dict -> Agent. Only weights are read, by
  PyTorch's restricted unpickler; SB3's `data` is read as plain JSON, the pickles in it never.
- `save`: Agent -> a zip that `stable_baselines3.DQN.load` opens and that acts identically.
- `as_vec_env`: our environments as SB3's `VecEnv`; `agents.sb3_env` also has SB3's own pixel
  pipeline in the shape of our `Screen` and `VectorAtari`.
- `train`: SB3's own DQN on our backbone and environments.

SB3's network for pixels (`CnnPolicy`) is NatureCNN, a hidden layer and a head: our `QNetwork` with
backbone "nature" and width 1, layer by layer. SB3 and CleanRL flatten (64, 7, 7) in the same order
as we do and divide by 255, so weights move without a change.

Sources: stable_baselines3/dqn/policies.py and common/torch_layers.py (2.9), cleanrl/dqn_atari.py.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agents.agent import Agent
from agents.atari import resolve
from agents.qnetwork import QNetwork
from playground.errors import UserError
from playground.run import Run, atomic_path

if TYPE_CHECKING:
    from agents.dqn import DQNConfig
    from agents.sb3_env import AtariVecEnv
    from playground.trainer import TrainerConfig

MAX_BYTES = 1_000_000_000  # unpacked; a DQN of SB3 has 27 MB
LAYERS = {"sb3": {  # our module -> theirs
    "backbone.conv1": "q_net.features_extractor.cnn.0",
    "backbone.conv2": "q_net.features_extractor.cnn.2",
    "backbone.conv3": "q_net.features_extractor.cnn.4",
    "hidden": "q_net.features_extractor.linear.0",
    "head": "q_net.q_net.0",
}, "cleanrl": {
    "backbone.conv1": "network.0",
    "backbone.conv2": "network.2",
    "backbone.conv3": "network.4",
    "hidden": "network.7",
    "head": "network.9",
}}  # fmt: skip
GAME_ID = re.compile(r"\b(?:ALE[/-])?([A-Z][A-Za-z]+?)(?:NoFrameskip|Deterministic)?-v[0-9]\b")


def load(path: str | Path) -> Agent:
    """The agent in a DQN zip of SB3 or RL Zoo, or in a CleanRL `dqn_atari.cleanrl_model`.

    No code of the file is run: a file that cannot be read without is refused. `agent.game` is None
    unless the zip names its game readably; `agent.preprocessing` is "sb3".

    Raises:
        UserError: not such a file, or another network than the Nature one; says which.
    """
    path = Path(path)
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    names = _member_sizes(content, path)
    if "policy.pth" in names:
        return _load_sb3(content, path)
    if "data" in names:
        raise UserError(f"{path} is a zip of Stable-Baselines3 without a policy.pth in it.")
    if not content.startswith((b"PK\x03\x04", b"\x80")):  # a zip, or a pickle of protocol 2 on
        raise UserError(
            f"{path} is no agent's file: those are .safetensors of ours, DQN zips of "
            "Stable-Baselines3 and dqn_atari.cleanrl_model of CleanRL."
        )
    tensors = _weights(content, path)
    if tensors.keys() & {"model_weights", "args"}:
        raise UserError(
            f"{path} is a CleanRL file of another algorithm (C51 or newer); only dqn_atari loads."
        )
    return _agent(tensors, "cleanrl", path, None, {"source": "CleanRL", "file": path.name})


def save(agent: Agent, path: str | Path) -> None:
    """Write a zip that `stable_baselines3.DQN.load` opens; it acts as `agent` does.

    Raises:
        UserError: SB3's CnnPolicy cannot express the network (it can: any size of hidden layer).
    """
    settings: Any = agent.network.settings
    if reason := _inexpressible(settings):
        raise UserError(f"Stable-Baselines3's CnnPolicy cannot express this agent: {reason}.")
    from agents.sb3_env import blank_model

    model = blank_model(agent.actions, int(settings["hidden"]))
    model.num_timesteps = int(agent.card.get("trained_agent_steps", 0))
    own = agent.network.state_dict()
    theirs = {
        f"{their}.{kind}": own[f"{ours}.{kind}"]
        for ours, their in LAYERS["sb3"].items()
        for kind in ("weight", "bias")
    }
    target = {key.replace("q_net.", "q_net_target.", 1): value for key, value in theirs.items()}
    model.policy.load_state_dict(theirs | target)
    buffer = io.BytesIO()
    model.save(buffer)
    with atomic_path(Path(path)) as aside:
        aside.write_bytes(buffer.getvalue())


def as_vec_env(
    game: str,
    num_envs: int = 1,
    protocol: str = "sb3",
    seed: int = 0,
    *,
    clip_rewards: bool = False,
    life_loss_terminal: bool = False,
) -> AtariVecEnv:
    """Our environments as SB3's `VecEnv`, for `DQN(...)` and `evaluate_policy`.

    Args:
        clip_rewards: rewards are -1, 0 or 1, as SB3's training has them; episode infos stay raw.
        life_loss_terminal: `done` when a life is lost, though the game goes on.
    """
    from agents.sb3_env import AtariVecEnv

    return AtariVecEnv(
        game, num_envs, protocol, seed,
        clip_rewards=clip_rewards, life_loss_terminal=life_loss_terminal,
    )  # fmt: skip


def check(config: DQNConfig, settings: TrainerConfig) -> None:
    """UserError for settings of a training that SB3 does not have."""
    from agents import sb3_train

    sb3_train.check(config, settings)


def train(
    config: DQNConfig,
    settings: TrainerConfig,
    run: Run,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Agent:
    """Train SB3's own DQN on our backbone and environments; see `agents.sb3_train`."""
    from agents import sb3_train

    return sb3_train.train(config, settings, run, on_progress)


# Reading.


def _load_sb3(content: bytes, path: Path) -> Agent:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            policy = archive.read("policy.pth")
            text = archive.read("data") if "data" in archive.namelist() else b"{}"
    except Exception as error:  # each compression of a zip raises errors of its own
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise UserError(f"{path} is damaged or encrypted ({reason}).") from error
    _member_sizes(policy, path)  # a .pth is a zip, too
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The settings in {path} are not JSON ({error}).") from error
    data = data if isinstance(data, dict) else {}
    options = data.get("policy_kwargs")
    options = options if isinstance(options, dict) else {}
    if options.get("normalize_images") is False:
        raise UserError(f"{path} was trained on pictures not divided by 255 (normalize_images).")
    extractor = str(options.get("features_extractor_class", "NatureCNN"))
    if "NatureCNN" not in extractor:
        raise UserError(f"{path} has a features extractor of its own, {extractor[:80]}.")
    card = {"source": "Stable-Baselines3", "file": path.name}
    if isinstance(data.get("num_timesteps"), int):
        card["trained_agent_steps"] = data["num_timesteps"]
    return _agent(_weights(policy, path), "sb3", path, _game(data), card)


def _member_sizes(content: bytes, path: Path) -> dict[str, int]:
    """Member -> unpacked bytes of a zip in memory, {} if it is none; refuses zip bombs."""
    if not content:
        raise UserError(f"{path} is empty or larger than {MAX_BYTES:,} bytes.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            total = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return {}
    if total > MAX_BYTES:
        raise UserError(f"{path} unpacks to {total:,} bytes; an agent needs far fewer: refused.")
    return sizes


def _weights(content: bytes, path: Path) -> dict[str, Any]:
    """A state dict, by PyTorch's restricted unpickler."""
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # hostile bytes make it raise anything
        reason = str(error).strip().split("\n")[0][:120]
        raise UserError(
            f"{path} cannot be read without running code that it may hold ({reason}): refused. "
            "DQN zips of Stable-Baselines3 and dqn_atari.cleanrl_model of CleanRL can be."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UserError(f"{path} holds no network's weights (a state dict).")
    return found


def _agent(
    found: dict[str, Any], kind: str, path: Path, game: str | None, card: dict[str, Any]
) -> Agent:
    own = {key: value for key, value in found.items() if not key.startswith("q_net_target.")}
    layers = LAYERS[kind]
    keys = {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in layers.items()
        for part in ("weight", "bias")
    }
    if own.keys() != set(keys.values()):
        raise UserError(f"{path} {_other_layout(own)}; only the Nature DQN of CnnPolicy loads.")
    for name, tensor in own.items():
        plain = isinstance(tensor, Tensor) and tensor.layout is torch.strided
        if not plain or not tensor.is_floating_point() or tensor.device.type != "cpu":
            raise UserError(f"{path} holds no plain numbers as {name}.")
    head, hidden = own[keys["head.weight"]], own[keys["hidden.weight"]]
    stack = own[keys["backbone.conv1.weight"]]
    if stack.dim() == 4 and stack.shape[1] != 4:
        raise UserError(f"{path} sees stacks of {stack.shape[1]} pictures; agents here see 4.")
    if head.dim() != 2 or not 1 <= len(head) <= 18 or hidden.dim() != 2 or len(hidden) > 8192:
        raise UserError(f"{path} has a head {tuple(head.shape)}, not one value for each action.")
    network = QNetwork(len(head), hidden=len(hidden))
    for ours, parameter in network.state_dict().items():
        shape = own[keys[ours]].shape
        if shape != parameter.shape:
            raise UserError(
                f"{path} has {keys[ours]} {tuple(shape)}, the Nature DQN on 84x84 pixels "
                f"{tuple(parameter.shape)}."
            )
    network.load_state_dict({ours: own[theirs].float() for ours, theirs in keys.items()})
    return Agent(network.eval(), game, protocol="sb3", preprocessing="sb3", card=card)


def _other_layout(found: dict[str, Any]) -> str:
    """What a foreign state dict is, told from its keys."""
    names = " ".join(found)
    if "quantile_net" in names:
        return "is a QR-DQN, which learns distributions"
    if any(name.startswith(("mlp_extractor", "action_net", "actor", "critic")) for name in found):
        return "is an actor-critic policy (PPO, A2C, SAC, ...), not a DQN"
    if "q_net.q_net.0.weight" in names and "features_extractor.cnn." not in names:
        return "is a policy without convolutions (MlpPolicy)"
    if "q_net.q_net.2.weight" in names:
        return "has further layers after the features (net_arch)"
    return f"holds other layers ({', '.join(map(repr, list(found)[:3]))}, ...)"


def _game(data: dict[str, Any]) -> str | None:
    """The one game that the plain strings of the settings name (a log folder, say), if any."""
    named = set()
    for value in data.values():
        for name in GAME_ID.findall(value[:4096]) if isinstance(value, str) else ():
            try:
                named.add(resolve(name))
            except UserError:
                continue
    return named.pop() if len(named) == 1 else None


def _inexpressible(settings: Any) -> str:
    """Why SB3's CnnPolicy cannot express a network of ours, "" if it can."""
    if settings["backbone"] != "nature":
        return f"its backbone is {settings['backbone']}, SB3's is nature"
    if settings["width"] != 1:
        return f"its width is {settings['width']:g}, NatureCNN's is 1"
    if settings["dueling"]:
        return "its head is dueling"
    more = settings.keys() & {"trunk_norm", "max_pool", "noise", "distribution"}
    if more:
        return f"it has {', '.join(sorted(more))}"
    return "it has a LayerNorm" if settings["layer_norm"] else ""
