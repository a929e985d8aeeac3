"""Exported models: a .safetensors file with the weights and, in its metadata, what builds them.

The metadata have one entry, whose JSON is {"format": number, "card": {...}, ...}: all that the
caller's `build` needs, and what is told of the training. A strange file is held against the network
that it names before any tensor is read, and no code in it ever runs.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from playground.errors import UserError, nearest
from playground.run import Run, atomic_path

Network = TypeVar("Network", bound=nn.Module)
BEST, LAST = "best.safetensors", "last.safetensors"  # of a run


def find(
    source: str | Path,
    task: str,
    what: str,
    zoo: Path | None = None,
    files: Sequence[str] = (BEST, LAST),
) -> Path:
    """The file of a run (the first of `files` that it has), of "zoo:NAME", or the file itself.

    UserError where there is none, or the run is one of another task. `what` is the model's kind, in
    messages.
    """
    text = str(source)
    if zoo is not None and text.startswith("zoo:"):
        names = {file.stem: file for file in sorted(zoo.glob("*.safetensors"))}
        name = text.removeprefix("zoo:")
        if name not in names:
            raise UserError(f"The zoo has no {what} '{name}'.{nearest(name, names)}")
        return names[name]
    path = Path(source)
    if os.path.isdir(path):
        run = Run.open(path)
        if run.task != task:
            raise UserError(f"{path} is a run of {run.task}, not of {task}.")
        found = next((path / name for name in files if (path / name).exists()), None)
        if found is None:
            raise UserError(f"The run {path} holds no {what} yet (no {files[-1]}).")
        return found
    if not os.path.exists(path):  # False too where the system refuses the very name
        raise UserError(f"There is no file or run {path}.")
    return path


def write(path: Path, network: nn.Module, key: str, about: dict[str, Any], half: bool) -> None:
    """Write the weights and `about`, {"format", "card", ...}, under `key`; aside, then renamed.

    With `half` in fp16, save whole numbers, and vectors: statistics may be too large for it.
    """
    tensors = {
        name: (v.half() if half and v.dim() > 1 and v.is_floating_point() else v).cpu().contiguous()
        for name, v in network.state_dict().items()
    }
    with atomic_path(Path(path)) as aside:
        # One entry: safetensors writes several in an order of its own each time.
        save_file(tensors, aside, {key: json.dumps(about)})


def read(
    path: Path, key: str, version: int, what: str, build: Callable[[dict[str, Any]], Network]
) -> tuple[Network, dict[str, Any]]:
    """(the network in evaluation mode and float32, the JSON under `key`).

    `build` makes the network from that JSON and may raise LookupError, TypeError, ValueError,
    ArithmeticError or RuntimeError for what names none. UserError for a file that is damaged or
    holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if key not in metadata:
            raise UserError(f"{path} holds no {what} of this playground.")
        about = json.loads(metadata[key])
        if about["format"] != version:
            raise UserError(f"{path} has the format {about['format']}: update the playground.")
        about["card"] = dict(about["card"])
        with torch.device("meta"):  # allocates nothing, whatever sizes are named
            wanted = {name: tuple(v.shape) for name, v in build(about).state_dict().items()}
        if found != wanted:
            name = min(n for n in found | wanted if found.get(n) != wanted.get(n))
            raise UserError(
                f"{path} is damaged: its {name} does not fit the network that it names."
            )
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}).") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged: its metadata name no network ({reason}).") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(f"{path} is damaged: some of its weights are no finite numbers.")
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        network = build(about)
    network.load_state_dict(tensors)
    return network.eval(), about
