"""Complete state on disk: saved atomically, verified when read, restored bit for bit.

`state` is a tree of dicts, lists and tuples whose leaves are tensors, numpy arrays, bool, int,
float, str or None. A checkpoint is a directory:

    step_000000001234/
        state.json                the tree, tensors by reference
        tensors-00000.safetensors ... shards of at most 15 MiB, so that they travel anywhere
        manifest.json             size and crc32 of each file, written last

It is written beside its place, flushed to the disk, and renamed. Loading never runs code: JSON
and safetensors cannot hold any.
"""

import contextlib
import json
import math
import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from playground.errors import UserError
from playground.run import sync, writing

SHARD_BYTES = 15 * 2**20 - 2**16  # 15 MiB with room for the shard's header
DIGITS = 12


class Torn(Exception):
    """A checkpoint that is incomplete or damaged."""


def save(directory: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write `state` as the checkpoint of `step`, then drop all but the newest `keep`.

    Returns the checkpoint's path. UserError when the disk is full or cannot be written; the
    checkpoints before are then untouched.
    """
    directory = Path(directory)
    final = directory / f"step_{step:0{DIGITS}d}"
    aside = directory / f".tmp-{os.getpid()}-{final.name}"
    old = directory / f".old-{final.name}"
    try:
        with writing(final):
            shutil.rmtree(aside, ignore_errors=True)  # of a killed process that had our number
            aside.mkdir(parents=True)
            _write(aside, step, state)
            if final.exists():  # saved twice at one step; `load` knows the `.old-` name too
                shutil.rmtree(old, ignore_errors=True)
                os.replace(final, old)
            os.replace(aside, final)
            sync(directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for path in [*directory.glob(".old-*"), *directory.glob(".tmp-*")]:
        shutil.rmtree(path, ignore_errors=True)
    for path in _candidates(directory):
        if int(path.name[-DIGITS:]) > step:  # torn, or a future that was gone back from
            shutil.rmtree(path, ignore_errors=True)
    for path in _candidates(directory)[max(1, keep) :]:
        shutil.rmtree(path, ignore_errors=True)
    return final


def load(path: Path, on_fallback: Callable[[str], None] = print) -> tuple[int, dict[str, Any]]:
    """(step, state) of a checkpoint, or of the newest good one in a directory of checkpoints.

    A damaged one is passed over with a message; UserError when none is left.
    """
    path = Path(path)
    candidates = [path] if (path / "manifest.json").exists() else _candidates(path)
    for candidate in candidates:
        try:
            return _read(candidate)
        except Torn as torn:
            on_fallback(f"The checkpoint {candidate} is damaged ({torn}); trying the one before.")
    raise UserError(f"There is no good checkpoint in {path}.")


def latest(directory: Path) -> Path | None:
    """The newest checkpoint that verifies."""
    for path in _candidates(Path(directory)):
        with contextlib.suppress(Torn):
            for _ in _verified(path):
                pass
            return path
    return None


def glance(directory: Path) -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the newest checkpoint that verifies, the state as JSON has it: its tensors
    are not read, and stand there by reference. None where there is none.
    """
    path = latest(directory)
    if path is None:
        return None
    return int(path.name[-DIGITS:]), json.loads((path / "state.json").read_bytes())


def rng_state() -> dict[str, Any]:
    """The state of every global random generator: python, numpy, torch CPU, torch GPUs."""
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what `rng_state` gave; generators of GPUs that are not here are passed over."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    for device, generator in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _candidates(directory: Path) -> list[Path]:
    """Checkpoints by name, newest first, whether good or not."""
    found = [*directory.glob("step_*"), *directory.glob(".old-step_*")]
    return sorted(found, key=lambda path: (path.name[-DIGITS:], path.name), reverse=True)


def _write(directory: Path, step: int, state: dict[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, "", tensors)
    files: dict[str, dict[str, int]] = {}

    def put(name: str, data: bytes) -> None:
        with open(directory / name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        files[name] = {"size": len(data), "crc32": zlib.crc32(data)}

    for number, shard in enumerate(_shards(tensors)):
        put(f"tensors-{number:05d}.safetensors", safetensors.torch.save(shard))
    put("state.json", json.dumps(tree, allow_nan=False).encode())
    put("manifest.json", json.dumps({"format": 1, "step": step, "files": dict(files)}).encode())
    sync(directory)


def _shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Flat pieces named `<tensor>:<piece>`, grouped so that a group stays under SHARD_BYTES."""
    shard: dict[str, Tensor] = {}
    used = 0
    for name, tensor in tensors.items():
        size = max(1, SHARD_BYTES // tensor.element_size())
        for number, piece in enumerate(tensor.split(size) if len(tensor) else [tensor]):
            bytes_ = piece.numel() * piece.element_size() + len(name) + 128  # + its header entry
            if shard and used + bytes_ > SHARD_BYTES:
                yield shard
                shard, used = {}, 0
            # Own memory: safetensors refuses tensors that share theirs, as tied weights do.
            shard[f"{name}:{number}"] = piece.clone()
            used += bytes_
    if shard:
        yield shard


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON of `value`; its tensors go flat into `tensors` under their path in the tree."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, np.generic):
        return _encode(value.item(), name, tensors)
    if isinstance(value, list):
        return [_encode(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [_encode(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        items = [
            (k, _encode(v, f"{name}.{k}" if name else str(k), tensors)) for k, v in value.items()
        ]
        if all(isinstance(k, str) and not k.startswith("$") for k in value):
            return dict(items)
        return {"$dict": [[_encode(k, name, tensors), v] for k, v in items]}  # e.g. int keys
    if isinstance(value, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        return {"$array": _encode(tensor, name, tensors)["$tensor"]}
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        # Optimizers read weights and moments in memory order, so the order is part of the state.
        last = tensor.dim() == 4 and not tensor.is_contiguous()
        last = last and tensor.is_contiguous(memory_format=torch.channels_last)
        flat = (tensor.permute(0, 2, 3, 1) if last else tensor).contiguous().flatten()
        key = name
        while key in tensors:  # the keys 1 and "1" of a dict give one path
            key += "'"
        tensors[key] = flat
        return {"$tensor": {"name": key, "shape": list(tensor.shape), "channels_last": last}}
    raise TypeError(f"A checkpoint cannot hold {type(value).__name__} (at '{name}').")


def _verified(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each of a checkpoint's files, or Torn."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        for name, expected in manifest["files"].items():
            data = (path / name).read_bytes()
            if len(data) != expected["size"] or zlib.crc32(data) != expected["crc32"]:
                raise Torn(f"{name} is not as it was written")
            yield name, data
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Torn(str(error)) from error


def _read(path: Path) -> tuple[int, dict[str, Any]]:
    pieces: dict[str, list[Tensor]] = {}
    tree: Any = None
    for name, data in _verified(path):
        if name == "state.json":
            tree = json.loads(data)
            continue
        try:
            for key, piece in safetensors.torch.load(data).items():
                tensor, number = key.rsplit(":", 1)
                parts = pieces.setdefault(tensor, [])
                parts.extend([piece[:0]] * (int(number) + 1 - len(parts)))
                parts[int(number)] = piece
        except SafetensorError as error:
            raise Torn(str(error)) from error
    step = json.loads((path / "manifest.json").read_bytes())["step"]
    return step, _decode(tree, pieces)


def _decode(value: Any, pieces: dict[str, list[Tensor]]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(value, list):
        return [_decode(v, pieces) for v in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_decode(v, pieces) for v in value["$tuple"])
    if "$dict" in value:
        return {_decode(k, pieces): _decode(v, pieces) for k, v in value["$dict"]}
    if "$array" in value:
        return _tensor(value["$array"], pieces).numpy()
    if "$tensor" in value:
        return _tensor(value["$tensor"], pieces)
    return {k: _decode(v, pieces) for k, v in value.items()}


def _tensor(reference: dict[str, Any], pieces: dict[str, list[Tensor]]) -> Tensor:
    parts = pieces.pop(reference["name"])
    flat = parts[0] if len(parts) == 1 else torch.cat(parts)
    if reference["channels_last"]:
        b, c, h, w = reference["shape"]
        return flat.view(b, h, w, c).permute(0, 3, 1, 2)
    return flat.view(reference["shape"])
