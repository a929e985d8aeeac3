"""A trained agent: Q-network in, actions out; its weights file; ``load`` for every kind of source.

Observations are ``(N, 4, 84, 84)`` uint8 (oldest frame first), actions ``(N,)`` int64 among the
game's minimal actions, Q-values ``(N, A)`` float32.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from agents.atari import PROTOCOLS, games, resolve
from agents.heads import settled
from agents.qnetwork import QNetwork
from playground.errors import UserError, listed, nearest
from playground.run import atomic_path, read_json

FORMAT = "playground-dqn-1"
MAX_BYTES = 1_000_000_000  # a file's; the Nature network has 7 MB
ZOO = Path(__file__).parent / "zoo"


class Agent:
    """Plays one game by the Q-values of a network.

    Attributes:
        game: short name, or None for a foreign file that does not say.
        protocol: name of the protocol it was trained under.
        preprocessing: "ale", or "sb3" for agents trained on Stable-Baselines3's own pipeline.
        card: what its file says of its training.
    """

    def __init__(
        self,
        network: nn.Module,
        game: str | None,
        *,
        protocol: str = "machado",
        preprocessing: str = "ale",
        card: dict[str, Any] | None = None,
    ) -> None:
        self.network, self.game = network, game
        self.protocol, self.preprocessing = protocol, preprocessing
        self.card = card or {}

    @property
    def actions(self) -> int:
        return int(self.network.settings["actions"])  # type: ignore[index]

    @property
    def epsilon(self) -> float:
        """Part of random actions that its evaluations had, in [0, 1]; 0 where nothing tells.

        A greedy agent may stand still for good, for example where a game waits for FIRE.
        """
        settings = self.card.get("settings")
        told = settings.get("eval_epsilon") if isinstance(settings, dict) else None
        if isinstance(told, bool) or not isinstance(told, int | float):
            return 0.0
        return float(told) if 0 <= told <= 1 else 0.0

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        """(N, 4, 84, 84) uint8 -> (N, A) float32; without noise, and the same each time."""
        x = np.asarray(observation)
        if x.ndim == 3:
            x = x[None]
        if x.ndim != 4 or x.shape[1:] != (4, 84, 84) or x.dtype != np.uint8:
            raise ValueError(f"observation must be (N, 4, 84, 84) uint8, got {x.shape} {x.dtype}")
        device = next(self.network.parameters()).device
        with torch.inference_mode(), settled(self.network):
            q = self.network(torch.from_numpy(np.ascontiguousarray(x)).to(device))
        return q.cpu().numpy()

    def predict(
        self, observation: np.ndarray, deterministic: bool = True, **_: Any
    ) -> tuple[np.ndarray, None]:
        """Greedy actions, (N,) int64, as Stable-Baselines3's ``predict`` gives them.

        ``deterministic=False`` explores at the rate that SB3's DQN ends with, 0.05.
        """
        action = self.q_values(observation).argmax(1)
        if not deterministic:
            explore = np.random.random(len(action)) < 0.05
            action = np.where(explore, np.random.randint(0, self.actions, len(action)), action)
        return action, None

    def save(self, path: Path, settings: Any = None, half: bool = True, **card: Any) -> None:
        """Write the weights (fp16 unless ``half`` is False) with what is needed to play them."""
        network = self.network
        tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
            card["settings"] = dataclasses.asdict(settings)
        metadata = {
            "format": FORMAT,
            "network": json.dumps(network.settings),
            "game": self.game or "",
            "protocol": self.protocol,
            "preprocessing": self.preprocessing,
            "card": json.dumps({**self.card, **card}),
        }
        with atomic_path(Path(path)) as aside:
            save_file(tensors, aside, metadata)


def read_weights(path: Path) -> Agent:
    """Load a file that ``Agent.save`` wrote; the global random generators stay as they are.

    Raises:
        UserError: the file is damaged, foreign, or of a newer version; says which. Its tensors are
            read only once their shapes, from the header, are those of the network that it names.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise ValueError(f"is larger than {MAX_BYTES:,} bytes; no agent is")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            network, card = _described(metadata)
            _check_fit(file, network)
            tensors = {
                key: file.get_tensor(key).to(torch.float32, copy=True)  # not a view of the file
                for key in network.state_dict()
            }
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("is damaged: some of its weights are no finite numbers")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}).") from error
    except ValueError as error:
        raise UserError(f"{path} {error}.") from error
    network.load_state_dict(tensors, assign=True)
    return Agent(
        network.eval(),
        metadata["game"] or None,
        protocol=metadata["protocol"],
        preprocessing=metadata["preprocessing"],
        card=card,
    )


def _described(metadata: dict[str, str]) -> tuple[QNetwork, dict[str, Any]]:
    """The network that a file's metadata describe, without numbers, and the card.

    Raises ValueError, with what follows the file's name in a sentence.
    """
    form = metadata.get("format", "")
    if form != FORMAT:
        if form.startswith(FORMAT.rstrip("0123456789")):
            raise ValueError(f"has the format {form!r}, not {FORMAT!r}: update the playground")
        raise ValueError(f"holds no agent of this playground (no format {FORMAT!r} in it)")
    if missing := {"network", "game", "protocol", "preprocessing", "card"} - metadata.keys():
        raise ValueError(f"is damaged: its metadata have no {', '.join(sorted(missing))}")
    for name, known in (
        ("game", ("", *games())),
        ("protocol", tuple(PROTOCOLS)),
        ("preprocessing", ("ale", "sb3")),
    ):
        if metadata[name] not in known:
            raise ValueError(f"has a {name} that is not known here, {metadata[name]!r}")
    try:
        settings, card = json.loads(metadata["network"]), json.loads(metadata["card"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is damaged: its metadata are not JSON ({error})") from error
    if not isinstance(settings, dict) or not isinstance(card, dict):
        raise ValueError("is damaged: its network and its card are no tables of settings")
    return _without_numbers(settings), card


def _without_numbers(settings: dict[str, Any]) -> QNetwork:
    """A Q-network on PyTorch's meta device, which allocates nothing, whatever sizes it is given."""
    kinds = get_type_hints(QNetwork.__init__)
    del kinds["return"]
    if unknown := settings.keys() - kinds.keys():
        raise ValueError(
            f"has network settings that are not known here ({', '.join(sorted(unknown))}): "
            "a newer playground may have written it"
        )
    for name, value in settings.items():
        kind = kinds[name]
        right = type(value) is kind or (kind is float and type(value) is int)
        if not right or (kind is int and value < 1):
            raise ValueError(f"is damaged: its network cannot have {name} {str(value)[:40]!r}")
    try:
        with torch.device("meta"):
            return QNetwork(**settings)
    except (UserError, TypeError, RuntimeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0][:200].rstrip(".")
        raise ValueError(f"names a network that cannot be built ({reason})") from error


def _check_fit(file: Any, network: nn.Module) -> None:
    """Hold an open safetensors file's header against a network; ValueError if they differ."""
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    found = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
    for key in sorted(shapes.keys() | found.keys()):
        there = found[key].get_shape() if key in found else "missing"
        here = shapes.get(key, "no such tensor")
        if there != here:
            raise ValueError(f"does not fit the network that it names ({key}: {there}, not {here})")
        if (dtype := found[key].get_dtype()) not in ("F16", "BF16", "F32"):
            raise ValueError(f"holds {key} as {dtype}; agents have F16, BF16 or F32")


def zoo() -> dict[str, Path]:
    """The agents that ship: name -> weights file."""
    return {path.stem: path for path in sorted(ZOO.glob("*.safetensors"))}


def cards() -> dict[str, dict[str, Any]]:
    """The cards of the agents that ship: how each was trained, and what it scored."""
    return {name: read_json(path.with_suffix(".json")) for name, path in zoo().items()}


def load(source: str | Path = "zoo:pong", game: str | None = None) -> Agent:
    """An agent from a zoo name, a run, or a file.

    Args:
        source: ``"zoo:pong"``; a run directory (its best agent, else its last); a ``.safetensors``
            of ours; a ``.zip`` of Stable-Baselines3; a CleanRL ``.cleanrl_model``.
        game: for files that do not name their game.

    Raises:
        UserError: the source is missing, foreign, or cannot be read without running code.
    """
    text = str(source)
    if text.startswith("zoo:"):
        name = text.removeprefix("zoo:")
        if name not in zoo():
            raise UserError(
                f"The zoo has no agent {name!r}; it has {', '.join(zoo())}.{nearest(name, zoo())}"
            )
        agent = read_weights(zoo()[name])
    else:
        path = Path(source)
        if os.path.isdir(path):
            agent = _load_run(path)
        elif not os.path.exists(path):  # False too where the system refuses the very name
            raise UserError(f"There is no file or run {path}; agents that ship are zoo:NAME.")
        elif path.suffix == ".safetensors":
            agent = read_weights(path)
        else:
            from agents import sb3

            agent = sb3.load(path)
    if game is not None:
        agent.game = resolve(game)
    return agent


def _load_run(path: Path) -> Agent:
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).exists():
            return read_weights(path / name)
    if (path / "config.json").is_file():
        raise UserError(f"The run {path} has no agent yet (no best.safetensors, last.safetensors).")
    runs = sorted(inside.parent.name for inside in path.glob("*/config.json"))
    known = f"; those in it are {listed(runs)}" if runs else ": it has no config.json"
    raise UserError(f"{path} is not a run{known}.")
